//! The header `x-delay`: how long a message waits at an exchange that delays.
//!
//! Source: RabbitMQ's delayed message exchange: integers, texts of integers, and floats, in
//! milliseconds; what is not above zero does not wait. A message that has waited says so: the header
//! is the negative of what it was.

use crate::codec::Content;
use record::properties::Value;
use types::Millis;

/// The header.
pub(crate) const DELAY: &str = "x-delay";

/// How long a message with this header waits, if it does.
pub(crate) fn delay_of(value: &Value) -> Option<Millis> {
    let delay = match value {
        Value::String(text) => text.parse().ok()?,
        Value::F32(number) => *number as i64,
        Value::F64(number) => *number as i64,
        other => other.as_i64()?,
    };
    (delay > 0).then_some(Millis(delay))
}

/// The header of a message that has waited: of 32 bits as RabbitMQ's where that holds it.
pub(crate) fn waited(delay: Millis) -> Value {
    let negative = delay.0.saturating_neg();
    i32::try_from(negative).map_or(Value::I64(negative), Value::I32)
}

/// How long a message waits, and the property flags and list with which it is delivered then.
///
/// `None`: it does not wait, or its properties do not decode.
pub(crate) fn delayed(properties: &[u8]) -> Option<(Millis, Vec<u8>)> {
    let table = Content::decode(properties).ok()?.headers?;
    let fields = table.raw().filter_map(Result::ok);
    let (name, raw) = fields.into_iter().find(|(name, _)| *name == DELAY.as_bytes())?;
    let delay = delay_of(&raw.decode().ok()?)?;
    let place = |part: &[u8]| part.as_ptr().addr() - properties.as_ptr().addr();
    let (first, last) = (place(name) + name.len(), place(raw.bytes) + raw.bytes.len());
    let start = place(table.bytes());
    let mut value = Vec::new();
    crate::codec::table::push_value(&mut value, &waited(delay));
    let length = table.bytes().len() - (last - first) + value.len();
    let mut out = Vec::with_capacity(properties.len() + value.len());
    out.extend_from_slice(&properties[..start - 4]);
    out.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    out.extend_from_slice(&properties[start..first]);
    out.extend_from_slice(&value);
    out.extend_from_slice(&properties[last..]);
    Some((delay, out))
}
