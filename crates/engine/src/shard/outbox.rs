//! The outbox of a shard to another one: a hidden log of messages on their way there.
//!
//! A message gets into it in the frame that settles it in its queue, and out of it when the other
//! shard has it. That shard remembers which offsets of the outbox it has, as a ledger: what is sent
//! again after a crash is found there. The ledger's floor follows the outbox's.

use ledger::{Ledger, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{LogId, Offset, ShardId};

/// Set in the id of an outbox; below are the two shards.
const OUTBOXES: u32 = 1 << 29;
/// Set in the ids of a schedule.
const SCHEDULES: u32 = 1 << 30;
/// Set in what does not outlive the process.
const LOCAL: u32 = 1 << 31;
const SHARD_BITS: u32 = 14;
const SHARD_MASK: u32 = (1 << SHARD_BITS) - 1;

/// What is on its way to another shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outbox {
    /// Offset of the next entry.
    pub(crate) end: Offset,
    /// Which entries the other shard has.
    pub(crate) ledger: Ledger,
    /// Where the others go.
    pub(crate) entries: BTreeMap<Offset, Outbound>,
}

/// Where an entry of an outbox goes, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outbound {
    pub(crate) to: LogId,
    pub(crate) source: LogId,
    /// It returns to its source if the target is gone.
    pub(crate) keep: bool,
}

impl Outbox {
    /// The id under which the outbox from one shard to another is in the journal and the index.
    pub(crate) fn id_of(from: ShardId, to: ShardId) -> LogId {
        let local = if from == ShardId::LOCAL { LOCAL } else { 0 };
        let number = |shard: ShardId| u32::from(shard.0) & SHARD_MASK;
        LogId(local | OUTBOXES | number(from) << SHARD_BITS | number(to))
    }

    /// The shards whose outbox has this id, if it is one.
    pub(crate) fn shards_of(id: LogId) -> Option<(ShardId, ShardId)> {
        let shard = |number: u32| match number & SHARD_MASK {
            SHARD_MASK => ShardId::LOCAL,
            number => ShardId(u16::try_from(number).expect("14 bits")),
        };
        let is_outbox = id.0 & OUTBOXES != 0 && id.0 & SCHEDULES == 0;
        is_outbox.then(|| (shard(id.0 >> SHARD_BITS), shard(id.0)))
    }

    pub(crate) fn append(&mut self, outbound: Outbound) -> Offset {
        let base = self.end;
        self.entries.insert(base, outbound);
        self.end = base.next();
        base
    }

    pub(crate) fn settle(&mut self, offset: Offset) {
        self.entries.remove(&offset);
        self.ledger.settle(Span::one(offset));
    }
}

impl Default for Outbox {
    fn default() -> Outbox {
        let ledger = Ledger::new(Offset(0));
        Outbox { end: Offset(0), ledger, entries: BTreeMap::new() }
    }
}
