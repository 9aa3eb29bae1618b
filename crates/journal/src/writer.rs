//! Rounds onto the disk.

use types::ShardId;

use crate::error::Failed;
use crate::frame::FrameKind;
use crate::location::{Location, Position};
use crate::queue::Queue;

/// The one that appends. Nothing can be written before [`Recovery`](crate::Recovery) has given
/// its last frame.
#[derive(Debug)]
pub struct Writer {
    end: Position,
}

/// What one round wrote.
#[derive(Debug, Default)]
pub struct Written {
    /// The frames that became complete, in order of the queue.
    pub placed: Vec<Placed>,
    /// Whether somebody waits for the sync of this round or of one before it.
    pub needs_sync: bool,
    /// The segment that had no room for this round, if it began another one.
    pub sealed: Option<u32>,
    /// Where the next round will begin, if this segment has room for it.
    pub end: Position,
    /// Bytes written, with padding.
    pub bytes: usize,
}

/// A frame that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its shard.
    pub shard: ShardId,
    /// Its index in the shard.
    pub index: u64,
    /// What it is.
    pub kind: FrameKind,
    /// Where each of its batches is.
    pub batches: Vec<Location>,
    /// The round that completed it; replay from here gives the frame.
    pub position: Position,
}

impl Writer {
    /// Writes one round of what is queued, at most 4 MiB, with one write. Nothing is durable yet.
    /// An empty queue writes nothing.
    ///
    /// Fails with `NoSpace` when the disk is full: what was to be written is kept, and written
    /// first by the next call. After any other failure every call fails.
    pub fn round(&mut self, _queue: &mut Queue) -> Result<Written, Failed> {
        Ok(Written::default())
    }

    /// Makes every round written so far durable. A failure is never retried: every later call
    /// fails.
    pub fn sync(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    /// Writes and syncs an empty round that names the last durable one, so that damage to that
    /// one is told from a torn tail: for idle moments and a clean stop. Does nothing when the
    /// last round is such a one.
    pub fn witness(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    /// Where the next round will begin, if the segment has room for it.
    pub fn end(&self) -> Position {
        self.end
    }
}
