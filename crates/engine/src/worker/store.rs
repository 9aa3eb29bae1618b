//! Where a worker finds batches: its index, its cache, and what is on its way from the disk.

use super::lost::Losses;
use super::unzip::Aside;
use crate::cache::{self, Batch, BatchCache, Key};
use crate::index::{Index, Look, Page, PageKey, Run};
use crate::shard::Schedule;
use bytes::Bytes;
use journal::{Location, ReadError};
use ledger::{ConsumerKey, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use types::{LogId, Millis, Offset, ShardId, SubscriptionId};

/// Most bytes of consecutive batches fetched from the disk at once.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// What a page of an index is taken for while it is on its way.
const PAGE_BYTES: usize = 64 << 10;

/// What to fetch from the disk, by somebody who may block.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) id: u64,
    pub(crate) what: Wanted,
}

/// Batches, or a page of the index of a log.
#[derive(Debug)]
pub(crate) enum Wanted {
    Batches(Vec<Location>),
    Page(LogId, PageKey),
}

impl Wanted {
    /// What it takes in memory when it comes.
    fn bytes(&self) -> usize {
        match self {
            Wanted::Batches(locations) => locations.iter().map(Location::len).sum(),
            Wanted::Page(..) => PAGE_BYTES,
        }
    }
}

/// What was fetched.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: u64,
    pub(crate) what: Fetched,
}

/// Batches in the order asked, or the runs of a page as stored; `None`: it cannot be had.
#[derive(Debug)]
pub(crate) enum Fetched {
    Batches(Vec<LoadedBatch>),
    Page(LogId, PageKey, Option<Vec<Run>>),
}

/// Who goes on when a load has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    Queue {
        shard: ShardId,
        subscription: SubscriptionId,
    },
    Tailer {
        shard: ShardId,
        key: ConsumerKey,
    },
    Read {
        id: u64,
    },
    Relocate {
        segment: u32,
    },
    /// Nobody; what is live in the page is counted.
    Sweep,
    Referred,
    /// Nobody yet: the page comes before it is asked for.
    Ahead {
        page: PageKey,
    },
    /// What is read to be written again is no use to anybody else.
    Unzip,
    Move {
        id: u64,
    },
    Outbox {
        from: ShardId,
        to: ShardId,
    },
}

/// Who waits, and the pages that it has to find again when its load has come, room or not: else a
/// page and a batch that do not both fit could push each other out for ever.
#[derive(Debug)]
struct Waiting {
    waiter: Waiter,
    pages: Vec<(PageKey, Arc<Page>)>,
    bytes: usize,
}

/// What is still to be copied out of a segment.
#[derive(Debug, Default)]
pub(crate) struct ToCopy {
    pub(crate) runs: Vec<(LogId, Run)>,
    pub(crate) pages: Vec<(LogId, PageKey)>,
}

/// A worker's batches.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) index: Index,
    pub(crate) cache: BatchCache,
    /// Loads to hand to the reading threads, as there is room for what they bring.
    loads: VecDeque<Load>,
    /// What those that were handed over bring, in bytes.
    loading_bytes: usize,
    loading_bytes_max: usize,
    /// Segments that are being copied out of.
    pub(crate) copying: BTreeMap<u32, ToCopy>,
    /// Pages on their way to be counted.
    pub(crate) counting: usize,
    waiting: BTreeMap<u64, Waiting>,
    next_load: u64,
    /// What just came from the disk, kept for whoever waited even where the cache is too small.
    fresh: BTreeMap<Key, Arc<Batch>>,
    /// Pages on their way that nobody has asked for yet.
    ahead: BTreeSet<PageKey>,
    /// What was read to be written again.
    pub(crate) aside: Aside,
    /// Batches that could not be read back.
    lost: BTreeMap<Key, String>,
    pub(crate) losses: Losses,
}

/// A batch that was asked for.
pub(crate) type LoadedBatch = (Location, Result<Bytes, ReadError>);

/// What looking for a batch gave.
#[derive(Debug)]
pub(crate) enum Found {
    Here(Arc<Batch>),
    /// On the disk only.
    Cold,
    /// Stored bytes are damaged: where, and how.
    Lost(String),
}

/// What there is to deliver at an offset.
#[derive(Debug)]
pub(crate) enum At {
    Batch(Run, Arc<Batch>),
    /// It waits for the disk.
    Cold,
    /// Nothing, up to that offset.
    Nothing {
        until: Offset,
    },
}

