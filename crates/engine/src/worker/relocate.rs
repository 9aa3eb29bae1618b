//! What the keeper of the disk asks of a worker: its part of a checkpoint, which segments it needs,
//! and to copy what is live in a mostly dead segment to the end of the journal.

use super::checkpointing::CheckpointPart;
use super::store::{Fetched, Found, LoadedBatch, ToCopy, Waiter};
use super::unzip::Unzip;
use super::{Worker, upkeep};
use crate::cache::Slab;
use crate::envelope::Envelope;
use crate::index::{self, PageKey, Run, StoredRuns};
use bytes::Bytes;
use journal::{
    AppliedBase, Dest, Directory, FrameDraft, FrameKind, IndexPart, Indexed, Placed, Position,
    ScannedFrame,
};
use ledger::{Ledger, Span};
use record::batch::Header;
use std::collections::{BTreeMap, BTreeSet};
use types::{LogId, Millis, Offset, ShardId};

/// What a worker tells the keeper.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The index of what the worker's shards have in a sealed segment.
    Indexed { worker: usize, segment: u32, part: IndexPart },
    /// The worker's part of a checkpoint.
    Checkpoint { worker: usize, part: Box<CheckpointPart> },
    /// Bytes the worker needs, by segment.
    Live { worker: usize, live: BTreeMap<u32, u64> },
    /// What the worker had live in a segment is on its way to the end of the journal.
    Relocated { worker: usize, segment: u32 },
    /// What the worker had live in the segments being unzipped is on its way, log by log.
    Unzipped { worker: usize },
}

/// What a worker writes again.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Runs on their way to the end of the journal, by the number of the frame with the copies.
    pub(super) under_way: BTreeMap<u64, (ShardId, Vec<(LogId, Run)>)>,
    /// The same by what they are, each once.
    going: BTreeSet<(LogId, Offset)>,
    next: u64,
    /// Where the copies of each shard lie that were placed last: the journal is synced up to there.
    placed: BTreeMap<ShardId, Position>,
    /// Batches to be copied forward come from the disk.
    loading_referred: bool,
    /// Segments being unzipped.
    pub(super) unzip: Option<Unzip>,
    pub(super) unzip_pass_bytes: u64,
}

impl Copies {
    pub(super) fn new(unzip_pass_bytes: u64) -> Copies {
        Copies { unzip_pass_bytes, ..Copies::default() }
    }

    /// Whether copies of a shard are on their way. All of each, parts that were written ahead of it
    /// included, comes after what was placed of the shard before; of another shard's that is not so.
    pub(super) fn are_of(&self, shard: ShardId) -> bool {
        self.under_way.values().any(|(of, _)| *of == shard)
    }

    pub(super) fn placed(&self, shard: ShardId) -> Position {
        self.placed.get(&shard).copied().unwrap_or_default()
    }
}

/// A batch to be written again.
type Copied = (LogId, Run, Bytes);

/// Bytes of batches in one frame of copies, and of those that are in memory for one.
pub(super) const FRAME_BYTES: usize = 256 << 10;
/// The term of a single node's shards.
pub(super) const TERM: u32 = 1;
/// Activated batches that are kept where they were scheduled, for each entry of a schedule that is
/// kept in memory.
const REFERRED_PER_NEAR: usize = 4;
/// Of those beyond, so many are copied forward at once.
const REFERRED_PER_SWEEP: usize = 256;

impl Worker {
    /// Every frame of a segment was placed: its index can be written.
    pub(super) fn sealed(&mut self, segment: u32) {
        self.want_bases();
        let part = self.store.index.seal(segment);
        self.output.notices.push(Notice::Indexed { worker: self.number, segment, part });
    }

    /// The index file of a segment is stored. What is dead of it is taken out first, for a page counts
    /// what was in memory.
    pub(super) fn indexed(&mut self, directory: &Directory) {
        self.sweep(usize::MAX);
        self.store.index.indexed(directory);
    }

    /// The base offsets given so far have to be in some frame: no replay will give them again.
    pub(super) fn want_bases(&mut self) {
        self.seats.values_mut().for_each(|seat| seat.bases_wanted = true);
    }

    pub(super) fn report(&mut self) {
        self.store.index.forget_dead();
        let live = self.store.index.live().clone();
        self.output.notices.push(Notice::Live { worker: self.number, live });
    }

