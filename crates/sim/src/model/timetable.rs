//! What is known of the schedule of one log.

use super::{Id, Violation, broken};
use std::collections::BTreeMap;
use types::{Millis, Offset};

/// What is known of a cancel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cancel {
    #[default]
    No,
    /// Asked for, and not answered.
    Maybe,
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    due: Millis,
    /// Where it is in the schedule, if that was told.
    offset: Option<Offset>,
    acknowledged: bool,
    cancel: Cancel,
    /// How many cancels were asked for.
    asks: u32,
    seen: bool,
}

/// Every record that was ever scheduled for a log.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    planned: BTreeMap<Id, Planned>,
}

impl Timetable {
    pub(crate) fn asked(&mut self, ids: &[Id], due: Millis) {
        let planned = Planned {
            due,
            offset: None,
            acknowledged: false,
            cancel: Cancel::No,
            asks: 0,
            seen: false,
        };
        self.planned.extend(ids.iter().map(|id| (*id, planned)));
    }

    /// A record may come from elsewhere, at any time.
    pub(crate) fn may_come(&mut self, id: Id) {
        if !self.has(id) {
            self.asked(&[id], Millis(0));
        }
    }

    /// A record may have come and gone with nobody's seeing it.
    pub(crate) fn may_be_gone(&mut self, id: Id) {
        if let Some(planned) = self.planned.get_mut(&id) {
            planned.acknowledged = false;
        }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        self.planned.keys().copied()
    }

    /// Scheduled for certain; `base`: the first one's place where it is known.
    pub(crate) fn acknowledged(&mut self, ids: &[Id], base: Option<Offset>) {
        for (id, delta) in ids.iter().zip(0..) {
            if let Some(planned) = self.planned.get_mut(id) {
                planned.acknowledged = true;
                planned.offset = base.map(|base| base.plus(delta));
            }
        }
    }

    /// Entries that can be cancelled, as far as is known.
    pub(crate) fn cancellable(&self) -> Vec<(Offset, Id)> {
        let open = self.planned.iter().filter(|(_, planned)| planned.cancel != Cancel::Done);
        open.filter_map(|(id, planned)| Some((planned.offset?, *id))).collect()
    }

    pub(crate) fn cancel_asked(&mut self, entries: &[(Offset, Id)]) {
        for (_, id) in entries {
            if let Some(planned) = self.planned.get_mut(id) {
                planned.asks += 1;
                planned.cancel = Cancel::Maybe;
            }
        }
    }

    /// A cancel was answered with what it took out. What it did not, and nothing else could have,
    /// was activated.
    pub(crate) fn cancel_answered(
        &mut self,
        entries: &[(Offset, Id)],
        taken: &[Offset],
    ) -> Result<(), Violation> {
        for (offset, id) in entries {
            let Some(planned) = self.planned.get_mut(id) else { continue };
            if !taken.contains(offset) {
                if planned.asks == 1 && planned.cancel == Cancel::Maybe {
                    planned.cancel = Cancel::No;
                }
                continue;
            }
            if planned.seen || planned.cancel == Cancel::Done {
                return broken(format!("scheduled {id:?} was cancelled after it was gone"));
            }
            planned.cancel = Cancel::Done;
        }
        Ok(())
    }

    /// A record was seen in the log: true when it was scheduled.
    pub(crate) fn seen(&mut self, id: Id) -> Result<bool, Violation> {
        let Some(planned) = self.planned.get_mut(&id) else { return Ok(false) };
        planned.seen = true;
        match planned.cancel {
            Cancel::Done => broken(format!("scheduled {id:?} was cancelled and came")),
            Cancel::No | Cancel::Maybe => Ok(true),
        }
    }

    /// Whether a record may be in a batch of a queue where nobody is to have it: it may have been cancelled,
    /// and nobody has seen it.
    pub(crate) fn may_be_withdrawn(&self, id: Id) -> bool {
        self.planned.get(&id).is_some_and(|planned| planned.cancel != Cancel::No && !planned.seen)
    }

    /// A record that is seen now was not activated before its time.
    pub(crate) fn on_time(&self, id: Id, now: Millis) -> Result<(), Violation> {
        match self.planned.get(&id) {
            Some(planned) if planned.due > now => {
                broken(format!("scheduled {id:?} is due at {} and came by {now}", planned.due))
            }
            _ => Ok(()),
        }
    }

    /// Everything is over: what was acknowledged and not cancelled has come.
    pub(crate) fn all_came(&self) -> Result<(), Violation> {
        let lost = self.planned.iter().find(|(_, planned)| {
            planned.acknowledged && planned.cancel == Cancel::No && !planned.seen
        });
        match lost {
            Some((id, planned)) => {
                broken(format!("scheduled {id:?}, due at {}, never came", planned.due))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn has(&self, id: Id) -> bool {
        self.planned.contains_key(&id)
    }

    /// When the last one is due.
    pub(crate) fn last_due(&self) -> Millis {
        self.planned.values().map(|planned| planned.due).max().unwrap_or(Millis(0))
    }
}
