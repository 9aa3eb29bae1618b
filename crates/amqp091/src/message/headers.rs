//! The headers table of a delivery.

use super::{
    KAFKA_KEY, KAFKA_OFFSET, KAFKA_PARTITION, KAFKA_PREFIX, KAFKA_TIMESTAMP, KAFKA_VALUE_NULL,
    Message, deaths,
};
use crate::codec::table;
use crate::codec::wire::{self, SHORT_BYTES_MAX};
use record::properties::{Origin, Properties, UserHeader, Value};
use std::collections::BTreeMap;

/// Properties too long for a short string, which become headers instead.
pub(super) type Overlong<'a> = Vec<(&'static str, &'a [u8])>;

/// Moves what no short string holds out of the properties.
pub(super) fn take_overlong<'a>(properties: &mut Properties<'a>) -> Overlong<'a> {
    let slots = [
        ("message-id", &mut properties.message_id),
        ("correlation-id", &mut properties.correlation_id),
        ("reply-to", &mut properties.reply_to),
        ("content-type", &mut properties.content_type),
        ("content-encoding", &mut properties.content_encoding),
        ("type", &mut properties.kind),
        ("app-id", &mut properties.app_id),
        ("user-id", &mut properties.user_id),
        ("expiration", &mut properties.expiration),
    ];
    let mut overlong = Vec::new();
    for (name, slot) in slots {
        if slot.is_some_and(|value| value.len() > SHORT_BYTES_MAX)
            && let Some(value) = slot.take()
        {
            overlong.push((name, value));
        }
    }
    overlong
}

/// Whether the record says anything that only a headers table can.
pub(super) fn needed(message: &Message<'_>) -> bool {
    message.decoded.user_count > 0 || message.decoded.raw.is_some() || added(message)
}

/// Whether headers are added to those of the publisher.
pub(super) fn added(message: &Message<'_>) -> bool {
    message.tail.key.is_some()
        || message.tail.value.is_none()
        || message.position.is_some()
        || message.foreign()
        || message.decoded.died()
        || !message.annotations.is_empty()
}

/// Appends all headers of a delivery as a table.
pub(super) fn push(out: &mut Vec<u8>, message: &Message<'_>, overlong: &Overlong<'_>) {
    let start = table::begin(out);
    for (name, text) in overlong {
        push_text(out, name.as_bytes(), text);
    }
    let died = message.decoded.died();
    let from_amqp = message.decoded.origin.is_some_and(|origin| origin != Origin::Kafka);
    if !from_amqp && message.decoded.user_count > 1 {
        push_folded(out, message);
    } else {
        let user = message.decoded.user().filter(|header| !(died && deaths::tells(header.name)));
        user.for_each(|header| push_header(out, &header));
    }
    push_added(out, message);
    table::end(out, start);
}

/// Appends what the publisher did not say: the record's own, and what the broker has to tell.
pub(super) fn push_added(out: &mut Vec<u8>, message: &Message<'_>) {
    if let Some(key) = message.tail.key {
        push_text(out, KAFKA_KEY.as_bytes(), key);
    }
    if message.tail.value.is_none() {
        table::push_field(out, KAFKA_VALUE_NULL, &Value::Bool(true));
    }
    if let Some((partition, offset)) = message.position {
        table::push_field(out, KAFKA_PARTITION, &Value::I32(partition));
        table::push_field(out, KAFKA_OFFSET, &Value::I64(offset.0));
    }
    if message.foreign() {
        table::push_field(out, KAFKA_TIMESTAMP, &Value::I64(message.timestamp.0));
    }
    if let Some(history) = message.decoded.history() {
        deaths::push(out, &history);
    }
    for (name, value) in message.annotations {
        table::push_field(out, name, value);
    }
}

/// Appends only the count of the headers that were left out, because they fit no frame.
pub(super) fn push_omitted(out: &mut Vec<u8>, message: &Message<'_>) {
    let start = table::begin(out);
    let count = message.decoded.user_count as i64;
    table::push_field(out, "x-headers-omitted", &Value::I64(count));
    if let Some((partition, offset)) = message.position {
        table::push_field(out, KAFKA_PARTITION, &Value::I32(partition));
        table::push_field(out, KAFKA_OFFSET, &Value::I64(offset.0));
    }
    table::end(out, start);
}

/// Appends each name once, in the order of its first header; one that repeats is an array.
fn push_folded(out: &mut Vec<u8>, message: &Message<'_>) {
    let died = message.decoded.died();
    let told = message.decoded.user().filter(|header| !(died && deaths::tells(header.name)));
    let headers: Vec<UserHeader<'_>> = told.collect();
    let mut places: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for (at, header) in headers.iter().enumerate() {
        places.entry(header.name).or_default().push(at);
    }
    for (at, header) in headers.iter().enumerate() {
        let same = &places[header.name];
        if same.len() == 1 {
            push_header(out, header);
        } else if same[0] == at {
            wire::push_short(out, header.name);
            let values = same.iter().map(|&at| headers[at].value()).collect();
            table::push_value(out, &Value::Array(values));
        }
    }
}

fn push_header(out: &mut Vec<u8>, header: &UserHeader<'_>) {
    let ours = header.name.starts_with(KAFKA_PREFIX)
        && [KAFKA_PARTITION, KAFKA_OFFSET, KAFKA_TIMESTAMP]
            .iter()
            .any(|name| name.as_bytes() == header.name);
    match (header.mark, header.text) {
        // Where a message was before, if it was in a topic; it is told anew where it is now.
        _ if ours => {}
        (None, Some(text)) => push_text(out, header.name, text),
        _ => {
            wire::push_short(out, header.name);
            table::push_value(out, &header.value());
        }
    }
}

/// Appends a string, or bytes if it is not UTF-8.
fn push_text(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    let kind = if std::str::from_utf8(text).is_ok() { b'S' } else { b'x' };
    table::push_bytes_field(out, name, kind, text);
}
