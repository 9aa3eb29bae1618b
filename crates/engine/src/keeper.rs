//! Keeps the disk in order: prepares segments, stores index files and checkpoints, gives dead
//! segments back, and has survivors of mostly dead ones copied forward.
//!
//! The order that keeps everything recoverable: a segment's index before a checkpoint that replays
//! from a later segment, and that checkpoint before the segment is given back.

mod unzip;

pub use unzip::UnzipSizes;

use crate::metrics::{self, Metrics};
use crate::pressure::Cause;
use crate::replication::{EntryId, Replicator};
use crate::shard::Cut;
use crate::worker::{CheckpointPart, CheckpointWanted, Input, Notice, Ports};
use io::Clock;
use journal::{Checkpoint, Directory, Failed, FailedKind, IndexPart, Pool, Position, SegmentUse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use types::ShardId;
use unzip::Unzipping;

/// A checkpoint after so much time, if anything was written.
const CHECKPOINT_EVERY_US: u64 = 60_000_000;
/// At least so many bytes of journal for each byte of checkpoint.
const JOURNAL_PER_CHECKPOINT: u64 = 32;
/// Of what says where entries of schedules lie, one part in so many counts for that: a journal of small
/// ones would take too long to replay.
const PACKED_PART: u64 = 8;
/// How often the workers are asked which segments they need.
const REPORT_EVERY_US: u64 = 250_000;
/// How often it is asked how much the disk has left.
const SPACE_EVERY_US: u64 = 50_000;
/// A checkpoint after so much time while the disk has little left.
const LOW_CHECKPOINT_EVERY_US: u64 = 500_000;
/// A full disk is tried again after so long, and after twice as long each time.
const FULL_MIN_US: u64 = 20_000;
const FULL_MAX_US: u64 = 1_000_000;
/// A sealed segment with less than this share live has its survivors copied forward, in percent.
const SPARSE_PERCENT: u64 = 30;
/// Survivors are copied forward up to so many bytes between two reports.
const COPIED_BYTES_MAX: u64 = 16 << 20;
/// For each percent that is live, so long with hardly less of it live: what goes by itself, as
/// messages that are just being consumed do, need not be copied.
const SETTLED_US_PER_PERCENT: u64 = 1_000_000;
/// The same while the disk has little left.
const LOW_SETTLED_US_PER_PERCENT: u64 = 100_000;
/// A share of the live bytes that goes in that time makes them unsettled, in percent.
const GOING_PERCENT: u64 = 25;

/// What is stored when the keeper begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stored {
    /// Of the newest checkpoint.
    pub(crate) sequence: u64,
    pub(crate) replay: Position,
    /// The segments before this one have their index files.
    pub(crate) indexed_before: u32,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    pool: Pool,
    ports: Ports,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    sequence: u64,
    /// Index parts of sealed segments, until every worker has given its own.
    indexing: BTreeMap<u32, BTreeMap<usize, Vec<IndexPart>>>,
    /// Complete ones that could not be stored yet.
    unstored: Vec<(u32, Vec<IndexPart>)>,
    indexed: BTreeSet<u32>,
    /// Those stored of which the workers were not told, for one before is not stored.
    untold: BTreeMap<u32, Directory>,
    /// Parts of the checkpoint being made; `None` when none is.
    gathering: Option<Gathering>,
    /// A gathered checkpoint that waits for index files, the number of its cut, and how much of it says
    /// where entries of schedules lie.
    ready: Option<(Checkpoint, u64, u64)>,
    /// The last cut.
    cut: u64,
    /// Of which cuts the two stored checkpoints are, by parity of their sequence.
    cuts: [Option<u64>; 2],
    replay: Position,
    live: BTreeMap<usize, BTreeMap<u32, u64>>,
    /// From this segment on there are entries that other replicas may ask for.
    kept_from: Option<u32>,
    /// Who orders the frames of shards with several replicas.
    pub(crate) replicator: Option<Arc<dyn Replicator>>,
    /// Bytes live in a sparse segment, and since when about so many have been.
    settled: BTreeMap<u32, (u64, u64)>,
    /// Segments from which survivors are being copied forward, and the workers that still do.
    relocating: BTreeMap<u32, BTreeSet<usize>>,
    unzip: Unzipping,
    /// The disk was full when it was last tried.
    full: Option<Full>,
    /// Publishing is blocked while the disk has less left.
    pub(crate) free_min: u64,
    is_low: bool,
    looked_us: u64,
    /// A checkpoint after so many bytes of journal; `u64::MAX`: none but at a stop.
    pub(crate) checkpoint_bytes: u64,
    /// Bytes of journal that the start replayed, and that the next one would again.
    replayed_bytes: u64,
    checkpointed_bytes: u64,
    checkpointed_us: u64,
    /// Bytes of the checkpoint last stored, as far as they count.
    stored_bytes: u64,
    reported_us: u64,
}

