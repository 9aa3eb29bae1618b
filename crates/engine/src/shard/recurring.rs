//! Messages that recur: what they are, and when each is due next.
//!
//! The next time is told by the leader, in the frame with the message: whether a message was appended and what
//! comes after it is one fact. A recurrence says no more to a frame that was made for a former version of it.

use super::{Effect, Shard};
use crate::api::{RECURRENCES_MAX, Recurred, Recurrence};
use crate::command::{Fire, Recurs};
use catalog::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{LogId, Millis};

/// What one takes in memory beside what it holds, in bytes.
const RECURRING_BYTES: usize = 400;

/// Those that are listed under one log.
pub(crate) type Recurrings = BTreeMap<Name, Recurring>;

/// A recurrence and how far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recurring {
    pub(crate) what: Recurrence,
    pub(crate) made: Millis,
    /// Index of the frame that made it so.
    pub(crate) version: u64,
    /// `None`: it is stopped.
    pub(crate) due: Option<Millis>,
    pub(crate) fired: u64,
}

impl Recurring {
    /// About what it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let expression = match &self.what.timetable.rhythm {
            calendar::Rhythm::Cron { expression, zone } => expression.len() + zone.len(),
            calendar::Rhythm::Every(_) => 0,
        };
        RECURRING_BYTES + self.what.tail.len() + expression
    }
}

impl Shard {
    /// Makes, ends, stops or continues a recurrence.
    pub(super) fn recur(
        &mut self,
        at: usize,
        (home, name, step): (LogId, &Name, &Recurs),
        effects: &mut Vec<Effect>,
    ) {
        let result = self.recur_at(home, name, step);
        let all = self.recurring.get(&home);
        let now = all.and_then(|all| all.get(name)).cloned().map(Box::new);
        let name = Name::clone(name);
        effects.push(Effect::Recurred { command: at, home, name, result, now });
    }

    fn recur_at(&mut self, home: LogId, name: &Name, step: &Recurs) -> Recurred {
        let all = self.recurring.get(&home);
        let (count, known) = (all.map_or(0, BTreeMap::len), all.and_then(|all| all.get(name)));
        match (step, known) {
            (Recurs::Put { what, .. }, Some(known)) if known.what == **what => Recurred::Unchanged,
            (Recurs::Put { .. }, None) if count >= RECURRENCES_MAX => Recurred::Full,
            (Recurs::Put { what, .. }, _)
                if !self.logs.contains_key(&home) || !self.logs.contains_key(&what.to) =>
            {
                Recurred::Absent
            }
            (Recurs::Put { what, made, due }, known) => {
                let was_there = known.is_some();
                let (what, made) = (Recurrence::clone(what), *made);
                let due = Some(*due);
                let new = Recurring { what, made, version: self.applied, due, fired: 0 };
                self.drop_recurring(home, name);
                self.holds.recurrence_bytes += new.bytes();
                let all = self.recurring.get_or_insert_with(home, BTreeMap::new);
                all.insert(Name::clone(name), new);
                if was_there { Recurred::Changed } else { Recurred::Made }
            }
            (_, None) => Recurred::Absent,
            (Recurs::Cancel, Some(_)) => {
                self.drop_recurring(home, name);
                Recurred::Changed
            }
            (Recurs::Pause, Some(known)) if known.due.is_none() => Recurred::Unchanged,
            (Recurs::Resume { .. }, Some(known)) if known.due.is_some() => Recurred::Unchanged,
            (Recurs::Resume { version, .. }, Some(known)) if known.version != *version => {
                Recurred::Unsure
            }
            (Recurs::Pause | Recurs::Resume { .. }, Some(_)) => {
                let all = self.recurring.get_mut(home);
                if let Some(known) = all.and_then(|all| all.get_mut(name)) {
                    known.due = match step {
                        Recurs::Resume { due, .. } => Some(*due),
                        _ => None,
                    };
                }
                Recurred::Changed
            }
        }
    }

    /// A recurrence was due: says when it is due next. Gives the batch that is not to be appended, if this was
    /// decided for what is not so any more.
    pub(super) fn fire(&mut self, fire: &Fire, effects: &mut Vec<Effect>) -> Option<u16> {
        let Fire { home, name, version, due, next, batch } = fire;
        let is_early = *due > self.time && !io::planted("timer-early");
        let all = self.recurring.get_mut(*home);
        let known = all
            .and_then(|all| all.get_mut(name))
            .filter(|known| known.version == *version && known.due == Some(*due) && !is_early);
        let refused = match known {
            None => *batch,
            Some(known) => {
                known.fired += u64::from(batch.is_some());
                let stays = io::planted("fired-twice") && known.fired % 4 == 2;
                match next {
                    _ if stays => {}
                    Some(next) => known.due = Some(*next),
                    None => self.drop_recurring(*home, name),
                }
                None
            }
        };
        effects.push(Effect::Fired { home: *home, name: Name::clone(name) });
        refused
    }

    /// A log is gone, and what is listed under it.
    pub(super) fn drop_recurrings(&mut self, home: LogId) {
        if let Some(gone) = self.recurring.remove(home) {
            self.holds.recurrence_bytes -= gone.values().map(Recurring::bytes).sum::<usize>();
        }
    }

    fn drop_recurring(&mut self, home: LogId, name: &Name) {
        let Some(all) = self.recurring.get_mut(home) else { return };
        let gone = all.remove(name);
        let is_last = all.is_empty();
        self.holds.recurrence_bytes -= gone.map_or(0, |gone| gone.bytes());
        if is_last {
            self.recurring.remove(home);
        }
    }
}
