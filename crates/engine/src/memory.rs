//! What the process may hold in memory, and what it holds, by pool.
//!
//! There is one limit, and every pool has a share of it as its budget. A pool is counted when it
//! changes, once per socket read, batch or turn, never per message. A connection may have a part of
//! what its pool has left ([`Memory::share`]): pools fill up to their budgets and hardly further,
//! however many connections share them, and whoever comes last still gets something. Memory that is
//! short makes reads from sockets smaller and the cache of batches too; when appends on their way
//! to the disk pass their budget all the same, publishing is blocked as on a full disk.
//!
//! Source: A. K. Choudhury, E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet
//! switches", IEEE/ACM Transactions on Networking 6(2), 1998.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use types::ClientId;

/// Least limit, in bytes.
pub const MEMORY_LIMIT_MIN: usize = 128 << 20;

/// The batch cache has at most so much unless told otherwise.
const CACHE_BYTES: usize = 64 << 20;
/// Pages of index files have at most so much.
const PAGES_BYTES: usize = 64 << 20;
/// What is scheduled has about so much at most: it is that of one or two segments.
const SCHEDULES_BYTES: usize = 64 << 20;
/// Appends that came while publishing was blocked have at most so much.
const HELD_BYTES: usize = 16 << 20;
/// Batches and pages on their way from the disk have at most so much.
const LOADS_BYTES: usize = 32 << 20;
/// One connection may have this part of what is left of a pool.
const SHARES: usize = 8;
/// What a connection may always have.
const SHARE_MIN: usize = 16 << 10;

/// What memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPool {
    /// Read from sockets and not taken: requests that are not complete.
    Input,
    /// Appends and other operations that are not answered: on their way to the disk.
    Submitted,
    /// Deliveries and answers that their client has not taken from its socket.
    Output,
    /// Appends that came while publishing was blocked.
    Held,
    /// Batches, and pages of index files, on their way from the disk.
    Loads,
    /// Batches kept for whoever reads them next.
    Cache,
    /// Pages of index files.
    Pages,
    /// Idempotent producers: what each wrote last, by log.
    Producers,
    /// Ids of messages that are remembered, so that none is taken twice.
    Ids,
    /// Where the records of each key are, as far as that is not on the disk.
    Keys,
    /// States of sessions.
    Sessions,
    /// Members of groups, and the positions they committed.
    Groups,
    /// Where what is scheduled lies and when it is due, as far as no index file has it.
    Schedules,
    /// Messages that recur.
    Recurrences,
}

/// All pools, with the names metrics have for them.
pub const POOLS: [(MemoryPool, &str); 14] = [
    (MemoryPool::Input, "input"),
    (MemoryPool::Submitted, "submitted"),
    (MemoryPool::Output, "output"),
    (MemoryPool::Held, "held"),
    (MemoryPool::Loads, "loads"),
    (MemoryPool::Cache, "cache"),
    (MemoryPool::Pages, "pages"),
    (MemoryPool::Producers, "producers"),
    (MemoryPool::Ids, "ids"),
    (MemoryPool::Keys, "keys"),
    (MemoryPool::Sessions, "sessions"),
    (MemoryPool::Groups, "groups"),
    (MemoryPool::Schedules, "schedules"),
    (MemoryPool::Recurrences, "recurrences"),
];

/// The limit, the pools' budgets, and what is used of them.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    budgets: [usize; POOLS.len()],
    used: [AtomicUsize; POOLS.len()],
    /// Who may read on though the input has no room: 0 for nobody.
    baton: AtomicU64,
}

impl Default for Memory {
    /// No limit to speak of.
    fn default() -> Memory {
        Memory::new(usize::MAX)
    }
}

