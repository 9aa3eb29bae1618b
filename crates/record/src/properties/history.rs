//! Where a message was dead-lettered, and further routing keys: sections of the `_mc` header.
//!
//! ```text
//! history: [first place][exchange of the last death] then deaths, the newest first:
//!          [place][count unsigned varint][time varint]
//!          [keys unsigned varint, then each][expiration unsigned varint: 0, or length + 1][...]
//! place:   [reason u8][queue][exchange]
//! text:    [bytes unsigned varint][...]
//! ```

use crate::cursor::Cursor;
use crate::varint;
use crate::{Fault, Malformed};
use types::Millis;

/// Most deaths that a history keeps; the oldest go first.
pub const DEATHS_MAX: usize = 128;

/// Why a message was dead-lettered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A consumer refused it.
    Rejected,
    /// Its time to live was over.
    Expired,
    /// Its queue was longer than it may be.
    Length,
    /// It was delivered as often as it may be.
    Deliveries,
}

/// Where a message died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Why.
    pub reason: Reason,
    /// In which queue.
    pub queue: String,
    /// To which exchange it had been published.
    pub exchange: String,
}

/// All deaths of a message in one queue for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Where; the exchange is that of the first of them, as are time, keys and expiration.
    pub place: Place,
    /// How many.
    pub count: u64,
    /// When.
    pub time: Millis,
    /// With which routing keys it had been published.
    pub keys: Vec<String>,
    /// Its own time to live then, as the publisher spelled it.
    pub expiration: Option<String>,
}

/// What befell a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Where it died first.
    pub first: Place,
    /// To which exchange it had been published when it died last.
    pub last_exchange: String,
    /// One for each queue and reason, the newest first; at least one.
    pub deaths: Vec<Death>,
}

impl Reason {
    fn code(self) -> u8 {
        match self {
            Reason::Rejected => 0,
            Reason::Expired => 1,
            Reason::Length => 2,
            Reason::Deliveries => 3,
        }
    }
}

impl History {
    /// Adds the newest death, whose `count` is 1, to what was known.
    pub fn with(before: Option<History>, death: Death) -> History {
        let Some(mut history) = before else {
            let (first, last_exchange) = (death.place.clone(), death.place.exchange.clone());
            return History { first, last_exchange, deaths: vec![death] };
        };
        history.last_exchange.clone_from(&death.place.exchange);
        let same = |known: &Death| {
            known.place.queue == death.place.queue && known.place.reason == death.place.reason
        };
        let newest = match history.deaths.iter().position(same) {
            Some(at) => {
                let known = history.deaths.remove(at);
                Death { count: known.count.saturating_add(1), ..known }
            }
            None => death,
        };
        history.deaths.insert(0, newest);
        history.deaths.truncate(DEATHS_MAX);
        history
    }

    /// The queues that it died in since somebody refused it: if it came to one of them again, it would
    /// go in circles without anybody's doing.
    pub fn circle(&self) -> impl Iterator<Item = &str> {
        let unrefused = |death: &&Death| death.place.reason != Reason::Rejected;
        self.deaths.iter().take_while(unrefused).map(|death| death.place.queue.as_str())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_place(&mut out, &self.first);
        push_text(&mut out, &self.last_exchange);
        for death in &self.deaths {
            push_place(&mut out, &death.place);
            varint::push_unsigned(&mut out, death.count);
            varint::push(&mut out, death.time.0);
            varint::push_unsigned(&mut out, death.keys.len() as u64);
            death.keys.iter().for_each(|key| push_text(&mut out, key));
            match &death.expiration {
                None => varint::push_unsigned(&mut out, 0),
                Some(text) => {
                    varint::push_unsigned(&mut out, text.len() as u64 + 1);
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<History, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let first = place(&mut cursor)?;
        let last_exchange = text(&mut cursor)?;
        let mut deaths = Vec::new();
        while cursor.left() > 0 {
            let place = place(&mut cursor)?;
            let count = cursor.unsigned_varlong()?;
            let time = Millis(cursor.varlong()?);
            let mut keys = Vec::new();
            for _ in 0..cursor.unsigned_varint()? {
                keys.push(text(&mut cursor)?);
            }
            let expiration = match cursor.unsigned_varint()? {
                0 => None,
                length => Some(utf8(&mut cursor, length as usize - 1)?),
            };
            deaths.push(Death { place, count, time, keys, expiration });
        }
        if deaths.is_empty() {
            return Err(cursor.fault(Fault::Truncated));
        }
        Ok(History { first, last_exchange, deaths })
    }
}

/// Routing keys beside the address's, each with whether it is hidden from consumers. Ends at the
/// first that does not decode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copies<'a> {
    rest: &'a [u8],
}

impl<'a> Copies<'a> {
    pub(super) fn of(rest: &'a [u8]) -> Copies<'a> {
        Copies { rest }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Copies<'a> {
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<(&'a [u8], bool)> {
        let mut cursor = Cursor::new(self.rest);
        let hidden = cursor.u8().ok()? != 0;
        let length = cursor.unsigned_varint().ok()? as usize;
        let key = cursor.take(length).ok()?;
        self.rest = cursor.rest();
        Some((key, hidden))
    }
}

pub(super) fn push_copy(out: &mut Vec<u8>, key: &[u8], hidden: bool) {
    out.push(u8::from(hidden));
    varint::push_unsigned(out, key.len() as u64);
    out.extend_from_slice(key);
}

fn push_place(out: &mut Vec<u8>, place: &Place) {
    out.push(place.reason.code());
    push_text(out, &place.queue);
    push_text(out, &place.exchange);
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    varint::push_unsigned(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn place(cursor: &mut Cursor<'_>) -> Result<Place, Malformed> {
    let reason = match cursor.u8()? {
        0 => Reason::Rejected,
        1 => Reason::Expired,
        2 => Reason::Length,
        3 => Reason::Deliveries,
        _ => return Err(cursor.fault(Fault::Invalid)),
    };
    Ok(Place { reason, queue: text(cursor)?, exchange: text(cursor)? })
}

fn text(cursor: &mut Cursor<'_>) -> Result<String, Malformed> {
    let length = cursor.unsigned_varint()? as usize;
    utf8(cursor, length)
}

fn utf8(cursor: &mut Cursor<'_>, length: usize) -> Result<String, Malformed> {
    let bytes = cursor.take(length)?;
    let text = std::str::from_utf8(bytes).map_err(|_| cursor.fault(Fault::Invalid))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
