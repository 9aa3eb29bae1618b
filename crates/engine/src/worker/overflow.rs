//! Queues that refuse what is too much: decided when an append comes, so that no frame holds what was
//! refused and a replay decides nothing.
//!
//! What counts is what is ready, and what is on its way to be: an append that is not applied yet
//! counts from the moment in which it is in a frame.

use super::counting::{parked_count, ready_count};
use super::queue::Queue;
use super::{Seat, Worker};
use crate::api::{Append, Payload, Transaction};
use crate::cache::Batch;
use bytes::Bytes;
use catalog::{Overflow, QueueOptions};
use record::batch::Header;
use record::tail;
use record::tails::Tails;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use types::{ClientId, Error, Kind, LogId, LogRef, Millis, SubscriptionId, SubscriptionRef, Token};

/// The queues of a shard that refuse.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    by_log: BTreeMap<LogId, Bound>,
    /// What is in frames that are not applied, by frame.
    coming: VecDeque<(u64, LogId, Amount)>,
}

/// What a queue may hold.
#[derive(Debug)]
struct Bound {
    subscription: SubscriptionId,
    max_len: Option<u64>,
    max_bytes: Option<u64>,
    /// What is refused goes on as a dead letter.
    dead: bool,
    coming: Amount,
}

/// Messages, and bytes of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    messages: u64,
    bytes: u64,
}

/// A record as its append has it.
type Refused = (Option<Millis>, Bytes);

impl Bounds {
    /// A queue reads a log.
    pub(super) fn add(&mut self, log: LogId, id: SubscriptionId, options: &QueueOptions) {
        if options.refuses() {
            self.by_log.entry(log).or_insert_with(|| Bound {
                subscription: id,
                max_len: options.max_len,
                max_bytes: options.max_bytes,
                dead: options.overflow == Overflow::RefuseAsDead && options.dead_letter.is_some(),
                coming: Amount::default(),
            });
        }
    }

    /// A queue refuses otherwise from now on, or not at all.
    pub(super) fn alter(&mut self, log: LogId, id: SubscriptionId, options: &QueueOptions) {
        let coming = self.by_log.remove(&log).map(|bound| bound.coming);
        self.add(log, id, options);
        if let (Some(bound), Some(coming)) = (self.by_log.get_mut(&log), coming) {
            bound.coming = coming;
        }
    }

    /// A queue is gone.
    pub(super) fn forget(&mut self, id: SubscriptionId) {
        self.by_log.retain(|_, bound| bound.subscription != id);
    }

    /// The frames on their way have indices larger by so much.
    pub(super) fn shift(&mut self, by: u64) {
        self.coming.iter_mut().for_each(|(at, ..)| *at += by);
    }

    /// The frames up to `index` are applied.
    pub(super) fn applied(&mut self, index: u64) {
        while let Some((_, log, amount)) = self.coming.pop_front_if(|(at, ..)| *at <= index) {
            if let Some(bound) = self.by_log.get_mut(&log) {
                bound.coming.messages = bound.coming.messages.saturating_sub(amount.messages);
                bound.coming.bytes = bound.coming.bytes.saturating_sub(amount.bytes);
            }
        }
    }

    fn any(&self, to: &[LogRef]) -> bool {
        !self.by_log.is_empty() && to.iter().any(|dest| self.by_log.contains_key(&dest.log))
    }
}

impl Bound {
    /// Whether `new` is too much for what is in the queue and on its way there.
    fn is_over(&self, seat: &Seat, new: Amount) -> bool {
        let queue = seat.queues.get(&self.subscription);
        let of = |queue: &Queue| ready_count(&seat.shard, queue) + parked_count(queue);
        let waiting = queue.map_or(0, |queue| of(queue));
        let bytes = queue.map_or(0, |queue| Queue::bytes(queue));
        let messages = waiting + self.coming.messages + new.messages;
        self.max_len.is_some_and(|max| messages > max && !io::planted("overflow-forgotten"))
            || self.max_bytes.is_some_and(|max| bytes + self.coming.bytes + new.bytes > max)
    }
}

impl Queue {
    fn bytes(&self) -> u64 {
        self.logs.iter().map(|log| log.length_total).sum()
    }
}

impl Seat {
    /// What of an append is not refused, when something is.
    fn refusal(&self, append: &Append) -> Option<(Vec<LogRef>, Vec<SubscriptionId>)> {
        if !self.bounds.any(&append.to) {
            return None;
        }
        let amount = Amount::of(&append.payload);
        let (mut taken, mut full) = (Vec::new(), Vec::new());
        for dest in append.to.iter() {
            match self.bounds.by_log.get(&dest.log) {
                Some(bound) if bound.is_over(self, amount) => full.push(bound.subscription),
                _ => taken.push(*dest),
            }
        }
        (!full.is_empty()).then_some((taken, full))
    }

