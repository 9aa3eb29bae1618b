//! What is settled and how often the rest came back: the replicated half.

use crate::Span;
use crate::levels::Levels;
use crate::offset_set::OffsetSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Millis, Offset};

mod kept;
#[cfg(test)]
mod tests;

use kept::Kept;
pub use kept::Rewound;

/// The replicated delivery state of one subscription over one log.
///
/// Deterministic: a function of the commands applied to it. Serialised into checkpoints; reading
/// one back fails when it contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Ledger {
    /// Not settled itself: the settled ones that follow it without a gap are below it.
    floor: Offset,
    settled_total: u64,
    /// Settled offsets above the floor.
    settled: OffsetSet,
    /// Where the queue has levels.
    levels: Option<Box<Levels>>,
    /// `None` where nothing is known: a queue that nobody uses has to be small.
    past: Option<Box<Past>>,
}

/// What is known of deliveries of unsettled offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Past {
    /// How often each unsettled offset that came back did so counted.
    returned: BTreeMap<Offset, u16>,
    /// Unsettled offsets whose delivery was written down before it was made, and that have not come
    /// back: a crash counts as their return.
    leased: OffsetSet,
    /// Offsets that came back and were not to be delivered again before then.
    parked: BTreeMap<Offset, Millis>,
    /// Where what is settled is kept, or was brought back.
    kept: Option<Box<Kept>>,
}

#[derive(Deserialize)]
struct Stored {
    floor: Offset,
    settled_total: u64,
    settled: OffsetSet,
    levels: Option<Box<Levels>>,
    past: Option<Box<Past>>,
}

impl Ledger {
    /// A ledger over the records from `start` on, none of them settled.
    pub fn new(start: Offset) -> Ledger {
        Ledger {
            floor: start,
            settled_total: 0,
            settled: OffsetSet::default(),
            levels: None,
            past: None,
        }
    }

    /// The same, of a queue with levels from 0 up to `max`: what is appended is told by
    /// [`Ledger::rank`]. A `max` of 0 is no levels.
    pub fn with_levels(start: Offset, max: u8) -> Ledger {
        let levels = (max > 0).then(|| Box::new(Levels::new(start, max)));
        Ledger { levels, ..Ledger::new(start) }
    }

    /// The highest level, where there are any.
    pub fn level_max(&self) -> Option<u8> {
        Some(self.levels.as_ref()?.max())
    }

    /// Notes that `span` was appended, at a level; one above the highest counts as that. What comes
    /// later lies behind.
    pub fn rank(&mut self, span: Span, level: u8) {
        if let Some(levels) = &mut self.levels {
            levels.insert(span, level);
        }
    }

    /// The level of an unsettled offset.
    pub fn level_of(&self, offset: Offset) -> u8 {
        let levels = self.levels.as_ref();
        levels.and_then(|levels| levels.of(offset)).unwrap_or(0)
    }

    /// Whether an unsettled offset of a span has this level, of those there are.
    pub fn has_at(&self, span: Span, level: u8) -> bool {
        let Some(levels) = self.levels.as_ref() else { return level == 0 };
        let set = (level <= levels.max()).then(|| levels.at(usize::from(level)));
        set.and_then(|set| set.next_present(span.first)).is_some_and(|first| first < span.end)
    }

    /// Whether all unsettled offsets of a span have this level, of those there are.
    pub fn is_all_at(&self, span: Span, level: u8) -> bool {
        let Some(levels) = self.levels.as_ref() else { return true };
        let unsettled = span.len() - self.settled_in(span);
        level <= levels.max() && levels.at(usize::from(level)).count_in(span) == unsettled
    }

    pub(crate) fn levels(&self) -> Option<&Levels> {
        self.levels.as_deref()
    }

