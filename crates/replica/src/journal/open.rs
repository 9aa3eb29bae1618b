//! What a journal holds of the shards' logs when it is opened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use ::io::Disk;
use journal::{FrameKind, Pool, Queue, ScannedBody, ScannedFrame, Vote};
use types::ShardId;

use super::{Journal, Kept, OnDisk, Shard, Shared, State};
use crate::log::{Log, Slot};

/// Bytes of an entry that only its place is known of.
const SLOT_BYTES: usize = 256;

/// Sizes and choices.
#[derive(Clone, Debug)]
pub struct Options {
    /// The journal's own.
    pub journal: journal::Options,
    /// Bytes that may wait to be written, and as many while others are; one frame may pass it.
    pub queue_bytes_max: usize,
    /// Bytes of durable entries that stay in memory.
    pub kept_bytes_max: usize,
    /// Bytes of entries that a replica is sent at a time; one entry may pass it.
    pub read_bytes_max: usize,
}

impl Options {
    /// What a node uses; `salt` is random.
    pub fn new(salt: u64) -> Options {
        Options {
            journal: journal::Options::new(salt),
            queue_bytes_max: 32 << 20,
            kept_bytes_max: 64 << 20,
            read_bytes_max: 4 << 20,
        }
    }
}

/// A journal that cannot be opened for replication.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not as a journal either.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// There is a checkpoint, which does not repeat votes: what was before it may be lost.
    #[error("the journal has a checkpoint, which does not know of votes")]
    Checkpoint,
    /// An entry is not where the ones before it end.
    #[error("entry {index} of shard {shard} does not go behind the one before it")]
    Disorder {
        /// The shard.
        shard: ShardId,
        /// Its index.
        index: u64,
    },
    /// What this replica may have acknowledged cannot be read: it must neither vote nor count.
    #[error("entry {index} of shard {shard} is damaged")]
    Damaged {
        /// The shard.
        shard: ShardId,
        /// Its index.
        index: u64,
    },
}

impl Journal {
    /// Opens the journal in `disk`, or begins one there. `bell` is rung, from any thread, when a
    /// [`turn`](Journal::turn) is to be taken.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        bell: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Journal, Pool), OpenError> {
        let (writer, reader, pool, mut recovery) = journal::open(disk, options.journal.clone())?;
        if recovery.checkpoint().is_some() {
            return Err(OpenError::Checkpoint);
        }
        let mut found = Replayed::default();
        while let Some(frame) = recovery.next_frame()? {
            found.take(&frame)?;
        }
        let queue = || Queue::new(options.queue_bytes_max, &options.journal);
        let state = State {
            next_mark: found.next_mark,
            shards: found.done()?,
            queue: queue(),
            kept: Kept::default(),
            crowd: Vec::new(),
            stopped: None,
        };
        let shared = Shared {
            state: Mutex::new(state),
            disk: Mutex::new(OnDisk { writer, queue: queue(), placed: Vec::new() }),
            reader,
            bell: Box::new(bell),
            kept_bytes_max: options.kept_bytes_max,
            read_bytes_max: options.read_bytes_max,
        };
        Ok((Journal { shared: Arc::new(shared) }, pool))
    }
}

/// The logs, as far as the journal was read.
#[derive(Default)]
struct Replayed {
    logs: BTreeMap<ShardId, Log>,
    /// Marks of entries that cannot be read.
    damaged: BTreeSet<u64>,
    next_mark: u64,
}

impl Replayed {
    fn take(&mut self, frame: &ScannedFrame) -> Result<(), OpenError> {
        let (shard, term, index) = (frame.shard, frame.term, frame.index);
        let log = self.logs.entry(shard).or_default();
        match frame.kind {
            FrameKind::Entry | FrameKind::Blank | FrameKind::Membership => {
                if !log.takes(term, index) {
                    return Err(OpenError::Disorder { shard, index });
                }
                self.next_mark += 1;
                let mark = self.next_mark;
                if frame.batches.iter().any(|batch| batch.body == ScannedBody::Corrupt) {
                    self.damaged.insert(mark);
                }
                let batches: usize = frame.batches.iter().map(|one| one.location.len()).sum();
                let bytes = SLOT_BYTES + batches + frame.commands.len();
                let place = Some(frame.place);
                log.append(index, Slot { term, bytes, mark, place, kept: None });
            }
            FrameKind::Vote => log.vote = Vote::of(frame),
            FrameKind::Truncate => drop(log.truncate(index)),
            FrameKind::Purge => drop(log.purge(term, index)),
            FrameKind::Part | FrameKind::Relocate | FrameKind::Witness => {}
        }
        Ok(())
    }

    fn done(self) -> Result<BTreeMap<ShardId, Shard>, OpenError> {
        for (shard, log) in &self.logs {
            let damaged = |(_, slot): &(u64, &Slot)| self.damaged.contains(&slot.mark);
            if let Some((index, _)) = log.slots(..).find(damaged) {
                return Err(OpenError::Damaged { shard: *shard, index });
            }
        }
        let shard = |(shard, log)| (shard, Shard { log, notes: VecDeque::new() });
        Ok(self.logs.into_iter().map(shard).collect())
    }
}
