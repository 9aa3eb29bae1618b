//! Field tables and arrays, with RabbitMQ's types.
//!
//! Source: rabbitmq.com/amqp-0-9-1-errata section 3: `t` bool, `b`/`B` 8 bits, `s`/`u` 16 bits,
//! `I`/`i` 32 bits, `l` and `L` 64 bits signed, `f`, `d`, `D` decimal, `S` long string, `x` bytes,
//! `A` array, `T` timestamp in seconds, `F` table, `V` void.

#[cfg(test)]
pub(crate) mod tests;

use super::wire;
use bytes::Bytes;
use record::cursor::Cursor;
use record::properties::{DEPTH_MAX, Scalar, Value};
use record::{Fault, Malformed};
use types::Millis;

/// The bytes of a table after its length; nothing is checked until it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

/// A decoded table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// Names and values in order; names may repeat.
    pub list: Vec<(String, Value)>,
    /// Whether [`push`] gives back the same table; false where text is not UTF-8 or a timestamp is
    /// beyond our range.
    pub exact: bool,
}

/// A value whose type is known but which is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawValue<'a> {
    /// Its type octet.
    pub kind: u8,
    /// Its bytes, without a length.
    pub bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// A table from the bytes after its length.
    pub fn of(bytes: &'a [u8]) -> Table<'a> {
        Table { bytes }
    }

    /// The bytes after its length.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// No field in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Walks the top level; ends after the first fault.
    pub fn raw(&self) -> RawFields<'a> {
        RawFields { cursor: Cursor::new(self.bytes), failed: false }
    }

    /// Decodes it all; fails for an unknown type, a length beyond the bytes, or deeper nesting than
    /// [`DEPTH_MAX`].
    pub fn decode(&self) -> Result<Fields, Malformed> {
        let mut exact = true;
        let mut cursor = Cursor::new(self.bytes);
        let list = fields(&mut cursor, DEPTH_MAX, &mut exact)?;
        Ok(Fields { list, exact })
    }
}

/// Walks the fields of a table without decoding them.
#[derive(Clone, Debug)]
pub struct RawFields<'a> {
    cursor: Cursor<'a>,
    failed: bool,
}

impl<'a> RawFields<'a> {
    fn field(&mut self) -> Result<(&'a [u8], RawValue<'a>), Malformed> {
        let name = wire::short(&mut self.cursor)?;
        Ok((name, raw_value(&mut self.cursor)?))
    }
}

impl<'a> Iterator for RawFields<'a> {
    type Item = Result<(&'a [u8], RawValue<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.cursor.left() == 0 {
            return None;
        }
        let field = self.field();
        self.failed = field.is_err();
        Some(field)
    }
}

impl<'a> RawValue<'a> {
    /// It, if it is UTF-8 text or a whole number.
    #[inline]
    pub fn scalar(&self) -> Option<Scalar<'a>> {
        match (self.kind, self.bytes) {
            (b'S', text) => std::str::from_utf8(text).is_ok().then_some(Scalar::Text(text)),
            (b'I', &[a, b, c, d]) => Some(Scalar::I32(i32::from_be_bytes([a, b, c, d]))),
            (b'l' | b'L', bytes) => Some(Scalar::I64(i64::from_be_bytes(bytes.try_into().ok()?))),
            (b'i', &[a, b, c, d]) => Some(Scalar::U32(u32::from_be_bytes([a, b, c, d]))),
            (b's', &[a, b]) => Some(Scalar::I16(i16::from_be_bytes([a, b]))),
            (b'u', &[a, b]) => Some(Scalar::U16(u16::from_be_bytes([a, b]))),
            (b'b', &[byte]) => Some(Scalar::I8(i8::from_be_bytes([byte]))),
            (b'B', &[byte]) => Some(Scalar::U8(byte)),
            _ => None,
        }
    }

    /// Decodes it; see [`Table::decode`].
    pub fn decode(&self) -> Result<Value, Malformed> {
        decode(*self, DEPTH_MAX, &mut true)
    }
}

/// Appends a table with its length; names longer than 255 bytes are cut.
pub fn push(out: &mut Vec<u8>, list: &[(String, Value)]) {
    let start = begin(out);
    for (name, value) in list {
        push_field(out, name, value);
    }
    end(out, start);
}

/// Begins a table or array; gives what [`end`] needs.
#[inline]
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len()
}

/// Writes the length of what was begun.
#[inline]
pub(crate) fn end(out: &mut [u8], start: usize) {
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_be_bytes());
}

/// Appends one field of a table.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &str, value: &Value) {
    wire::push_short(out, name.as_bytes());
    push_value(out, value);
}

/// Appends one field of a type that has a length: `S` or `x`.
pub(crate) fn push_bytes_field(out: &mut Vec<u8>, name: &[u8], kind: u8, bytes: &[u8]) {
    wire::push_short(out, name);
    push_sized(out, kind, bytes);
}

