//! Checks of a backlog in a thousand queues: what it costs in memory and on the disk, its order, and
//! how fast it is read back, before and after it was unzipped.

use super::amqp::{Amqp, publish_frames};
use super::broker::Broker;
use super::kafka::{self, Kafka};
use super::scale::{declare, name};
use super::{Ground, Outcome};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const QUEUES: usize = 1_000;
const MESSAGE_BYTES: usize = 200;
const MEMORY_KB_MAX: u64 = 1 << 20;
/// Queues that are read or consumed at the same time.
const READERS: usize = 8;
/// Records of a batch that Kafka brings.
const KAFKA_BATCH: usize = 10;
/// Of the disk's sequential speed the backlog is read at so much, all readers together.
const READ_SHARE_MIN: f64 = 0.6;
/// Nothing was unzipped for so long: all is that is to be.
const UNZIPPED_AFTER: Duration = Duration::from_secs(15);
const UNZIPPED_MAX: Duration = Duration::from_secs(900);
/// Instead of a minute, so that the check is no longer than it has to be.
const UNZIP_SOON: &str = "--unzip-after-ms=4000";

const WRITTEN_BYTES: usize = 1024;
const WRITTEN_BATCH: usize = 8;
const WRITTEN_RATIO_MAX: f64 = 2.2;

/// Messages of each queue, and windows of publishes beside them.
const LATENCY_EACH: usize = 2_000;
const LATENCY_WINDOWS: usize = 5;
const LATENCY_PUBLISHES: usize = 4_000;
const LATENCY_RATE: u64 = 64 << 20;
const LATENCY_RATIO_MAX: f64 = 1.5;

/// What reading came to.
struct Read {
    bytes: u64,
    seconds: f64,
}

impl Read {
    fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
}

/// Line 1: messages published to a thousand queues in turn, one half one by one through AMQP, the
/// other in small batches through Kafka; read, unzipped, read again and consumed.
pub(super) fn backlog(ground: &Ground) -> Result<Outcome> {
    let each = if ground.full { 50_000 } else { 2_000 };
    let data = ground.directory("backlog")?.join("data");
    let broker = Broker::start_with(ground, &data, &[UNZIP_SOON])?;
    declare(broker.amqp, QUEUES)?;
    let began = Instant::now();
    publish_in_turn(broker.amqp, each / 2)?;
    publish_batches(broker.kafka, each / 2, each)?;
    let published = began.elapsed().as_secs_f64();
    let peak_published = broker.status_kb("VmHWM")?;
    let before = read_queue(broker.kafka, QUEUES / 2)?;
    let unzipped = await_unzipped(&broker)?;
    let after = read_queue(broker.kafka, QUEUES / 2 + 1)?;
    let disk = read_files(&data)?;
    let all = read_all(broker.kafka)?;
    let began = Instant::now();
    consume_in_order(broker.amqp, each)?;
    let consumed = began.elapsed().as_secs_f64();
    let peak = broker.status_kb("VmHWM")?;
    let share = all.rate() / disk.rate();
    let figure = format!(
        "{:.1} M messages of {MESSAGE_BYTES} B, published in {published:.0} s with {:.0} MB at most; \
         {unzipped} segments unzipped; one queue read alone: {:.1} MB/s before, {:.1} MB/s after; \
         all read together: {:.0} MB/s, {:.0} % of the disk's {:.0} MB/s; \
         consumed in {consumed:.0} s in order, {:.0} MB at most",
        (each * QUEUES) as f64 / 1e6,
        peak_published as f64 / 1e3,
        before.rate(),
        after.rate(),
        all.rate(),
        share * 100.0,
        disk.rate(),
        peak as f64 / 1e3,
    );
    if peak > MEMORY_KB_MAX || ground.full && share < READ_SHARE_MIN {
        return Ok(Outcome::Failed(figure));
    }
    Ok(if ground.full {
        Outcome::Passed(figure)
    } else {
        Outcome::NotRun(format!("{figure}; 50 M with --full"))
    })
}

/// Line 1: the backlog in batches of 100 KiB, where no client's work is what takes the time.
pub(super) fn cold(ground: &Ground) -> Result<Outcome> {
    let rounds = if ground.full { 400 } else { 100 };
    let data = ground.directory("cold")?.join("data");
    let broker = Broker::start_with(ground, &data, &[UNZIP_SOON])?;
    let queues = QUEUES / 10;
    declare(broker.amqp, queues)?;
    let names: Vec<String> = (0..queues).map(name).collect();
    let batch = kafka::batch_of(&vec![[b'x'; WRITTEN_BYTES]; 100])?;
    let mut client = Kafka::connect(broker.kafka)?;
    (0..rounds).try_for_each(|_| client.produce_to(&names, &batch))?;
    let disk = read_files(&data)?;
    let all = read_together(broker.kafka, queues)?;
    let share = all.rate() / disk.rate();
    let figure = format!(
        "{:.1} GB, {:.0} MB/s, {:.0} % of the disk's {:.0} MB/s",
        all.bytes as f64 / 1e9,
        all.rate(),
        share * 100.0,
        disk.rate(),
    );
    Ok(Outcome::of(share >= READ_SHARE_MIN, figure))
}

