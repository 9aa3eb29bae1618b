//! What the keeper of the disk asks of a worker: its part of a checkpoint, which segments it needs,
//! and to copy what is live in a mostly dead segment to the end of the journal.

use super::Worker;
use super::store::{Found, Waiter};
use crate::envelope::Envelope;
use crate::index::{self, Run, StoredRun};
use bytes::Bytes;
use journal::{
    Applied, AppliedBase, Dest, FrameDraft, FrameKind, Page, PageKind, Placed, Position,
    ScannedFrame, SegmentIndex,
};
use record::batch::Header;
use std::collections::{BTreeMap, BTreeSet};
use types::{LogId, Millis, Offset, ShardId};

/// What a worker tells the keeper.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The index of what the worker's shards have in a sealed segment.
    Indexed { worker: usize, index: SegmentIndex },
    /// The worker's part of a checkpoint.
    Checkpoint { worker: usize, part: CheckpointPart },
    /// Bytes the worker needs, by segment.
    Live { worker: usize, live: BTreeMap<u32, u64> },
    /// What the worker had live in a segment is on its way to the end of the journal.
    Relocated { worker: usize, segment: u32 },
}

/// The state of a worker's shards at one moment.
#[derive(Debug)]
pub(crate) struct CheckpointPart {
    /// Where replay has to begin for these shards; `None`: they have had no frame.
    pub(crate) replay: Option<Position>,
    pub(crate) applied: Vec<Applied>,
    pub(crate) pages: Vec<Page>,
}

/// The term of a single node's shards.
const TERM: u32 = 1;
/// Activated batches that are kept where they were scheduled, for each entry of a schedule that is
/// kept in memory.
const REFERRED_PER_NEAR: usize = 4;
/// Of those beyond, so many are copied forward at once.
const REFERRED_PER_SWEEP: usize = 256;

impl Worker {
    /// Every frame of a segment was placed: its index can be written.
    pub(super) fn sealed(&mut self, segment: u32) {
        self.want_bases();
        let index = self.store.index.seal(segment, durable);
        self.output.notices.push(Notice::Indexed { worker: self.number, index });
    }

    /// The base offsets given so far have to be in some frame: no replay will give them again.
    pub(super) fn want_bases(&mut self) {
        self.seats.values_mut().for_each(|seat| seat.bases_wanted = true);
    }

    pub(super) fn report(&mut self) {
        let live = self.store.index.live().clone();
        self.output.notices.push(Notice::Live { worker: self.number, live });
    }

    /// `durable`: where the journal was durable up to when this was asked for. A shard with nothing
    /// on its way, copies included, has applied all of it.
    pub(super) fn checkpoint(&mut self, durable: Position) {
        self.want_bases();
        let mut part = CheckpointPart { replay: None, applied: Vec::new(), pages: Vec::new() };
        for (id, seat) in &self.seats {
            if *id == ShardId::LOCAL {
                continue;
            }
            let replicated = match io::planted("early-checkpoint") {
                true => postcard::to_allocvec(&seat.shard.clone().one_frame_more()),
                false => postcard::to_allocvec(&seat.shard),
            };
            let replicated = replicated.expect("a Vec takes every state there is");
            let runs = self.store.index.unindexed(|log| seat.shard.extent(log).is_some());
            let local = postcard::to_allocvec(&runs).expect("a Vec takes every state there is");
            for (kind, bytes) in [(PageKind::Replicated, replicated), (PageKind::Local, local)] {
                part.pages.push(Page { kind, shard: *id, bytes: Bytes::from(bytes) });
            }
            part.applied.push(Applied { shard: *id, term: TERM, index: seat.shard.applied });
            let settled = seat.in_flight.is_empty() && self.relocating.is_empty();
            let position = if settled { seat.position.max(durable) } else { seat.position };
            if position != Position::default() {
                part.replay = part.replay.into_iter().chain([position]).min();
            }
        }
        self.output.notices.push(Notice::Checkpoint { worker: self.number, part });
    }

    /// Copies what is live in a segment to the end of the journal.
    pub(super) fn relocate(&mut self, segment: u32) {
        let under_way: BTreeSet<(LogId, Offset)> =
            self.relocating.values().map(|(log, run)| (*log, run.first)).collect();
        let mut runs = self.store.index.in_segment(segment);
        runs.retain(|(log, run)| !under_way.contains(&(*log, run.first)));
        let mut cold = Vec::new();
        for (log, run) in runs {
            let Some(shard) = self.shard_of_log(log) else { continue };
            match self.store.find(log, &run) {
                Found::Here(batch) => self.copy_forward(shard, log, &run, batch.bytes.clone()),
                Found::Cold => {
                    if let Some(index) = self.store.index.log(log) {
                        cold.push(index.location(&run));
                    }
                }
                // It cannot be copied; the segment stays for whoever repairs it.
                Found::Lost(_) => {}
            }
        }
        match cold.is_empty() {
            true => self.output.notices.push(Notice::Relocated { worker: self.number, segment }),
            false => self.store.load(cold, Waiter::Relocate { segment }),
        }
    }

