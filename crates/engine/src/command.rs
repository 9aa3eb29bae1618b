//! What a frame says besides appending: the commands of the replicated state machine.

use crate::api::Recurrence;
use crate::id_list::IdList;
use crate::key_list::KeyList;
use crate::levels::Levels;
use crate::shard::KeyRun;
use bytes::Bytes;
use catalog::{Change, LogChange, Name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use types::{LogId, Millis, Offset, ShardId, SubscriptionId};

/// First byte of a frame's commands; a new meaning of a command gets a new number and both stay readable.
const ENCODING: u8 = 1;

/// One change of a shard's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Messages are done with, whatever the reason.
    Settle { subscription: SubscriptionId, ranges: Vec<Range> },
    /// Leases go back; `counted`: they had been handed out.
    Return { subscription: SubscriptionId, ranges: Vec<Range>, counted: bool },
    /// Messages are about to be handed out: if the process ends, they were.
    Lease { subscription: SubscriptionId, ranges: Vec<Range> },
    /// The log begins here now; `None`: at its end.
    Trim { log: LogId, before: Option<Offset> },
    /// A change of names (meta and local shard only).
    Change(Box<Change>),
    /// What a change of names means for a log or subscription of this shard.
    Log(LogChange),
    /// A change of a consumer group.
    Group { group: GroupName, command: groups::Command },
    /// Hands out a producer id.
    AllocateProducer,
    /// The process started: what was in flight before may have been delivered.
    Started,
    /// Entries of a log's schedule are appended to it, in this order, those that still wait.
    Activate { log: LogId, entries: Vec<Activation> },
    /// Entries of a log's schedule are cancelled, those that still wait.
    Unschedule { log: LogId, offsets: Vec<Offset> },
    /// Another shard has an entry of the outbox to it, or the entry has nowhere to go.
    Sent { to: ShardId, offset: Offset },
    /// Producers that have been silent since before then are forgotten.
    ForgetProducers { before: Millis },
    /// The levels of the records of a batch of the frame, where it goes to a queue that has levels.
    Rank { batch: u16, levels: Levels },
    /// Leases of a log go back, and nobody is to have the messages before their time.
    Park { subscription: SubscriptionId, log: LogId, entries: Vec<Parking>, counted: bool },
    /// Ids of messages whose time is over are forgotten.
    ForgetIds,
    /// Messages are done with, and not to be had again where what is settled is kept.
    Withdraw { subscription: SubscriptionId, ranges: Vec<Range> },
    /// What a log keeps of what is settled begins here now.
    ForgetSettled { log: LogId, before: Offset },
    /// What is settled and kept from there on is to be delivered again.
    Rewind { subscription: SubscriptionId, log: LogId, to: Offset },
    /// The keys of the records of a batch of the frame, where it goes to a log that indexes them.
    Keys { batch: u16, keys: KeyList },
    /// A run of the index of a log's keys, whose pages are in the hidden log.
    KeyRun { log: LogId, run: KeyRun },
    /// Pages of the index of a log's keys that are in no run are given up.
    GiveUpKeyStrays { log: LogId },
    /// The ids of the records of a batch of the frame, which every log that it goes to takes, and
    /// remembers them.
    Remember { batch: u16, ids: IdList },
    /// A state of a session is kept, or taken away, if it has the version that is expected.
    SetSession {
        subscription: SubscriptionId,
        key: Bytes,
        expected: Option<u64>,
        state: Option<Bytes>,
    },
    /// A recurrence is made, ended, stopped or continued.
    Recur { home: LogId, name: Name, step: Recurs },
    /// A recurrence was due.
    Fire(Box<Fire>),
    /// The shard has followed the changes of names that the catalog's shard made up to this entry.
    NamesFollowed { upto: u64 },
}

/// What becomes of a recurrence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Recurs {
    Put {
        what: Box<Recurrence>,
        made: Millis,
        due: Millis,
    },
    Cancel,
    Pause,
    /// `version`: the one of it that the time was computed for.
    Resume {
        version: u64,
        due: Millis,
    },
}

