//! Little-endian fields, taken from and put into bytes, and the checksum over them.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

/// Bytes that say something the format does not allow, or end too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed at byte {at_byte}: {why}")]
pub struct Malformed {
    /// Where.
    pub at_byte: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// CRC-32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC-32C over several pieces.
pub(crate) struct Crc(Digest);

impl Crc {
    pub(crate) fn new() -> Crc {
        Crc(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> u32 {
        u32::try_from(self.0.finalize()).expect("a 32-bit checksum")
    }
}

/// Takes fields from the front of bytes; never past their end.
#[derive(Debug)]
pub(crate) struct Take<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Take<'a> {
    pub(crate) fn new(bytes: &'a Bytes) -> Take<'a> {
        Take { bytes, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn wrong(&self, why: &'static str) -> Malformed {
        Malformed { at_byte: self.at, why }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let found = self.bytes[self.at..].first_chunk::<N>();
        let array = *found.ok_or(Malformed { at_byte: self.at, why: "ends too early" })?;
        self.at += N;
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A number of as many bytes as it needs: seven bits in each, the lowest first.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let (mut value, mut shift) = (0u64, 0);
        while shift < 64 {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(self.wrong("a number that does not end"))
    }

    /// The same of a difference: its sign is the lowest bit.
    pub(crate) fn difference(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// `len` bytes, shared with the whole.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<Bytes, Malformed> {
        if len > self.left() {
            return Err(self.wrong("ends too early"));
        }
        self.at += len;
        Ok(self.bytes.slice(self.at - len..self.at))
    }

    /// A count of things of at least `bytes_min` bytes each, all of which are still to come.
    pub(crate) fn count(&self, count: u64, bytes_min: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        match count.checked_mul(bytes_min) {
            Some(bytes) if bytes <= self.left() => Ok(count),
            _ => Err(self.wrong("more things than bytes")),
        }
    }

    /// Moves on to the next multiple of 8.
    pub(crate) fn align8(&mut self) -> Result<(), Malformed> {
        let at = self.at.next_multiple_of(8);
        if at > self.bytes.len() {
            return Err(self.wrong("ends too early"));
        }
        self.at = at;
        Ok(())
    }
}

/// Appends what [`Take::varint`] takes.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends what [`Take::difference`] takes.
pub(crate) fn push_difference(out: &mut Vec<u8>, value: i64) {
    push_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Puts fields into a buffer that is large enough.
#[derive(Debug)]
pub(crate) struct Put<'a> {
    pub(crate) bytes: &'a mut [u8],
    pub(crate) at: usize,
}

impl Put<'_> {
    pub(crate) fn slice(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.slice(&value.to_le_bytes());
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.slice(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.slice(&value.to_le_bytes());
    }

    /// Zeroes up to the next multiple of `unit`.
    pub(crate) fn pad(&mut self, unit: usize) {
        let end = self.at.next_multiple_of(unit);
        self.bytes[self.at..end].fill(0);
        self.at = end;
    }
}
