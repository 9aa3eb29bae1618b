//! Kafka record batches of magic 2: header, checks, and what may be changed without touching the body.
//!
//! A batch is stored as it came. `baseOffset` and `partitionLeaderEpoch` lie outside its checksum and
//! are patched when it is read ([`patch`], [`prefix_with`]); only [`set_append_time`] changes checksummed bytes,
//! once, before the batch is stored.
//!
//! Source: Kafka protocol, "Record Batch" and "Record"; KIP-98.

mod builder;
mod compression;
mod records;
mod row;

#[cfg(test)]
mod tests;

use crate::cursor::Cursor;
use crate::{Fault, Malformed};
use bytes::Bytes;
use types::{Millis, Offset};

pub use builder::Builder;
pub use compression::{Compression, compress, decompress, recompress};
pub use records::{Headers, RecordHead, RecordView, Records, check_records};
pub use row::{first_of, in_row, patch};

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;

/// Bytes from the start of a batch to the first checksummed byte.
pub const PREFIX_BYTES: usize = 21;

/// Smallest encoded record: seven fields of one byte each.
pub const RECORD_BYTES_MIN: usize = 7;

/// Bytes of `baseOffset` and `batchLength`, which the length does not count.
const UNCOUNTED_BYTES: usize = 12;

const EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const MAGIC: u8 = 2;
const COMPRESSION_BITS: u16 = 0x07;
const APPEND_TIME_BIT: u16 = 0x08;
const TRANSACTIONAL_BIT: u16 = 0x10;
const CONTROL_BIT: u16 = 0x20;
const DELETE_HORIZON_BIT: u16 = 0x40;

/// The fixed part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record, as written; the log decides the real one.
    pub base_offset: Offset,
    /// Size of the whole batch, header included, in bytes.
    pub batch_bytes: u32,
    /// Leader epoch, as written.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// Compression, timestamp type and the transaction bits; see the questions below.
    pub attributes: u16,
    /// Offset of the last record less that of the first.
    pub last_offset_delta: u32,
    /// Timestamp that record deltas are relative to.
    pub base_timestamp: Millis,
    /// Largest timestamp in the batch, or the append time.
    pub max_timestamp: Millis,
    /// Idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch.
    pub count: u32,
}

/// What a batch from the network may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest batch, header included, in bytes.
    pub batch_bytes_max: usize,
    /// Most records in one batch; what bounds a compressed one before it is unpacked.
    pub record_count_max: u32,
}

impl Header {
    /// Decodes the first [`HEADER_BYTES`] of a batch.
    ///
    /// Checks the magic, and that length and counts are not negative; nothing is held against the
    /// bytes that follow.
    pub fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut cursor = Cursor::new(bytes);
        if bytes.len() < HEADER_BYTES {
            // An old format is told apart even where its batch is shorter than our header.
            let old = bytes.get(MAGIC_AT).is_some_and(|&magic| magic != MAGIC);
            let fault = if old { Fault::Magic } else { Fault::Truncated };
            return Err(Malformed::new(bytes.len(), fault));
        }
        if bytes[MAGIC_AT] != MAGIC {
            return Err(Malformed::new(MAGIC_AT, Fault::Magic));
        }
        let base_offset = Offset(cursor.i64()?);
        let length = cursor.i32()?;
        let batch_bytes = u32::try_from(length)
            .ok()
            .filter(|&length| length as usize >= HEADER_BYTES - UNCOUNTED_BYTES)
            .map(|length| length + UNCOUNTED_BYTES as u32)
            .ok_or(Malformed::new(cursor.at(), Fault::Count))?;
        let leader_epoch = cursor.i32()?;
        let _magic = cursor.u8()?;
        let header = Header {
            base_offset,
            batch_bytes,
            leader_epoch,
            crc: cursor.u32()?,
            attributes: cursor.u16()?,
            last_offset_delta: count(&mut cursor)?,
            base_timestamp: Millis(cursor.i64()?),
            max_timestamp: Millis(cursor.i64()?),
            producer_id: cursor.i64()?,
            producer_epoch: cursor.i16()?,
            base_sequence: cursor.i32()?,
            count: count(&mut cursor)?,
        };
        Ok(header)
    }

    /// The encoded header, with the checksum as given.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&(self.batch_bytes - UNCOUNTED_BYTES as u32).to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[16] = MAGIC;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.count.to_be_bytes());
        out
    }

    /// How the records are compressed; fails for a code that Kafka does not define.
    pub fn compression(&self) -> Result<Compression, Malformed> {
        Compression::from_code(self.attributes & COMPRESSION_BITS)
            .ok_or(Malformed::new(ATTRIBUTES_AT, Fault::Compression))
    }

    /// The batch timestamp is the append time and stands for every record.
    pub fn append_time(&self) -> bool {
        self.attributes & APPEND_TIME_BIT != 0
    }

    /// Part of a transaction.
    pub fn transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Holds a transaction marker instead of records.
    pub fn control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// The timestamp of one of its records.
    pub fn timestamp_of(&self, timestamp_delta: i64) -> Millis {
        if self.append_time() {
            self.max_timestamp
        } else {
            self.base_timestamp.plus(Millis(timestamp_delta))
        }
    }

    /// Bytes of the records, after the header.
    pub fn body_bytes(&self) -> usize {
        self.batch_bytes as usize - HEADER_BYTES
    }
}

