//! A journal on a simulated disk, and what writes to it: an engine's part, without the engine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use ::io::sim::SimDisk;
use engine::replication::{Committed, EntryId, Found, Kept, NodeId, Replicas};
use journal::{
    Failed, FailedKind, FrameDraft, FrameKind, OpenError, Part, Placed, Queue, ReadError, Reader,
    Refused, ScannedBody, ScannedFrame, Vote, Writer,
};
use types::ShardId;

use super::world::options;
use crate::Journal;

/// Bytes of a round's queue.
const QUEUE_BYTES_MAX: usize = 24 << 10;

/// A journal, and the logs in it.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) journal: Journal,
    written: Arc<Written>,
    on_disk: Arc<Mutex<OnDisk>>,
}

/// What the logs had written.
struct Written {
    frames: Mutex<Vec<FrameDraft>>,
    reader: Reader,
    bell: Box<dyn Fn() + Send + Sync>,
}

struct OnDisk {
    writer: Writer,
    queue: Queue,
    waiting: Vec<FrameDraft>,
    placed: Vec<Placed>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").finish_non_exhaustive()
    }
}

impl Replicas for Written {
    fn write(&self, frames: Vec<FrameDraft>) {
        lock(&self.frames).extend(frames);
        (self.bell)();
    }

    fn unwritten_bytes(&self) -> usize {
        0
    }

    fn commit(&self, _shard: ShardId, _entries: Vec<Committed>) {}

    fn lead(&self, _shard: ShardId, _term: u32) {}

    fn follow(&self, _shard: ShardId, _leader: Option<NodeId>) {}

    fn read(&self, place: Part) -> Result<FrameDraft, ReadError> {
        self.reader.frame(place)
    }
}

impl Store {
    /// Opens the journal on a disk, whose calls need no other order than that of turns.
    pub(crate) fn open(
        disk: &SimDisk,
        salt: u64,
        bell: impl Fn() + Send + Sync + 'static,
    ) -> Result<Store, OpenError> {
        let (options, sizes) = options(salt);
        let (writer, reader, _, mut recovery) =
            journal::open(Arc::new(disk.clone()), options.clone())?;
        let mut found = BTreeMap::new();
        while let Some(frame) = recovery.next_frame()? {
            let shard = frame.shard;
            let empty = || Found { shard, ..Found::default() };
            take(found.entry(shard).or_insert_with(empty), &frame);
        }
        let frames = Mutex::default();
        let written = Arc::new(Written { frames, reader, bell: Box::new(bell) });
        let journal = Journal::new(sizes);
        let found: Vec<Found> = found.into_values().collect();
        journal.begin(Arc::clone(&written) as Arc<dyn Replicas>, &found);
        let queue = Queue::new(QUEUE_BYTES_MAX, &options);
        let on_disk = OnDisk { writer, queue, waiting: Vec::new(), placed: Vec::new() };
        Ok(Store { journal, written, on_disk: Arc::new(Mutex::new(on_disk)) })
    }

    /// Writes what waits, syncs it, and tells. Fails as the disk does; after that only where it is full
    /// can another turn succeed.
    pub(crate) fn turn(&self) -> Result<(), Failed> {
        let on_disk = &mut *lock(&self.on_disk);
        on_disk.waiting.append(&mut lock(&self.written.frames));
        if let Err(failed) = on_disk.write() {
            if failed.kind != FailedKind::NoSpace {
                self.journal.stop(&failed.to_string());
            }
            return Err(failed);
        }
        let placed = std::mem::take(&mut on_disk.placed);
        self.journal.placed(&placed);
        Ok(())
    }
}

impl OnDisk {
    fn write(&mut self) -> Result<(), Failed> {
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        loop {
            let mut full = None;
            for frame in waiting.by_ref() {
                match self.queue.push(frame) {
                    Ok(()) => {}
                    Err(Refused::Full(frame)) => {
                        full = Some(*frame);
                        break;
                    }
                    Err(Refused::TooLarge(frame)) => panic!("too large: {frame:?}"),
                }
            }
            while !self.queue.is_empty() || self.writer.holds_round() {
                match self.writer.round(&mut self.queue) {
                    Ok(written) => self.placed.extend(written.placed),
                    Err(failed) => {
                        self.waiting = full.into_iter().chain(waiting).collect();
                        return Err(failed);
                    }
                }
            }
            let Some(frame) = full else { break };
            waiting = std::iter::once(frame).chain(waiting).collect::<Vec<_>>().into_iter();
        }
        self.writer.sync()
    }
}

/// Takes in a frame as it is found, in order.
fn take(found: &mut Found, frame: &ScannedFrame) {
    let id = EntryId { term: frame.term, index: frame.index };
    match frame.kind {
        FrameKind::Vote => found.vote = Vote::of(frame),
        FrameKind::Truncate => found.entries.retain(|kept| kept.placed.index < id.index),
        FrameKind::Purge => {
            if found.purged.is_none_or(|purged| purged.index < id.index) {
                found.purged = Some(id);
                found.entries.retain(|kept| kept.placed.index > id.index);
            }
        }
        FrameKind::Entry | FrameKind::Blank | FrameKind::Membership => {
            let last = found
                .entries
                .last()
                .map_or(found.purged.map(|it| it.index), |kept| Some(kept.placed.index));
            assert!(last.is_none_or(|last| id.index == last + 1), "{id:?} goes behind {last:?}");
            let is_whole = |body: &ScannedBody| *body != ScannedBody::Corrupt;
            assert!(frame.batches.iter().all(|batch| is_whole(&batch.body)), "{id:?} is damaged");
            let placed = Placed {
                shard: frame.shard,
                index: frame.index,
                kind: frame.kind,
                place: frame.place,
                batches: frame.batches.iter().map(|batch| batch.location.clone()).collect(),
                position: frame.position,
            };
            found.entries.push(Kept { term: id.term, placed, bytes: 100 });
        }
        FrameKind::Part | FrameKind::Relocate | FrameKind::Witness => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panicked with it")
}
