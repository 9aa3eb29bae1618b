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

/// Line 4: faults planted in replication are found.
pub(super) fn planted(ground: &Ground) -> Result<Outcome> {
    if !ground.full {
        return Ok(Outcome::NotRun("--full looks for them".into()));
    }
    let runs = Runs { cluster: true, ..Runs::first(None) };
    let found = sim::plant(&runs, "all")?;
    Ok(Outcome::of(found, "the simulator says at which seed each was found".into()))
}
