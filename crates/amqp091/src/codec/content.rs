//! Contents: the header of a message, its properties, and how a publish is put together.
//!
//! Source: AMQP 0-9-1 sections 2.3.5.2, 4.2.6.1 and 4.2.6.2.

#[cfg(test)]
mod tests;

use super::Table;
use super::method::{BASIC_CLASS, BASIC_PUBLISH};
use super::table::millis;
use super::wire;
use crate::errors::{Code, Exception, message_too_large};
use record::cursor::Cursor;
use record::properties::Properties;
use record::{Fault, Malformed};

/// Property flags, from the first property down.
pub(crate) mod flag {
    pub(crate) const CONTENT_TYPE: u16 = 1 << 15;
    pub(crate) const CONTENT_ENCODING: u16 = 1 << 14;
    pub(crate) const HEADERS: u16 = 1 << 13;
    pub(crate) const DELIVERY_MODE: u16 = 1 << 12;
    pub(crate) const PRIORITY: u16 = 1 << 11;
    pub(crate) const CORRELATION_ID: u16 = 1 << 10;
    pub(crate) const REPLY_TO: u16 = 1 << 9;
    pub(crate) const EXPIRATION: u16 = 1 << 8;
    pub(crate) const MESSAGE_ID: u16 = 1 << 7;
    pub(crate) const TIMESTAMP: u16 = 1 << 6;
    pub(crate) const KIND: u16 = 1 << 5;
    pub(crate) const USER_ID: u16 = 1 << 4;
    pub(crate) const APP_ID: u16 = 1 << 3;
    pub(crate) const CLUSTER_ID: u16 = 1 << 2;
    pub(crate) const UNDEFINED: u16 = 0b11;
}

/// Body bytes that are reserved before any have come.
const RESERVE_BYTES_MAX: usize = 1 << 20;

/// Capacity that an idle assembly keeps for the next body.
const KEEP_BYTES_MAX: usize = 256 << 10;

/// The payload of a header frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// Class of the method that it follows.
    pub class: u16,
    /// Bytes of the body that follows.
    pub body_bytes: u64,
    /// Property flags and list, as they came.
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Decodes the payload of a header frame; the properties are not looked at.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<ContentHeader<'a>, Malformed> {
        let mut cursor = Cursor::new(payload);
        let class = cursor.u16()?;
        let _weight = cursor.u16()?;
        let body_bytes = cursor.u64()?;
        Ok(ContentHeader { class, body_bytes, properties: cursor.rest() })
    }
}

/// The properties of a content, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content<'a> {
    /// All but the headers.
    pub properties: Properties<'a>,
    /// The headers table, if it is there; an empty one is not none.
    pub headers: Option<Table<'a>>,
    /// Whether `properties` and `headers` say all that there was.
    pub exact: bool,
}

