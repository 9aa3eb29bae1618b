//! Checks of sizes and times: the binary, memory, the disk, the start.

use super::amqp::{Amqp, publish_frames};
use super::broker::Broker;
use super::kafka::Kafka;
use super::{Ground, Outcome};
use crate::run;
use anyhow::{Context as _, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const STRIPPED_BYTES_MAX: u64 = 25_000_000;
const START_MS_MAX: u128 = 50;
const LARGE_START_MS_MAX: u128 = 1000;
const IDLE_KB_MAX: u64 = 20_000;
const BACKLOG_GROWTH_KB_MAX: u64 = 200_000;
const STORE_BYTES_MAX: u64 = 2_000_000_000;
const WRITTEN_RATIO_MAX: f64 = 1.25;

/// Body of the messages that pass through.
const MESSAGE_BYTES: usize = 1024;

/// Starts whose median is the start's time.
const STARTS: usize = 5;

/// Messages that are published and not yet confirmed at most.
const WINDOW: u64 = 2_000;

/// Line 9: the size of the stripped binary that is handed out.
pub(super) fn binary(_: &Ground) -> Result<Outcome> {
    let profile = ["build", "--profile", "dist", "--package", "crossdock", "--bin", "crossdock"];
    if !run::succeeds(run::cargo().args(profile))? {
        return Ok(Outcome::Failed("the build failed".into()));
    }
    let binary = run::target_dir().join("dist/crossdock");
    let bytes = std::fs::metadata(&binary).with_context(|| format!("no {binary:?}"))?.len();
    Ok(Outcome::of(bytes <= STRIPPED_BYTES_MAX, format!("{:.1} MB", bytes as f64 / 1e6)))
}

/// Line 9: from the process's start to its first accepted connection, on an empty store.
pub(super) fn start_time(ground: &Ground) -> Result<Outcome> {
    let directory = ground.directory("start")?;
    let mut times = Vec::new();
    for number in 0..STARTS {
        let broker = Broker::start(ground, &directory.join(number.to_string()))?;
        times.push(broker.started_in.as_micros());
    }
    times.sort_unstable();
    let median_ms = times[STARTS / 2] as f64 / 1e3;
    let figure = format!("median {median_ms:.1} ms of {STARTS} starts");
    Ok(Outcome::of(times[STARTS / 2] <= START_MS_MAX * 1000, figure))
}

/// Line 9 of two-wires: the same on 10 GB that a killed broker left, in one queue that nobody has
/// read.
pub(super) fn start_large(ground: &Ground) -> Result<Outcome> {
    start_on(ground, 10_000_000_000, LARGE_START_MS_MAX)
}

/// Line 9 of under-fire: the same on 20 GB.
pub(super) fn start_killed(ground: &Ground) -> Result<Outcome> {
    start_on(ground, 20_000_000_000, 2 * LARGE_START_MS_MAX)
}

fn start_on(ground: &Ground, bytes: u64, start_ms_max: u128) -> Result<Outcome> {
    if !ground.full {
        return Ok(Outcome::NotRun(format!("it writes {} GB: --full", bytes / 1_000_000_000)));
    }
    let data = ground.directory("large")?.join("data");
    let broker = Broker::start(ground, &data)?;
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare("large")?;
    amqp.confirm()?;
    let messages = bytes / MESSAGE_BYTES as u64 / WINDOW * WINDOW;
    publish_many(&mut amqp, "large", &[b'x'; MESSAGE_BYTES], &mut 0, messages)?;
    broker.kill()?;
    let (mut slowest, mut times) = (Duration::ZERO, Vec::new());
    for _ in 0..STARTS {
        let broker = Broker::start(ground, &data)?;
        slowest = slowest.max(broker.started_in);
        times.push(format!("{} ms", broker.started_in.as_millis()));
        // Not a clean stop: the next start has as much to do.
        broker.kill()?;
    }
    let gigabytes = bytes_below(&data)? as f64 / 1e9;
    let figure = format!("{gigabytes:.1} GB, {messages} messages: {}", times.join(", "));
    Ok(Outcome::of(slowest.as_millis() <= start_ms_max, figure))
}

/// Line 9: resident memory of an idle broker that a client of each wire has used.
pub(super) fn idle_memory(ground: &Ground) -> Result<Outcome> {
    let broker = Broker::start(ground, &ground.directory("idle")?.join("data"))?;
    Amqp::connect(broker.amqp)?.declare("idle")?;
    std::thread::sleep(Duration::from_secs(2));
    let resident = broker.status_kb("VmRSS")?;
    let figure = format!("{:.1} MB resident", resident as f64 / 1e3);
    Ok(Outcome::of(resident <= IDLE_KB_MAX, figure))
}

/// Line 9: what 10 million messages of 100 bytes in one queue cost in memory.
pub(super) fn backlog(ground: &Ground) -> Result<Outcome> {
    const MESSAGES: u64 = 10_000_000;
    let broker = Broker::start(ground, &ground.directory("backlog")?.join("data"))?;
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare("backlog")?;
    amqp.confirm()?;
    let before = broker.status_kb("VmRSS")?;
    publish_many(&mut amqp, "backlog", &[b'x'; 100], &mut 0, MESSAGES)?;
    let (after, peak) = (broker.status_kb("VmRSS")?, broker.status_kb("VmHWM")?);
    let growth = peak.saturating_sub(before);
    let figure = format!(
        "{:.0} MB more at most, {:.0} MB resident after {:.0} M messages",
        growth as f64 / 1e3,
        after as f64 / 1e3,
        MESSAGES as f64 / 1e6,
    );
    Ok(Outcome::of(growth < BACKLOG_GROWTH_KB_MAX, figure))
}

/// Publishes until `end` messages were sent on this connection, and all are confirmed.
fn publish_many(amqp: &mut Amqp, queue: &str, body: &[u8], sent: &mut u64, end: u64) -> Result<()> {
    let mut frames = Vec::new();
    let batch = WINDOW / 4;
    for _ in 0..batch {
        publish_frames(&mut frames, queue, body);
    }
    while *sent < end {
        amqp.send(&frames)?;
        *sent += batch;
        amqp.await_confirms(sent.saturating_sub(WINDOW))?;
    }
    amqp.await_confirms(*sent)
}

/// Line 7: a parked message and a topic with a record now and then, while much passes through another queue, consumed promptly.
pub(super) fn parked(ground: &Ground) -> Result<Outcome> {
    let gigabytes = if ground.full { 20 } else { 3 };
    let passed = pass_through(ground, "parked", gigabytes)?;
    let largest = passed.largest_bytes as f64 / 1e9;
    let figure = format!("at most {largest:.2} GB on the disk while {gigabytes} GB passed");
    if passed.largest_bytes >= STORE_BYTES_MAX {
        return Ok(Outcome::Failed(figure));
    }
    Ok(if ground.full {
        Outcome::Passed(figure)
    } else {
        Outcome::NotRun(format!("{figure}; 20 GB with --full"))
    })
}

/// Line 7: bytes written to the disk per byte published, at 1 KiB when batched, once segments are
/// being recycled.
pub(super) fn written(ground: &Ground) -> Result<Outcome> {
    let ratio = pass_through(ground, "written", 2)?.written_ratio;
    Ok(Outcome::of(ratio <= WRITTEN_RATIO_MAX, format!("{ratio:.2} bytes written per byte")))
}

/// Messages that the consumer may be behind its publisher.
const BEHIND_MAX: u64 = 50_000;

struct Passed {
    /// Most that the store took on the disk.
    largest_bytes: u64,
    /// Bytes written per byte published, in the second half.
    written_ratio: f64,
}

/// Publishes and consumes so much through one queue, with one message parked in another and a
/// record now and then for a topic that keeps its records for seven days, as topics do.
fn pass_through(ground: &Ground, name: &str, gigabytes: u64) -> Result<Passed> {
    const PARTS: u64 = 200;
    let broker = Broker::start(ground, &ground.directory(name)?.join("data"))?;
    let mut publisher = Amqp::connect(broker.amqp)?;
    publisher.declare("parked")?;
    publisher.declare("busy")?;
    publisher.confirm()?;
    publisher.publish("parked", b"waits")?;
    let mut slow = Kafka::connect(broker.kafka)?;
    slow.create_by_asking("slow")?;
    publisher.await_confirms(1)?;
    let messages = gigabytes * 1_000_000_000 / MESSAGE_BYTES as u64 / WINDOW * WINDOW;
    let port = broker.amqp;
    let consumed = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&consumed);
    let consumer = std::thread::spawn(move || consume_many(port, "busy", messages, &seen));
    let (mut sent, mut largest_bytes, mut half) = (1, 0, (0, 0));
    for part in 1..=PARTS {
        let end = 1 + messages * part / PARTS;
        publish_many(&mut publisher, "busy", &[b'x'; MESSAGE_BYTES], &mut sent, end)?;
        // Consumed promptly: a backlog would take its room by right.
        while !consumer.is_finished() && consumed.load(Relaxed) + BEHIND_MAX < sent {
            std::thread::sleep(Duration::from_millis(1));
        }
        slow.produce("slow", &[b's'; MESSAGE_BYTES])?;
        largest_bytes = largest_bytes.max(bytes_below(&broker.data)?);
        if part == PARTS / 2 {
            half = (sent, broker.written_bytes()?);
        }
    }
    let written = broker.written_bytes()? - half.1;
    let published = (sent - half.0) * MESSAGE_BYTES as u64;
    match consumer.join() {
        Ok(result) => result?,
        Err(_) => anyhow::bail!("the consumer panicked"),
    }
    Ok(Passed { largest_bytes, written_ratio: written as f64 / published as f64 })
}

fn consume_many(port: u16, queue: &str, messages: u64, seen: &AtomicU64) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.consume(queue, 1000)?;
    for count in 1..=messages {
        let (tag, _) = amqp.delivery()?;
        if count % 250 == 0 || count == messages {
            amqp.ack(tag)?;
            seen.store(count, Relaxed);
        }
    }
    Ok(())
}

/// Bytes on the disk of the files below `path`: blocks in use, not lengths.
fn bytes_below(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // A file may be recycled between listing and looking.
        let Ok(metadata) = entry.metadata() else { continue };
        sum +=
            if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(sum)
}
