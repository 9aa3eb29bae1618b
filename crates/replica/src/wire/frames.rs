//! Frames of entries as bytes.
//!
//! ```text
//! [kind u8][term u32][index u64][leader's time i64][destinations u16][bases u16][batches u16][commands u32]
//! then each destination [log u32][batch u16][records u32][bytes of the envelope u16][envelope]
//! each base [index u64][destination u16][base i64], each batch's length u32, the commands, the batches
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use journal::{AppliedBase, Dest, FrameDraft, FrameKind};
use types::{LogId, Millis, Offset, ShardId};

use super::NoPacket;

const ENTRY: u8 = 0;
const BLANK: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Least bytes of a destination, a base and a batch: a count is held against what is left.
const DEST_BYTES_MIN: usize = 12;
const BASE_BYTES: usize = 18;
const BATCH_BYTES_MIN: usize = 4;

pub(super) fn put(out: &mut BytesMut, frame: &FrameDraft) {
    out.put_u8(match frame.kind {
        FrameKind::Blank => BLANK,
        FrameKind::Membership => MEMBERSHIP,
        _ => ENTRY,
    });
    out.put_u32_le(frame.term);
    out.put_u64_le(frame.index);
    out.put_i64_le(frame.leader_ts.0);
    // The journal's own frames count these in as many bits.
    out.put_u16_le(frame.dests.len() as u16);
    out.put_u16_le(frame.applied.len() as u16);
    out.put_u16_le(frame.batches.len() as u16);
    out.put_u32_le(frame.commands.len() as u32);
    for dest in &frame.dests {
        out.put_u32_le(dest.log.0);
        out.put_u16_le(dest.batch);
        out.put_u32_le(dest.records);
        out.put_u16_le(dest.envelope.len() as u16);
        out.put_slice(&dest.envelope);
    }
    for base in &frame.applied {
        out.put_u64_le(base.index);
        out.put_u16_le(base.dest);
        out.put_i64_le(base.base.0);
    }
    frame.batches.iter().for_each(|batch| out.put_u32_le(batch.len() as u32));
    out.put_slice(&frame.commands);
    frame.batches.iter().for_each(|batch| out.put_slice(batch));
}

pub(super) fn get(shard: ShardId, bytes: &mut Bytes) -> Result<FrameDraft, NoPacket> {
    let kind = match number::<1>(bytes)?[0] {
        ENTRY => FrameKind::Entry,
        BLANK => FrameKind::Blank,
        MEMBERSHIP => FrameKind::Membership,
        _ => return Err(NoPacket),
    };
    let term = u32::from_le_bytes(number(bytes)?);
    let index = u64::from_le_bytes(number(bytes)?);
    let leader_ts = Millis(i64::from_le_bytes(number(bytes)?));
    let dest_count = usize::from(u16::from_le_bytes(number(bytes)?));
    let base_count = usize::from(u16::from_le_bytes(number(bytes)?));
    let batch_count = usize::from(u16::from_le_bytes(number(bytes)?));
    let command_bytes = u32::from_le_bytes(number(bytes)?) as usize;
    let least =
        dest_count * DEST_BYTES_MIN + base_count * BASE_BYTES + batch_count * BATCH_BYTES_MIN;
    if least > bytes.len() {
        return Err(NoPacket);
    }
    let mut dests = Vec::with_capacity(dest_count);
    for _ in 0..dest_count {
        let log = LogId(u32::from_le_bytes(number(bytes)?));
        let batch = u16::from_le_bytes(number(bytes)?);
        let records = u32::from_le_bytes(number(bytes)?);
        let envelope_bytes = usize::from(u16::from_le_bytes(number(bytes)?));
        dests.push(Dest { log, batch, records, envelope: take(bytes, envelope_bytes)? });
    }
    let mut applied = Vec::with_capacity(base_count);
    for _ in 0..base_count {
        let index = u64::from_le_bytes(number(bytes)?);
        let dest = u16::from_le_bytes(number(bytes)?);
        let base = Offset(i64::from_le_bytes(number(bytes)?));
        applied.push(AppliedBase { index, dest, base });
    }
    let mut lengths = Vec::with_capacity(batch_count);
    for _ in 0..batch_count {
        lengths.push(u32::from_le_bytes(number(bytes)?) as usize);
    }
    let commands = take(bytes, command_bytes)?;
    let batches = lengths.into_iter().map(|length| take(bytes, length));
    let batches = batches.collect::<Result<Vec<Bytes>, NoPacket>>()?;
    let bare = FrameDraft::bare(kind, shard, (term, index));
    let frame = FrameDraft { leader_ts, dests, applied, commands, batches, ..bare };
    if frame.is_sound() { Ok(frame) } else { Err(NoPacket) }
}

fn number<const N: usize>(bytes: &mut Bytes) -> Result<[u8; N], NoPacket> {
    let number = *bytes.first_chunk().ok_or(NoPacket)?;
    bytes.advance(N);
    Ok(number)
}

fn take(bytes: &mut Bytes, count: usize) -> Result<Bytes, NoPacket> {
    if count > bytes.len() {
        return Err(NoPacket);
    }
    Ok(bytes.split_to(count))
}
