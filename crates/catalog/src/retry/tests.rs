use super::{Growth, Retry, RetryOn};
use types::Millis;

const POLICY: Retry = Retry {
    on: RetryOn::All,
    min: Millis(100),
    max: Millis(1_000),
    growth: Growth::Linear,
    jitter: 0,
};

fn delays(retry: &Retry) -> Vec<i64> {
    let delay = |failures| retry.delay(true, failures, u64::MAX / 2).expect("it waits").0;
    [0, 1, 2, 3, 9, 10, 11, u16::MAX].into_iter().map(delay).collect()
}

#[test]
fn a_delay_grows_as_the_policy_says_and_no_further_than_its_maximum() {
    assert_eq!(delays(&POLICY), [100, 100, 200, 300, 900, 1_000, 1_000, 1_000]);
    let constant = Retry { growth: Growth::Times(1), ..POLICY };
    assert_eq!(delays(&constant), [100; 8]);
    let doubled = Retry { growth: Growth::Times(2), max: Millis(100_000), ..POLICY };
    assert_eq!(delays(&doubled), [100, 100, 200, 400, 25_600, 51_200, 100_000, 100_000]);
    let endless = Retry { growth: Growth::Times(u32::MAX), max: Millis(i64::MAX), ..POLICY };
    assert_eq!(endless.delay(true, u16::MAX, u64::MAX), Some(Millis(i64::MAX)));
}

#[test]
fn chance_adds_up_to_its_share_and_takes_nothing_away() {
    let spread = Retry { jitter: 50, ..POLICY };
    let delay = |chance| spread.delay(true, 2, chance);
    assert_eq!(delay(0), Some(Millis(200)));
    assert_eq!(delay(u64::MAX / 2), Some(Millis(250)));
    assert_eq!(delay(u64::MAX), Some(Millis(300)));
    let endless = Retry { max: Millis(i64::MAX), min: Millis(i64::MAX), jitter: 100, ..POLICY };
    assert_eq!(endless.delay(true, 1, u64::MAX), Some(Millis(i64::MAX)));
}

#[test]
fn only_those_wait_that_the_policy_is_for() {
    let waits = |on, failed| Retry { on, ..POLICY }.delay(failed, 1, 0).is_some();
    let table =
        |failed| [RetryOn::All, RetryOn::Failed, RetryOn::Released].map(|on| waits(on, failed));
    assert_eq!(table(true), [true, true, false]);
    assert_eq!(table(false), [true, false, true]);
}
