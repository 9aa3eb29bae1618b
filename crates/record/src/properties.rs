//! What a message says besides key, value and time, kept so that no wire loses any of it.
//!
//! The standard properties and the publish address are plain headers with fixed names, user headers
//! are plain headers with text values, in order, duplicates kept: any Kafka client reads them. What
//! plain headers cannot say goes into one more header, `_mc`, always the first and only there when
//! needed:
//!
//! ```text
//! [version u8 = 1][origin u8] then sections [tag u8][bytes unsigned varint][...]
//!   tag 1, marks, in rising order: [header index unsigned varint][code u8]
//!          and, where code has bit 0x80, [bytes unsigned varint][the value, encoded]
//!   tag 2, raw: the origin's own encoding, where byte identity is owed
//!   tag 3, copies: routing keys beside the address's: [hidden u8][bytes unsigned varint][...]
//!   tag 4, history: where the message was dead-lettered; see `history`
//! ```
//!
//! The index counts the headers after `_mc`. A marked header is a user header even if its name is a
//! property's; its code is the type of its value (see [`Value::encode`]), and without the encoded
//! value the header's text is parsed. Sections with other tags are skipped. An `_mc` that does not
//! decode is a header like any other: a Kafka client may have sent it.

mod history;
mod marks;
mod readdress;
mod scalar;
mod slot;
mod text;
mod value;

#[cfg(test)]
mod tests;

use crate::tail::{self, Headers};
use crate::{Fault, Malformed};
use marks::{Marks, Sections, Writer};
use slot::{
    APP_ID, CONTENT_ENCODING, CONTENT_TYPE, CORRELATION_ID, DELIVERY_MODE, EXPIRATION, KIND,
    MESSAGE_ID, PRIORITY, REPLY_TO, Slot, TIMESTAMP, USER_ID,
};
use types::Millis;

pub use history::{Copies, DEATHS_MAX, Death, History, Place, Reason};
pub use marks::Mark;
pub use readdress::{Readdressed, readdress};
pub use scalar::{Scalar, push_scalars};
pub use slot::{EXCHANGE, ROUTING_KEY};
pub use value::{DEPTH_MAX, VALUE_BYTES_MAX, Value};

/// Name of the header that says what plain headers cannot.
pub const MC: &[u8] = b"_mc";

/// The standard properties; text is bytes, as the wires do not all insist on UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    /// Header `message-id`.
    pub message_id: Option<&'a [u8]>,
    /// Header `correlation-id`.
    pub correlation_id: Option<&'a [u8]>,
    /// Header `reply-to`.
    pub reply_to: Option<&'a [u8]>,
    /// Header `content-type`.
    pub content_type: Option<&'a [u8]>,
    /// Header `content-encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// Header `type`.
    pub kind: Option<&'a [u8]>,
    /// Header `app-id`.
    pub app_id: Option<&'a [u8]>,
    /// Header `user-id`.
    pub user_id: Option<&'a [u8]>,
    /// Header `priority`, in decimal.
    pub priority: Option<u8>,
    /// Header `expiration`: time to live in milliseconds, as the publisher spelled it.
    pub expiration: Option<&'a [u8]>,
    /// Header `delivery-mode`, in decimal: 1 transient, 2 persistent.
    pub delivery_mode: Option<u8>,
    /// Header `timestamp`, in decimal milliseconds: a time that the publisher gave; never negative.
    pub timestamp: Option<Millis>,
}

/// Where a message was published to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address<'a> {
    /// Header `exchange`; the default exchange is empty, not none.
    pub exchange: Option<&'a [u8]>,
    /// Header `routing-key`.
    pub routing_key: Option<&'a [u8]>,
}

/// The wire that a message came in by, where `_mc` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Kafka, or a wire without an encoding of its own.
    Kafka,
    /// AMQP 0-9-1: the raw section is the property flags and list of its content header.
    Amqp091,
    /// A later version's wire.
    Other(u8),
}

impl Origin {
    fn from_code(code: u8) -> Origin {
        match code {
            0 => Origin::Kafka,
            1 => Origin::Amqp091,
            other => Origin::Other(other),
        }
    }

    fn code(self) -> u8 {
        match self {
            Origin::Kafka => 0,
            Origin::Amqp091 => 1,
            Origin::Other(code) => code,
        }
    }
}

/// All that the headers of one message say; what [`push`] encodes.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The standard properties.
    pub properties: Properties<'a>,
    /// Where it was published to.
    pub address: Address<'a>,
    /// User headers in order; names may repeat.
    pub user: &'a [(String, Value)],
    /// The wire it came in by.
    pub origin: Origin,
    /// That wire's own encoding, only where the rest does not give it back exactly.
    pub raw: Option<&'a [u8]>,
    /// Routing keys beside the address's, and whether each is hidden from consumers.
    pub copies: &'a [(String, bool)],
}

