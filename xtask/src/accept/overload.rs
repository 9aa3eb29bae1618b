//! Line 6: producers that send twice what the disk takes, on both wires, among thousands of idle
//! connections.
//!
//! The disk is made slow on purpose (`--fault slow@BYTES`), as a real one outruns the two cores that
//! producers, consumers and broker share.

use super::amqp::{Amqp, publish_frames};
use super::broker::Broker;
use super::kafka::Kafka;
use super::{Ground, Outcome};
use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the slow disk writes in a second, in bytes.
const DISK_RATE: usize = 24 << 20;
const MEMORY_LIMIT: usize = 256 << 20;
/// Idle connections of each wire.
const IDLE: usize = 2_500;
/// Queues, and topics; each has a consumer.
const PLACES: usize = 4;
const AMQP_BYTES: usize = 4 << 10;
const KAFKA_BYTES: usize = 64 << 10;
/// Unconfirmed messages of an AMQP producer that does not overload.
const WINDOW: u64 = 256;
/// Kafka connections of a place that wait for each answer: a producer has five requests under way.
const KAFKA_USUAL: usize = 3;
const KAFKA_OVERLOAD: usize = 10;
/// A phase is measured once the disk has been full of it for some seconds: so much was consumed, and
/// by everybody some.
const SETTLED_BYTES: u64 = 3 * DISK_RATE as u64;
/// Longest wait for that.
const SETTLING_MAX: Duration = Duration::from_secs(60);
const GOODPUT_MIN: f64 = 0.9;
const THREAD_STACK_BYTES: usize = 256 << 10;

/// Threads of clients, and how to end them.
#[derive(Default)]
struct Crew {
    threads: Vec<JoinHandle<()>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
    failures: Arc<Mutex<Vec<String>>>,
}

/// What a member of a crew is told by.
struct Orders {
    streams: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
}

