//! What a channel was given and has not settled, and settlements on their way to the engine.

use super::filtering::StreamFilter;
use engine::api::{Disposition, LeaseRange, Leave, Op, Settle, Source};
use engine::catalog::Name;
use frontend::{ConsumerTerms, Cx};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use types::{ConsumerId, LogId, LogRef, Offset, ShardId};

/// A consumer that no channel has.
const NOBODY: ConsumerId = ConsumerId(0);

/// Runs of which everything may be settled and which are still there.
const SETTLED_MAX: usize = 64;

/// Unsettled deliveries with tags in a row, of one holder and with offsets in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The first one's.
    pub(super) tag: u64,
    offset: Offset,
    log: LogId,
    /// Its holder's place.
    pub(super) holder: u32,
    pub(super) count: u32,
}

/// Up to 64 deliveries with tags in a row, of one holder and with offsets in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    tag: u64,
    offset: Offset,
    log: LogId,
    holder: u32,
    /// One bit for each that is unsettled.
    live: u64,
}

/// What deliveries of a consumer say beside the message.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// Nothing.
    Classic,
    /// How often a message was returned.
    Quorum,
    /// The offset; only those that the consumer wants.
    Stream(Option<Box<StreamFilter>>),
    /// Partition and offset; the partitions by log.
    Topic(Vec<(LogId, i32)>),
}

/// A consumer of a channel, or what it got from one queue.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) consumer: ConsumerId,
    pub(super) source: Source,
    /// The queue or topic.
    pub(super) name: Name,
    pub(super) reading: Reading,
    /// A consumer's tag; none for what basic.get gave.
    pub(super) tag: Option<Box<str>>,
    pub(super) no_ack: bool,
    pub(super) unsettled: u32,
    /// How a consumer was asked for.
    pub(super) terms: Option<Arc<ConsumerTerms>>,
}

/// A channel's consumers and their unsettled deliveries.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    last_tag: u64,
    /// By tag. Those without anything unsettled stay until they are at an end, or too many.
    runs: VecDeque<Run>,
    settled_count: usize,
    holders: Vec<Option<Holder>>,
}

/// Settlements of one read.
#[derive(Debug, Default)]
pub(super) struct Settles {
    open: Vec<Settle>,
    /// What was settled last on each shard since it was last known to be durable.
    unsynced: BTreeMap<ShardId, Source>,
}

impl Holder {
    pub(super) fn new(consumer: ConsumerId, source: Source, name: Name) -> Holder {
        let (tag, no_ack, unsettled) = (None, false, 0);
        let (reading, terms) = (Reading::Classic, None);
        Holder { consumer, source, name, reading, tag, no_ack, unsettled, terms }
    }
}

impl Reading {
    /// The reading of a topic.
    pub(super) fn topic(partitions: &[LogRef]) -> Reading {
        let numbered = (0..).zip(partitions).map(|(number, log)| (log.log, number));
        let mut places: Vec<(LogId, i32)> = numbered.collect();
        places.sort_unstable();
        Reading::Topic(places)
    }
}

impl Holdings {
    /// The tag of the next delivery.
    #[inline]
    pub(super) fn next_tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// The last tag was not used: the next delivery has it.
    pub(super) fn take_back_tag(&mut self) {
        self.last_tag -= 1;
    }