impl<'a> Content<'a> {
    /// Decodes property flags and list.
    ///
    /// Fails where the list is shorter or longer than its flags say, or a flag has no meaning. The
    /// deprecated `cluster-id` is only remembered as not [`Content::exact`].
    #[inline]
    pub fn decode(properties: &'a [u8]) -> Result<Content<'a>, Malformed> {
        let mut cursor = Cursor::new(properties);
        let flags = cursor.u16()?;
        let mut content = Content { exact: true, ..Content::default() };
        if flags == flag::DELIVERY_MODE && cursor.left() == 1 {
            content.properties.delivery_mode = Some(cursor.u8()?);
            return Ok(content);
        }
        content.list(flags, &mut cursor)?;
        if cursor.left() > 0 {
            return Err(cursor.fault(Fault::Count));
        }
        Ok(content)
    }

    fn list(&mut self, flags: u16, cursor: &mut Cursor<'a>) -> Result<(), Malformed> {
        if flags & flag::UNDEFINED != 0 {
            return Err(cursor.fault(Fault::Invalid));
        }
        let has = |flag: u16| flags & flag != 0;
        let short = |cursor: &mut Cursor<'a>, flag: u16| match has(flag) {
            true => wire::short(cursor).map(Some),
            false => Ok(None),
        };
        let octet = |cursor: &mut Cursor<'a>, flag: u16| match has(flag) {
            true => cursor.u8().map(Some),
            false => Ok(None),
        };
        let properties = &mut self.properties;
        properties.content_type = short(cursor, flag::CONTENT_TYPE)?;
        properties.content_encoding = short(cursor, flag::CONTENT_ENCODING)?;
        if has(flag::HEADERS) {
            self.headers = Some(Table::of(wire::long(cursor)?));
        }
        properties.delivery_mode = octet(cursor, flag::DELIVERY_MODE)?;
        properties.priority = octet(cursor, flag::PRIORITY)?;
        properties.correlation_id = short(cursor, flag::CORRELATION_ID)?;
        properties.reply_to = short(cursor, flag::REPLY_TO)?;
        properties.expiration = short(cursor, flag::EXPIRATION)?;
        properties.message_id = short(cursor, flag::MESSAGE_ID)?;
        if has(flag::TIMESTAMP) {
            properties.timestamp = millis(cursor.u64()?);
            self.exact &= properties.timestamp.is_some();
        }
        properties.kind = short(cursor, flag::KIND)?;
        properties.user_id = short(cursor, flag::USER_ID)?;
        properties.app_id = short(cursor, flag::APP_ID)?;
        self.exact &= short(cursor, flag::CLUSTER_ID)?.is_none();
        Ok(())
    }

    /// Appends flags and list; `headers` writes the table, where there is one.
    pub(crate) fn push(
        out: &mut Vec<u8>,
        properties: &Properties<'_>,
        headers: Option<impl FnOnce(&mut Vec<u8>)>,
    ) {
        let start = out.len();
        let mut flags = 0;
        out.extend_from_slice(&[0; 2]);
        let mut short = |out: &mut Vec<u8>, flag: u16, value: Option<&[u8]>| {
            if let Some(value) = value {
                flags |= flag;
                wire::push_short(out, value);
            }
        };
        short(out, flag::CONTENT_TYPE, properties.content_type);
        short(out, flag::CONTENT_ENCODING, properties.content_encoding);
        let tabled = headers.map(|headers| headers(out)).map_or(0, |()| flag::HEADERS);
        let octets = [
            (flag::DELIVERY_MODE, properties.delivery_mode),
            (flag::PRIORITY, properties.priority),
        ];
        let mut octet_flags = 0;
        for (flag, octet) in octets {
            if let Some(octet) = octet {
                octet_flags |= flag;
                out.push(octet);
            }
        }
        short(out, flag::CORRELATION_ID, properties.correlation_id);
        short(out, flag::REPLY_TO, properties.reply_to);
        short(out, flag::EXPIRATION, properties.expiration);
        short(out, flag::MESSAGE_ID, properties.message_id);
        let stamped = properties.timestamp.map_or(0, |time| {
            out.extend_from_slice(&super::table::seconds(time).to_be_bytes());
            flag::TIMESTAMP
        });
        short(out, flag::KIND, properties.kind);
        short(out, flag::USER_ID, properties.user_id);
        short(out, flag::APP_ID, properties.app_id);
        let flags: u16 = flags | tabled | octet_flags | stamped;
        out[start..start + 2].copy_from_slice(&flags.to_be_bytes());
    }
}

/// One complete publish, borrowed from the input and the assembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    /// Where to; the default exchange is empty.
    pub exchange: &'a str,
    /// With which key.
    pub routing_key: &'a str,
    /// To be returned when it reaches no queue.
    pub mandatory: bool,
    /// Property flags and list; see [`Content::decode`].
    pub properties: &'a [u8],
    /// The whole body.
    pub body: &'a [u8],
}

/// Puts the frames of publishes together, one after another; one per channel.
///
/// A body in one frame is not copied; one in many is collected, and memory grows only with what
/// has come.
#[derive(Debug, Default)]
pub struct Assembly {
    phase: Phase,
    exchange: String,
    routing_key: String,
    mandatory: bool,
    properties: Vec<u8>,
    body: Vec<u8>,
    body_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Method,
    Header,
    Body,
}

impl Assembly {
    /// Whether a method is due next, rather than the rest of a content.
    #[inline]
    pub fn idle(&self) -> bool {
        self.phase == Phase::Method
    }