impl Keeper {
    /// Has segments unzipped.
    pub(crate) fn set_unzip(&mut self, sizes: UnzipSizes) {
        self.unzip.sizes = sizes;
    }

    pub(crate) fn new(
        pool: Pool,
        ports: Ports,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        Stored { sequence, replay, indexed_before }: Stored,
    ) -> Keeper {
        let segments = pool.segments().into_iter().map(|s| s.segment);
        let indexed = segments.filter(|segment| *segment < indexed_before).collect();
        Keeper {
            pool,
            ports,
            metrics,
            sequence,
            indexing: BTreeMap::new(),
            unstored: Vec::new(),
            indexed,
            untold: BTreeMap::new(),
            gathering: None,
            ready: None,
            cut: 0,
            cuts: [None; 2],
            replay,
            live: BTreeMap::new(),
            settled: BTreeMap::new(),
            relocating: BTreeMap::new(),
            unzip: Unzipping::default(),
            full: None,
            free_min: 0,
            is_low: false,
            looked_us: 0,
            replicator: None,
            kept_from: None,
            checkpoint_bytes: u64::MAX,
            replayed_bytes: 0,
            checkpointed_bytes: 0,
            checkpointed_us: clock.micros(),
            stored_bytes: 0,
            reported_us: 0,
            clock,
        }
    }

    /// Counts what a start has replayed up to `end` as journal since the last checkpoint: lives that
    /// are too short for a checkpoint must not make the next start longer and longer.
    pub(crate) fn count_replayed(&mut self, end: Position) {
        let (segments, from) = (self.pool.segments(), self.replay);
        let replayed = segments.iter().filter(|it| it.segment >= from.segment).map(|it| {
            let end = if it.segment == end.segment { u64::from(end.byte) } else { it.bytes };
            let start = if it.segment == from.segment { u64::from(from.byte) } else { 0 };
            end.saturating_sub(start)
        });
        self.replayed_bytes = replayed.sum();
    }

    /// What has to be done now, whether or not anything came in.
    pub(crate) fn tick(&mut self) -> Result<(), Failed> {
        let now = self.clock.micros();
        if now - self.looked_us >= SPACE_EVERY_US {
            self.looked_us = now;
            self.look_at_space()?;
        }
        if self.full.is_none_or(|full| full.until_us <= now) {
            let tidied = self.tidy();
            self.unless_full(tidied)?;
        }
        let since = self.journal_bytes() - self.checkpointed_bytes;
        let late =
            self.checkpoint_bytes < u64::MAX && now - self.checkpointed_us >= CHECKPOINT_EVERY_US;
        let due = self.checkpoint_bytes.max(self.stored_bytes * JOURNAL_PER_CHECKPOINT);
        // Segments that are dead but for a replay that would begin before them are given back soon.
        let wanted = self.is_low && now - self.checkpointed_us >= LOW_CHECKPOINT_EVERY_US;
        if since >= due || (since > 0 && (late || wanted)) {
            self.begin_checkpoint();
        }
        self.ration_unzip(now);
        if now - self.reported_us >= REPORT_EVERY_US {
            self.reported_us = now;
            self.look_at_others(now);
            self.tell(|| Input::Report);
        }
        Ok(())
    }

