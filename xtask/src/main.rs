//! The project's own commands: `cargo xtask`.
//!
//! `test` is what the README names and what `.ci/run` calls; `fix` is the only command that
//! writes into the tree. The rules about files and layers are tests in [`tidy`], so `cargo test`
//! checks them.

mod accept;
mod run;
mod sim;
mod suite;
#[cfg(test)]
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Commands of the project.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks format and lints, runs every test, then real clients against the release binary.
    Test,
    /// Everything `test` does, and documentation, dependencies and random simulations.
    Ci,
    /// Formats and applies the lints' own suggestions; the only command that writes.
    Fix,
    /// Checks acceptance lines that a command can check.
    Accept {
        /// Which set of lines.
        #[arg(value_parser = accept::NAMES)]
        name: String,
        /// Only these lines.
        #[arg(long, value_delimiter = ',')]
        only: Vec<u8>,
        /// Also what takes more than a few minutes or gigabytes.
        #[arg(long)]
        full: bool,
        /// The broker to check; unless told otherwise, the release build of this tree.
        #[arg(long)]
        binary: Option<std::path::PathBuf>,
    },
    /// Shows what becomes of acknowledged messages when the disk fails or files are damaged.
    Faults {
        /// Only the rows whose name holds this.
        only: Option<String>,
        /// The broker to try; unless told otherwise, the release build of this tree.
        #[arg(long)]
        binary: Option<std::path::PathBuf>,
    },
    /// Runs simulations from a seed; the same seed is the same run.
    Sim {
        /// First seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many seeds, one after the other; with `--plant` at most 5,000 unless told.
        #[arg(long)]
        count: Option<u64>,
        /// Operations of each run.
        #[arg(long)]
        ops: Option<u64>,
        /// Three brokers on a simulated network, with storms over them, instead of one broker.
        #[arg(long)]
        cluster: bool,
        /// Builds with planted faults, and says whether the simulation finds this one, or `all`.
        #[arg(long)]
        plant: Option<String>,
        /// Passed on to the simulator as they are.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Measures us beside the peers that are installed.
    Bench {
        /// Passed on to `bench/run.py`; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `false` when something it checked does not hold.
fn dispatch(command: Command) -> Result<bool> {
    match command {
        Command::Test => suite::test(),
        Command::Ci => suite::ci(),
        Command::Fix => suite::fix(),
        Command::Accept { name, only, full, binary } => accept::run(&name, &only, full, binary),
        Command::Faults { only, binary } => accept::faults(only.as_deref(), binary),
        Command::Sim { seed, count, ops, cluster, plant, rest } => {
            let runs = sim::Runs { seed, count, ops, cluster, rest };
            match plant {
                Some(name) => sim::plant(&runs, &name),
                None => sim::run(&runs),
            }
        }
        Command::Bench { rest } => suite::bench(&rest),
    }
}
