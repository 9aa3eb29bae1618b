//! A record as basic.deliver, basic.get-ok or basic.return and the content after it.

use super::headers;
use crate::codec::content::flag;
use crate::codec::frame::{self, FrameKind, OVERHEAD_BYTES};
use crate::codec::method::BASIC_CLASS;
use crate::codec::{Content, Method, Publication, table};
use crate::errors::Code;
use record::properties::{self, Decoded, Origin, Value};
use record::tail::TailView;
use types::{Millis, Offset};

/// Bytes that frames and fields of a delivery take besides names, properties and body.
const DELIVERY_OVERHEAD_BYTES: usize = 96;

/// A record on its way to a client.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(super) tail: TailView<'a>,
    pub(super) decoded: Decoded<'a>,
    pub(super) timestamp: Millis,
    pub(super) position: Option<(i32, Offset)>,
    pub(super) annotations: &'a [(&'a str, Value)],
    exchange: &'a str,
    routing_key: &'a str,
}

impl<'a> Message<'a> {
    /// A record of the queue or topic `name`, with its timestamp.
    #[inline]
    pub fn new(name: &'a str, timestamp: Millis, tail: TailView<'a>) -> Message<'a> {
        let decoded = properties::decode(tail.headers);
        let exchange = decoded.address.exchange.map_or("", text);
        let routing_key = decoded.address.routing_key.map_or(name, text);
        let (position, annotations) = (None, &[][..]);
        Message { tail, decoded, timestamp, position, annotations, exchange, routing_key }
    }

    /// Tells its place in a topic.
    #[must_use]
    pub fn at(self, partition: i32, offset: Offset) -> Message<'a> {
        Message { position: Some((partition, offset)), ..self }
    }

    /// Adds headers of the broker's, such as `x-delivery-count`.
    #[must_use]
    pub fn annotated(self, annotations: &'a [(&'a str, Value)]) -> Message<'a> {
        Message { annotations, ..self }
    }

    /// Its exchange; the default one for a record that no AMQP client published.
    #[inline]
    pub fn exchange(&self) -> &'a str {
        self.exchange
    }

    /// Its routing key; the name of its queue or topic for a record that has none.
    #[inline]
    pub fn routing_key(&self) -> &'a str {
        self.routing_key
    }

    /// Its body; empty where the value is null.
    pub fn body(&self) -> &'a [u8] {
        self.tail.value.unwrap_or_default()
    }

    /// Published by another protocol.
    pub(super) fn foreign(&self) -> bool {
        self.decoded.address.exchange.is_none() || self.decoded.origin == Some(Origin::Kafka)
    }

    /// Its properties as it came, if they were kept and nothing is to be added.
    #[inline]
    fn raw(&self) -> Option<&'a [u8]> {
        let ours = self.decoded.origin == Some(Origin::Amqp091);
        self.decoded.raw.filter(|raw| ours && !raw.is_empty())
    }

    /// Appends property flags and list.
    #[inline]
    fn push_properties(&self, out: &mut Vec<u8>) {
        if let Some(raw) = self.raw()
            && let Ok(content) = Content::decode(raw)
        {
            return self.push_raw(out, raw, &content);
        }
        let mut properties = self.decoded.properties;
        if !self.foreign() && !headers::needed(self) {
            return Content::push(out, &properties, None::<fn(&mut Vec<u8>)>);
        }
        if self.foreign() && properties.timestamp.is_none() && self.timestamp.0 >= 0 {
            properties.timestamp = Some(self.timestamp);
        }
        let overlong = headers::take_overlong(&mut properties);
        let push = |out: &mut Vec<u8>| headers::push(out, self, &overlong);
        Content::push(out, &properties, Some(push));
    }

    /// Appends the properties as they came, with the headers that are added in their place.
    fn push_raw(&self, out: &mut Vec<u8>, raw: &[u8], content: &Content<'_>) {
        let told = self.position.is_some() || !self.annotations.is_empty();
        if !told {
            return out.extend_from_slice(raw);
        }
        // The key and a null value are in the raw headers already.
        let message =
            Message { tail: TailView { key: None, value: Some(&[]), ..self.tail }, ..*self };
        let flags = u16::from_be_bytes([raw[0], raw[1]]);
        out.extend_from_slice(&(flags | flag::HEADERS).to_be_bytes());
        let properties = &content.properties;
        let before: usize = [properties.content_type, properties.content_encoding]
            .iter()
            .flatten()
            .map(|text| 1 + text.len())
            .sum();
        let (before, rest) = raw[2..].split_at(before);
        out.extend_from_slice(before);
        let start = table::begin(out);
        let table_bytes = content.headers.map_or(0, |table| {
            out.extend_from_slice(table.bytes());
            4 + table.bytes().len()
        });
        headers::push_added(out, &message);
        table::end(out, start);
        out.extend_from_slice(&rest[table_bytes..]);
    }
}

