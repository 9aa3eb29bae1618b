//! Properties of messages as they are on the wire: what the source added is taken out again.
//!
//! Source: AMQP 0-9-1 section 4.2.6.1.

use super::link::Taken;
use amqp091::codec::Table;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::ops::Range;

/// Headers that say how a queue delivers and not what was published.
pub(super) const ADDED: [&str; 3] = ["x-delivery-count", "x-acquired-count", "x-stream-offset"];

/// Properties of our own notes: `application/json`, persistent.
pub(super) const JSON_PROPERTIES: &[u8] = b"\x90\x00\x10application/json\x02";

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;

/// What tells a message from others, the same whenever it is delivered.
pub(super) fn fingerprint(message: &Taken) -> [u8; 32] {
    let properties = without_added(&message.properties);
    let mut hash = Sha256::new();
    let parts = [message.exchange.as_bytes(), message.key.as_bytes(), &properties, &message.body];
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// What tells a row of messages from others: of the row before, and the next one.
pub(super) fn chained(before: &[u8; 32], next: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(next).finalize().into()
}

/// As it is written down.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The properties without [`ADDED`]; a table that is empty then goes, too.
pub(super) fn without_added(properties: &[u8]) -> Cow<'_, [u8]> {
    let Some(table) = headers(properties) else { return Cow::Borrowed(properties) };
    let (mut kept, mut dropped) = (Vec::new(), false);
    for (name, field) in fields(&properties[table.clone()]) {
        match ADDED.iter().any(|added| added.as_bytes() == name) {
            true => dropped = true,
            false => kept.extend_from_slice(&properties[table.clone()][field]),
        }
    }
    if !dropped {
        return Cow::Borrowed(properties);
    }
    let mut rest = properties[..table.start - 4].to_vec();
    match kept.is_empty() {
        true => {
            let flags = u16::from_be_bytes([rest[0], rest[1]]) & !HEADERS;
            rest[..2].copy_from_slice(&flags.to_be_bytes());
        }
        false => {
            rest.extend_from_slice(&(kept.len() as u32).to_be_bytes());
            rest.extend_from_slice(&kept);
        }
    }
    rest.extend_from_slice(&properties[table.end..]);
    Cow::Owned(rest)
}

/// The offset in a stream that a message came with.
pub(super) fn stream_offset(properties: &[u8]) -> Option<i64> {
    let table = Table::of(&properties[headers(properties)?]);
    let found = table.raw().flatten().find(|(name, _)| *name == b"x-stream-offset")?;
    <[u8; 8]>::try_from(found.1.bytes).ok().map(i64::from_be_bytes)
}

/// Whether it was published to more queues than its routing key says.
pub(super) fn has_copies(properties: &[u8]) -> bool {
    let Some(table) = headers(properties) else { return false };
    Table::of(&properties[table]).raw().flatten().any(|(name, _)| name == b"CC" || name == b"BCC")
}

/// Where the bytes of the headers are.
fn headers(properties: &[u8]) -> Option<Range<usize>> {
    let (flags, _) = properties.split_first_chunk::<2>()?;
    let flags = u16::from_be_bytes(*flags);
    if flags & HEADERS == 0 {
        return None;
    }
    let mut at = 2;
    for flag in [CONTENT_TYPE, CONTENT_ENCODING] {
        if flags & flag != 0 {
            at += 1 + usize::from(*properties.get(at)?);
        }
    }
    let (length, _) = properties.get(at..)?.split_first_chunk::<4>()?;
    let (start, length) = (at + 4, u32::from_be_bytes(*length) as usize);
    (length <= properties.len() - start).then(|| start..start + length)
}

/// The fields of a table: name, and where it is as a whole.
fn fields(table: &[u8]) -> Vec<(&[u8], Range<usize>)> {
    let base = table.as_ptr().addr();
    let names: Vec<&[u8]> = Table::of(table).raw().flatten().map(|(name, _)| name).collect();
    // Before a name there is its length.
    let start = |name: &&[u8]| name.as_ptr().addr() - base - 1;
    let starts: Vec<usize> = names.iter().map(start).collect();
    let ends = starts.iter().skip(1).copied().chain([table.len()]);
    let ranges = starts.iter().zip(ends).map(|(start, end)| *start..end);
    names.iter().copied().zip(ranges).collect()
}

#[cfg(test)]
mod tests;
