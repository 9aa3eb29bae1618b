//! The threads that may block on the disk: one that writes the journal, a few that read batches.
//!
//! The writing thread takes every frame that waits, writes one round, syncs it once, and only then
//! tells the workers. While it syncs, the next round gathers; there is no timer.

use crate::Mailbox;
use crate::cache::Marks;
use crate::index::{PageKey, Run, stored_runs};
use crate::metrics::{self, Metrics};
use crate::pressure::Cause;
use crate::replicas::Unwritten;
use crate::replication::Replicator;
use crate::worker::{Fetched, Input, Load, Loaded, Piece, Ports, Wanted};
use io::Clock;
use journal::{
    Failed, FailedKind, FrameDraft, FrameKind, Placed, Pool, Queue, ReadError, Reader, Refused,
    Together, Writer, Written,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use types::{LogId, ShardId};

/// The journal is told of its last durable round after so long without work.
pub(crate) const IDLE_US: u64 = 50_000;
/// A full disk is tried again after so long.
const FULL: Duration = Duration::from_millis(100);
/// Most bytes that wait for a round; what comes beyond waits one step before.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// What a frame says of one copy, more or less.
const COPY_BYTES: u64 = 48;

/// What the writing thread is told.
#[derive(Debug)]
pub(crate) enum ToJournal {
    Frames(Vec<FrameDraft>),
    /// Write what waits, note a clean end, and stop.
    Stop,
}

/// Writes rounds.
pub(crate) struct Rounds {
    writer: Writer,
    queue: Queue,
    overflow: VecDeque<FrameDraft>,
    ports: Ports,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Who orders the frames of shards with several replicas.
    pub(crate) replicator: Option<(Arc<dyn Replicator>, Arc<Unwritten>)>,
    /// Who knows what the disk has left, and what that should be at least.
    pub(crate) space: Option<(Pool, u64)>,
}

impl Rounds {
    pub(crate) fn new(
        writer: Writer,
        options: &journal::Options,
        ports: Ports,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Rounds {
        Rounds {
            writer,
            queue: Queue::new(QUEUE_BYTES_MAX, options),
            overflow: VecDeque::new(),
            ports,
            metrics,
            clock,
            replicator: None,
            space: None,
        }
    }

    pub(crate) fn add(&mut self, frames: Vec<FrameDraft>) {
        self.overflow.extend(frames);
        self.fill();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.overflow.is_empty() && !self.writer.holds_round()
    }

    /// Writes one round, syncs it if somebody waits for that, and tells the workers. False when
    /// the disk is full: nothing was written, and the same call can succeed later.
    ///
    /// Fails when the disk is not to be trusted any more: the process has to end.
    pub(crate) fn step(&mut self) -> Result<bool, Failed> {
        self.fill();
        if io::planted("ack-before-sync") {
            self.writer.sync()?;
        }
        let written = match self.writer.round(&mut self.queue) {
            Ok(written) => written,
            Err(failed) if failed.kind == FailedKind::NoSpace => {
                self.ports.press(Cause::DiskFull, true);
                return Ok(false);
            }
            Err(failed) => return Err(failed),
        };
        self.ports.press(Cause::DiskFull, false);
        metrics::add(&self.metrics.rounds, 1);
        metrics::add(&self.metrics.written_bytes, written.bytes as u64);
        metrics::add(&self.metrics.frames, written.placed.len() as u64);
        metrics::add(&self.metrics.copies.bytes, copied_bytes(&written));
        let (local, synced): (Vec<Placed>, Vec<Placed>) =
            written.placed.into_iter().partition(|placed| placed.shard == ShardId::LOCAL);
        self.tell(local);
        // A segment's index file says that another segment has begun: that has to be durable first.
        let is_awaited = written.needs_sync || written.sealed.is_some();
        let mut durable = None;
        if is_awaited && !io::planted("ack-before-sync") {
            let before = self.clock.micros();
            self.writer.sync()?;
            durable = Some(written.end);
            self.metrics.synced(self.clock.micros().saturating_sub(before));
        }
        self.tell_sealed(written.sealed);
        self.tell_replicator(&synced);
        self.tell(synced);
        // Whoever hears of it has heard of all that lies before.
        if let Some(durable) = durable {
            self.ports.durable.store(Arc::new(durable));
        }
        self.fill();
        Ok(true)
    }

    pub(crate) fn witness(&mut self) -> Result<(), Failed> {
        match self.writer.witness() {
            Ok(sealed) => self.tell_sealed(sealed),
            Err(failed) if failed.kind == FailedKind::NoSpace => {}
            Err(failed) => return Err(failed),
        }
        Ok(())
    }

    fn tell_sealed(&self, sealed: Option<u32>) {
        if let Some(segment) = sealed {
            self.look_at_space();
            self.ports.mailboxes.iter().for_each(|inbox| inbox.push(Input::Sealed(segment)));
        }
    }

    /// Blocks publishing as soon as a segment was begun that the disk should not have had to give:
    /// the keeper may be at something long.
    fn look_at_space(&self) {
        let Some((pool, free_min)) = &self.space else { return };
        if pool.free_bytes().is_ok_and(|free| free < *free_min) {
            self.ports.press(Cause::DiskLow, true);
        }
    }

    fn fill(&mut self) {
        while let Some(frame) = self.overflow.pop_front() {
            match self.queue.push(frame) {
                Ok(()) => {}
                Err(Refused::Full(frame)) => {
                    self.overflow.push_front(*frame);
                    return;
                }
                Err(Refused::TooLarge(_)) => {
                    unreachable!("a draft is sealed long before it passes the format's limits")
                }
            }
        }
    }

    fn tell_replicator(&self, placed: &[Placed]) {
        let Some((replicator, unwritten)) = &self.replicator else { return };
        let own = |kind| matches!(kind, FrameKind::Relocate | FrameKind::Witness);
        let placed: Vec<Placed> =
            placed.iter().filter(|placed| !own(placed.kind)).cloned().collect();
        if !placed.is_empty() {
            unwritten.placed(&placed);
            replicator.placed(&placed);
        }
    }

    fn tell(&self, placed: Vec<Placed>) {
        let mut by_worker: BTreeMap<usize, Vec<Placed>> = BTreeMap::new();
        for placed in placed {
            let worker = crate::worker_number(placed.shard, self.ports.mailboxes.len());
            by_worker.entry(worker).or_default().push(placed);
        }
        for (worker, placed) in by_worker {
            self.ports.mailboxes[worker].push(Input::Placed(placed));
        }
    }
}

/// Of the bytes of a round those of copies, with what goes with them.
fn copied_bytes(written: &Written) -> u64 {
    let is_copy = |placed: &&Placed| placed.kind == FrameKind::Relocate;
    let copies: Vec<&Placed> = written.placed.iter().filter(is_copy).collect();
    if copies.len() == written.placed.len() {
        return written.bytes as u64;
    }
    let batches = copies.into_iter().flat_map(|placed| &placed.batches);
    batches.map(|batch| batch.len() as u64 + COPY_BYTES).sum()
}

/// Runs the writing thread until it is told to stop. Gives an error when the disk failed.
pub(crate) fn run(mut rounds: Rounds, inbox: &Mailbox<ToJournal>) -> Result<(), Failed> {
    let mut messages = Vec::new();
    let mut stopping = false;
    loop {
        if rounds.is_empty() {
            if stopping {
                return rounds.witness();
            }
            inbox.wait(&mut messages, Duration::from_micros(IDLE_US));
            if messages.is_empty() {
                rounds.witness()?;
                inbox.wait(&mut messages, Duration::from_secs(3600));
            }
        } else {
            inbox.drain(&mut messages);
        }
        for message in messages.drain(..) {
            match message {
                ToJournal::Frames(frames) => rounds.add(frames),
                ToJournal::Stop => stopping = true,
            }
        }
        if !rounds.is_empty() && !rounds.step()? {
            if stopping {
                return Ok(());
            }
            inbox.wait(&mut messages, FULL);
        }
    }
}

/// Reads what a load asks for.
pub(crate) fn load(reader: &Reader, load: Load, metrics: &Metrics) -> Loaded {
    let what = match load.what {
        Wanted::Batches(locations) => {
            metrics.cold_reads.fetch_add(locations.len() as u64, Ordering::Relaxed);
            let results = reader.read_many(&locations);
            Fetched::Batches(locations.into_iter().zip(results).collect())
        }
        Wanted::Piece(log, piece) => {
            metrics::add(&metrics.cold_reads, piece.locations.len() as u64);
            load_piece(reader, log, piece)
        }
        Wanted::Page(log, page) => {
            metrics::add(&metrics.cold_reads, 1);
            Fetched::Page(log, page, read_page(reader, log, page))
        }
    };
    Loaded { id: load.id, what }
}

fn load_piece(reader: &Reader, log: LogId, piece: Piece) -> Fetched {
    if !piece.is_of_small() {
        let results = reader.read_many(&piece.locations);
        return Fetched::Batches(piece.locations.into_iter().zip(results).collect());
    }
    let Together { bytes, failed } = reader.read_together(&piece.locations);
    let mut failed = failed.into_iter().peekable();
    let (mut marks, mut lost) = (Marks::new(log, piece.spans.len()), Vec::new());
    for (at, (location, span)) in piece.locations.into_iter().zip(piece.spans).enumerate() {
        match failed.next_if(|(failed, _)| *failed == at) {
            Some((_, error)) => lost.push((location, Err(error))),
            None => marks.push(span, location.len()),
        }
    }
    Fetched::Slab(marks.over(bytes), lost)
}

/// The runs of a page. A corrupt one is made anew from its segment, each time it is read: the next
/// start of the broker, or a check, does more.
pub(crate) fn read_page(reader: &Reader, log: LogId, page: PageKey) -> Option<Vec<Run>> {
    let segment = page.segment;
    let runs = match reader.page(segment, log, page.place) {
        Ok(runs) => Some(runs),
        // Whoever asked finds that nothing of it is needed any more.
        Err(ReadError::Gone { .. }) => None,
        Err(error) => {
            tracing::error!(%error, %log, "an index is made anew from its segment");
            let made = reader.rebuilt_page(segment, log);
            let failed = |error| tracing::error!(%error, segment, %log, "records are not served");
            made.map_err(failed).ok()
        }
    };
    runs.map(|runs| stored_runs(&runs))
}
