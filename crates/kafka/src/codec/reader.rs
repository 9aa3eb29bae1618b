//! Reads the protocol's primitives from one frame.
//!
//! Source: Kafka protocol guide, "Protocol Primitive Types"; KIP-482 for compact forms and tags.

use bytes::Bytes;
use std::fmt;
use uuid::Uuid;

/// Most array elements one frame may hold, over all its arrays.
pub const ELEMENTS_MAX: usize = 1 << 20;

/// A frame that contradicts the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where the contradiction was noticed, in bytes from the start of the frame.
    pub at_byte: usize,
    /// What is wrong there.
    pub why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at_byte)
    }
}

impl std::error::Error for Malformed {}

/// A position in a frame, and the version by which it is read.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    version: i16,
    flexible: bool,
    elements_left: usize,
}

impl<'a> Reader<'a> {
    /// Reads `frame` from byte `at` on, in the encoding of `version`; `flexible` as KIP-482 has it.
    pub fn new(frame: &'a Bytes, at: usize, version: i16, flexible: bool) -> Reader<'a> {
        Reader { frame, at: at.min(frame.len()), version, flexible, elements_left: ELEMENTS_MAX }
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

    /// Bytes read so far, counted from the start of the frame.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// Switches between the plain and the flexible encoding: headers and bodies may differ.
    pub(crate) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// A refusal at the present position.
    #[cold]
    pub fn malformed(&self, why: &'static str) -> Malformed {
        Malformed { at_byte: self.at, why }
    }

    /// The next `count` bytes, borrowed.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        if count > self.remaining() {
            return Err(self.malformed("the frame ends inside a value"));
        }
        let taken = &self.frame[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    /// The next `count` bytes, sharing the frame's memory.
    #[inline]
    pub fn share(&mut self, count: usize) -> Result<Bytes, Malformed> {
        if count > self.remaining() {
            return Err(self.malformed("the frame ends inside a value"));
        }
        let shared = self.frame.slice(self.at..self.at + count);
        self.at += count;
        Ok(shared)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N)?;
        Ok(<[u8; N]>::try_from(bytes).expect("take gives exactly the bytes asked for"))
    }

    /// One signed byte.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, Malformed> {
        self.array().map(i8::from_be_bytes)
    }

    /// Two bytes, big-endian.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, Malformed> {
        self.array().map(Uuid::from_bytes)
    }

    /// An unsigned number of at most 32 bits, seven bits a byte, least significant first.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.array::<1>()?[0];
            if shift == 28 && byte > 0x0f {
                return Err(self.malformed("a varint of more than 32 bits"));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a varint of more than five bytes"))
    }

    /// Length of a string; `None` is null.
    #[inline]
    pub fn string_length(&mut self) -> Result<Option<usize>, Malformed> {
        if self.flexible {
            return self.compact_length();
        }
        let length = self.i16()?;
        self.plain_length(i64::from(length))
    }

    /// Length of a byte string or count of an array; `None` is null.
    #[inline]
    pub fn length(&mut self) -> Result<Option<usize>, Malformed> {
        if self.flexible {
            return self.compact_length();
        }
        let length = self.i32()?;
        self.plain_length(i64::from(length))
    }

    /// Count of an array, at most one element per byte that is left and within the frame's budget.
    pub fn count(&mut self) -> Result<Option<usize>, Malformed> {
        let Some(count) = self.length()? else { return Ok(None) };
        if count > self.elements_left {
            return Err(self.malformed("more array elements than a frame may hold"));
        }
        self.elements_left -= count;
        Ok(Some(count))
    }

    /// A string of a length read before, checked to be UTF-8.
    #[inline]
    pub fn text(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let at_byte = self.at;
        std::str::from_utf8(self.take(length)?)
            .map_err(|_| Malformed { at_byte, why: "a string that is not UTF-8" })
    }

    /// Number of tagged fields that end a structure.
    #[inline]
    pub fn tag_count(&mut self) -> Result<u32, Malformed> {
        let count = self.uvarint()?;
        if count as usize > self.remaining() / 2 {
            return Err(self.malformed("more tagged fields than bytes"));
        }
        Ok(count)
    }

    /// A tag, and the byte at which its value ends.
    pub fn open_tag(&mut self) -> Result<(u32, usize), Malformed> {
        let tag = self.uvarint()?;
        let bytes = self.uvarint()? as usize;
        if bytes > self.remaining() {
            return Err(self.malformed("a tagged field longer than the frame"));
        }
        Ok((tag, self.at + bytes))
    }

    /// Moves to the end of a tagged field, over what of it was not understood.
    pub fn close_tag(&mut self, end: usize) -> Result<(), Malformed> {
        if self.at > end {
            return Err(self.malformed("a tagged field shorter than its value"));
        }
        self.at = end;
        Ok(())
    }

    /// Skips the tagged fields of a structure none of whose tags is known.
    pub fn skip_tags(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.tag_count()? {
            let (_, end) = self.open_tag()?;
            self.close_tag(end)?;
        }
        Ok(())
    }

    #[inline]
    fn compact_length(&mut self) -> Result<Option<usize>, Malformed> {
        match self.uvarint()? {
            0 => Ok(None),
            more => self.bounded(more as usize - 1),
        }
    }

    #[inline]
    fn plain_length(&self, length: i64) -> Result<Option<usize>, Malformed> {
        match usize::try_from(length) {
            Ok(length) => self.bounded(length),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.malformed("a negative length")),
        }
    }

    #[inline]
    fn bounded(&self, length: usize) -> Result<Option<usize>, Malformed> {
        if length > self.remaining() {
            return Err(self.malformed("a length beyond the end of the frame"));
        }
        Ok(Some(length))
    }
}
