//! What is known of messages that a queue delivers again, or takes out by their place.

use super::{Id, LogModel, Model, Violation, broken};
use engine::api::Reply;
use std::collections::{BTreeMap, BTreeSet};
use types::{LogId, Offset, Token};

/// Of a queue that keeps what is settled.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// Taken out for certain, and not by a consumer: they never come again.
    withdrawn: BTreeSet<Id>,
    /// Asked to be taken out once, which may have been done without an answer: whether they come again is
    /// not certain.
    maybe_withdrawn: BTreeSet<Id>,
    /// What comes again for certain when a rewind is answered.
    asked: BTreeMap<Token, BTreeSet<Id>>,
    /// A rewind was asked for since they were settled, or may have been: that they are is not certain, nor
    /// what their returns count.
    unsure: BTreeSet<Id>,
}

impl Replay {
    /// A record is settled once more.
    pub(super) fn settle_asked(&mut self, id: Id) {
        if !self.asked.is_empty() {
            self.unsure.insert(id);
        }
        self.asked.values_mut().for_each(|ids| {
            ids.remove(&id);
        });
    }

    pub(super) fn is_unsure(&self, id: Id) -> bool {
        self.unsure.contains(&id)
    }

    pub(super) fn new_life(&mut self) {
        self.asked.clear();
        self.unsure.clear();
    }
}

impl LogModel {
    /// A rewind was asked for: what is settled from there on may come again, or does for certain.
    pub(crate) fn rewind_asked(&mut self, token: Token, to: Offset, is_certain: bool) {
        let lies = |at: &Option<Offset>| at.is_none_or(|at| to <= at);
        let after: Vec<(Id, bool)> = self
            .owed
            .iter()
            .filter(|(id, at)| lies(at) && !self.returns.replay.withdrawn.contains(id))
            .map(|(id, at)| (*id, at.is_some()))
            .chain(self.maybe.iter().map(|id| (*id, false)))
            .collect();
        let mut certain = BTreeSet::new();
        for (id, is_placed) in after {
            if self.settled.remove(&id) {
                self.maybe_settled.insert(id);
                let may_come = !self.returns.replay.maybe_withdrawn.contains(&id);
                certain.extend((is_placed && is_certain && may_come).then_some(id));
            }
            self.returns.replay.unsure.insert(id);
            self.returns.certain.remove(&id);
        }
        self.returns.replay.asked.insert(token, certain);
    }

    /// It was answered: what was settled for certain when it was asked for, and not again since, is not.
    pub(crate) fn rewound(&mut self, token: Token, reply: &Reply) -> Result<(), Violation> {
        if !matches!(reply, Reply::Rewound(_)) {
            return broken(format!("a rewind was answered {reply:?}"));
        }
        for id in self.returns.replay.asked.remove(&token).into_iter().flatten() {
            self.maybe_settled.remove(&id);
        }
        Ok(())
    }

    /// A record may be taken out, if nobody holds it.
    pub(crate) fn remove_asked(&mut self, id: Id) {
        if !self.settled.contains(&id) {
            self.maybe_settled.insert(id);
        }
        self.returns.replay.maybe_withdrawn.insert(id);
        self.returns.replay.settle_asked(id);
    }

    /// Whether it was is answered.
    pub(crate) fn removed(&mut self, id: Id, reply: &Reply) -> Result<(), Violation> {
        match reply {
            Reply::Removed(removed) if removed.removed > 0 => self.withdrawn(id),
            Reply::Removed(_) => {}
            other => return broken(format!("a removal was answered {other:?}")),
        }
        Ok(())
    }

    /// A record is gone and was not acknowledged: whatever is asked for, it does not come again.
    pub(crate) fn withdrawn(&mut self, id: Id) {
        self.returns.replay.withdrawn.insert(id);
        self.returns.replay.settle_asked(id);
        self.maybe_settled.remove(&id);
        self.settled.insert(id);
    }

    /// A record that is at a place that is known.
    pub(crate) fn placed(&self, chance: u64) -> Option<(Id, Offset)> {
        let count = self.places.len() as u64;
        let at = usize::try_from(chance.checked_rem(count)?).ok()?;
        self.places.iter().nth(at).map(|(offset, id)| (*id, *offset))
    }
}

impl Model {
    /// Whether a record that nobody held was moved is answered.
    pub(crate) fn carried(
        &mut self,
        (from, to): (LogId, LogId),
        id: Id,
        reply: &Reply,
    ) -> Result<(), Violation> {
        match reply {
            Reply::Moved(0) => {}
            Reply::Moved(1) => {
                self.log(from).withdrawn(id);
                self.log(to).timetable.acknowledged(&[id], None);
            }
            other => return broken(format!("a move was answered {other:?}")),
        }
        Ok(())
    }
}
