use super::{Outcome, PUBLISHES, Step, judge, marker, steps};

/// A trace of every publish, each of these lines once per publish.
fn trace(lines: &[&str]) -> String {
    let one = |number| {
        let text = lines.join("\n").replace("BODY", &marker(number));
        text + "\n"
    };
    (0..PUBLISHES).map(one).collect()
}

fn passes(lines: &[&str]) -> bool {
    matches!(judge(&steps(&trace(lines), "/data")).unwrap(), Outcome::Passed(_))
}

const WRITE: &str = "11 pwrite64(5</data/segment-1>, \"..BODY..\", 4096, 0) = 4096";
const SYNC: &str = "11 fdatasync(5</data/segment-1>) = 0";
const ANSWER: &str = "12 writev(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, [..], 1) = 21";

#[test]
fn write_sync_answer_passes() {
    assert!(passes(&[WRITE, SYNC, ANSWER]));
}

#[test]
fn interrupted_calls_are_joined() {
    let lines = [
        "11 pwrite64(5</data/segment-1>, \"BODY\", 4096, 0 <unfinished ...>",
        "12 futex(0x1, FUTEX_WAKE) = 1",
        "11 <... pwrite64 resumed>) = 4096",
        "11 fdatasync(5</data/segment-1> <unfinished ...>",
        "12 futex(0x1, FUTEX_WAKE) = 1",
        "11 <... fdatasync resumed>) = 0",
        ANSWER,
    ];
    assert!(passes(&lines));
    assert_eq!(steps(&trace(&lines), "/data")[0], Step::Written(0));
}

#[test]
fn an_answer_before_the_sync_fails() {
    assert!(!passes(&[WRITE, ANSWER, SYNC]));
    assert!(!passes(&[ANSWER, WRITE, SYNC]), "the last publish has no answer after its sync");
    assert!(!passes(&[WRITE, ANSWER]));
    assert!(!passes(&[SYNC, ANSWER]), "nothing was written");
}

#[test]
fn an_answer_while_the_sync_runs_fails() {
    let begun = "11 fdatasync(5</data/segment-1> <unfinished ...>";
    let returned = "11 <... fdatasync resumed>) = 0";
    assert!(!passes(&[WRITE, begun, ANSWER, returned]));
    assert!(!passes(&[begun, WRITE, returned, ANSWER]), "that sync began before the write");
}
