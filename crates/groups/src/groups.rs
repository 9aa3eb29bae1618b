//! All groups of a shard, by name.

use crate::{Command, Effect, Generation, Group, GroupState, Refusal, Reply};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use types::Millis;

/// All groups of a shard. A name is whatever the caller makes it, namespace included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Groups {
    by_name: BTreeMap<String, Group>,
    #[serde(skip)]
    bytes: usize,
}

impl Groups {
    /// Applies one command to the group of that name. A group comes to be by a join without a
    /// member id or a commit without a generation; a deleted one is gone afterwards.
    pub fn apply(
        &mut self,
        name: &str,
        command: Command,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Reply {
        if let Some(group) = self.by_name.get_mut(name) {
            // A commit changes positions only, and comes often.
            let weigh = match command {
                Command::Commit(_) => Group::position_bytes,
                _ => Group::bytes,
            };
            let before = weigh(group);
            let reply = group.apply(command, now, out);
            if group.state() == GroupState::Dead {
                self.by_name.remove(name);
                self.bytes -= name.len() + before;
            } else {
                self.bytes = self.bytes - before + weigh(group);
            }
            return reply;
        }
        if let Some(reply) = reply_without_group(&command) {
            return reply;
        }
        let mut group = Group::new(now);
        let reply = group.apply(command, now, out);
        if !group.is_void() {
            self.bytes += name.len() + group.bytes();
            self.by_name.insert(name.to_owned(), group);
        }
        reply
    }

    /// About what they take in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a command would make a group, or note a position where none is: what to refuse when
    /// there is no room for more.
    pub fn is_more(&self, name: &str, command: &Command) -> bool {
        let group = self.by_name.get(name);
        let is_noted = |key| group.is_some_and(|group| group.offset(key).is_some());
        match command {
            Command::Join(_) => group.is_none(),
            Command::Commit(commit) => !commit.offsets.iter().all(|noted| is_noted(&noted.key)),
            _ => false,
        }
    }

    /// A group.
    pub fn get(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name)
    }

    /// Every group, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.by_name.iter().map(|(name, group)| (name.as_str(), group))
    }

    /// What a heartbeat to a group is told; see [`Group::heartbeat_verdict`].
    pub fn heartbeat_verdict(
        &self,
        name: &str,
        generation: Generation,
        member: &str,
        instance: Option<&str>,
    ) -> Result<(), Refusal> {
        match self.by_name.get(name) {
            Some(group) => group.heartbeat_verdict(generation, member, instance),
            None => Err(Refusal::UnknownMember),
        }
    }
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Groups, D::Error> {
        let by_name = BTreeMap::<String, Group>::deserialize(deserializer)?;
        let bytes = by_name.iter().map(|(name, group)| name.len() + group.bytes()).sum();
        Ok(Groups { by_name, bytes })
    }
}

/// What a command is told when there is no group; `None` when it makes one.
fn reply_without_group(command: &Command) -> Option<Reply> {
    let refusal = match command {
        Command::Join(join) if join.member.is_empty() => return None,
        Command::Commit(commit) if commit.generation < Generation(0) => return None,
        Command::Join(_) | Command::Sync(_) => Refusal::UnknownMember,
        Command::Commit(_) => Refusal::IllegalGeneration,
        Command::Leave { members } => {
            return Some(Reply::Left(vec![Err(Refusal::UnknownMember); members.len()]));
        }
        Command::DeleteOffsets { .. } | Command::DeleteGroup => Refusal::GroupNotFound,
        Command::Expire { .. }
        | Command::RebalanceTimeout
        | Command::ForgetTopic { .. }
        | Command::ExpireOffsets { .. } => return Some(Reply::Done),
    };
    Some(Reply::Refused(refusal))
}
