//! Line 6: a queue's rate, and that of each of its keys, on one and on ten consumers, and its caps of what is in flight.

use super::amqp::{Amqp, Settle, Table, publish_with};
use super::broker::Broker;
use super::{Ground, Outcome};
use anyhow::{Context as _, Result};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Messages a second, each on one consumer and on ten.
const RATES: [u64; 2] = [100, 2_000];
const CONSUMERS: [usize; 2] = [1, 10];
/// The same of each of so many keys.
const KEY_RATE: u64 = 50;
const KEYS: usize = 5;
const PREFETCH: u16 = 200;
const OFF_PERCENT_MAX: f64 = 2.0;
/// From the first delivery on: what the bucket held at first is gone.
const SETTLING: Duration = Duration::from_secs(1);
/// Less than the consumers, each of which holds one message.
const CAPS: [Capped; 2] = [
    Capped { queue: "capped", argument: "x-max-in-flight", keys: 1, cap: 7 },
    Capped { queue: "capped-keys", argument: "x-max-in-flight-per-key", keys: 4, cap: 3 },
];
const CAPPED_CONSUMERS: usize = 20;
const HOLDS: Duration = Duration::from_millis(2);
const TOGETHER: usize = 100;
const PUBLISH_WINDOW: usize = 5_000;

/// Deliveries for a minute, or for ten seconds.
pub(super) fn pace(ground: &Ground) -> Result<Outcome> {
    let window = Duration::from_secs(if ground.full { 60 } else { 10 });
    let broker = Broker::start(ground, &ground.directory("pace")?.join("data"))?;
    let rates = RATES.into_iter().map(|rate| (rate, 1)).chain([(KEY_RATE, KEYS)]);
    let runs: Vec<(u64, usize, usize)> =
        rates.flat_map(|(rate, keys)| CONSUMERS.map(|consumers| (rate, keys, consumers))).collect();
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = runs
            .iter()
            .map(|(rate, keys, consumers)| {
                scope.spawn(|| run_at(&broker, (*rate, *keys), *consumers, window))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a run")).collect::<Result<Vec<_>>>()
    })?;
    let mut figure = String::from("a second, on consumers:");
    let mut holds = true;
    for ((rate, keys, consumers), seen) in runs.iter().zip(found) {
        let off = (seen / (*rate * *keys as u64) as f64 - 1.0) * 100.0;
        holds &= off.abs() <= OFF_PERCENT_MAX;
        let each = if *keys > 1 { format!(" of each of {keys} keys") } else { String::new() };
        figure += &format!(" {rate}{each} on {consumers}: {off:+.2} %,");
    }
    figure += &format!(" over {} s; at once, of at most so many:", window.as_secs());
    for capped in CAPS {
        let most = capped.run(&broker, window / 2)?;
        holds &= capped.holds(&most);
        figure += &format!(
            " {} of {} with {} ({} unacknowledged, {} deliveries),",
            most.of_key, capped.cap, capped.argument, most.told, most.deliveries
        );
    }
    let figure = figure.trim_end_matches(',').to_owned();
    Ok(match (holds, ground.full) {
        (true, false) => Outcome::NotRun(format!("{figure}; a minute with --full")),
        (holds, _) => Outcome::of(holds, figure),
    })
}

/// What a queue with a rate hands out a second, or one with a rate for each of its keys.
fn run_at(
    broker: &Broker,
    (rate, keys): (u64, usize),
    consumers: usize,
    window: Duration,
) -> Result<f64> {
    let queue = format!("rate-{rate}-{consumers}");
    let arguments = match keys {
        1 => Table::default().number("x-consume-rate", rate as i32),
        _ => Table::default()
            .number("x-consume-rate-per-key", rate as i32)
            .text("x-order-key", "key"),
    };
    fill(broker, &queue, &arguments, (rate * (window.as_secs() + 5)) as usize * keys, keys)?;
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

/// A queue that caps what is in flight, of all of it or of each key.
struct Capped {
    queue: &'static str,
    argument: &'static str,
    keys: usize,
    cap: u64,
}

/// Most messages at once.
struct Most {
    /// Of one key, as consumers see it.
    of_key: u64,
    /// Of the queue, as the broker tells it.
    told: u64,
    deliveries: u64,
}

impl Capped {
    fn holds(&self, most: &Most) -> bool {
        most.of_key == self.cap && most.told <= self.cap * self.keys as u64
    }

    /// Has consumers acknowledge, give back, and drop their connections.
    fn run(&self, broker: &Broker, window: Duration) -> Result<Most> {
        let mut arguments = Table::default().number(self.argument, self.cap as i32);
        if self.keys > 1 {
            arguments = arguments.text("x-order-key", "key");
        }
        fill(broker, self.queue, &arguments, 100_000, self.keys)?;
        let keys: Vec<AtomicU64> = (0..self.keys).map(|_| AtomicU64::new(0)).collect();
        let (most, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let end = Instant::now() + window;
        let consume = |number: u64| -> Result<()> {
            while Instant::now() < end {
                let mut amqp = Amqp::connect(broker.amqp)?;
                amqp.consume(self.queue, 1)?;
                for count in 1.. {
                    let message = amqp.message()?;
                    let key = std::str::from_utf8(&message.body)?.parse::<usize>()?;
                    let now = keys.get(key).context("no such key")?;
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
                let queue = broker.http("GET", &format!("/v1/queues/{}", self.queue), "")?;
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
        Ok(Most { of_key: most.into_inner(), told, deliveries: done.into_inner() })
    }
}

/// Publishes so many messages, of keys in turn.
fn fill(broker: &Broker, queue: &str, arguments: &Table, count: usize, keys: usize) -> Result<()> {
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare_with(queue, arguments)?;
    amqp.confirm()?;
    let mut frames = Vec::new();
    for number in 0..TOGETHER {
        let key = (number % keys).to_string();
        let headers = Table::default().text("key", &key);
        publish_with(&mut frames, ("", queue), &headers, 0, key.as_bytes());
    }
    let mut sent = 0;
    while sent < count {
        amqp.send(&frames)?;
        sent += TOGETHER;
        amqp.await_confirms(sent.saturating_sub(PUBLISH_WINDOW) as u64)?;
    }
    amqp.await_confirms(sent as u64)
}
