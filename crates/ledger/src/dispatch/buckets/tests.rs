//! The rate of each key, against what a rate is, and the bound of what is remembered.

use super::{BUCKETS_MAX, LATE_MAX, NANOS_PER_MS};
use crate::{Assignment, ConsumerKey, ConsumerOptions, Dispatch, Ledger, Span, Window};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::collections::BTreeMap;
use types::{ClientId, ConsumerId, Millis, Offset};

const ME: ConsumerKey = ConsumerKey { client: ClientId(1), consumer: ConsumerId(1) };
const START: Millis = Millis(1_700_000_000_000);

/// A queue with a rate for each key, and what was handed out of it when.
struct World {
    ledger: Ledger,
    dispatch: Dispatch,
    rate: (u32, u32),
    now: Millis,
    /// By offset; `None`: it has none.
    keys: Vec<Option<u64>>,
    handed: BTreeMap<u64, Vec<(Millis, Offset)>>,
    count: usize,
}

impl World {
    fn new(rate: (u32, u32), at_once: u32, options: ConsumerOptions, sessions: bool) -> World {
        let ledger = Ledger::new(Offset(0));
        let mut dispatch = Dispatch::new(&ledger, None);
        dispatch.order_by_key(&ledger, at_once);
        dispatch.limit_rate_of_keys(rate, START);
        if sessions {
            dispatch.keep_sessions();
        }
        dispatch.add(ME, options).unwrap();
        let (keys, handed) = (Vec::new(), BTreeMap::new());
        World { ledger, dispatch, rate, now: START, keys, handed, count: 0 }
    }

    fn end(&self) -> Offset {
        Offset(self.keys.len() as i64)
    }

    fn next(&mut self) -> Option<Assignment> {
        self.dispatch.pass_time(self.now);
        loop {
            let end = self.end();
            let given = self.dispatch.next(&self.ledger, end, 64, |_| Some(1));
            if given.is_some() {
                return given;
            }
            let wanted = self.dispatch.take_wanted()?;
            let keys = self.keys[wanted.0 as usize..].iter().copied();
            self.dispatch.tell_keys(wanted, keys);
        }
    }

    /// Hands out all that can go; gives the offsets.
    fn hand_out(&mut self) -> Vec<Offset> {
        let mut offsets = Vec::new();
        while let Some(given) = self.next() {
            assert_eq!(given.span.len(), 1);
            let offset = given.span.first;
            if let Some(key) = self.keys[offset.0 as usize] {
                self.handed.entry(key).or_default().push((self.now, offset));
            }
            self.count += 1;
            offsets.push(offset);
        }
        offsets
    }

    fn settle(&mut self, offset: Offset) {
        let mut freed = Vec::new();
        self.dispatch.settled(ME, Span::one(offset), &mut freed);
        freed.iter().for_each(|span| {
            self.ledger.settle(*span);
        });
    }

