//! What is in a record: which one it is, and bytes that tell whether it is whole.

use crate::model::{Id, Violation, broken, key_of, level_of};
use bytes::Bytes;
use engine::api::Payload;
use io::sim::SimRandom;
use record::{tail, tails};

/// Longest value of a record, but for the rare ones that travel in parts.
const VALUE_BYTES_MAX: u64 = 600;

/// What the bytes of a record are made of: they count up, page by page.
const COUNTED: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < 256 {
        bytes[at] = at.to_le_bytes()[0];
        at += 1;
    }
    bytes
};

pub(super) fn payload(random: &SimRandom, ids: &[Id]) -> Payload {
    let mut bytes = Vec::new();
    for id in ids {
        tails::push(&mut bytes, None, &encode(random, *id));
    }
    Payload::Tails { bytes: Bytes::from(bytes), expiring: false }
}

/// A tail that says which record it is, and whether it is whole.
pub(super) fn encode(random: &SimRandom, id: Id) -> Vec<u8> {
    encode_with(random, id, None)
}

/// The same with a key that logs index.
pub(super) fn encode_keyed(random: &SimRandom, id: Id) -> Vec<u8> {
    encode_with(random, id, Some(key_of(id).to_string().as_bytes()))
}

fn encode_with(random: &SimRandom, id: Id, record_key: Option<&[u8]>) -> Vec<u8> {
    let long = random.below(400) == 0;
    let length = random.below(if long { 50_000 } else { VALUE_BYTES_MAX });
    let mut value = id.0.to_be_bytes().to_vec();
    let length = usize::try_from(length).unwrap_or(0);
    for (page, from) in (0..length).step_by(COUNTED.len()).enumerate() {
        let mask = mask(id, page);
        let bytes = &COUNTED[..COUNTED.len().min(length - from)];
        value.extend(bytes.iter().map(|byte| byte ^ mask));
    }
    let mut out = Vec::new();
    let priority = level_of(id).to_string();
    let key = key_of(id).to_string();
    let headers: [(&[u8], Option<&[u8]>); 2] =
        [(b"priority", Some(priority.as_bytes())), (b"key", Some(key.as_bytes()))];
    tail::encode(&mut out, record_key, Some(&value), headers.into_iter());
    out
}

/// What a page of a record's bytes is mixed with.
fn mask(id: Id, page: usize) -> u8 {
    id.0.to_le_bytes()[0] ^ page.to_le_bytes()[0]
}

fn is_whole(bytes: &[u8], id: Id) -> bool {
    bytes.chunks(COUNTED.len()).enumerate().all(|(page, bytes)| {
        let mask = mask(id, page);
        // All of them, with no early end: many at a time.
        bytes.iter().zip(&COUNTED).fold(0, |wrong, (byte, at)| wrong | (byte ^ at ^ mask)) == 0
    })
}

pub(crate) fn id_of(tail: &[u8]) -> Result<Id, Violation> {
    let view = tail::decode(tail).map_err(|why| Violation(format!("a record is broken: {why}")))?;
    let value = view.value.unwrap_or_default();
    let Some((head, rest)) = value.split_first_chunk::<8>() else {
        return broken("a record lost its value");
    };
    let id = Id(u64::from_be_bytes(*head));
    if is_whole(rest, id) { Ok(id) } else { broken(format!("the bytes of {id:?} changed")) }
}