    /// Copies what is live in a segment to the end of the journal, page by page.
    pub(super) fn relocate(&mut self, segment: u32) {
        let index = &self.store.index;
        let (runs, pages) = (index.runs_in(segment), index.pages_in(segment));
        self.store.copying.insert(segment, ToCopy { runs, pages, read: Vec::new() });
        self.copy_on(segment);
    }

    /// Goes on until something has to come from the disk, or all is on its way.
    pub(super) fn copy_on(&mut self, segment: u32) {
        let Some(mut left) = self.store.copying.remove(&segment) else { return };
        loop {
            let (mut cold, mut locations) = (Vec::new(), Vec::new());
            for (log, run) in left.runs.drain(..) {
                let Some(runs) = self.store.index.log(log).filter(|runs| runs.has(&run)) else {
                    continue;
                };
                let location = runs.location(&run);
                match self.store.find(log, &run) {
                    Found::Here(batch) => left.read.push((log, run, batch.bytes.clone())),
                    Found::Cold => {
                        cold.push((log, run));
                        locations.push(location);
                    }
                    // It cannot be copied; the segment stays for whoever repairs it.
                    Found::Lost(_) => {}
                }
            }
            if left.read.iter().map(|(.., bytes)| bytes.len()).sum::<usize>() >= FRAME_BYTES {
                self.copy_forward(std::mem::take(&mut left.read));
            }
            if !cold.is_empty() {
                left.runs = cold;
                self.store.copying.insert(segment, left);
                return self.store.load_batches(locations, Waiter::Relocate { segment });
            }
            let Some((log, page)) = left.pages.pop() else { break };
            match self.store.index.unfold(log, page) {
                Some(runs) => left.runs = runs.into_iter().map(|run| (log, run)).collect(),
                None if self.store.index.is_lost(log, page) => {}
                None => {
                    left.pages.push((log, page));
                    self.store.copying.insert(segment, left);
                    return self.store.load_page(log, page, Waiter::Relocate { segment });
                }
            }
        }
        self.copy_forward(left.read);
        self.output.notices.push(Notice::Relocated { worker: self.number, segment });
    }

    /// Takes in what came from the disk, if it is a page; gives the batches if it is those.
    pub(super) fn pages_loaded(&mut self, what: Fetched) -> (Option<Slab>, Vec<LoadedBatch>) {
        match what {
            Fetched::Batches(batches) => (None, batches),
            Fetched::Slab(slab, failed) => (slab, failed),
            Fetched::Page(log, page, runs) => {
                self.page_loaded(log, page, runs);
                (None, Vec::new())
            }
        }
    }

    /// A page of an index file came from the disk, or cannot be had.
    fn page_loaded(&mut self, log: LogId, page: PageKey, runs: Option<Vec<Run>>) {
        let shard = self.seats.values().map(|seat| &seat.shard);
        let shard = shard.into_iter().find(|shard| shard.logs.contains_key(&log));
        match (shard, runs) {
            (Some(shard), Some(runs)) => {
                let dead = upkeep::dead_in(shard, log);
                self.store.index.page_loaded(log, page, runs, dead);
            }
            (Some(_), None) => self.store.index.page_lost(log, page),
            (None, _) => {}
        }
    }

    /// Copies batches of which only checkpoints know that a log refers to them, where they are many:
    /// the copies are in index files.
    pub(super) fn copy_referred(&mut self) {
        if self.copies.loading_referred {
            return;
        }
        let going = &self.copies.going;
        let kept = self.schedule_near_max * REFERRED_PER_NEAR + going.len();
        let (mut cold, mut read) = (Vec::new(), Vec::new());
        for (log, run) in self.store.index.referred_beyond(kept, REFERRED_PER_SWEEP, going) {
            match self.store.find(log, &run) {
                Found::Here(batch) => read.push((log, run, batch.bytes.clone())),
                Found::Cold => {
                    if let Some(index) = self.store.index.log(log) {
                        cold.push(index.location(&run));
                    }
                }
                Found::Lost(_) => {}
            }
        }
        self.copy_forward(read);
        if !cold.is_empty() {
            self.copies.loading_referred = true;
            self.store.load_batches(cold, Waiter::Referred);
        }
    }

    #[cfg(test)]
    pub(crate) fn referred(&self) -> usize {
        self.store.index.referred_beyond(0, usize::MAX, &BTreeSet::new()).len()
    }

