//! `cargo xtask faults`: what becomes of acknowledged messages when the disk fails, the power goes
//! or files are damaged, on the real binary, a row for each fault.
//!
//! What is promised: whatever is not there any more is reported, with its place, by `crossdock
//! check`, in the log and in the metrics; a sync or write that failed ends the process; a full disk
//! never does.

mod harm;
mod load;

use super::broker::Broker;
use super::{Ground, clear};
use crate::run::{self, Tally, say};
use crate::suite;
use anyhow::{Context as _, Result};
use load::Load;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Segments and checkpoints of a few MiB, so that a short load has several.
const SMALL: &str = "--segment-bytes=4194304";
/// What the process ends with when the disk is not to be trusted.
const DISK_FAILED: i32 = 74;
/// Every checkpoint has its state in files of chunks.
const CHUNKED: &str = "--checkpoint-inline-bytes=0";
/// Longest wait for something that the broker is to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The scrubber's pace.
const SCRUB_FAST: &str = "--scrub-bytes=1000000000";
const SCRUB_NOT: &str = "--scrub-bytes=0";
const FOUND: &str = "crossdock_store_findings_total";
const LOST: &str = "crossdock_lost_records_total";
/// What a line about damage has in the log, and of `check`.
const TOLD: [&str; 2] = ["ERROR", "damaged: "];

/// How the broker's life under load ends.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// SIGKILL after the load.
    Killed,
    /// The same, with checkpoints in chunks.
    KilledChunked,
    /// SIGTERM after the load.
    Stopped,
    /// The power goes when so many messages are acknowledged; what was not synced survives as the
    /// seed says.
    PowerCut { seed: u64, acknowledged: usize },
    /// By itself, under this fault.
    Fails(&'static str),
    /// By itself, with a system call made to fail.
    Injected(&'static str),
    /// It meets this fault and goes on; then SIGKILL.
    Endures(&'static str),
}

/// What is promised of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// Nothing is missing, and there is nothing to tell.
    Kept,
    /// Nothing is missing, and the damage is told.
    Told,
    /// What is missing is told, and counted.
    Counted,
    /// What is missing is told and counted when somebody misses it; nothing else can tell.
    Missed,
    /// Whatever it comes to, it is told.
    ToldAnyhow,
    /// The store opens only with `--salvage`, and says so.
    Refused,
}

/// What is done before the store is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is opened.
    Start,
    /// It is opened, and the scrubber goes through it.
    Scrub,
    /// `crossdock check --repair`, and then it is opened.
    Repair,
}

struct Row {
    name: &'static str,
    life: Life,
    then: Then,
    harm: fn(&Path, &Load) -> Result<String>,
    promise: Promise,
}

const fn harmed(
    name: &'static str,
    harm: fn(&Path, &Load) -> Result<String>,
    promise: Promise,
) -> Row {
    Row { name, life: Life::Killed, then: Then::Start, harm, promise }
}

const fn failing(name: &'static str, life: Life) -> Row {
    Row { name, life, then: Then::Start, harm: harm::nothing, promise: Promise::Kept }
}

