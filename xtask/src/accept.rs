//! `cargo xtask accept`: the acceptance lines that a command can check, each passed, failed or
//! not run, with its figure.

#![expect(clippy::disallowed_methods, reason = "an acceptance check measures real time")]

mod amqp;
mod backlog;
mod broker;
mod clients;
mod crowd;
mod damage;
mod events;
mod faults;
mod kafka;
mod models;
mod overload;
mod pace;
mod poison;
mod replicas;
mod scale;
mod schedules;
mod size;
mod tail;
mod together;
mod trace;

pub(crate) use faults::faults;

use crate::run::{self, Tally, say};
use crate::suite;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// How a check ended; the text is its figure, or why there is none.
#[derive(Debug)]
pub(crate) enum Outcome {
    Passed(String),
    Failed(String),
    NotRun(String),
}

impl Outcome {
    /// Passed or failed, with its figure.
    fn of(holds: bool, figure: String) -> Outcome {
        if holds { Outcome::Passed(figure) } else { Outcome::Failed(figure) }
    }
}

/// What a check works with.
struct Ground {
    /// The broker as a newcomer builds it.
    binary: PathBuf,
    scratch: PathBuf,
    /// Also what takes more than a few minutes or gigabytes.
    full: bool,
}

impl Ground {
    /// An empty directory of a check's own, on the disk that is built on.
    fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch.join(name);
        clear(&path)?;
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {path:?}"))?;
        Ok(path)
    }
}

fn clear(path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_dir_all(path).with_context(|| format!("cannot remove {path:?}"))?;
    }
    Ok(())
}

/// One check of an acceptance line.
struct Check {
    line: u8,
    states: &'static str,
    run: fn(&Ground) -> Result<Outcome>,
}

/// The lines of "one engine, two wires".
const TWO_WIRES: &[Check] = &[
    Check { line: 1, states: "the release build starts, both wires answer", run: broker::starts },
    Check { line: 2, states: "every client's cases pass against us", run: clients::against_us },
    Check { line: 2, states: "its AMQP cases pass on RabbitMQ", run: clients::against_rabbitmq },
    Check { line: 2, states: "its Kafka cases pass on Apache Kafka", run: clients::against_kafka },
    Check { line: 3, states: "interchange, also after a restart", run: clients::interchange },
    Check { line: 4, states: "SIGKILL loses nothing acknowledged", run: damage::kills },
    Check { line: 4, states: "power cuts lose nothing acknowledged", run: damage::power_cuts },
    Check {
        line: 4,
        states: "simulated crashes; planted faults are found",
        run: damage::simulated,
    },
    Check {
        line: 5,
        states: "a corrupted frame is reported with its place",
        run: damage::corrupted,
    },
    Check { line: 5, states: "a deleted index file is rebuilt", run: damage::index_deleted },
    Check { line: 6, states: "AMQP: each ack follows the sync of its record", run: trace::amqp },
    Check { line: 6, states: "Kafka: each ack follows the sync of its record", run: trace::kafka },
    Check {
        line: 7,
        states: "a parked message and a slow topic do not pin the disk",
        run: size::parked,
    },
    Check { line: 7, states: "bytes written per byte published <= 1.25", run: size::written },
    Check { line: 8, states: "server CPU and latency beside the peers", run: clients::bench },
    Check { line: 9, states: "start to first connection within 50 ms", run: size::start_time },
    Check { line: 9, states: "the same on 10 GB within 1 s", run: size::start_large },
    Check { line: 9, states: "idle memory at most 20 MB", run: size::idle_memory },
    Check { line: 9, states: "stripped binary at most 25 MB", run: size::binary },
    Check { line: 9, states: "10 million backlogged messages below 200 MB", run: size::backlog },
    Check { line: 10, states: "1,000 AMQP connections share fairly", run: crowd::amqp },
    Check { line: 10, states: "1,000 Kafka connections share fairly", run: crowd::kafka },
];

