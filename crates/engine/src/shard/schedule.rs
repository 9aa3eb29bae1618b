//! The schedule of a log: a hidden log beside it, of what is to be appended to it later.
//!
//! It has offsets of its own, and a ledger: an entry is settled when it is activated or cancelled,
//! whichever is applied first. When entries are due is beside their batches, not in here; the
//! leader, who looks for what is due, names it together with its due time.

use ledger::{Ledger, Span};
use serde::{Deserialize, Serialize};
use types::{LogId, Offset};

/// Set in the id of a schedule; the rest is the id of its log. The catalog gives out no such ids.
const SCHEDULES: u32 = 1 << 30;
/// Set in the id of some hidden log.
const HIDDEN: u32 = 1 << 30 | 1 << 29;

/// What is scheduled for one log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Offset of the next entry.
    pub(crate) end: Offset,
    /// Which entries are activated or cancelled.
    pub(crate) ledger: Ledger,
}

impl Schedule {
    /// An empty one, of a log with levels up to `level_max`.
    pub(crate) fn new(level_max: u8) -> Schedule {
        Schedule { end: Offset(0), ledger: Ledger::with_levels(Offset(0), level_max) }
    }

    /// The id under which a log's schedule is in the journal and in the index.
    pub(crate) fn id_of(log: LogId) -> LogId {
        LogId(log.0 | SCHEDULES)
    }

    /// The log whose schedule has this id, if it is one.
    pub(crate) fn log_of(id: LogId) -> Option<LogId> {
        (id.0 & HIDDEN == SCHEDULES).then_some(LogId(id.0 & !SCHEDULES))
    }

    pub(crate) fn append(&mut self, count: u32) -> Offset {
        let base = self.end;
        self.end = base.plus(count);
        base
    }

    /// Whether the entry is there and waits.
    pub(crate) fn waits(&self, offset: Offset) -> bool {
        offset < self.end && !self.ledger.is_settled(offset)
    }

    /// Whether any entry of some in a row is there and waits.
    pub(crate) fn any_waits(&self, first: Offset, end: Offset) -> bool {
        self.ledger.next_unsettled(first, end.min(self.end)).is_some()
    }

    /// How many entries wait.
    pub(crate) fn count(&self) -> u64 {
        self.ledger.unsettled(self.end)
    }

    pub(crate) fn settle(&mut self, span: Span) {
        self.ledger.settle(span);
    }
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule::new(0)
    }
}
