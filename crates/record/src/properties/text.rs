//! Values as the text that a Kafka client sees, and back.

use super::value::{Value, code};
use bytes::Bytes;
use std::io::Write;
use types::Millis;

const IN_MEMORY: &str = "writing to memory does not fail";

/// Appends the plain form; gives false for null, which has none.
///
/// Scalars are their usual text, bytes are themselves, arrays and tables are JSON.
pub(super) fn push(out: &mut Vec<u8>, value: &Value) -> bool {
    match value {
        Value::Null => return false,
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        other => push_json(out, other),
    }
    true
}

/// Whether [`parse`] gives exactly this value back from its plain form.
pub(super) fn says_all(value: &Value) -> bool {
    match value {
        Value::Decimal { .. } | Value::Array(_) | Value::Table(_) => false,
        Value::F32(number) => number.is_finite(),
        Value::F64(number) => number.is_finite(),
        _ => true,
    }
}

/// The value of a type from its plain form, if it is one.
pub(super) fn parse(kind: u8, text: Option<&[u8]>) -> Option<Value> {
    let Some(bytes) = text else {
        return (kind == code::NULL).then_some(Value::Null);
    };
    if kind == code::BYTES {
        return Some(Value::Bytes(Bytes::copy_from_slice(bytes)));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    match kind {
        code::BOOL => text.parse().ok().map(Value::Bool),
        code::I8 => text.parse().ok().map(Value::I8),
        code::I16 => text.parse().ok().map(Value::I16),
        code::I32 => text.parse().ok().map(Value::I32),
        code::I64 => text.parse().ok().map(Value::I64),
        code::U8 => text.parse().ok().map(Value::U8),
        code::U16 => text.parse().ok().map(Value::U16),
        code::U32 => text.parse().ok().map(Value::U32),
        code::F32 => text.parse().ok().map(Value::F32),
        code::F64 => text.parse().ok().map(Value::F64),
        code::STRING => Some(Value::String(text.to_owned())),
        code::TIMESTAMP => text.parse().ok().map(|time| Value::Timestamp(Millis(time))),
        _ => None,
    }
}

/// The value of a header that nothing is known of.
pub(super) fn untyped(text: Option<&[u8]>) -> Value {
    match text {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::Bytes(Bytes::copy_from_slice(bytes)),
        },
    }
}

/// A decimal number without sign or leading zeros.
#[inline]
pub(super) fn natural(text: &[u8]) -> Option<i64> {
    if let &[digit @ b'0'..=b'9'] = text {
        return Some(i64::from(digit - b'0'));
    }
    let canonical = matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.len() <= 19;
    if !canonical {
        return None;
    }
    text.iter().try_fold(0i64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn push_json(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(set) => write!(out, "{set}").expect(IN_MEMORY),
        Value::I8(number) => write!(out, "{number}").expect(IN_MEMORY),
        Value::I16(number) => write!(out, "{number}").expect(IN_MEMORY),
        Value::I32(number) => write!(out, "{number}").expect(IN_MEMORY),
        Value::I64(number) => write!(out, "{number}").expect(IN_MEMORY),
        Value::U8(number) => write!(out, "{number}").expect(IN_MEMORY),
        Value::U16(number) => write!(out, "{number}").expect(IN_MEMORY),
        Value::U32(number) => write!(out, "{number}").expect(IN_MEMORY),
        Value::F32(number) => write!(out, "{number:?}").expect(IN_MEMORY),
        Value::F64(number) => write!(out, "{number:?}").expect(IN_MEMORY),
        Value::Decimal { scale, unscaled } => {
            write!(out, "{unscaled}e-{scale}").expect(IN_MEMORY);
        }
        Value::String(text) => push_quoted(out, text),
        Value::Bytes(bytes) => push_quoted(out, &String::from_utf8_lossy(bytes)),
        Value::Timestamp(time) => write!(out, "{time}").expect(IN_MEMORY),
        Value::Array(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                separate(out, at);
                push_json(out, value);
            }
            out.push(b']');
        }
        Value::Table(fields) => {
            out.push(b'{');
            for (at, (name, value)) in fields.iter().enumerate() {
                separate(out, at);
                push_quoted(out, name);
                out.push(b':');
                push_json(out, value);
            }
            out.push(b'}');
        }
    }
}

fn separate(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.push(b',');
    }
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => write!(out, "\\u{byte:04x}").expect(IN_MEMORY),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
