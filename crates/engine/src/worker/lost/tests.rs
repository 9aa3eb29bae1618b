use super::*;
use std::sync::atomic::Ordering;

#[test]
fn what_is_lost_is_counted_once() {
    let mut losses = Losses::default();
    let log = LogId(1);
    let mut counted = Vec::new();
    for (first, end) in [(10, 20), (12, 15), (15, 25), (0, 5), (4, 11), (30, 31), (0, 40)] {
        losses.note(log, Span::new(Offset(first), Offset(end)), "a test");
        counted.push(losses.metrics.damage.lost_records.load(Ordering::Relaxed));
    }
    assert_eq!(counted, [10, 10, 15, 20, 25, 26, 40]);
    assert_eq!(losses.known[&log], BTreeMap::from([(Offset(0), Offset(40))]));
    losses.note(LogId(2), Span::one(Offset(3)), "another log");
    assert_eq!(losses.metrics.damage.lost_records.load(Ordering::Relaxed), 41);
}
