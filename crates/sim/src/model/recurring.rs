//! What is known of messages that recur. Each version of each has an id of its own, which its messages say.
//!
//! Nobody takes their messages out of their queue, so that each is there again whenever somebody looks.

use super::{Id, Model, Violation, broken};
use engine::api::{Missed, Recurred, RecurrenceEntry};
use std::collections::{BTreeMap, BTreeSet};
use types::{Millis, Offset};

/// Every recurrence of a run.
#[derive(Debug, Default)]
pub(crate) struct Recurring {
    versions: BTreeMap<Id, Version>,
}

/// A recurrence as it was asked for once.
#[derive(Debug)]
struct Version {
    name: u64,
    every: Millis,
    count: Option<u64>,
    missed: Missed,
    /// When it is due first, where the answer told it.
    first: Option<Millis>,
    /// It may not be there, or stand still.
    is_unsure: bool,
    /// So often it was asked to end, to stop or to go on: there may be times without a message.
    steps: u64,
    /// It was stopped at the first and asked to go on at the second: nothing is appended of it in between.
    stopped: Vec<(Millis, Option<Millis>)>,
    /// It is not there any more since then.
    gone: Option<Millis>,
    /// Where its messages are, by when they were due.
    found: BTreeMap<Millis, Offset>,
}

/// What is asked of a recurrence that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Cancel,
    Pause,
    Resume,
}

/// A message of a recurrence as it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fired {
    pub(crate) id: Id,
    pub(crate) due: Millis,
    pub(crate) stamp: Millis,
    pub(crate) offset: Offset,
}

impl Recurring {
    /// A version was asked for: it may be there, and what was there before may not be.
    pub(crate) fn asked(
        &mut self,
        id: Id,
        (name, every): (u64, Millis),
        (count, missed): (Option<u64>, Missed),
    ) {
        self.may_change(name);
        let version = Version {
            name,
            every,
            count,
            missed,
            first: None,
            is_unsure: true,
            steps: 0,
            stopped: Vec::new(),
            gone: None,
            found: BTreeMap::new(),
        };
        self.versions.insert(id, version);
    }

    /// A version is there, and none that was asked for before is any more.
    pub(crate) fn answered(
        &mut self,
        id: Id,
        (recurred, entry): (Recurred, Option<&RecurrenceEntry>),
        now: Millis,
    ) -> Result<(), Violation> {
        let (Recurred::Made | Recurred::Changed, Some(entry)) = (recurred, entry) else {
            return broken(format!("a recurrence {id:?} was put: {recurred:?}, {entry:?}"));
        };
        let Some(version) = self.versions.get_mut(&id) else { return Ok(()) };
        version.first = entry.due;
        let name = version.name;
        let is_last = self.of_name(name).all(|(other, _)| other <= id);
        if let Some(version) = self.versions.get_mut(&id) {
            version.is_unsure = !is_last || version.steps > 0;
        }
        self.silence(name, id, now);
        Ok(())
    }

    /// Something was asked of what a name stands for; gives how often that was.
    pub(crate) fn step_asked(&mut self, name: u64, step: Step, now: Millis) -> u64 {
        self.may_change(name);
        let mut steps = 0;
        // Whether the last one is there is not certain: it may be asked of one before.
        for version in self.versions.values_mut().filter(|version| version.name == name) {
            version.steps += 1;
            if step == Step::Resume
                && let Some((_, end @ None)) = version.stopped.last_mut()
            {
                *end = Some(now);
            }
            steps = version.steps;
        }
        steps
    }

    /// That was done. `last`: the version it was asked of.
    pub(crate) fn step_answered(
        &mut self,
        (name, last): (u64, Id),
        (step, number): (Step, u64),
        recurred: Recurred,
        now: Millis,
    ) {
        let is_last = self.of_name(name).all(|(other, _)| other <= last);
        let Some(version) = self.versions.get_mut(&last) else { return };
        match (step, recurred) {
            (Step::Cancel, _) | (_, Recurred::Absent) => self.silence(name, Id(last.0 + 1), now),
            (Step::Pause, _) if is_last && version.steps == number && !version.is_stopped() => {
                version.stopped.push((now, None));
            }
            // It may have been asked otherwise since.
            (Step::Resume | Step::Pause, _) => {}
        }
    }

    /// The version that a name stands for, if it is there and nobody asked otherwise since.
    pub(crate) fn last(&self, name: u64) -> Option<Id> {
        self.of_name(name).map(|(id, _)| id).max()
    }