    pub(super) fn referred_loaded(&mut self) {
        self.copies.loading_referred = false;
        self.copy_referred();
    }

    /// Appends batches to the journal once more, those of a shard together as far as a frame takes
    /// them.
    fn copy_forward(&mut self, copies: Vec<Copied>) {
        let synced = !io::planted("relocate-unsynced");
        let mut frames: BTreeMap<ShardId, (Vec<Copied>, usize)> = BTreeMap::new();
        for (log, run, bytes) in copies {
            let Some(shard) = self.shard_of_log(log) else { continue };
            if !self.store.index.log(log).is_some_and(|runs| runs.has(&run)) {
                continue;
            }
            let (frame, frame_bytes) = frames.entry(shard).or_default();
            *frame_bytes += bytes.len();
            frame.push((log, run, bytes));
            if *frame_bytes >= FRAME_BYTES || frame.len() >= self.runs_max(shard) {
                let frame = std::mem::take(frame);
                *frame_bytes = 0;
                self.copy_together(shard, frame, synced);
            }
        }
        for (shard, (frame, _)) in frames {
            self.copy_together(shard, frame, synced);
        }
    }

    /// Most runs that a frame of a shard's copies takes.
    pub(super) fn runs_max(&self, shard: ShardId) -> usize {
        self.seats.get(&shard).map_or(1, |seat| seat.draft.room().dests)
    }

    /// Appends batches of a shard's logs to the journal once more, in one frame. What is on its way
    /// already stays out: of two copies the index of a segment would have one, and a replay take the
    /// other.
    pub(super) fn copy_together(&mut self, shard: ShardId, mut copies: Vec<Copied>, synced: bool) {
        let going = &mut self.copies.going;
        copies.retain(|(log, run, _)| going.insert((*log, run.first)));
        let Some(leader_ts) = copies.first().map(|(_, run, _)| run.appended) else { return };
        self.copies.next += 1;
        let index = self.copies.next;
        let (mut dests, mut applied) = (Vec::new(), Vec::new());
        for (dest, (log, run, _)) in (0u16..).zip(&copies) {
            let due = (run.appended != leader_ts).then_some(run.appended);
            let envelope = Envelope { expiring: run.expiring, due, ..Envelope::default() };
            let envelope = envelope.encode();
            dests.push(Dest { log: *log, batch: dest, records: run.count, envelope });
            applied.push(AppliedBase { index, dest, base: run.first });
        }
        self.copies
            .under_way
            .insert(index, (shard, copies.iter().map(|(log, run, _)| (*log, *run)).collect()));
        self.output.frames.push(FrameDraft {
            shard,
            term: TERM,
            index,
            leader_ts,
            kind: FrameKind::Relocate,
            synced,
            dests,
            applied,
            commands: Bytes::new(),
            batches: copies.into_iter().map(|(_, _, bytes)| bytes).collect(),
        });
    }

    /// Holds what the index counts against what is stored; `read` reads a page's runs.
    pub(crate) fn audit(
        &self,
        read: impl Fn(LogId, PageKey) -> Option<Vec<Run>>,
    ) -> Result<(), String> {
        let shard_of = |log: LogId| {
            let shards = self.seats.values().map(|seat| &seat.shard);
            shards.into_iter().find(|shard| shard.logs.contains_key(&log))
        };
        let dead = |log: LogId, run: &Run| {
            shard_of(log).is_none_or(|shard| upkeep::is_dead(shard, log, run))
        };
        self.store.index.audit(read, dead)?;
        self.seats.values().try_for_each(|seat| seat.shard.audit())
    }

    /// Copies are on the disk: from now on they are what is read.
    pub(super) fn relocated(&mut self, placed: &Placed) {
        let Some((_, copies)) = self.copies.under_way.remove(&placed.index) else { return };
        let locations = placed.batches.iter();
        let skipped = usize::from(io::planted("unzip-neighbour-read") && copies.len() > 1);
        for (log, run) in &copies {
            self.copies.going.remove(&(*log, run.first));
        }
        for ((log, run), location) in copies.into_iter().zip(locations.skip(skipped)) {
            if self.store.index.log(log).is_some_and(|runs| runs.has(&run)) {
                self.store.index.insert(log, Run { at: index::place(location), ..run }, location);
            }
        }
        // What is not durable anyway is told before it is synced.
        if placed.shard != ShardId::LOCAL {
            let last = self.copies.placed.entry(placed.shard).or_default();
            *last = placed.position.max(*last);
        }
    }

