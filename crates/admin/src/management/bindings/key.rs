//! The name of a binding among those between two ends: `properties_key`.
//!
//! It is the routing key, percent-encoded; `~` for an empty one; with arguments, `~` and a hash of
//! them follow. RabbitMQ's hash is one of Erlang's own; ours is another, and as stable.

use super::arguments;
use engine::catalog::Arguments;
use std::fmt::{self, Write as _};

/// What tells a binding from others between the same ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::management) struct Key {
    routing_key: String,
    /// Empty without arguments.
    hash: String,
}

impl Key {
    /// The key of a binding.
    pub(in crate::management) fn of(routing_key: &str, given: &Arguments) -> Key {
        let hash = match given.is_empty() {
            true => String::new(),
            false => hash(&arguments::shown(given).to_string()),
        };
        Key { routing_key: routing_key.to_owned(), hash }
    }

    /// The key that a part of a path says, percent-encoded once more or not.
    pub(in crate::management) fn parse(text: &str) -> Key {
        let (routing_key, hash) = text.split_once('~').unwrap_or((text, ""));
        Key { routing_key: unquoted(routing_key), hash: hash.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.routing_key))?;
        match self.hash.is_empty() && !self.routing_key.is_empty() {
            true => Ok(()),
            false => write!(f, "~{}", self.hash),
        }
    }
}

/// Percent-encoded, with `+` for a space.
pub(in crate::management) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            // Writing to a string does not fail.
            other => drop(write!(out, "%{other:02X}")),
        }
    }
    out
}

/// The reverse; what is not encoded stays.
fn unquoted(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let encoded = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, encoded) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// FNV-1a.
fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
