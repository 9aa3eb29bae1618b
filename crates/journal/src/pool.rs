//! Segment files: those in use, and those that wait to be used.

use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::error::Failed;
use crate::index_file::SegmentIndex;

/// The store's files other than the write position; calls block on the disk, from any thread.
#[derive(Clone, Debug)]
pub struct Pool {
    _shared: Arc<()>,
}

/// A segment that holds rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    /// Its number.
    pub segment: u32,
    /// Bytes of its file.
    pub bytes: u64,
    /// Whether no round will be added to it.
    pub sealed: bool,
}

impl Pool {
    /// Prepares one segment if fewer wait than should. True if it did.
    pub fn prepare(&self) -> Result<bool, Failed> {
        Ok(false)
    }

    /// Gives up a sealed segment of which nothing is live: its file will be used again or
    /// removed, and its index file is removed. False, and nothing done, while it is not sealed or
    /// a stored checkpoint may need it for replay.
    pub fn recycle(&self, _segment: u32) -> Result<bool, Failed> {
        Ok(false)
    }

    /// The segments that hold rounds, in order.
    pub fn segments(&self) -> Vec<SegmentUse> {
        Vec::new()
    }

    /// Stores the index of a sealed segment, durably.
    pub fn store_index(&self, _index: &SegmentIndex) -> Result<(), Failed> {
        Ok(())
    }

    /// Stores a checkpoint, durably, in place of the older one. Everything before its replay
    /// position must be synced, and every segment before it have its index stored.
    pub fn store_checkpoint(&self, _checkpoint: &Checkpoint) -> Result<(), Failed> {
        Ok(())
    }

    /// Bytes the disk has left.
    pub fn free_bytes(&self) -> Result<u64, Failed> {
        Ok(0)
    }
}
