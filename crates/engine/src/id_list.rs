//! The ids of messages, as they are told beside a batch.
//!
//! A log that remembers ids learns those of a batch from a command of the frame that appends it, and takes
//! the batch as it is: the leader knows all that the log remembers then, and that is none of them.

use crate::api::{MessageId, Within};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{Formatter, Result as Written};

/// Bytes that the command may take beside the ids.
const COMMAND_BYTES: usize = 48;
/// Bytes that an id takes.
const ID_BYTES: usize = 16;

/// The ids of the records of a batch, and the router that they came by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdList {
    pub(crate) within: Option<Within>,
    ids: Packed,
}

/// Ids as bytes in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Packed(Vec<[u8; ID_BYTES]>);

impl IdList {
    /// Of what came by a router, or by none.
    pub(crate) fn new(within: Option<Within>) -> IdList {
        IdList { within, ids: Packed::default() }
    }

    /// Adds those of records that follow.
    pub(crate) fn extend(&mut self, ids: &[MessageId]) {
        self.ids.0.extend(ids.iter().map(|id| id.0));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = MessageId> + Clone {
        self.ids.0.iter().copied().map(MessageId)
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.0.len()
    }

    /// Bytes that the command takes with so many ids.
    pub(crate) fn bytes_of_count(count: usize) -> usize {
        COMMAND_BYTES + ID_BYTES * count
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_flattened())
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Packed, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Packed;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> Written {
        write!(formatter, "ids of {ID_BYTES} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Packed, E> {
        match bytes.as_chunks() {
            (ids, []) => Ok(Packed(ids.to_vec())),
            _ => Err(E::invalid_length(bytes.len(), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::IdList;
    use crate::api::MessageId;
    use catalog::{Dedup, Remembered, RouterId};
    use types::Millis;

    #[test]
    fn what_is_written_is_read_back_and_takes_no_more_than_it_says() {
        let dedup = Dedup { remembered: Remembered::For(Millis(i64::MAX)), count_max: u32::MAX };
        for within in [None, Some((RouterId(u32::MAX), dedup))] {
            let mut list = IdList::new(within);
            for count in 0..300 {
                let bytes = postcard::to_allocvec(&list).expect("memory takes it");
                assert_eq!(postcard::from_bytes(&bytes), Ok(list.clone()));
                assert!(bytes.len() + 4 <= IdList::bytes_of_count(count));
                let cut: Result<IdList, _> = postcard::from_bytes(&bytes[..bytes.len() - 1]);
                assert!(cut.is_err());
                list.extend(&[MessageId::of(&[count as u8])]);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_ids_are_not_read() {
        let bytes = postcard::to_allocvec(&(0u8, &b"\x05three"[..])).expect("memory takes it");
        assert!(postcard::from_bytes::<IdList>(&bytes[..7]).is_err());
    }
}
