//! Three replicas: the library's own suite on our log, simulated clusters, and planted faults.

use super::{Ground, Outcome};
use crate::run;
use crate::sim::{self, Runs};
use anyhow::{Context as _, Result};
use std::process::Stdio;

/// Seeds of clusters in a full run, and in a short one.
const SEEDS: u64 = 5_000;
const SEEDS_SHORT: u64 = 50;
/// Where they begin: not where anybody looked before.
const FIRST_SEED: u64 = 700_000;

/// Line 1: openraft's own tests of a log storage pass on ours.
pub(super) fn suite(_: &Ground) -> Result<Outcome> {
    let mut command = run::cargo();
    command.args(["test", "--quiet", "--package", "replica", "--", "suite"]);
    let tally = run::counted(&mut command)?;
    let figure = format!("{} ways passed, {} failed", tally.passed, tally.failed);
    Ok(Outcome::of(tally.failed == 0 && tally.passed > 0, figure))
}

/// Line 2: whatever happens to three nodes, nothing acknowledged is lost, and no order is broken.
pub(super) fn storms(ground: &Ground) -> Result<Outcome> {
    let count = Some(if ground.full { SEEDS } else { SEEDS_SHORT });
    let runs = Runs { seed: FIRST_SEED, count, cluster: true, ..Runs::first(None) };
    let output = sim::command(&runs).stderr(Stdio::inherit()).output();
    let output = output.context("cannot start the simulator")?;
    let told = String::from_utf8_lossy(&output.stdout);
    let last = told.lines().last().unwrap_or_default().to_owned();
    Ok(Outcome::of(output.status.success(), last))
}

/// Seeds of each scenario in a full run, and in a short one.
const SCENARIO_SEEDS: u64 = 200;
const SCENARIO_SEEDS_SHORT: u64 = 5;
/// What Jepsen did to NATS, and what else is done to nodes.
const SCENARIOS: [&str; 10] = [
    "segment-bit",
    "index-bit",
    "checkpoint-bit",
    "truncated",
    "wiped",
    "dark",
    "dark-while-paused",
    "damaged-in-the-dark",
    "rolling",
    "grown",
];

/// Line 3: what lost other systems' data, step by step, loses none of ours.
pub(super) fn scenarios(ground: &Ground) -> Result<Outcome> {
    let count = Some(if ground.full { SCENARIO_SEEDS } else { SCENARIO_SEEDS_SHORT });
    let mut lost = Vec::new();
    for scenario in SCENARIOS {
        let rest = vec!["--scenario".to_owned(), scenario.to_owned(), "--keep-going".to_owned()];
        let ops = Some(4_000);
        let runs = Runs { seed: FIRST_SEED, count, cluster: true, ops, rest };
        if !sim::run(&runs)? {
            lost.push(scenario);
        }
    }
    let figure = format!("{} scenarios, broken: {lost:?}", SCENARIOS.len());
    Ok(Outcome::of(lost.is_empty(), figure))
}

/// Line 4: faults planted in replication are found.
pub(super) fn planted(ground: &Ground) -> Result<Outcome> {
    if !ground.full {
        return Ok(Outcome::NotRun("--full looks for them".into()));
    }
    let runs = Runs { cluster: true, ..Runs::first(None) };
    let found = sim::plant(&runs, "all")?;
    Ok(Outcome::of(found, "the simulator says at which seed each was found".into()))
}
