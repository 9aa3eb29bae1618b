//! A state machine that knows how far it is, and nothing else.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{
    BasicNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageError, StoredMembership,
};

use crate::Types;
use crate::frame::{Entry, EntryId};

type Membership = StoredMembership<u64, BasicNode>;

#[derive(Clone, Default)]
pub(crate) struct Machine {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last: Option<EntryId>,
    membership: Membership,
    snapshot: Option<Snapshot<Types>>,
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError<u64>> {
        let state = &mut *self.state.lock().unwrap();
        let meta = SnapshotMeta {
            last_log_id: state.last,
            last_membership: state.membership.clone(),
            snapshot_id: format!("{:?}", state.last),
        };
        let snapshot = Snapshot { meta, snapshot: Box::new(Bytes::new()) };
        state.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<EntryId>, Membership), StorageError<u64>> {
        let state = self.state.lock().unwrap();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let state = &mut *self.state.lock().unwrap();
        let mut replies = Vec::new();
        for entry in entries {
            state.last = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                state.membership = Membership::new(Some(entry.log_id), membership);
            }
            replies.push(());
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Bytes>, StorageError<u64>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<Bytes>,
    ) -> Result<(), StorageError<u64>> {
        let state = &mut *self.state.lock().unwrap();
        state.last = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(Snapshot { meta: meta.clone(), snapshot });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError<u64>> {
        Ok(self.state.lock().unwrap().snapshot.clone())
    }
}
