//! Index files: which log's records are where in a sealed segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use types::{LogId, Millis, Offset};

pub use crate::fields::Malformed;
use crate::fields::{Take, crc32c};
use crate::layout::FORMAT_VERSION;
use crate::location::{Location, Part, Parts};

const MAGIC: u64 = u64::from_le_bytes(*b"XDOCKIDX");
const TRAILER: u64 = u64::from_le_bytes(*b"IDXEND\r\n");
/// Checksum and trailer.
const END_BYTES: usize = 12;
const LOG_BYTES: usize = 8;
const RUN_BYTES_MIN: usize = 36;
const PART_BYTES: usize = 12;
const LIVE_BYTES: usize = 12;

/// The index of one sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    /// Number of the segment.
    pub segment: u32,
    /// The runs of each log, by first offset.
    pub logs: BTreeMap<LogId, Vec<Run>>,
    /// Live bytes of each log when the index was written; a hint.
    pub live_bytes: BTreeMap<LogId, u64>,
}

/// A batch of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset of its first record.
    pub first: Offset,
    /// Offsets it spans.
    pub count: u32,
    /// Where it is.
    pub location: Location,
    /// Largest timestamp in it, from its header.
    pub max_timestamp: Millis,
    /// When it was appended: the leader's time of its frame.
    pub append_time: Millis,
    /// The destination's envelope, at most 65,535 bytes.
    pub envelope: Bytes,
}

/// The bytes of an index file.
pub fn encode(index: &SegmentIndex) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    put_u32(&mut out, FORMAT_VERSION);
    put_u32(&mut out, index.segment);
    put_u32(&mut out, count_of(index.logs.len()));
    put_u32(&mut out, count_of(index.live_bytes.len()));
    for (log, runs) in &index.logs {
        put_u32(&mut out, log.0);
        put_u32(&mut out, count_of(runs.len()));
        for run in runs {
            put_run(&mut out, run);
        }
    }
    for (log, bytes) in &index.live_bytes {
        put_u32(&mut out, log.0);
        out.extend_from_slice(&bytes.to_le_bytes());
    }
    let crc = crc32c(&out);
    put_u32(&mut out, crc);
    out.extend_from_slice(&TRAILER.to_le_bytes());
    out
}

/// The index in the bytes of a file, its checksum verified.
pub fn decode(bytes: &Bytes) -> Result<SegmentIndex, Malformed> {
    let Some(covered) = bytes.len().checked_sub(END_BYTES) else {
        return Err(Malformed { at_byte: bytes.len(), why: "ends too early" });
    };
    let end = bytes.slice(covered..);
    let mut end = Take::new(&end);
    if end.u32()? != crc32c(&bytes[..covered]) || end.u64()? != TRAILER {
        return Err(Malformed { at_byte: covered, why: "wrong checksum or trailer" });
    }
    let bytes = &bytes.slice(..covered);
    let mut take = Take::new(bytes);
    if take.u64()? != MAGIC {
        return Err(Malformed { at_byte: 0, why: "not an index file" });
    }
    if take.u32()? > FORMAT_VERSION {
        return Err(Malformed { at_byte: 8, why: "newer format version" });
    }
    let mut index = SegmentIndex { segment: take.u32()?, ..SegmentIndex::default() };
    let (log_count, live_count) = (take.u32()?, take.u32()?);
    for _ in 0..take.count(u64::from(log_count), LOG_BYTES)? {
        let log = LogId(take.u32()?);
        let run_count = u64::from(take.u32()?);
        let run_count = take.count(run_count, RUN_BYTES_MIN)?;
        let mut runs = Vec::with_capacity(run_count);
        for _ in 0..run_count {
            runs.push(take_run(&mut take, index.segment)?);
        }
        if index.logs.insert(log, runs).is_some() {
            return Err(take.wrong("the same log twice"));
        }
    }
    for _ in 0..take.count(u64::from(live_count), LIVE_BYTES)? {
        let log = LogId(take.u32()?);
        index.live_bytes.insert(log, take.u64()?);
    }
    if take.left() > 0 {
        return Err(take.wrong("bytes after the last table"));
    }
    Ok(index)
}

/// A run's location is either (position, len) in the segment of the index, or a list of parts.
fn put_run(out: &mut Vec<u8>, run: &Run) {
    out.extend_from_slice(&run.first.0.to_le_bytes());
    put_u32(out, run.count);
    out.extend_from_slice(&run.max_timestamp.0.to_le_bytes());
    out.extend_from_slice(&run.append_time.0.to_le_bytes());
    let envelope_bytes = u16::try_from(run.envelope.len()).expect("as in its frame");
    out.extend_from_slice(&envelope_bytes.to_le_bytes());
    let parts: Vec<Part> = run.location.pieces().collect();
    let inline = matches!(run.location, Location::Journal { .. });
    let part_count = if inline { 0 } else { u16::try_from(parts.len()).expect("64 MiB in parts") };
    out.extend_from_slice(&part_count.to_le_bytes());
    for part in &parts {
        put_u32(out, part.segment);
        put_u32(out, part.position);
        put_u32(out, part.len);
    }
    out.extend_from_slice(&run.envelope);
}

fn take_run(take: &mut Take<'_>, segment: u32) -> Result<Run, Malformed> {
    let (first, count) = (Offset(take.i64()?), take.u32()?);
    let (max_timestamp, append_time) = (Millis(take.i64()?), Millis(take.i64()?));
    let (envelope_bytes, part_count) = (usize::from(take.u16()?), take.u16()?);
    let list_count = take.count(u64::from(part_count.max(1)), PART_BYTES)?;
    let mut list = Vec::with_capacity(list_count);
    for _ in 0..list_count {
        list.push(Part { segment: take.u32()?, position: take.u32()?, len: take.u32()? });
    }
    let location = if part_count > 0 {
        Location::Parts(Arc::new(Parts { list }))
    } else {
        let Part { segment: of, position, len } = list[0];
        if of != segment {
            return Err(take.wrong("run of another segment"));
        }
        Location::Journal { segment, position, len }
    };
    let envelope = take.bytes(envelope_bytes)?;
    Ok(Run { first, count, location, max_timestamp, append_time, envelope })
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn count_of(count: usize) -> u32 {
    u32::try_from(count).expect("a segment holds less than 4 Gi of anything")
}
