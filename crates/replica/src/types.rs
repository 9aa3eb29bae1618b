//! What openraft is told of our kinds.

use std::sync::Arc;

use bytes::Bytes;
use journal::{AppliedBase, Dest};
use types::Millis;

/// What an entry of a shard says: a frame without its index, which consensus gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The term it was made in. In the log of another term it is an empty entry: what it says was decided
    /// by who did not know what came before.
    pub term: u32,
    /// The leader's time.
    pub leader_ts: Millis,
    /// Which logs take which batch.
    pub dests: Vec<Dest>,
    /// Base offsets that apply gave to earlier frames of the shard.
    pub applied: Vec<AppliedBase>,
    /// The shard's commands.
    pub commands: Bytes,
    /// RecordBatches, whole, their checksums verified.
    pub batches: Vec<Bytes>,
}

openraft::declare_raft_types!(
    /// The kinds of consensus on a shard: one leader for each term, nodes by number.
    pub Types:
        D = Arc<Frame>,
        R = (),
        NodeId = u64,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Bytes,
);