    /// In no time, however short or long, more of a key were handed out than its bucket allows.
    fn keeps_its_rate(&self) {
        let (per_second, burst) = (i64::from(self.rate.0), i64::from(self.rate.1));
        let most = burst * 1_000 + per_second * (LATE_MAX / NANOS_PER_MS + 1);
        for (key, times) in &self.handed {
            // In thousandths: how many they are less what the rate allows, at its least so far.
            let mut least = i64::MAX;
            for (number, (time, _)) in (0..).zip(times) {
                let over = number * 1_000 - per_second * time.since(START).0;
                least = least.min(over);
                assert!(over - least + 1_000 <= most, "key {key}: {number} at {time}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue(Option<u64>, u8),
    Pass(i64),
    /// To when the dispatch wants to hear of it, and a little later.
    PassToDue(i64),
    Settle(u8),
    Return(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![1 => Just(None), 9 => (1..5u64).prop_map(Some)];
    prop_oneof![
        4 => (key, 1..8u8).prop_map(|(key, count)| Step::Enqueue(key, count)),
        2 => (0..400i64).prop_map(Step::Pass),
        4 => (0..12i64).prop_map(Step::PassToDue),
        4 => any::<u8>().prop_map(Step::Settle),
        1 => any::<u8>().prop_map(Step::Return),
    ]
}

proptest! {
    #[test]
    fn each_key_keeps_its_rate_and_its_order_and_all_comes_in_the_end(
        rate in (1..200u32, 1..6u32),
        at_once in 1..4u32,
        settle_now in any::<bool>(),
        sessions in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(rate, at_once, ConsumerOptions { settle_now, ..ConsumerOptions::default() }, sessions);
        let mut held: Vec<Offset> = Vec::new();
        let mut returned = 0;
        for step in steps {
            match step {
                Step::Enqueue(key, count) => world.keys.extend((0..count).map(|_| key)),
                Step::Pass(ms) => world.now = world.now.plus(Millis(ms)),
                Step::PassToDue(late) => {
                    let due = world.dispatch.next_due().unwrap_or(world.now).max(world.now);
                    world.now = due.plus(Millis(late));
                }
                Step::Settle(at) if !held.is_empty() => {
                    let offset = held.remove(usize::from(at) % held.len());
                    world.settle(offset);
                }
                Step::Return(at) if !held.is_empty() => {
                    let offset = held.remove(usize::from(at) % held.len());
                    let mut back = Vec::new();
                    world.dispatch.returned(ME, Span::one(offset), true, &mut back);
                    back.iter().for_each(|span| world.ledger.return_span(*span, true));
                    returned += 1;
                }
                Step::Settle(_) | Step::Return(_) => {}
            }
            let handed = world.hand_out();
            held.extend(handed.iter().filter(|_| !settle_now));
            for key in 1..5 {
                let of_key = held.iter().filter(|it| world.keys[it.0 as usize] == Some(key));
                assert!(of_key.count() <= at_once as usize);
            }
            world.keeps_its_rate();
        }
        let mut looks = 0;
        while world.count < world.keys.len() + returned {
            std::mem::take(&mut held).into_iter().for_each(|offset| world.settle(offset));
            held = world.hand_out();
            if settle_now {
                held.clear();
            }
            if held.is_empty() && world.count < world.keys.len() + returned {
                let due = world.dispatch.next_due().expect("what waits waits for a time");
                assert!(due > world.now, "it is told of each time once");
                world.now = due;
            }
            looks += 1;
            assert!(looks < 10_000, "it does not end");
        }
        world.keeps_its_rate();
        if returned == 0 {
            for of_key in world.handed.values() {
                assert!(of_key.is_sorted_by_key(|(_, offset)| *offset));
            }
        }
        while let Some(due) = world.dispatch.next_due() {
            world.now = world.now.max(due);
            world.dispatch.pass_time(world.now);
        }
        assert_eq!(world.dispatch.bucket_count(), 0, "what is full is forgotten");
    }
}

/// How long it takes until so many messages of each of three keys have come, looked after as late as this.
fn time_of(rate: (u32, u32), count: i64, late: i64) -> Millis {
    let options = ConsumerOptions { settle_now: true, ..ConsumerOptions::default() };
    let mut world = World::new(rate, 1, options, false);
    world.keys = (0..count * 3).map(|at| Some(at as u64 % 3)).collect();
    loop {
        world.hand_out();
        if world.count == world.keys.len() {
            world.keeps_its_rate();
            return world.now.since(START);
        }
        let due = world.dispatch.next_due().expect("the others wait for a time");
        // The wheel turns every so often.
        world.now = Millis((due.0 + late).div_euclid(10) * 10 + 10).max(world.now);
    }
}

#[test]
fn rates_are_kept_within_two_percent_however_coarse_the_time_is() {
    for (per_second, burst) in [(1, 1), (3, 1), (7, 2), (100, 1), (100, 10), (300, 1), (900, 90)] {
        for late in [0, 7, 40] {
            let count = i64::from(per_second) * 20 + i64::from(burst);
            let took = time_of((per_second, burst), count, late).0;
            let wanted = 20_000;
            let is_near = (took - wanted).abs() <= wanted / 50 + 60;
            assert!(is_near, "{per_second}/s, {burst} at once, {late} ms late: {took} ms");
        }
    }
}

#[test]
fn a_key_that_is_dry_holds_up_no_other() {
    let options = ConsumerOptions { settle_now: true, ..ConsumerOptions::default() };
    let mut world = World::new((1, 2), 1, options, false);
    world.keys = vec![Some(1), Some(1), Some(1), Some(2), None, Some(1), Some(2), None];
    assert_eq!(world.hand_out(), [0, 1, 3, 4, 6, 7].map(Offset));
    assert_eq!(world.dispatch.next_due(), Some(START.plus(Millis(1_000))));
    world.now = START.plus(Millis(999));
    assert_eq!(world.hand_out(), []);
    world.now = START.plus(Millis(1_000));
    assert_eq!(world.hand_out(), [2].map(Offset));
}

#[test]
fn no_more_keys_are_remembered_than_there_is_room_for() {
    let window = Window { messages: 0, bytes: 0 };
    let options = ConsumerOptions { settle_now: true, window, ..ConsumerOptions::default() };
    let mut world = World::new((1, 1), 1, options, false);
    let count = BUCKETS_MAX + 10;
    world.keys = (0..count as u64).map(Some).collect();
    assert_eq!(world.hand_out().len(), BUCKETS_MAX);
    assert_eq!(world.dispatch.bucket_count(), BUCKETS_MAX);
    let due = world.dispatch.next_due().expect("there is room again");
    assert_eq!(due, START.plus(Millis(1_000)));
    world.now = due;
    assert_eq!(world.hand_out(), []);
    let due = world.dispatch.next_due().expect("there is room again");
    assert_eq!(due, START.plus(Millis(2_000)));
    world.now = due;
    assert_eq!(world.hand_out().len(), 10);
    assert_eq!(world.dispatch.bucket_count(), 10);
}
