//! Checks that kill the broker or damage its store.

use super::amqp::Amqp;
use super::broker::Broker;
use super::{Ground, Outcome};
use crate::run::{self, Tally};
use crate::sim::{self, Runs};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const KILLS: u64 = 100;

/// Numbers published before index files are deleted.
const INDEXED: u64 = 1000;

/// Rounds of loads of real clients; nine of ten end with a power cut or several: some 210 cuts.
const CUT_ROUNDS: &str = "195";

/// Messages published before a store is damaged.
const STORED: usize = 200;

/// Line 4: a publisher with confirms is killed with the broker at moments that wander through its
/// work; after each start every confirmed message must be there.
pub(super) fn kills(ground: &Ground) -> Result<Outcome> {
    let data = ground.directory("kills")?.join("data");
    let (mut confirmed, mut slowest) = (0, Duration::ZERO);
    for round in 0..KILLS {
        let broker = Broker::start(ground, &data)?;
        slowest = slowest.max(broker.started_in);
        let (seen, port) = (AtomicU64::new(confirmed), broker.amqp);
        std::thread::scope(|scope| {
            // The connection ends with the broker: that is no failure of the publisher's.
            scope.spawn(|| publish_until_cut(port, &seen).is_err());
            std::thread::sleep(Duration::from_millis(20 + round * 7 % 90));
            broker.kill()
        })?;
        confirmed = seen.into_inner();
    }
    let broker = Broker::start(ground, &data)?;
    let missing = missing(broker.amqp, confirmed)?;
    let figure = format!(
        "{KILLS} kills, {confirmed} confirmed, {missing} missing, slowest start {} ms",
        slowest.as_millis()
    );
    Ok(Outcome::of(missing == 0 && confirmed > KILLS, figure))
}

/// Publishes numbers from `seen` on; `seen` is the last one that was confirmed.
fn publish_until_cut(port: u16, seen: &AtomicU64) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.declare("killed")?;
    amqp.confirm()?;
    let first = seen.load(SeqCst);
    let mut sent = 0;
    loop {
        for _ in 0..10 {
            sent += 1;
            amqp.publish("killed", (first + sent).to_string().as_bytes())?;
        }
        amqp.await_confirms(sent)?;
        seen.store(first + sent, SeqCst);
    }
}

/// How many of the numbers 1 to `confirmed` are not in the queue.
fn missing(port: u16, confirmed: u64) -> Result<u64> {
    let mut amqp = Amqp::connect(port)?;
    // Closes what was published and never confirmed, so that the end can be told.
    amqp.declare("killed")?;
    amqp.confirm()?;
    amqp.publish("killed", b"end")?;
    amqp.await_confirms(1)?;
    amqp.consume("killed", 0)?;
    let mut found = vec![false; usize::try_from(confirmed)? + 1];
    found[0] = true;
    loop {
        let (_, body) = amqp.delivery()?;
        if body == b"end" {
            break;
        }
        // What is no number was published between them.
        let Ok(number) = String::from_utf8(body)?.parse::<usize>() else { continue };
        if let Some(place) = found.get_mut(number) {
            *place = true;
        }
    }
    Ok(found.iter().filter(|found| !**found).count() as u64)
}

/// Line 4: power cuts of the real binary under real clients of both wires.
pub(super) fn power_cuts(ground: &Ground) -> Result<Outcome> {
    let mut command = run::python("clients/crash.py");
    command.args(["--power-cuts", "--seconds-max", "1", "--rounds", CUT_ROUNDS, "--binary"]);
    let output = command.arg(&ground.binary).stderr(Stdio::inherit()).output();
    let output = output.context("cannot start the loads")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut last = text.lines().rev();
    let tally = last.next().and_then(Tally::read).unwrap_or_default();
    let figure = format!("{} rounds: {}", tally.passed, last.next().unwrap_or("no figures"));
    let holds = output.status.success() && tally.passed > 0;
    if !holds {
        text.lines().for_each(run::say);
    }
    Ok(Outcome::of(holds, figure))
}

