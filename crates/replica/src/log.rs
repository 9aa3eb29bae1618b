//! A shard's log in memory: where its entries are, and those that are kept.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use journal::{Placed, Vote};

use crate::frame::Entry;

/// The vote, the purge and the entries of one shard. No input or output.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The last durable one.
    pub(crate) vote: Option<Vote>,
    /// The last one that is or will be written.
    pub(crate) voted: Option<Vote>,
    /// What votes say of the replica from now on.
    pub(crate) is_faulty: bool,
    pub(crate) purged: Option<(u32, u64)>,
    slots: BTreeMap<u64, Slot>,
}

/// An entry.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) term: u32,
    /// Bytes it takes in memory, kept or not.
    pub(crate) bytes: usize,
    /// Tells it from others that had its index.
    pub(crate) mark: u64,
    /// Where it is, once it is durable.
    pub(crate) placed: Option<Box<Placed>>,
    /// It, as long as it is in memory.
    pub(crate) kept: Option<Entry>,
}

impl Log {
    /// With the vote and the purge that a store has.
    pub(crate) fn found(vote: Option<Vote>, purged: Option<(u32, u64)>) -> Log {
        Log { vote, voted: vote, purged, ..Log::default() }
    }

    /// The term and index of the last entry; without one, of what was purged.
    pub(crate) fn last(&self) -> Option<(u32, u64)> {
        let last = self.slots.last_key_value().map(|(index, slot)| (slot.term, *index));
        last.or(self.purged)
    }

    /// Whether an entry can be the next one.
    pub(crate) fn takes(&self, term: u32, index: u64) -> bool {
        self.last().is_none_or(|(last_term, last)| index > last && term >= last_term)
    }

    pub(crate) fn append(&mut self, index: u64, slot: Slot) {
        debug_assert!(self.takes(slot.term, index), "asked before");
        self.slots.insert(index, slot);
    }

    /// Puts in an entry that a store has, or that comes before all others.
    pub(crate) fn keep(&mut self, index: u64, slot: Slot) {
        self.slots.insert(index, slot);
    }

    /// Takes back the entries from `from` on. Gives the bytes of those that were kept.
    pub(crate) fn truncate(&mut self, from: u64) -> usize {
        kept_bytes(&self.slots.split_off(&from))
    }

    /// Drops the entries up to `index`. Gives the bytes of those that were kept.
    pub(crate) fn purge(&mut self, term: u32, index: u64) -> usize {
        if self.purged.is_some_and(|(_, purged)| purged >= index) {
            return 0;
        }
        self.purged = Some((term, index));
        let above = index.checked_add(1).map(|above| self.slots.split_off(&above));
        kept_bytes(&std::mem::replace(&mut self.slots, above.unwrap_or_default()))
    }

    /// Notes that an entry is durable, if it still is one.
    pub(crate) fn placed(&mut self, index: u64, mark: u64, placed: &Placed) {
        if let Some(slot) = self.slots.get_mut(&index).filter(|slot| slot.mark == mark) {
            slot.placed = Some(Box::new(placed.clone()));
        }
    }

    /// Lets an entry out of memory. Gives its bytes, 0 if it is not there any more; `None` when it is
    /// nowhere else.
    pub(crate) fn release(&mut self, index: u64, mark: u64) -> Option<usize> {
        let Some(slot) = self.slots.get_mut(&index).filter(|slot| slot.mark == mark) else {
            return Some(0);
        };
        slot.placed.as_ref()?;
        Some(slot.kept.take().map_or(0, |_| slot.bytes))
    }

    /// Whether an entry is in memory.
    pub(crate) fn keeps(&self, index: u64, mark: u64) -> bool {
        self.slots.get(&index).is_some_and(|slot| slot.mark == mark && slot.kept.is_some())
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The entries in `range`, in order.
    pub(crate) fn slots(&self, range: impl RangeBounds<u64>) -> impl Iterator<Item = (u64, &Slot)> {
        let (from, to) = (range.start_bound().cloned(), range.end_bound().cloned());
        let first = match from {
            Bound::Included(from) => from,
            Bound::Excluded(from) => from.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let is_inside = move |index: u64| match to {
            Bound::Included(to) => index <= to,
            Bound::Excluded(to) => index < to,
            Bound::Unbounded => true,
        };
        let slots = self.slots.range(first..).map(|(index, slot)| (*index, slot));
        slots.take_while(move |(index, _)| is_inside(*index))
    }
}

fn kept_bytes(slots: &BTreeMap<u64, Slot>) -> usize {
    slots.values().filter(|slot| slot.kept.is_some()).map(|slot| slot.bytes).sum()
}
