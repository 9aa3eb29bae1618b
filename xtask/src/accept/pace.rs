//! Line 6: a queue's rate on one and on ten consumers, and its cap of what is in flight.

use super::amqp::{Amqp, Settle, Table, publish_frames};
use super::broker::Broker;
use super::{Ground, Outcome};
use anyhow::{Context as _, Result};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Messages a second, each on one consumer and on ten.
const RATES: [u64; 2] = [100, 2_000];
const CONSUMERS: [usize; 2] = [1, 10];
const PREFETCH: u16 = 200;
const OFF_PERCENT_MAX: f64 = 2.0;
/// From the first delivery on: what the bucket held at first is gone.
const SETTLING: Duration = Duration::from_secs(1);
/// Of the cap: less than the consumers, each of which holds one message.
const CAP: u64 = 7;
const CAPPED_CONSUMERS: usize = 20;
const HOLDS: Duration = Duration::from_millis(2);
const PUBLISH_WINDOW: usize = 5_000;

/// Deliveries for a minute, or for ten seconds.
pub(super) fn pace(ground: &Ground) -> Result<Outcome> {
    let window = Duration::from_secs(if ground.full { 60 } else { 10 });
    let broker = Broker::start(ground, &ground.directory("pace")?.join("data"))?;
    let runs: Vec<(u64, usize)> =
        RATES.into_iter().flat_map(|rate| CONSUMERS.map(|consumers| (rate, consumers))).collect();
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = runs
            .iter()
            .map(|(rate, consumers)| scope.spawn(|| run_at(&broker, *rate, *consumers, window)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a run")).collect::<Result<Vec<_>>>()
    })?;
    let mut figure = String::from("a second, on consumers:");
    let mut holds = true;
    for ((rate, consumers), seen) in runs.iter().zip(found) {
        let off = (seen / *rate as f64 - 1.0) * 100.0;
        holds &= off.abs() <= OFF_PERCENT_MAX;
        figure += &format!(" {rate} on {consumers}: {off:+.2} %,");
    }
    let (most, told, done) = cap(&broker, window / 2)?;
    holds &= most == CAP && told <= CAP;
    figure += &format!(
        " over {} s; {most} at once with consumers and {told} as told, of at most {CAP}, in {done} deliveries",
        window.as_secs()
    );
    Ok(match (holds, ground.full) {
        (true, false) => Outcome::NotRun(format!("{figure}; a minute with --full")),
        (holds, _) => Outcome::of(holds, figure),
    })
}

/// What a queue with a rate hands out a second.
fn run_at(broker: &Broker, rate: u64, consumers: usize, window: Duration) -> Result<f64> {
    let queue = format!("rate-{rate}-{consumers}");
    let arguments = Table::default().number("x-consume-rate", rate as i32);
    fill(broker, &queue, &arguments, (rate * (window.as_secs() + 5)) as usize)?;
    let mut readers = Vec::new();
    for _ in 0..consumers {
        let mut amqp = Amqp::connect(broker.amqp)?;
        amqp.consume(&queue, PREFETCH)?;
        readers.push(amqp);
    }
    let began = Instant::now();
    let streams: Vec<_> = readers.iter().map(Amqp::another).collect::<Result<_>>()?;
    let count = AtomicU64::new(0);
    let (start, end) = (began + SETTLING, began + SETTLING + window);
    std::thread::scope(|scope| {
        for mut amqp in readers {
            let count = &count;
            scope.spawn(move || -> Result<()> {
                loop {
                    let (tag, _) = amqp.delivery()?;
                    let now = Instant::now();
                    if now >= end {
                        return Ok(());
                    }
                    count.fetch_add(u64::from(now >= start), SeqCst);
                    amqp.ack(tag)?;
                }
            });
        }
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        for stream in &streams {
            // A reader may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    Ok(count.into_inner() as f64 / window.as_secs_f64())
}

/// Most messages with consumers at once, as they and as the broker see it, and how many deliveries
/// there were. Consumers acknowledge, give back, and drop their connections.
fn cap(broker: &Broker, window: Duration) -> Result<(u64, u64, u64)> {
    let arguments = Table::default().number("x-max-in-flight", CAP as i32);
    fill(broker, "capped", &arguments, 100_000)?;
    let (now, most, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + window;
    let consume = |number: u64| -> Result<()> {
        while Instant::now() < end {
            let mut amqp = Amqp::connect(broker.amqp)?;
            amqp.consume("capped", 1)?;
            for count in 1.. {
                let message = amqp.message()?;
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                std::thread::sleep(HOLDS);
                // Before the broker can know: it sees as many at once, or more.
                now.fetch_sub(1, SeqCst);
                done.fetch_add(1, SeqCst);
                if count == 200 + number || Instant::now() >= end {
                    break;
                }
                let how = if count % 7 == 0 { Settle::Return } else { Settle::Ack };
                amqp.settle(message.tag, how)?;
            }
        }
        Ok(())
    };
    let told = std::thread::scope(|scope| -> Result<u64> {
        let consume = &consume;
        let threads: Vec<_> = (0..CAPPED_CONSUMERS as u64)
            .map(|number| scope.spawn(move || consume(number)))
            .collect();
        let mut told = 0;
        while Instant::now() < end {
            let queue = broker.http("GET", "/v1/queues/capped", "")?;
            let (_, rest) = queue.split_once("\"unacked\":").context("no unacked")?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            told = told.max(digits.parse::<u64>().context("unacked is no number")?);
            std::thread::sleep(Duration::from_millis(5));
        }
        for thread in threads {
            thread.join().expect("a consumer")?;
        }
        Ok(told)
    })?;
    Ok((most.into_inner(), told, done.into_inner()))
}

fn fill(broker: &Broker, queue: &str, arguments: &Table, count: usize) -> Result<()> {
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare_with(queue, arguments)?;
    amqp.confirm()?;
    let mut frames = Vec::new();
    for _ in 0..100 {
        publish_frames(&mut frames, queue, b"call");
    }
    let mut sent = 0;
    while sent < count {
        amqp.send(&frames)?;
        sent += 100;
        amqp.await_confirms(sent.saturating_sub(PUBLISH_WINDOW) as u64)?;
    }
    amqp.await_confirms(sent as u64)?;
    Ok(())
}