    fn of_name(&self, name: u64) -> impl Iterator<Item = (Id, &Version)> {
        let versions = self.versions.iter().filter(move |(_, version)| version.name == name);
        versions.map(|(id, version)| (*id, version))
    }

    fn may_change(&mut self, name: u64) {
        let of_name = self.versions.values_mut().filter(|version| version.name == name);
        of_name.for_each(|version| version.is_unsure = true);
    }

    /// Of the versions before this one nothing comes from now on.
    fn silence(&mut self, name: u64, before: Id, now: Millis) {
        for (_, version) in self.versions.range_mut(..before).filter(|(_, it)| it.name == name) {
            version.gone = version.gone.or(Some(now));
        }
    }
}

impl Version {
    fn is_stopped(&self) -> bool {
        matches!(self.stopped.last(), Some((_, None)))
    }

    fn check(&mut self, fired: &Fired) -> Result<(), Violation> {
        let Fired { due, stamp, offset, .. } = *fired;
        if stamp < due {
            return broken(format!("it was appended at {stamp} and due at {due}"));
        }
        let was_stopped =
            |(from, to): &(Millis, Option<Millis>)| stamp > *from && to.is_none_or(|to| stamp < to);
        if self.gone.is_some_and(|gone| stamp > gone) || self.stopped.iter().any(was_stopped) {
            return broken(format!("it was appended at {stamp}, and was to be silent"));
        }
        match self.found.insert(due, offset) {
            Some(other) if other != offset => {
                broken(format!("what was due at {due} is at {other} and at {offset}"))
            }
            _ => Ok(()),
        }
    }

    /// Its messages are those of its times, none left out that nobody allowed to be.
    fn follow_one_another(&self) -> Result<(), Violation> {
        let Some((begin, _)) = self.found.first_key_value() else { return Ok(()) };
        let begin = self.first.unwrap_or(*begin);
        let has_gaps = self.steps > 0 || self.missed != Missed::All;
        let mut wanted = begin;
        for (due, offset) in &self.found {
            let is_on_time = due.since(begin).0 >= 0 && due.since(begin).0 % self.every.0 == 0;
            if !is_on_time || !has_gaps && *due != wanted {
                return broken(format!("due {due} at {offset}, wanted {wanted}"));
            }
            wanted = due.plus(self.every);
        }
        if !self.found.values().is_sorted() {
            return broken("its messages are in another order than its times");
        }
        match self.count {
            Some(count) if self.found.len() as u64 > count => broken("it came too often"),
            _ => Ok(()),
        }
    }

    /// All that was due before is there.
    fn is_complete(&self, now: Millis) -> Result<(), Violation> {
        let is_certain = !self.is_unsure && self.missed == Missed::All;
        let Some(first) = self.first.filter(|_| is_certain) else { return Ok(()) };
        let Some((last, _)) = self.found.last_key_value() else {
            return match first < now {
                true => broken(format!("it never came, first due at {first}")),
                false => Ok(()),
            };
        };
        let has_ended = self.count.is_some_and(|count| self.found.len() as u64 == count);
        match has_ended || last.plus(self.every) >= now {
            true => Ok(()),
            false => broken(format!("it came last for {last}")),
        }
    }
}

impl Model {
    /// Holds all messages of what recurs against what is known; `now`: all that was due before is there.
    pub(crate) fn recurred(
        &mut self,
        fired: &[Fired],
        now: Option<Millis>,
    ) -> Result<(), Violation> {
        let mut seen: BTreeSet<Offset> = BTreeSet::new();
        for one in fired {
            let Some(version) = self.recurring.versions.get_mut(&one.id) else {
                return broken(format!("{one:?} was never asked for"));
            };
            let checked = version.check(one);
            checked.map_err(|why| Violation(format!("of {:?}: {why}", one.id)))?;
            seen.insert(one.offset);
        }
        for (id, version) in &self.recurring.versions {
            if let Some((due, offset)) = version.found.iter().find(|(_, at)| !seen.contains(at)) {
                return broken(format!("of {id:?}: what was due at {due} was at {offset}"));
            }
            let followed = version.follow_one_another();
            let complete =
                followed.and_then(|()| now.map_or(Ok(()), |now| version.is_complete(now)));
            complete.map_err(|why| Violation(format!("of {id:?} {version:?}: {why}")))?;
        }
        Ok(())
    }
}