impl Store {
    pub(crate) fn new(cache_bytes_max: usize, losses: Losses, index: Index) -> Store {
        Store {
            index,
            cache: BatchCache::new(cache_bytes_max),
            loads: VecDeque::new(),
            loading_bytes: 0,
            loading_bytes_max: usize::MAX,
            copying: BTreeMap::new(),
            counting: 0,
            waiting: BTreeMap::new(),
            next_load: 0,
            fresh: BTreeMap::new(),
            ahead: BTreeSet::new(),
            aside: Aside::new(),
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
        let entry = index.in_memory(from).next().filter(|run| run.first == from)?;
        let location = index.location(entry);
        let run = Run { first: base, appended: time, ..*entry };
        self.index.refer(log, run, &location);
        Some(run)
    }

    /// The batch that holds an offset, or has it fetched.
    pub(crate) fn batch_at(&mut self, log: LogId, offset: Offset, waiter: Waiter) -> At {
        let run = match self.index.log(log).map_or(Look::None, |runs| runs.at(offset)) {
            Look::Run(run) => run,
            Look::Page(page) => {
                self.load_page(log, page, waiter);
                return At::Cold;
            }
            // Trimmed since somebody was to have it.
            Look::None => return At::Nothing { until: offset.next() },
        };
        match self.find(log, &run) {
            Found::Here(batch) => At::Batch(run, batch),
            Found::Cold => {
                self.load_from(log, &run, waiter);
                At::Cold
            }
            Found::Lost(why) => {
                self.losses.note(log, Span::new(offset, run.end()), &why);
                At::Nothing { until: run.end() }
            }
        }
    }

    /// Asks for the run's batch and those that follow it in its log.
    pub(crate) fn load_from(&mut self, log: LogId, run: &Run, waiter: Waiter) {
        let mut locations = Vec::new();
        let mut bytes = 0;
        if let Some(index) = self.index.log(log) {
            // It is in memory, whatever becomes of its page meanwhile.
            let next = index.from(run.end());
            for run in std::iter::once(*run).chain(next) {
                if bytes > 0 && bytes + run.at.len as usize > READ_AHEAD_BYTES {
                    break;
                }
                bytes += run.at.len as usize;
                locations.push(index.location(&run));
            }
        }
        let page = self.index.page_of(log, run);
        self.load(Wanted::Batches(locations), waiter, page);
        self.load_ahead(log, run.end());
    }

    /// Asks for the pages that whoever reads on will need next.
    fn load_ahead(&mut self, log: LogId, from: Offset) {
        let room = self.index.ahead_max().saturating_sub(self.ahead.len());
        let index = self.index.log(log).filter(|_| room > 0);
        let pages = index.map_or(Vec::new(), |index| index.pages_ahead(from, READ_AHEAD_BYTES));
        for page in pages.into_iter().take(room) {
            if self.ahead.insert(page) {
                self.load_page(log, page, Waiter::Ahead { page });
            }
        }
    }

    pub(crate) fn load_batches(&mut self, locations: Vec<Location>, waiter: Waiter) {
        self.load(Wanted::Batches(locations), waiter, None);
    }

    /// Asks for a page of a log's index.
    pub(crate) fn load_page(&mut self, log: LogId, page: PageKey, waiter: Waiter) {
        self.load(Wanted::Page(log, page), waiter, None);
    }

    fn load(&mut self, what: Wanted, waiter: Waiter, page: Option<(PageKey, Arc<Page>)>) {
        self.next_load += 1;
        let bytes = what.bytes();
        let waiting = Waiting { waiter, pages: page.into_iter().collect(), bytes };
        self.waiting.insert(self.next_load, waiting);
        self.loads.push_back(Load { id: self.next_load, what });
    }

    /// Bounds what is on its way from the disk at once, in bytes.
    pub(crate) fn bound_loads(&mut self, bytes_max: usize) {
        self.loading_bytes_max = bytes_max;
    }

    /// What is on its way from the disk, in bytes.
    pub(crate) fn loading_bytes(&self) -> usize {
        self.loading_bytes
    }

    /// The loads to begin now: those that there is room for, and one in any case.
    pub(crate) fn begin_loads(&mut self, out: &mut Vec<Load>) {
        while let Some(load) = self.loads.front() {
            let bytes = load.what.bytes();
            if self.loading_bytes > 0 && self.loading_bytes + bytes > self.loading_bytes_max {
                return;
            }
            self.loading_bytes += bytes;
            out.extend(self.loads.pop_front());
        }
    }

    /// Batches came from the disk, or a page the index took in: gives who waited for it.
    /// [`Store::settle_fresh`] afterwards.
    pub(crate) fn loaded(&mut self, id: u64, batches: Vec<LoadedBatch>) -> Option<Waiter> {
        let waiting = self.waiting.remove(&id);
        self.loading_bytes -= waiting.as_ref().map_or(0, |waiting| waiting.bytes);
        if let Some(Waiting { waiter: Waiter::Unzip, .. }) = waiting {
            self.aside = batches;
            return Some(Waiter::Unzip);
        }
        for (location, result) in batches {
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
        let Waiting { waiter, pages, .. } = waiting?;
        if let Waiter::Ahead { page } = waiter {
            self.ahead.remove(&page);
        }
        for (key, page) in pages {
            self.index.pages.hold(key, page);
        }
        Some(waiter)
    }

    /// Whoever waited has had its turn. `short`: memory is, and the cache gives way.
    pub(crate) fn settle_fresh(&mut self, short: bool) {
        self.fresh.clear();
        self.index.pages.release();
        self.cache.recount(short);
    }
}