/// Appends a value with its type octet; values nest no deeper than [`DEPTH_MAX`] by construction.
pub(crate) fn push_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'V'),
        Value::Bool(set) => out.extend_from_slice(&[b't', u8::from(*set)]),
        Value::I8(number) => push_number(out, b'b', &number.to_be_bytes()),
        Value::I16(number) => push_number(out, b's', &number.to_be_bytes()),
        Value::I32(number) => push_number(out, b'I', &number.to_be_bytes()),
        Value::I64(number) => push_number(out, b'l', &number.to_be_bytes()),
        Value::U8(number) => push_number(out, b'B', &number.to_be_bytes()),
        Value::U16(number) => push_number(out, b'u', &number.to_be_bytes()),
        Value::U32(number) => push_number(out, b'i', &number.to_be_bytes()),
        Value::F32(number) => push_number(out, b'f', &number.to_be_bytes()),
        Value::F64(number) => push_number(out, b'd', &number.to_be_bytes()),
        Value::Decimal { scale, unscaled } => {
            push_number(out, b'D', &[*scale]);
            out.extend_from_slice(&unscaled.to_be_bytes());
        }
        Value::String(text) => push_sized(out, b'S', text.as_bytes()),
        Value::Bytes(bytes) => push_sized(out, b'x', bytes),
        Value::Timestamp(time) => push_number(out, b'T', &seconds(*time).to_be_bytes()),
        Value::Array(values) => {
            out.push(b'A');
            let start = begin(out);
            values.iter().for_each(|value| push_value(out, value));
            end(out, start);
        }
        Value::Table(list) => {
            out.push(b'F');
            push(out, list);
        }
    }
}

/// Seconds of a timestamp; before 1970 there are none.
pub(crate) fn seconds(time: Millis) -> u64 {
    u64::try_from(time.0.div_euclid(1000)).unwrap_or(0)
}

/// The time of a timestamp in seconds; none beyond our range.
pub(crate) fn millis(seconds: u64) -> Option<Millis> {
    i64::try_from(seconds).ok()?.checked_mul(1000).map(Millis)
}

fn push_number(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

fn push_sized(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[inline]
fn raw_value<'a>(cursor: &mut Cursor<'a>) -> Result<RawValue<'a>, Malformed> {
    let kind = cursor.u8()?;
    let bytes = match kind {
        b'S' | b'x' | b'A' | b'F' => wire::long(cursor)?,
        b'V' => &[],
        b't' | b'b' | b'B' => cursor.take(1)?,
        b's' | b'u' => cursor.take(2)?,
        b'I' | b'i' | b'f' => cursor.take(4)?,
        b'D' => cursor.take(5)?,
        b'l' | b'L' | b'd' | b'T' => cursor.take(8)?,
        _ => return Err(cursor.fault(Fault::Invalid)),
    };
    Ok(RawValue { kind, bytes })
}

fn fields(
    cursor: &mut Cursor<'_>,
    depth_left: usize,
    exact: &mut bool,
) -> Result<Vec<(String, Value)>, Malformed> {
    let mut list = Vec::new();
    while cursor.left() > 0 {
        let name = match std::str::from_utf8(wire::short(cursor)?) {
            Ok(name) => name.to_owned(),
            Err(_) => return Err(cursor.fault(Fault::Invalid)),
        };
        list.push((name, decode(raw_value(cursor)?, depth_left, exact)?));
    }
    Ok(list)
}

fn decode(raw: RawValue<'_>, depth_left: usize, exact: &mut bool) -> Result<Value, Malformed> {
    let mut cursor = Cursor::new(raw.bytes);
    let value = match raw.kind {
        b'V' => Value::Null,
        b't' => Value::Bool(cursor.u8()? != 0),
        b'b' => Value::I8(cursor.i8()?),
        b'B' => Value::U8(cursor.u8()?),
        b's' => Value::I16(cursor.i16()?),
        b'u' => Value::U16(cursor.u16()?),
        b'I' => Value::I32(cursor.i32()?),
        b'i' => Value::U32(cursor.u32()?),
        b'l' | b'L' => Value::I64(cursor.i64()?),
        b'f' => Value::F32(cursor.f32()?),
        b'd' => Value::F64(cursor.f64()?),
        b'D' => Value::Decimal { scale: cursor.u8()?, unscaled: cursor.i32()? },
        b'T' => {
            let time = millis(cursor.u64()?);
            *exact &= time.is_some();
            Value::Timestamp(time.unwrap_or(Millis(i64::MAX)))
        }
        b'S' => match std::str::from_utf8(raw.bytes) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => {
                *exact = false;
                Value::Bytes(Bytes::copy_from_slice(raw.bytes))
            }
        },
        b'x' => Value::Bytes(Bytes::copy_from_slice(raw.bytes)),
        b'A' | b'F' if depth_left == 0 => return Err(cursor.fault(Fault::TooLarge)),
        b'A' => {
            let mut values = Vec::new();
            while cursor.left() > 0 {
                values.push(decode(raw_value(&mut cursor)?, depth_left - 1, exact)?);
            }
            Value::Array(values)
        }
        b'F' => Value::Table(fields(&mut cursor, depth_left - 1, exact)?),
        _ => return Err(cursor.fault(Fault::Invalid)),
    };
    Ok(value)
}