const ROWS: &[Row] = &[
    failing("SIGKILL", Life::Killed),
    failing("EIO on sync", Life::Fails("--fault=sync-error@150")),
    failing("EIO on sync, injected", Life::Injected("fdatasync,fsync:error=EIO:when=150")),
    failing("EIO on write", Life::Fails("--fault=write-error@150")),
    failing("EIO on write, injected", Life::Injected("pwrite64,pwritev:error=EIO:when=150")),
    failing("short writes", Life::Endures("--fault=short-write@20+400")),
    failing("ENOSPC for a while", Life::Endures("--fault=full@150+12")),
    failing("power cut", Life::PowerCut { seed: 1, acknowledged: 400 }),
    failing("power cut, another", Life::PowerCut { seed: 2, acknowledged: 700 }),
    harmed("bit in a queue's message", harm::queue_body, Promise::Counted),
    harmed("bit in a queue's message, replayed", harm::queue_body_replayed, Promise::Counted),
    harmed("bit in a topic's record", harm::topic_body, Promise::Counted),
    harmed("bit in a topic's record, replayed", harm::topic_body_replayed, Promise::Counted),
    harmed("bit in a frame's header", harm::old_frame_header, Promise::Told),
    harmed("bit in a frame's header, replayed", harm::frame_header, Promise::Refused),
    harmed("bit in a round's header", harm::old_round_header, Promise::Told),
    harmed("bit in a round's header, replayed", harm::round_header, Promise::Refused),
    harmed("bit in a superblock", harm::superblock, Promise::Told),
    harmed("bit in the last superblock", harm::last_superblock, Promise::Told),
    harmed("bit in an index file", harm::index_file, Promise::Told),
    harmed("bit in a checkpoint", harm::checkpoint, Promise::Told),
    harmed("bit in both checkpoints", harm::both_checkpoints, Promise::ToldAnyhow),
    Row {
        name: "bit in a checkpoint's chunk file",
        life: Life::KilledChunked,
        then: Then::Start,
        harm: harm::chunk_file,
        promise: Promise::Told,
    },
    Row {
        name: "bit in both checkpoints' chunk files",
        life: Life::KilledChunked,
        then: Then::Start,
        harm: harm::both_chunk_files,
        promise: Promise::ToldAnyhow,
    },
    harmed(
        "both checkpoints, first segment gone",
        harm::both_checkpoints_and_the_start,
        Promise::Refused,
    ),
    harmed("segment cut", harm::cut_segment, Promise::Counted),
    harmed("last segment cut", harm::cut_last_segment, Promise::Refused),
    harmed("first segment deleted", harm::old_segment, Promise::Counted),
    harmed("segment between deleted", harm::middle_segment, Promise::Counted),
    harmed("segment and index deleted", harm::middle_segment_and_index, Promise::Counted),
    harmed("last segment deleted", harm::last_segment, Promise::Refused),
    Row {
        name: "bit in a message, clean stop",
        life: Life::Stopped,
        then: Then::Start,
        harm: harm::queue_body,
        promise: Promise::Counted,
    },
    Row {
        name: "bit in a message, scrubbed",
        life: Life::Killed,
        then: Then::Scrub,
        harm: harm::queue_body,
        promise: Promise::Counted,
    },
    Row {
        name: "segment deleted, repaired",
        life: Life::Killed,
        then: Then::Repair,
        harm: harm::middle_segment,
        promise: Promise::Missed,
    },
    Row {
        name: "index file damaged, repaired",
        life: Life::Killed,
        then: Then::Repair,
        harm: harm::index_file,
        promise: Promise::Kept,
    },
    Row {
        name: "checkpoint damaged, repaired",
        life: Life::Killed,
        then: Then::Repair,
        harm: harm::checkpoint,
        promise: Promise::Kept,
    },
    Row {
        name: "chunk file damaged, repaired",
        life: Life::KilledChunked,
        then: Then::Repair,
        harm: harm::chunk_file,
        promise: Promise::Kept,
    },
];

/// What was seen of a row.
#[derive(Debug, Default)]
struct Seen {
    did: String,
    ended: Option<String>,
    acknowledged: usize,
    missing: usize,
    /// By the metric.
    counted: u64,
    /// What a start without `--salvage` said instead of starting.
    refused: Option<String>,
    /// What `check` said is damaged.
    checked: Option<String>,
    /// What the log of the next start said.
    logged: Option<String>,
}

impl Seen {
    /// Whether something is missing that nobody told of.
    fn is_silent(&self) -> bool {
        let counted = self.counted >= self.missing as u64;
        self.missing > 0 && (self.logged.is_none() || !(counted || self.refused.is_some()))
    }

    fn keeps(&self, promise: Promise) -> bool {
        let told = self.checked.is_some() && self.logged.is_some();
        match promise {
            _ if self.is_silent() => false,
            Promise::Kept => self.missing == 0 && self.refused.is_none() && self.checked.is_none(),
            Promise::Told => self.missing == 0 && self.refused.is_none() && self.checked.is_some(),
            Promise::Counted => self.missing > 0 && self.refused.is_none() && told,
            Promise::Missed => self.missing > 0 && self.refused.is_none() && self.logged.is_some(),
            Promise::ToldAnyhow => told,
            Promise::Refused => self.refused.is_some() && told,
        }
    }