    /// Settles the offsets of `span`; gives how many were not settled before. Settling again
    /// changes nothing.
    pub fn settle(&mut self, span: Span) -> u64 {
        let span = Span::new(span.first.max(self.floor), span.end);
        if span.is_empty() {
            return 0;
        }
        let newly = if span.first > self.floor {
            self.settled.insert(span)
        } else if self.settled.is_empty() {
            self.floor = span.end;
            span.len()
        } else {
            let (floor, removed) = self.settled.remove_up_to(span.end);
            self.floor = floor;
            Span::new(span.first, floor).len() - removed
        };
        self.settled_total += newly;
        self.forget(|past| {
            past.returned.extract_if(span.first..span.end, |_, _| true).for_each(drop);
            past.end_lease(span);
            past.end_wait(span);
        });
        self.settle_levels(span);
        newly
    }

    /// Notes that the unsettled offsets of `span` were delivered and came back: they are
    /// redeliveries from now on. `count` says whether this raises their delivery count.
    pub fn return_span(&mut self, span: Span, count: bool) {
        self.forget(|past| {
            past.end_lease(span);
            past.end_wait(span);
        });
        let mut from = span.first;
        while let Some(offset) = self.next_unsettled(from, span.end) {
            let times = self.past_mut().returned.entry(offset).or_insert(0);
            *times = times.saturating_add(u16::from(count));
            from = offset.next();
        }
    }

    /// Notes that the unsettled offsets of `span` came back, as [`Ledger::return_span`] does, and are
    /// not to be delivered again before `due`.
    pub fn park(&mut self, span: Span, count: bool, due: Millis) {
        self.return_span(span, count);
        let mut from = span.first;
        while let Some(offset) = self.next_unsettled(from, span.end) {
            self.past_mut().parked.insert(offset, due);
            from = offset.next();
        }
    }

    /// When the unsettled `offset` may be delivered again, if it was parked and did not come back
    /// since; that may be over.
    pub fn due(&self, offset: Offset) -> Option<Millis> {
        self.past.as_ref()?.parked.get(&offset).copied()
    }

    /// What was parked from `from` on, in the order of offsets, with its due times; these may be over.
    pub fn parked_from(&self, from: Offset) -> impl Iterator<Item = (Offset, Millis)> {
        let parked = self.past.iter().flat_map(move |past| past.parked.range(from..));
        parked.map(|(offset, due)| (*offset, *due))
    }

    /// How many unsettled offsets have a due time, over or not.
    pub fn parked_count(&self) -> u64 {
        self.past.as_ref().map_or(0, |past| past.parked.len() as u64)
    }

    /// Notes that the unsettled offsets of `span` are about to be delivered.
    pub fn lease(&mut self, span: Span) {
        self.forget(|past| past.end_wait(span));
        let mut from = span.first;
        while let Some(first) = self.next_unsettled(from, span.end) {
            let end = self.settled.next_present(first).map_or(span.end, |end| end.min(span.end));
            self.past_mut().leased.insert(Span::new(first, end));
            from = end;
        }
    }

    /// What is delivered, as far as that was noted before; in order.
    pub fn leases(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        let Some(past) = &self.past else { return spans };
        let mut from = self.floor;
        while let Some(first) = past.leased.next_present(from) {
            from = past.leased.next_absent(first);
            spans.push(Span::new(first, from));
        }
        spans
    }

    fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    /// Has something of the past be forgotten, if there is a past.
    fn forget(&mut self, what: impl FnOnce(&mut Past)) {
        if let Some(past) = &mut self.past {
            what(past);
            if **past == Past::default() {
                self.past = None;
            }
        }
    }

    /// The log no longer holds anything below `offset`; gives how many unsettled offsets went.
    pub fn advance_floor_to(&mut self, offset: Offset) -> u64 {
        let newly = self.settle(Span::new(self.floor, offset));
        self.forget_settled(offset);
        newly
    }

    /// Settles everything below `end`; gives how many were not settled before.
    pub fn purge(&mut self, end: Offset) -> u64 {
        self.advance_floor_to(end)
    }

    /// Everything below is settled or gone; the floor itself is not settled.
    pub fn floor(&self) -> Offset {
        self.floor
    }

    /// How many offsets above the floor are settled.
    pub fn settled_above_floor(&self) -> u64 {
        self.settled.len()
    }

    /// How many offsets were settled since the ledger began, gone ones included.
    pub fn settled_total(&self) -> u64 {
        self.settled_total
    }