/// What follows from a recurrence's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fire {
    pub(crate) home: LogId,
    pub(crate) name: Name,
    /// The version of it that this was decided for.
    pub(crate) version: u64,
    pub(crate) due: Millis,
    /// When it is due next; `None`: not any more.
    pub(crate) next: Option<Millis>,
    /// The batch of the frame that is its message; `None`: it has none this time.
    pub(crate) batch: Option<u16>,
}

/// Offsets `first..=last` of a log, and when they may be handed out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parking {
    pub(crate) first: Offset,
    pub(crate) last: Offset,
    pub(crate) due: Millis,
}

/// Entries of a schedule that are one batch, and whose time has come: so many from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Activation {
    pub(crate) offset: Offset,
    pub(crate) due: Millis,
    pub(crate) count: u32,
}

/// A consumer group within a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupName {
    /// Tenant scope.
    pub namespace: Arc<str>,
    /// The group's id.
    pub group: Arc<str>,
}

/// Offsets `first..=last` of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) log: LogId,
    pub(crate) first: Offset,
    pub(crate) last: Offset,
}

/// Bytes that a range may take, encoded.
pub(crate) const RANGE_BYTES: usize = 25;

/// Bytes that a parking may take, encoded.
pub(crate) const PARKING_BYTES: usize = 30;

/// Bytes that a command may take, encoded; one whose length a client decides is counted by itself.
pub(crate) fn bytes_max(command: &Command) -> usize {
    const OTHERS: usize = 64;
    const LOG_BYTES: usize = 8;
    const NUMBER_BYTES: usize = 10;
    const KEY_PAGE_BYTES: usize = 16 + 2 * NUMBER_BYTES;
    match command {
        Command::Settle { ranges, .. }
        | Command::Withdraw { ranges, .. }
        | Command::Return { ranges, .. }
        | Command::Lease { ranges, .. } => OTHERS + RANGE_BYTES * ranges.len(),
        Command::Log(
            LogChange::CreateSubscription { over, .. } | LogChange::ExtendSubscription { over, .. },
        ) => OTHERS + LOG_BYTES * over.len(),
        Command::Activate { entries, .. } => OTHERS + 3 * NUMBER_BYTES * entries.len(),
        Command::Park { entries, .. } => OTHERS + PARKING_BYTES * entries.len(),
        Command::Unschedule { offsets, .. } => OTHERS + NUMBER_BYTES * offsets.len(),
        Command::Rank { levels, .. } => levels.bytes_max(),
        Command::Remember { ids, .. } => IdList::bytes_of_count(ids.len()),
        Command::Keys { keys, .. } => KeyList::bytes_of_count(keys.len()),
        Command::KeyRun { run, .. } => OTHERS + KEY_PAGE_BYTES * run.pages.len(),
        Command::Fire(fire) => OTHERS + fire.name.len() + 3 * NUMBER_BYTES,
        Command::SetSession { key, state, .. } => {
            OTHERS + key.len() + state.as_ref().map_or(0, Bytes::len)
        }
        Command::Change(_) | Command::Group { .. } | Command::Recur { .. } => {
            encode(std::slice::from_ref(command)).len()
        }
        _ => OTHERS,
    }
}

/// The bytes of a frame's commands.
pub(crate) fn encode(commands: &[Command]) -> Vec<u8> {
    if commands.is_empty() {
        return Vec::new();
    }
    postcard::to_extend(commands, vec![ENCODING]).expect("a Vec takes every command")
}

/// Reads a frame's commands back.
///
/// Fails on bytes that no release wrote.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Command>, Unreadable> {
    match bytes.split_first() {
        None => Ok(Vec::new()),
        Some((&ENCODING, rest)) => postcard::from_bytes(rest).map_err(|_| Unreadable),
        Some(_) => Err(Unreadable),
    }
}

/// A frame's commands cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the commands of a frame cannot be read: written by a newer release, or damaged")]
pub(crate) struct Unreadable;