/// The lines of "the engine at scale and under fire".
const UNDER_FIRE: &[Check] = &[
    Check {
        line: 1,
        states: "messages in 1,000 queues below 1 GiB, in order",
        run: backlog::backlog,
    },
    Check {
        line: 1,
        states: "a cold backlog is read at 60 % of the disk's speed",
        run: backlog::cold,
    },
    Check {
        line: 1,
        states: "bytes written per byte published <= 2.2 with unzip",
        run: backlog::written_unzipped,
    },
    Check { line: 2, states: "100,000 queues below 100 MB, start below 2 s", run: scale::queues },
    Check { line: 2, states: "publish p99 beside 100,000 queues <= 1.5", run: scale::latency },
    Check { line: 3, states: "a full disk blocks, drains and resumes", run: scale::full_disk },
    Check { line: 6, states: "overload: goodput, memory and progress", run: overload::overload },
    Check {
        line: 7,
        states: "a poisoned message does not pin disk or memory",
        run: poison::poison,
    },
    Check { line: 8, states: "publish p99.9 beside unzip <= 1.5", run: backlog::latency },
    Check { line: 8, states: "p99.9 with checkpoints <= 1.5 times without", run: tail::latency },
    Check { line: 9, states: "start after SIGKILL on 20 GB within 2 s", run: size::start_killed },
];

/// The lines of "queues that do everything".
const QUEUES: &[Check] = &[
    Check {
        line: 1,
        states: "delivery agrees with its model, features combined",
        run: models::delivery,
    },
    Check { line: 1, states: "so does the engine, with crashes", run: models::crashes },
    Check { line: 1, states: "planted faults of the features are found", run: models::planted },
    Check {
        line: 4,
        states: "all features on one queue, failing consumers and SIGKILLs",
        run: together::together,
    },
    Check {
        line: 5,
        states: "10 million scheduled: memory, start, list, cancel and lateness",
        run: schedules::year,
    },
    Check {
        line: 6,
        states: "rates within 2 % on one and ten consumers, caps kept",
        run: pace::pace,
    },
    Check {
        line: 7,
        states: "event store: reads of one key, appends under contention",
        run: events::store,
    },
    Check {
        line: 8,
        states: "CPU of each feature beside a plain queue and RabbitMQ",
        run: clients::features,
    },
];

/// The lines of "three replicas".
const REPLICAS: &[Check] = &[
    Check { line: 1, states: "openraft's own suite passes on our log", run: replicas::suite },
    Check { line: 2, states: "simulated clusters under storms", run: replicas::storms },
    Check { line: 3, states: "damage and power cuts, step by step", run: replicas::scenarios },
    Check { line: 4, states: "planted faults are found", run: replicas::planted },
];

/// The sets of lines, by their names.
const SETS: &[(&str, &[Check])] =
    &[(NAMES[0], TWO_WIRES), (NAMES[1], UNDER_FIRE), (NAMES[2], QUEUES), (NAMES[3], REPLICAS)];

/// Names of the sets of lines.
pub(crate) const NAMES: [&str; 4] = ["two-wires", "under-fire", "queues", "cluster"];

/// Runs the checks of a set, all or those of some lines; whether none failed.
///
/// Of the broker that is given, or of the release build of this tree.
pub(crate) fn run(name: &str, only: &[u8], full: bool, binary: Option<PathBuf>) -> Result<bool> {
    let set = SETS.iter().find(|(known, _)| *known == name).context("no such set of lines")?.1;
    let scratch = run::target_dir().join("accept");
    let ready = binary.is_some() || run::exists("crates/crossdock");
    if ready && binary.is_none() {
        anyhow::ensure!(run::succeeds(&mut suite::build_release())?, "the release build failed");
    }
    let binary = binary.unwrap_or_else(suite::release_binary);
    let ground = Ground { binary: binary.canonicalize().unwrap_or(binary), scratch, full };
    let mut sum = Tally::default();
    for check in set.iter().filter(|check| only.is_empty() || only.contains(&check.line)) {
        let outcome = if ready {
            (check.run)(&ground).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
        } else {
            Outcome::NotRun("there is no broker binary yet".into())
        };
        let (word, figure, tally) = match outcome {
            Outcome::Passed(figure) => ("passed", figure, Tally::one(true)),
            Outcome::Failed(figure) => ("FAILED", figure, Tally::one(false)),
            Outcome::NotRun(why) => ("not run", why, Tally::skip()),
        };
        sum.add(tally);
        say(&format!("{:>2} {word:<7} {}: {figure}", check.line, check.states));
    }
    clear(&ground.scratch)?;
    say(&format!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped));
    Ok(sum.failed == 0)
}
