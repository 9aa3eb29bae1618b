//! Packs tails into a batch.

use super::{ATTRIBUTES_AT, Compression, HEADER_BYTES, Header, crc32c};
use crate::varint;
use bytes::Bytes;
use types::{Millis, Offset};

/// A finished batch keeps at most this part of its length as unused room.
const SPARE_SHARE: usize = 8;

/// One batch under construction: one copy of each tail, one pass of checksum at the end.
#[derive(Clone, Debug)]
pub struct Builder {
    out: Vec<u8>,
    base_timestamp: Millis,
    max_timestamp: Millis,
    next_delta: u32,
    count: u32,
    producer: (i64, i16, i32),
}

impl Builder {
    /// An empty batch whose timestamps are stored relative to `base_timestamp`.
    pub fn new(base_timestamp: Millis) -> Builder {
        Builder::with_capacity(base_timestamp, 0)
    }

    /// The same, with room for `bytes` of records.
    pub fn with_capacity(base_timestamp: Millis, bytes: usize) -> Builder {
        let mut out = Vec::with_capacity(HEADER_BYTES + bytes);
        out.resize(HEADER_BYTES, 0);
        Builder {
            out,
            base_timestamp,
            max_timestamp: Millis(i64::MIN),
            next_delta: 0,
            count: 0,
            producer: (-1, -1, -1),
        }
    }

    /// Marks the batch as an idempotent producer's.
    pub fn set_producer(&mut self, producer_id: i64, epoch: i16, base_sequence: i32) {
        self.producer = (producer_id, epoch, base_sequence);
    }

    /// Appends a record at the next offset; `tail` as [`crate::tail`] encodes it.
    #[inline]
    pub fn push(&mut self, timestamp: Millis, tail: &[u8]) {
        self.push_at(self.next_delta, timestamp, tail);
    }

    /// Appends a record at an offset of its own, above those before it: for the survivors of a batch.
    #[inline]
    pub fn push_at(&mut self, offset_delta: u32, timestamp: Millis, tail: &[u8]) {
        assert!(offset_delta >= self.next_delta, "offsets of a batch rise");
        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp.0);
        let offset_delta_wide = i64::from(offset_delta);
        let length = 1
            + varint::bytes_of(timestamp_delta)
            + varint::bytes_of(offset_delta_wide)
            + tail.len();
        self.out.reserve(length + varint::BYTES_MAX);
        varint::push(&mut self.out, length as i64);
        self.out.push(0);
        varint::push(&mut self.out, timestamp_delta);
        varint::push(&mut self.out, offset_delta_wide);
        self.out.extend_from_slice(tail);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.next_delta = offset_delta + 1;
        self.count += 1;
    }

    /// Makes room for `bytes` more of records: exactly so much in an empty batch.
    pub fn reserve(&mut self, bytes: usize) {
        let bytes = bytes + varint::BYTES_MAX;
        match self.is_empty() {
            true => self.out.reserve_exact(bytes),
            false => self.out.reserve(bytes),
        }
    }

    /// Bytes of the batch so far, header included.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// No record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The batch, uncompressed; base offset and leader epoch are 0 until it is read.
    pub fn finish(self) -> Bytes {
        self.seal(Compression::None)
    }

    /// The batch with its records compressed.
    pub fn finish_compressed(mut self, compression: Compression) -> Bytes {
        let packed = super::compress(compression, &self.out[HEADER_BYTES..]);
        self.out.truncate(HEADER_BYTES);
        self.out.extend_from_slice(&packed);
        self.seal(compression)
    }

    fn seal(mut self, compression: Compression) -> Bytes {
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let mut header = Header {
            base_offset: Offset(0),
            batch_bytes: self.out.len() as u32,
            leader_epoch: 0,
            crc: 0,
            attributes: compression.code(),
            last_offset_delta: self.next_delta.saturating_sub(1),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp.max(self.base_timestamp),
            producer_id,
            producer_epoch,
            base_sequence,
            count: self.count,
        };
        if self.count > 0 {
            header.max_timestamp = self.max_timestamp;
        }
        self.out[..HEADER_BYTES].copy_from_slice(&header.encode());
        header.crc = crc32c(&self.out[ATTRIBUTES_AT..]);
        self.out[..HEADER_BYTES].copy_from_slice(&header.encode());
        // It is kept in memory, and counted by its length.
        if self.out.capacity() - self.out.len() > self.out.len() / SPARE_SHARE {
            self.out.shrink_to_fit();
        }
        Bytes::from(self.out)
    }
}
