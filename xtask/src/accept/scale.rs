//! Checks of many queues and of a disk that is full.

use super::amqp::{Amqp, publish_frames};
use super::broker::Broker;
use super::{Ground, Outcome};
use crate::run::{self, Tally};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::process::Stdio;
use std::time::{Duration, Instant};

const BACKLOG_QUEUES: usize = 1_000;
const BACKLOG_BYTES: usize = 200;
const BACKLOG_KB_MAX: u64 = 1 << 20;
/// Queues that are consumed at the same time.
const CONSUMERS: usize = 8;

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

/// Line 1: messages published one by one to a thousand queues in turn, then consumed.
pub(super) fn backlog(ground: &Ground) -> Result<Outcome> {
    let each = if ground.full { 50_000 } else { 2_000 };
    let broker = Broker::start(ground, &ground.directory("backlog")?.join("data"))?;
    declare(broker.amqp, BACKLOG_QUEUES)?;
    let began = Instant::now();
    publish_in_turn(broker.amqp, each)?;
    let published = began.elapsed().as_secs_f64();
    let peak_published = broker.status_kb("VmHWM")?;
    let began = Instant::now();
    consume_in_order(broker.amqp, each)?;
    let consumed = began.elapsed().as_secs_f64();
    let peak = broker.status_kb("VmHWM")?;
    let figure = format!(
        "{:.1} M messages of {BACKLOG_BYTES} B, published in {published:.0} s with {:.0} MB at most, \
         consumed in {consumed:.0} s in order, {:.0} MB at most",
        (each * BACKLOG_QUEUES) as f64 / 1e6,
        peak_published as f64 / 1e3,
        peak as f64 / 1e3,
    );
    if peak > BACKLOG_KB_MAX {
        return Ok(Outcome::Failed(figure));
    }
    Ok(if ground.full {
        Outcome::Passed(figure)
    } else {
        Outcome::NotRun(format!("{figure}; 50 M with --full"))
    })
}

/// Publishes `each` messages to every queue, one after another to one queue after another; the body
/// begins with the message's number in its queue.
fn publish_in_turn(port: u16, each: usize) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.confirm()?;
    let (mut frames, mut body) = (Vec::new(), [b'x'; BACKLOG_BYTES]);
    for number in 0..each {
        frames.clear();
        body[..8].copy_from_slice(&(number as u64).to_be_bytes());
        for queue in 0..BACKLOG_QUEUES {
            publish_frames(&mut frames, &name(queue), &body);
        }
        amqp.send(&frames)?;
        // A round through all queues may be on its way while the next is written.
        amqp.await_confirms((number * BACKLOG_QUEUES) as u64)?;
    }
    amqp.await_confirms((each * BACKLOG_QUEUES) as u64)
}

/// Consumes all of every queue, some queues at a time; fails when a message is not the next one.
fn consume_in_order(port: u16, each: usize) -> Result<()> {
    let consume = |queue: usize| -> Result<()> {
        let mut amqp = Amqp::connect(port)?;
        amqp.consume(&name(queue), 1000)?;
        for wanted in 0..each as u64 {
            let (tag, body) = amqp.delivery()?;
            let found = body.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            ensure!(found == Some(wanted), "{found:?} of queue {queue} where {wanted} was due");
            if (wanted + 1) % 500 == 0 || wanted + 1 == each as u64 {
                amqp.ack(tag)?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|consumer| {
                let mut queues = (consumer..BACKLOG_QUEUES).step_by(CONSUMERS);
                scope.spawn(move || queues.try_for_each(consume))
            })
            .collect();
        consumers.into_iter().try_for_each(|consumer| {
            consumer.join().map_err(|_| anyhow!("a consuming thread panicked"))?
        })
    })
}

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

fn declare(port: u16, count: usize) -> Result<()> {
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

fn name(number: usize) -> String {
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
