//! What the clients know: the facts that no crash may undo, one check per fact.
//!
//! Source of the facts: the promises of `docs/durability.md`.

pub(crate) mod events;
pub(crate) mod recurring;
mod replay;
pub(crate) mod sessions;
mod timetable;

use crate::world::PRIORITY_MAX;
use engine::catalog::Retry;
use replay::Replay;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use timetable::Timetable;
use types::{LogId, Millis, Offset};

/// One record of the workload, unique in a run; a later one of a client is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) u64);

/// So many keys there are.
pub(crate) const KEYS: u64 = 5;

/// Set in what comes in an order of its own: what is scheduled, and what is sent again.
const UNORDERED: u64 = 1 << 39;

impl Id {
    /// The id for a record that comes in an order of its own.
    pub(crate) fn unordered(self) -> Id {
        Id(self.0 | UNORDERED)
    }
}

/// What a record is ordered by, where a queue orders by that.
pub(crate) fn key_of(id: Id) -> u64 {
    id.0 / 4 % KEYS
}

/// The priority of a record.
pub(crate) fn level_of(id: Id) -> u8 {
    id.0.to_le_bytes()[0] % (PRIORITY_MAX + 1)
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn broken<T>(what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(what.into()))
}

/// How often records came back.
#[derive(Debug, Default)]
struct Returns {
    /// That it did for certain.
    certain: BTreeMap<Id, u16>,
    /// That it had when it was delivered last, and that it may have by now.
    told: BTreeMap<Id, (u16, u16)>,
    /// That it may, if that is limited.
    most: Option<u16>,
    /// How long they wait then.
    retry: Option<Retry>,
    /// Until when they do, for certain.
    waits: BTreeMap<Id, Millis>,
    /// What came back after it was settled.
    replay: Replay,
}

/// What the queue over a log says.
#[derive(Debug, Default)]
struct Said {
    /// So many records are held at once, at most.
    held_max: Option<u32>,
    /// What one append brings lies together by level.
    by_level: bool,
}

/// What is known of one log, and of the queue over it.
#[derive(Debug, Default)]
pub(crate) struct LogModel {
    /// Acknowledged, at this offset where the reply told it.
    owed: BTreeMap<Id, Option<Offset>>,
    /// Asked for, never answered.
    maybe: BTreeSet<Id>,
    /// Settled, and the settling acknowledged.
    settled: BTreeSet<Id>,
    /// Settling asked for, never answered.
    maybe_settled: BTreeSet<Id>,
    /// Delivered at some time.
    delivered: BTreeSet<Id>,
    /// Held by a consumer in this life of the process.
    held: BTreeSet<Id>,
    said: Said,
    returns: Returns,
    /// Where ids were seen.
    places: BTreeMap<Offset, Id>,
    /// After the last offset that is known.
    end: Offset,
    /// What lies before may be gone, and before the second is gone.
    trimmed: (Offset, Offset),
    /// What is to come later.
    pub(crate) timetable: Timetable,
}

/// Every fact of a run.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) logs: BTreeMap<LogId, LogModel>,
    commits: BTreeMap<String, Commits>,
    pub(crate) events: events::Events,
    pub(crate) recurring: recurring::Recurring,
    /// The client that a queue with one active consumer serves, by the queue's number.
    pub(crate) active: BTreeMap<usize, u64>,
    pub(crate) sessions: sessions::Sessions,
}

/// Values committed for one group, in the order they were asked for.
#[derive(Debug, Default)]
struct Commits {
    asked: Vec<i64>,
    /// How many of them are certain.
    proven: usize,
}

impl LogModel {
    /// The record is, was or may be in the log.
    pub(crate) fn knows(&self, id: Id) -> bool {
        self.owed.contains_key(&id) || self.maybe.contains(&id) || self.timetable.has(id)
    }

    pub(crate) fn asked(&mut self, ids: &[Id]) {
        self.maybe.extend(ids);
    }

    /// Records were refused: they are not there, whatever comes.
    pub(crate) fn refused(&mut self, ids: &[Id]) {
        self.maybe.retain(|id| !ids.contains(id));
    }

    /// Records were acknowledged; `base`: the first one's offset where it is known.
    pub(crate) fn acknowledged(&mut self, ids: &[Id], base: Option<Offset>) {
        for (at, id) in ids.iter().enumerate() {
            let delta = u32::try_from(at).unwrap_or(u32::MAX);
            self.maybe.remove(id);
            let base = base.filter(|_| delta == 0 || !self.said.by_level);
            let offset = base.map(|base| base.plus(delta));
            self.end = self.end.max(offset.map_or(Offset(0), Offset::next));
            let known = self.owed.entry(*id).or_default();
            *known = offset.or(*known);
        }
    }

    /// After the last offset that is known.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// Records that it holds, more or less.
    pub(crate) fn backlog(&self) -> usize {
        let trimmed = usize::try_from(self.trimmed.1.0).unwrap_or(0);
        self.owed.len().saturating_sub(self.settled.len().max(trimmed))
    }

    /// Its queue has levels.
    pub(crate) fn has_levels(&mut self) {
        self.said.by_level = true;
    }