/// Line 4: simulated runs, and faults planted in them.
pub(super) fn simulated(ground: &Ground) -> Result<Outcome> {
    let seeds = if ground.full { 10_000 } else { 200 };
    let passed = sim::run(&Runs::first(seeds))?;
    if !ground.full {
        return Ok(Outcome::of(passed, format!("{seeds} seeds; planted faults not looked for")));
    }
    let found = sim::plant(&Runs::first(None), "all")?;
    Ok(Outcome::of(passed && found, format!("{seeds} seeds, and every planted fault")))
}

/// Line 5: one flipped bit in a durable record is reported by `check` with its place, the broker
/// starts, and the rest of the store works.
pub(super) fn corrupted(ground: &Ground) -> Result<Outcome> {
    let data = ground.directory("corrupted")?.join("data");
    let broker = Broker::start(ground, &data)?;
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare("damaged")?;
    amqp.confirm()?;
    for number in 0..STORED {
        amqp.publish("damaged", body(number).as_bytes())?;
        // One round each: the damage is in the middle of the journal, not in its tail.
        amqp.await_confirms(number as u64 + 1)?;
    }
    broker.stop()?;
    let (path, at) = flip_in(&data, &body(STORED / 2))?.context("the record is in no file")?;
    let check = Command::new(&ground.binary).arg("check").arg(&data).output()?;
    let report =
        [check.stdout, check.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let named = report.iter().any(|text| text.contains(&name));
    if check.status.success() || !named {
        let report = report.join(" ").replace('\n', " / ");
        return Ok(Outcome::Failed(format!("byte {at} of {name} flipped; check said: {report}")));
    }
    let broker = Broker::start(ground, &data)?;
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare("undamaged")?;
    amqp.confirm()?;
    amqp.publish("undamaged", b"works")?;
    amqp.await_confirms(1)?;
    Ok(Outcome::Passed(format!("byte {at} of {name}; the store opens and works")))
}

/// Line 5: index files that are gone are made again at the next start, and everything is there.
pub(super) fn index_deleted(ground: &Ground) -> Result<Outcome> {
    let data = ground.directory("index")?.join("data");
    let broker = Broker::start(ground, &data)?;
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare("killed")?;
    amqp.confirm()?;
    // Enough for several segments to be sealed; their index files follow.
    let filler = "x".repeat(100_000);
    for number in 1..=INDEXED {
        amqp.publish("killed", format!("{number}").as_bytes())?;
        amqp.publish("killed", filler.as_bytes())?;
        amqp.await_confirms(2 * number)?;
    }
    broker.stop()?;
    let deleted = index_files(&data)?;
    for path in &deleted {
        std::fs::remove_file(path)?;
    }
    let broker = Broker::start(ground, &data)?;
    let missing = missing(broker.amqp, INDEXED)?;
    broker.stop()?;
    let rebuilt = index_files(&data)?;
    let figure = format!(
        "{} deleted, {} there after a start, {missing} of {INDEXED} messages missing",
        deleted.len(),
        deleted.iter().filter(|path| rebuilt.contains(path)).count()
    );
    let all = deleted.iter().all(|path| rebuilt.contains(path));
    Ok(Outcome::of(!deleted.is_empty() && all && missing == 0, figure))
}

fn index_files(data: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn body(number: usize) -> String {
    format!("stored-message-{number:04}-{}", "x".repeat(200))
}

/// Flips a bit in the middle of `text` in the first file below `folder` that holds it.
fn flip_in(folder: &Path, text: &str) -> Result<Option<(PathBuf, usize)>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = flip_in(&path, text)? {
                return Ok(Some(found));
            }
            continue;
        }
        let mut bytes = std::fs::read(&path)?;
        let place = bytes.windows(text.len()).position(|window| window == text.as_bytes());
        if let Some(place) = place {
            let at = place + text.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(&path, bytes)?;
            return Ok(Some((path, at)));
        }
    }
    Ok(None)
}
