//! Records by their key, and publishing that expects something.

use super::publish::tail_of;
use super::{Local, unexpected};
use crate::message::partition_for;
use crate::{Message, Place, Received};
use bytes::Bytes;
use engine::api::{
    Append, Appended, Delivery, Expected, KeyHash, Keyed, Op, Payload, ReadKey, Reply, Verdict,
};
use record::tails;
use std::sync::Arc;
use types::{Error, Kind, Offset, RECORD_BYTES_MAX};

/// What publishing expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Whose last record: that of the messages' key, or that of their log.
    pub of_key: bool,
    /// Its offset; `None`: there is none.
    pub last: Option<Offset>,
}

/// Which records of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The key.
    pub key: Bytes,
    /// From this offset on; `None`: from the first, or the last where it goes backward.
    pub from: Option<Offset>,
    /// The newest come first.
    pub backward: bool,
    /// Most records.
    pub count: u32,
    /// Most bytes; the first record is given however large it is.
    pub bytes: u32,
}

/// Records of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In the order asked for.
    pub messages: Vec<Received>,
    /// From where to go on; `None`: there are no more.
    pub next: Option<Offset>,
}

impl Local {
    /// Publishes messages together if what is expected is so, and waits until they are durable; gives
    /// their places, or the offset of the last record that is there instead.
    ///
    /// Fails with `NotFound`, `TooLarge`, and `Invalid` where the messages do not go to one log together,
    /// or have not one key that the log indexes.
    pub async fn publish_expecting(
        &self,
        to: &str,
        messages: &[Message],
        expectation: Expectation,
    ) -> Result<Result<Vec<Place>, Option<Offset>>, Error> {
        let found = self.find(to)?;
        let logs = found.logs();
        let count = u32::try_from(logs.len()).unwrap_or(u32::MAX);
        let invalid = |why: &str| Error::new(Kind::Invalid, why);
        let first = messages.first().ok_or_else(|| invalid("what is expected is of messages"))?;
        let is_elsewhere =
            |message: &Message| partition_of(message, count) != partition_of(first, count);
        if messages.iter().any(is_elsewhere) {
            return Err(invalid("the messages do not go to one partition"));
        }
        let key = match (expectation.of_key, &first.key) {
            (false, _) => None,
            (true, None) => return Err(invalid("the messages have no key to expect something of")),
            (true, Some(_)) if messages.iter().any(|message| message.key != first.key) => {
                return Err(invalid("the messages have different keys"));
            }
            (true, Some(key)) => Some(KeyHash::of(key)),
        };
        let mut bytes = Vec::new();
        for message in messages {
            tails::push(&mut bytes, message.timestamp, &tail_of(message)?);
            if bytes.len() > RECORD_BYTES_MAX {
                let why =
                    format!("messages that are published together have {RECORD_BYTES_MAX} bytes");
                return Err(Error::new(Kind::TooLarge, why));
            }
        }
        let partition = partition_of(first, count);
        let expected = Expected { key, last: expectation.last };
        let payload = Payload::Expecting { bytes: Bytes::from(bytes), expiring: false, expected };
        let append = Append { to: Arc::from([logs[partition as usize]]), payload, waits: true };
        match self.call(Op::Append(append)).await? {
            Reply::Appended(Appended { verdict: Verdict::Appended, base_offset, .. }) => {
                let place = |delta| Place { partition, offset: base_offset.plus(delta) };
                Ok(Ok((0..).map(place).take(messages.len()).collect()))
            }
            Reply::Appended(Appended { verdict: Verdict::Unexpected, base_offset, .. }) => {
                Ok(Err(Some(base_offset).filter(|offset| *offset >= Offset(0))))
            }
            Reply::Appended(_) => {
                Err(Error::new(Kind::NotFound, "the queue or topic was deleted meanwhile"))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Reads records of a key, from the partition that the key goes to.
    ///
    /// Fails with `NotFound`, and `Invalid` where keys are not indexed.
    pub async fn history(&self, of: &str, range: KeyRange) -> Result<History, Error> {
        let found = self.find(of)?;
        let logs = found.logs();
        let count = u32::try_from(logs.len()).unwrap_or(u32::MAX);
        let KeyRange { key, from, backward, count: count_max, bytes: bytes_max } = range;
        let partition = partition_for(&key, count);
        let log = logs[partition as usize];
        let read = ReadKey { log, key, from, backward, count_max, bytes_max };
        match self.call(Op::ReadKey(read)).await? {
            Reply::Keyed(Keyed { records, next }) => {
                let messages = records.into_iter().map(|record| {
                    let delivery = Delivery {
                        log: log.log,
                        offset: record.offset,
                        attempts: 0,
                        redelivered: false,
                        timestamp: record.timestamp,
                        tail: record.tail,
                    };
                    Received::read(delivery, partition)
                });
                Ok(History { messages: messages.collect::<Result<_, _>>()?, next })
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// A message without a key goes to the first partition.
fn partition_of(message: &Message, count: u32) -> u32 {
    message.key.as_deref().map_or(0, |key| partition_for(key, count))
}
