//! The words of delivery: who takes, how much, and what is handed out.

use crate::Span;
use types::{ClientId, ConsumerId};

/// A consumer, or whoever holds messages taken one by one: unique in the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerKey {
    /// Its connection.
    pub client: ClientId,
    /// Its number within the connection.
    pub consumer: ConsumerId,
}

/// How much a consumer may hold unsettled; 0 means without bound. A message that begins below the
/// bound is handed out even when it ends above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Messages.
    pub messages: u32,
    /// Bytes of their records.
    pub bytes: u64,
}

/// A window that several consumers of one client share (AMQP 0-9-1 `basic.qos` with `global`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedWindow {
    /// The connection.
    pub client: ClientId,
    /// Which of its windows, such as a channel number.
    pub group: u32,
}

/// How a standing consumer takes messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// What it may hold.
    pub window: Window,
    /// A further window it shares with others; its size comes by [`Dispatch::set_shared_window`](super::Dispatch::set_shared_window).
    pub shared: Option<SharedWindow>,
    /// Refuse to be one of several.
    pub exclusive: bool,
    /// Higher ones are served first while they have credit.
    pub priority: i32,
    /// What is handed out counts as settled at once (no-ack); nothing is leased.
    pub settle_now: bool,
    /// Where keys are sessions, so many of them at once at most; 0 means without bound.
    pub sessions_max: u32,
}

/// Why a consumer was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// An exclusive consumer is there.
    HeldExclusively,
    /// It asked to be the only one and is not.
    InUse,
    /// The key is taken.
    Exists,
}

/// What becomes of the messages a leaving consumer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// They stay leased under its key and can still be settled or returned.
    Keep,
    /// They go back and are ready again; `count` raises their delivery count.
    Return {
        /// Whether the delivery counts as a failed attempt.
        count: bool,
    },
}

/// A run of messages for one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Who gets them.
    pub key: ConsumerKey,
    /// Which; more than one offset only when a single consumer has credit.
    pub span: Span,
    /// Sum of their lengths, as `len_of` gave them.
    pub bytes: u64,
    /// 1 at the first delivery; one more for each counted return.
    pub attempt: u16,
    /// They may have been delivered before.
    pub redelivered: bool,
    /// Their level; 0 where there are none.
    pub level: u8,
    /// No lease was noted: put a Settle for the span into the next frame.
    pub settle_now: bool,
}

/// A run of messages whose leases ended, and that are for the caller to do something with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub span: Span,
    /// Which attempt to deliver them it was: 1 is the first.
    pub attempt: u16,
    /// Their level; 0 where there are none.
    pub level: u8,
}

/// What somebody holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records. A message that is settled takes along as many as those that are held
    /// have on average: which were its own is not kept.
    pub bytes: u64,
}

impl Unsettled {
    /// So many messages of these, and their part of the bytes.
    pub(super) fn part(self, messages: u64) -> Unsettled {
        let bytes = u128::from(self.bytes) * u128::from(messages);
        let bytes = bytes.checked_div(u128::from(self.messages)).unwrap_or(0);
        Unsettled { messages, bytes: u64::try_from(bytes).unwrap_or(self.bytes) }
    }
}
