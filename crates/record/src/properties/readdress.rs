//! A stored message as it goes on to another address.

use super::history::History;
use super::marks::{Sections, Writer};
use super::slot::{EXCHANGE, ROUTING_KEY, Slot};
use super::{Address, Entry, MC, Origin, decode, push_some, reserved};
use crate::tail::{self, TailView};
use crate::{Fault, Malformed};

/// What is new of a message that goes on.
#[derive(Clone, Copy, Debug)]
pub struct Readdressed<'a> {
    /// Its address from now on.
    pub address: Address<'a>,
    /// Its further routing keys still hold.
    pub keeps_copies: bool,
    /// Where it was dead-lettered.
    pub history: &'a History,
}

/// Appends the tail of a message that goes on to another address: without its time to live and its
/// origin's own encoding, the rest as it was.
///
/// Fails with [`Fault::TooLarge`] when a header's value is too large to be written again.
pub fn readdress(
    out: &mut Vec<u8>,
    view: &TailView<'_>,
    new: &Readdressed<'_>,
) -> Result<(), Malformed> {
    let decoded = decode(view.headers);
    let (mut standard, mut user) = (Vec::new(), Vec::new());
    let mut entries = decoded.user();
    while let Some(entry) = entries.step() {
        match entry {
            Entry::Standard(Slot::Expiration | Slot::Exchange | Slot::RoutingKey, _) => {}
            Entry::Standard(slot, value) => standard.push((slot.name(), value)),
            Entry::User(header) => user.push(header),
        }
    }
    let standard_count = standard.len() + new.address.count();
    let published = decoded.address.exchange.is_some();
    let origin = decoded.origin.unwrap_or(if published { Origin::Amqp091 } else { Origin::Kafka });
    let mut writer = Writer::new(origin.code());
    for (at, header) in user.iter().enumerate() {
        writer.mark(standard_count + at, reserved(header.name), &header.value())?;
    }
    let history = new.history.encode();
    if history.len() > super::VALUE_BYTES_MAX {
        return Err(Malformed::new(0, Fault::TooLarge));
    }
    let copies = if new.keeps_copies { decoded.copies.bytes() } else { &[] };
    let mc = writer.finish(&Sections { raw: None, copies, history: Some(&history) });
    tail::push_bytes(out, view.key);
    tail::push_bytes(out, view.value);
    tail::push_count(out, 1 + standard_count + user.len());
    tail::push_header(out, MC, Some(&mc));
    for (name, value) in standard {
        tail::push_header(out, name, Some(value));
    }
    push_some(out, EXCHANGE, new.address.exchange);
    push_some(out, ROUTING_KEY, new.address.routing_key);
    for header in user {
        tail::push_header(out, header.name, header.text);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
