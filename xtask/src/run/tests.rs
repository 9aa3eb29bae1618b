use super::{Tally, counted_to};
use std::process::Command;

#[test]
fn cargo_and_own_summaries_are_read() {
    let cargo = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out";
    assert_eq!(Tally::read(cargo), Some(Tally { passed: 12, failed: 0, skipped: 3 }));
    let own = "40 passed, 2 failed, 1 skipped";
    assert_eq!(Tally::read(own), Some(Tally { passed: 40, failed: 2, skipped: 1 }));
    assert_eq!(Tally::read("pika: 3 passed"), None);
    assert_eq!(Tally::read("running 12 tests"), None);
}

fn shell(script: &str) -> Tally {
    let mut lines = 0;
    let tally = counted_to(Command::new("sh").args(["-c", script]), &mut |_| lines += 1).unwrap();
    assert_eq!(lines, script.matches("echo").count(), "every line is passed on");
    tally
}

#[test]
fn summaries_of_several_test_binaries_add_up() {
    let tally = shell(
        "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'
         echo 'test result: FAILED. 3 passed; 1 failed; 0 ignored'; exit 101",
    );
    assert_eq!(tally, Tally { passed: 5, failed: 1, skipped: 0 });
}

#[test]
fn an_own_summary_counts_once() {
    let tally = shell("echo '1 passed, 0 failed, 0 skipped'; echo '4 passed, 0 failed, 2 skipped'");
    assert_eq!(tally, Tally { passed: 4, failed: 0, skipped: 2 });
}

#[test]
fn a_bad_end_without_counts_is_a_failure() {
    assert_eq!(shell("exit 3"), Tally { passed: 0, failed: 1, skipped: 0 });
    assert_eq!(shell("exit 0"), Tally::default());
}
