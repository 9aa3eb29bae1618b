use super::*;
use engine::api::StartAt;

fn holder(consumer: u32) -> Holder {
    let log = LogRef { shard: ShardId(0), log: LogId(consumer) };
    let source = Source::Log { log, from: StartAt::First };
    let holder = Holder::new(ConsumerId(consumer), source, "q".into());
    Holder { tag: Some("tag".into()), ..holder }
}

fn holdings(count: i64) -> Holdings {
    let mut holdings = Holdings::default();
    let place = holdings.add(holder(1));
    for offset in 0..count {
        let tag = holdings.next_tag();
        holdings.hold(tag, LogId(1), Offset(offset), place);
    }
    holdings
}

fn ranges(settles: &mut Settles) -> Vec<Vec<(i64, i64)>> {
    let spans = |settle: Settle| settle.ranges.iter().map(|r| (r.first.0, r.last.0)).collect();
    settles.take().map(spans).collect()
}

#[test]
fn settlements_in_any_order_are_joined() {
    let mut holdings = holdings(6);
    let mut settles = Settles::default();
    for tag in [5, 1, 2, 4, 3] {
        let entry = holdings.take(tag).unwrap();
        holdings.settled(&entry, Disposition::Done, &mut settles);
    }
    assert_eq!(ranges(&mut settles), [[(0, 4)]]);
    assert!(holdings.take(3).is_none(), "it is settled");
    assert!(holdings.take(6).is_some());
}

#[test]
fn taking_through_a_tag_skips_what_is_settled() {
    let mut holdings = holdings(6);
    holdings.take(2).unwrap();
    let mut tags = Vec::new();
    assert!(!holdings.take_through(Some(2), |entry| tags.push(entry.tag)));
    assert!(holdings.take_through(Some(4), |entry| tags.push(entry.tag)));
    assert!(holdings.take_through(None, |entry| tags.push(entry.tag)));
    assert_eq!(tags, [1, 3, 4, 5, 6]);
}

#[test]
fn one_parked_delivery_does_not_keep_those_after_it() {
    let mut holdings = holdings(10_000);
    for tag in 2..=10_000 {
        assert!(holdings.take(tag).is_some());
    }
    assert!(holdings.entries.len() <= 2 * SETTLED_MAX, "{}", holdings.entries.len());
    assert!(holdings.take(1).is_some());
    assert!(holdings.entries.is_empty());
}

#[test]
fn what_was_taken_out_can_be_put_back() {
    let mut holdings = holdings(5);
    let taken = [holdings.take(4).unwrap(), holdings.take(2).unwrap()];
    holdings.unsettle(taken.into_iter());
    let mut tags = Vec::new();
    holdings.take_through(None, |entry| tags.push(entry.tag));
    assert_eq!(tags, [1, 2, 3, 4, 5]);
}

#[test]
fn a_holder_goes_when_it_is_no_consumer_and_holds_nothing() {
    let mut holdings = holdings(1);
    holdings.end_consumer(0);
    assert_eq!(holdings.holders().count(), 1);
    let entry = holdings.take(1).unwrap();
    holdings.settled(&entry, Disposition::Done, &mut Settles::default());
    assert_eq!(holdings.holders().count(), 0);
}
