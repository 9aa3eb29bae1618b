//! `sim`: the simulator as it is, or with a fault planted in the program that it has to find.

use crate::run;
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// Seeds a planted fault has to be found in, and one of a cluster.
const PLANT_SEEDS: u64 = 5_000;
const CLUSTER_PLANT_SEEDS: u64 = 2_000;

/// Which runs.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) seed: u64,
    pub(crate) count: Option<u64>,
    pub(crate) ops: Option<u64>,
    /// Three brokers on a simulated network instead of one.
    pub(crate) cluster: bool,
    /// Passed on to the simulator as they are.
    pub(crate) rest: Vec<String>,
}

impl Runs {
    /// Runs from the first seed on; as many as is usual where no `count` is given.
    pub(crate) fn first(count: impl Into<Option<u64>>) -> Runs {
        Runs { seed: 1, count: count.into(), ops: None, cluster: false, rest: Vec::new() }
    }

    fn pass_to<'a>(&self, command: &'a mut Command, count: u64) -> &'a mut Command {
        let count = self.count.unwrap_or(count).to_string();
        command.args(["--seed", &self.seed.to_string(), "--count", &count]);
        if self.cluster {
            command.arg("--cluster");
        }
        if let Some(ops) = self.ops {
            command.args(["--ops", &ops.to_string()]);
        }
        command.args(&self.rest)
    }
}

/// The simulator with `runs`.
pub(crate) fn command(runs: &Runs) -> Command {
    let mut command = run::cargo();
    command.args(["run", "--quiet", "--release", "--package", "sim", "--"]);
    runs.pass_to(&mut command, 1);
    command
}

/// Runs the simulator.
pub(crate) fn run(runs: &Runs) -> Result<bool> {
    run::succeeds(&mut command(runs))
}

/// Builds the simulator with the faults in it, beside the other builds, and has it look for the
/// fault `name`, or for `all`. True when each was found.
pub(crate) fn plant(runs: &Runs, name: &str) -> Result<bool> {
    let target = run::target_dir().join("plant");
    let mut build = run::cargo();
    build.args(["build", "--release", "--package", "sim", "--target-dir"]).arg(&target);
    if !run::succeeds(build.env("RUSTFLAGS", "--cfg plant"))? {
        bail!("the build with planted faults failed");
    }
    let program = target.join("release").join("sim");
    let mut list = Command::new(&program);
    if runs.cluster {
        list.arg("--cluster");
    }
    let listed = list.arg("--list-plants").output();
    let listed = listed.with_context(|| format!("cannot start {}", program.display()))?;
    let known = String::from_utf8(listed.stdout).context("the list of faults")?;
    let mut every = true;
    for fault in known.lines().filter(|fault| name == "all" || name == *fault) {
        let mut command = Command::new(&program);
        let seeds = if runs.cluster { CLUSTER_PLANT_SEEDS } else { PLANT_SEEDS };
        runs.pass_to(command.args(["--plant", fault]), seeds);
        every &= run::succeeds(&mut command)?;
    }
    if name != "all" && !known.lines().any(|fault| fault == name) {
        bail!("there is no fault {name}; known: {}", known.lines().collect::<Vec<_>>().join(", "));
    }
    Ok(every)
}
