//! Frames out of the bytes of a round.

use std::sync::Arc;

use bytes::Bytes;
use types::{LogId, Millis, Offset, ShardId};

use super::{
    APPLIED_BYTES, AppliedBase, BATCH_ENTRY_BYTES, BATCH_HEADER_BYTES, DEST_BYTES, Dest,
    FLAG_SYNCED, FRAME_HEADER_BYTES, FrameDraft, FrameKind, PART_COMMAND_BYTES, PART_ENTRY_BYTES,
    is_intact,
};
use crate::fields::{Crc, Malformed, Take, crc32c};
use crate::location::{Location, Part, Parts};

/// A frame whose checksum is right; its bodies may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsedFrame {
    pub(crate) frame_bytes: usize,
    pub(crate) kind: FrameKind,
    pub(crate) shard: ShardId,
    pub(crate) term: u32,
    pub(crate) index: u64,
    pub(crate) leader_ts: Millis,
    pub(crate) synced: bool,
    pub(crate) dests: Vec<Dest>,
    pub(crate) applied: Vec<AppliedBase>,
    pub(crate) commands: Bytes,
    pub(crate) batches: Vec<ParsedBatch>,
}

/// A batch of a frame, or the piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsedBatch {
    pub(crate) location: Location,
    /// The header of a whole batch; the beginning of a piece.
    pub(crate) header: Bytes,
    /// Its bytes, if they are in this frame.
    pub(crate) body: Option<Bytes>,
}

struct Counts {
    dests: u64,
    applied: u64,
    command_bytes: usize,
}

/// Parses the frame at the front of `bytes`, what is left of a round, which lie at byte `base` of
/// `segment`. Nothing is copied.
pub(crate) fn parse(bytes: &Bytes, segment: u32, base: u32) -> Result<ParsedFrame, Malformed> {
    let mut take = Take::new(bytes);
    let stored_crc = take.u32()?;
    let frame_bytes = take.u32()? as usize;
    if frame_bytes > bytes.len()
        || frame_bytes < FRAME_HEADER_BYTES
        || !frame_bytes.is_multiple_of(8)
    {
        return Err(Malformed { at_byte: 4, why: "impossible length" });
    }
    let bytes = &bytes.slice(..frame_bytes);
    let mut take = Take::new(bytes);
    take.u64()?;
    let kind = FrameKind::of(take.u8()?).ok_or(take.wrong("unknown kind of frame"))?;
    let synced = take.u8()? & FLAG_SYNCED != 0;
    let (shard, term, index) = (ShardId(take.u16()?), take.u32()?, take.u64()?);
    let leader_ts = Millis(take.i64()?);
    let (dest_count, batch_count) = (u64::from(take.u16()?), u64::from(take.u16()?));
    let applied_count = u64::from(take.u32()?);
    let command_bytes = take.u32()? as usize;
    take.u32()?;
    let counts = Counts { dests: dest_count, applied: applied_count, command_bytes };
    let lens = batch_table(&mut take, batch_count)?;
    let (dests, applied, commands) = tables(&mut take, &counts, lens.len())?;
    let mut crc = Crc::new();
    crc.update(&bytes[4..take.at()]);
    take.align8()?;
    let mut batches = Vec::with_capacity(lens.len());
    for (len, apart) in lens {
        if let Some(Apart { parts, header }) = apart {
            let location = Location::Parts(Arc::new(parts));
            batches.push(ParsedBatch { location, header, body: None });
            continue;
        }
        let position = u32::try_from(take.at()).map_err(|_| take.wrong("too long"))?;
        let position = base.checked_add(position).ok_or(take.wrong("too long"))?;
        let body = take.bytes(len as usize)?;
        let header = body.slice(..body.len().min(BATCH_HEADER_BYTES));
        crc.update(&header);
        take.align8()?;
        let location = Location::Journal { segment, position, len };
        batches.push(ParsedBatch { location, header, body: Some(body) });
    }
    if take.left() != 0 {
        return Err(take.wrong("bytes after the last batch"));
    }
    if crc.finish() != stored_crc {
        return Err(Malformed { at_byte: 0, why: "wrong checksum" });
    }
    if kind == FrameKind::Part && (batches.len() != 1 || commands.len() != PART_COMMAND_BYTES) {
        return Err(take.wrong("not a part"));
    }
    let is_bare = dests.is_empty() && applied.is_empty() && batches.is_empty();
    if kind.command_bytes().is_some_and(|bytes| !is_bare || commands.len() != bytes) {
        return Err(take.wrong("more or less than its kind has"));
    }
    Ok(ParsedFrame {
        frame_bytes,
        kind,
        shard,
        term,
        index,
        leader_ts,
        synced,
        dests,
        applied,
        commands,
        batches,
    })
}

