use super::*;

fn message(body: &str, redelivered: bool) -> Taken {
    Taken {
        tag: 1,
        redelivered,
        exchange: String::new(),
        key: "q".into(),
        properties: vec![0, 0],
        body: body.as_bytes().to_vec(),
    }
}

fn batch(redelivered: bool) -> Vec<Taken> {
    ["a", "b", "c"].map(|body| message(body, redelivered)).into()
}

fn noted(fresh: bool) -> Note {
    let digest = digest(&batch(false));
    Note { batch: 3, digest, fresh, ready: 9, ..Note::new("q", Mode::Drain) }
}

#[test]
fn batch_that_was_written_is_known_again() {
    assert!(is_written(&noted(true), &batch(true), 9));
    // Others publish meanwhile.
    assert!(is_written(&noted(true), &batch(true), 12));
}

#[test]
fn nothing_else_is_taken_for_it() {
    // What looks like it and never was delivered to us was published after it.
    assert!(!is_written(&noted(true), &batch(false), 9));
    let mut partly = batch(true);
    partly[1].redelivered = false;
    assert!(!is_written(&noted(true), &partly, 9));
    let mut another = batch(true);
    another[2].body = b"d".to_vec();
    assert!(!is_written(&noted(true), &another, 9));
    assert!(!is_written(&noted(true), &batch(true)[..2], 9));
    // All of it had been delivered before: only the count tells.
    assert!(is_written(&noted(false), &batch(true), 9));
    assert!(!is_written(&noted(false), &batch(true), 6));
}

#[test]
fn large_batch_goes_in_parts() {
    let large = message(&"x".repeat(20 << 20), false);
    let all =
        [message("a", false), large, message("b", false), message(&"y".repeat(40 << 20), false)];
    let counts: Vec<usize> = parts(&all).iter().map(|part| part.len()).collect();
    assert_eq!(counts, [3, 1]);
    assert_eq!(parts(&all[..1]).len(), 1);
}
