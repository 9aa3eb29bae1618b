use super::*;
use engine::api::StartAt;
use proptest::prelude::{Just, Strategy, prop_oneof, proptest};

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
    let mut taken = |entry: Entry| tags.push((entry.tag, entry.count));
    assert!(!holdings.take_through(Some(2), &mut taken));
    assert!(holdings.take_through(Some(4), &mut taken));
    assert!(holdings.take_through(None, &mut taken));
    assert_eq!(tags, [(1, 1), (3, 2), (5, 2)]);
}

#[test]
fn one_parked_delivery_does_not_keep_those_after_it() {
    let mut holdings = holdings(10_000);
    for tag in 2..=10_000 {
        assert!(holdings.take(tag).is_some());
    }
    assert!(holdings.runs.len() <= 2 * SETTLED_MAX, "{}", holdings.runs.len());
    assert!(holdings.take(1).is_some());
    assert!(holdings.runs.is_empty());
}

#[test]
fn what_was_taken_out_can_be_put_back() {
    let mut holdings = holdings(5);
    let taken = [holdings.take(4).unwrap(), holdings.take(2).unwrap()];
    holdings.unsettle(taken.into_iter());
    let mut tags = Vec::new();
    holdings.take_through(None, |entry| tags.push((entry.tag, entry.count)));
    assert_eq!(tags, [(1, 5)]);
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

#[test]
fn a_million_deliveries_cost_half_a_byte_each() {
    let holdings = holdings(1_000_000);
    assert_eq!(holdings.runs.len() * size_of::<Run>(), 1_000_000 / 2);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Of which consumer, whether it is held, and how far its offset jumps.
    Deliver(u32, bool, i64),
    Settle(u64),
    SettleThrough(u64),
    SettleAll,
    /// As a transaction that is rolled back does.
    TakeAndPutBack((u64, u64)),
}

fn step() -> impl Strategy<Value = Step> {
    let jump = || prop_oneof![6 => Just(1i64), 1 => 2..5i64];
    let tag = || 0..400u64;
    prop_oneof![
        12 => (0..2u32, proptest::bool::weighted(0.9), jump())
            .prop_map(|(consumer, held, jump)| Step::Deliver(consumer, held, jump)),
        12 => jump().prop_map(|jump| Step::Deliver(0, true, jump)),
        8 => tag().prop_map(Step::Settle),
        1 => tag().prop_map(Step::SettleThrough),
        1 => (tag(), tag()).prop_map(Step::TakeAndPutBack),
        1 => (0..20u32).prop_map(|odds| if odds == 0 { Step::SettleAll } else { Step::Settle(1) }),
    ]
}

/// Deliveries by tag: the consumer and the offset of each.
type Model = BTreeMap<u64, (u32, Offset)>;

fn each(entry: Entry, mut then: impl FnMut(u64, (u32, Offset))) {
    for at in 0..entry.count {
        then(entry.tag + u64::from(at), (entry.holder, entry.offset.plus(at)));
    }
}

/// Takes a run out of what is held, every one of its deliveries once.
fn expect(model: &mut Model, entry: Entry) {
    each(entry, |tag, delivery| assert_eq!(model.remove(&tag), Some(delivery), "{tag}"));
}

proptest! {
    #[test]
    fn runs_agree_with_one_entry_for_each_delivery(
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        let (mut holdings, mut model) = (Holdings::default(), Model::new());
        let places = [holdings.add(holder(1)), holdings.add(holder(2))];
        let mut next = [Offset(0), Offset(0)];
        for step in steps {
            match step {
                Step::Deliver(consumer, held, jump) => {
                    let tag = holdings.next_tag();
                    let offset = &mut next[consumer as usize];
                    offset.0 += jump;
                    if held {
                        let place = places[consumer as usize];
                        holdings.hold(tag, LogId(consumer), *offset, place);
                        model.insert(tag, (place, *offset));
                    }
                }
                Step::Settle(tag) => match holdings.take(tag) {
                    Some(entry) => expect(&mut model, entry),
                    None => assert!(!model.contains_key(&tag)),
                },
                Step::SettleThrough(tag) => {
                    let was_there = model.contains_key(&tag);
                    let taken =
                        holdings.take_through(Some(tag), |entry| expect(&mut model, entry));
                    assert_eq!(taken, was_there);
                    assert!(!taken || model.keys().all(|left| *left > tag));
                }
                Step::SettleAll => {
                    assert!(holdings.take_through(None, |entry| expect(&mut model, entry)));
                    assert!(model.is_empty());
                }
                Step::TakeAndPutBack((one, through)) => {
                    let mut taken: Vec<Entry> = holdings.take(one).into_iter().collect();
                    holdings.take_through(Some(through), |entry| taken.push(entry));
                    holdings.unsettle(taken.into_iter());
                }
            }
            let settled = holdings.runs.iter().filter(|run| run.live == 0).count();
            assert_eq!(holdings.settled_count, settled);
            let live: u32 = holdings.runs.iter().map(|run| run.live.count_ones()).sum();
            assert_eq!(live as usize, model.len());
        }
    }
}
