use super::{Bucket, LATE_MAX, Pacer};
use catalog::{Breaker, Pace, Rate};
use ledger::Span;
use types::{Millis, Offset};

const RATE: Rate = Rate { per_second: 100, burst: 10 };

fn paced(pace: Pace) -> Pacer {
    *Pacer::wanted(&pace, Millis(0)).expect("it holds something back")
}

fn span(first: i64, end: i64) -> Span {
    Span::new(Offset(first), Offset(end))
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate_however_late_it_is_asked() {
    let mut pacer = paced(Pace { rate: Some(RATE), ..Pace::default() });
    let mut now = Millis(0);
    let mut total = 0;
    // The worker comes up to 12 ms after a message is due.
    for late in (0..13).cycle() {
        let room = pacer.room(0, now);
        if room > 0 {
            pacer.took(span(total, total + i64::from(room)), false);
            total += i64::from(room);
            continue;
        }
        let due = pacer.until.expect("it goes on by itself");
        assert!(due > now);
        now = due.plus(Millis(late));
        if now >= Millis(60_000) {
            break;
        }
    }
    assert!((5_990..=6_012).contains(&total), "{total}");
}

#[test]
fn a_bucket_keeps_no_more_than_its_burst_while_nobody_waits() {
    let mut bucket = Bucket::new(RATE, Millis(0));
    assert_eq!(bucket.room(Millis(1_000_000)), 10);
    bucket.parts = 0;
    assert_eq!(bucket.wait(), Millis(1_000_010));
    let late = Millis(1_000_010).plus(LATE_MAX).plus(LATE_MAX);
    assert_eq!(bucket.room(late), 20, "it was waited for, but not for ever");
}

#[test]
fn no_more_is_in_flight_than_may_be() {
    let mut pacer = paced(Pace { in_flight_max: Some(3), ..Pace::default() });
    assert_eq!([0, 2, 3, 5].map(|in_flight| pacer.room(in_flight, Millis(0))), [3, 1, 0, 0]);
    assert_eq!(pacer.until, None, "time alone changes nothing");
}

#[test]
fn a_breaker_opens_by_failures_in_a_window_tries_one_and_closes_when_that_is_done() {
    let breaker = Breaker { failures: 3, window: Millis(100), pause: Millis(1_000) };
    let mut pacer = paced(Pace { breaker: Some(breaker), ..Pace::default() });
    for at in [0, 60, 120] {
        pacer.ended(&[span(0, 1)], Some(true), Millis(at));
        assert_eq!(pacer.room(0, Millis(at)), u32::MAX, "three within 120 ms are not too many");
    }
    pacer.ended(&[span(0, 1)], Some(false), Millis(130));
    pacer.ended(&[span(0, 1)], Some(true), Millis(140));
    assert_eq!((pacer.room(0, Millis(140)), pacer.until), (0, Some(Millis(1_140))));
    assert_eq!(pacer.room(0, Millis(1_140)), 1);
    pacer.took(span(7, 8), false);
    assert_eq!((pacer.room(1, Millis(1_150)), pacer.until), (0, None));
    // What was handed out before does not decide.
    pacer.ended(&[span(0, 7)], Some(false), Millis(1_150));
    assert_eq!(pacer.room(1, Millis(1_150)), 0);
    pacer.ended(&[span(7, 8)], None, Millis(1_160));
    assert_eq!(pacer.room(0, Millis(1_160)), 1, "it was given back: another one is tried");
    pacer.took(span(7, 8), false);
    pacer.ended(&[span(7, 8)], Some(true), Millis(1_170));
    assert_eq!((pacer.room(0, Millis(1_170)), pacer.until), (0, Some(Millis(2_170))));
    assert_eq!(pacer.room(0, Millis(2_170)), 1);
    pacer.took(span(7, 8), false);
    pacer.ended(&[span(7, 8)], Some(false), Millis(2_180));
    assert_eq!(pacer.room(0, Millis(2_180)), u32::MAX);
}
