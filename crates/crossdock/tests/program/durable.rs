//! What is still there afterwards.

use crate::running::{QUIET, Running, Scratch, run};

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

/// Changes a bit of the first `needle` in a segment of the store; gives the segment's name.
fn spoil(store: &str, needle: &[u8]) -> String {
    for entry in std::fs::read_dir(store).expect("the store is a directory") {
        let path = entry.expect("an entry of it").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a file name in ASCII")
            .to_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        let place = bytes.windows(needle.len()).position(|window| window == needle);
        if let Some(place) = place.filter(|_| name.ends_with(".seg")) {
            bytes[place] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return name;
        }
    }
    panic!("{needle:?} is in no segment");
}

#[test]
fn a_restart_keeps_messages_and_what_was_taken() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let broker = Running::start(&store);
    broker.ok(&["publish", "--queue", "q", "--create"], &lines(0..100));
    broker.ok(&["publish", "--topic", "t", "--create"], &lines(0..10));
    assert_eq!(broker.ok(&["consume", "--queue", "q", "--count", "40"], ""), lines(0..40));
    broker.stop();
    let broker = Running::start(&store);
    assert_eq!(broker.ok(&["consume", "--topic", "t"], ""), lines(0..10));
    let left = broker.ok(&["consume", "--queue", "q", "--json"], "");
    assert_eq!(left.lines().count(), 60);
    assert!(left.lines().next().unwrap().contains("\"offset\":40"), "{left}");
    assert!(!left.contains("redelivered"), "a clean stop leaves no doubt: {left}");
    broker.stop();
}

#[test]
fn a_kill_loses_nothing_acknowledged() {
    let scratch = Scratch::new();
    let store = scratch.store();
    for round in 0..5 {
        let broker = Running::start(&store);
        broker.ok(&["publish", "--queue", "q", "--create"], &lines(round * 10..round * 10 + 10));
        broker.kill();
    }
    let broker = Running::start(&store);
    assert_eq!(broker.ok(&["consume", "--queue", "q", "--count", "20"], ""), lines(0..20));
    broker.kill();
    let broker = Running::start(&store);
    assert_eq!(broker.ok(&["consume", "--queue", "q"], ""), lines(20..50));
    broker.stop();
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let record = scratch.path().join("record").display().to_string();
    let recorded = [QUIET[0], "--record-writes", &record];
    let cut =
        |seed: u32| run(&["power-cut", &store, "--record", &record, "--seed", &seed.to_string()]);
    let broker = Running::start_with(&store, &recorded);
    let refused = cut(0);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("kill it first"), "{}", refused.stderr);
    broker.kill();
    for round in 0..10 {
        let broker = Running::start_with(&store, &recorded);
        broker.ok(&["publish", "--queue", "q", "--create"], &lines(round * 10..round * 10 + 10));
        broker.kill();
        let ended = cut(round);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("writes not synced"), "{}", ended.stdout);
        assert_eq!(run(&["check", &store]).code, Some(0));
    }
    assert!(cut(11).stderr.contains("has no record"), "a cut ends the record");
    let broker = Running::start(&store);
    assert_eq!(broker.ok(&["consume", "--queue", "q"], ""), lines(0..100));
    broker.stop();
}

#[test]
fn check_finds_a_good_store_good_and_a_bad_one_bad() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let broker = Running::start(&store);
    broker.ok(&["publish", "--queue", "q", "--create"], "one\nneedle\ntwo\n");
    broker.stop();
    let ended = run(&["check", &store]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.ends_with("intact\n"), "{}", ended.stdout);

    let segment = spoil(&store, b"needle");
    let ended = run(&["check", &store]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains(&segment), "{}", ended.stdout);
    assert!(ended.stdout.contains("\nDAMAGED; a broker starts, "), "{}", ended.stdout);
    let ended = run(&["check", "--repair", &store]);
    assert_eq!(ended.code, Some(1), "a message cannot be repaired");
    assert!(ended.stdout.starts_with("nothing can be repaired\n"), "{}", ended.stdout);
    assert_eq!(run(&["check", "/nonexistent"]).code, Some(1));
}