/// A batch that travelled apart.
struct Apart {
    parts: Parts,
    header: Bytes,
}

fn batch_table(take: &mut Take<'_>, count: u64) -> Result<Vec<(u32, Option<Apart>)>, Malformed> {
    let count = take.count(count, BATCH_ENTRY_BYTES)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push((take.u32()?, take.u32()?));
    }
    let mut lens = Vec::with_capacity(count);
    for (len, part_count) in entries {
        let part_count = take.count(u64::from(part_count), PART_ENTRY_BYTES)?;
        let mut list = Vec::with_capacity(part_count);
        for _ in 0..part_count {
            list.push(Part { segment: take.u32()?, position: take.u32()?, len: take.u32()? });
        }
        let total: u64 = list.iter().map(|part| u64::from(part.len)).sum();
        if part_count > 0 && total != u64::from(len) {
            return Err(take.wrong("parts of another length than their batch"));
        }
        let apart = Apart { parts: Parts { list }, header: Bytes::new() };
        lens.push((len, (part_count > 0).then_some(apart)));
    }
    for apart in lens.iter_mut().filter_map(|(_, apart)| apart.as_mut()) {
        apart.header = take.bytes(BATCH_HEADER_BYTES)?;
    }
    Ok(lens)
}

type Tables = (Vec<Dest>, Vec<AppliedBase>, Bytes);

fn tables(take: &mut Take<'_>, counts: &Counts, batches: usize) -> Result<Tables, Malformed> {
    let dest_count = take.count(counts.dests, DEST_BYTES)?;
    let mut dests = Vec::with_capacity(dest_count);
    for _ in 0..dest_count {
        let (log, batch) = (LogId(take.u32()?), take.u16()?);
        let envelope_bytes = usize::from(take.u16()?);
        let records = take.u32()?;
        if usize::from(batch) >= batches {
            return Err(take.wrong("destination of no batch"));
        }
        dests.push(Dest { log, batch, records, envelope: take.bytes(envelope_bytes)? });
    }
    let applied_count = take.count(counts.applied, APPLIED_BYTES)?;
    let mut applied = Vec::with_capacity(applied_count);
    for _ in 0..applied_count {
        applied.push(AppliedBase {
            index: take.u64()?,
            dest: take.u16()?,
            base: Offset(take.i64()?),
        });
    }
    let commands = take.bytes(counts.command_bytes)?;
    Ok((dests, applied, commands))
}

impl ParsedFrame {
    /// The frame as it was handed over, with `batches` as its batches.
    pub(crate) fn into_draft(self, batches: Vec<Bytes>) -> FrameDraft {
        FrameDraft {
            shard: self.shard,
            term: self.term,
            index: self.index,
            leader_ts: self.leader_ts,
            kind: self.kind,
            synced: self.synced,
            dests: self.dests,
            applied: self.applied,
            commands: self.commands,
            batches,
        }
    }

    /// The ordinals of batches that are in this frame and not what was written.
    pub(crate) fn corrupt_bodies(&self) -> Vec<usize> {
        let mut corrupt = Vec::new();
        for (i, batch) in self.batches.iter().enumerate() {
            let Some(body) = &batch.body else { continue };
            let intact = match self.kind {
                FrameKind::Part => self.commands.ends_with(&crc32c(body).to_le_bytes()),
                _ => is_intact(body),
            };
            if !intact {
                corrupt.push(i);
            }
        }
        corrupt
    }
}
