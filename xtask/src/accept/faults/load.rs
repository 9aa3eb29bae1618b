//! What both wires acknowledged, and what of it is there.

use crate::accept::amqp::Amqp;
use crate::accept::broker::Broker;
use crate::accept::kafka::Kafka;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Messages of each wire: some segments of the smallest size.
pub(super) const MESSAGES: u64 = 700;
const QUEUE: &str = "faulty-queue";
const TOPIC: &str = "faulty-topic";
/// Longer than a round's smallest, so that writes can be short.
const BODY_BYTES: usize = 14_000;
/// Publishes between two waits for their confirms.
const WINDOW: u64 = 5;
/// Fixed bytes before the noise of a body.
const MARK_BYTES: usize = 9;
/// KAFKA_STORAGE_ERROR, which producers answer by trying again.
const DISK_FULL: &str = "error 56 ";
const RETRY_AFTER: Duration = Duration::from_millis(50);
const BATCH_PREFIX_BYTES: usize = 12;

/// The numbers of the messages that were acknowledged, by wire.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) queue: BTreeSet<u64>,
    pub(super) topic: BTreeSet<u64>,
}

impl Load {
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.topic.len()
    }

    /// Publishes on both wires at once until all is acknowledged or the broker is gone.
    pub(super) fn publish(broker: &Broker) -> Result<Load> {
        Load::publish_and(broker, |_| Ok(()))
    }

    /// The same, while `meanwhile` goes on, which can see how many are acknowledged.
    pub(super) fn publish_and(
        broker: &Broker,
        meanwhile: impl FnOnce(&AtomicUsize) -> Result<()>,
    ) -> Result<Load> {
        let (amqp, kafka) = (broker.amqp, broker.kafka);
        let count = &AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let queue = scope.spawn(move || {
                let mut acknowledged = BTreeSet::new();
                // The connection ends with the broker: that is no failure of the publisher's.
                let _ = publish_amqp(amqp, &mut acknowledged, count);
                acknowledged
            });
            let topic = scope.spawn(move || {
                let mut acknowledged = BTreeSet::new();
                let _ = publish_kafka(kafka, &mut acknowledged, count);
                acknowledged
            });
            let joined = |thread: std::thread::ScopedJoinHandle<'_, BTreeSet<u64>>| {
                thread.join().map_err(|_| anyhow::anyhow!("a publisher panicked"))
            };
            meanwhile(count)?;
            Ok(Load { queue: joined(queue)?, topic: joined(topic)? })
        })
    }

    /// Consumes everything on both wires; gives what was acknowledged and is not there.
    pub(super) fn missing(&self, broker: &Broker) -> Result<Load> {
        let queue = consume_amqp(broker.amqp).context("the queue")?;
        let topic = consume_kafka(broker.kafka).context("the topic")?;
        let missing = |of: &BTreeSet<u64>, found| of.difference(found).copied().collect();
        Ok(Load { queue: missing(&self.queue, &queue), topic: missing(&self.topic, &topic) })
    }
}

/// The body of message `number`: a mark, then noise that no other message has.
pub(super) fn body(wire: char, number: u64) -> Vec<u8> {
    let mut body = format!("{wire}-{number:06}-").into_bytes();
    let mut state = number * 2 + u64::from(wire == 'q');
    while body.len() < BODY_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        body.push(b'a' + ((state >> 40) % 26) as u8);
    }
    body
}

fn number_of(body: &[u8], wire: char) -> Option<u64> {
    let mark = std::str::from_utf8(body.get(..MARK_BYTES)?).ok()?;
    let number = mark.strip_prefix(wire)?.trim_matches('-').parse().ok()?;
    (self::body(wire, number) == body).then_some(number)
}

fn publish_amqp(port: u16, acknowledged: &mut BTreeSet<u64>, count: &AtomicUsize) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.declare(QUEUE)?;
    amqp.confirm()?;
    for number in 1..=MESSAGES {
        amqp.publish(QUEUE, &body('q', number))?;
        if number % WINDOW == 0 {
            amqp.await_confirms(number)?;
            acknowledged.extend(number - WINDOW + 1..=number);
            count.fetch_add(WINDOW as usize, Relaxed);
        }
    }
    Ok(())
}

fn publish_kafka(port: u16, acknowledged: &mut BTreeSet<u64>, count: &AtomicUsize) -> Result<()> {
    let mut kafka = Kafka::connect(port)?;
    kafka.create_by_asking(TOPIC)?;
    for number in 1..=MESSAGES {
        let _offset = loop {
            match kafka.produce(TOPIC, &body('t', number)) {
                Err(error) if error.to_string().contains(DISK_FULL) => {
                    std::thread::sleep(RETRY_AFTER);
                }
                result => break result?,
            }
        };
        acknowledged.insert(number);
        count.fetch_add(1, Relaxed);
    }
    Ok(())
}

fn consume_amqp(port: u16) -> Result<BTreeSet<u64>> {
    let mut amqp = Amqp::connect(port)?;
    // Closes what was published and never confirmed, so that the end can be told.
    amqp.declare(QUEUE)?;
    amqp.confirm()?;
    amqp.publish(QUEUE, b"end")?;
    amqp.await_confirms(1)?;
    amqp.consume(QUEUE, 100)?;
    let mut found = BTreeSet::new();
    loop {
        let (tag, body) = amqp.delivery()?;
        amqp.ack(tag)?;
        if body == b"end" {
            return Ok(found);
        }
        found.extend(number_of(&body, 'q'));
    }
}

fn consume_kafka(port: u16) -> Result<BTreeSet<u64>> {
    let mut kafka = Kafka::connect(port)?;
    kafka.create_by_asking(TOPIC)?;
    let (mut found, mut offset) = (BTreeSet::new(), 0);
    loop {
        let (batches, end) = kafka.fetch(TOPIC, offset)?;
        let mut rest = batches;
        while rest.len() > BATCH_PREFIX_BYTES {
            let base = i64::from_be_bytes(rest[..8].try_into()?);
            let length = u32::from_be_bytes(rest[8..BATCH_PREFIX_BYTES].try_into()?) as usize;
            let Some(batch) = rest.get(..BATCH_PREFIX_BYTES + length) else { break };
            rest = &rest[batch.len()..];
            // Bytes of the header can look like the beginning of a mark, too.
            let mut marks = batch.windows(BODY_BYTES).filter(|window| window.starts_with(b"t-"));
            found.extend(marks.find_map(|stored| number_of(stored, 't')));
            offset = base + 1;
        }
        if batches.len() <= BATCH_PREFIX_BYTES || offset >= end {
            return Ok(found);
        }
    }
}
