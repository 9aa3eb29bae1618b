//! Typed values of headers and arguments.

use crate::cursor::Cursor;
use crate::varint;
use crate::{Fault, Malformed};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use types::Millis;

/// Most containers around a value: decoders recurse no deeper.
pub const DEPTH_MAX: usize = 32;

/// Largest encoded value of one header, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// A typed value, as the wires have them in message headers and in arguments of declarations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
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
    /// IEEE 754 single.
    F32(f32),
    /// IEEE 754 double.
    F64(f64),
    /// `unscaled` / 10^`scale`.
    Decimal {
        /// Digits after the point.
        scale: u8,
        /// The number without its point.
        unscaled: i32,
    },
    /// UTF-8 text.
    String(String),
    /// Bytes that are not text.
    Bytes(Bytes),
    /// A point in time.
    Timestamp(Millis),
    /// Values in order, of any types.
    Array(Vec<Value>),
    /// Named values in order; names may repeat.
    Table(Vec<(String, Value)>),
}

/// Type codes; part of the stored format.
pub(super) mod code {
    pub(crate) const NULL: u8 = 0;
    pub(crate) const BOOL: u8 = 1;
    pub(crate) const I8: u8 = 2;
    pub(crate) const I16: u8 = 3;
    pub(crate) const I32: u8 = 4;
    pub(crate) const I64: u8 = 5;
    pub(crate) const U8: u8 = 6;
    pub(crate) const U16: u8 = 7;
    pub(crate) const U32: u8 = 8;
    pub(crate) const F32: u8 = 9;
    pub(crate) const F64: u8 = 10;
    pub(crate) const DECIMAL: u8 = 11;
    pub(crate) const STRING: u8 = 12;
    pub(crate) const BYTES: u8 = 13;
    pub(crate) const TIMESTAMP: u8 = 14;
    pub(crate) const ARRAY: u8 = 15;
    pub(crate) const TABLE: u8 = 16;
}

impl Value {
    /// The number, if it is an integer of any width.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::I8(number) => Some(number.into()),
            Value::I16(number) => Some(number.into()),
            Value::I32(number) => Some(number.into()),
            Value::I64(number) => Some(number),
            Value::U8(number) => Some(number.into()),
            Value::U16(number) => Some(number.into()),
            Value::U32(number) => Some(number.into()),
            _ => None,
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Levels of containers: 0 for a scalar, 1 for an array of scalars. Stops above [`DEPTH_MAX`].
    pub fn depth(&self) -> usize {
        fn within(value: &Value, allowed: usize) -> usize {
            if allowed == 0 {
                return 0;
            }
            let inner = |value| 1 + within(value, allowed - 1);
            match value {
                Value::Array(values) => values.iter().map(inner).max().unwrap_or(1),
                Value::Table(fields) => {
                    fields.iter().map(|(_, value)| inner(value)).max().unwrap_or(1)
                }
                _ => 0,
            }
        }
        within(self, DEPTH_MAX + 1)
    }

