//! Frames: what the engine hands over, and its form on disk.

mod decode;
mod encode;
mod vote;

use bytes::Bytes;
use types::{LogId, Millis, Offset, ShardId};

pub(crate) use decode::{ParsedBatch, ParsedFrame, parse};
pub(crate) use encode::{EntryFrame, PartFrame, entry_bytes, part_bytes, put_entry, put_part};
pub use vote::Vote;

use crate::fields::crc32c;

/// Base offset that says apply did not append the batch (a duplicate, say).
pub const REJECTED: Offset = Offset(-1);

/// Bytes of a RecordBatch before its records.
pub(crate) const BATCH_HEADER_BYTES: usize = 61;

pub(crate) const FRAME_HEADER_BYTES: usize = 48;
const BATCH_ENTRY_BYTES: usize = 8;
const PART_ENTRY_BYTES: usize = 12;
const DEST_BYTES: usize = 12;
const APPLIED_BYTES: usize = 18;
const FLAG_SYNCED: u8 = 1;
/// Commands of a PART frame: which batch, where in it, checksum of the piece.
const PART_COMMAND_BYTES: usize = 12;

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
    /// The next entry of a shard, in which there is nothing: a new leader begins with one.
    Blank,
    /// The next entry of a shard, which says in its commands who its replicas are.
    Membership,
    /// Whom this replica of the shard voted for, see [`Vote`]; the last one counts.
    Vote,
    /// Entries of the shard from this frame's index on, in the frames before it, do not count any
    /// more: the frames after it have others.
    Truncate,
    /// Nobody needs the shard's entries up to this frame's term and index any more.
    Purge,
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
    /// RecordBatches, whole, their checksums verified.
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
    /// State of this reference that is not the producer's, at most 65,535 bytes; kept by the
    /// log's index.
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

impl FrameDraft {
    /// A frame without batches and commands, whose sync somebody waits for.
    pub fn bare(kind: FrameKind, shard: ShardId, (term, index): (u32, u64)) -> FrameDraft {
        FrameDraft {
            shard,
            term,
            index,
            leader_ts: Millis(0),
            kind,
            synced: true,
            dests: Vec::new(),
            applied: Vec::new(),
            commands: Bytes::new(),
            batches: Vec::new(),
        }
    }

    /// Whether its batches are whole RecordBatches and its destinations name some of them: what a
    /// queue takes. Checksums are not looked at.
    pub fn is_sound(&self) -> bool {
        let batches = self.batches.len();
        self.batches.iter().all(|batch| is_whole(batch))
            && self.dests.iter().all(|dest| usize::from(dest.batch) < batches)
    }
}

impl FrameKind {
    /// Whether it is only in stores of shards with several replicas.
    pub fn is_replicas(self) -> bool {
        !matches!(
            self,
            FrameKind::Entry | FrameKind::Part | FrameKind::Relocate | FrameKind::Witness
        )
    }

    /// How many bytes of commands it has, if it has nothing else and always as many.
    fn command_bytes(self) -> Option<usize> {
        match self {
            FrameKind::Vote => Some(vote::VOTE_BYTES),
            FrameKind::Blank | FrameKind::Truncate | FrameKind::Purge => Some(0),
            _ => None,
        }
    }

    fn code(self) -> u8 {
        match self {
            FrameKind::Entry => 1,
            FrameKind::Part => 2,
            FrameKind::Relocate => 3,
            FrameKind::Witness => 4,
            FrameKind::Blank => 5,
            FrameKind::Membership => 6,
            FrameKind::Vote => 7,
            FrameKind::Truncate => 8,
            FrameKind::Purge => 9,
        }
    }

    fn of(code: u8) -> Option<FrameKind> {
        Some(match code {
            1 => FrameKind::Entry,
            2 => FrameKind::Part,
            3 => FrameKind::Relocate,
            4 => FrameKind::Witness,
            5 => FrameKind::Blank,
            6 => FrameKind::Membership,
            7 => FrameKind::Vote,
            8 => FrameKind::Truncate,
            9 => FrameKind::Purge,
            _ => return None,
        })
    }
}

/// Whether `batch` is a whole RecordBatch, by the length in its header.
///
/// Source: Kafka protocol, "Record Batch", magic 2; big-endian.
pub(crate) fn is_whole(batch: &[u8]) -> bool {
    let len = batch.get(8..12).and_then(|field| field.try_into().ok()).map(i32::from_be_bytes);
    batch.len() >= BATCH_HEADER_BYTES
        && len.and_then(|len| usize::try_from(len).ok()) == Some(batch.len() - 12)
}

/// Whether `batch` is a whole RecordBatch with the checksum its header says.
pub(crate) fn is_intact(batch: &[u8]) -> bool {
    is_whole(batch) && batch[17..21] == crc32c(&batch[21..]).to_be_bytes()
}

/// Largest timestamp of a batch, from its header.
pub(crate) fn max_timestamp(header: &[u8]) -> Millis {
    let field = header.get(35..43).and_then(|field| field.try_into().ok());
    Millis(field.map_or(-1, i64::from_be_bytes))
}
