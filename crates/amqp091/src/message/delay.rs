//! The header `x-delay`: how long a message waits at an exchange that delays.
//!
//! Source: RabbitMQ's delayed message exchange: integers, texts of integers, and floats, in
//! milliseconds; what is not above zero does not wait. A message that has waited says so: the header
//! is the negative of what it was.

use crate::codec::Content;
use crate::codec::table::RawValue;
use record::properties::{Scalar, Value};
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

/// As [`delay_of`], of a header that is not decoded.
pub(crate) fn delay_of_raw(raw: &RawValue<'_>) -> Option<Millis> {
    let number = match raw.scalar() {
        Some(Scalar::I32(number)) => number.into(),
        Some(Scalar::I64(number)) => number,
        _ => return delay_of(&raw.decode().ok()?),
    };
    (number > 0).then_some(Millis(number))
}

/// The header of a message that has waited: of 32 bits as RabbitMQ's where that holds it.
pub(crate) fn waited(delay: Millis) -> Value {
    match waited_scalar(delay) {
        Scalar::I32(negative) => Value::I32(negative),
        _ => Value::I64(delay.0.saturating_neg()),
    }
}

/// As [`waited`].
pub(super) fn waited_scalar(delay: Millis) -> Scalar<'static> {
    let negative = delay.0.saturating_neg();
    i32::try_from(negative).map_or(Scalar::I64(negative), Scalar::I32)
}

/// The property flags and list with which a message that waits is delivered then.
///
/// `None`: it does not wait, or its properties do not decode.
pub(super) fn delayed(properties: &[u8]) -> Option<Vec<u8>> {
    let table = Content::decode(properties).ok()?.headers?;
    let fields = table.raw().filter_map(Result::ok);
    let (name, raw) = fields.into_iter().find(|(name, _)| *name == DELAY.as_bytes())?;
    let delay = delay_of_raw(&raw)?;
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
    Some(out)
}
