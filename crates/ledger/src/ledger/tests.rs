//! The ledger against a plain set of offsets.

use super::Ledger;
use crate::Span;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::collections::{BTreeMap, BTreeSet};
use types::{Millis, Offset};

/// What a ledger means, without economy.
#[derive(Default)]
struct Model {
    start: i64,
    settled: BTreeSet<i64>,
    returned: BTreeMap<i64, u16>,
}

impl Model {
    fn floor(&self) -> i64 {
        (self.start..).find(|offset| !self.settled.contains(offset)).unwrap()
    }

    fn settle(&mut self, first: i64, end: i64) -> u64 {
        let mut newly = 0;
        for offset in first.max(self.start)..end {
            newly += u64::from(self.settled.insert(offset));
            self.returned.remove(&offset);
        }
        newly
    }

    fn give_back(&mut self, first: i64, end: i64, count: bool) {
        for offset in first.max(self.start)..end {
            if !self.settled.contains(&offset) {
                *self.returned.entry(offset).or_insert(0) += u16::from(count);
            }
        }
    }

    fn is_settled(&self, offset: i64) -> bool {
        offset < self.start || self.settled.contains(&offset)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Settle(i64, i64),
    Return(i64, i64, bool),
    Trim(i64),
    Reload,
}

fn span(first: i64, end: i64) -> Span {
    Span::new(Offset(first), Offset(end))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = 0..30_000i64;
    // Ends of chunks and whole chunks come up as often as anything else.
    let near_edge = (0..7i64, -2..3i64).prop_map(|(chunk, by)| (chunk * 4096 + by).max(0));
    let at = prop_oneof![at, near_edge].boxed();
    let len = prop_oneof![1..4i64, 1..200i64, 4000..9000i64];
    let step = prop_oneof![
        6 => (at.clone(), len).prop_map(|(at, len)| Step::Settle(at, at + len)),
        2 => (at.clone(), 1..5i64, any::<bool>()).prop_map(|(at, len, count)| Step::Return(at, at + len, count)),
        1 => at.prop_map(Step::Trim),
        1 => Just(Step::Reload),
    ];
    proptest::collection::vec(step, 1..40)
}

fn compare(ledger: &Ledger, model: &Model) {
    const END: i64 = 45_000;
    let floor = model.floor();
    assert_eq!(ledger.floor(), Offset(floor));
    let above = model.settled.range(floor..).count() as u64;
    assert_eq!(ledger.settled_above_floor(), above);
    assert_eq!(ledger.settled_total(), model.settled.len() as u64);
    assert_eq!(ledger.unsettled(Offset(END)), (END - floor) as u64 - above);
    let past = ledger.past.as_deref().cloned().unwrap_or_default();
    let returned: BTreeMap<i64, u16> = past.returned.iter().map(|(o, n)| (o.0, *n)).collect();
    assert_eq!(returned, model.returned);
    let is_settled: Vec<bool> = (0..END).map(|offset| model.is_settled(offset)).collect();
    let (mut unsettled, mut settled) = (None, None);
    for offset in (0..END).rev() {
        let at = Offset(offset);
        *(if is_settled[offset as usize] { &mut settled } else { &mut unsettled }) = Some(at);
        if offset % 89 == 0 || (offset + 1) % 4096 < 3 {
            assert_eq!(ledger.is_settled(at), is_settled[offset as usize], "at {offset}");
            assert_eq!(ledger.next_unsettled(at, Offset(END)), unsettled, "from {offset}");
            if offset > floor {
                assert_eq!(ledger.next_settled(at), settled, "from {offset}");
            }
        }
    }
    for (first, end) in [(0, END), (4095, 4097), (4096, 8192), (100, 12_000), (8000, 25_000)] {
        let inside = &is_settled[first as usize..end as usize];
        let count = inside.iter().filter(|&&is_settled| is_settled).count();
        assert_eq!(ledger.settled_in(span(first, end)), count as u64, "in {first}..{end}");
        let is_dead = count == inside.len();
        assert_eq!(ledger.is_run_dead(Offset(first), inside.len() as u32), is_dead);
    }
}

fn reloaded(ledger: &Ledger) -> Ledger {
    postcard::from_bytes(&postcard::to_stdvec(ledger).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn ledger_agrees_with_a_plain_set(start in 0..5000i64, steps in steps()) {
        let mut ledger = Ledger::new(Offset(start));
        let mut model = Model { start, ..Model::default() };
        for step in steps {
            match step {
                Step::Settle(first, end) => {
                    assert_eq!(ledger.settle(span(first, end)), model.settle(first, end));
                }
                Step::Return(first, end, count) => {
                    ledger.return_span(span(first, end), count);
                    model.give_back(first, end, count);
                }
                Step::Trim(to) => {
                    assert_eq!(ledger.advance_floor_to(Offset(to)), model.settle(start, to));
                }
                Step::Reload => {
                    let again = reloaded(&ledger);
                    assert_eq!(again, ledger);
                    ledger = again;
                }
            }
        }
        compare(&ledger, &model);
    }

    #[test]
    fn settling_again_changes_nothing(steps in steps(), at in 0..30_000i64, len in 1..9000i64) {
        let mut ledger = Ledger::new(Offset(0));
        for step in steps {
            if let Step::Settle(first, end) = step {
                ledger.settle(span(first, end));
            }
        }
        ledger.settle(span(at, at + len));
        let before = ledger.clone();
        assert_eq!(ledger.settle(span(at, at + len)), 0);
        assert_eq!(ledger, before);
    }

    #[test]
    fn bytes_from_disk_give_a_sound_ledger_or_none(
        steps in steps(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut ledger = Ledger::new(Offset(0));
        for step in steps {
            if let Step::Settle(first, end) = step {
                ledger.settle(span(first, end));
            }
        }
        let mut bytes = postcard::to_stdvec(&ledger).unwrap();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() * 3 + 1));
        if let Ok(mut ledger) = postcard::from_bytes::<Ledger>(&bytes) {
            let floor = ledger.floor();
            assert!(!ledger.is_settled(floor));
            if floor.0.abs() < 1 << 60 {
                ledger.settle(Span::new(floor, floor.plus(100_000)));
                assert!(ledger.floor() >= floor.plus(100_000));
            }
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(ledger) = postcard::from_bytes::<Ledger>(&bytes) {
            assert!(!ledger.is_settled(ledger.floor()));
        }
    }
}

/// Visits 0..count once each in an order without pattern: a multiplication modulo a prime.
fn scattered(count: i64) -> impl Iterator<Item = i64> {
    const PRIME: i64 = 10_000_019;
    (1..PRIME).map(|step| step * 7_654_321 % PRIME - 1).filter(move |&offset| offset < count)
}

#[test]
fn ten_million_scattered_settles_take_an_eighth_of_a_byte_each() {
    const COUNT: i64 = 10_000_000;
    // A bitmap of 4096 offsets is 512 bytes; its entry in the tree comes on top.
    let bytes_max = COUNT as usize / 8 + (COUNT as usize / 4096 + 1) * 40;
    let mut ledger = Ledger::new(Offset(-1));
    let mut settled = 0;
    for offset in scattered(COUNT) {
        settled += ledger.settle(Span::one(Offset(offset)));
        if settled % 500_000 == 0 {
            assert!(ledger.heap_bytes() <= bytes_max, "{} bytes", ledger.heap_bytes());
            assert!(ledger.unsettled(Offset(COUNT)) == COUNT as u64 + 1 - settled);
        }
    }
    assert_eq!(settled, COUNT as u64);
    assert!(ledger.heap_bytes() < 1000, "a run of full chunks and the last, partial one");
    ledger.settle(Span::one(Offset(-1)));
    assert_eq!(ledger.floor(), Offset(COUNT));
    assert_eq!(ledger.heap_bytes(), 0);
}

#[test]
fn a_parked_message_costs_nothing_per_message_behind_it() {
    let mut ledger = Ledger::new(Offset(0));
    for offset in 1..1_000_000 {
        ledger.settle(Span::one(Offset(offset)));
    }
    assert_eq!(ledger.floor(), Offset(0));
    assert!(ledger.heap_bytes() < 2000, "{} bytes", ledger.heap_bytes());
}

#[test]
fn a_span_of_billions_is_one_step() {
    let mut ledger = Ledger::new(Offset(0));
    ledger.settle(Span::one(Offset(5_000_000)));
    assert_eq!(ledger.settle(span(10, 1 << 40)), (1 << 40) - 11);
    assert!(ledger.heap_bytes() < 2000);
    assert_eq!(ledger.unsettled(Offset(1 << 40)), 10);
    assert_eq!(ledger.purge(Offset(1 << 40)), 10);
    assert_eq!(ledger.floor(), Offset(1 << 40));
}

#[test]
fn returns_count_and_end_with_settling() {
    let mut ledger = Ledger::new(Offset(0));
    ledger.settle(Span::one(Offset(3)));
    ledger.return_span(span(2, 5), true);
    ledger.return_span(span(4, 6), false);
    let returns = |ledger: &Ledger| (0..7).map(|o| ledger.returns(Offset(o))).collect::<Vec<_>>();
    assert_eq!(returns(&ledger), [None, None, Some(1), None, Some(1), Some(0), None]);
    ledger.settle(span(0, 5));
    assert_eq!(returns(&ledger), [None, None, None, None, None, Some(0), None]);
    ledger.return_span(span(0, 5), true);
    assert_eq!(ledger.returns(Offset(4)), None, "settled messages do not come back");
}

#[test]
fn a_backlog_with_levels_costs_bytes_a_message_as_many_as_there_are_levels_in_use() {
    const COUNT: i64 = 1_000_000;
    // Bytes of a message, in hundredths.
    for (in_use, most) in [(1, 1), (2, 30), (10, 150), (256, 700)] {
        let mut ledger = Ledger::with_levels(Offset(0), 255);
        let empty = ledger.heap_bytes();
        for offset in 0..COUNT {
            // Odd steps, so that levels do not come in turn.
            let level = (offset * 7_919 % 104_729) % in_use;
            ledger.rank(Span::one(Offset(offset)), u8::try_from(level).unwrap());
        }
        let cost = (ledger.heap_bytes() - empty) * 100 / usize::try_from(COUNT).unwrap();
        assert!(cost <= most, "{in_use} levels: {cost}");
        assert_eq!(ledger.settle(Span::new(Offset(0), Offset(COUNT))), COUNT as u64);
        assert_eq!(ledger.heap_bytes(), empty);
    }
}

#[test]
fn a_due_time_ends_with_the_next_delivery_or_return() {
    let mut ledger = Ledger::new(Offset(0));
    ledger.settle(Span::one(Offset(3)));
    ledger.park(span(1, 6), true, Millis(70));
    let due = |ledger: &Ledger| (0..7).map(|o| ledger.due(Offset(o))).collect::<Vec<_>>();
    let at = Some(Millis(70));
    assert_eq!(due(&ledger), [None, at, at, None, at, at, None]);
    assert_eq!((ledger.returns(Offset(1)), ledger.parked_count()), (Some(1), 4));
    ledger.lease(Span::one(Offset(1)));
    ledger.return_span(Span::one(Offset(2)), false);
    ledger.settle(Span::one(Offset(4)));
    assert_eq!(due(&ledger), [None, None, None, None, None, at, None]);
    let bytes = postcard::to_stdvec(&ledger).expect("it is encoded");
    assert_eq!(postcard::from_bytes::<Ledger>(&bytes), Ok(ledger));
}
