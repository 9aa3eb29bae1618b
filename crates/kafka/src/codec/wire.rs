//! How each type of the schemas is read and written.

use super::records::Records;
use super::{Malformed, Reader, Writer};
use crate::errors::ErrorCode;
use bytes::Bytes;
use std::ops::RangeInclusive;
use uuid::Uuid;

/// A value with an encoding in every version of the message it is part of.
pub trait Wire: Sized {
    /// Reads one value; fails at the first byte that contradicts the protocol.
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Writes one value.
    fn write(&self, w: &mut Writer);

    /// Whether this is a null.
    #[inline]
    fn null(&self) -> bool {
        false
    }

    /// Writes one value, an empty one in place of a null.
    #[inline]
    fn write_some(&self, w: &mut Writer) {
        self.write(w);
    }
}

/// A type with a null in its encoding.
pub trait Nullable: Sized + Default {
    /// Reads one value or null.
    fn read_nullable(r: &mut Reader<'_>) -> Result<Option<Self>, Malformed>;

    /// Writes `value` or null.
    fn write_nullable(value: Option<&Self>, w: &mut Writer);
}

/// The body of a request or response.
pub trait Message: Wire {
    /// Number of the API.
    const KEY: i16;
    /// Versions that can be read and written.
    const VERSIONS: RangeInclusive<i16>;
    /// First flexible version (KIP-482); `i16::MAX` where there is none.
    const FLEXIBLE_FROM: i16;
}

/// Reads a body that starts at byte `at` of `frame`.
///
/// `version`: within `M::VERSIONS`. Only `Records` keep the frame's memory alive; all else is
/// copied. Costs time and memory in proportion to the frame. Fails with `Malformed`.
pub fn decode<M: Message>(frame: &Bytes, at: usize, version: i16) -> Result<M, Malformed> {
    if !M::VERSIONS.contains(&version) {
        return Err(Malformed { at_byte: at, why: "a version that is not supported" });
    }
    M::read(&mut Reader::new(frame, at, version, version >= M::FLEXIBLE_FROM))
}

impl<T: Nullable> Wire for Option<T> {
    #[inline]
    fn read(r: &mut Reader<'_>) -> Result<Option<T>, Malformed> {
        T::read_nullable(r)
    }

    #[inline]
    fn write(&self, w: &mut Writer) {
        T::write_nullable(self.as_ref(), w);
    }

    #[inline]
    fn null(&self) -> bool {
        self.is_none()
    }

    #[inline]
    fn write_some(&self, w: &mut Writer) {
        match self {
            Some(value) => T::write_nullable(Some(value), w),
            None => T::write_nullable(Some(&T::default()), w),
        }
    }
}

macro_rules! primitive {
    ($($ty:ty: $read:expr, $write:expr;)*) => {
        $(impl Wire for $ty {
            #[inline]
            fn read(r: &mut Reader<'_>) -> Result<$ty, Malformed> {
                $read(r)
            }

            #[inline]
            fn write(&self, w: &mut Writer) {
                $write(w, *self);
            }
        })*
    };
}

primitive! {
    i8: Reader::i8, Writer::i8;
    i16: Reader::i16, Writer::i16;
    i32: Reader::i32, Writer::i32;
    i64: Reader::i64, Writer::i64;
    Uuid: Reader::uuid, Writer::uuid;
    bool: |r: &mut Reader<'_>| Ok(r.i8()? != 0), |w: &mut Writer, value| w.i8(i8::from(value));
    ErrorCode: |r: &mut Reader<'_>| r.i16().map(ErrorCode),
        |w: &mut Writer, value: ErrorCode| w.i16(value.0);
}

/// Types whose plain form is their nullable form without the null.
macro_rules! never_null {
    ($([$($generic:tt)*] $ty:ty;)*) => {
        $(impl<$($generic)*> Wire for $ty {
            #[inline]
            fn read(r: &mut Reader<'_>) -> Result<$ty, Malformed> {
                let at_byte = r.at();
                Nullable::read_nullable(r)?
                    .ok_or(Malformed { at_byte, why: "a null where none is allowed" })
            }

            #[inline]
            fn write(&self, w: &mut Writer) {
                Nullable::write_nullable(Some(self), w);
            }
        })*
    };
}

never_null! {
    [] String;
    [] Bytes;
    [] Records;
    [T: Wire] Vec<T>;
}

impl Nullable for String {
    #[inline]
    fn read_nullable(r: &mut Reader<'_>) -> Result<Option<String>, Malformed> {
        let Some(length) = r.string_length()? else { return Ok(None) };
        Ok(Some(r.text(length)?.to_owned()))
    }

    /// The plain encoding holds 32,767 bytes: a longer string loses its end there.
    fn write_nullable(value: Option<&String>, w: &mut Writer) {
        let Some(text) = value else { return w.string_length(None) };
        let length_max = if w.flexible() { usize::MAX } else { i16::MAX as usize };
        let text = &text[..text.floor_char_boundary(length_max)];
        w.string_length(Some(text.len()));
        w.put(text.as_bytes());
    }
}

impl Nullable for Bytes {
    /// Copied, so that a value that is kept does not keep the frame it came in.
    fn read_nullable(r: &mut Reader<'_>) -> Result<Option<Bytes>, Malformed> {
        let Some(length) = r.length()? else { return Ok(None) };
        r.take(length).map(|bytes| Some(Bytes::copy_from_slice(bytes)))
    }

    fn write_nullable(value: Option<&Bytes>, w: &mut Writer) {
        w.length(value.map(Bytes::len));
        if let Some(bytes) = value {
            w.put(bytes);
        }
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(r: &mut Reader<'_>) -> Result<Option<Vec<T>>, Malformed> {
        let Some(count) = r.count()? else { return Ok(None) };
        // What is reserved before an element is seen stays below the bytes that are left.
        let mut values = Vec::with_capacity(count.min(r.remaining() / size_of::<T>().max(1)));
        for _ in 0..count {
            values.push(T::read(r)?);
        }
        Ok(Some(values))
    }

    fn write_nullable(value: Option<&Vec<T>>, w: &mut Writer) {
        w.length(value.map(Vec::len));
        for element in value.into_iter().flatten() {
            element.write(w);
        }
    }
}
