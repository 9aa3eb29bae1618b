//! Frames: what the engine hands over, and its form on disk.

use bytes::Bytes;
use types::{LogId, Millis, Offset, ShardId};

/// Base offset that says apply did not append the batch (a duplicate, say).
pub const REJECTED: Offset = Offset(-1);

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The next entry of a shard.
    Entry,
    /// A piece of a batch of an entry that follows. Made by the journal, never by the engine.
    Part,
    /// Batches copied forward out of a segment that is to be recycled; of this replica only. Its
    /// `applied` names the base offset of each of its own destinations, its `leader_ts` is the
    /// append time of the records.
    Relocate,
    /// Nothing but `applied`; of this replica only.
    Witness,
}

/// One frame to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameDraft {
    /// The shard whose log the frame is in.
    pub shard: ShardId,
    /// The shard's term.
    pub term: u32,
    /// Index in the shard, contiguous over entries.
    pub index: u64,
    /// The leader's time.
    pub leader_ts: Millis,
    /// What it is.
    pub kind: FrameKind,
    /// Whether somebody waits for its sync; false for class `memory`.
    pub synced: bool,
    /// Which logs take which batch.
    pub dests: Vec<Dest>,
    /// Base offsets that apply gave to earlier frames of the shard.
    pub applied: Vec<AppliedBase>,
    /// The shard's commands.
    pub commands: Bytes,
    /// RecordBatches, whole.
    pub batches: Vec<Bytes>,
}

/// A log that takes a whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dest {
    /// The log.
    pub log: LogId,
    /// Ordinal of the batch in its frame.
    pub batch: u16,
    /// Records in the batch.
    pub records: u32,
    /// State of this reference that is not the producer's; kept by the log's index.
    pub envelope: Bytes,
}

/// The base offset that apply gave to one destination of an earlier frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedBase {
    /// Index of that frame in the shard.
    pub index: u64,
    /// Ordinal of the destination in that frame.
    pub dest: u16,
    /// Its base offset; [`REJECTED`] when apply did not append it.
    pub base: Offset,
}
