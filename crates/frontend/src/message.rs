//! A message as Rust code of this process gives and takes it.

use bytes::Bytes;
use engine::api::Delivery;
use record::{properties, tail};
use types::{Error, Kind, LogId, Millis, Offset};

/// Headers in order; names may repeat.
pub type Headers = Vec<(String, Option<Bytes>)>;

/// A message to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Key, if any; on a topic it chooses the partition.
    pub key: Option<Bytes>,
    /// Value, if any; an empty one is not none.
    pub value: Option<Bytes>,
    /// Headers; those with a property's name (`content-type`, `message-id` …) are that property.
    pub headers: Headers,
    /// Its time; `None`: when it is appended.
    pub timestamp: Option<Millis>,
}

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which log of the topic; 0 for a queue.
    pub partition: u32,
    /// Where in it.
    pub offset: Offset,
}

/// A message that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where it lies.
    pub place: Place,
    /// What it says.
    pub message: Message,
    /// Earlier deliveries that were returned.
    pub attempts: u16,
    /// It was, or may have been, handed out before.
    pub redelivered: bool,
    pub(crate) log: LogId,
}

impl Message {
    /// A message that is only a value.
    pub fn new(value: impl Into<Bytes>) -> Message {
        Message { value: Some(value.into()), ..Message::default() }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(self, key: impl Into<Bytes>) -> Message {
        Message { key: Some(key.into()), ..self }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Message {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    pub(crate) fn push_tail(&self, out: &mut Vec<u8>) {
        let headers = self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        tail::encode(out, self.key.as_deref(), self.value.as_deref(), headers);
    }
}

impl Received {
    /// Reads a delivery; the broker's own header is left out.
    pub(crate) fn read(delivery: Delivery, partition: u32) -> Result<Received, Error> {
        let Delivery { log, offset, attempts, redelivered, timestamp, tail: bytes } = delivery;
        let corrupt =
            |_| Error::new(Kind::Corrupt, format!("the record at offset {offset} is corrupt"));
        let view = tail::decode(&bytes).map_err(corrupt)?;
        let own = |part: Option<&[u8]>| part.map(|part| bytes.slice_ref(part));
        let headers = view
            .headers
            .filter(|(name, _)| *name != properties::MC)
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), own(value)))
            .collect();
        let message = Message {
            key: own(view.key),
            value: own(view.value),
            headers,
            timestamp: Some(timestamp),
        };
        let place = Place { partition, offset };
        Ok(Received { place, message, attempts, redelivered, log })
    }
}

/// The partition a key goes to: Kafka's Java producer chooses the same one.
///
/// Source: Apache Kafka, `BuiltInPartitioner.partitionForKey` (murmur2, seed 0x9747b28c).
pub(crate) fn partition_for(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

fn murmur2(bytes: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ (bytes.len() as u32);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut part = u32::from_le_bytes(*word).wrapping_mul(MIX);
        part ^= part >> 24;
        hash = hash.wrapping_mul(MIX) ^ part.wrapping_mul(MIX);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests;
