//! What is settled and how often the rest came back: the replicated half.

use crate::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Offset;

/// The replicated delivery state of one subscription over one log.
///
/// Deterministic: a function of the commands applied to it. Serialised into checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    floor: Offset,
    returned: BTreeMap<Offset, u16>,
}

impl Ledger {
    /// A ledger over the records from `start` on, none of them settled.
    pub fn new(start: Offset) -> Ledger {
        Ledger { floor: start, returned: BTreeMap::new() }
    }

    /// Settles the offsets of `span`; gives how many were not settled before. Settling again
    /// changes nothing.
    pub fn settle(&mut self, span: Span) -> u64 {
        let _ = span;
        0
    }

    /// Notes that the unsettled offsets of `span` were delivered and came back: they are
    /// redeliveries from now on. `count` says whether this raises their delivery count.
    pub fn return_span(&mut self, span: Span, count: bool) {
        let _ = (span, count);
    }

    /// The log no longer holds anything below `offset`; gives how many unsettled offsets went.
    pub fn advance_floor_to(&mut self, offset: Offset) -> u64 {
        self.settle(Span::new(self.floor, offset))
    }

    /// Settles everything below `end`; gives how many were not settled before.
    pub fn purge(&mut self, end: Offset) -> u64 {
        self.advance_floor_to(end)
    }

    /// Everything below is settled or gone; the floor itself is not settled.
    pub fn floor(&self) -> Offset {
        self.floor
    }

    /// How many offsets at or above the floor are settled.
    pub fn settled_above_floor(&self) -> u64 {
        0
    }

    /// How many offsets were settled since the ledger began, gone ones included.
    pub fn settled_total(&self) -> u64 {
        0
    }

    /// How many offsets below `end` are not settled.
    pub fn unsettled(&self, end: Offset) -> u64 {
        Span::new(self.floor, end).len() - self.settled_above_floor()
    }

    /// Whether `offset` is settled or gone.
    pub fn is_settled(&self, offset: Offset) -> bool {
        offset < self.floor
    }

    /// How many offsets of `span` are settled or gone.
    pub fn settled_in(&self, span: Span) -> u64 {
        let _ = span;
        0
    }

    /// The first unsettled offset in `[from, end)`.
    pub fn next_unsettled(&self, from: Offset, end: Offset) -> Option<Offset> {
        (from < end).then_some(from)
    }

    /// Whether nobody needs `count` records from `first` on any more: all settled.
    pub fn is_run_dead(&self, first: Offset, count: u32) -> bool {
        Span::run(first, count).end <= self.floor
    }

    /// How often `offset` was delivered and came back counted; `None` when it never came back.
    pub fn returns(&self, offset: Offset) -> Option<u16> {
        self.returned.get(&offset).copied()
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        0
    }
}
