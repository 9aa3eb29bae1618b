//! Frames into the buffer of a round.

use std::sync::Arc;

use super::{
    APPLIED_BYTES, BATCH_ENTRY_BYTES, BATCH_HEADER_BYTES, DEST_BYTES, FLAG_SYNCED,
    FRAME_HEADER_BYTES, FrameDraft, FrameKind, PART_COMMAND_BYTES, PART_ENTRY_BYTES,
};
use crate::fields::{Crc, Put, crc32c};
use crate::location::{Location, Part, Parts};

/// A piece of a batch, and the entry it belongs to.
#[derive(Debug)]
pub(crate) struct PartFrame<'a> {
    pub(crate) draft: &'a FrameDraft,
    pub(crate) batch: u16,
    pub(crate) from: usize,
    pub(crate) piece: &'a [u8],
}

/// Bytes of the frame of `draft` when the batches that `pieces` names a count for travel apart.
pub(crate) fn entry_bytes(draft: &FrameDraft, pieces: impl Fn(usize) -> Option<usize>) -> usize {
    let envelopes: usize = draft.dests.iter().map(|dest| dest.envelope.len()).sum();
    let mut tables = FRAME_HEADER_BYTES + draft.batches.len() * BATCH_ENTRY_BYTES;
    let mut bodies = 0;
    for (i, batch) in draft.batches.iter().enumerate() {
        match pieces(i) {
            Some(count) => tables += count * PART_ENTRY_BYTES + BATCH_HEADER_BYTES,
            None => bodies += batch.len().next_multiple_of(8),
        }
    }
    tables += draft.dests.len() * DEST_BYTES + envelopes;
    tables += draft.applied.len() * APPLIED_BYTES + draft.commands.len();
    tables.next_multiple_of(8) + bodies
}

/// Bytes of a PART frame with a piece of `len` bytes.
pub(crate) fn part_bytes(len: usize) -> usize {
    let tables = FRAME_HEADER_BYTES + BATCH_ENTRY_BYTES + PART_COMMAND_BYTES;
    tables.next_multiple_of(8) + len.next_multiple_of(8)
}

/// A frame about to be encoded.
pub(crate) struct EntryFrame<'a, P> {
    pub(crate) draft: &'a FrameDraft,
    /// As [`entry_bytes`] gives them.
    pub(crate) frame_bytes: usize,
    /// The pieces of a batch that travelled apart.
    pub(crate) pieces: P,
}

/// Encodes the frame of an entry. Byte 0 of the buffer is byte `base` of `segment`. Gives where
/// its batches are.
pub(crate) fn put_entry<'a, P: Fn(usize) -> Option<&'a [Part]>>(
    put: &mut Put<'_>,
    EntryFrame { draft, frame_bytes, pieces }: EntryFrame<'_, P>,
    (segment, base): (u32, u32),
) -> Vec<Location> {
    let start = put.at;
    let counts = Counts {
        frame_bytes,
        dests: draft.dests.len(),
        batches: draft.batches.len(),
        applied: draft.applied.len(),
        command_bytes: draft.commands.len(),
    };
    put_header(put, draft, draft.kind, counts);
    for (i, batch) in draft.batches.iter().enumerate() {
        put.u32(u32_of(batch.len()));
        put.u32(pieces(i).map_or(0, |list| u32_of(list.len())));
    }
    for part in (0..draft.batches.len()).filter_map(&pieces).flatten() {
        put.u32(part.segment);
        put.u32(part.position);
        put.u32(part.len);
    }
    for (i, batch) in draft.batches.iter().enumerate() {
        if pieces(i).is_some() {
            put.slice(&batch[..BATCH_HEADER_BYTES]);
        }
    }
    for dest in &draft.dests {
        put.u32(dest.log.0);
        put.u16(dest.batch);
        put.u16(u16_of(dest.envelope.len()));
        put.u32(dest.records);
        put.slice(&dest.envelope);
    }
    for applied in &draft.applied {
        put.u64(applied.index);
        put.u16(applied.dest);
        put.i64(applied.base.0);
    }
    put.slice(&draft.commands);
    let mut crc = Crc::new();
    crc.update(&put.bytes[start + 4..put.at]);
    put.pad(8);
    let mut locations = Vec::with_capacity(draft.batches.len());
    for (i, batch) in draft.batches.iter().enumerate() {
        if let Some(list) = pieces(i) {
            locations.push(Location::Parts(Arc::new(Parts { list: list.to_vec() })));
            continue;
        }
        let position = base + u32_of(put.at);
        locations.push(Location::Journal { segment, position, len: u32_of(batch.len()) });
        put_body(put, &mut crc, batch);
    }
    seal(put, start, frame_bytes, crc);
    locations
}

/// Encodes a PART frame, as [`put_entry`] does. Gives where the piece is.
pub(crate) fn put_part(
    put: &mut Put<'_>,
    part: &PartFrame<'_>,
    (segment, base): (u32, u32),
) -> Part {
    let start = put.at;
    let len = u32_of(part.piece.len());
    let frame_bytes = part_bytes(part.piece.len());
    let command_bytes = PART_COMMAND_BYTES;
    let counts = Counts { frame_bytes, dests: 0, batches: 1, applied: 0, command_bytes };
    put_header(put, part.draft, FrameKind::Part, counts);
    put.u32(len);
    put.u32(0);
    put.u16(part.batch);
    put.u16(0);
    put.u32(u32_of(part.from));
    put.u32(crc32c(part.piece));
    let mut crc = Crc::new();
    crc.update(&put.bytes[start + 4..put.at]);
    put.pad(8);
    let position = base + u32_of(put.at);
    put_body(put, &mut crc, part.piece);
    seal(put, start, frame_bytes, crc);
    Part { segment, position, len }
}

#[derive(Clone, Copy)]
struct Counts {
    frame_bytes: usize,
    dests: usize,
    batches: usize,
    applied: usize,
    command_bytes: usize,
}

fn put_header(put: &mut Put<'_>, draft: &FrameDraft, kind: FrameKind, counts: Counts) {
    // The checksum, when all it covers is there.
    put.u32(0);
    put.u32(u32_of(counts.frame_bytes));
    put.u8(kind.code());
    put.u8(if draft.synced { FLAG_SYNCED } else { 0 });
    put.u16(draft.shard.0);
    put.u32(draft.term);
    put.u64(draft.index);
    put.i64(draft.leader_ts.0);
    put.u16(u16_of(counts.dests));
    put.u16(u16_of(counts.batches));
    put.u32(u32_of(counts.applied));
    put.u32(u32_of(counts.command_bytes));
    put.u32(0);
}

/// Puts a batch, or a piece of one; the frame's checksum covers its head, its own the rest.
fn put_body(put: &mut Put<'_>, crc: &mut Crc, body: &[u8]) {
    crc.update(&body[..body.len().min(BATCH_HEADER_BYTES)]);
    put.slice(body);
    put.pad(8);
}

fn seal(put: &mut Put<'_>, start: usize, frame_bytes: usize, crc: Crc) {
    assert_eq!(put.at - start, frame_bytes, "a frame has the bytes that were planned for it");
    put.bytes[start..start + 4].copy_from_slice(&crc.finish().to_le_bytes());
}

fn u32_of(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("the queue takes no frame past the format's limits")
}

fn u16_of(count: usize) -> u16 {
    u16::try_from(count).expect("the queue takes no frame past the format's limits")
}
