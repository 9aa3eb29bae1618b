//! Values of headers that need no memory of their own, and their headers.

use super::value::code;
use super::{Address, MC, Origin, Properties, marks};
use crate::{tail, varint};

/// Most digits of a number, and its sign.
const DIGITS_MAX: usize = 20;

/// A header's value that is text or a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// UTF-8 text.
    Text(&'a [u8]),
    /// 8 bits, signed.
    I8(i8),
    /// 16 bits, signed.
    I16(i16),
    /// 32 bits, signed.
    I32(i32),
    /// 64 bits, signed.
    I64(i64),
    /// 8 bits, unsigned.
    U8(u8),
    /// 16 bits, unsigned.
    U16(u16),
    /// 32 bits, unsigned.
    U32(u32),
}

impl Scalar<'_> {
    /// The number and the code of its type; none for text.
    #[inline]
    fn number(self) -> Option<(i64, u8)> {
        match self {
            Scalar::Text(_) => None,
            Scalar::I8(number) => Some((number.into(), code::I8)),
            Scalar::I16(number) => Some((number.into(), code::I16)),
            Scalar::I32(number) => Some((number.into(), code::I32)),
            Scalar::I64(number) => Some((number, code::I64)),
            Scalar::U8(number) => Some((number.into(), code::U8)),
            Scalar::U16(number) => Some((number.into(), code::U16)),
            Scalar::U32(number) => Some((number.into(), code::U32)),
        }
    }
}

/// Appends the count and the headers of a message as [`push`](super::push) does, where the values of its
/// user headers are scalars, without memory of its own.
///
/// No name of `user` may repeat or be [`reserved`](super::reserved).
pub fn push_scalars(
    out: &mut Vec<u8>,
    properties: &Properties<'_>,
    address: &Address<'_>,
    origin: Origin,
    user: &[(&[u8], Scalar<'_>)],
) {
    let standard_count = properties.count() + address.count();
    let marks = || {
        let numbered = user.iter().enumerate();
        numbered.filter_map(|(at, (_, value))| {
            value.number().map(|(_, code)| ((standard_count + at) as u64, code))
        })
    };
    let marks_bytes: usize = marks().map(|(index, _)| varint::unsigned_bytes_of(index) + 1).sum();
    tail::push_count(out, standard_count + user.len() + usize::from(marks_bytes > 0));
    if marks_bytes > 0 {
        tail::push_length(out, MC.len());
        out.extend_from_slice(MC);
        marks::push_marked(out, origin.code(), (marks_bytes, marks()));
    }
    properties.push(out);
    address.push(out);
    for (name, value) in user {
        let mut digits = [0; DIGITS_MAX];
        let text = match (value, value.number()) {
            (Scalar::Text(text), _) => text,
            (_, number) => decimal(number.map_or(0, |(number, _)| number), &mut digits),
        };
        tail::push_header(out, name, Some(text));
    }
}

/// A number in decimal.
#[inline]
pub(super) fn decimal(number: i64, digits: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut left = number.unsigned_abs();
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}
