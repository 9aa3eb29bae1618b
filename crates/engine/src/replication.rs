//! What the engine and the consensus on its shards' frames know of each other.
//!
//! A frame of a shard with several replicas is proposed by the worker of the node that leads the shard,
//! ordered by a [`Replicator`], written by every replica's journal thread, and applied by every
//! replica's worker when it is committed. The journal is one, and so is its sync: a replicator has no
//! file of its own, and what it has to remember (votes, truncations, purges) are frames.

use journal::{FrameDraft, Part, Placed, ReadError, Vote};
use std::fmt;
use std::sync::Arc;
use types::ShardId;

/// A node of a cluster.
pub type NodeId = u64;

/// Consensus on the frames of shards. Its calls come from the engine's threads and wait for neither
/// disk nor network.
pub trait Replicator: Send + Sync + fmt::Debug {
    /// Begins with what the store holds. Called once, before any thread of the engine runs; what the
    /// replicator tells `replicas` before the engine runs waits for it.
    fn start(&self, replicas: Arc<dyn Replicas>, found: Vec<Found>);

    /// Takes frames to be ordered, each as one entry, in this order for each shard. What was sealed in a
    /// term that is over is dropped; the engine is told by [`Replicas::follow`]. The index of a frame is
    /// what the worker expects it to get, and the committed one says which it got.
    fn propose(&self, frames: Vec<FrameDraft>);

    /// Frames that were given to [`Replicas::write`] are durable; in the order in which they were given.
    fn placed(&self, placed: &[Placed]);

    /// What a shard's entries up to this one did is in a checkpoint that is durable: the entries
    /// themselves are needed by other replicas at most.
    fn stored(&self, applied: &[(ShardId, EntryId)]);

    /// The journal's thread has ended, cleanly or not: nothing that was not reported by
    /// [`placed`](Replicator::placed) will be.
    fn stop(&self);
}

/// How the shards of an engine are replicated.
#[derive(Clone, Debug)]
pub struct Replication {
    /// Orders their frames; it knows the other nodes.
    pub replicator: Arc<dyn Replicator>,
}

/// What a replicator asks of the engine. Its calls only put something into a mailbox, except
/// [`read`](Replicas::read).
pub trait Replicas: Send + Sync + fmt::Debug {
    /// Has frames of any kind written, in order, and [`Replicator::placed`] called when they are durable.
    fn write(&self, frames: Vec<FrameDraft>);

    /// Bytes that were given to [`write`](Replicas::write) and are not durable: a replicator takes no
    /// more from the network while there are many.
    fn unwritten_bytes(&self) -> usize;

    /// Entries of a shard that a quorum has and this node's disk too, without a gap, from the one after
    /// [`Found::applied`] on.
    fn commit(&self, shard: ShardId, entries: Vec<Committed>);

    /// This node leads the shard, and has committed an entry of its own `term`: what it proposes from
    /// now on goes behind everything that was given to [`commit`](Replicas::commit) before this call.
    fn lead(&self, shard: ShardId, term: u32);

    /// This node does not lead the shard, or not any more; `leader` does, as far as is known. What was
    /// proposed and not committed yet may be committed or not.
    fn follow(&self, shard: ShardId, leader: Option<NodeId>);

    /// A frame that is durable. Blocks on the disk.
    ///
    /// Fails when it is damaged, or its segment is gone.
    fn read(&self, place: Part) -> Result<FrameDraft, ReadError>;
}

/// Which entry of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// The term of the leader that wrote it.
    pub term: u32,
    /// Its place in the shard, contiguous.
    pub index: u64,
}

/// A committed entry, with what the journal said of it.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The entry. One whose kind is not [`Entry`](journal::FrameKind::Entry) changes nothing, but its
    /// index is taken.
    pub frame: FrameDraft,
    /// Where it is on this node's disk.
    pub placed: Placed,
}

/// What a store holds of a shard's consensus when it is opened.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The shard.
    pub shard: ShardId,
    /// The last vote.
    pub vote: Option<Vote>,
    /// Up to where entries were dropped, if any were.
    pub purged: Option<EntryId>,
    /// The last entry whose effect the shard's state has. There is none in a new store.
    pub applied: Option<EntryId>,
    /// The last membership up to `applied`: the commands of its frame.
    pub members: Option<(EntryId, bytes::Bytes)>,
    /// Entries behind what was purged, in order, with where they are. Those behind `applied` are to be
    /// committed again.
    pub entries: Vec<Kept>,
    /// The replica may have acknowledged what can no longer be read: it must neither vote nor count
    /// until it was repaired from its peers.
    pub faulty: Option<String>,
}

/// An entry in the journal.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its term; `placed` has the index.
    pub term: u32,
    /// Where it is. Of those up to [`Found::applied`] the batches' places are not told.
    pub placed: Placed,
    /// Bytes that it takes in memory, about.
    pub bytes: usize,
}