    /// Appends `[code u8][payload]`.
    ///
    /// Numbers are big-endian, strings and bytes follow an unsigned varint length, the entries of an
    /// array or table an unsigned varint count, a table's names are strings. The caller holds
    /// [`Value::depth`] below the limit.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code());
        match self {
            Value::Null => {}
            Value::Bool(set) => out.push(u8::from(*set)),
            Value::I8(number) => out.extend_from_slice(&number.to_be_bytes()),
            Value::I16(number) => out.extend_from_slice(&number.to_be_bytes()),
            Value::I32(number) => out.extend_from_slice(&number.to_be_bytes()),
            Value::I64(number) => out.extend_from_slice(&number.to_be_bytes()),
            Value::U8(number) => out.push(*number),
            Value::U16(number) => out.extend_from_slice(&number.to_be_bytes()),
            Value::U32(number) => out.extend_from_slice(&number.to_be_bytes()),
            Value::F32(number) => out.extend_from_slice(&number.to_be_bytes()),
            Value::F64(number) => out.extend_from_slice(&number.to_be_bytes()),
            Value::Decimal { scale, unscaled } => {
                out.push(*scale);
                out.extend_from_slice(&unscaled.to_be_bytes());
            }
            Value::String(text) => push_sized(out, text.as_bytes()),
            Value::Bytes(bytes) => push_sized(out, bytes),
            Value::Timestamp(time) => out.extend_from_slice(&time.0.to_be_bytes()),
            Value::Array(values) => {
                varint::push_unsigned(out, values.len() as u64);
                values.iter().for_each(|value| value.encode(out));
            }
            Value::Table(fields) => {
                varint::push_unsigned(out, fields.len() as u64);
                for (name, value) in fields {
                    push_sized(out, name.as_bytes());
                    value.encode(out);
                }
            }
        }
    }

    /// Decodes what [`Value::encode`] wrote; no byte may be left over.
    ///
    /// Fails with [`Fault::TooLarge`] above [`DEPTH_MAX`] or [`VALUE_BYTES_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Value, Malformed> {
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(Malformed::new(VALUE_BYTES_MAX, Fault::TooLarge));
        }
        let mut cursor = Cursor::new(bytes);
        let value = decode_within(&mut cursor, DEPTH_MAX)?;
        if cursor.left() > 0 {
            return Err(cursor.fault(Fault::Count));
        }
        Ok(value)
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Value::Null => code::NULL,
            Value::Bool(_) => code::BOOL,
            Value::I8(_) => code::I8,
            Value::I16(_) => code::I16,
            Value::I32(_) => code::I32,
            Value::I64(_) => code::I64,
            Value::U8(_) => code::U8,
            Value::U16(_) => code::U16,
            Value::U32(_) => code::U32,
            Value::F32(_) => code::F32,
            Value::F64(_) => code::F64,
            Value::Decimal { .. } => code::DECIMAL,
            Value::String(_) => code::STRING,
            Value::Bytes(_) => code::BYTES,
            Value::Timestamp(_) => code::TIMESTAMP,
            Value::Array(_) => code::ARRAY,
            Value::Table(_) => code::TABLE,
        }
    }
}

fn push_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::push_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn decode_within(cursor: &mut Cursor<'_>, depth_left: usize) -> Result<Value, Malformed> {
    let value = match cursor.u8()? {
        code::NULL => Value::Null,
        code::BOOL => Value::Bool(cursor.u8()? != 0),
        code::I8 => Value::I8(cursor.i8()?),
        code::I16 => Value::I16(cursor.i16()?),
        code::I32 => Value::I32(cursor.i32()?),
        code::I64 => Value::I64(cursor.i64()?),
        code::U8 => Value::U8(cursor.u8()?),
        code::U16 => Value::U16(cursor.u16()?),
        code::U32 => Value::U32(cursor.u32()?),
        code::F32 => Value::F32(cursor.f32()?),
        code::F64 => Value::F64(cursor.f64()?),
        code::DECIMAL => Value::Decimal { scale: cursor.u8()?, unscaled: cursor.i32()? },
        code::STRING => Value::String(string(cursor)?),
        code::BYTES => Value::Bytes(Bytes::copy_from_slice(sized(cursor)?)),
        code::TIMESTAMP => Value::Timestamp(Millis(cursor.i64()?)),
        kind @ (code::ARRAY | code::TABLE) => {
            if depth_left == 0 {
                return Err(cursor.fault(Fault::TooLarge));
            }
            container(cursor, kind, depth_left - 1)?
        }
        _ => return Err(cursor.fault(Fault::Invalid)),
    };
    Ok(value)
}

fn container(cursor: &mut Cursor<'_>, kind: u8, depth_left: usize) -> Result<Value, Malformed> {
    let count = cursor.unsigned_varint()? as usize;
    if count > cursor.left() {
        return Err(cursor.fault(Fault::Truncated));
    }
    if kind == code::ARRAY {
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(decode_within(cursor, depth_left)?);
        }
        return Ok(Value::Array(values));
    }
    let mut fields = Vec::new();
    for _ in 0..count {
        fields.push((string(cursor)?, decode_within(cursor, depth_left)?));
    }
    Ok(Value::Table(fields))
}

fn sized<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    let length = cursor.unsigned_varint()? as usize;
    cursor.take(length)
}

fn string(cursor: &mut Cursor<'_>) -> Result<String, Malformed> {
    let bytes = sized(cursor)?;
    let text = std::str::from_utf8(bytes).map_err(|_| cursor.fault(Fault::Invalid))?;
    Ok(text.to_owned())
}
