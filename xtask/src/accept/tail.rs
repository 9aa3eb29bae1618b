//! Line 8: what checkpoints, and what goes on behind them, cost the slowest publishes.

use super::amqp::{Amqp, publish_frames};
use super::broker::Broker;
use super::{Ground, Outcome};
use anyhow::{Result, anyhow};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const QUEUES: usize = 10_000;
/// Messages in each of them at the beginning: a million in all.
const EACH: usize = 100;
const BODY_BYTES: usize = 200;
/// Measurements of each broker, in turn, and publishes of each, awaited one by one.
const PHASES: usize = 5;
const PUBLISHES: usize = 10_000;
const RATIO_MAX: f64 = 1.5;

/// What is consumed at once; of so many messages there, one more goes to a queue and stays.
const HOT: &str = "hot";
const HOT_PER_ROUND: usize = 64;
const HOT_BYTES: usize = 4_096;
const ROUND_EVERY: Duration = Duration::from_millis(5);

/// A checkpoint after so much journal, or after 32 times its own size.
const CHECKPOINT_BYTES: &str = "--checkpoint-bytes=8388608";
/// None but at the first start: so nothing is recycled nor copied forward either.
const NO_CHECKPOINT: &str = "--checkpoint-bytes=18446744073709551615";

/// Line 8: the same load on a broker that makes checkpoints often and on one that makes none.
pub(super) fn latency(ground: &Ground) -> Result<Outcome> {
    let directory = ground.directory("tail")?;
    let with = Broker::start_with(ground, &directory.join("with"), &[CHECKPOINT_BYTES])?;
    let without = Broker::start_with(ground, &directory.join("without"), &[NO_CHECKPOINT])?;
    fill(with.amqp)?;
    fill(without.amqp)?;
    let checkpoints = |broker: &Broker| broker.metric("crossdock_journal_checkpoints_total");
    let (before_with, before_without) = (checkpoints(&with)?, checkpoints(&without)?);
    let (mut of_with, mut of_without) = (Vec::new(), Vec::new());
    for _ in 0..PHASES {
        of_without.push(p999_us(without.amqp)?);
        of_with.push(p999_us(with.amqp)?);
    }
    of_with.sort_unstable();
    of_without.sort_unstable();
    let (slow, fast) = (of_with[PHASES / 2], of_without[PHASES / 2]);
    let made = checkpoints(&with)? - before_with;
    let ratio = slow as f64 / fast as f64;
    let figure = format!(
        "p99.9 {slow} us with {made} checkpoints and {} segments copied forward, {fast} us without: \
         {ratio:.2} (with {of_with:?}, without {of_without:?})",
        with.metric("crossdock_journal_segments_relocated_total")?,
    );
    let apart = made >= PHASES as u64 && checkpoints(&without)? == before_without;
    Ok(Outcome::of(ratio <= RATIO_MAX && apart, figure))
}

fn fill(port: u16) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    (0..QUEUES).try_for_each(|number| amqp.declare(&name(number)))?;
    amqp.declare(HOT)?;
    amqp.confirm()?;
    let mut frames = Vec::new();
    for round in 0..EACH {
        frames.clear();
        for number in 0..QUEUES {
            publish_frames(&mut frames, &name(number), &[b'x'; BODY_BYTES]);
        }
        amqp.send(&frames)?;
        amqp.await_confirms((round * QUEUES) as u64)?;
    }
    amqp.await_confirms((EACH * QUEUES) as u64)
}

fn name(number: usize) -> String {
    format!("queue-{number:06}")
}

/// The 99.9th percentile of publishes, each confirmed before the next, beside a load, in
/// microseconds.
fn p999_us(port: u16) -> Result<u128> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(port, &stop));
        let consumer = scope.spawn(|| consume(port, &stop));
        let measured = measure(port);
        stop.store(true, Ordering::Release);
        let panicked = || anyhow!("a thread of the load panicked");
        publisher.join().map_err(|_| panicked())??;
        consumer.join().map_err(|_| panicked())??;
        measured
    })
}

fn measure(port: u16) -> Result<u128> {
    let mut amqp = Amqp::connect(port)?;
    amqp.confirm()?;
    let mut times = Vec::with_capacity(PUBLISHES);
    for number in 1..=PUBLISHES {
        let began = Instant::now();
        amqp.publish(&name(number % QUEUES), &[b'x'; BODY_BYTES])?;
        amqp.await_confirms(number as u64)?;
        times.push(began.elapsed().as_micros());
    }
    times.sort_unstable();
    Ok(times[PUBLISHES * 999 / 1000])
}

/// Publishes to the hot queue, and now and then to another one; one more at the end, for the consumer
/// to see that it is over.
fn publish(port: u16, stop: &AtomicBool) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.confirm()?;
    let (mut frames, mut sent) = (Vec::new(), 0);
    for round in 0.. {
        let last = stop.load(Ordering::Acquire);
        frames.clear();
        publish_frames(&mut frames, &name(round * 7 % QUEUES), &[b'y'; HOT_BYTES]);
        for _ in 0..HOT_PER_ROUND {
            publish_frames(&mut frames, HOT, &[b'y'; HOT_BYTES]);
        }
        amqp.send(&frames)?;
        sent += HOT_PER_ROUND as u64 + 1;
        amqp.await_confirms(sent)?;
        if last {
            break;
        }
        std::thread::sleep(ROUND_EVERY);
    }
    Ok(())
}

fn consume(port: u16, stop: &AtomicBool) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.consume(HOT, 1000)?;
    while !stop.load(Ordering::Acquire) {
        let (tag, _) = amqp.delivery()?;
        if tag % 50 == 0 {
            amqp.ack(tag)?;
        }
    }
    Ok(())
}