    /// Blocks publishing while the disk has less left than it should.
    pub(crate) fn look_at_space(&mut self) -> Result<(), Failed> {
        let free = self.pool.free_bytes()?;
        // What is given back for a moment must not let everybody on at once.
        let enough = if self.is_low { self.free_min + self.free_min / 4 } else { self.free_min };
        self.is_low = free < enough;
        self.ports.press(Cause::DiskLow, self.is_low);
        self.metrics.space.free_bytes.store(free, Ordering::Relaxed);
        self.metrics.space.blocked.store(u64::from(self.ports.is_blocked()), Ordering::Relaxed);
        Ok(())
    }

    fn journal_bytes(&self) -> u64 {
        self.replayed_bytes + self.metrics.written_bytes.load(Ordering::Relaxed)
    }

    /// Has the disk hold what it should. Where there is no room for a segment there may be some for
    /// a checkpoint, which lets segments go.
    fn tidy(&mut self) -> Result<(), Failed> {
        let prepared = self.pool.prepare().map(|_| ());
        match (prepared, self.store()) {
            (Err(failed), Err(full)) if full.kind == FailedKind::NoSpace => Err(failed),
            (prepared, stored) => stored.and(prepared),
        }
    }

    /// Stores the index files and the checkpoint that are complete.
    pub(crate) fn store(&mut self) -> Result<(), Failed> {
        self.store_indexes()?;
        self.store_checkpoint()
    }

    /// A full disk is no failure: it is tried again after a while, which grows.
    fn unless_full(&mut self, result: Result<(), Failed>) -> Result<(), Failed> {
        match (result, self.full) {
            (Err(failed), full) if failed.kind == FailedKind::NoSpace => {
                if full.is_none() {
                    tracing::warn!(%failed, "the disk is full");
                }
                let wait_us = full.map_or(FULL_MIN_US, |full| (full.wait_us * 2).min(FULL_MAX_US));
                self.full = Some(Full { until_us: self.clock.micros() + wait_us, wait_us });
                Ok(())
            }
            (Ok(()), Some(_)) => {
                self.full = None;
                tracing::info!("the disk has room again");
                Ok(())
            }
            (result, _) => result,
        }
    }

    /// Asks every worker for its part of a checkpoint, unless one is being made.
    pub(crate) fn begin_checkpoint(&mut self) {
        if self.gathering.is_none() && self.ready.is_none() {
            self.checkpointed_bytes = self.journal_bytes();
            self.checkpointed_us = self.clock.micros();
            let part = self.cut();
            self.tell(part);
        }
    }

    /// Begins a checkpoint in place of one that is being made; gives what asks a worker for its part.
    pub(crate) fn begin_last_checkpoint(&mut self) -> impl Fn() -> Input + use<> {
        self.ready = None;
        self.cut()
    }

    /// Begins a cut: of what changed since that of the checkpoint before the last, whose place this
    /// one takes, or of everything.
    fn cut(&mut self) -> impl Fn() -> Input + use<> {
        self.cut += 1;
        let sequence = self.sequence + 1;
        let since = self.cuts[usize::from(sequence % 2 == 1)];
        let since = since.filter(|_| self.pool.takes_changes(sequence));
        let cut = Cut { number: self.cut, since };
        self.gathering = Some(Gathering { cut, parts: BTreeMap::new() });
        let durable = **self.ports.durable.load();
        move || Input::Checkpoint(CheckpointWanted { durable, cut })
    }

