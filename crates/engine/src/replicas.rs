//! What a replicator asks of the engine: messages to its threads.

use crate::Mailbox;
use crate::disk::ToJournal;
use crate::replication::{Committed, EntryId, NodeId, Replicas};
use crate::worker::{Input, Note, Step};
use journal::{FrameDraft, FrameKind, Part, Placed, ReadError, Reader, Vote};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use types::ShardId;

/// The doors of the engine's threads.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) mailboxes: Vec<Arc<Mailbox<Input>>>,
    pub(crate) journal: Arc<Mailbox<ToJournal>>,
    pub(crate) reader: Reader,
    pub(crate) unwritten: Arc<Unwritten>,
}

/// What was given to be written and is not durable.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(Mutex<Sizes>);

#[derive(Debug, Default)]
struct Sizes {
    bytes: usize,
    /// Of each shard, in order.
    frames: BTreeMap<ShardId, VecDeque<usize>>,
}

impl Unwritten {
    fn add(&self, frames: &[FrameDraft]) {
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for frame in frames {
            let bytes = bytes_of(frame);
            sizes.bytes += bytes;
            sizes.frames.entry(frame.shard).or_default().push_back(bytes);
        }
    }

    /// These frames are durable.
    pub(crate) fn placed(&self, placed: &[Placed]) {
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for frame in placed {
            let bytes = sizes.frames.get_mut(&frame.shard).and_then(VecDeque::pop_front);
            sizes.bytes -= bytes.unwrap_or(0);
        }
    }

    fn bytes(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

fn bytes_of(frame: &FrameDraft) -> usize {
    frame.commands.len() + frame.batches.iter().map(bytes::Bytes::len).sum::<usize>()
}

impl Doors {
    fn tell(&self, shard: ShardId, input: Input) {
        self.mailboxes[crate::worker_number(shard, self.mailboxes.len())].push(input);
    }
}

impl Replicas for Doors {
    fn write(&self, frames: Vec<FrameDraft>) {
        self.unwritten.add(&frames);
        for frame in &frames {
            let note = match frame.kind {
                FrameKind::Vote => Vote::of_draft(frame).map(Note::Vote),
                FrameKind::Purge => {
                    Some(Note::Purge(EntryId { term: frame.term, index: frame.index }))
                }
                _ => None,
            };
            if let Some(note) = note {
                self.tell(frame.shard, Input::Note(frame.shard, note));
            }
        }
        self.journal.push(ToJournal::Frames(frames));
    }

    fn unwritten_bytes(&self) -> usize {
        self.unwritten.bytes()
    }

    fn commit(&self, shard: ShardId, entries: Vec<Committed>) {
        self.tell(shard, Input::Step(shard, Step::Apply(entries.into())));
    }

    fn lead(&self, shard: ShardId, term: u32) {
        self.tell(shard, Input::Step(shard, Step::Lead(term)));
    }

    fn follow(&self, shard: ShardId, leader: Option<NodeId>) {
        self.tell(shard, Input::Step(shard, Step::Follow(leader)));
    }

    fn read(&self, place: Part) -> Result<FrameDraft, ReadError> {
        self.reader.frame(place)
    }
}
