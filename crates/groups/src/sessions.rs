//! Signs of life, in the leader's memory.

use crate::{Command, Effect, Groups};
use std::collections::{BTreeMap, BTreeSet};
use types::Millis;

#[cfg(test)]
mod tests;

/// When each member was heard of last, and which have been silent too long; also the rebalance
/// deadline of each group. Not replicated: a new leader grants everybody a full session.
///
/// A heartbeat only moves its member's due time. The queue is looked at when an entry's time comes,
/// and an entry whose member has been heard of since is put back.
#[derive(Debug, Default)]
pub struct Sessions {
    groups: BTreeMap<String, GroupSessions>,
    queue: BTreeSet<(Millis, String, Subject)>,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The group.
    pub group: String,
    /// The command to submit for it.
    pub command: Command,
}

#[derive(Debug, Default)]
struct GroupSessions {
    members: BTreeMap<String, Session>,
    deadline: Option<Millis>,
}

#[derive(Debug)]
struct Session {
    timeout: Millis,
    due: Millis,
    /// When the queue looks at it; its only entry that counts.
    queued: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Deadline,
    Member(String),
}

impl Sessions {
    /// Sessions for every member of every group, starting `now`.
    pub fn rebuilt(groups: &Groups, now: Millis) -> Sessions {
        let mut sessions = Sessions::default();
        sessions.add(groups, now);
        sessions
    }

    /// Sessions for every member of more groups, starting `now`.
    pub fn add(&mut self, groups: &Groups, now: Millis) {
        let mut effects = Vec::new();
        for (name, group) in groups.iter() {
            group.rearm(&mut effects);
            for effect in effects.drain(..) {
                self.apply(name, &effect, now);
            }
        }
    }

    /// Follows an effect of a group; ignores those that are not about time.
    pub fn apply(&mut self, group: &str, effect: &Effect, now: Millis) {
        match effect {
            Effect::SessionStarted { member, timeout } => {
                self.start(group, member, *timeout, now);
            }
            Effect::SessionEnded { member } => {
                if let Some(sessions) = self.groups.get_mut(group) {
                    sessions.members.remove(member);
                    self.drop_idle(group);
                }
            }
            Effect::Deadline(deadline) => {
                self.groups.entry(group.to_owned()).or_default().deadline = *deadline;
                if let Some(at) = *deadline {
                    self.queue.insert((at, group.to_owned(), Subject::Deadline));
                }
                self.drop_idle(group);
            }
            Effect::Joined { .. } | Effect::Synced { .. } => {}
        }
    }

    /// A sign of life.
    pub fn heartbeat(&mut self, group: &str, member: &str, now: Millis) {
        let sessions = self.groups.get_mut(group);
        if let Some(session) = sessions.and_then(|sessions| sessions.members.get_mut(member)) {
            session.due = now.plus(session.timeout);
        }
    }

    /// Takes out what is due by `now`: members to expire, deadlines that have passed. Each is
    /// given once; a command that turns out to come too early starts its session or deadline anew.
    pub fn due(&mut self, now: Millis) -> Vec<Due> {
        let mut all_due = Vec::new();
        while self.queue.first().is_some_and(|(at, ..)| *at <= now) {
            let Some((at, group, subject)) = self.queue.pop_first() else { break };
            let command = match subject {
                Subject::Deadline => self.take_deadline(&group, at),
                Subject::Member(member) => self.take_expired(&group, member, (at, now)),
            };
            if let Some(command) = command {
                self.drop_idle(&group);
                all_due.push(Due { group, command });
            }
        }
        all_due
    }

    /// When to ask [`Sessions::due`] next.
    pub fn next_due(&self) -> Option<Millis> {
        self.queue.first().map(|(at, ..)| *at)
    }

    fn start(&mut self, group: &str, member: &str, timeout: Millis, now: Millis) {
        let due = now.plus(timeout);
        let sessions = self.groups.entry(group.to_owned()).or_default();
        let known = sessions.members.get_mut(member);
        let queued = match known {
            Some(session) => {
                (session.timeout, session.due) = (timeout, due);
                if session.queued <= due {
                    return;
                }
                session.queued = due;
                due
            }
            None => {
                let session = Session { timeout, due, queued: due };
                sessions.members.insert(member.to_owned(), session);
                due
            }
        };
        self.queue.insert((queued, group.to_owned(), Subject::Member(member.to_owned())));
    }

    fn take_deadline(&mut self, group: &str, at: Millis) -> Option<Command> {
        let sessions = self.groups.get_mut(group)?;
        sessions.deadline.take_if(|deadline| *deadline == at)?;
        Some(Command::RebalanceTimeout)
    }

    fn take_expired(
        &mut self,
        group: &str,
        member: String,
        (at, now): (Millis, Millis),
    ) -> Option<Command> {
        let sessions = self.groups.get_mut(group)?;
        let session = sessions.members.get_mut(&member)?;
        if session.queued != at {
            return None;
        }
        if now < session.due {
            session.queued = session.due;
            self.queue.insert((session.due, group.to_owned(), Subject::Member(member)));
            return None;
        }
        sessions.members.remove(&member);
        Some(Command::Expire { member })
    }

    fn drop_idle(&mut self, group: &str) {
        let is_idle =
            |sessions: &GroupSessions| sessions.members.is_empty() && sessions.deadline.is_none();
        if self.groups.get(group).is_some_and(is_idle) {
            self.groups.remove(group);
        }
    }
}