/// Checks the batch at the start of `bytes`; more bytes may follow it.
///
/// Holds when the format is magic 2, the batch is complete and within `limits`, its checksum matches,
/// and its counts fit the bytes and each other as a producer must send them. The records themselves
/// are not looked at: see [`check_records`].
pub fn validate(bytes: &[u8], limits: &Limits) -> Result<Header, Malformed> {
    let header = Header::decode(bytes)?;
    let batch_bytes = header.batch_bytes as usize;
    if batch_bytes > limits.batch_bytes_max {
        return Err(Malformed::new(8, Fault::TooLarge));
    }
    if batch_bytes > bytes.len() {
        return Err(Malformed::new(bytes.len(), Fault::Truncated));
    }
    if crc32c(&bytes[ATTRIBUTES_AT..batch_bytes]) != header.crc {
        return Err(Malformed::new(CRC_AT, Fault::Checksum));
    }
    let compression = header.compression()?;
    if header.attributes & DELETE_HORIZON_BIT != 0 {
        return Err(Malformed::new(ATTRIBUTES_AT, Fault::Invalid));
    }
    let body_bytes = header.body_bytes();
    let fits = match compression {
        Compression::None => header.count as usize <= body_bytes / RECORD_BYTES_MIN,
        _ => body_bytes > 0,
    };
    let dense = header.last_offset_delta.checked_add(1) == Some(header.count);
    if !fits || !dense || header.count > limits.record_count_max {
        return Err(Malformed::new(HEADER_BYTES - 4, Fault::Count));
    }
    Ok(header)
}

/// The batches of one Produce request or one Fetch response, in a row, each checked by [`validate`].
///
/// Ends after the first fault; a request without any batch gives nothing.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    limits: Limits,
}

impl Batches {
    /// The batches in `bytes`.
    pub fn new(bytes: Bytes, limits: Limits) -> Batches {
        Batches { rest: bytes, limits }
    }
}

impl Iterator for Batches {
    type Item = Result<(Header, Bytes), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match validate(&self.rest, &self.limits) {
            Ok(header) => {
                let batch = self.rest.split_to(header.batch_bytes as usize);
                Some(Ok((header, batch)))
            }
            Err(malformed) => {
                self.rest.clear();
                Some(Err(malformed))
            }
        }
    }
}

/// The first [`PREFIX_BYTES`] of a batch as a reader must see them; the rest is sent as stored.
///
/// `batch`: at least its first 21 bytes.
pub fn prefix_with(batch: &[u8], base_offset: Offset, leader_epoch: i32) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(&batch[..PREFIX_BYTES]);
    patch(&mut prefix, base_offset, leader_epoch);
    prefix
}

/// Makes `time` the timestamp of every record of a complete batch, and renews the checksum.
///
/// Only before the batch is stored: a stored batch never changes.
pub fn set_append_time(batch: &mut [u8], time: Millis) {
    let attributes = u16::from_be_bytes([batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]]);
    let marked = (attributes | APPEND_TIME_BIT).to_be_bytes();
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&marked);
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&time.0.to_be_bytes());
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// CRC-32C (Castagnoli), the checksum of batches and of everything else we store.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn count(cursor: &mut Cursor<'_>) -> Result<u32, Malformed> {
    let value = cursor.i32()?;
    u32::try_from(value).map_err(|_| cursor.fault(Fault::Count))
}