/// Appends methods with a content to the output of one channel.
#[derive(Debug)]
pub struct ContentWriter<'o> {
    /// Where frames are appended.
    pub out: &'o mut Vec<u8>,
    /// The channel.
    pub channel: u16,
    /// The negotiated limit, in bytes.
    pub frame_bytes_max: u32,
}

impl ContentWriter<'_> {
    /// Appends basic.deliver and its content.
    #[inline]
    pub fn deliver(
        &mut self,
        consumer_tag: &str,
        delivery_tag: u64,
        redelivered: bool,
        message: &Message<'_>,
    ) {
        let names = consumer_tag.len() + message.exchange().len() + message.routing_key().len();
        self.out.reserve(DELIVERY_OVERHEAD_BYTES + names + message.body().len());
        let method = Method::BasicDeliver {
            consumer_tag,
            delivery_tag,
            redelivered,
            exchange: message.exchange(),
            routing_key: message.routing_key(),
        };
        frame::push_method(self.out, self.channel, &method);
        self.content(message);
    }

    /// Appends basic.get-ok and its content.
    pub fn get_ok(
        &mut self,
        delivery_tag: u64,
        redelivered: bool,
        message_count: u32,
        message: &Message<'_>,
    ) {
        let method = Method::BasicGetOk {
            delivery_tag,
            redelivered,
            exchange: message.exchange(),
            routing_key: message.routing_key(),
            message_count,
        };
        frame::push_method(self.out, self.channel, &method);
        self.content(message);
    }

    /// Appends basic.return and the content as it came.
    pub fn returned(&mut self, code: Code, publication: &Publication<'_>) {
        let method = Method::BasicReturn {
            reply_code: code.number(),
            reply_text: code.name(),
            exchange: publication.exchange,
            routing_key: publication.routing_key,
        };
        frame::push_method(self.out, self.channel, &method);
        let mark = self.begin_header(publication.body.len());
        self.out.extend_from_slice(publication.properties);
        frame::end(self.out, mark);
        frame::push_body(self.out, self.channel, publication.body, self.frame_bytes_max);
    }

    #[inline]
    fn content(&mut self, message: &Message<'_>) {
        let body = message.body();
        let start = self.out.len();
        let mark = self.begin_header(body.len());
        message.push_properties(self.out);
        frame::end(self.out, mark);
        if self.out.len() - start > self.frame_bytes_max as usize {
            self.out.truncate(start);
            self.short_header(message);
        }
        frame::push_body(self.out, self.channel, body, self.frame_bytes_max);
    }

    #[inline]
    fn begin_header(&mut self, body_bytes: usize) -> frame::Mark {
        let mark = frame::begin(self.out, FrameKind::Header, self.channel);
        let mut fixed = [0; 12];
        fixed[..2].copy_from_slice(&BASIC_CLASS.to_be_bytes());
        fixed[4..].copy_from_slice(&(body_bytes as u64).to_be_bytes());
        self.out.extend_from_slice(&fixed);
        mark
    }

    /// A header frame for headers that fit none: a record of Kafka may have more than a frame holds.
    #[cold]
    fn short_header(&mut self, message: &Message<'_>) {
        let mark = self.begin_header(message.body().len());
        let mut properties = message.decoded.properties;
        let _left_out = headers::take_overlong(&mut properties);
        let push = |out: &mut Vec<u8>| headers::push_omitted(out, message);
        Content::push(self.out, &properties, Some(push));
        frame::end(self.out, mark);
    }
}

/// Text of a name; what is not UTF-8 (only another protocol can have sent it) is empty.
#[inline]
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

const _: () = assert!(frame::FRAME_BYTES_MIN as usize > 10 * 256 + OVERHEAD_BYTES + 200);
