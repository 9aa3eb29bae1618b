//! What the keeper of the disk asks of a worker: its part of a checkpoint, which segments it needs,
//! and to copy what is live in a mostly dead segment to the end of the journal.

use super::checkpointing::CheckpointPart;
use super::seat::TERM;
use super::store::{Fetched, Found, LoadedBatch, ToCopy, Waiter};
use super::unzip::Unzip;
use super::{Worker, upkeep};
use crate::cache::Slab;
use crate::envelope::Envelope;
use crate::index::{self, PageKey, Run, Sealing, StoredRuns};
use crate::shard::{Schedule, Shard};
use bytes::Bytes;
use journal::{
    AppliedBase, Dest, Directory, FrameDraft, FrameKind, IndexPart, Indexed, Placed, Position,
    ScannedFrame,
};
use ledger::{Ledger, Span};
use record::batch::Header;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{LogId, Millis, Offset, ShardId};

/// What a worker tells the keeper.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The index of what the worker's shards have in a sealed segment.
    Indexed { worker: usize, segment: u32, parts: Vec<IndexPart> },
    /// The worker's part of a checkpoint.
    Checkpoint { worker: usize, part: Box<CheckpointPart> },
    /// Bytes the worker needs, by segment.
    Live {
        worker: usize,
        live: BTreeMap<u32, u64>,
        /// From this segment on there are entries that other replicas may ask for.
        kept_from: Option<u32>,
    },
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
/// Activated batches that are kept where they were scheduled, for each entry of a schedule that is
/// kept in memory.
const REFERRED_PER_NEAR: usize = 4;
/// Of those beyond, so many are copied forward at once.
const REFERRED_PER_SWEEP: usize = 256;
/// Runs of a segment's index that are made in one turn, for each entry of a schedule that is kept at
/// hand.
const SEALED_PER_NEAR: usize = 1;
/// Pages that take the place of entries in one turn: one for so many entries that are kept at hand.
const FOLDED_PART: usize = 512;

impl Worker {
    /// Every frame of a segment was placed: its index can be made, some a turn.
    pub(super) fn sealed(&mut self, segment: u32) {
        self.want_bases();
        self.unapplied_segments.push_back(segment);
    }

    /// Goes on with the index of a sealed segment, or with taking in one that is stored.
    pub(super) fn index_on(&mut self) {
        self.begin_sealing();
        match self.sealing.is_empty() {
            true => self.fold_on(),
            false => self.seal_on(),
        }
    }

    /// Has the indexes made of sealed segments of which everything is applied.
    fn begin_sealing(&mut self) {
        let unapplied = match self.is_replica && !self.unapplied_segments.is_empty() {
            true => self.unapplied_segment(),
            false => None,
        };
        while let Some(segment) =
            self.unapplied_segments.pop_front_if(|it| unapplied.is_none_or(|first| *it < first))
        {
            self.sealing.push_back(Sealing::new(segment));
        }
    }

    fn seal_on(&mut self) {
        let Some(sealing) = self.sealing.front_mut() else { return };
        if self.store.index.seal_on(sealing, SEALED_PER_NEAR * self.schedule_near_max)
            && let Some(Sealing { segment, parts, .. }) = self.sealing.pop_front()
        {
            self.output.notices.push(Notice::Indexed { worker: self.number, segment, parts });
        }
    }

    /// The index file of a segment is stored. What is dead of it is taken out first, for a page counts
    /// what was in memory.
    pub(super) fn indexed(&mut self, directory: &Arc<Directory>) {
        self.sweep(usize::MAX);
        self.store.index.indexed(directory);
        let agendas = self.seats.values_mut().flat_map(|seat| seat.agendas.values_mut());
        agendas.into_iter().for_each(|agenda| agenda.indexed(directory.segment));
    }

    /// Goes on with having pages take the place of the entries of schedules.
    fn fold_on(&mut self) {
        if !self.store.index.is_folding() {
            return;
        }
        let seats = self.seats.values().chain(self.followed.values());
        let shards: Vec<&Shard> = seats.map(|seat| &seat.shard).collect();
        let dead = |log: LogId, run: &Run| {
            let schedule = Schedule::log_of(log)
                .and_then(|log| shards.iter().find_map(|shard| shard.schedules.get(&log)));
            schedule.is_none_or(|schedule| !schedule.any_waits(run.first, run.end()))
        };
        self.store.index.fold_on((self.schedule_near_max / FOLDED_PART).max(1), dead);
    }

    /// Whether index files are still to be made, or to take the place of what is in memory.
    pub(crate) fn is_indexing(&self) -> bool {
        !self.sealing.is_empty() || self.store.index.is_folding()
    }