/// Whether a plain header of this name would be taken for something other than a user header.
#[inline]
pub fn reserved(name: &[u8]) -> bool {
    name == MC || Slot::of(name).is_some()
}

/// Appends the count and the headers of a message, with `_mc` if plain headers do not suffice.
///
/// Fails with [`Fault::TooLarge`] when a value is nested deeper than [`DEPTH_MAX`] or larger than
/// [`VALUE_BYTES_MAX`]; `out` then ends in a half-written block.
pub fn push(out: &mut Vec<u8>, block: &Block<'_>) -> Result<(), Malformed> {
    let standard_count = block.properties.count() + block.address.count();
    let mut writer = Writer::new(block.origin.code());
    for (at, (name, value)) in block.user.iter().enumerate() {
        if value.depth() > DEPTH_MAX {
            return Err(Malformed::new(at, Fault::TooLarge));
        }
        writer.mark(standard_count + at, reserved(name.as_bytes()), value)?;
    }
    let mut copies = Vec::new();
    for (key, hidden) in block.copies {
        history::push_copy(&mut copies, key.as_bytes(), *hidden);
    }
    let needed = writer.marked() || block.raw.is_some() || !copies.is_empty();
    let sections = Sections { raw: block.raw, copies: &copies, history: None };
    let mc = (needed || repeats(block.user)).then(|| writer.finish(&sections));

    tail::push_count(out, standard_count + block.user.len() + usize::from(mc.is_some()));
    if let Some(mc) = &mc {
        tail::push_header(out, MC, Some(mc));
    }
    block.properties.push(out);
    block.address.push(out);
    let mut text = Vec::new();
    for (name, value) in block.user {
        text.clear();
        let present = text::push(&mut text, value);
        tail::push_header(out, name.as_bytes(), present.then_some(&text[..]));
    }
    Ok(())
}

/// The headers of a message, taken apart. Never fails: what is not a property is a user header.
#[derive(Clone, Copy, Debug)]
pub struct Decoded<'a> {
    /// The standard properties.
    pub properties: Properties<'a>,
    /// Where it was published to.
    pub address: Address<'a>,
    /// The wire it came in by; none without `_mc`.
    pub origin: Option<Origin>,
    /// That wire's own encoding, if it was kept.
    pub raw: Option<&'a [u8]>,
    /// Routing keys beside the address's.
    pub copies: Copies<'a>,
    /// Where it was dead-lettered, encoded, if it was.
    history: Option<&'a [u8]>,
    /// How many user headers [`Decoded::user`] gives.
    pub user_count: usize,
    headers: Headers<'a>,
    marks: Marks<'a>,
}

/// One user header.
#[derive(Clone, Copy, Debug)]
pub struct UserHeader<'a> {
    /// Its name; usually UTF-8.
    pub name: &'a [u8],
    /// Its plain value.
    pub text: Option<&'a [u8]>,
    /// Its type, where that is not simply text.
    pub mark: Option<Mark<'a>>,
}

impl UserHeader<'_> {
    /// The typed value; without a mark: a string if it is UTF-8, else bytes, or null.
    pub fn value(&self) -> Value {
        let marked = self.mark.and_then(|mark| mark.value(self.text));
        marked.unwrap_or_else(|| text::untyped(self.text))
    }
}

/// Takes the headers of a record apart.
pub fn decode<'a>(headers: Headers<'a>) -> Decoded<'a> {
    let mut decoded = Decoded {
        properties: Properties::default(),
        address: Address::default(),
        origin: None,
        raw: None,
        copies: Copies::default(),
        history: None,
        user_count: 0,
        headers,
        marks: Marks::default(),
    };
    let mut after = headers;
    if let Some((MC, Some(mc))) = after.next()
        && let Some(content) = marks::decode(mc)
    {
        decoded.headers = after;
        decoded.origin = Some(Origin::from_code(content.origin));
        decoded.raw = content.raw;
        decoded.copies = Copies::of(content.copies);
        decoded.history = content.history;
        decoded.marks = content.marks;
    }
    if decoded.marks.is_empty() {
        decoded.fill_unmarked();
    } else {
        decoded.fill_marked();
    }
    decoded
}

impl<'a> Decoded<'a> {
    /// Whether it was dead-lettered.
    #[inline]
    pub fn died(&self) -> bool {
        self.history.is_some()
    }

    /// Where it was dead-lettered, if it was.
    pub fn history(&self) -> Option<History> {
        self.history.and_then(|bytes| History::decode(bytes).ok())
    }