    fn line(&self, name: &str, verdict: &str) -> String {
        let Seen { acknowledged, missing, counted, .. } = self;
        let silent = if self.is_silent() { "YES" } else { "no" };
        let told = [("start", &self.refused), ("check", &self.checked), ("log", &self.logged)];
        let told: Vec<String> = told
            .iter()
            .filter_map(|(who, said)| Some(format!("{who}: {}", said.as_ref()?)))
            .collect();
        let told = if told.is_empty() { "nothing".to_owned() } else { told.join("; ") };
        let did = [Some(self.did.as_str()), self.ended.as_deref()];
        let did: Vec<&str> = did.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        format!(
            "{verdict} | {name} | {} | {acknowledged} acknowledged, {missing} missing, {counted} \
             counted as lost | {told} | lost silently: {silent}",
            did.join("; ")
        )
    }
}

/// Runs the rows, all or those whose name holds `only`; whether each kept what is promised.
pub(crate) fn faults(only: Option<&str>, binary: Option<PathBuf>) -> Result<bool> {
    if binary.is_none() {
        anyhow::ensure!(run::succeeds(&mut suite::build_release())?, "the release build failed");
    }
    let scratch = run::target_dir().join("faults");
    let binary = binary.unwrap_or_else(suite::release_binary);
    let ground = Ground { binary, scratch, full: false };
    let mut sum = Tally::default();
    say("verdict | fault | what happened | messages | what the user sees | lost silently");
    for row in ROWS.iter().filter(|row| only.is_none_or(|only| row.name.contains(only))) {
        if matches!(row.life, Life::Injected(_)) && !run::installed("strace") {
            say(&format!("NOT RUN | {} | strace is not installed", row.name));
            sum.add(Tally::skip());
            continue;
        }
        let (kept, line) = match see(&ground, row) {
            Ok(seen) if seen.keeps(row.promise) => (true, seen.line(row.name, "ok")),
            Ok(seen) => {
                let promised = format!("BROKEN (promised: {:?})", row.promise);
                (false, seen.line(row.name, &promised))
            }
            Err(error) => (false, format!("BROKEN | {} | {error:#}", row.name)),
        };
        say(&line);
        sum.add(Tally::one(kept));
    }
    if sum.failed == 0 {
        clear(&ground.scratch)?;
    }
    say(&format!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped));
    Ok(sum.failed == 0)
}

fn see(ground: &Ground, row: &Row) -> Result<Seen> {
    let folder: String =
        row.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let data = ground.directory(&folder)?.join("data");
    let (load, ended) = live(ground, &data, row.life)?;
    let mut seen = Seen { ended, acknowledged: load.len(), ..Seen::default() };
    seen.did = (row.harm)(&data, &load)?;
    let check = || Command::new(&ground.binary).arg("check").arg(&data).output();
    if row.then == Then::Repair {
        anyhow::ensure!(!check()?.status.success(), "check finds nothing to repair");
        let repair =
            Command::new(&ground.binary).args(["check", "--repair"]).arg(&data).output()?;
        seen.ended = Some(short(&String::from_utf8_lossy(&repair.stdout)));
    }
    let check = check()?;
    let report = String::from_utf8_lossy(&check.stdout).into_owned();
    seen.checked = (!check.status.success()).then(|| told(&report).unwrap_or(report));
    let start = |options: &[&str]| Broker::start_with(ground, &data, options);
    let fast = if row.then == Then::Scrub { SCRUB_FAST } else { SCRUB_NOT };
    let broker = match start(&[SMALL, fast]) {
        Ok(broker) => broker,
        Err(error) => {
            let said = format!("{error:#}");
            anyhow::ensure!(said.contains("--salvage"), "it does not start: {said}");
            seen.refused = Some(short(&said));
            start(&[SMALL, "--salvage"]).context("salvaging")?
        }
    };
    if row.then == Then::Scrub {
        await_finding(&broker)?;
    }
    seen.missing = load.missing(&broker)?.len();
    seen.counted = broker.metric(LOST)?;
    seen.logged = told(&broker.printed());
    broker.stop()?;
    Ok(seen)
}

