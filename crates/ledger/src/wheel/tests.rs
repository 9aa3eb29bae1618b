//! The wheel against a sorted map.

use super::{TICK_MS, TimerId, Wheel};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use std::collections::BTreeMap;
use types::Millis;

#[derive(Clone, Debug)]
enum Step {
    Arm(i64),
    Cancel(usize),
    Advance(i64),
}

/// Spans near and far: within a slot, over every level, and beyond the wheel's reach.
fn spans() -> impl Strategy<Value = i64> {
    prop_oneof![
        -50..300i64,
        0..70_000i64,
        0..20_000_000i64,
        0..4_000_000_000i64,
        0..100_000_000_000i64,
        (0..5u32, -20..20i64).prop_map(|(level, by)| (1i64 << (8 * level)) * TICK_MS + by),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => spans().prop_map(Step::Arm),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => spans().prop_map(Step::Advance),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Every timer by (due, order of arming), and the value it carries.
#[derive(Default)]
struct Model {
    armed: BTreeMap<(Millis, u64), u64>,
    ids: Vec<(TimerId, Millis, u64)>,
    next: u64,
}

impl Model {
    /// What fires at `now`: what is due by the last tick that is over.
    fn fire(&mut self, now: Millis) -> Vec<u64> {
        let over = Millis(now.0.div_euclid(TICK_MS) * TICK_MS);
        let later = self.armed.split_off(&(Millis(over.0 + 1), 0));
        std::mem::replace(&mut self.armed, later).into_values().collect()
    }
}

fn check(start: i64, steps: &[Step]) {
    let mut now = Millis(start);
    let mut wheel = Wheel::new(now);
    let mut model = Model::default();
    for step in steps {
        match *step {
            Step::Arm(span) => {
                let due = now.plus(Millis(span));
                model.next += 1;
                model.armed.insert((due, model.next), model.next);
                model.ids.push((wheel.arm(due, model.next), due, model.next));
            }
            Step::Cancel(choice) if !model.ids.is_empty() => {
                let (id, due, number) = model.ids[choice % model.ids.len()];
                assert_eq!(wheel.cancel(id), model.armed.remove(&(due, number)));
            }
            Step::Cancel(_) => {}
            Step::Advance(span) => {
                now = now.plus(Millis(span.max(0)));
                let mut fired = Vec::new();
                wheel.advance(now, &mut fired);
                assert_eq!(fired, model.fire(now), "at {now}");
            }
        }
        assert_eq!(wheel.len(), model.armed.len());
        let first = model.armed.keys().next().map(|(due, _)| *due);
        let looked_at = wheel.next_due();
        assert_eq!(looked_at.is_some(), first.is_some());
        if let (Some(due), Some(looked_at)) = (first, looked_at) {
            assert!(looked_at < due.max(now).plus(Millis(TICK_MS)), "{looked_at} is after {due}");
        }
    }
}

proptest! {
    #[test]
    fn fires_what_a_sorted_map_would(start in 0..2_000_000_000_000i64, steps in steps()) {
        check(start, &steps);
    }
}

#[test]
fn timers_of_one_due_time_fire_in_the_order_they_were_armed() {
    let mut wheel = Wheel::new(Millis(0));
    for value in 0..20 {
        wheel.arm(Millis(40_000 - 3 * (value % 4)), value);
    }
    let mut fired = Vec::new();
    wheel.advance(Millis(39_980), &mut fired);
    assert_eq!(fired, []);
    wheel.advance(Millis(40_000), &mut fired);
    let groups = [3, 2, 1, 0].map(|rest| (0..20).filter(move |value| value % 4 == rest));
    assert_eq!(fired, groups.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn a_wheel_in_long_use_takes_no_more_memory_than_its_fullest_moment() {
    let mut wheel = Wheel::new(Millis(0));
    let mut fired = Vec::new();
    for round in 0..1_000 {
        let id = wheel.arm(Millis(round * 50 + 1_000_000), round);
        wheel.arm(Millis(round * 50 + 20), round);
        assert_eq!(wheel.cancel(id), Some(round));
        assert_eq!(wheel.cancel(id), None, "it is gone");
        wheel.advance(Millis(round * 50 + 40), &mut fired);
    }
    assert_eq!(fired.len(), 1_000);
    assert_eq!(wheel.slab.len(), 2);
}
