//! All groups of a shard, by name.

use crate::{Command, Effect, Generation, Group, Refusal, Reply};
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
    /// Applies one command to the group of that name, which a join without a member id, a commit
    /// without a generation or nothing else makes. A deleted group is gone afterwards.
    pub fn apply(
        &mut self,
        name: &str,
        command: Command,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let _ = (name, command, now, out);
        Reply::Done
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
