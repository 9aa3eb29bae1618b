//! `cargo xtask sim`: runs seeds, and says which one broke what.

use clap::Parser;
use sim::{Plan, Tally};
use std::io::Write;
use std::process::ExitCode;

/// Runs the engine on a simulated disk, from seeds.
#[derive(Debug, Parser)]
struct Arguments {
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds from there on.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Operations of clients between two ends of the process, on average.
    #[arg(long, default_value_t = 300)]
    ops: u64,
    /// Ends of the process per seed.
    #[arg(long, default_value_t = 5)]
    lives: u64,
    /// A fault to plant, which the run has to find (needs a build with `--cfg plant`).
    #[arg(long)]
    plant: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.plant
        && !io::plant(name)
    {
        say(&format!(
            "this build has no planted faults: build with RUSTFLAGS='--cfg plant' ({name})"
        ));
        return ExitCode::FAILURE;
    }
    let plan = Plan { ops_per_life: arguments.ops, lives: arguments.lives };
    let mut total = Tally::default();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.count) {
        match sim::run(seed, plan) {
            Ok(tally) => {
                total.ops += tally.ops;
                total.crashes += tally.crashes;
            }
            Err(violation) => {
                say(&format!("seed {seed}: {violation}"));
                say(&format!(
                    "repeat with: cargo xtask sim --seed {seed} --ops {} --lives {}",
                    arguments.ops, arguments.lives
                ));
                return ExitCode::FAILURE;
            }
        }
    }
    say(&format!(
        "seeds {}..{}: {} operations, {} crash points, nothing broken",
        arguments.seed,
        arguments.seed.saturating_add(arguments.count),
        total.ops,
        total.crashes
    ));
    ExitCode::SUCCESS
}

fn say(line: &str) {
    // Nobody is left to tell when the output is gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}
