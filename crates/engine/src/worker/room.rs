//! What a worker holds in memory, and what it does when memory is short.

mod forgetting;

use super::Worker;
use crate::api::{Op, Payload, Schedule};
use crate::shard::{ID_BYTES, PRODUCER_BYTES};
use crate::{Account, Memory, MemoryPool, POOLS};
use forgetting::Forgetting;
use std::sync::Arc;
use types::{Error, Kind, Millis};

/// How soon memory that is short is looked at again: connections free it, and tell nobody.
const LOOK_AGAIN: Millis = Millis(5);

#[derive(Debug)]
pub(super) struct Room {
    /// What its caches hold.
    account: Account<{ POOLS.len() }>,
    /// Publishing is blocked because memory is short.
    short: bool,
    forgetting: Forgetting,
}

impl Room {
    pub(super) fn new(memory: Arc<Memory>) -> Room {
        Room { account: Account::new(memory), short: false, forgetting: Forgetting::default() }
    }
}

impl Worker {
    /// Bounds what is on its way from the disk at once, and to it while anybody waits, in bytes.
    pub(crate) fn bounded(mut self, loads_max: usize, under_way_max: usize) -> Worker {
        self.store.bound_loads(loads_max);
        self.backlog.under_way_max = under_way_max;
        self
    }

    /// Counts what it holds; at the end of a turn.
    pub(super) fn count_memory(&mut self) {
        let account = &mut self.room.account;
        account.set(MemoryPool::Cache, self.store.cache.bytes());
        account.set(MemoryPool::Pages, self.store.index.pages.bytes());
        account.set(MemoryPool::Loads, self.store.loading_bytes());
        account.set(MemoryPool::Held, self.held.bytes());
        let (mut producers, mut ids) = (0, 0);
        let (mut key_bytes, mut group_bytes, mut state_bytes) = (0, 0, 0);
        let mut recurrence_bytes = 0;
        for seat in self.seats.values().chain(self.followed.values()) {
            let holds = seat.shard.holds();
            producers += holds.producers;
            ids += holds.ids;
            key_bytes += holds.key_bytes;
            group_bytes += holds.group_bytes;
            state_bytes += holds.state_bytes;
            recurrence_bytes += holds.recurrence_bytes;
        }
        account.set(MemoryPool::Producers, producers * PRODUCER_BYTES);
        account.set(MemoryPool::Ids, ids * ID_BYTES);
        account.set(MemoryPool::Keys, key_bytes);
        account.set(MemoryPool::Groups, group_bytes);
        account.set(MemoryPool::Sessions, state_bytes);
        account.set(MemoryPool::Recurrences, recurrence_bytes);
        account.set(MemoryPool::Schedules, self.schedule_bytes);
        self.room.short = self.ports.look_at_memory();
        if key_bytes > 0 {
            self.make_room_for_keys();
        }
    }

    /// Whether there is room for the id of the message that an operation appends, if it has one.
    ///
    /// Fails with `Throttled`: to forget another one would let its message in twice.
    pub(super) fn room_for_id(&self, op: &Op) -> Result<(), Error> {
        let (Op::Append(append) | Op::Schedule(Schedule { append, .. })) = op else {
            return Ok(());
        };
        let memory = &self.ports.memory;
        let is_over = || memory.used(MemoryPool::Ids) >= memory.budget(MemoryPool::Ids);
        match &append.payload {
            Payload::Once { .. } if is_over() => {
                Err(Error::new(Kind::Throttled, "too many ids of messages are remembered"))
            }
            _ => Ok(()),
        }
    }

    /// When memory is to be looked at again.
    pub(super) fn memory_due(&self) -> Option<Millis> {
        self.room.short.then(|| self.now.plus(LOOK_AGAIN))
    }
}