/// Line 1: bytes written per byte published where all is unzipped before it is consumed, in batches
/// of 8 messages of 1 KiB, once segments are being recycled.
pub(super) fn written_unzipped(ground: &Ground) -> Result<Outcome> {
    // What is published is consumed so many rounds later: by then it was unzipped.
    let (rounds, behind) = (360, 120);
    let options = ["--unzip-after-ms=3000", "--unzip-bytes=2000000000", "--segment-bytes=67108864"];
    let data = ground.directory("written")?.join("data");
    let broker = Broker::start_with(ground, &data, &options)?;
    declare(broker.amqp, QUEUES)?;
    let names: Vec<String> = (0..QUEUES).map(name).collect();
    let batch = kafka::batch_of(&vec![[b'x'; WRITTEN_BYTES]; WRITTEN_BATCH])?;
    let mut client = Kafka::connect(broker.kafka)?;
    let mut consumer = Amqp::connect(broker.amqp)?;
    names.iter().try_for_each(|name| consumer.consume(name, 1))?;
    let round_bytes = (QUEUES * WRITTEN_BATCH * WRITTEN_BYTES) as u64;
    let (mut half, mut unzipped) = (0, 0);
    for round in 0..rounds {
        let began = Instant::now();
        client.produce_to(&names, &batch)?;
        if round >= behind {
            let due = (round - behind) as u64 * round_bytes;
            // What is consumed was unzipped before, however slow the machine is.
            while unzipped_segments(&broker)? << 26 < due && began.elapsed() < UNZIPPED_AFTER {
                std::thread::sleep(Duration::from_millis(20));
            }
            for _ in 0..QUEUES * WRITTEN_BATCH {
                let (tag, _) = consumer.delivery()?;
                consumer.ack(tag)?;
            }
        }
        if round + behind == rounds {
            (half, unzipped) = (broker.written_bytes()?, unzipped_segments(&broker)?);
        }
        std::thread::sleep(Duration::from_millis(250).saturating_sub(began.elapsed()));
    }
    let written = broker.written_bytes()? - half;
    let unzipped = unzipped_segments(&broker)? - unzipped;
    let published = behind * QUEUES * WRITTEN_BATCH * WRITTEN_BYTES;
    let ratio = written as f64 / published as f64;
    let figure = format!("{ratio:.2} bytes written per byte, {unzipped} segments unzipped");
    Ok(Outcome::of(ratio <= WRITTEN_RATIO_MAX && unzipped > 0, figure))
}

/// Line 8: latency of confirmed publishes beside a backlog that is being unzipped, and beside one that
/// is not, in turn.
pub(super) fn latency(ground: &Ground) -> Result<Outcome> {
    let directory = ground.directory("unzip-latency")?;
    let start = |name: &str, rate: &str| -> Result<Broker> {
        let options = [UNZIP_SOON, rate];
        let broker = Broker::start_with(ground, &directory.join(name), &options)?;
        declare(broker.amqp, QUEUES)?;
        publish_in_turn(broker.amqp, LATENCY_EACH)?;
        Ok(broker)
    };
    let rate = format!("--unzip-bytes={LATENCY_RATE}");
    let (still, busy) = (start("still", "--unzip-bytes=0")?, start("busy", &rate)?);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let before = busy.written_bytes()?;
    for _ in 0..LATENCY_WINDOWS {
        without.push(p999_us(still.amqp)?);
        with.push(p999_us(busy.amqp)?);
    }
    let copied = busy.written_bytes()? - before;
    without.sort_unstable();
    with.sort_unstable();
    let (without, with) = (without[LATENCY_WINDOWS / 2], with[LATENCY_WINDOWS / 2]);
    let ratio = with as f64 / without as f64;
    let figure = format!(
        "{without} us without, {with} us while {:.0} MB were written: {ratio:.2}",
        copied as f64 / 1e6
    );
    Ok(Outcome::of(ratio <= LATENCY_RATIO_MAX, figure))
}

/// The 99.9th percentile of publishes to one queue, some hundred in a second, in microseconds.
fn p999_us(port: u16) -> Result<u128> {
    let mut amqp = Amqp::connect(port)?;
    amqp.confirm()?;
    let mut times = Vec::with_capacity(LATENCY_PUBLISHES);
    for number in 1..=LATENCY_PUBLISHES {
        let began = Instant::now();
        amqp.publish(&name(0), &[b'x'; MESSAGE_BYTES])?;
        amqp.await_confirms(number as u64)?;
        times.push(began.elapsed().as_micros());
        std::thread::sleep(Duration::from_millis(2).saturating_sub(began.elapsed()));
    }
    times.sort_unstable();
    Ok(times[LATENCY_PUBLISHES * 999 / 1000])
}

