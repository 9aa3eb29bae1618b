//! A shard as openraft's state machine: what is committed goes to the engine, which applies it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use engine::replication::Committed;
use journal::FrameKind;
use openraft::storage::RaftStateMachine;
use openraft::{
    BasicNode, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use types::ShardId;

use crate::frame::{Entry, EntryId, draft_of};
use crate::journal::Journal;
use crate::standing::Standing;
use crate::types::Types;

pub(crate) type Members = StoredMembership<u64, BasicNode>;

type Failure = StorageError<u64>;

/// What of a shard openraft asks for.
pub(crate) struct Machine {
    pub(crate) shard: ShardId,
    pub(crate) journal: Journal,
    pub(crate) standing: Arc<Standing>,
    pub(crate) applied: Option<EntryId>,
    pub(crate) members: Members,
}

impl Machine {
    /// An entry for the engine; none of the first entry, which is there before any frame of a shard is.
    #[expect(clippy::result_large_err, reason = "openraft asks for its own error")]
    fn committed(&mut self, entry: &Entry) -> Result<Option<Committed>, Failure> {
        let id = entry.log_id;
        let failed = |error: &(dyn std::error::Error + 'static)| {
            let text = io::Error::other(error.to_string());
            Failure::from(StorageIOError::apply(id, &text))
        };
        let frame = draft_of(self.shard, entry).map_err(|error| failed(&error))?;
        if frame.kind == FrameKind::Membership
            && let openraft::EntryPayload::Membership(members) = &entry.payload
        {
            self.members = Members::new(Some(id), members.clone());
        }
        self.applied = Some(id);
        if id.index == 0 {
            return Ok(None);
        }
        let placed = self.journal.placed_of(self.shard, id.index);
        let missing = || failed(&io::Error::other("a committed entry is not in the journal"));
        Ok(Some(Committed { frame, placed: placed.ok_or_else(missing)? }))
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = NoSnapshot;

    async fn applied_state(&mut self) -> Result<(Option<EntryId>, Members), Failure> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failure>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut committed, mut replies) = (Vec::new(), Vec::new());
        for entry in entries {
            committed.extend(self.committed(&entry)?);
            replies.push(());
        }
        let term = self.applied.map_or(0, |applied| applied.leader_id.term);
        self.standing.commit(committed, u32::try_from(term).unwrap_or(u32::MAX));
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshot {
        NoSnapshot
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Bytes>, Failure> {
        Err(no_snapshot())
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<u64, BasicNode>,
        _snapshot: Box<Bytes>,
    ) -> Result<(), Failure> {
        Err(no_snapshot())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failure> {
        Ok(None)
    }
}

/// Entries are kept for replicas that are behind; a state is not sent.
pub(crate) struct NoSnapshot;

impl RaftSnapshotBuilder<Types> for NoSnapshot {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failure> {
        Err(no_snapshot())
    }
}

fn no_snapshot() -> Failure {
    let why = io::Error::other("the state of a shard is not sent to other nodes");
    StorageIOError::read_snapshot(None, &why).into()
}