impl Orders {
    /// Has a stream shut down when the crew ends.
    fn keep(&self, stream: TcpStream) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    fn ended(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

impl Crew {
    fn add(&mut self, work: impl FnOnce(&Orders) -> Result<()> + Send + 'static) -> Result<()> {
        let orders = Orders { streams: Arc::clone(&self.streams), stop: Arc::clone(&self.stop) };
        let failures = Arc::clone(&self.failures);
        let body = move || {
            // Whatever fails after the end is the end.
            if let Err(error) = work(&orders)
                && !orders.ended()
            {
                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.push(format!("{error:#}"));
            }
        };
        let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(body)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Ends all; gives what failed before.
    fn end(self) -> Result<Vec<String>> {
        self.stop.store(true, Relaxed);
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        }
        Ok(std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What a phase came to.
struct Phase {
    /// Bytes consumed in a second.
    goodput: f64,
    /// Least that a consumer got in a second, in bytes.
    least: u64,
}

/// Runs both phases on one broker.
pub(super) fn overload(ground: &Ground) -> Result<Outcome> {
    let seconds = if ground.full { 300 } else { 30 };
    let slow = format!("--fault=slow@{DISK_RATE}");
    let limit = format!("--memory-limit={MEMORY_LIMIT}");
    // Small segments: the disk is slow for those that are being prepared, too.
    let options = [&slow[..], &limit, "--segment-bytes=16777216"];
    let data = ground.directory("overload")?.join("data");
    let broker = Broker::start_with(ground, &data, &options)?;
    let idle_amqp: Vec<Amqp> =
        (0..IDLE).map(|_| Amqp::connect(broker.amqp)).collect::<Result<_>>()?;
    let idle_kafka: Vec<Kafka> =
        (0..IDLE).map(|_| Kafka::connect(broker.kafka)).collect::<Result<_>>()?;
    for place in 0..PLACES {
        Amqp::connect(broker.amqp)?.declare(&queue(place))?;
        Kafka::connect(broker.kafka)?.create_by_asking(&topic(place))?;
    }
    let mut consumers = Crew::default();
    let meters: Vec<Arc<AtomicU64>> = (0..2 * PLACES).map(|_| Arc::default()).collect();
    for place in 0..PLACES {
        let (amqp, kafka) = (broker.amqp, broker.kafka);
        let meter = Arc::clone(&meters[2 * place]);
        consumers.add(move |orders| consume_amqp(amqp, place, &meter, orders))?;
        let meter = Arc::clone(&meters[2 * place + 1]);
        consumers.add(move |orders| consume_kafka(kafka, place, &meter, orders))?;
    }
    let usual = phase(&broker, &meters, false, seconds.min(60))?;
    let over = phase(&broker, &meters, true, seconds)?;
    let peak = broker.status_kb("VmHWM")? << 10;
    let blocked = broker.metric("crossdock_publishing_blocked")?;
    let failures = consumers.end()?;
    drop((idle_amqp, idle_kafka));
    let share = over.goodput / usual.goodput;
    let figure = format!(
        "a disk made to take {} MiB/s, {} connections: {:.1} MB/s consumed unloaded, {:.1} MB/s \
         for {seconds} s under overload ({:.0} %), the worst second of the worst consumer {} kB, \
         {:.0} MB of {} at most{}{}",
        DISK_RATE >> 20,
        2 * IDLE,
        usual.goodput / 1e6,
        over.goodput / 1e6,
        share * 100.0,
        over.least / 1000,
        peak as f64 / 1e6,
        MEMORY_LIMIT / 1_000_000,
        if blocked > 0 { ", publishing blocked at the end" } else { "" },
        failures.first().map(|first| format!("; {first}")).unwrap_or_default(),
    );
    let holds = share >= GOODPUT_MIN && over.least > 0 && peak <= MEMORY_LIMIT as u64;
    Ok(Outcome::of(holds && failures.is_empty(), figure))
}

/// Lets producers send for some seconds; `over`: twice what the disk takes.
fn phase(broker: &Broker, meters: &[Arc<AtomicU64>], over: bool, seconds: u64) -> Result<Phase> {
    let mut producers = Crew::default();
    let (amqp, kafka) = (broker.amqp, broker.kafka);
    for place in 0..PLACES {
        producers.add(move |orders| match over {
            true => flood_amqp(amqp, place, orders),
            false => publish_amqp(amqp, place, orders),
        })?;
        for _ in 0..if over { KAFKA_OVERLOAD } else { KAFKA_USUAL } {
            producers.add(move |orders| produce_kafka(kafka, place, orders))?;
        }
    }
    await_flow(meters)?;
    let read = || readings(meters);
    let (began, first) = (Instant::now(), read());
    let (mut before, mut least) = (first.clone(), u64::MAX);
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        let now = read();
        let done = now.iter().zip(&before).map(|(now, before)| now - before);
        least = least.min(done.min().unwrap_or(0));
        before = now;
    }
    let bytes: u64 = before.iter().zip(&first).map(|(last, first)| last - first).sum();
    let goodput = bytes as f64 / began.elapsed().as_secs_f64();
    let failures = producers.end()?;
    anyhow::ensure!(failures.is_empty(), "a producer failed: {}", failures[0]);
    Ok(Phase { goodput, least })
}

/// Waits until a phase is under way.
fn await_flow(meters: &[Arc<AtomicU64>]) -> Result<()> {
    let (began, before) = (Instant::now(), readings(meters));
    loop {
        let now = readings(meters);
        let done: Vec<u64> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        if done.iter().sum::<u64>() >= SETTLED_BYTES && !done.contains(&0) {
            return Ok(());
        }
        let waited = began.elapsed();
        anyhow::ensure!(waited < SETTLING_MAX, "bytes by consumer in {waited:?}: {done:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn readings(meters: &[Arc<AtomicU64>]) -> Vec<u64> {
    meters.iter().map(|meter| meter.load(Relaxed)).collect()
}

fn queue(place: usize) -> String {
    format!("overload-{place}")
}

fn topic(place: usize) -> String {
    format!("overload-topic-{place}")
}

/// Publishes with a window of unconfirmed messages.
fn publish_amqp(port: u16, place: usize, orders: &Orders) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    orders.keep(amqp.another()?);
    amqp.confirm()?;
    let mut sent = 0;
    let mut frames = Vec::new();
    for _ in 0..16 {
        publish_frames(&mut frames, &queue(place), &[b'x'; AMQP_BYTES]);
    }
    while !orders.ended() {
        amqp.send(&frames)?;
        sent += 16;
        amqp.await_confirms(sent.max(WINDOW) - WINDOW)?;
    }
    Ok(())
}

/// Publishes at twice this producer's part of what the disk takes, whatever is confirmed.
fn flood_amqp(port: u16, place: usize, orders: &Orders) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.confirm()?;
    orders.keep(amqp.another()?);
    let mut writer = amqp.another()?;
    let rate = (2 * DISK_RATE / PLACES) as f64;
    std::thread::scope(|scope| {
        // Confirms are read, or the broker would stop to listen for that reason alone.
        let reading = scope.spawn(move || amqp.read_on());
        let mut frames = Vec::new();
        publish_frames(&mut frames, &queue(place), &[b'x'; AMQP_BYTES]);
        let (began, mut sent) = (Instant::now(), 0.0);
        while !orders.ended() {
            if began.elapsed().as_secs_f64() * rate < sent {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            writer.write_all(&frames).context("cannot publish")?;
            sent += AMQP_BYTES as f64;
        }
        // It ends with the stream.
        let _ = reading.join();
        Ok(())
    })
}

fn produce_kafka(port: u16, place: usize, orders: &Orders) -> Result<()> {
    let mut kafka = Kafka::connect(port)?;
    orders.keep(kafka.another()?);
    let value = vec![b'x'; KAFKA_BYTES];
    while !orders.ended() {
        match kafka.produce(&topic(place), &value) {
            // What producers try again after.
            Err(error) if error.to_string().contains("error 56 ") => {
                std::thread::sleep(Duration::from_millis(50));
            }
            result => drop(result?),
        }
    }
    Ok(())
}

fn consume_amqp(port: u16, place: usize, meter: &AtomicU64, orders: &Orders) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    orders.keep(amqp.another()?);
    amqp.consume(&queue(place), 200)?;
    let mut count = 0u64;
    loop {
        let (tag, body) = amqp.delivery()?;
        meter.fetch_add(body.len() as u64, Relaxed);
        count += 1;
        if count.is_multiple_of(20) {
            amqp.ack(tag)?;
        }
    }
}

fn consume_kafka(port: u16, place: usize, meter: &AtomicU64, orders: &Orders) -> Result<()> {
    let mut kafka = Kafka::connect(port)?;
    orders.keep(kafka.another()?);
    let mut offset = 0;
    loop {
        let (batches, _) = kafka.fetch(&topic(place), offset)?;
        let mut rest = batches;
        while let Some((prefix, _)) = rest.split_first_chunk::<12>() {
            let length = u32::from_be_bytes(prefix[8..].try_into()?) as usize;
            let Some((batch, more)) = rest.split_at_checked(12 + length) else { break };
            meter.fetch_add(batch.len() as u64, Relaxed);
            offset = i64::from_be_bytes(prefix[..8].try_into()?) + 1;
            rest = more;
        }
    }
}