/// Publishes `each` messages to every queue, one after another to one queue after another; the body
/// begins with the message's number in its queue.
fn publish_in_turn(port: u16, each: usize) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.confirm()?;
    let mut frames = Vec::new();
    for number in 0..each {
        frames.clear();
        for queue in 0..QUEUES {
            publish_frames(&mut frames, &name(queue), &body(number));
        }
        amqp.send(&frames)?;
        // A round through all queues may be on its way while the next is written.
        amqp.await_confirms((number * QUEUES) as u64)?;
    }
    amqp.await_confirms((each * QUEUES) as u64)
}

/// Goes on from message `first` to `end` of every queue, some of them in each batch.
fn publish_batches(port: u16, first: usize, end: usize) -> Result<()> {
    let names: Vec<String> = (0..QUEUES).map(name).collect();
    let mut client = Kafka::connect(port)?;
    for from in (first..end).step_by(KAFKA_BATCH) {
        let numbers = from..end.min(from + KAFKA_BATCH);
        let batch = kafka::batch_of(&numbers.map(body).collect::<Vec<_>>())?;
        client.produce_to(&names, &batch)?;
    }
    Ok(())
}

fn body(number: usize) -> [u8; MESSAGE_BYTES] {
    let mut body = [b'x'; MESSAGE_BYTES];
    body[..8].copy_from_slice(&(number as u64).to_be_bytes());
    body
}

/// Consumes all of every queue, some queues at a time; fails when a message is not the next one.
fn consume_in_order(port: u16, each: usize) -> Result<()> {
    share_out(QUEUES, |queue| {
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
    })
}

fn share_out(queues: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| scope.spawn(move || (reader..queues).step_by(READERS).try_for_each(work)))
            .collect();
        readers.into_iter().try_for_each(|reader| {
            reader.join().map_err(|_| anyhow!("a reading thread panicked"))?
        })
    })
}

/// Reads a queue as a Kafka consumer does, which settles nothing.
fn read_queue(port: u16, queue: usize) -> Result<Read> {
    let began = Instant::now();
    let (mut client, mut offset, mut bytes) = (Kafka::connect(port)?, 0, 0);
    loop {
        let (batches, end) = client.fetch(&name(queue), offset)?;
        let next = kafka::end_of(batches).unwrap_or(offset);
        bytes += batches.len() as u64;
        ensure!(next > offset, "nothing of queue {queue} at {offset}");
        offset = next;
        if offset >= end {
            return Ok(Read { bytes, seconds: began.elapsed().as_secs_f64() });
        }
    }
}

fn read_all(port: u16) -> Result<Read> {
    read_together(port, QUEUES)
}

fn read_together(port: u16, queues: usize) -> Result<Read> {
    let (began, bytes) = (Instant::now(), AtomicU64::new(0));
    share_out(queues, |queue| {
        bytes.fetch_add(read_queue(port, queue)?.bytes, Relaxed);
        Ok(())
    })?;
    Ok(Read { bytes: bytes.into_inner(), seconds: began.elapsed().as_secs_f64() })
}

fn unzipped_segments(broker: &Broker) -> Result<u64> {
    broker.metric("crossdock_journal_segments_unzipped_total")
}

/// Waits until all is unzipped that is to be; gives how many segments were.
fn await_unzipped(broker: &Broker) -> Result<u64> {
    let began = Instant::now();
    let (mut last, mut changed) = (broker.written_bytes()?, Instant::now());
    while changed.elapsed() < UNZIPPED_AFTER && began.elapsed() < UNZIPPED_MAX {
        std::thread::sleep(Duration::from_millis(250));
        let now = broker.written_bytes()?;
        // A checkpoint is a few megabytes.
        if now > last + (32 << 20) {
            (last, changed) = (now, Instant::now());
        }
    }
    unzipped_segments(broker)
}

/// Reads the store's segments one after the other, 1 MiB at a time and past the page cache.
fn read_files(data: &Path) -> Result<Read> {
    const DIRECT: i32 = 0o40000;
    const STEP: usize = 1 << 20;
    let mut room = vec![0; STEP + 4096];
    let at = room.as_ptr().align_offset(4096);
    let room = &mut room[at..at + STEP];
    let (began, mut bytes) = (Instant::now(), 0);
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        // Given back since it was listed.
        let Ok(mut file) = std::fs::File::options().read(true).custom_flags(DIRECT).open(&path)
        else {
            continue;
        };
        loop {
            match file.read(room).with_context(|| format!("cannot read {path:?}"))? {
                0 => break,
                count => bytes += count as u64,
            }
        }
    }
    Ok(Read { bytes, seconds: began.elapsed().as_secs_f64() })
}