    /// The user headers in order, duplicates kept.
    pub fn user(&self) -> User<'a> {
        User::new(self.headers, self.marks)
    }

    #[inline]
    fn fill_unmarked(&mut self) {
        let mut seen = 0;
        for (name, text) in self.headers {
            if let (Some(slot), Some(value)) = (Slot::of(name), text)
                && seen & slot.bit() == 0
                && slot.fill(&mut self.properties, &mut self.address, value)
            {
                seen |= slot.bit();
            } else {
                self.user_count += 1;
            }
        }
    }

    fn fill_marked(&mut self) {
        let mut user = self.user();
        while let Some(entry) = user.step() {
            match entry {
                Entry::User(_) => self.user_count += 1,
                Entry::Standard(slot, value) => {
                    slot.fill(&mut self.properties, &mut self.address, value);
                }
            }
        }
    }
}

/// Walks the user headers of a record.
#[derive(Clone, Debug)]
pub struct User<'a> {
    headers: Headers<'a>,
    marks: Marks<'a>,
    next_mark: Option<Mark<'a>>,
    index: u32,
    seen: u16,
}

impl<'a> User<'a> {
    fn new(headers: Headers<'a>, mut marks: Marks<'a>) -> User<'a> {
        let next_mark = marks.next();
        User { headers, marks, next_mark, index: 0, seen: 0 }
    }

    #[inline]
    fn step(&mut self) -> Option<Entry<'a>> {
        let (name, text) = self.headers.next()?;
        let mark = self.next_mark.filter(|mark| mark.index == self.index);
        self.index += 1;
        if mark.is_some() {
            self.next_mark = self.marks.next();
        } else if let (Some(slot), Some(value)) = (Slot::of(name), text)
            && self.seen & slot.bit() == 0
            && slot.admits(value)
        {
            self.seen |= slot.bit();
            return Some(Entry::Standard(slot, value));
        }
        Some(Entry::User(UserHeader { name, text, mark }))
    }
}

impl<'a> Iterator for User<'a> {
    type Item = UserHeader<'a>;

    fn next(&mut self) -> Option<UserHeader<'a>> {
        loop {
            if let Entry::User(header) = self.step()? {
                return Some(header);
            }
        }
    }
}

impl Properties<'_> {
    /// How many are given.
    pub fn count(&self) -> usize {
        usize::from(self.message_id.is_some())
            + usize::from(self.correlation_id.is_some())
            + usize::from(self.reply_to.is_some())
            + usize::from(self.content_type.is_some())
            + usize::from(self.content_encoding.is_some())
            + usize::from(self.kind.is_some())
            + usize::from(self.app_id.is_some())
            + usize::from(self.user_id.is_some())
            + usize::from(self.priority.is_some())
            + usize::from(self.expiration.is_some())
            + usize::from(self.delivery_mode.is_some())
            + usize::from(self.timestamp.is_some())
    }

    fn push(&self, out: &mut Vec<u8>) {
        push_some(out, MESSAGE_ID, self.message_id);
        push_some(out, CORRELATION_ID, self.correlation_id);
        push_some(out, REPLY_TO, self.reply_to);
        push_some(out, CONTENT_TYPE, self.content_type);
        push_some(out, CONTENT_ENCODING, self.content_encoding);
        push_some(out, KIND, self.kind);
        push_some(out, APP_ID, self.app_id);
        push_some(out, USER_ID, self.user_id);
        push_number(out, PRIORITY, self.priority.map(i64::from));
        push_some(out, EXPIRATION, self.expiration);
        push_number(out, DELIVERY_MODE, self.delivery_mode.map(i64::from));
        push_number(out, TIMESTAMP, self.timestamp.map(|time| time.0));
    }
}

impl Address<'_> {
    fn count(&self) -> usize {
        usize::from(self.exchange.is_some()) + usize::from(self.routing_key.is_some())
    }

    fn push(&self, out: &mut Vec<u8>) {
        push_some(out, EXCHANGE, self.exchange);
        push_some(out, ROUTING_KEY, self.routing_key);
    }
}

enum Entry<'a> {
    Standard(Slot, &'a [u8]),
    User(UserHeader<'a>),
}

#[inline]
fn push_some(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    if value.is_some() {
        tail::push_header(out, name, value);
    }
}

#[inline]
fn push_number(out: &mut Vec<u8>, name: &[u8], value: Option<i64>) {
    match value {
        None => {}
        Some(digit @ 0..=9) => tail::push_header(out, name, Some(&[b'0' + digit as u8])),
        Some(number) => {
            tail::push_header(out, name, Some(scalar::decimal(number, &mut [0; 20])));
        }
    }
}

fn repeats(user: &[(String, Value)]) -> bool {
    const PAIRWISE_MAX: usize = 16;
    if user.len() <= PAIRWISE_MAX {
        let repeated = |(at, (name, _)): (usize, &(String, Value))| {
            user[..at].iter().any(|(earlier, _)| earlier == name)
        };
        return user.iter().enumerate().any(repeated);
    }
    let mut names: Vec<&str> = user.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}
