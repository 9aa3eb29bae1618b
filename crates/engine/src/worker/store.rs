//! Where a worker finds batches: its index, its cache, and what is on its way from the disk.

pub(crate) use super::ahead::Piece;
use super::coming::{Arrived, Coming};
use super::lost::Losses;
use super::unzip::Aside;
use crate::cache::{self, Batch, BatchCache, Key, Row, Slab};
use crate::index::{Index, Look, PageKey, Place, Run};
use crate::open::READERS;
use crate::shard::Schedule;
use bytes::Bytes;
use journal::{Location, ReadError};
use ledger::{ConsumerKey, Span};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogId, LogRef, Millis, Offset, ShardId, SubscriptionId, SubscriptionRef};

/// Most bytes of consecutive batches fetched from the disk at once.
const READ_AHEAD_BYTES: usize = 1 << 20;
/// The same of batches that lie apart: each is an entry of the cache by itself.
const READ_APART_BYTES: usize = 256 << 10;
/// Runs that are passed over, since they are not wanted, for one load.
const PASSED_MAX: usize = 4096;

/// Whether somebody who reads a log wants a run of it; `None`: all of them.
pub(crate) type RunFilter<'a> = Option<&'a dyn Fn(&Run) -> bool>;

/// What a page of an index is taken for while it is on its way.
const PAGE_BYTES: usize = 64 << 10;

/// What to fetch from the disk, by somebody who may block.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) id: u64,
    pub(crate) what: Wanted,
}

/// Batches, neighbours in a log, or a page of the index of a log.
#[derive(Debug)]
pub(crate) enum Wanted {
    Batches(Vec<Location>),
    Piece(LogId, Piece),
    Page(LogId, PageKey),
}

