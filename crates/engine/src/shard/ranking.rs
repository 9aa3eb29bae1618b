//! What a frame tells of its batches, and levels of what is appended to queues that have levels.

use super::{Chunked, Subscription};
use crate::command::Command;
use crate::id_list::IdList;
use crate::levels::Levels;
use ledger::{Ledger, Span};
use types::{LogId, Offset, SubscriptionId};

/// The levels and the ids that a frame tells of its batches.
#[derive(Default)]
pub(super) struct Told<'a> {
    levels: Vec<(u16, &'a Levels)>,
    ids: Vec<(u16, &'a IdList)>,
}

impl<'a> Told<'a> {
    pub(super) fn of(commands: &'a [Command]) -> Told<'a> {
        let mut told = Told::default();
        for command in commands {
            match command {
                Command::Rank { batch, levels } => told.levels.push((*batch, levels)),
                Command::Remember { batch, ids } => told.ids.push((*batch, ids)),
                _ => {}
            }
        }
        told
    }

    /// The levels of one batch; `None` when all of its records are at level 0.
    pub(super) fn levels(&self, batch: u16) -> Option<&'a Levels> {
        at(&self.levels, batch)
    }

    /// The ids of one batch, if its records have any.
    pub(super) fn ids(&self, batch: u16) -> Option<&'a IdList> {
        at(&self.ids, batch)
    }
}

fn at<'a, T>(told: &[(u16, &'a T)], batch: u16) -> Option<&'a T> {
    let at = told.binary_search_by_key(&batch, |(batch, _)| *batch).ok()?;
    Some(told[at].1)
}

/// Tells those who read a log the levels of so many records from an offset on.
pub(super) fn rank(
    subscriptions: &mut Chunked<SubscriptionId, Subscription>,
    readers: &[SubscriptionId],
    (log, base, records): (LogId, Offset, u32),
    levels: Option<&Levels>,
) {
    for id in readers {
        let state = subscriptions.get_mut(*id);
        if let Some(ledger) = state.and_then(|state| state.ledgers.get_mut(log)) {
            rank_in(ledger, (base, records), levels);
        }
    }
}

pub(super) fn rank_in(
    ledger: &mut Ledger,
    (base, records): (Offset, u32),
    levels: Option<&Levels>,
) {
    let forgotten = io::planted("priority-forgotten") && base.0 % 4 == 1;
    match levels.filter(|_| !forgotten) {
        None => ledger.rank(Span::run(base, records), 0),
        Some(levels) => {
            levels.spans(base, records).for_each(|(span, level)| ledger.rank(span, level));
        }
    }
}
