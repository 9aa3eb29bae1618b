//! `cargo xtask sim`: runs seeds, and says which one broke what.

use clap::Parser;
use sim::{Plan, Tally, Violation};
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A run that takes longer than this is stuck.
const RUN_MAX: Duration = Duration::from_secs(120);

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
    /// Goes on after a seed that broke something.
    #[arg(long)]
    keep_going: bool,
    /// A fault to plant, which the run has to find (needs a build with `--cfg plant`).
    #[arg(long)]
    plant: Option<String>,
    /// Lists the faults that can be planted, and ends.
    #[arg(long)]
    list_plants: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list_plants {
        io::FAULTS.iter().for_each(|(name, _)| say(name));
        return ExitCode::SUCCESS;
    }
    let alive = watch();
    match &arguments.plant {
        Some(name) => planted(&arguments, name, &alive),
        None => sound(&arguments, &alive),
    }
}

/// Runs seeds of the program as it is: none may break anything.
fn sound(arguments: &Arguments, alive: &SyncSender<u64>) -> ExitCode {
    let clock = io::SystemClock::new();
    let mut total = Tally::default();
    let (mut count, mut broken) = (0, 0);
    for seed in seeds(arguments) {
        count += 1;
        match run(seed, arguments, alive) {
            Ok(tally) => total += tally,
            Err(violation) => {
                broken += 1;
                say(&format!("seed {seed}: {violation}"));
                let Arguments { ops, lives, .. } = arguments;
                say(&format!(
                    "repeat with: cargo xtask sim --seed {seed} --ops {ops} -- --lives {lives}"
                ));
                if !arguments.keep_going {
                    break;
                }
            }
        }
    }
    let Tally { ops, crashes, recycled, relocated, unzipped } = total;
    say(&format!(
        "{count} seeds from {}: {ops} operations, {crashes} crash points, {:.1} s, {broken} broken; \
         {recycled} segments given back, {relocated} copied forward, {unzipped} unzipped",
        arguments.seed,
        io::Clock::micros(&clock) as f64 / 1e6
    ));
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seeds with a fault in the program until one finds it.
fn planted(arguments: &Arguments, name: &str, alive: &SyncSender<u64>) -> ExitCode {
    if !io::plant(name) {
        say(&format!("{name}: no such fault, or this build (without `--cfg plant`) has none"));
        return ExitCode::FAILURE;
    }
    // What a fault makes panic is told by the violation.
    std::panic::set_hook(Box::new(|_| {}));
    for seed in seeds(arguments) {
        if let Err(violation) = run(seed, arguments, alive) {
            say(&format!("{name}: found at seed {seed}: {violation}"));
            return ExitCode::SUCCESS;
        }
    }
    say(&format!("{name}: NOT FOUND in seeds {:?}", seeds(arguments)));
    ExitCode::FAILURE
}

fn seeds(arguments: &Arguments) -> std::ops::Range<u64> {
    arguments.seed..arguments.seed.saturating_add(arguments.count)
}

fn run(seed: u64, arguments: &Arguments, alive: &SyncSender<u64>) -> Result<Tally, Violation> {
    // The one who listens ends the process, never itself alone.
    let _ = alive.send(seed);
    sim::run_caught(seed, Plan { ops_per_life: arguments.ops, lives: arguments.lives })
}

/// Ends the process when a run goes on for too long: it is stuck where no step is counted.
fn watch() -> SyncSender<u64> {
    let (alive, seeds) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut last = 0;
        loop {
            match seeds.recv_timeout(RUN_MAX) {
                Ok(seed) => last = seed,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    say(&format!("seed {last}: stuck, no end after {} s", RUN_MAX.as_secs()));
                    std::process::exit(1);
                }
            }
        }
    });
    alive
}

fn say(line: &str) {
    // Nobody is left to tell when the output is gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}
