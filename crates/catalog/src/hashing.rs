//! Routers that choose one of their bindings by a hash.
//!
//! By consistent hash each binding draws a lot that depends on the hash, on where the binding leads and
//! on its weight, and the best one wins (weighted rendezvous hashing): a binding that goes gives its
//! hashes to the others, one that comes takes some of each, and nothing else moves. Nothing is kept
//! for it.

#[cfg(test)]
mod tests;

use crate::Name;
use crate::entry::{Binding, Destination, Hashed, RouterKind};
use crate::outcome::{Refusal, Thing};
use crate::value::{Headers, Value};
use std::sync::Arc;

/// Whether routers of a kind choose by hash.
pub(crate) fn chooses(kind: RouterKind) -> bool {
    matches!(kind, RouterKind::ConsistentHash | RouterKind::ModulusHash)
}

/// Refuses a binding by consistent hash whose key is no weight.
pub(crate) fn check(source: &Name, key: &str) -> Result<(), Refusal> {
    let why = match key.parse::<i128>() {
        Ok(weight) if weight > 0 => return Ok(()),
        Ok(_) => "The binding key must be greater than 0".to_owned(),
        Err(_) if key.is_empty() => "The binding key must be an integer: <<>>".to_owned(),
        Err(_) => format!("The binding key must be an integer: <<{key:?}>>"),
    };
    Err(Refusal::Invalid { what: Thing::Binding, name: Name::clone(source), why })
}

/// The hash of what a router looks at; of what is not there it is one and the same.
pub(crate) fn hash_of(hashed: &Hashed, keys: &[&str], headers: &dyn Headers) -> u64 {
    match hashed {
        Hashed::Key => keys.iter().fold(SEED, |hash, key| add(add(hash, key.as_bytes()), &[0])),
        Hashed::Header(name) => headers.header(name).map_or(SEED, |value| match &*value {
            Value::String(text) => add(SEED, text.as_bytes()),
            Value::Bytes(bytes) => add(SEED, bytes),
            other => match other.as_i64() {
                Some(number) => add(SEED, &number.to_le_bytes()),
                None => add(SEED, format!("{other:?}").as_bytes()),
            },
        }),
        Hashed::Property(property) => {
            headers.property(*property).map_or(SEED, |bytes| add(SEED, &bytes))
        }
    }
}

/// The binding that a hash belongs to.
pub(crate) fn choose<'a>(
    kind: RouterKind,
    hash: u64,
    bindings: impl Iterator<Item = &'a Arc<Binding>>,
) -> Option<&'a Arc<Binding>> {
    match kind {
        RouterKind::ConsistentHash => {
            let lots = bindings.map(|binding| (lot(hash, binding), binding));
            lots.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, binding)| binding)
        }
        _ => {
            let mut bindings: Vec<&Arc<Binding>> = bindings.collect();
            bindings.sort_by(|one, other| one.destination.cmp(&other.destination));
            bindings.dedup_by(|one, other| one.destination == other.destination);
            let count = bindings.len() as u64;
            let place = usize::try_from(mixed(hash).checked_rem(count)?).ok()?;
            bindings.get(place).copied()
        }
    }
}

/// What a binding draws; the least wins. Exponentially distributed, with its weight as the rate.
fn lot(hash: u64, binding: &Binding) -> f64 {
    let kind = match binding.destination {
        Destination::Queue(_) => b"q",
        Destination::Router(_) => b"r",
    };
    let place = add(add(add(SEED, kind), binding.destination.name().as_bytes()), &[0]);
    let place = add(place, binding.key.as_bytes());
    let drawn = mixed(hash ^ mixed(place)) >> 11;
    let drawn = (drawn as f64 + 0.5) / (1_u64 << 53) as f64;
    let weight = binding.key.parse::<f64>().unwrap_or(1.0);
    -drawn.ln() / weight
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
fn add(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(hash, step)
}

/// Spreads a hash over all bits (the finish of SplitMix64).
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