    pub(crate) fn trim_asked(&mut self, before: Offset) {
        self.trimmed.0 = self.trimmed.0.max(before);
    }

    pub(crate) fn trim_proven(&mut self, start: Offset) {
        self.trimmed.1 = self.trimmed.1.max(start);
    }

    /// A record was seen at an offset, by whatever way.
    pub(crate) fn seen(&mut self, id: Id, offset: Offset) -> Result<(), Violation> {
        if self.timetable.seen(id)? {
            self.owed.entry(id).or_insert(Some(offset));
        }
        match self.owed.get_mut(&id) {
            Some(Some(promised)) if *promised != offset => {
                return broken(format!("record {id:?} was promised at {promised}, is at {offset}"));
            }
            Some(unknown) => *unknown = Some(offset),
            None if !self.maybe.contains(&id) => {
                return broken(format!("record {id:?} at {offset} was never asked for"));
            }
            _ => {}
        }
        match self.places.insert(offset, id) {
            Some(other) if other != id => {
                broken(format!("offset {offset} held {other:?} and now holds {id:?}"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn deliver(
        &mut self,
        id: Id,
        offset: Offset,
        (redelivered, attempts): (bool, u16),
        now: Millis,
    ) -> Result<(), Violation> {
        self.seen(id, offset)?;
        if let Some(due) = self.returns.waits.remove(&id).filter(|due| now < *due) {
            return broken(format!("record {id:?} at {offset} was to wait until {due}, not {now}"));
        }
        let returns = self.returns.certain.get(&id).copied().unwrap_or(0);
        if attempts < returns {
            return broken(format!(
                "record {id:?} at {offset} was given back {returns} times, not {attempts}"
            ));
        }
        if self.returns.most.is_some_and(|most| attempts > most) {
            return broken(format!("record {id:?} at {offset} came back {attempts} times"));
        }
        self.returns.told.insert(id, (attempts, attempts));
        if self.settled.contains(&id) {
            return broken(format!("record {id:?} at {offset} was settled and is delivered again"));
        }
        if !self.held.insert(id) {
            return broken(format!("record {id:?} at {offset} is delivered to two consumers"));
        }
        if self.said.held_max.is_some_and(|most| self.held.len() > most as usize) {
            return broken(format!("{} records are held at once", self.held.len()));
        }
        if !self.delivered.insert(id) && !redelivered {
            return broken(format!("record {id:?} at {offset} comes again unmarked"));
        }
        Ok(())
    }

    /// No other record of the key is with a consumer, and none that came before waits.
    pub(crate) fn in_key_order(
        &self,
        id: Id,
        offset: Offset,
        at_once: u32,
    ) -> Result<(), Violation> {
        let is_like = |other: &Id| *other != id && key_of(*other) == key_of(id);
        let held: Vec<&Id> = self.held.iter().filter(|other| is_like(other)).collect();
        if held.len() >= at_once as usize {
            return broken(format!("{id:?} comes while {held:?} of its key are held"));
        }
        // What is on its way to two clients they get in any order.
        if at_once > 1 {
            return Ok(());
        }
        let level = |id: Id| self.said.by_level.then(|| level_of(id));
        let before = self.owed.iter().find(|(other, at)| {
            is_like(other)
                && level(**other) == level(id)
                && at.is_some_and(|at| at < offset)
                && !self.is_maybe_settled(**other)
        });
        match before {
            Some((other, at)) => {
                broken(format!("{id:?} at {offset} comes before {other:?} at {at:?}"))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn settle_asked(&mut self, id: Id) {
        self.held.remove(&id);
        self.returns.replay.settle_asked(id);
        self.maybe_settled.insert(id);
    }

    pub(crate) fn settle_proven(&mut self, id: Id) {
        if self.returns.replay.is_unsure(id) {
            return;
        }
        self.maybe_settled.remove(&id);
        self.settled.insert(id);
    }

    pub(crate) fn returned(&mut self, id: Id) {
        self.held.remove(&id);
    }

    /// A record comes back so often at most.
    pub(crate) fn limit_returns(&mut self, most: u16) {
        self.returns.most = Some(most);
    }

    /// No more than so many records are held at once.
    pub(crate) fn cap_held(&mut self, most: u32) {
        self.said.held_max = Some(most);
    }

    /// Records that come back wait.
    pub(crate) fn delay_returns(&mut self, retry: Retry) {
        self.returns.retry = Some(retry);
    }

    /// Until when a record that a client gives back now has to wait; `failed`: that counts.
    pub(crate) fn wait_of(&self, id: Id, failed: bool, now: Millis) -> Option<(Id, Millis)> {
        let attempts = self.returns.told.get(&id).map_or(0, |(attempts, _)| *attempts);
        let delay = self.returns.retry?.delay(failed, attempts + u16::from(failed), 0)?;
        Some((id, now.plus(delay)))
    }

    /// Whether one more return of a record that a client holds is one too many.
    pub(crate) fn is_last_attempt(&self, id: Id) -> bool {
        let attempts = self.returns.told.get(&id).map_or(0, |(attempts, _)| *attempts);
        self.returns.most.is_some_and(|most| attempts >= most)
    }

    /// A record may have come back: whether that may have been once too often.
    pub(crate) fn may_have_returned(&mut self, id: Id) -> bool {
        let (_, possible) = self.returns.told.entry(id).or_default();
        *possible = possible.saturating_add(1);
        self.returns.most.is_some_and(|most| *possible > most)
    }

    /// The process ended: what was held came back, for certain, as deliveries were written down before.
    /// Gives what came back too often.
    pub(crate) fn count_crash(&mut self, now: Millis) -> Vec<Id> {
        let waiting = self.held.iter().filter_map(|id| self.wait_of(*id, true, now));
        let waiting: Vec<(Id, Millis)> = waiting.collect();
        self.returns.waits.extend(waiting);
        for id in &self.held {
            let attempts = self.returns.told.get(id).map_or(0, |(attempts, _)| *attempts);
            self.returns.certain.insert(*id, attempts + 1);
        }
        self.held.iter().copied().filter(|id| self.is_last_attempt(*id)).collect()
    }

    /// Every record that is or was in the log, or may be.
    pub(crate) fn ids(&self) -> BTreeSet<Id> {
        let known = self.owed.keys().chain(&self.maybe).copied();
        known.chain(self.timetable.ids()).collect()
    }

    /// Records have come back, those that count and those that wait, for certain.
    pub(crate) fn returns_proven(&mut self, counted: &[Id], waits: Vec<(Id, Millis)>) {
        for id in counted.iter().filter(|id| !self.returns.replay.is_unsure(**id)) {
            *self.returns.certain.entry(*id).or_default() += 1;
        }
        self.returns.waits.extend(waits);
    }

    pub(crate) fn is_maybe_settled(&self, id: Id) -> bool {
        self.maybe_settled.contains(&id) || self.settled.contains(&id)
    }

    /// The process ended.
    pub(crate) fn new_life(&mut self) {
        self.held.clear();
        self.returns.replay.new_life();
    }

    /// Everything that must be readable is among `found` (a topic: all that was acknowledged).
    pub(crate) fn all_there(&self, found: &BTreeSet<Id>, queue: bool) -> Result<(), Violation> {
        for (id, offset) in &self.owed {
            let settled = queue && self.is_maybe_settled(*id);
            // One that nobody has seen yet may lie anywhere.
            let trimmed = offset.unwrap_or(Offset(0)) < self.trimmed.0;
            if !settled && !trimmed && !found.contains(id) {
                let held = (found.first(), found.last(), found.len());
                return broken(format!("acknowledged record {id:?} is lost; there are {held:?}"));
            }
        }
        Ok(())
    }

    /// Records of one client, and of one level where there are any, are in the order it sent them, and none from before the start.
    pub(crate) fn in_order(&self, found: &[(Offset, Id)]) -> Result<(), Violation> {
        if let Some((offset, id)) = found.first().filter(|(offset, _)| *offset < self.trimmed.1) {
            return broken(format!("{id:?} at {offset} was trimmed and is back"));
        }
        let mut last: BTreeMap<(u64, u8), Id> = BTreeMap::new();
        let by_order = |id: Id| id.0 & UNORDERED == 0 && !self.timetable.has(id);
        let in_order = found.iter().filter(|(_, id)| by_order(*id));
        for (offset, id) in in_order {
            let level = if self.said.by_level { level_of(*id) } else { 0 };
            if let Some(before) = last.insert((id.0 >> 40, level), *id)
                && before >= *id
            {
                return broken(format!("{id:?} at {offset} comes after {before:?}"));
            }
        }
        Ok(())
    }
}

impl Model {
    pub(crate) fn log(&mut self, log: LogId) -> &mut LogModel {
        self.logs.entry(log).or_default()
    }

    /// When the last scheduled record is due.
    pub(crate) fn last_due(&self) -> Millis {
        let dues = self.logs.values().map(|log| log.timetable.last_due());
        dues.max().unwrap_or(Millis(0))
    }

    pub(crate) fn new_life(&mut self) {
        self.logs.values_mut().for_each(LogModel::new_life);
        self.active.clear();
        self.sessions = sessions::Sessions::default();
    }

    pub(crate) fn commit_asked(&mut self, group: &str, value: i64) -> usize {
        let commits = self.commits.entry(group.to_owned()).or_default();
        commits.asked.push(value);
        commits.asked.len()
    }

    pub(crate) fn commit_proven(&mut self, group: &str, number: usize) {
        if let Some(commits) = self.commits.get_mut(group) {
            commits.proven = commits.proven.max(number);
        }
    }

    /// A group's position was read.
    pub(crate) fn committed(&self, group: &str, value: Option<i64>) -> Result<(), Violation> {
        let Some(commits) = self.commits.get(group) else { return Ok(()) };
        let possible = &commits.asked[commits.proven.saturating_sub(1)..];
        let holds = match value {
            Some(value) => possible.contains(&value),
            None => commits.proven == 0,
        };
        if holds { Ok(()) } else { broken(format!("group {group} is at {value:?}")) }
    }

    pub(crate) fn groups(&self) -> Vec<String> {
        self.commits.keys().cloned().collect()
    }
}