    /// An append is in the frame in the making.
    pub(super) fn note_coming(&mut self, append: &Append) {
        if !self.bounds.any(&append.to) {
            return;
        }
        let (amount, frame) = (Amount::of(&append.payload), self.next_index());
        for dest in append.to.iter() {
            if let Some(bound) = self.bounds.by_log.get_mut(&dest.log) {
                bound.coming.messages += amount.messages;
                bound.coming.bytes += amount.bytes;
                self.bounds.coming.push_back((frame, dest.log, amount));
            }
        }
    }

    /// Whether all of a transaction has room.
    ///
    /// Fails with `Full`.
    pub(super) fn check_room_for(&self, transaction: &Transaction) -> Result<(), Error> {
        let mut new = BTreeMap::<LogId, Amount>::new();
        for append in &transaction.appends {
            if !self.bounds.any(&append.to) {
                continue;
            }
            let amount = Amount::of(&append.payload);
            for dest in append.to.iter() {
                let sum = new.entry(dest.log).or_default();
                sum.messages += amount.messages;
                sum.bytes += amount.bytes;
            }
        }
        let bounds = &self.bounds.by_log;
        let is_full = new
            .into_iter()
            .any(|(log, sum)| bounds.get(&log).is_some_and(|bound| bound.is_over(self, sum)));
        if is_full { Err(full()) } else { Ok(()) }
    }
}

impl Worker {
    /// Gives back what of an append is taken, and the token that waits for it. Where a queue refuses
    /// it the client hears so, and the others still take it.
    pub(super) fn unless_full(
        &mut self,
        client: ClientId,
        token: Token,
        append: Append,
    ) -> Option<(Token, Append)> {
        let shard = append.to[0].shard;
        let refusal = self.seats.get(&shard).and_then(|seat| seat.refusal(&append));
        let Some((taken, full_queues)) = refusal else { return Some((token, append)) };
        for subscription in full_queues {
            let subscription = SubscriptionRef { shard, subscription };
            self.bury_refused(subscription, &append.payload);
        }
        self.clients.reply(client, token, Err(full()));
        let to: Arc<[LogRef]> = taken.into();
        (!to.is_empty()).then(|| (Token::NONE, Append { to, ..append }))
    }

    /// What a queue refuses goes on as dead letters, where the queue says so and there is room.
    fn bury_refused(&mut self, subscription: SubscriptionRef, payload: &Payload) {
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let mut bounds = seat.bounds.by_log.values();
        if bounds.any(|bound| bound.subscription == subscription.subscription && bound.dead) {
            let names = self.ports.names.load_full();
            for (timestamp, tail) in records_of(payload) {
                seat.send_refused(&names, subscription, (timestamp, &tail), self.now);
            }
        }
    }
}

impl Amount {
    fn of(payload: &Payload) -> Amount {
        let mut amount = Amount::default();
        match payload {
            Payload::Tails { bytes, .. }
            | Payload::Once { bytes, .. }
            | Payload::Expecting { bytes, .. } => {
                for (_, tail) in Tails::new(bytes).filter_map(Result::ok) {
                    let value = tail::decode(tail).ok().and_then(|view| view.value);
                    amount.messages += 1;
                    amount.bytes += value.map_or(0, |value| value.len() as u64);
                }
            }
            Payload::Batch(bytes) => {
                amount.messages = u64::from(count_of(bytes));
                amount.bytes = Batch::new(bytes.clone()).value_lengths().map(u64::from).sum();
            }
        }
        amount
    }
}

fn records_of(payload: &Payload) -> Vec<Refused> {
    match payload {
        Payload::Tails { bytes, .. }
        | Payload::Once { bytes, .. }
        | Payload::Expecting { bytes, .. } => Tails::new(bytes)
            .filter_map(Result::ok)
            .map(|(timestamp, tail)| (timestamp, Bytes::copy_from_slice(tail)))
            .collect(),
        Payload::Batch(bytes) => {
            let batch = Batch::new(bytes.clone());
            let records = (0..count_of(bytes)).filter_map(|delta| batch.record(delta));
            records.map(|(tail, timestamp)| (Some(timestamp), tail)).collect()
        }
    }
}

/// Offsets that a batch takes.
fn count_of(batch: &Bytes) -> u32 {
    Header::decode(batch).map_or(1, |header| header.last_offset_delta.saturating_add(1))
}

fn full() -> Error {
    Error::new(Kind::Full, "the queue is full")
}