    /// Takes in what a worker says.
    pub(crate) fn notice(&mut self, notice: Notice) -> Result<(), Failed> {
        match notice {
            Notice::Indexed { worker, segment, parts } => self.index(worker, segment, parts),
            Notice::Checkpoint { worker, part } => {
                if let Some(gathering) = &mut self.gathering
                    && gathering.cut.number == part.cut
                {
                    gathering.parts.insert(worker, *part);
                }
                self.gather();
            }
            Notice::Live { worker, live, kept_from } => {
                self.live.insert(worker, live);
                self.kept_from = self.kept_from.into_iter().chain(kept_from).min();
                let reclaimed = self.reclaim();
                if reclaimed.is_err() {
                    self.unless_full(reclaimed)?;
                }
            }
            Notice::Unzipped { worker } => self.unzipped(worker),
            Notice::Relocated { worker, segment } => {
                if let Some(workers) = self.relocating.get_mut(&segment) {
                    workers.remove(&worker);
                    if workers.is_empty() {
                        self.relocating.remove(&segment);
                        metrics::add(&self.metrics.copies.relocated_segments, 1);
                    }
                }
            }
        }
        Ok(())
    }

    fn index(&mut self, worker: usize, segment: u32, own: Vec<IndexPart>) {
        let parts = self.indexing.entry(segment).or_default();
        parts.insert(worker, own);
        if parts.len() == self.ports.mailboxes.len()
            && let Some(parts) = self.indexing.remove(&segment)
        {
            self.unstored.push((segment, parts.into_values().flatten().collect()));
        }
    }

    /// Stores what is complete, and tells the workers, in the order of the segments.
    fn store_indexes(&mut self) -> Result<(), Failed> {
        while let Some((segment, parts)) = self.unstored.last() {
            let directory = self.pool.store_index(*segment, parts)?;
            self.indexed.insert(*segment);
            self.untold.insert(*segment, directory);
            self.unstored.pop();
        }
        if self.untold.is_empty() {
            return Ok(());
        }
        let segments = self.pool.segments().into_iter().map(|one| one.segment);
        let unindexed = segments.into_iter().find(|segment| !self.indexed.contains(segment));
        let later = self.untold.split_off(&unindexed.unwrap_or(u32::MAX));
        for directory in std::mem::replace(&mut self.untold, later).into_values() {
            let directory = Arc::new(directory);
            self.tell(|| Input::Indexed(Arc::clone(&directory)));
        }
        Ok(())
    }

    fn gather(&mut self) {
        let workers = self.ports.mailboxes.len();
        let Some(Gathering { cut, parts }) =
            self.gathering.take_if(|gathering| gathering.parts.len() == workers)
        else {
            return;
        };
        let replay = parts.values().filter_map(|part| part.replay).min().unwrap_or(self.replay);
        let mut checkpoint = Checkpoint {
            sequence: self.sequence + 1,
            replay: replay.max(self.replay),
            applied: Vec::new(),
            is_partial: cut.since.is_some(),
            pages: Vec::new(),
        };
        let mut packed_bytes = 0;
        for part in parts.into_values() {
            packed_bytes += part.packed_bytes;
            checkpoint.applied.extend(part.applied);
            checkpoint.pages.extend(part.pages);
            checkpoint.pages.extend(part.names.map(|names| names.page()));
        }
        self.ready = Some((checkpoint, cut.number, packed_bytes));
    }

    fn store_checkpoint(&mut self) -> Result<(), Failed> {
        let Some((checkpoint, cut, packed_bytes)) = &self.ready else { return Ok(()) };
        let replay = checkpoint.replay;
        let applied = checkpoint
            .applied
            .iter()
            .map(|applied| (applied.shard, EntryId { term: applied.term, index: applied.index }));
        let applied: Vec<(ShardId, EntryId)> = match self.replicator {
            Some(_) => applied.collect(),
            None => Vec::new(),
        };
        let segments = self.pool.segments();
        let covered = segments.iter().map(|s| s.segment).filter(|s| *s < replay.segment);
        if !covered.into_iter().all(|segment| self.indexed.contains(&segment)) {
            return Ok(());
        }
        let stored_bytes = self.pool.store_checkpoint(checkpoint)?;
        self.stored_bytes = stored_bytes.saturating_sub(*packed_bytes) + packed_bytes / PACKED_PART;
        self.sequence = checkpoint.sequence;
        self.cuts[usize::from(self.sequence % 2 == 1)] = Some(*cut);
        self.replay = replay;
        self.ready = None;
        metrics::add(&self.metrics.checkpoints, 1);
        if let Some(replicator) = &self.replicator {
            replicator.stored(&applied);
        }
        Ok(())
    }