    /// The base offsets given so far have to be in some frame: no replay will give them again.
    pub(super) fn want_bases(&mut self) {
        let seats = self.seats.values_mut().chain(self.followed.values_mut());
        seats.into_iter().for_each(|seat| seat.bases_wanted = true);
    }

    pub(super) fn report(&mut self) {
        self.store.index.forget_dead();
        let live = self.store.index.live().clone();
        let kept_from = if self.is_replica { self.kept_from() } else { None };
        self.output.notices.push(Notice::Live { worker: self.number, live, kept_from });
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
        let seats = self.seats.values().chain(self.followed.values());
        let shard = seats.map(|seat| &seat.shard);
        let shard = shard.into_iter().find(|shard| shard.extent(log).is_some());
        if let Some(shard) = shard.filter(|_| Schedule::log_of(log).is_some()) {
            let dead = upkeep::dead_in(shard, log);
            let waits = |run: &Run| !dead(run);
            if self.store.index.dues.loaded(log, page, runs.as_deref(), waits) {
                return;
            }
        }
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
        let mut seats = self.all_seats();
        let seat = seats.find(|seat| seat.shard.id == shard);
        seat.map_or(1, |seat| seat.draft.room().dests)
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
            let shards = self.all_seats().map(|seat| &seat.shard);
            shards.into_iter().find(|shard| shard.extent(log).is_some())
        };
        let dead = |log: LogId, run: &Run| {
            shard_of(log).is_none_or(|shard| upkeep::is_dead(shard, log, run))
        };
        self.store.index.audit(read, dead)?;
        self.all_seats().try_for_each(|seat| seat.shard.audit())
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
                let run = Run { at: index::place(location), ..run };
                self.store.index.insert(log, run, location);
                if let Some(log) = Schedule::log_of(log) {
                    self.moved_entry(log, run);
                }
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
        let mut seats = self.all_seats();
        seats.find(|seat| seat.shard.extent(log).is_some()).map(|seat| seat.shard.id)
    }

    /// Puts back what a checkpoint kept of where batches lie.
    pub(crate) fn restore_runs(&mut self, runs: StoredRuns) {
        self.store.index.restore(runs);
    }

    /// Takes in the index of a sealed segment: what this worker's logs may still hold of it. Of its
    /// outboxes only where the segment had its index when the checkpoint was cut: a later one lacks
    /// what was sent since, and a replay looks for that. Of schedules whatever there is, for a replay
    /// may bring them into being.
    pub(crate) fn restore_index(&mut self, indexed: &Indexed, with_hidden: bool) {
        let seats = &self.seats;
        let extent_of = |log: LogId| {
            let wanted = with_hidden || index::is_paged(log);
            wanted.then(|| seats.values().find_map(|seat| seat.shard.extent(log))).flatten()
        };
        match indexed {
            Indexed::Stored(directory) => {
                let index = &mut self.store.index;
                index.found(directory, |log| {
                    Schedule::log_of(log).is_some() || extent_of(log).is_some()
                });
            }
            Indexed::Rebuilt(rebuilt) => {
                self.store.index.found_unstored(rebuilt.segment);
                for (log, runs) in &rebuilt.logs {
                    let Some((start, end)) = extent_of(*log) else { continue };
                    let mut runs = index::stored_runs(runs);
                    // What a replay looks for may be settled.
                    let is_schedule = Schedule::log_of(*log).is_some();
                    runs.retain(|run| is_schedule || run.end() > start && run.first < end);
                    self.store.index.found_runs(*log, runs);
                }
            }
        }
    }

    /// Pages of schedules for which a segment has none in the order of due times, since its index file
    /// was made anew.
    pub(crate) fn undue_pages(&self, directory: &Directory) -> Vec<(LogId, PageKey)> {
        self.store.index.undue_pages(directory)
    }

    /// The entries of a schedule that the pages of a segment have, which has none in the order of due
    /// times.
    pub(crate) fn restore_due(&mut self, log: LogId, segment: u32, runs: Vec<Run>) {
        self.store.index.dues.add_resident(log, segment, runs);
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
        for seat in self.seats.values_mut().chain(self.followed.values_mut()) {
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
            for (log, schedule) in &seat.shard.schedules {
                let id = Schedule::id_of(*log);
                let settled = |first, end| schedule.ledger.settled_in(Span::new(first, end));
                self.store.index.mark_settled(id, settled);
                seat.scattered.insert(id);
            }
        }
        let (seats, followed) = (&self.seats, &self.followed);
        let is_there = |log| {
            let mut all = seats.values().chain(followed.values());
            all.any(|seat| seat.shard.extent(log).is_some())
        };
        self.store.index.dues.keep_logs(is_there);
        self.sweep(upkeep::SWEEP_RUNS_MAX);
        self.sweep_key_pages(true);
    }
}
