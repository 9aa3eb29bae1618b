//! Publications to record tails, and records to deliveries.
//!
//! The properties and headers of a publish become the headers of a record as `record::properties`
//! lays them out. What that cannot give back exactly (text that is not UTF-8, `cluster-id`,
//! timestamps beyond our range) is kept raw beside it. A raw section of no bytes says that there was
//! a headers table and that it was empty.
//!
//! What a record has and a message has not is told in headers: `x-kafka-key`, and
//! `x-kafka-value-null` where the value is null rather than empty; a publisher may set both. A record
//! that no AMQP client published also has `x-kafka-timestamp` (milliseconds), and one read from a topic
//! `x-kafka-partition` and `x-kafka-offset`. Header names that repeat in such a record become one
//! array under that name.

mod deaths;
mod delay;
mod delivery;
mod expected;
mod headers;
mod once;

#[cfg(test)]
mod tests;

use crate::codec::method::BASIC_PUBLISH;
use crate::codec::{Content, Publication, Table};
use crate::errors::{Code, Exception, invalid_expiration};
use record::properties::{self, Address, Block, Origin, Scalar, Value};
use record::{Malformed, tail};
use smallvec::SmallVec;

pub(crate) use delay::{DELAY, delay_of, delay_of_raw, waited};
pub use delivery::{ContentWriter, Message};
pub(crate) use expected::expected;
pub(crate) use once::{ID, TTL, id_of_text, milliseconds, once_of};

/// Header with the key of the record.
pub const KAFKA_KEY: &str = "x-kafka-key";

/// Header, true where the value of the record is null.
pub const KAFKA_VALUE_NULL: &str = "x-kafka-value-null";

/// Header with the partition of the record.
pub const KAFKA_PARTITION: &str = "x-kafka-partition";

/// Header with the offset of the record.
pub const KAFKA_OFFSET: &str = "x-kafka-offset";

/// Header with the timestamp of the record, in milliseconds.
pub const KAFKA_TIMESTAMP: &str = "x-kafka-timestamp";

/// What the names of the headers above begin with.
const KAFKA_PREFIX: &[u8] = b"x-kafka-";

/// Header with more routing keys, delivered.
const CC: &[u8] = b"CC";

/// Header with more routing keys, not delivered.
const BCC: &[u8] = b"BCC";

/// Most headers that are looked at as plain before they are decoded.
const PLAIN_COUNT_MAX: usize = 16;

/// Longest time to live: ten years, in milliseconds.
const EXPIRY_MS_MAX: i64 = 315_360_000_000;

/// Appends the tail of the record that a publication becomes; the body is copied once, into it.
///
/// `content`: the decoded properties of the publication; a `reply_to` that was replaced in it is the
/// one that is stored. `waits`: the record says what a message that has waited says.
/// Fails with 502 when the headers table does not decode.
pub fn push_tail(
    out: &mut Vec<u8>,
    publication: &Publication<'_>,
    content: &Content<'_>,
    waits: bool,
) -> Result<(), Exception> {
    let address = Address {
        exchange: Some(publication.exchange.as_bytes()),
        routing_key: Some(publication.routing_key.as_bytes()),
    };
    if content.exact {
        let mut plain = Plain::default();
        if content.headers.is_none_or(|table| plain.fill(table, waits)) {
            tail::push_bytes(out, None);
            tail::push_bytes(out, Some(publication.body));
            let (properties, origin) = (&content.properties, Origin::Amqp091);
            properties::push_scalars(out, properties, &address, origin, &plain.list);
            return Ok(());
        }
    }
    if waits && let Some(properties) = delay::delayed(publication.properties) {
        let malformed = |malformed| bad_headers(&malformed);
        let mut content_then = Content::decode(&properties).map_err(malformed)?;
        content_then.properties.reply_to = content.properties.reply_to;
        let told = Publication { properties: &properties, ..*publication };
        return push_typed(out, &told, &content_then, address).map_err(malformed);
    }
    push_typed(out, publication, content, address).map_err(|malformed| bad_headers(&malformed))
}

/// What headers ask of whoever routes the message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The routing keys that CC and BCC add.
    pub copies: Vec<String>,
    /// It is taken only if a record is the last one.
    pub expects: bool,
}

/// What the headers ask for; 406 unless CC and BCC are arrays of strings.
pub fn asked(content: &Content<'_>) -> Result<Asked, Exception> {
    let mut asked = Asked::default();
    let Some(table) = content.headers else {
        return Ok(asked);
    };
    for field in table.raw() {
        let (name, raw) = field.map_err(|malformed| bad_headers(&malformed))?;
        if name != CC && name != BCC {
            asked.expects |= name == expected::EXPECT.as_bytes();
            continue;
        }
        let value = raw.decode().map_err(|malformed| bad_headers(&malformed))?;
        let Value::Array(values) = value else {
            return Err(bad_copies(name));
        };
        for value in values {
            match value {
                Value::String(key) => asked.copies.push(key),
                _ => return Err(bad_copies(name)),
            }
        }
    }
    Ok(asked)
}

