//! All groups of a shard, by name.

use crate::{Command, Effect, Generation, Group, GroupState, Refusal, Reply};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Millis;

/// All groups of a shard. A name is whatever the caller makes it, namespace included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Groups {
    by_name: BTreeMap<String, Group>,
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
            let reply = group.apply(command, now, out);
            if group.state() == GroupState::Dead {
                self.by_name.remove(name);
            }
            return reply;
        }
        if let Some(reply) = reply_without_group(&command) {
            return reply;
        }
        let mut group = Group::new(now);
        let reply = group.apply(command, now, out);
        if !group.is_void() {
            self.by_name.insert(name.to_owned(), group);
        }
        reply
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