    /// Adds a holder; gives its place.
    pub(super) fn add(&mut self, holder: Holder) -> u32 {
        let place = match self.holders.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.holders.push(None);
                self.holders.len() - 1
            }
        };
        self.holders[place] = Some(holder);
        u32::try_from(place).expect("a channel has few holders")
    }

    #[inline]
    pub(super) fn holder_mut(&mut self, place: u32) -> Option<&mut Holder> {
        self.holders.get_mut(place as usize)?.as_mut()
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.holders.iter().flatten()
    }

    /// The place of the consumer `tag`.
    pub(super) fn consumer(&self, tag: &str) -> Option<u32> {
        let is_it = |holder: &Option<Holder>| {
            holder.as_ref().is_some_and(|holder| holder.tag.as_deref() == Some(tag))
        };
        self.holders.iter().position(is_it).and_then(|place| u32::try_from(place).ok())
    }

    /// The place that holds what was got from `source`.
    pub(super) fn getter(&mut self, new: Holder) -> u32 {
        let is_it = |holder: &Option<Holder>| {
            holder.as_ref().is_some_and(|holder| {
                holder.tag.is_none()
                    && holder.consumer == new.consumer
                    && holder.source == new.source
            })
        };
        match self.holders.iter().position(is_it).and_then(|place| u32::try_from(place).ok()) {
            Some(place) => place,
            None => self.add(new),
        }
    }

    /// A consumer is no more; what it holds stays.
    pub(super) fn end_consumer(&mut self, place: u32) {
        if let Some(holder) = self.holder_mut(place) {
            holder.tag = None;
        }
        self.free_if_idle(place);
    }

    /// Notes an unsettled delivery.
    #[inline]
    pub(super) fn hold(&mut self, tag: u64, log: LogId, offset: Offset, place: u32) {
        if let Some(holder) = self.holder_mut(place) {
            holder.unsettled += 1;
            self.push(tag, log, offset, place);
        }
    }

    /// Takes the delivery `tag` out, if it is unsettled.
    #[inline]
    pub(super) fn take(&mut self, tag: u64) -> Option<Entry> {
        let at = self.find(tag)?;
        let run = self.runs.get_mut(at)?;
        let bit = (tag - run.tag) as u32;
        let taken = run.entry(bit, 1);
        run.live &= !(1 << bit);
        if run.live == 0 {
            self.settled_count += 1;
            self.trim();
            self.compact();
        }
        Some(taken)
    }

    /// Takes out the deliveries up to `tag`, or all, in order. False, and nothing is taken, when
    /// `tag` is not unsettled.
    pub(super) fn take_through(&mut self, tag: Option<u64>, mut each: impl FnMut(Entry)) -> bool {
        let (whole, part) = match tag {
            None => (self.runs.len(), None),
            Some(tag) => match self.find(tag) {
                Some(at) => (at, Some(tag)),
                None => return false,
            },
        };
        for run in self.runs.drain(..whole) {
            self.settled_count -= usize::from(run.live == 0);
            run.entries(run.live).for_each(&mut each);
        }
        if let Some(tag) = part
            && let Some(run) = self.runs.front_mut()
        {
            let taken = run.live & (u64::MAX >> (63 - (tag - run.tag)));
            run.entries(taken).for_each(&mut each);
            run.live &= !taken;
            self.settled_count += usize::from(run.live == 0);
        }
        self.trim();
        true
    }

    /// Puts a settlement of what was taken out on its way.
    #[inline]
    pub(super) fn settled(
        &mut self,
        entry: &Entry,
        disposition: Disposition,
        settles: &mut Settles,
    ) {
        if let Some(holder) = self.holder_mut(entry.holder) {
            settles.add(holder, entry, disposition);
            holder.unsettled -= entry.count;
            if holder.unsettled == 0 {
                self.free_if_idle(entry.holder);
            }
        }
    }

    /// Puts what was taken out back.
    pub(super) fn unsettle(&mut self, entries: impl Iterator<Item = Entry>) {
        let mut all: Vec<Entry> = entries.collect();
        if all.is_empty() {
            return;
        }
        all.extend(self.runs.drain(..).flat_map(|run| run.entries(run.live)));
        self.settled_count = 0;
        all.sort_unstable_by_key(|entry| entry.tag);
        for entry in all {
            for at in 0..entry.count {
                let tag = entry.tag + u64::from(at);
                self.push(tag, entry.log, entry.offset.plus(at), entry.holder);
            }
        }
    }

    /// Whether deliveries of the holder at `place` settle subscriptions: those of a log read by
    /// offset do not.
    pub(super) fn returnable(&self, place: u32) -> bool {
        let holder = self.holders.get(place as usize).and_then(Option::as_ref);
        holder.is_some_and(|holder| matches!(holder.source, Source::Subscription(_)))
    }

    /// Adds a delivery whose tag is beyond all others.
    #[inline]
    fn push(&mut self, tag: u64, log: LogId, offset: Offset, holder: u32) {
        if let Some(run) = self.runs.back_mut()
            && let at @ 0..64 = tag - run.tag
            && (run.log, run.holder) == (log, holder)
            && run.offset.plus(at as u32) == offset
        {
            self.settled_count -= usize::from(run.live == 0);
            run.live |= 1 << at;
            return;
        }
        self.runs.push_back(Run { tag, offset, log, holder, live: 1 });
    }

    /// The run of an unsettled delivery.
    #[inline]
    fn find(&self, tag: u64) -> Option<usize> {
        if self.runs.front()?.has(tag) {
            return Some(0);
        }
        let at = self.runs.partition_point(|run| run.tag <= tag).checked_sub(1)?;
        self.runs.get(at)?.has(tag).then_some(at)
    }

    /// Lets go of settled runs at the front.
    #[inline]
    fn trim(&mut self) {
        while self.runs.front().is_some_and(|run| run.live == 0) {
            self.runs.pop_front();
            self.settled_count -= 1;
        }
    }

    /// Lets go of settled runs when they are most of all.
    fn compact(&mut self) {
        if self.settled_count > SETTLED_MAX && self.settled_count * 2 > self.runs.len() {
            self.runs.retain(|run| run.live != 0);
            self.settled_count = 0;
        }
    }

    fn free_if_idle(&mut self, place: u32) {
        if let Some(slot) = self.holders.get_mut(place as usize)
            && slot.as_ref().is_some_and(|holder| holder.tag.is_none() && holder.unsettled == 0)
        {
            *slot = None;
        }
    }
}

