//! Operations that take messages from one log to another.

use super::LeaseRange;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use types::{ConsumerId, LogRef, SubscriptionRef};

/// Moves messages to the end of another log: each is there once and settled here, whatever
/// ends the process meanwhile.
///
/// On one shard both happen in one frame. To another shard a message goes through this shard's
/// outbox: settled here and in the outbox at once, then appended there, then taken out of the outbox.
/// A target that is deleted in that moment takes along what was moved to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Move {
    /// Who holds the leases; `None`: those are moved that nobody holds, ready or waiting.
    pub consumer: Option<ConsumerId>,
    /// Of what.
    pub source: SubscriptionRef,
    /// Which; those that are not held (any more), or are held, are left out.
    pub range: LeaseRange,
    /// Where to.
    pub to: LogRef,
    /// Headers that the moved records have instead of those of the same name; `None`: have not.
    pub stamp: Vec<(Bytes, Option<Bytes>)>,
    /// Nothing is moved (`Invalid`) if a record was moved so often before: it goes in circles. Counted
    /// in the header `moves`; `None`: not counted.
    pub moves_max: Option<u32>,
    /// A dead letter gets the address back that it had when it died last.
    pub restores: bool,
    /// What becomes of a message whose target does not exist.
    pub gone: IfGone,
}

/// What becomes of a message whose target does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IfGone {
    /// It stays: on one shard the move is refused (`NotFound`), from an outbox the message returns to
    /// the end of its log.
    Keep,
    /// It is settled and that is all.
    Drop,
}
