//! What a log keeps of idempotent producers: the batches that each may send again.

use super::seldom::Seldom;
use crate::api::Verdict;
use record::batch::Header;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use types::{Millis, Offset};

/// Batches remembered per producer for duplicate detection (Kafka: five in flight per connection).
const BATCHES_REMEMBERED: usize = 5;
/// A producer that was silent this long is forgotten when room is needed.
const IDLE: Millis = Millis(24 * 3600 * 1000);
/// Producers remembered per log before idle ones are looked for.
const SWEEP_AT: usize = 1_000;
/// Most producers remembered per log; the longest silent one makes room.
const COUNT_MAX: usize = 50_000;

/// What a producer takes in memory: 56 bytes in a map whose nodes are two thirds full, and room for
/// eight batches.
pub(crate) const PRODUCER_BYTES: usize = 56 * 3 / 2 + 8 * 16 + 16;

/// The producers of one log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Producers {
    by_id: Seldom<i64, Producer>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    seen: Millis,
    batches: VecDeque<Sequenced>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sequenced {
    first: i32,
    last: i32,
    base: Offset,
}

impl Producers {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// When each was heard of last.
    pub(crate) fn seen(&self) -> impl Iterator<Item = Millis> {
        self.by_id.values().map(|producer| producer.seen)
    }

    /// Forgets those that have been silent since before a time.
    pub(super) fn forget(&mut self, before: Millis) {
        let before = match io::planted("producers-forgotten-early") {
            true => before.plus(Millis(29_000)),
            false => before,
        };
        self.by_id.retain(|_, producer| producer.seen >= before);
    }

    /// Whether a batch may be appended; if not, why, and at which offset it was or would be.
    pub(super) fn check(&self, header: &Header, end: Offset) -> Result<(), (Verdict, Offset)> {
        let Some(producer) = self.by_id.get(&header.producer_id) else { return Ok(()) };
        if header.producer_epoch < producer.epoch {
            return Err((Verdict::StaleProducerEpoch, end));
        }
        let (first, last) = sequences(header);
        if header.producer_epoch > producer.epoch {
            return match first {
                0 => Ok(()),
                _ => Err((Verdict::OutOfOrderSequence, end)),
            };
        }
        if let Some(earlier) = producer.batches.iter().find(|b| (b.first, b.last) == (first, last))
        {
            return match io::planted("duplicate-accepted") {
                true => Ok(()),
                false => Err((Verdict::Duplicate, earlier.base)),
            };
        }
        match producer.batches.back() {
            Some(latest) if following(latest.last) != first => {
                Err((Verdict::OutOfOrderSequence, end))
            }
            _ => Ok(()),
        }
    }

    /// Notes a batch that is appended at `base`.
    pub(super) fn remember(&mut self, header: &Header, base: Offset, time: Millis) {
        let (first, last) = sequences(header);
        if !self.by_id.contains_key(&header.producer_id) {
            self.make_room(time);
        }
        let producer = self.by_id.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            seen: time,
            batches: VecDeque::new(),
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        producer.seen = time;
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Sequenced { first, last, base });
    }

    fn make_room(&mut self, time: Millis) {
        if self.by_id.len() >= SWEEP_AT && self.by_id.len().is_power_of_two() {
            self.by_id.retain(|_, producer| time.since(producer.seen) < IDLE);
        }
        if self.by_id.len() >= COUNT_MAX {
            let silent = self.by_id.iter().min_by_key(|(_, producer)| producer.seen);
            if let Some(id) = silent.map(|(id, _)| *id) {
                self.by_id.remove(&id);
            }
        }
    }
}

/// First and last sequence of a batch; sequences wrap to 0 after `i32::MAX` (KIP-98).
fn sequences(header: &Header) -> (i32, i32) {
    let first = header.base_sequence;
    let span = i64::from(header.last_offset_delta);
    let last = (i64::from(first) + span) % (i64::from(i32::MAX) + 1);
    (first, i32::try_from(last).unwrap_or(i32::MAX))
}

fn following(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}