    /// How many offsets below `end` are not settled, `end` being at or above all that are.
    pub fn unsettled(&self, end: Offset) -> u64 {
        Span::new(self.floor, end).len().saturating_sub(self.settled.len())
    }

    /// Whether `offset` is settled or gone.
    pub fn is_settled(&self, offset: Offset) -> bool {
        offset < self.floor || (!self.settled.is_empty() && self.settled.contains(offset))
    }

    /// How many offsets of `span` are settled or gone.
    pub fn settled_in(&self, span: Span) -> u64 {
        let below = Span::new(span.first, span.end.min(self.floor)).len();
        below + self.settled.count_in(Span::new(span.first.max(self.floor), span.end))
    }

    /// The first unsettled offset in `[from, end)`.
    pub fn next_unsettled(&self, from: Offset, end: Offset) -> Option<Offset> {
        let from = from.max(self.floor);
        let next = if self.settled.is_empty() { from } else { self.settled.next_absent(from) };
        (next < end).then_some(next)
    }

    /// The first settled offset at or above `from`, for `from` at or above the floor.
    pub(crate) fn next_settled(&self, from: Offset) -> Option<Offset> {
        self.settled.next_present(from)
    }

    /// How often `offset` was delivered and came back counted; `None` when it never came back.
    pub fn returns(&self, offset: Offset) -> Option<u16> {
        self.past.as_ref()?.returned.get(&offset).copied()
    }

    /// The first offset at or above `from` that came back.
    pub(crate) fn next_returned(&self, from: Offset) -> Option<Offset> {
        self.past.as_ref()?.returned.range(from..).next().map(|(&offset, _)| offset)
    }

    /// Memory held, in bytes, without the slack of tree nodes.
    pub fn heap_bytes(&self) -> usize {
        self.settled.heap_bytes()
            + self.levels.as_ref().map_or(0, |levels| size_of::<Levels>() + levels.heap_bytes())
            + self.past.as_ref().map_or(0, |past| size_of::<Past>() + past.heap_bytes())
    }
}

impl Past {
    fn end_lease(&mut self, span: Span) {
        if !self.leased.is_empty() {
            self.leased.remove(span, |_| {});
        }
    }

    fn end_wait(&mut self, span: Span) {
        if !self.parked.is_empty() {
            self.parked.extract_if(span.first..span.end, |_, _| true).for_each(drop);
        }
    }

    fn heap_bytes(&self) -> usize {
        self.leased.heap_bytes()
            + self.returned.len() * size_of::<(Offset, u16)>()
            + self.parked.len() * size_of::<(Offset, Millis)>()
            + self.kept.as_ref().map_or(0, |kept| kept.heap_bytes())
    }
}

impl TryFrom<Stored> for Ledger {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Ledger, &'static str> {
        let Stored { floor, settled_total, settled, levels, past } = stored;
        let mut ledger = Ledger { floor, settled_total, settled, levels, past };
        ledger.forget(|_| {});
        let lowest = ledger.settled.next_present(Offset(i64::MIN));
        if lowest.is_some_and(|lowest| lowest <= floor) {
            return Err("settled offset at or below the floor");
        }
        if let Some(past) = &ledger.past {
            if past.returned.keys().any(|&offset| ledger.is_settled(offset)) {
                return Err("returned offset is settled");
            }
            if past.parked.keys().any(|&offset| ledger.is_settled(offset)) {
                return Err("parked offset is settled");
            }
            let lowest = past.leased.next_present(Offset(i64::MIN));
            if lowest.is_some_and(|lowest| lowest < floor)
                || ledger.leases().iter().any(|span| ledger.settled_in(*span) > 0)
            {
                return Err("leased offset is settled");
            }
        }
        let settled = ledger.settled.len();
        if ledger.levels.as_ref().is_some_and(|levels| !levels.fits(floor, settled)) {
            return Err("levels of other offsets than the unsettled ones");
        }
        let levels = ledger.levels.as_deref();
        let kept = ledger.past.as_ref().and_then(|past| past.kept.as_ref());
        if kept.is_some_and(|kept| !kept.fits(levels)) {
            return Err("what is kept is not of this ledger");
        }
        Ok(ledger)
    }
}
