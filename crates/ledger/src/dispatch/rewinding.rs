//! Delivery goes back: what was settled is not any more, and the cursor comes to it once more.
//!
//! What was handed out, came back or waits when that happens is passed over on the way: it is where it
//! is already.

use super::Dispatch;
use crate::ledger::Rewound;
use crate::offset_set::OffsetSet;
use crate::{Ledger, Span};
use types::Offset;

/// Where one message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be handed out.
    Ready,
    /// It is with a consumer.
    Leased,
    /// It came back and waits for its time.
    Waiting,
    /// It is on its way out: what settles it is not written down yet.
    Leaving,
    /// It is settled, or there is no such message.
    Settled,
}

impl Dispatch {
    /// The ledger was rewound: delivery goes back. Call right after the ledger changed.
    pub fn rewound(&mut self, ledger: &Ledger, rewound: &Rewound) {
        self.redelivered_before = self.redelivered_before.max(ledger.again_before());
        let was_aside = std::mem::take(&mut self.parked.aside);
        let mut aside = OffsetSet::default();
        let mut put = |span: Span| {
            aside.insert(span);
        };
        match &mut self.order {
            None => {
                split(&rewound.spared, self.cursor, &was_aside, &mut put);
                self.cursor = self.cursor.min(rewound.from.max(ledger.floor()));
                self.alike_until = self.cursor;
            }
            Some(order) => order.spare((ledger, rewound), &was_aside, &mut put),
        }
        // Before that, what is settled the cursor finds so itself.
        let mut at = Offset(i64::MIN);
        while let Some(offset) = was_aside.next_present(at).filter(|it| *it < rewound.from) {
            at = offset.next();
            if !ledger.is_settled(offset) {
                aside.insert(Span::one(offset));
            }
        }
        self.parked.aside = aside;
        match &mut self.order {
            None => self.settled_ahead = ledger.settled_in(Span::new(self.cursor, END)),
            Some(order) => order.count_again(ledger),
        }
    }

    /// Where a message stands.
    pub fn standing(&self, ledger: &Ledger, end: Offset, offset: Offset) -> Standing {
        if offset >= end || ledger.is_settled(offset) {
            Standing::Settled
        } else if self.parked.waiting().contains(offset) {
            Standing::Waiting
        } else if self.leases.contains(offset) {
            Standing::Leased
        } else if self.is_ready(ledger, offset) {
            Standing::Ready
        } else {
            Standing::Leaving
        }
    }

    /// Takes a message that is ready or waits out of delivery, wherever it stands there. False when
    /// there is no such message: it is to be settled then.
    pub fn take_at(&mut self, ledger: &Ledger, end: Offset, offset: Offset) -> bool {
        let one = Span::one(offset);
        match self.standing(ledger, end, offset) {
            Standing::Waiting => {
                self.parked.waiting.remove(one, |_| {});
                self.give_up(one);
            }
            Standing::Ready => {
                let level = ledger.level_of(offset);
                let came_back = match &mut self.order {
                    None => self.returned.remove(&offset).is_some(),
                    Some(order) => order.take_back(level, offset),
                };
                if !came_back {
                    self.parked.aside.insert(one);
                    self.alike_until = self.cursor;
                    self.order.iter_mut().for_each(|order| order.look_again());
                }
            }
            Standing::Leased | Standing::Leaving | Standing::Settled => return false,
        }
        true
    }

    /// Of an unsettled message that nobody holds and that does not wait.
    fn is_ready(&self, ledger: &Ledger, offset: Offset) -> bool {
        let is_ahead = |is_ahead: bool| is_ahead && !self.parked.aside.contains(offset);
        match &self.order {
            None => self.returned.contains_key(&offset) || is_ahead(self.cursor <= offset),
            Some(order) => {
                let level = ledger.level_of(offset);
                order.has_back(level, offset) || is_ahead(order.is_ahead(level, offset))
            }
        }
    }
}

/// After every offset.
const END: Offset = Offset(i64::MAX);

/// Gives to `put` what of `spared` lies before the cursor, or was aside already.
pub(super) fn split(
    spared: &[Span],
    cursor: Offset,
    was_aside: &OffsetSet,
    put: &mut impl FnMut(Span),
) {
    for span in spared {
        put(Span::new(span.first, span.end.min(cursor)));
        let mut at = span.first.max(cursor);
        while let Some(first) = was_aside.next_present(at).filter(|first| *first < span.end) {
            at = was_aside.next_absent(first).min(span.end);
            put(Span::new(first, at));
        }
    }
}