/// Waits for the scrubber to find something.
fn await_finding(broker: &Broker) -> Result<()> {
    await_fact("the scrubber finds something", || Ok(broker.metric(FOUND)? > 0))?;
    let log = broker.printed();
    anyhow::ensure!(log.contains("the store is damaged"), "nothing is logged: {log}");
    Ok(())
}

/// Waits until something is so.
fn await_fact(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        anyhow::ensure!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A broker's life under load: what it acknowledged, and how it ended if that is worth telling.
fn live(ground: &Ground, data: &Path, life: Life) -> Result<(Load, Option<String>)> {
    let record = data.with_extension("record");
    let recording = format!("--record-writes={}", record.display());
    let inject = |what| format!("inject={what}");
    let mut broker = match life {
        Life::Fails(fault) | Life::Endures(fault) => {
            Broker::start_with(ground, data, &[SMALL, fault])?
        }
        Life::Injected(what) => {
            let trace = data.with_extension("trace");
            let (trace, what) = (trace.to_string_lossy().into_owned(), inject(what));
            let wrapper = ["strace", "-f", "-qq", "-e", &what, "-o", &trace];
            Broker::launch(ground, data, &wrapper, &[SMALL])?
        }
        Life::PowerCut { .. } => Broker::start_with(ground, data, &[SMALL, &recording])?,
        Life::KilledChunked => Broker::start_with(ground, data, &[SMALL, CHUNKED])?,
        Life::Killed | Life::Stopped => Broker::start_with(ground, data, &[SMALL])?,
    };
    if let Life::PowerCut { seed, acknowledged: wanted } = life {
        let load = Load::publish_and(&broker, |acknowledged| {
            let what = format!("{wanted} messages are acknowledged");
            await_fact(&what, || Ok(acknowledged.load(Relaxed) >= wanted))?;
            broker.signal("-KILL")
        })?;
        broker.end()?;
        let mut cut = Command::new(&ground.binary);
        cut.arg("power-cut").arg(data).arg("--record").arg(&record);
        let output = cut.args(["--seed", &seed.to_string()]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "no power cut: {said}");
        return Ok((load, Some(short(&said))));
    }
    let load = Load::publish(&broker)?;
    let all = 2 * load::MESSAGES as usize;
    let ended = match life {
        Life::Fails(_) | Life::Injected(_) => {
            let code = broker.end()?;
            anyhow::ensure!(code == Some(DISK_FAILED), "it ended with {code:?}: {}", broker.log());
            let log = broker.printed();
            let line = log.lines().find(|line| line.contains("the disk failed"));
            Some(format!("exit code {DISK_FAILED}: {}", short(line.unwrap_or("nothing said"))))
        }
        _ => {
            anyhow::ensure!(!broker.has_ended()?, "it ended: {}", broker.log());
            anyhow::ensure!(load.len() == all, "{} of {all} acknowledged", load.len());
            // Of a last round that may be torn, damage is no damage.
            await_fact("the last round is known to be durable", || harm::is_witnessed(data))?;
            let endured = matches!(life, Life::Endures(_)).then(|| "it went on".to_owned());
            match life {
                Life::Stopped => drop(broker.stop()?),
                _ => broker.kill()?,
            }
            endured
        }
    };
    Ok((load, ended))
}

/// The first line that tells of damage or loss, and how many there are.
fn told(text: &str) -> Option<String> {
    let tells = |line: &&str| TOLD.iter().any(|word| line.contains(word));
    let lines: Vec<&str> = text.lines().filter(tells).collect();
    let first = lines.first()?;
    Some(format!("{} ({} lines)", short(first), lines.len()))
}

/// A text without colours, in one line that a table can hold.
fn short(text: &str) -> String {
    let mut plain = String::new();
    let mut in_colour = false;
    for letter in text.chars() {
        match letter {
            '\u{1b}' => in_colour = true,
            'm' if in_colour => in_colour = false,
            _ if in_colour => {}
            '\n' | '|' => plain.push_str(" / "),
            _ => plain.push(letter),
        }
    }
    let cut: String = plain.chars().take(260).collect();
    cut.trim_end_matches([' ', '/']).to_owned()
}
