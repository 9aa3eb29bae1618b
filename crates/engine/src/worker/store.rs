//! Where a worker finds batches: its index, its cache, and what is on its way from the disk.

use super::lost::Losses;
use crate::cache::{self, Batch, BatchCache, Key};
use crate::index::{Index, Run};
use crate::shard::Schedule;
use bytes::Bytes;
use journal::{Location, ReadError};
use ledger::ConsumerKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogId, Millis, Offset, ShardId, SubscriptionId};

/// Most bytes of consecutive batches fetched from the disk at once.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// Batches to fetch from the disk, by somebody who may block.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) id: u64,
    pub(crate) locations: Vec<Location>,
}

/// What was fetched, in the order asked.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: u64,
    pub(crate) batches: Vec<(Location, Result<Bytes, ReadError>)>,
}

/// Who goes on when a load has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    Queue { shard: ShardId, subscription: SubscriptionId },
    Tailer { shard: ShardId, key: ConsumerKey },
    Read { id: u64 },
    Relocate { segment: u32 },
    Referred,
    Move { id: u64 },
    Outbox { from: ShardId, to: ShardId },
}

/// A worker's batches.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) index: Index,
    pub(crate) cache: BatchCache,
    /// Loads to hand to the reading threads.
    pub(crate) loads: Vec<Load>,
    waiting: BTreeMap<u64, Waiter>,
    next_load: u64,
    /// What just came from the disk, kept for whoever waited even where the cache is too small.
    fresh: BTreeMap<Key, Arc<Batch>>,
    /// Batches that could not be read back.
    lost: BTreeMap<Key, String>,
    pub(crate) losses: Losses,
}

/// What looking for a batch gave.
#[derive(Debug)]
pub(crate) enum Found {
    Here(Arc<Batch>),
    /// On the disk only.
    Cold,
    /// Stored bytes are damaged: where, and how.
    Lost(String),
}

impl Store {
    pub(crate) fn new(cache_bytes_max: usize, losses: Losses) -> Store {
        Store {
            index: Index::default(),
            cache: BatchCache::new(cache_bytes_max),
            loads: Vec::new(),
            waiting: BTreeMap::new(),
            next_load: 0,
            fresh: BTreeMap::new(),
            lost: BTreeMap::new(),
            losses,
        }
    }

    /// The batch of a run.
    pub(crate) fn find(&mut self, log: LogId, run: &Run) -> Found {
        let Some(index) = self.index.log(log) else { return Found::Cold };
        let key = cache::key(&index.location(run));
        if let Some(batch) = self.fresh.get(&key) {
            return Found::Here(Arc::clone(batch));
        }
        match self.cache.get(key) {
            Some(batch) => Found::Here(batch),
            None => match self.lost.get(&key) {
                Some(why) => Found::Lost(why.clone()),
                None => Found::Cold,
            },
        }
    }

    /// Has a log refer to an entry of its schedule from now on: the entry's batch is at `base` of the
    /// log, as if appended at `time`. `None` at a start when what was appended is long gone: its
    /// segment was given back, for nobody needed it any more.
    pub(crate) fn refer(
        &mut self,
        log: LogId,
        (from, base): (Offset, Offset),
        time: Millis,
    ) -> Option<Run> {
        let index = self.index.log(Schedule::id_of(log))?;
        let entry = index.at_or_after(from).filter(|run| run.first == from)?;
        let location = index.location(entry);
        let run = Run { first: base, appended: time, ..*entry };
        self.index.refer(log, run, &location);
        Some(run)
    }

    /// Asks for the run's batch and those that follow it in its log.
    pub(crate) fn load_from(&mut self, log: LogId, run: &Run, waiter: Waiter) {
        let mut locations = Vec::new();
        let mut bytes = 0;
        if let Some(index) = self.index.log(log) {
            for run in index.from(run.first) {
                if bytes > 0 && bytes + run.at.len as usize > READ_AHEAD_BYTES {
                    break;
                }
                bytes += run.at.len as usize;
                locations.push(index.location(run));
            }
        }
        self.load(locations, waiter);
    }

    pub(crate) fn load(&mut self, locations: Vec<Location>, waiter: Waiter) {
        self.next_load += 1;
        self.waiting.insert(self.next_load, waiter);
        self.loads.push(Load { id: self.next_load, locations });
    }

    /// Takes in what came from the disk; gives who waited for it. [`Store::settle_fresh`] afterwards.
    pub(crate) fn loaded(&mut self, loaded: Loaded) -> Option<Waiter> {
        for (location, result) in loaded.batches {
            let key = cache::key(&location);
            match result {
                Ok(bytes) => {
                    let batch = self.cache.insert(key, bytes);
                    self.fresh.insert(key, batch);
                }
                Err(error) => {
                    // Told when somebody misses them: they may lie elsewhere by now.
                    tracing::debug!(%error, "stored records cannot be read");
                    self.lost.insert(key, error.to_string());
                }
            }
        }
        self.waiting.remove(&loaded.id)
    }

    /// Whoever waited has had its turn.
    pub(crate) fn settle_fresh(&mut self) {
        self.fresh.clear();
        self.cache.recount();
    }
}
