//! One group: who is in it, what it agreed on, and the positions committed under its name.

mod join;
mod member;
mod offsets;
mod positions;
mod rebalance;
mod subscription;
#[cfg(test)]
mod tests;

use crate::{Command, Effect, Generation, OffsetKey, Refusal, Reply};
use bytes::Bytes;
use member::{Member, Waiting};
use positions::Positions;
use rebalance::Deadline;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Millis;

/// What a group takes in memory without members and positions.
const GROUP_BYTES: usize = size_of::<Group>() * 3 / 2;
/// What an id that was given out and has not joined takes, or a static identity.
const PENDING_BYTES: usize = 128;

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
    /// The protocol chosen; empty unless the group is stable.
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
    /// Since when it is in this state.
    since: Millis,
    generation: Generation,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Which member has a static identity.
    instances: BTreeMap<String, String>,
    /// Ids given out that have not joined yet, with their session timeouts (KIP-394).
    pending: BTreeMap<String, Millis>,
    deadline: Option<Deadline>,
    offsets: Positions,
}

impl Group {
    /// A group without members and positions.
    pub(crate) fn new(now: Millis) -> Group {
        Group {
            state: GroupState::Empty,
            since: now,
            generation: Generation(0),
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            deadline: None,
            offsets: Positions::default(),
        }
    }

    /// Applies one command. `now` comes with the command's frame.
    pub fn apply(&mut self, command: Command, now: Millis, out: &mut Vec<Effect>) -> Reply {
        match command {
            Command::Join(join) => self.join(join, now, out).unwrap_or_else(Reply::Refused),
            Command::Sync(sync) => self.sync(sync, now, out).unwrap_or_else(Reply::Refused),
            Command::Leave { members } => self.leave(&members, now, out),
            Command::Expire { member } => {
                self.expire(&member, now, out);
                Reply::Done
            }
            Command::RebalanceTimeout => {
                self.rebalance_timeout(now, out);
                Reply::Done
            }
            Command::Commit(commit) => self.commit(commit, now, out).unwrap_or_else(Reply::Refused),
            Command::DeleteOffsets { keys } => {
                self.delete_offsets(&keys).unwrap_or_else(Reply::Refused)
            }
            Command::ForgetTopic { topic } => {
                self.offsets.retain(|key, _| key.topic != topic);
                Reply::Done
            }
            Command::ExpireOffsets { retention } => {
                self.expire_offsets(retention, now, out);
                Reply::Done
            }
            Command::DeleteGroup if self.members.is_empty() => {
                self.die(now, out);
                Reply::Done
            }
            Command::DeleteGroup => Reply::Refused(Refusal::GroupNotEmpty),
        }
    }

    /// What a heartbeat is told. `Ok` and `RebalanceInProgress` count as a sign of life, the others
    /// do not.
    pub fn heartbeat_verdict(
        &self,
        generation: Generation,
        member: &str,
        instance: Option<&str>,
    ) -> Result<(), Refusal> {
        self.check_member(member, instance)?;
        if generation != self.generation {
            return Err(Refusal::IllegalGeneration);
        }
        match self.state {
            GroupState::PreparingRebalance => Err(Refusal::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::Empty | GroupState::Dead => Err(Refusal::UnknownMember),
        }
    }

    /// Gives the effects that rebuild a new leader's memory: a full session for every member, and
    /// the deadline.
    pub fn rearm(&self, out: &mut Vec<Effect>) {
        for (id, member) in &self.members {
            out.push(member.session(id));
        }
        for (id, &timeout) in &self.pending {
            out.push(Effect::SessionStarted { member: id.clone(), timeout });
        }
        if let Some(deadline) = self.deadline {
            out.push(Effect::Deadline(Some(deadline.at)));
        }
    }

    /// Where it stands.
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// Its rebalances.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What kind of protocol its members follow, or followed last.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
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
        let protocol = match self.state {
            GroupState::Stable => self.protocol.as_deref(),
            _ => None,
        };
        let members = self.members.iter().map(|(id, member)| MemberView {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client.id.clone(),
            client_host: member.client.host.clone(),
            metadata: protocol.map_or(Bytes::new(), |name| member.metadata(name)),
            assignment: protocol.map_or(Bytes::new(), |_| member.assignment.clone()),
        });
        GroupView {
            state: self.state,
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: members.collect(),
        }
    }

    /// About what it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let members = self.members.iter().map(|(id, member)| id.len() + member.bytes());
        let others = (self.pending.len() + self.instances.len()) * PENDING_BYTES;
        GROUP_BYTES + members.sum::<usize>() + others + self.position_bytes()
    }

    /// What of that are positions.
    pub(crate) fn position_bytes(&self) -> usize {
        self.offsets.bytes()
    }

    /// Whether nothing would be lost with it.
    pub(crate) fn is_void(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.offsets.is_empty()
    }

    /// Whether `member` is one, and not one that another has replaced.
    fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), Refusal> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(Refusal::UnknownMember),
                Some(current) if current != member => return Err(Refusal::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(Refusal::UnknownMember) }
    }

    fn enter(&mut self, state: GroupState, now: Millis) {
        (self.state, self.since) = (state, now);
    }

    /// Ends the group, which has no members.
    fn die(&mut self, now: Millis, out: &mut Vec<Effect>) {
        for (member, _) in std::mem::take(&mut self.pending) {
            out.push(Effect::SessionEnded { member });
        }
        self.set_deadline(None, out);
        self.offsets.clear();
        self.enter(GroupState::Dead, now);
    }
}
