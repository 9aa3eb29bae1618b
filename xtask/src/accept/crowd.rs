//! Line 10: many connections, half of them idle, and one that never reads.

use super::amqp::{Amqp, publish_frames};
use super::broker::Broker;
use super::kafka::Kafka;
use super::{Ground, Outcome};
use anyhow::{Result, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const CONNECTIONS: usize = 1_000;
const SECONDS: usize = 8;
const FAIR_SHARE_MIN: f64 = 0.01;
const THREAD_STACK_BYTES: usize = 128 << 10;

/// One active connection's work: a message, acknowledged.
type Work = Box<dyn FnMut() -> Result<()> + Send>;

/// On the AMQP wire.
pub(super) fn amqp(ground: &Ground) -> Result<Outcome> {
    let broker = Broker::start(ground, &ground.directory("crowd-amqp")?.join("data"))?;
    let mut never_reads = Amqp::connect(broker.amqp)?;
    for queue in ["crowd", "unread"] {
        never_reads.declare(queue)?;
    }
    fill(broker.amqp, "unread")?;
    never_reads.consume("unread", 0)?;
    let idle: Vec<Amqp> =
        (0..CONNECTIONS / 2).map(|_| Amqp::connect(broker.amqp)).collect::<Result<_>>()?;
    let mut active: Vec<Work> = Vec::new();
    for _ in 0..CONNECTIONS / 2 {
        let mut amqp = Amqp::connect(broker.amqp)?;
        amqp.confirm()?;
        let mut sent = 0;
        active.push(Box::new(move || {
            amqp.publish("crowd", &[b'x'; 100])?;
            sent += 1;
            amqp.await_confirms(sent)
        }));
    }
    let outcome = compete(active, &broker);
    drop((idle, never_reads));
    outcome
}

/// More than a socket's buffers hold.
fn fill(port: u16, queue: &str) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.confirm()?;
    let mut frames = Vec::new();
    publish_frames(&mut frames, queue, &[b'x'; 64 << 10]);
    for _ in 0..512 {
        amqp.send(&frames)?;
    }
    amqp.await_confirms(512)
}

/// On the Kafka wire.
pub(super) fn kafka(ground: &Ground) -> Result<Outcome> {
    let broker = Broker::start(ground, &ground.directory("crowd-kafka")?.join("data"))?;
    Kafka::connect(broker.kafka)?.create_by_asking("crowd")?;
    let idle: Vec<Kafka> =
        (0..CONNECTIONS / 2).map(|_| Kafka::connect(broker.kafka)).collect::<Result<_>>()?;
    let mut active: Vec<Work> = Vec::new();
    for _ in 0..CONNECTIONS / 2 {
        let mut kafka = Kafka::connect(broker.kafka)?;
        active.push(Box::new(move || kafka.produce("crowd", &[b'x'; 100]).map(drop)));
    }
    let outcome = compete(active, &broker);
    drop(idle);
    outcome
}

/// Lets all work at once; each must get its least share in every second.
fn compete(active: Vec<Work>, broker: &Broker) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut counts = Vec::new();
    let mut threads = Vec::new();
    for mut work in active {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::clone(&stop));
        counts.push(Arc::clone(&count));
        let body = move || -> Result<()> {
            while !stop.load(Relaxed) {
                work()?;
                count.fetch_add(1, Relaxed);
            }
            Ok(())
        };
        threads.push(std::thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(body)?);
    }
    let (mut least, mut total) = (f64::INFINITY, 0);
    let mut before = vec![0; counts.len()];
    for second in 0..=SECONDS {
        std::thread::sleep(Duration::from_secs(1));
        let now: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
        let done: Vec<u64> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        before = now;
        // In the first second the threads are still starting.
        if second > 0 {
            let sum: u64 = done.iter().sum();
            total += sum;
            let fair = sum as f64 / done.len() as f64;
            let worst = done.iter().copied().min().unwrap_or(0) as f64;
            least = least.min(if fair > 0.0 { worst / fair } else { 0.0 });
        }
    }
    stop.store(true, Relaxed);
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(_) => bail!("a client panicked"),
        }
    }
    let figure = format!(
        "the worst second of the worst connection had {:.0} % of its fair share, {} messages/s, \
         {:.0} MB at most",
        least * 100.0,
        total / SECONDS as u64,
        broker.status_kb("VmHWM")? as f64 / 1e3
    );
    Ok(Outcome::of(least >= FAIR_SHARE_MIN, figure))
}