impl Run {
    #[inline]
    fn has(&self, tag: u64) -> bool {
        matches!(tag.checked_sub(self.tag), Some(at @ 0..64) if self.live & (1 << at) != 0)
    }

    fn entry(&self, at: u32, count: u32) -> Entry {
        Entry {
            tag: self.tag + u64::from(at),
            offset: self.offset.plus(at),
            log: self.log,
            holder: self.holder,
            count,
        }
    }

    /// Those of `bits`, runs of them as one.
    fn entries(self, mut bits: u64) -> impl Iterator<Item = Entry> {
        std::iter::from_fn(move || {
            let at = (bits != 0).then(|| bits.trailing_zeros())?;
            let count = (!(bits >> at)).trailing_zeros();
            bits &= u64::MAX.checked_shl(at + count).unwrap_or(0);
            Some(self.entry(at, count))
        })
    }
}

impl Settles {
    #[inline]
    fn add(&mut self, holder: &Holder, entry: &Entry, disposition: Disposition) {
        let same = |settle: &Settle| {
            settle.consumer == holder.consumer
                && settle.disposition == disposition
                && settle.source == holder.source
        };
        let last = entry.offset.plus(entry.count - 1);
        let range = LeaseRange { log: entry.log, first: entry.offset, last };
        match self.open.iter().rposition(same) {
            Some(at) => {
                let ranges = &mut self.open[at].ranges;
                match ranges.last_mut() {
                    Some(last) if last.log == range.log && last.last.next() == range.first => {
                        last.last = range.last;
                    }
                    _ => ranges.push(range),
                }
            }
            None => {
                let (consumer, source) = (holder.consumer, holder.source);
                self.open.push(Settle { consumer, source, ranges: vec![range], disposition });
            }
        }
    }

    /// Takes all, their ranges in order and joined.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Settle> + use<> {
        std::mem::take(&mut self.open).into_iter().map(|mut settle| {
            put_in_order(&mut settle.ranges);
            settle
        })
    }

    /// Sends all.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>) {
        if self.open.is_empty() {
            return;
        }
        for settle in self.take() {
            self.unsynced.insert(settle.source.shard(), settle.source);
            cx.submit_unanswered(Op::Settle(settle));
        }
    }

    /// Operations whose replies say that all that was sent is durable: nobody's consumer leaves.
    pub(super) fn sync(&mut self) -> impl Iterator<Item = Op> {
        std::mem::take(&mut self.unsynced)
            .into_values()
            .map(|source| Op::Leave(Leave { consumer: NOBODY, source, release: false }))
    }
}

fn put_in_order(ranges: &mut Vec<LeaseRange>) {
    if ranges.is_sorted_by_key(|range| (range.log, range.first)) {
        return;
    }
    ranges.sort_unstable_by_key(|range| (range.log, range.first));
    ranges.dedup_by(|next, kept| {
        let joined = kept.log == next.log && kept.last.next() == next.first;
        if joined {
            kept.last = next.last;
        }
        joined
    });
}

#[cfg(test)]
mod tests;
