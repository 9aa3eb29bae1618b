//! Reads big-endian fields from a slice, never past its end.

use crate::varint;
use crate::{Fault, Malformed};

/// A position in a borrowed slice. Every read either advances or fails with [`Malformed`].
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident -> $kind:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self) -> Result<$kind, Malformed> {
            let raw = self.take(size_of::<$kind>())?;
            Ok(<$kind>::from_be_bytes(raw.try_into().expect("take gives the length asked for")))
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// Bytes read so far.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    #[inline]
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The bytes from position `from` to here; `from` is an earlier [`Cursor::at`].
    #[inline]
    pub fn since(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..self.at]
    }

    /// The fault at the current position.
    #[cold]
    pub fn fault(&self, fault: Fault) -> Malformed {
        Malformed::new(self.at, fault)
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        if count > self.left() {
            return Err(self.fault(Fault::Truncated));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    fixed! {
        /// One byte.
        u8 -> u8;
        /// One signed byte.
        i8 -> i8;
        /// Two bytes, unsigned.
        u16 -> u16;
        /// Two bytes, signed.
        i16 -> i16;
        /// Four bytes, unsigned.
        u32 -> u32;
        /// Four bytes, signed.
        i32 -> i32;
        /// Eight bytes, unsigned.
        u64 -> u64;
        /// Eight bytes, signed.
        i64 -> i64;
        /// IEEE 754 single.
        f32 -> f32;
        /// IEEE 754 double.
        f64 -> f64;
    }

    /// An unsigned varint of up to 64 bits.
    #[inline(always)]
    pub fn unsigned_varlong(&mut self) -> Result<u64, Malformed> {
        match self.bytes[self.at..] {
            [byte, ..] if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            [low, high, ..] if high < 0x80 => {
                self.at += 2;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        let mut shift = 0;
        for (count, &byte) in self.bytes[self.at..].iter().enumerate() {
            if shift == 63 && byte > 1 {
                return Err(self.fault(Fault::Invalid));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.at += count + 1;
                return Ok(value);
            }
            shift += 7;
        }
        Err(self.fault(Fault::Truncated))
    }

    /// An unsigned varint of up to 32 bits.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, Malformed> {
        let value = self.unsigned_varlong()?;
        u32::try_from(value).map_err(|_| self.fault(Fault::Invalid))
    }

    /// A zigzag varint of up to 64 bits.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, Malformed> {
        Ok(varint::unzigzag(self.unsigned_varlong()?))
    }

    /// A zigzag varint of up to 32 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, Malformed> {
        let value = self.varlong()?;
        i32::try_from(value).map_err(|_| self.fault(Fault::Invalid))
    }

    /// Bytes after a zigzag varint length; length -1 is null.
    #[inline(always)]
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        // One or two bytes, the first one even: a length of 0 to 8191.
        let (start, length) = match self.bytes[self.at..] {
            [byte, ..] if byte & 0x81 == 0 => (self.at + 1, usize::from(byte >> 1)),
            [low, high, ..] if low & 1 == 0 && high < 0x80 => {
                (self.at + 2, usize::from(low & 0x7f) >> 1 | usize::from(high) << 6)
            }
            _ => return self.long_nullable_bytes(),
        };
        match self.bytes.get(start..start + length) {
            Some(bytes) => {
                self.at = start + length;
                Ok(Some(bytes))
            }
            None => self.long_nullable_bytes(),
        }
    }

    #[cold]
    fn long_nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.varint()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.take(length).map(Some),
                Err(_) => Err(self.fault(Fault::Invalid)),
            },
        }
    }
}