    pub(super) fn relocate_loaded(&mut self, segment: u32) {
        self.relocate(segment);
    }

    /// Copies batches of which only checkpoints know that a log refers to them, where they are many:
    /// the copies are in index files.
    pub(super) fn copy_referred(&mut self) {
        if self.copying_referred {
            return;
        }
        let under_way: BTreeSet<(LogId, Offset)> =
            self.relocating.values().map(|(log, run)| (*log, run.first)).collect();
        let kept = self.schedule_near_max * REFERRED_PER_NEAR + under_way.len();
        let mut cold = Vec::new();
        for (log, run) in self.store.index.referred_beyond(kept, REFERRED_PER_SWEEP, &under_way) {
            let Some(shard) = self.shard_of_log(log) else { continue };
            match self.store.find(log, &run) {
                Found::Here(batch) => self.copy_forward(shard, log, &run, batch.bytes.clone()),
                Found::Cold => {
                    if let Some(index) = self.store.index.log(log) {
                        cold.push(index.location(&run));
                    }
                }
                Found::Lost(_) => {}
            }
        }
        if !cold.is_empty() {
            self.copying_referred = true;
            self.store.load(cold, Waiter::Referred);
        }
    }

    #[cfg(test)]
    pub(crate) fn referred(&self) -> usize {
        self.store.index.referred_beyond(0, usize::MAX, &BTreeSet::new()).len()
    }

    pub(super) fn referred_loaded(&mut self) {
        self.copying_referred = false;
        self.copy_referred();
    }

    fn copy_forward(&mut self, shard: ShardId, log: LogId, run: &Run, bytes: Bytes) {
        let dest = Dest {
            log,
            batch: 0,
            records: run.count,
            envelope: Envelope { expiring: run.expiring, ..Envelope::default() }.encode(),
        };
        self.next_copy += 1;
        let index = self.next_copy;
        self.output.frames.push(FrameDraft {
            shard,
            term: TERM,
            index,
            leader_ts: run.appended,
            kind: FrameKind::Relocate,
            synced: !io::planted("relocate-unsynced"),
            dests: vec![dest],
            applied: vec![AppliedBase { index, dest: 0, base: run.first }],
            commands: Bytes::new(),
            batches: vec![bytes],
        });
        self.relocating.insert(index, (log, *run));
    }

    /// A copy is on the disk: from now on it is the one that is read.
    pub(super) fn relocated(&mut self, placed: &Placed) {
        let Some((log, run)) = self.relocating.remove(&placed.index) else { return };
        let Some(location) = placed.batches.first() else { return };
        let index = self.store.index.log(log);
        let there = index.and_then(|index| index.at_or_after(run.first)).copied();
        if there.is_some_and(|there| there.first == run.first && there.count == run.count) {
            self.store.index.insert(log, Run { at: index::place(location), ..run }, location);
        }
    }

    /// A copy found at the start. The original may be gone already, its segment given back.
    pub(super) fn replay_relocate(&mut self, frame: &ScannedFrame) {
        for base in &frame.applied {
            let at = usize::from(base.dest);
            let Some(dest) = frame.dests.get(at) else { continue };
            let Some(batch) = frame.batches.get(usize::from(dest.batch)) else { continue };
            let max_timestamp =
                Header::decode(&batch.header).map_or(Millis(-1), |header| header.max_timestamp);
            let run = Run {
                first: base.base,
                max_timestamp,
                appended: frame.leader_ts,
                count: dest.records,
                at: index::place(&batch.location),
                expiring: Envelope::decode(&dest.envelope).expiring,
            };
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
    pub(crate) fn restore_runs(&mut self, runs: Vec<StoredRun>) {
        runs.into_iter().for_each(|run| self.store.index.restore(run));
    }

    /// Takes in an index file: what this worker's logs still hold of it.
    pub(crate) fn restore_index(&mut self, mut sealed: SegmentIndex) {
        let seats = &self.seats;
        let extent_of = |log: LogId| seats.values().find_map(|seat| seat.shard.extent(log));
        sealed.logs.retain(|log, runs| match extent_of(*log) {
            Some((start, end)) => {
                runs.retain(|run| run.first.plus(run.count) > start && run.first < end);
                true
            }
            None => false,
        });
        self.store.index.load(sealed);
    }

    /// Drops runs that every subscription has settled.
    pub(crate) fn restore_done(&mut self) {
        for seat in self.seats.values_mut() {
            seat.scattered = seat.shard.logs.keys().copied().collect();
        }
        self.sweep();
        self.sweep_schedules(true);
    }
}

/// Index files and checkpoints are for what outlives the process.
fn durable(log: LogId) -> bool {
    log.0 < LOCAL_LOGS_FROM
}

/// The local layer's logs have ids from here on.
const LOCAL_LOGS_FROM: u32 = 1 << 31;
