//! Checks of many queues and of a disk that is full.

use super::amqp::Amqp;
use super::broker::Broker;
use super::{Ground, Outcome};
use crate::run::{self, Tally};
use anyhow::{Context as _, Result, anyhow};
use std::process::Stdio;
use std::time::{Duration, Instant};

const QUEUES: usize = 100_000;
const FEW_QUEUES: usize = 10;
/// Connections that declare at the same time: each waits for its own declares.
const DECLARERS: usize = 32;
const RESIDENT_KB_MAX: u64 = 100_000;
const START_MAX: Duration = Duration::from_secs(2);
/// Publishes of a latency measurement, each awaited; measurements of each broker, in turn.
const PUBLISHES: usize = 3_000;
const MEASUREMENTS: usize = 3;
const LATENCY_RATIO_MAX: f64 = 1.5;

/// Line 2: what so many queues cost in memory, and at the start after SIGKILL.
pub(super) fn queues(ground: &Ground) -> Result<Outcome> {
    let data = ground.directory("queues")?.join("data");
    let broker = Broker::start(ground, &data)?;
    let began = Instant::now();
    declare(broker.amqp, QUEUES)?;
    let declared = began.elapsed().as_secs_f64();
    let resident = broker.status_kb("VmRSS")?;
    broker.kill()?;
    let broker = Broker::start(ground, &data)?;
    let (started, again) = (broker.started_in, broker.status_kb("VmRSS")?);
    Amqp::connect(broker.amqp)?.declare(&name(QUEUES - 1))?;
    let figure = format!(
        "{:.0} MB resident once declared in {declared:.0} s, {:.0} MB after a start of {} ms",
        resident as f64 / 1e3,
        again as f64 / 1e3,
        started.as_millis(),
    );
    Ok(Outcome::of(resident.max(again) <= RESIDENT_KB_MAX && started <= START_MAX, figure))
}

/// Line 2: latency of confirmed publishes to one queue of many, and to one of few, in turn.
pub(super) fn latency(ground: &Ground) -> Result<Outcome> {
    let directory = ground.directory("latency")?;
    let few = Broker::start(ground, &directory.join("few"))?;
    declare(few.amqp, FEW_QUEUES)?;
    let many = Broker::start(ground, &directory.join("many"))?;
    declare(many.amqp, QUEUES)?;
    let (mut p99_few, mut p99_many) = (Vec::new(), Vec::new());
    for _ in 0..MEASUREMENTS {
        p99_few.push(p99_us(few.amqp)?);
        p99_many.push(p99_us(many.amqp)?);
    }
    p99_few.sort_unstable();
    p99_many.sort_unstable();
    let (of_few, of_many) = (p99_few[MEASUREMENTS / 2], p99_many[MEASUREMENTS / 2]);
    let ratio = of_many as f64 / of_few as f64;
    let figure = format!("{of_few} us of {FEW_QUEUES}, {of_many} us of {QUEUES}: {ratio:.2}");
    Ok(Outcome::of(ratio <= LATENCY_RATIO_MAX, figure))
}

/// Line 3: a small file system is filled under real clients of both wires.
pub(super) fn full_disk(ground: &Ground) -> Result<Outcome> {
    let mut command = run::python("clients/full_disk.py");
    command.arg("--binary").arg(&ground.binary);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start the loads")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut last = text.lines().rev();
    let tally = last.next().and_then(Tally::read).unwrap_or_default();
    let told = last.next().unwrap_or("no figures");
    if tally.passed == 0 && tally.failed == 0 {
        return Ok(Outcome::NotRun(told.to_owned()));
    }
    if tally.failed > 0 {
        text.lines().for_each(run::say);
    }
    let holds = output.status.success() && tally.failed == 0;
    Ok(Outcome::of(holds, format!("{} rounds: {told}", tally.passed)))
}

pub(super) fn declare(port: u16, count: usize) -> Result<()> {
    let share = |declarer: usize| (declarer..count).step_by(DECLARERS);
    std::thread::scope(|scope| {
        let declarers: Vec<_> = (0..DECLARERS)
            .map(|declarer| {
                scope.spawn(move || {
                    let mut amqp = Amqp::connect(port)?;
                    share(declarer).try_for_each(|number| amqp.declare(&name(number)))
                })
            })
            .collect();
        declarers.into_iter().try_for_each(|declarer| {
            declarer.join().map_err(|_| anyhow!("a declaring thread panicked"))?
        })
    })
}

pub(super) fn name(number: usize) -> String {
    format!("queue-{number:06}")
}

/// The 99th percentile of publishes to one queue, each confirmed before the next, in microseconds.
fn p99_us(port: u16) -> Result<u128> {
    let mut amqp = Amqp::connect(port)?;
    amqp.confirm()?;
    let queue = name(FEW_QUEUES - 1);
    let mut times = Vec::with_capacity(PUBLISHES);
    for number in 1..=PUBLISHES {
        let began = Instant::now();
        amqp.publish(&queue, &[b'x'; 200])?;
        amqp.await_confirms(number as u64)?;
        times.push(began.elapsed().as_micros());
    }
    times.sort_unstable();
    Ok(times[PUBLISHES * 99 / 100])
}
