//! One group.

use crate::{Command, Effect, Generation, OffsetKey, Refusal, Reply};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Millis;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupState {
    /// No members; maybe positions.
    Empty,
    /// Waits for members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
    /// Deleted.
    Dead,
}

/// A position noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: i64,
    /// Epoch of the last record read; -1 when not known.
    pub leader_epoch: i32,
    /// The client's note.
    pub metadata: String,
    /// When it was noted.
    pub committed_at: Millis,
}

/// A group as tools show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Where it stands.
    pub state: GroupState,
    /// Its rebalances.
    pub generation: Generation,
    /// Empty when it never had members.
    pub protocol_type: String,
    /// The protocol chosen; empty while none is.
    pub protocol: String,
    /// Its members by id.
    pub members: Vec<MemberView>,
}

/// A member as tools show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its id.
    pub member: String,
    /// Its static identity.
    pub instance: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Its metadata for the protocol chosen; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is stable.
    pub assignment: Bytes,
}

/// The membership of one group and the positions committed under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    state: GroupState,
    generation: Generation,
    offsets: BTreeMap<OffsetKey, CommittedOffset>,
}

impl Group {
    /// Applies one command. `now` comes with the command's frame.
    pub fn apply(&mut self, command: Command, now: Millis, out: &mut Vec<Effect>) -> Reply {
        let _ = (command, now, out);
        Reply::Done
    }

    /// What a heartbeat is told. Whatever it is but unknown, fenced or of another generation, the
    /// heartbeat counts as a sign of life.
    pub fn heartbeat_verdict(
        &self,
        generation: Generation,
        member: &str,
        instance: Option<&str>,
    ) -> Result<(), Refusal> {
        let _ = (generation, member, instance);
        Ok(())
    }

    /// Gives the effects that rebuild a new leader's memory: a full session for every member, and
    /// the deadline.
    pub fn rearm(&self, out: &mut Vec<Effect>) {
        let _ = out;
    }

    /// Where it stands.
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// Its rebalances.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The position noted for a partition.
    pub fn offset(&self, key: &OffsetKey) -> Option<&CommittedOffset> {
        self.offsets.get(key)
    }

    /// Every position, by topic and partition.
    pub fn offsets(&self) -> impl Iterator<Item = (&OffsetKey, &CommittedOffset)> {
        self.offsets.iter()
    }

    /// The group as tools show it.
    pub fn view(&self) -> GroupView {
        GroupView {
            state: self.state,
            generation: self.generation,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}