    /// A copy found at the start. The original may be gone already, its segment given back. Where the
    /// segment of the copy had its index, that knows whether the copy counts.
    pub(super) fn replay_relocate(&mut self, frame: &ScannedFrame) {
        for base in &frame.applied {
            let at = usize::from(base.dest);
            let Some(dest) = frame.dests.get(at) else { continue };
            let Some(batch) = frame.batches.get(usize::from(dest.batch)) else { continue };
            let envelope = Envelope::decode(&dest.envelope);
            let max_timestamp =
                Header::decode(&batch.header).map_or(Millis(-1), |header| header.max_timestamp);
            let run = Run {
                first: base.base,
                max_timestamp,
                appended: envelope.due.unwrap_or(frame.leader_ts),
                count: dest.records,
                at: index::place(&batch.location),
                expiring: envelope.expiring,
                referred: false,
            };
            if self.store.index.counts_elsewhere(dest.log, &run) {
                continue;
            }
            let extent = self.seats.values().find_map(|seat| seat.shard.extent(dest.log));
            if extent.is_some_and(|(start, end)| run.end() > start && run.first < end) {
                self.store.index.insert(dest.log, run, &batch.location);
            }
        }
    }

    fn shard_of_log(&self, log: LogId) -> Option<ShardId> {
        let mut seats = self.seats.iter();
        seats.find(|(_, seat)| seat.shard.extent(log).is_some()).map(|(shard, _)| *shard)
    }

    /// Puts back what a checkpoint kept of where batches lie.
    pub(crate) fn restore_runs(&mut self, runs: StoredRuns) {
        self.store.index.restore(runs);
    }

    /// Takes in the index of a sealed segment: what this worker's logs may still hold of it. Of its
    /// hidden logs only where the segment had its index when the checkpoint was cut: a later one
    /// lacks what was activated since, and a replay looks for that.
    pub(crate) fn restore_index(&mut self, indexed: &Indexed, with_hidden: bool) {
        let seats = &self.seats;
        let extent_of = |log: LogId| {
            let wanted = with_hidden || index::is_paged(log);
            wanted.then(|| seats.values().find_map(|seat| seat.shard.extent(log))).flatten()
        };
        match indexed {
            Indexed::Stored(directory) => {
                self.store.index.found(directory, |log| extent_of(log).is_some());
            }
            Indexed::Rebuilt(index) => {
                for (log, runs) in &index.logs {
                    let Some((start, end)) = extent_of(*log) else { continue };
                    let mut runs = index::stored_runs(runs);
                    runs.retain(|run| run.end() > start && run.first < end);
                    self.store.index.found_runs(*log, runs);
                }
            }
        }
    }

    /// All segments before this one were found.
    pub(crate) fn restored_before(&mut self, segment: u32) {
        self.store.index.found_before(segment);
    }

    /// Everything was found, or, not `all`, what a replay needs: `read` reads a page.
    ///
    /// Fails with the first error of `read`.
    pub(crate) fn restore_pages<E>(
        &mut self,
        all: bool,
        read: impl FnMut(LogId, PageKey) -> Result<Vec<Run>, E>,
    ) -> Result<(), E> {
        let seats = &self.seats;
        let extent_of = |log: LogId| seats.values().find_map(|seat| seat.shard.extent(log));
        self.store.index.settle_found(all, extent_of, read)
    }

    /// Drops runs that every subscription has settled.
    pub(crate) fn restore_done(&mut self) {
        for seat in self.seats.values_mut() {
            for (id, log) in &seat.shard.logs {
                let subscriptions = log.subscriptions.iter().filter_map(|id| {
                    let state = seat.shard.subscriptions.get(id);
                    state.filter(|_| log.options.interest)
                });
                let ledgers: Vec<&Ledger> =
                    subscriptions.filter_map(|state| state.ledgers.get(*id)).collect();
                self.store.index.mark_settled(*id, |first, end| {
                    ledgers.iter().map(|ledger| ledger.dead_in(Span::new(first, end))).sum()
                });
            }
            seat.scattered = seat.shard.logs.keys().copied().collect();
        }
        self.sweep(upkeep::SWEEP_RUNS_MAX);
        self.sweep_schedules(true);
    }
}
