//! `cargo xtask sim`: runs seeds, and says which one broke what.

use clap::Parser;
use sim::{ClusterPlan, ClusterTally, Plan, SCENARIOS, Tally, Violation, run_cluster};
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
    /// Operations of clients between two ends of the process, on average: 300 unless told; of a run of a
    /// cluster at least: 10,000.
    #[arg(long)]
    ops: Option<u64>,
    /// Ends of the process per seed.
    #[arg(long, default_value_t = 5)]
    lives: u64,
    #[command(flatten)]
    three: Three,
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

/// Clusters instead of single brokers.
#[derive(Debug, clap::Args)]
struct Three {
    /// Three brokers on a simulated network instead of one.
    #[arg(long)]
    cluster: bool,
    /// Storms over a cluster per seed.
    #[arg(long, default_value_t = 16)]
    storms: u64,
    /// What happens to a cluster in the middle of its run, instead of storms.
    #[arg(long, value_parser = SCENARIOS.map(|(name, _)| name))]
    scenario: Option<String>,
    /// Does each run of a cluster twice, and holds them against each other.
    #[arg(long)]
    twice: bool,
    /// So many runs of clusters at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// One seed of a cluster in this process, told in numbers.
    #[arg(long, hide = true)]
    alone: bool,
}

impl Arguments {
    fn ops(&self) -> u64 {
        self.ops.unwrap_or(if self.three.cluster { 10_000 } else { 300 })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list_plants {
        let of_a_cluster = io::REPLICA_FAULTS.iter().chain(io::SHARD_FAULTS);
        match arguments.three.cluster {
            true => of_a_cluster.for_each(|(name, _)| say(name)),
            false => io::FAULTS.iter().for_each(|(name, _)| say(name)),
        }
        return ExitCode::SUCCESS;
    }
    let alive = watch();
    if arguments.three.alone {
        return alone(&arguments, &alive);
    }
    match &arguments.plant {
        Some(name) if arguments.three.cluster => {
            drop(alive);
            planted(name, seeds(&arguments), |seed| cluster_broken(seed, &arguments))
        }
        Some(name) => plant(&arguments, name, &alive),
        None if arguments.three.cluster => {
            drop(alive);
            clusters(&arguments)
        }
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
                let (ops, lives) = (arguments.ops(), arguments.lives);
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

/// Runs seeds of clusters: none may break anything. Each has a process of its own: what chance is left to
/// libraries begins with the process, so that a seed alone is what it was among others.
fn clusters(arguments: &Arguments) -> ExitCode {
    let clock = io::SystemClock::new();
    let mut total = ClusterTally::default();
    let (mut count, mut broken) = (0, 0);
    let all: Vec<u64> = seeds(arguments).collect();
    for some in all.chunks(arguments.three.jobs.max(1)) {
        let begun: Vec<_> = some.iter().map(|seed| (*seed, begin(*seed, arguments))).collect();
        for (seed, process) in begun {
            count += 1;
            match process.and_then(std::process::Child::wait_with_output) {
                Ok(output) if output.status.success() => {
                    let tally = told(&String::from_utf8_lossy(&output.stdout));
                    if arguments.three.twice && !is_same(seed, arguments, tally) {
                        broken += 1;
                        say(&format!("seed {seed}: another run of it is another one"));
                    }
                    total += tally;
                }
                Ok(output) => {
                    broken += 1;
                    say(String::from_utf8_lossy(&output.stdout).trim_end());
                }
                Err(error) => {
                    broken += 1;
                    say(&format!("seed {seed}: its process cannot be started: {error}"));
                }
            }
        }
        if broken > 0 && !arguments.keep_going {
            break;
        }
    }
    let ClusterTally { ops, acknowledged, storms, leaderships, restarts, silence_ms, .. } = total;
    say(&format!(
        "{count} seeds of clusters from {}: {ops} operations, {acknowledged} acknowledged, {storms} storms, \
         {leaderships} leaderships, {restarts} restarts, at most {silence_ms} ms until writes are accepted \
         again, {:.1} s, {broken} broken",
        arguments.seed,
        io::Clock::micros(&clock) as f64 / 1e6
    ));
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn begin(seed: u64, arguments: &Arguments) -> std::io::Result<std::process::Child> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["--cluster", "--alone", "--seed", &seed.to_string()]);
    command.args(["--ops", &arguments.ops().to_string()]);
    command.args(["--storms", &arguments.three.storms.to_string()]);
    if let Some(fault) = &arguments.plant {
        command.args(["--plant", fault]);
    }
    if let Some(scenario) = &arguments.three.scenario {
        command.args(["--scenario", scenario]);
    }
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn()
}

/// Whether another run of a seed comes to the same.
fn is_same(seed: u64, arguments: &Arguments, tally: ClusterTally) -> bool {
    let again = begin(seed, arguments).and_then(std::process::Child::wait_with_output);
    again.is_ok_and(|output| told(&String::from_utf8_lossy(&output.stdout)) == tally)
}

/// Does the run of one seed in this process, and tells what it came to.
fn alone(arguments: &Arguments, alive: &SyncSender<u64>) -> ExitCode {
    let (seed, ops, storms) = (arguments.seed, arguments.ops(), arguments.three.storms);
    if let Some(name) = &arguments.plant
        && !io::plant(name)
    {
        say(&format!("{name}: no such fault, or this build (without `--cfg plant`) has none"));
        return ExitCode::FAILURE;
    }
    // The one who listens ends the process, never itself alone.
    let _ = alive.send(seed);
    let named = |name: &String| SCENARIOS.iter().find(|(known, _)| known == name);
    let scenario = arguments.three.scenario.as_ref().and_then(named).map(|(_, scenario)| *scenario);
    let storms = if scenario.is_some() { 0 } else { storms };
    match run_cluster(seed, ClusterPlan { ops, storms, scenario }) {
        Ok(tally) => {
            let ClusterTally {
                ops,
                acknowledged,
                storms,
                leaderships,
                restarts,
                silence_ms,
                trace,
            } = tally;
            let all = [ops, acknowledged, storms, leaderships, restarts, silence_ms, trace];
            say(&all.map(|number| number.to_string()).join(" "));
            ExitCode::SUCCESS
        }
        Err(violation) => {
            say(&format!("seed {seed}: {violation}"));
            let how = match &arguments.three.scenario {
                Some(scenario) => format!("--scenario {scenario}"),
                None => format!("--storms {storms}"),
            };
            say(&format!(
                "repeat with: cargo xtask sim --cluster --seed {seed} --ops {ops} -- {how}"
            ));
            ExitCode::FAILURE
        }
    }
}

/// What [`alone`] told.
fn told(line: &str) -> ClusterTally {
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [ops, acknowledged, storms, leaderships, restarts, silence_ms, trace] = numbers[..] else {
        return ClusterTally::default();
    };
    ClusterTally { ops, acknowledged, storms, leaderships, restarts, silence_ms, trace }
}

/// Runs seeds with a fault in this process until one finds it.
fn plant(arguments: &Arguments, name: &str, alive: &SyncSender<u64>) -> ExitCode {
    if !io::plant(name) {
        say(&format!("{name}: no such fault, or this build (without `--cfg plant`) has none"));
        return ExitCode::FAILURE;
    }
    // What a fault makes panic is told by the violation.
    std::panic::set_hook(Box::new(|_| {}));
    planted(name, seeds(arguments), |seed| {
        run(seed, arguments, alive).err().map(|violation| violation.to_string())
    })
}

/// Runs seeds until one finds a fault; `broken` says what a run broke.
fn planted(
    name: &str,
    mut seeds: std::ops::Range<u64>,
    broken: impl Fn(u64) -> Option<String>,
) -> ExitCode {
    let all = seeds.clone();
    match seeds.find_map(|seed| Some((seed, broken(seed)?))) {
        Some((seed, violation)) => {
            say(&format!("{name}: found at seed {seed}: {violation}"));
            ExitCode::SUCCESS
        }
        None => {
            say(&format!("{name}: NOT FOUND in seeds {all:?}"));
            ExitCode::FAILURE
        }
    }
}

/// What a run of a cluster broke, if it did.
fn cluster_broken(seed: u64, arguments: &Arguments) -> Option<String> {
    let output = begin(seed, arguments).and_then(std::process::Child::wait_with_output);
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().into())
        }
        Err(error) => Some(error.to_string()),
    }
}

fn seeds(arguments: &Arguments) -> std::ops::Range<u64> {
    arguments.seed..arguments.seed.saturating_add(arguments.count)
}

fn run(seed: u64, arguments: &Arguments, alive: &SyncSender<u64>) -> Result<Tally, Violation> {
    // The one who listens ends the process, never itself alone.
    let _ = alive.send(seed);
    sim::run_caught(seed, Plan { ops_per_life: arguments.ops(), lives: arguments.lives })
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