impl Wanted {
    /// What it takes in memory when it comes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Wanted::Batches(locations) => locations.iter().map(Location::len).sum(),
            Wanted::Piece(_, piece) => piece.bytes,
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

/// Batches in the order asked, neighbours together but for those that could not be read, or the runs
/// of a page as stored; `None`: it cannot be had.
#[derive(Debug)]
pub(crate) enum Fetched {
    Batches(Vec<LoadedBatch>),
    Slab(Option<Slab>, Vec<LoadedBatch>),
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
    /// What is read to be written again is no use to anybody else.
    Unzip,
    Move {
        id: u64,
    },
    Outbox {
        from: ShardId,
        to: ShardId,
    },
    /// Dead letters of a queue.
    Dead(SubscriptionRef),
    /// A run of an index of keys that is made of others.
    Keying {
        shard: ShardId,
        log: LogId,
    },
    /// A look into an index of keys.
    Keyed {
        id: u64,
    },
    /// A listing of a schedule.
    Listing {
        id: u64,
    },
    /// What is due next in the schedule of a log.
    Agenda(LogRef),
    /// A committed entry, which activates what is in a schedule.
    Steps(ShardId),
}

/// What is still to be copied out of a segment.
#[derive(Debug, Default)]
pub(crate) struct ToCopy {
    pub(crate) runs: Vec<(LogId, Run)>,
    pub(crate) pages: Vec<(LogId, PageKey)>,
    /// Read, and to be written together: a round of its own for each would be mostly padding, and
    /// the segments that those lie in sparse from the beginning.
    pub(crate) read: Vec<(LogId, Run, Bytes)>,
}

/// A worker's batches.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) index: Index,
    pub(crate) cache: BatchCache,
    coming: Coming,
    /// Segments that are being copied out of.
    pub(crate) copying: BTreeMap<u32, ToCopy>,
    /// Pages on their way to be counted.
    pub(crate) counting: usize,
    /// What just came from the disk, kept for whoever waited even where the cache is too small.
    fresh: BTreeMap<Key, Arc<Batch>>,
    fresh_slabs: Vec<Arc<Slab>>,
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
            coming: Coming::new(cache_bytes_max),
            copying: BTreeMap::new(),
            counting: 0,
            fresh: BTreeMap::new(),
            fresh_slabs: Vec::new(),
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
        if let Some(batch) = self.cache.get(key) {
            return Found::Here(batch);
        }
        // Whoever takes batches apart has one by itself: it is counted with what that adds, and what
        // a client has of it does not keep its neighbours in memory.
        if let Some(bytes) = self.slab(log, run).and_then(|slab| slab.batch(run)) {
            return Found::Here(self.cache.insert(key, bytes));
        }
        match self.lost.get(&key) {
            Some(why) => Found::Lost(why.clone()),
            None => Found::Cold,
        }
    }

    /// The batch of a run went to the only one who reads its log.
    pub(crate) fn spend(&mut self, log: LogId, run: &Run) {
        if let Some(index) = self.index.log(log) {
            self.cache.spend(cache::key(&index.location(run)), log, run.end());
        }
    }

    /// The batch of a run and those behind it that lie with it in memory, as many as `bytes_max` has
    /// room for; `None` where it is not among others.
    pub(crate) fn row(&mut self, log: LogId, run: &Run, bytes_max: usize) -> Option<Row> {
        let slab = Arc::clone(self.slab(log, run)?);
        let runs = self.index.log(log)?;
        slab.row(run, runs.from(run.end()), bytes_max)
    }

    fn slab(&mut self, log: LogId, run: &Run) -> Option<&Arc<Slab>> {
        match self.fresh_slabs.iter().position(|slab| slab.has(log, run)) {
            Some(at) => self.fresh_slabs.get(at),
            None => self.cache.slab(log, run.first),
        }
    }

    /// Whether a batch is neither in memory nor known to be lost.
    fn is_cold(&mut self, log: LogId, run: &Run) -> bool {
        let Some(index) = self.index.log(log) else { return true };
        let key = cache::key(&index.location(run));
        !self.fresh.contains_key(&key)
            && !self.cache.has(key)
            && !self.slab(log, run).is_some_and(|slab| slab.has(log, run))
            && !self.lost.contains_key(&key)
    }

    /// Has a log refer to an entry of its schedule from now on: the entry's batch is at `base` of the
    /// log, as if appended at `time`.
    pub(crate) fn refer(&mut self, log: LogId, entry: Run, (base, time): (Offset, Millis)) -> Run {
        let index = self.index.log(Schedule::id_of(log));
        let Place { segment, position, len } = entry.at;
        let location = Location::Journal { segment, position, len };
        let location = index.map_or(location, |index| index.location(&entry));
        let run = Run { first: base, appended: time, ..entry };
        self.index.refer(log, run, &location);
        run
    }

    /// The batch that holds an offset, or has it fetched.
    pub(crate) fn batch_at(&mut self, log: LogId, offset: Offset, waiter: Waiter) -> At {
        self.wanted_at((log, offset), waiter, None)
    }

    /// The same; of what follows, only what is wanted is loaded with it.
    pub(crate) fn wanted_at(
        &mut self,
        (log, offset): (LogId, Offset),
        waiter: Waiter,
        is_wanted: RunFilter<'_>,
    ) -> At {
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
                self.load_wanted(log, &run, waiter, is_wanted);
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
        self.load_wanted(log, run, waiter, None);
    }

    /// The same of those that follow and are wanted.
    fn load_wanted(&mut self, log: LogId, run: &Run, waiter: Waiter, is_wanted: RunFilter<'_>) {
        // It is in memory, whatever becomes of its page meanwhile.
        let page = self.index.page_of(log, run);
        if self.coming.wait_for((log, run.first), waiter, page.clone()) {
            return;
        }
        let bytes_max = if is_wanted.is_some() { READ_APART_BYTES } else { READ_AHEAD_BYTES };
        let piece = self.piece(log, run, bytes_max, is_wanted);
        self.coming.piece(log, piece, Some(waiter), page);
        self.load_pages_ahead(log, run.end());
    }

    /// Somebody has read a log up to `offset`: begins to load what comes next, if that is due and there
    /// is room for it, as far as it is wanted.
    pub(crate) fn reached(&mut self, log: LogId, offset: Offset, is_wanted: RunFilter<'_>) {
        let Some(from) = self.coming.reached(log, offset) else { return };
        let room = self.coming.room_ahead().min(READ_AHEAD_BYTES);
        let Some(runs) = self.index.log(log) else { return };
        let next = match (runs.at_or_after(from), is_wanted) {
            (Look::Run(run), Some(is_wanted)) => {
                let mut next = std::iter::once(run).chain(runs.from(run.end())).take(PASSED_MAX);
                next.find(is_wanted).map_or(Look::None, Look::Run)
            }
            (next, _) => next,
        };
        match next {
            Look::Run(run) if run.at.len as usize <= room => {
                if !self.is_cold(log, &run) {
                    return;
                }
                let piece = self.piece(log, &run, room, is_wanted);
                let end = piece.end;
                self.coming.piece(log, piece, None, None);
                self.load_pages_ahead(log, end);
            }
            Look::Page(_) => self.load_pages_ahead(log, from),
            Look::Run(_) | Look::None => {}
        }
    }

    /// A run and those that follow it in its log and are wanted, as far as the index has them in memory.
    fn piece(&self, log: LogId, first: &Run, bytes_max: usize, is_wanted: RunFilter<'_>) -> Piece {
        let (mut locations, mut spans, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut passed = 0;
        let (mut half, mut end) = (None, first.end());
        if let Some(index) = self.index.log(log) {
            for run in std::iter::once(*first).chain(index.from(first.end())) {
                if bytes > 0 && bytes + run.at.len as usize > bytes_max {
                    break;
                }
                if bytes > 0 && is_wanted.is_some_and(|is_wanted| !is_wanted(&run)) {
                    passed += 1;
                    if passed == PASSED_MAX {
                        break;
                    }
                    continue;
                }
                bytes += run.at.len as usize;
                end = run.end();
                if bytes >= bytes_max / 2 {
                    half.get_or_insert(end);
                }
                locations.push(index.location(&run));
                spans.push((run.first, run.count));
            }
        }
        let half = half.unwrap_or(end);
        let has_gaps = passed > 0;
        Piece { first: first.first, half, end, locations, spans, bytes, has_gaps }
    }

    /// Asks for the pages that whoever reads on will need next.
    fn load_pages_ahead(&mut self, log: LogId, from: Offset) {
        let room = self.index.ahead_max().saturating_sub(self.coming.pages_ahead());
        let index = self.index.log(log).filter(|_| room > 0);
        let pages =
            index.map_or(Vec::new(), |index| index.pages_ahead(from, READ_AHEAD_BYTES, room));
        for page in pages {
            self.coming.page(log, page, None);
        }
    }

    pub(crate) fn load_batches(&mut self, locations: Vec<Location>, waiter: Waiter) {
        self.coming.batches(locations, waiter);
    }

    /// Asks for the batches of some runs of a log that lie apart, in as many loads as there are threads
    /// to read them at once. Gives how many loads that are.
    pub(crate) fn load_apart(&mut self, log: LogId, runs: &[Run], waiter: Waiter) -> usize {
        let Some(index) = self.index.log(log) else { return 0 };
        let loads = runs.chunks(runs.len().div_ceil(READERS).max(1));
        let count = loads.len();
        for runs in loads {
            let locations = runs.iter().map(|run| index.location(run)).collect();
            // They are in memory, whatever becomes of their pages meanwhile.
            let pages = runs.iter().filter_map(|run| self.index.page_of(log, run));
            self.coming.apart(locations, waiter, pages);
        }
        count
    }

    /// Asks for a page of a log's index.
    pub(crate) fn load_page(&mut self, log: LogId, page: PageKey, waiter: Waiter) {
        self.coming.page(log, page, Some(waiter));
    }

    /// Bounds what is on its way from the disk at once, in bytes.
    pub(crate) fn bound_loads(&mut self, bytes_max: usize) {
        self.coming.bound(bytes_max);
    }

    /// What is on its way from the disk, in bytes.
    pub(crate) fn loading_bytes(&self) -> usize {
        self.coming.begun_bytes()
    }

    /// The loads to begin now.
    pub(crate) fn begin_loads(&mut self, out: &mut Vec<Load>) {
        self.coming.begin(out);
    }

    /// Batches came from the disk, or a page the index took in: gives who waited for it.
    /// [`Store::settle_fresh`] afterwards.
    pub(crate) fn loaded(
        &mut self,
        id: u64,
        (slab, batches): (Option<Slab>, Vec<LoadedBatch>),
    ) -> Vec<Waiter> {
        let Some(Arrived { waiters, pages }) = self.coming.arrived(id) else { return Vec::new() };
        if let [Waiter::Unzip] = waiters[..] {
            self.aside = batches;
            return waiters;
        }
        if let Some(slab) = slab.map(Arc::new) {
            self.cache.insert_slab(&slab);
            self.fresh_slabs.push(slab);
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
        for (key, page) in pages {
            self.index.pages.hold(key, page);
        }
        waiters
    }

    /// Whoever waited has had its turn. `short`: memory is, and the cache gives way.
    pub(crate) fn settle_fresh(&mut self, short: bool) {
        self.fresh.clear();
        self.fresh_slabs.clear();
        self.index.pages.release();
        self.cache.recount(short);
    }
}