impl Memory {
    /// The usual budgets under `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Memory {
        let mut memory = Memory {
            limit,
            budgets: [limit / 8; POOLS.len()],
            used: Default::default(),
            baton: AtomicU64::new(0),
        };
        for (pool, bytes) in [
            (MemoryPool::Held, HELD_BYTES.min(limit / 32)),
            (MemoryPool::Loads, LOADS_BYTES.min(limit / 32)),
            (MemoryPool::Cache, CACHE_BYTES.min(limit / 8)),
            (MemoryPool::Pages, PAGES_BYTES.min(limit / 16)),
            (MemoryPool::Producers, limit / 16),
            (MemoryPool::Ids, limit / 16),
            (MemoryPool::Keys, limit / 32),
            (MemoryPool::Sessions, limit / 32),
            (MemoryPool::Groups, limit / 16),
            (MemoryPool::Schedules, SCHEDULES_BYTES.min(limit / 64 * 3)),
            (MemoryPool::Recurrences, limit / 64),
        ] {
            memory.set_budget(pool, bytes);
        }
        memory
    }

    /// Gives a pool another budget.
    pub fn set_budget(&mut self, pool: MemoryPool, bytes: usize) {
        self.budgets[pool as usize] = bytes;
    }

    /// What the process may hold, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What a pool may hold, in bytes.
    #[must_use]
    pub fn budget(&self, pool: MemoryPool) -> usize {
        self.budgets[pool as usize]
    }

    /// What a pool holds, in bytes.
    #[must_use]
    pub fn used(&self, pool: MemoryPool) -> usize {
        self.used[pool as usize].load(Relaxed)
    }

    /// Largest message that fits the pools it goes through, in bytes.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        self.limit / 8
    }

    /// What one connection may hold of a pool at this moment, in bytes.
    #[must_use]
    pub fn share(&self, pool: MemoryPool) -> usize {
        let left = self.budget(pool).saturating_sub(self.used(pool));
        (left / SHARES).max(SHARE_MIN)
    }

    /// Counts bytes as held.
    pub fn add(&self, pool: MemoryPool, bytes: usize) {
        if bytes > 0 {
            self.used[pool as usize].fetch_add(bytes, Relaxed);
        }
    }

    /// Counts bytes as no longer held.
    pub fn sub(&self, pool: MemoryPool, bytes: usize) {
        if bytes > 0 {
            self.used[pool as usize].fetch_sub(bytes, Relaxed);
        }
    }

    /// Whether pools that connections fill have used half of what they may: caches give way.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let pools = [MemoryPool::Input, MemoryPool::Submitted, MemoryPool::Output];
        let sum =
            |of: &dyn Fn(MemoryPool) -> usize| pools.iter().map(|pool| of(*pool)).sum::<usize>();
        sum(&|pool| self.used(pool)) > sum(&|pool| self.budget(pool) / 2)
    }

    /// Whether publishing has to be blocked, if it `was` or was not before.
    pub(crate) fn is_exhausted(&self, was: bool) -> bool {
        let budget = self.budget(MemoryPool::Submitted);
        self.used(MemoryPool::Submitted) > if was { budget / 4 * 3 } else { budget }
    }

    /// Lets a connection in the middle of a message read on though the input has no room: one at a
    /// time, or large messages that are all half here would wait for one another. False when
    /// another one has it, or what was read could not go on to the disk.
    pub fn take_baton(&self, client: ClientId) -> bool {
        self.used(MemoryPool::Submitted) < self.budget(MemoryPool::Submitted)
            && self.baton.compare_exchange(0, client.0, Relaxed, Relaxed).is_ok()
    }

    /// Gives back what [`Memory::take_baton`] gave.
    pub fn give_baton(&self, client: ClientId) {
        // Another one has it: then there is nothing to give back.
        let _ = self.baton.compare_exchange(client.0, 0, Relaxed, Relaxed);
    }
}

/// The first pools: all that a connection has to do with.
const CONNECTION_POOLS: usize = 3;

/// What one owner holds of the first `HELD` pools; given back when it is dropped. There is one for each
/// connection: it has no room for pools of which that has nothing.
#[derive(Debug)]
pub struct Account<const HELD: usize = CONNECTION_POOLS> {
    memory: Arc<Memory>,
    held: [usize; HELD],
}

impl<const HELD: usize> Default for Account<HELD> {
    fn default() -> Account<HELD> {
        Account::new(Arc::default())
    }
}

impl<const HELD: usize> Account<HELD> {
    /// An account of nothing.
    #[must_use]
    pub fn new(memory: Arc<Memory>) -> Account<HELD> {
        Account { memory, held: [0; HELD] }
    }

    /// What it is an account of.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// What is held of a pool from now on, in bytes.
    #[inline]
    pub fn set(&mut self, pool: MemoryPool, bytes: usize) {
        let held = &mut self.held[pool as usize];
        match bytes.checked_sub(*held) {
            Some(more) => self.memory.add(pool, more),
            None => self.memory.sub(pool, *held - bytes),
        }
        *held = bytes;
    }
}

impl<const HELD: usize> Drop for Account<HELD> {
    fn drop(&mut self) {
        for (pool, _) in POOLS.into_iter().take(HELD) {
            self.set(pool, 0);
        }
    }
}
