//! The headers by which a message is taken once.
//!
//! Source: RabbitMQ's message deduplication plugin: `x-deduplication-header` is what tells a message
//! from others, of whatever type; `x-cache-ttl` is how long an exchange remembers it, in milliseconds.

use engine::api::{MessageId, Once};
use engine::catalog::{Dedup, Remembered, RouterId};
use record::properties::Value;
use types::Millis;

/// Header with a message's id.
pub(crate) const ID: &str = "x-deduplication-header";

/// Header, and argument of an exchange, with how long an id is remembered.
pub(crate) const TTL: &str = "x-cache-ttl";

/// How a message with these headers is known again; `within`: the exchange that remembers it.
pub(crate) fn once_of(
    header: impl Fn(&str) -> Option<Value>,
    within: Option<(RouterId, Dedup)>,
) -> Option<Once> {
    let id = header(ID).filter(|id| *id != Value::Null)?;
    let within = within.map(|(router, dedup)| {
        let remembered = header(TTL).and_then(|ttl| milliseconds(&ttl)).map(Remembered::For);
        (router, Dedup { remembered: remembered.unwrap_or(dedup.remembered), ..dedup })
    });
    Some(Once { id: MessageId::of(&spelled(&id)), within })
}

/// That of an id which is text.
pub(crate) fn id_of_text(text: &[u8]) -> MessageId {
    MessageId::of_parts(&[b"S", text])
}

/// A time above zero, as a number or its text.
pub(crate) fn milliseconds(value: &Value) -> Option<Millis> {
    let time = match value {
        Value::String(text) => text.parse().ok()?,
        other => other.as_i64()?,
    };
    (time > 0).then_some(Millis(time))
}

/// Bytes that are equal when ids are: integers by value whatever their width.
fn spelled(id: &Value) -> Vec<u8> {
    match id {
        Value::String(text) => [b"S", text.as_bytes()].concat(),
        Value::Bytes(bytes) => [b"S", &bytes[..]].concat(),
        other => match other.as_i64() {
            Some(number) => [&b"l"[..], &number.to_be_bytes()].concat(),
            None => {
                let mut bytes = Vec::new();
                crate::codec::table::push_value(&mut bytes, other);
                bytes
            }
        },
    }
}
