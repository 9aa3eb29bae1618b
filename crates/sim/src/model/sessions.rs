//! What is known of sessions: with whom the records of a key are, and what is kept for them.

use super::{Id, LogModel, Violation, broken, key_of, level_of};
use engine::api::{Session, SessionSet};
use std::collections::{BTreeMap, BTreeSet};
use types::Offset;

/// Of the queue whose keys are sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// To which client a record went last.
    holders: BTreeMap<Id, u64>,
    /// What clients gave back: what is on its way to them then comes before it.
    came_back: BTreeMap<Id, u64>,
}

impl Sessions {
    /// A client gives a record back.
    pub(crate) fn returned(&mut self, id: Id, client: u64) {
        self.came_back.insert(id, client);
    }

    /// A client's connection is gone, and what was on its way to it.
    pub(crate) fn gone(&mut self, client: u64) {
        self.came_back.retain(|_, by| *by != client);
    }

    /// A record comes to a client: nobody else has any of its key, it comes in its order, and the client has
    /// no more sessions than it may.
    pub(crate) fn comes(
        &mut self,
        log: &LogModel,
        (id, offset): (Id, Offset),
        (client, sessions_max): (u64, u32),
    ) -> Result<(), Violation> {
        self.holders.insert(id, client);
        self.came_back.remove(&id);
        let is_like = |other: &Id| *other != id && key_of(*other) == key_of(id);
        let holder = |id: &Id| self.holders.get(id).copied();
        let other = log.held.iter().find(|it| is_like(it) && holder(it) != Some(client));
        if let Some(other) = other {
            return broken(format!("{id:?} comes to {client}, and {other:?} is with another"));
        }
        let own = log.held.iter().filter(|it| holder(it) == Some(client));
        let keys: BTreeSet<u64> = own.map(|it| key_of(*it)).collect();
        if sessions_max > 0 && keys.len() > sessions_max as usize {
            return broken(format!("{client} has sessions {keys:?}, {sessions_max} at most"));
        }
        let level = |id: Id| log.said.by_level.then(|| level_of(id));
        let before = log.owed.iter().find(|(other, at)| {
            is_like(other)
                && level(**other) == level(id)
                && at.is_some_and(|at| at < offset)
                && !log.is_maybe_settled(**other)
                && !log.held.contains(other)
                && self.came_back.get(other) != Some(&client)
        });
        match before {
            Some((other, at)) => {
                broken(format!("{id:?} at {offset} comes before {other:?} at {at:?}"))
            }
            None => Ok(()),
        }
    }
}

/// What one client keeps for one session, which nobody else writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// The state and its version that were there for certain.
    known: (u64, Option<Vec<u8>>),
    /// What may have replaced it since: asked for, and never answered.
    maybe: Vec<Option<Vec<u8>>>,
}

impl Kept {
    pub(crate) fn version(&self) -> u64 {
        self.known.0
    }

    /// A write that is asked for was not answered, and never will be.
    pub(crate) fn unanswered(&mut self, state: Option<Vec<u8>>) {
        self.maybe.push(state);
    }

    /// A write was answered.
    pub(crate) fn set(
        &mut self,
        (expected, state): (Option<u64>, Option<Vec<u8>>),
        set: SessionSet,
    ) -> Result<(), Violation> {
        let is_known = |version: u64| version == self.known.0;
        let may_be = |version: u64| match version {
            0 => self.maybe.contains(&None),
            version => self.maybe.iter().any(Option::is_some) && version > self.known.0,
        };
        match (set, expected) {
            (SessionSet::Done(version), expected) => {
                let as_expected = expected.is_none_or(|it| is_known(it) || may_be(it));
                let rises = match state {
                    None => version == 0,
                    Some(_) => version > self.known.0,
                };
                if !as_expected || !rises {
                    return broken(format!(
                        "{self:?} was set to {version}, expecting {expected:?}"
                    ));
                }
                *self = Kept { known: (version, state), maybe: Vec::new() };
                Ok(())
            }
            (SessionSet::Unexpected(there), Some(expected)) => {
                match there != expected && (is_known(there) || may_be(there)) {
                    true => Ok(()),
                    false => {
                        broken(format!("{self:?} is said to be {there}, expecting {expected}"))
                    }
                }
            }
            (set, _) => broken(format!("a state was answered {set:?}, expecting {expected:?}")),
        }
    }

    /// It was read.
    pub(crate) fn read(&mut self, found: Option<&Session>) -> Result<(), Violation> {
        let state = found.and_then(|found| found.state.as_ref()).map(|state| state.to_vec());
        let version = found.map_or(0, |found| found.version);
        let is_known = (version, &state) == (self.known.0, &self.known.1);
        let is_new = self.maybe.contains(&state) && (version > self.known.0 || version == 0);
        if !is_known && !is_new || state.is_some() != (version > 0) {
            return broken(format!("{self:?} is read as {state:?} of version {version}"));
        }
        self.known = (version, state);
        Ok(())
    }
}
