//! What is settled and kept: forgetting it, and having it again.

use super::{Effect, Shard};
use crate::command::Range;
use ledger::{Ledger, Rewound, Span};
use types::{LogId, Offset, SubscriptionId};

impl Shard {
    /// Settles ranges that nobody is to have again.
    pub(super) fn withdraw(
        &mut self,
        id: SubscriptionId,
        ranges: &[Range],
        effects: &mut Vec<Effect>,
    ) {
        let Some(state) = self.subscriptions.get_mut(id) else { return };
        for range in ranges {
            let Some(ledger) = state.ledgers.get_mut(range.log) else { continue };
            ledger.withdraw(range.span());
            let (log, span) = (range.log, range.span());
            effects.push(Effect::Withdrawn { subscription: id, log, span });
        }
        for range in ranges {
            self.release(range.log, effects);
        }
    }

    /// What a log keeps begins at `before` now.
    pub(super) fn forget_settled(&mut self, id: LogId, before: Offset, effects: &mut Vec<Effect>) {
        let mut from = before;
        self.each_ledger(id, |ledger| {
            from = from.min(ledger.kept_from());
            ledger.forget_settled(before);
        });
        effects.push(Effect::SettledForgotten { log: id, span: Span::new(from, before) });
        self.release(id, effects);
    }

    /// Has a log keep what is settled, or not, as its options say.
    pub(super) fn keep_settled_as_said(&mut self, id: LogId, effects: &mut Vec<Effect>) {
        let Some(log) = self.logs.get(&id) else { return };
        let (keeps, span) = (log.options.keeps_settled(), Span::new(log.start, log.end));
        let mut ends = false;
        self.each_ledger(id, |ledger| {
            ends |= ledger.keeps_settled() && !keeps;
            ledger.keep_settled(keeps);
        });
        if ends {
            effects.push(Effect::SettledForgotten { log: id, span });
            self.release(id, effects);
        }
    }

    /// Has a subscription deliver again what is settled, and there, from `to` on.
    pub(super) fn rewind(&mut self, id: SubscriptionId, log: LogId, to: Offset) -> Rewound {
        let extent = self.logs.get(&log).map(|log| (log.start, log.end));
        let state = self.subscriptions.get_mut(id);
        let ledger = state.and_then(|state| state.ledgers.get_mut(log));
        match (ledger, extent) {
            (Some(ledger), Some((start, end))) => {
                let lost = io::planted("rewind-lost") && to.0 % 3 == 0;
                ledger.rewind(if lost { end } else { to.clamp(start, end) }, end)
            }
            _ => Rewound::default(),
        }
    }

    fn each_ledger(&mut self, log: LogId, mut each: impl FnMut(&mut Ledger)) {
        for id in self.logs.get(&log).into_iter().flat_map(|log| &log.subscriptions) {
            let state = self.subscriptions.get_mut(*id);
            state.and_then(|state| state.ledgers.get_mut(log)).into_iter().for_each(&mut each);
        }
    }
}
