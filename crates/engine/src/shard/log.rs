//! The replicated state of one log: its extent, its configuration and its producers.

use crate::api::Verdict;
use record::batch::Header;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use types::{Millis, Offset, SubscriptionId};

/// Batches remembered per producer for duplicate detection (Kafka: five in flight per connection).
const BATCHES_REMEMBERED: usize = 5;
/// A producer that was silent this long is forgotten when room is needed.
const PRODUCER_IDLE: Millis = Millis(24 * 3600 * 1000);
/// Producers remembered per log before idle ones are looked for.
const PRODUCERS_SWEEP_AT: usize = 1_000;
/// Most producers remembered per log; the longest silent one makes room.
const PRODUCERS_MAX: usize = 50_000;

/// What a log keeps of what was appended to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogOptions {
    /// Drop records older than this.
    pub(crate) retention: Option<Millis>,
    /// Drop the oldest records when the log is larger.
    pub(crate) retention_bytes: Option<u64>,
    /// Stamp records with the leader's time.
    pub(crate) append_time: bool,
    /// Records go when every subscription has settled them (a queue).
    pub(crate) interest: bool,
}

/// One log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) options: LogOptions,
    /// Subscriptions with a ledger over this log.
    pub(crate) subscriptions: Vec<SubscriptionId>,
    producers: BTreeMap<i64, Producer>,
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

impl Log {
    pub(crate) fn new(options: LogOptions) -> Log {
        Log { options, ..Log::default() }
    }

    /// Appends `count` records under `header`'s producer, or says why not. Gives the base offset
    /// (of the earlier batch when it is a duplicate).
    pub(crate) fn append(
        &mut self,
        header: &Header,
        count: u32,
        time: Millis,
    ) -> (Verdict, Offset) {
        let base = self.end;
        if header.producer_id >= 0 {
            match self.sequence(header) {
                Ok(()) => self.remember(header, base, time),
                Err(refused) => return refused,
            }
        }
        let stays = io::planted("offset-twice") && base.0 % 7 == 3;
        self.end = if stays { base } else { base.plus(count) };
        (Verdict::Appended, base)
    }

    /// Moves the start forward; false when it is there already.
    pub(crate) fn trim(&mut self, before: Offset) -> bool {
        let before = before.min(self.end);
        let moved = before > self.start;
        self.start = self.start.max(before);
        moved
    }

    fn sequence(&self, header: &Header) -> Result<(), (Verdict, Offset)> {
        let Some(producer) = self.producers.get(&header.producer_id) else { return Ok(()) };
        if header.producer_epoch < producer.epoch {
            return Err((Verdict::StaleProducerEpoch, self.end));
        }
        let (first, last) = sequences(header);
        if header.producer_epoch > producer.epoch {
            return match first {
                0 => Ok(()),
                _ => Err((Verdict::OutOfOrderSequence, self.end)),
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
                Err((Verdict::OutOfOrderSequence, self.end))
            }
            _ => Ok(()),
        }
    }

    fn remember(&mut self, header: &Header, base: Offset, time: Millis) {
        let (first, last) = sequences(header);
        if !self.producers.contains_key(&header.producer_id) {
            self.make_room(time);
        }
        let producer = self.producers.entry(header.producer_id).or_insert_with(|| Producer {
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
        if self.producers.len() >= PRODUCERS_SWEEP_AT && self.producers.len().is_power_of_two() {
            self.producers.retain(|_, producer| time.since(producer.seen) < PRODUCER_IDLE);
        }
        if self.producers.len() >= PRODUCERS_MAX {
            let silent = self.producers.iter().min_by_key(|(_, producer)| producer.seen);
            if let Some(id) = silent.map(|(id, _)| *id) {
                self.producers.remove(&id);
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
