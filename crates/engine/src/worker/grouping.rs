//! Consumer groups: requests in, answers when the group is ready, and signs of life.

use super::Worker;
use crate::MemoryPool;
use crate::api::{Heartbeat, Reply};
use crate::command::{Command, GroupName};
use crate::shard::GroupSlots;
use catalog::Name;
use groups::{CommittedOffset, Effect, GroupView, OffsetKey, Refusal, Sessions};
use std::collections::BTreeMap;
use types::{ClientId, Millis, ShardId, Token};

/// What the leader of groups keeps in memory: who waits, and who is alive.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    sessions: BTreeMap<Name, Sessions>,
    /// Joins and syncs that wait for other members; one per member.
    waiting: BTreeMap<(GroupName, String), (ClientId, Token)>,
}

impl Coordinator {
    /// After a start: every member has a full session left.
    pub(crate) fn rebuild(&mut self, groups: &GroupSlots, now: Millis) {
        for (namespace, groups) in groups.iter() {
            self.sessions.entry(Name::clone(namespace)).or_default().add(groups, now);
        }
    }

    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.sessions.values().filter_map(Sessions::next_due).min()
    }
}

impl Worker {
    pub(super) fn group(
        &mut self,
        (client, token): (ClientId, Token),
        shard: ShardId,
        name: GroupName,
        command: groups::Command,
    ) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let memory = &self.ports.memory;
        let (used, budget) = (memory.used(MemoryPool::Groups), memory.budget(MemoryPool::Groups));
        if used > budget {
            let none = groups::Groups::default();
            let beside = seat.shard.groups.beside(&name).unwrap_or(&none);
            // Who joins a group that is there takes little, and does so again and again.
            let joins = matches!(&command, groups::Command::Join(join) if join.member.is_empty());
            if beside.is_more(&name.group, &command) || joins && used / 2 > budget {
                let reply = Reply::Group(Box::new(groups::Reply::Refused(Refusal::NoRoom)));
                return self.clients.reply(client, token, Ok(reply));
            }
        }
        let command = Command::Group { group: name, command };
        if let Err(error) = seat.client_command(command, (client, token)) {
            self.clients.reply(client, token, Err(error));
        }
    }

    pub(super) fn heartbeat(&mut self, client: ClientId, token: Token, beat: &Heartbeat) {
        let Some(seat) = self.seats.get_mut(&beat.shard) else { return };
        let verdict = match seat.shard.groups.beside(&beat.name) {
            Some(groups) => groups.heartbeat_verdict(
                &beat.name.group,
                beat.generation,
                &beat.member,
                beat.instance.as_deref(),
            ),
            None => Err(Refusal::UnknownMember),
        };
        if matches!(verdict, Ok(()) | Err(Refusal::RebalanceInProgress))
            && let Some(sessions) = seat.groups.sessions.get_mut(&beat.name.namespace)
        {
            sessions.heartbeat(&beat.name.group, &beat.member, self.now);
        }
        let reply = match verdict {
            Ok(()) => groups::Reply::Done,
            Err(refusal) => groups::Reply::Refused(refusal),
        };
        self.clients.reply(client, token, Ok(Reply::Group(Box::new(reply))));
    }

    pub(super) fn list_groups(
        &self,
        shard: ShardId,
        namespace: &str,
        names: Option<&[Name]>,
    ) -> Vec<(Name, GroupView)> {
        let Some(seat) = self.seats.get(&shard) else { return Vec::new() };
        let view = |name: &Name| {
            let full = GroupName { namespace: Name::from(namespace), group: Name::clone(name) };
            let view = seat.shard.groups.beside(&full)?.get(name)?.view();
            Some((Name::clone(name), view))
        };
        match names {
            None => {
                let here = seat.shard.groups.iter().filter(|(other, _)| ***other == *namespace);
                let all = here.flat_map(|(_, groups)| groups.iter());
                let mut all: Vec<(Name, GroupView)> =
                    all.map(|(name, group)| (Name::from(name), group.view())).collect();
                all.sort_by(|(one, _), (other, _)| one.cmp(other));
                all
            }
            Some(names) => names.iter().filter_map(view).collect(),
        }
    }

    pub(super) fn offsets(
        &self,
        shard: ShardId,
        name: &GroupName,
    ) -> Option<Vec<(OffsetKey, CommittedOffset)>> {
        let groups = self.seats.get(&shard)?.shard.groups.beside(name)?;
        let offsets = groups.get(&name.group)?.offsets();
        Some(offsets.map(|(key, offset)| (key.clone(), offset.clone())).collect())
    }

    /// A command of a group was applied: answers who asked (if anyone) and whom it concerns.
    pub(super) fn group_applied(
        &mut self,
        shard: ShardId,
        asker: Option<(ClientId, Token)>,
        name: &GroupName,
        (reply, effects): (groups::Reply, Vec<Effect>),
    ) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let coordinator = &mut seat.groups;
        let mut answers = Vec::new();
        match (reply, asker) {
            (groups::Reply::Waiting { member }, Some(asker)) => {
                let older = coordinator.waiting.insert((name.clone(), member), asker);
                let superseded = groups::Reply::Refused(Refusal::RebalanceInProgress);
                answers.extend(older.map(|older| (older, superseded)));
            }
            (reply, Some(asker)) => answers.push((asker, reply)),
            (_, None) => {}
        }
        let sessions = coordinator.sessions.entry(Name::clone(&name.namespace)).or_default();
        for effect in effects {
            sessions.apply(&name.group, &effect, self.now);
            let (member, reply) = match effect {
                Effect::Joined { member, result } => {
                    (member, result.map_or_else(groups::Reply::Refused, groups::Reply::Joined))
                }
                Effect::Synced { member, result } => {
                    (member, result.map_or_else(groups::Reply::Refused, groups::Reply::Synced))
                }
                _ => continue,
            };
            if let Some(asker) = coordinator.waiting.remove(&(name.clone(), member)) {
                answers.push((asker, reply));
            }
        }
        for ((client, token), reply) in answers {
            self.clients.reply(client, token, Ok(Reply::Group(Box::new(reply))));
        }
    }

    /// Submits what is due: members without a sign of life, rebalances that took too long.
    pub(super) fn group_timers(&mut self) {
        for seat in self.seats.values_mut() {
            let mut commands = Vec::new();
            for (namespace, sessions) in &mut seat.groups.sessions {
                for due in sessions.due(self.now) {
                    let group = GroupName {
                        namespace: Name::clone(namespace),
                        group: Name::from(due.group.as_str()),
                    };
                    commands.push(Command::Group { group, command: due.command });
                }
            }
            for command in commands {
                seat.command_now(command);
            }
        }
    }
}
