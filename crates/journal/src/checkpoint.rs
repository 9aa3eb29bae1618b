//! The two alternating checkpoint files.

use bytes::Bytes;
use types::ShardId;

use crate::location::Position;

/// The state of the store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Counts checkpoints: one more than that of the checkpoint before.
    pub sequence: u64,
    /// Replay begins here. Some frames there may be applied already: `applied` tells.
    pub replay: Position,
    /// The last applied entry of each shard.
    pub applied: Vec<Applied>,
    /// The state.
    pub pages: Vec<Page>,
}

/// How far a shard was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The shard.
    pub shard: ShardId,
    /// Term of its last applied entry.
    pub term: u32,
    /// Index of its last applied entry.
    pub index: u64,
}

/// Whose state a page is; the two never share a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// The same on every replica.
    Replicated,
    /// Of this replica only: locations, liveness.
    Local,
}

/// One piece of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whose it is.
    pub kind: PageKind,
    /// Its shard.
    pub shard: ShardId,
    /// The state, opaque here.
    pub bytes: Bytes,
}
