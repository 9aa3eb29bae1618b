//! Queue features against their models: delivery alone, the engine with crashes, and planted faults.

use super::{Ground, Outcome};
use crate::run;
use crate::sim::{self, Runs};
use anyhow::{Context as _, Result};
use std::process::Stdio;

/// Commands that a full run has at least, of the engine and of delivery alone.
const COMMANDS: u64 = 10_000_000;
/// Commands of a case of delivery's model, on average.
const CASE_COMMANDS: u64 = 60;
/// Commands of a seed of the simulator, with so many between two ends of the process, at least.
const SEED_COMMANDS: u64 = 2_500;
const OPS: u64 = 1_000;
/// Where the seeds begin: not where anybody looked before.
const FIRST_SEED: u64 = 400_000_000;
/// Of what a full run does, a short one does one part in so many.
const SHORT_PART: u64 = 50;

/// Faults of queue features, each of which the simulator has to find.
const FAULTS: [&str; 19] = [
    "priority-forgotten",
    "key-forgotten",
    "key-cap-passed",
    "retry-early",
    "retry-forgotten",
    "cap-passed",
    "lease-forgotten",
    "dead-letter-forgotten",
    "overflow-forgotten",
    "active-consumer-shared",
    "duplicate-message-accepted",
    "activated-twice",
    "due-page-forgotten",
    "rewind-lost",
    "kept-let-go",
    "expectation-ignored",
    "session-shared",
    "session-state-lost",
    "session-state-uncut",
];

fn part(ground: &Ground) -> u64 {
    if ground.full { 1 } else { SHORT_PART }
}

/// Line 1: delivery with random combinations of features agrees with its model.
pub(super) fn delivery(ground: &Ground) -> Result<Outcome> {
    let cases = COMMANDS / CASE_COMMANDS / part(ground);
    let mut command = run::cargo();
    command.args(["test", "--quiet", "--release", "--package", "ledger", "--", "--exact"]);
    command.arg("dispatch::tests::model::delivery_agrees_with_the_model");
    let tally = run::counted(command.env("PROPTEST_CASES", cases.to_string()))?;
    let passed = (tally.passed, tally.failed) == (1, 0);
    Ok(Outcome::of(passed, format!("{cases} cases of {CASE_COMMANDS} commands on average")))
}

/// Line 1: the engine agrees with its model over crashes, with features combined by chance.
pub(super) fn crashes(ground: &Ground) -> Result<Outcome> {
    let count = Some(COMMANDS / SEED_COMMANDS / part(ground));
    let runs = Runs { seed: FIRST_SEED, count, ops: Some(OPS), ..Runs::first(None) };
    let output = sim::command(&runs).stderr(Stdio::inherit()).output();
    let output = output.context("cannot start the simulator")?;
    let told = String::from_utf8_lossy(&output.stdout);
    let last = told.lines().last().unwrap_or_default().to_owned();
    let words: Vec<&str> = last.split(&[' ', ','][..]).collect();
    let at = words.iter().position(|word| *word == "operations");
    let operations = at.and_then(|at| words[..at].last()?.parse::<u64>().ok()).unwrap_or(0);
    let enough = operations >= COMMANDS / part(ground);
    Ok(Outcome::of(output.status.success() && enough, last))
}

/// Line 1: faults planted in the features are found.
pub(super) fn planted(ground: &Ground) -> Result<Outcome> {
    if !ground.full {
        return Ok(Outcome::NotRun("--full looks for them".into()));
    }
    let mut missed = Vec::new();
    for fault in FAULTS {
        if !sim::plant(&Runs::first(None), fault)? {
            missed.push(fault);
        }
    }
    let figure =
        format!("{} of {} found; missed: {missed:?}", FAULTS.len() - missed.len(), FAULTS.len());
    Ok(Outcome::of(missed.is_empty(), figure))
}