/// The time to live that the expiration property asks for, in milliseconds; 406 if it is not one.
pub fn expiration_ms(content: &Content<'_>) -> Result<Option<i64>, Exception> {
    let Some(bytes) = content.properties.expiration else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(bytes);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let refused = |why: String| Err(invalid_expiration(&text, &why).in_method(BASIC_PUBLISH));
    if end == 0 {
        return refused("no_integer".to_owned());
    }
    if end < digits.len() {
        return refused(format!("{{leftover_string,\"{}\"}}", &digits[end..]));
    }
    match text.parse::<i64>() {
        Ok(span) if span < 0 => refused(format!("{{value_negative,{span}}}")),
        Ok(span) if span <= EXPIRY_MS_MAX => Ok(Some(span)),
        _ => refused(format!("{{value_too_large,{text}}}")),
    }
}

/// Headers that are all text or whole numbers, as most are.
#[derive(Default)]
struct Plain<'a> {
    list: SmallVec<[(&'a [u8], Scalar<'a>); PLAIN_COUNT_MAX]>,
}

impl<'a> Plain<'a> {
    /// Whether the table is not empty and holds nothing but text and numbers that plain headers and
    /// their marks say exactly. `waits`: the delay is what it is when the message has waited.
    fn fill(&mut self, table: Table<'a>, waits: bool) -> bool {
        for field in table.raw() {
            let Ok((name, raw)) = field else {
                return false;
            };
            let plain = self.list.len() < PLAIN_COUNT_MAX
                && name != BCC
                && !name.starts_with(KAFKA_PREFIX)
                && !properties::reserved(name)
                && !self.list.iter().any(|&(other, _)| other == name)
                && std::str::from_utf8(name).is_ok();
            let value = match waits && name == DELAY.as_bytes() {
                true => delay_of_raw(&raw).map(delay::waited_scalar),
                false => raw.scalar(),
            };
            let (true, Some(value)) = (plain, value) else {
                return false;
            };
            self.list.push((name, value));
        }
        !self.list.is_empty()
    }
}

fn push_typed(
    out: &mut Vec<u8>,
    publication: &Publication<'_>,
    content: &Content<'_>,
    address: Address<'_>,
) -> Result<(), Malformed> {
    let mut fields = content.headers.unwrap_or_default().decode()?;
    let exact = fields.exact && content.exact;
    let list = &mut fields.list;
    let copies = copies(list);
    let hidden = take(list, |name, _| name.as_bytes() == BCC).is_some();
    while hidden && take(list, |name, _| name.as_bytes() == BCC).is_some() {}
    let key = take(list, |name, value| {
        name == KAFKA_KEY && matches!(value, Value::String(_) | Value::Bytes(_))
    });
    let null = publication.body.is_empty()
        && take(list, |name, value| name == KAFKA_VALUE_NULL && *value == Value::Bool(true))
            .is_some();

    let as_it_came = || {
        let original = Content::decode(publication.properties)?;
        let same = original.properties.reply_to == content.properties.reply_to;
        Ok::<_, Malformed>((same && !hidden).then_some(publication.properties))
    };
    let raw = match (exact, list.is_empty() && content.headers.is_some()) {
        (false, _) => as_it_came()?,
        (true, true) => Some(&[][..]),
        (true, false) => None,
    };
    let key = key.as_ref().map(|value| match value {
        Value::String(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        _ => &[],
    });
    tail::push_bytes(out, key);
    tail::push_bytes(out, (!null).then_some(publication.body));
    let block = Block {
        properties: content.properties,
        address,
        user: list,
        origin: Origin::Amqp091,
        raw,
        copies: &copies,
    };
    properties::push(out, &block)
}

/// The further routing keys, and whether each is hidden.
fn copies(list: &[(String, Value)]) -> Vec<(String, bool)> {
    let mut copies = Vec::new();
    for (name, value) in list {
        let hidden = name.as_bytes() == BCC;
        if let Value::Array(keys) = value
            && (hidden || name.as_bytes() == CC)
        {
            copies.extend(keys.iter().filter_map(|key| Some((key.as_str()?.to_owned(), hidden))));
        }
    }
    copies
}

/// Removes and gives the first field that is meant.
fn take(list: &mut Vec<(String, Value)>, meant: impl Fn(&str, &Value) -> bool) -> Option<Value> {
    let at = list.iter().position(|(name, value)| meant(name, value))?;
    Some(list.remove(at).1)
}

#[cold]
fn bad_headers(malformed: &Malformed) -> Exception {
    Exception::new(Code::SyntaxError, format!("message headers: {malformed}"))
        .in_method(BASIC_PUBLISH)
}

#[cold]
fn bad_copies(name: &[u8]) -> Exception {
    let name = String::from_utf8_lossy(name);
    let text = format!("invalid message: {{unacceptable_type_in_header,\"{name}\"}}");
    Exception::new(Code::PreconditionFailed, text).in_method(BASIC_PUBLISH)
}
