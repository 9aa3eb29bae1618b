//! Publishing: messages to records, records to logs, and the wait until they are durable.

use super::{Local, unexpected};
use crate::caller::Pending;
use crate::message::partition_for;
use crate::{Message, Place};
use bytes::Bytes;
use engine::api::{Append, Appended, Op, Payload, Reply, Verdict};
use record::tails;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use types::{Error, Kind, LogRef, Offset, RECORD_BYTES_MAX};

/// An append is sent when it has this many bytes.
pub(super) const APPEND_BYTES: usize = 1 << 20;

/// Most appends under way at once.
const APPENDS_MAX: usize = 8;

/// An append that is being filled.
#[derive(Default)]
struct Draft {
    bytes: Vec<u8>,
    /// Which of the messages it holds, by their place in what was given.
    members: Vec<usize>,
}

impl Local {
    /// Publishes to a queue or topic and waits until all of it is durable; gives the place of each
    /// message, in the order given. Messages without a key go to one partition together.
    ///
    /// Fails with `NotFound`, and `TooLarge` before anything is published; after any other failure
    /// some of the messages may be there.
    pub async fn publish(&self, to: &str, messages: &[Message]) -> Result<Vec<Place>, Error> {
        let found = self.find(to)?;
        let logs = found.logs();
        let count = u32::try_from(logs.len()).unwrap_or(u32::MAX);
        let keyless = self.turn.fetch_add(1, Relaxed) % count.max(1);
        let mut places = vec![Place { partition: 0, offset: Offset(-1) }; messages.len()];
        let tails = messages.iter().map(tail_of).collect::<Result<Vec<_>, _>>()?;
        let mut drafts: Vec<Draft> = logs.iter().map(|_| Draft::default()).collect();
        let mut under_way: VecDeque<(Vec<usize>, Pending)> = VecDeque::new();
        for (at, (message, tail)) in messages.iter().zip(tails).enumerate() {
            let partition = message.key.as_deref().map_or(keyless, |key| partition_for(key, count));
            places[at].partition = partition;
            let draft = &mut drafts[partition as usize];
            tails::push(&mut draft.bytes, message.timestamp, &tail);
            draft.members.push(at);
            if draft.bytes.len() >= APPEND_BYTES {
                under_way.push_back(self.send(std::mem::take(draft), logs[partition as usize]));
            }
            if (under_way.len() >= APPENDS_MAX || self.caller.is_full())
                && let Some(first) = under_way.pop_front()
            {
                settle(first, &mut places).await?;
            }
        }
        for (draft, log) in drafts.into_iter().zip(logs) {
            if !draft.members.is_empty() {
                under_way.push_back(self.send(draft, *log));
            }
        }
        for sent in under_way {
            settle(sent, &mut places).await?;
        }
        Ok(places)
    }

    fn send(&self, draft: Draft, log: LogRef) -> (Vec<usize>, Pending) {
        let payload = Payload::Tails { bytes: Bytes::from(draft.bytes), expiring: false };
        let append = Append { to: Arc::from([log]), payload, waits: true };
        (draft.members, self.caller.start(Op::Append(append)))
    }
}

pub(super) fn tail_of(message: &Message) -> Result<Vec<u8>, Error> {
    let mut tail = Vec::new();
    message.push_tail(&mut tail);
    if tail.len() > RECORD_BYTES_MAX {
        let bytes = tail.len();
        let why = format!("a message of {bytes} bytes is larger than {RECORD_BYTES_MAX}");
        return Err(Error::new(Kind::TooLarge, why));
    }
    Ok(tail)
}

async fn settle(sent: (Vec<usize>, Pending), places: &mut [Place]) -> Result<(), Error> {
    let (members, pending) = sent;
    let base_offset = offset_of(pending).await?;
    for (record, at) in (0..).zip(members) {
        places[at].offset = base_offset.plus(record);
    }
    Ok(())
}

/// Where the first record went, when that is durable.
pub(super) async fn offset_of(pending: Pending) -> Result<Offset, Error> {
    match pending.reply().await? {
        Reply::Appended(Appended { verdict: Verdict::Appended, base_offset, .. }) => {
            Ok(base_offset)
        }
        Reply::Appended(_) => {
            Err(Error::new(Kind::NotFound, "the queue or topic was deleted meanwhile"))
        }
        other => Err(unexpected(&other)),
    }
}
