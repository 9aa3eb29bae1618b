//! Writes one frame as a list of segments.
//!
//! Small values go into a growing buffer; large record bytes become segments of their own by
//! reference, so that a fetch is sent without copying what it found.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Record bytes shorter than this are copied: a copy is cheaper than one more segment.
pub const SHARED_BYTES_MIN: usize = 1024;

const LENGTH_BYTES: usize = 4;

/// A frame under construction: the four length bytes are kept free at its start.
#[derive(Debug)]
pub struct Writer {
    /// The first segment once others follow it; the frame's length is written into it at the end.
    head: Option<BytesMut>,
    segments: Vec<Bytes>,
    segment_bytes: usize,
    tail: BytesMut,
    version: i16,
    flexible: bool,
}

impl Writer {
    /// A frame with room for `capacity` bytes besides shared records.
    pub fn frame(version: i16, flexible: bool, capacity: usize) -> Writer {
        let mut tail = BytesMut::with_capacity(capacity + LENGTH_BYTES);
        tail.put_bytes(0, LENGTH_BYTES);
        Writer { head: None, segments: Vec::new(), segment_bytes: 0, tail, version, flexible }
    }

    /// The version of the message.
    #[inline]
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Whether lengths are compact and structures end in tagged fields.
    #[inline]
    pub fn flexible(&self) -> bool {
        self.flexible
    }

    pub(crate) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// The whole frame, its length filled in.
    pub fn finish(mut self) -> Vec<Bytes> {
        let head_bytes = self.head.as_ref().map_or(0, BytesMut::len);
        let body_bytes = head_bytes + self.segment_bytes + self.tail.len() - LENGTH_BYTES;
        let length = u32::try_from(body_bytes).unwrap_or(u32::MAX).to_be_bytes();
        let first = self.head.as_mut().unwrap_or(&mut self.tail);
        first[..LENGTH_BYTES].copy_from_slice(&length);
        let mut frame = Vec::with_capacity(self.segments.len() + 2);
        frame.extend(self.head.map(BytesMut::freeze));
        frame.append(&mut self.segments);
        if !self.tail.is_empty() {
            frame.push(self.tail.freeze());
        }
        frame
    }

    /// Writes bytes as they are.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    /// Writes bytes by reference when they are many, else as a copy.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(bytes);
        }
        let before = self.tail.split();
        if self.head.is_none() {
            self.head = Some(before);
        } else if !before.is_empty() {
            self.segment_bytes += before.len();
            self.segments.push(before.freeze());
        }
        self.segment_bytes += bytes.len();
        self.segments.push(bytes.clone());
    }

    /// One signed byte.
    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.tail.put_i8(value);
    }

    /// Two bytes, big-endian.
    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    /// Four bytes, big-endian.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    /// Eight bytes, big-endian.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.tail.put_slice(value.as_bytes());
    }

    /// Seven bits a byte, least significant first.
    #[inline]
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    /// Length of a string of the plain encoding's 32,767 bytes at most, or null.
    #[inline]
    pub fn string_length(&mut self, length: Option<usize>) {
        if self.flexible {
            return self.compact_length(length);
        }
        let length = length.map_or(-1, |length| i16::try_from(length).unwrap_or(i16::MAX));
        self.tail.put_i16(length);
    }

    /// Length of a byte string or count of an array, or null.
    #[inline]
    pub fn length(&mut self, length: Option<usize>) {
        if self.flexible {
            return self.compact_length(length);
        }
        let length = length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX));
        self.tail.put_i32(length);
    }

    /// A writer for one tagged field of this structure.
    pub(crate) fn nested(&self) -> Writer {
        let tail = BytesMut::new();
        let (version, flexible) = (self.version, self.flexible);
        Writer { head: None, segments: Vec::new(), segment_bytes: 0, tail, version, flexible }
    }

    /// Ends a structure with its tagged fields, in ascending order of tags.
    pub(crate) fn tags(&mut self, fields: &[(u32, Writer)]) {
        self.uvarint(fields.len() as u32);
        for (tag, field) in fields {
            self.uvarint(*tag);
            self.uvarint(field.tail.len() as u32);
            self.tail.put_slice(&field.tail);
        }
    }

    #[inline]
    fn compact_length(&mut self, length: Option<usize>) {
        let length = length.map_or(0, |length| u32::try_from(length + 1).unwrap_or(u32::MAX));
        self.uvarint(length);
    }
}