    /// 505: a frame that is not what is due next.
    pub fn unexpected(&self) -> Exception {
        let (text, id) = match self.phase {
            Phase::Method => ("expected method frame, got non method frame instead", (0, 0)),
            Phase::Header => (
                "expected content header for class 60, got non content header frame instead",
                BASIC_PUBLISH,
            ),
            Phase::Body => {
                ("expected content body, got non content body frame instead", BASIC_PUBLISH)
            }
        };
        Exception::new(Code::UnexpectedFrame, text).in_method(id)
    }

    /// Takes a basic.publish. Only when [`Assembly::idle`].
    #[inline]
    pub fn publish(&mut self, exchange: &str, routing_key: &str, mandatory: bool) {
        self.exchange.clear();
        self.exchange.push_str(exchange);
        self.routing_key.clear();
        self.routing_key.push_str(routing_key);
        self.mandatory = mandatory;
        self.phase = Phase::Header;
    }

    /// Takes the payload of a header frame; gives the publication if there is no body.
    ///
    /// A body above `body_bytes_max` is refused with 406, before any of it has come.
    #[inline]
    pub fn header(
        &mut self,
        payload: &[u8],
        body_bytes_max: u64,
    ) -> Result<Option<Publication<'_>>, Exception> {
        if self.phase != Phase::Header {
            return Err(self.unexpected());
        }
        let header = ContentHeader::decode(payload).map_err(|_| malformed_header())?;
        if header.class != BASIC_CLASS {
            return Err(other_class(header.class));
        }
        if header.body_bytes > body_bytes_max {
            return Err(
                message_too_large(header.body_bytes, body_bytes_max).in_method(BASIC_PUBLISH)
            );
        }
        self.properties.clear();
        self.properties.extend_from_slice(header.properties);
        self.body.clear();
        self.body_bytes = header.body_bytes as usize;
        if self.body_bytes == 0 {
            self.phase = Phase::Method;
            return Ok(Some(self.publication(&[])));
        }
        self.phase = Phase::Body;
        Ok(None)
    }

    /// Takes the payload of a body frame; gives the publication once it is complete.
    #[inline]
    pub fn body<'a>(&'a mut self, payload: &'a [u8]) -> Result<Option<Publication<'a>>, Exception> {
        if self.phase != Phase::Body {
            return Err(self.unexpected());
        }
        let due_bytes = self.body_bytes - self.body.len();
        if payload.len() > due_bytes {
            return Err(body_exceeds());
        }
        if payload.len() == self.body_bytes {
            self.phase = Phase::Method;
            return Ok(Some(self.publication(payload)));
        }
        if self.body.is_empty() {
            self.body.shrink_to(KEEP_BYTES_MAX);
            self.body.reserve(self.body_bytes.min(RESERVE_BYTES_MAX));
        }
        self.body.extend_from_slice(payload);
        if payload.len() < due_bytes {
            return Ok(None);
        }
        self.phase = Phase::Method;
        Ok(Some(self.publication(&self.body)))
    }

    /// Bytes of a body of which more is to come.
    pub fn held_bytes(&self) -> usize {
        if self.phase == Phase::Body { self.body.len() } else { 0 }
    }

    /// Forgets a content under way, as when its channel is closed.
    pub fn reset(&mut self) {
        *self = Assembly::default();
    }

    #[inline]
    fn publication<'a>(&'a self, body: &'a [u8]) -> Publication<'a> {
        Publication {
            exchange: &self.exchange,
            routing_key: &self.routing_key,
            mandatory: self.mandatory,
            properties: &self.properties,
            body,
        }
    }
}

#[cold]
fn malformed_header() -> Exception {
    Exception::new(Code::FrameError, "cannot decode content header").in_method(BASIC_PUBLISH)
}

#[cold]
fn other_class(class: u16) -> Exception {
    let text = format!("expected content header for class 60, got one for class {class} instead");
    Exception::new(Code::UnexpectedFrame, text).in_method(BASIC_PUBLISH)
}

#[cold]
fn body_exceeds() -> Exception {
    let text = "content body frame exceeds remaining content size";
    Exception::new(Code::FrameError, text).in_method(BASIC_PUBLISH)
}
