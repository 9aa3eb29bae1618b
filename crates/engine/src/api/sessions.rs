//! Operations on the sessions of a queue, and on what is kept for them.

use bytes::Bytes;
use ledger::ConsumerKey;
use serde::{Deserialize, Serialize};
use types::SubscriptionRef;

/// Longest state of a session, in bytes.
pub const STATE_BYTES_MAX: usize = 256 << 10;
/// Longest key of a session that has a state, or is listed, in bytes.
pub const SESSION_KEY_BYTES_MAX: usize = 1 << 10;
/// What the states of one queue may take, in bytes, with their keys and 64 bytes for each.
pub const STATES_BYTES_MAX: usize = 64 << 20;
/// Most sessions of one answer.
pub const SESSIONS_MAX: u32 = 1_000;

/// Keeps a state for a session of a queue, or takes it away.
///
/// It is the queue's, whoever has the session: it outlives consumers, and goes with the queue. Refused
/// (`Invalid`) where keys are no sessions, (`TooLarge`) above [`STATE_BYTES_MAX`] or
/// [`SESSION_KEY_BYTES_MAX`], and (`Throttled`) while states take more memory than they may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetSession {
    /// The queue's.
    pub subscription: SubscriptionRef,
    /// The session's key.
    pub key: Bytes,
    /// Only if the state has this version, 0 for none; `None`: whatever there is.
    pub expected: Option<u64>,
    /// The state; `None`: none.
    pub state: Option<Bytes>,
}

/// What a [`SetSession`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionSet {
    /// It is done: the state has this version, which is above that of every state before; 0: there is
    /// none.
    Done(u64),
    /// Nothing changed: the state has this version instead.
    Unexpected(u64),
    /// Nothing changed: the states of the queue would take more than [`STATES_BYTES_MAX`].
    Full,
    /// The queue is gone.
    Gone,
}

/// Shows sessions: those that are a consumer's, or have a state.
///
/// Of those that are a consumer's and have no state as many are known as 1 MiB of keys, and none whose
/// message has no key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sessions {
    /// The queue's.
    pub subscription: SubscriptionRef,
    /// In the order of their keys, from this one on.
    pub from: Bytes,
    /// At most so many; no more than [`SESSIONS_MAX`].
    pub count: u32,
    /// The first of them with its state.
    pub with_state: bool,
}

/// A session of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Its key.
    pub key: Bytes,
    /// Whose it is.
    pub owner: Option<ConsumerKey>,
    /// Messages that are with its owner.
    pub in_flight: u32,
    /// Messages that came back and wait.
    pub waiting: u32,
    /// The version of its state; 0: it has none.
    pub version: u64,
    /// How long its state is, in bytes.
    pub state_bytes: usize,
    /// Its state, where that was asked for.
    pub state: Option<Bytes>,
}