    /// Gives dead segments back, and starts copying the survivors of the sparsest one.
    fn reclaim(&mut self) -> Result<(), Failed> {
        if self.live.len() < self.ports.mailboxes.len() {
            return Ok(());
        }
        let segments = self.pool.segments();
        let in_use: u64 = segments.iter().map(|segment| segment.bytes).sum();
        self.metrics.space.segment_bytes.store(in_use, Ordering::Relaxed);
        let (mut sparse, mut full) = (Vec::new(), Vec::new());
        // What other replicas may ask for stays where it is, whether or not it is live.
        let kept_from = self.kept_from.take().unwrap_or(u32::MAX);
        let replay = self.replay.segment.min(kept_from);
        for segment in segments.iter().filter(|s| s.sealed && s.segment < replay) {
            let number = segment.segment;
            let live: u64 = self.live.values().filter_map(|live| live.get(&number)).sum();
            let early = io::planted("early-recycle") && live * 100 < segment.bytes
                || io::planted("unzip-recycled-early") && self.was_unzipped(number);
            if live == 0 || early {
                if self.pool.recycle(number)? {
                    self.indexed.remove(&number);
                    metrics::add(&self.metrics.recycled_segments, 1);
                }
            } else if live * 100 >= segment.bytes * SPARSE_PERCENT || self.is_unzipping(number) {
                full.push((*segment, live));
            } else if self.is_settled(*segment, live) {
                sparse.push((live, number));
            }
        }
        if self.relocating.is_empty() {
            self.relocate(sparse);
        }
        self.consider_unzip(&full);
        self.live.clear();
        self.settled.retain(|number, _| segments.iter().any(|one| one.segment == *number));
        Ok(())
    }

    /// Has the survivors of the sparsest segments copied forward: of one at least, and of more up to
    /// a bound on what is copied.
    fn relocate(&mut self, mut sparse: Vec<(u64, u32)>) {
        sparse.sort_unstable();
        let mut copied = 0;
        // Where little is left, what is copied must not be what fills the disk.
        let most = if self.is_low { self.free_min / 4 } else { COPIED_BYTES_MAX };
        for (live, segment) in sparse {
            copied += live;
            if copied > most && (self.is_low || !self.relocating.is_empty()) {
                break;
            }
            self.relocating.insert(segment, (0..self.ports.mailboxes.len()).collect());
            self.tell(|| Input::Relocate(segment));
        }
    }

    /// Whether what is live in a sparse segment is there to stay.
    fn is_settled(&mut self, segment: SegmentUse, live: u64) -> bool {
        let now = self.clock.micros();
        let (bytes, since) = self.settled.entry(segment.segment).or_insert((live, now));
        if live * 100 < *bytes * (100 - GOING_PERCENT) {
            (*bytes, *since) = (live, now);
        }
        let per_percent =
            if self.is_low { LOW_SETTLED_US_PER_PERCENT } else { SETTLED_US_PER_PERCENT };
        now - *since >= live * 100 / segment.bytes * per_percent
    }

    fn tell(&self, input: impl Fn() -> Input) {
        for mailbox in &self.ports.mailboxes {
            mailbox.push(input());
        }
    }
}

/// A checkpoint of which the workers give their parts.
#[derive(Debug)]
struct Gathering {
    cut: Cut,
    parts: BTreeMap<usize, CheckpointPart>,
}

/// When a full disk is tried again.
#[derive(Clone, Copy, Debug)]
struct Full {
    until_us: u64,
    wait_us: u64,
}
