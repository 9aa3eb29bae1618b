//! Levels of what is appended to queues that have levels.

use super::{Chunked, Subscription};
use crate::command::Command;
use crate::levels::Levels;
use ledger::{Ledger, Span};
use types::{LogId, Offset, SubscriptionId};

/// The levels that a frame tells of its batches.
pub(super) struct Ranking<'a>(Vec<(u16, &'a Levels)>);

impl<'a> Ranking<'a> {
    pub(super) fn of(commands: &'a [Command]) -> Ranking<'a> {
        let told = commands.iter().filter_map(|command| match command {
            Command::Rank { batch, levels } => Some((*batch, levels)),
            _ => None,
        });
        Ranking(told.collect())
    }

    /// Those of one batch; `None` when all of its records are at level 0.
    pub(super) fn at(&self, batch: u16) -> Option<&'a Levels> {
        let at = self.0.binary_search_by_key(&batch, |(batch, _)| *batch).ok()?;
        Some(self.0[at].1)
    }
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
