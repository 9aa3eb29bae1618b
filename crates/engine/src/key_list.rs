//! The keys of records, as they are told beside a batch.
//!
//! Where a log indexes its keys, apply learns them from a command of the frame that appends: it reads
//! no record, and a start reads none either.

use crate::api::{KeyHash, Payload};
use crate::cache::Batch;
use bytes::Bytes;
use record::batch::Header;
use record::tail;
use record::tails::Tails;
use serde::{Deserialize, Serialize};

/// Bytes that the command takes beside the keys.
const COMMAND_BYTES: usize = 16;
/// Bytes that a key takes.
const KEY_BYTES: usize = 16;
/// Stands where a record has no key: no hash is this by chance.
const NO_KEY: KeyHash = KeyHash([0; 16]);

/// The keys of records in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct KeyList(Vec<KeyHash>);

impl KeyList {
    /// Those of a batch's records.
    pub(crate) fn of_batch(bytes: &Bytes) -> KeyList {
        let batch = Batch::new(bytes.clone());
        let of = |delta| {
            let (tail, _) = batch.record(delta)?;
            Some(KeyHash::of(tail::decode(&tail).ok()?.key?))
        };
        KeyList((0..count_of_batch(bytes)).map(|delta| of(delta).unwrap_or(NO_KEY)).collect())
    }

    /// Bytes that the command with the keys of what is appended takes.
    pub(crate) fn bytes_of(payload: &Payload) -> usize {
        KeyList::bytes_of_count(match payload {
            Payload::Batch(bytes) => count_of_batch(bytes) as usize,
            Payload::Tails { bytes, .. }
            | Payload::Once { bytes, .. }
            | Payload::Expecting { bytes, .. } => Tails::new(bytes).count(),
        })
    }

    /// The same of so many records.
    pub(crate) fn bytes_of_count(count: usize) -> usize {
        COMMAND_BYTES + KEY_BYTES * count
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<KeyHash>> {
        self.0.iter().map(|key| (*key != NO_KEY).then_some(*key))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Offsets that a batch takes.
fn count_of_batch(bytes: &Bytes) -> u32 {
    Header::decode(bytes).map_or(0, |header| header.last_offset_delta.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::KeyList;
    use crate::api::KeyHash;
    use bytes::Bytes;
    use record::batch::Builder;
    use record::tail;
    use types::Millis;

    #[test]
    fn a_record_without_a_key_has_none() {
        let mut builder = Builder::new(Millis(0));
        for key in [Some(&b"a"[..]), None, Some(b""), Some(b"a")] {
            let mut out = Vec::new();
            tail::encode(&mut out, key, Some(b"value"), std::iter::empty());
            builder.push(Millis(0), &out);
        }
        let list = KeyList::of_batch(&builder.finish());
        let (a, empty) = (KeyHash::of(b"a"), KeyHash::of(b""));
        assert_eq!(list.iter().collect::<Vec<_>>(), [Some(a), None, Some(empty), Some(a)]);
        assert_eq!(KeyList::of_batch(&Bytes::from_static(b"no batch")).len(), 0);
    }
}
