//! A few seeds of the simulation, for every day.

use crate::{Plan, run_caught};

const PLAN: Plan = Plan { ops_per_life: 120, lives: 4 };

#[test]
fn no_promise_is_broken_in_a_few_dozen_runs() {
    for seed in 1..=24 {
        let result = run_caught(seed, PLAN);
        assert!(result.is_ok(), "seed {seed}: {result:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run_caught(7, PLAN), run_caught(7, PLAN));
}

#[test]
fn three_brokers_lose_nothing_in_storms() {
    let plan = crate::ClusterPlan { ops: 1_000, storms: 6, scenario: None };
    for seed in 1..=4 {
        if let Err(violation) = crate::run_cluster(seed, plan) {
            panic!("seed {seed}: {violation}");
        }
    }
}
