//! What the log says, and what is left after a crash.

use super::{Change, Message, Place, World, dispatch, spread};
use crate::Ledger;
use types::{Millis, Offset};

impl World {
    pub(super) fn apply(&mut self, change: Change) {
        if let Change::Rewind(to, _) = change {
            // What was appended meanwhile is the end's, too.
            let (to, end) = (to.max(self.kept_from), self.end());
            let rewound = self.ledger.rewind(to, end);
            self.dispatch.rewound(&self.ledger, &rewound);
            let before = self.brought_back;
            self.rewound(to, end);
            assert_eq!(rewound.count, self.brought_back - before);
            return self.replay.push(Change::Rewind(to, end));
        }
        let newly = apply(&mut self.ledger, &change);
        let mut model_newly = 0;
        match change {
            Change::Rewind(..) => {}
            Change::Forget(before) => {
                if self.keeps {
                    self.kept_from = self.kept_from.max(before);
                }
            }
            Change::Withdraw(span) => {
                for offset in span.offsets() {
                    let message = &mut self.messages[offset.0 as usize];
                    message.is_gone = true;
                    model_newly += u64::from(message.settle());
                }
            }
            Change::Settle(span) => {
                for offset in span.offsets() {
                    model_newly += u64::from(self.messages[offset.0 as usize].settle());
                }
            }
            Change::Trim(to) => {
                self.kept_from = self.kept_from.max(to);
                for message in &mut self.messages[..to.0 as usize] {
                    model_newly += u64::from(message.settle());
                }
            }
            Change::Return(span, count) => {
                for offset in span.offsets() {
                    self.messages[offset.0 as usize].return_durably(count, None);
                }
            }
            Change::Park(span, count, due) => {
                for offset in span.offsets() {
                    self.messages[offset.0 as usize].return_durably(count, Some(due));
                }
            }
            Change::Append(..) => {}
            Change::Lease(span) => {
                for offset in span.offsets() {
                    let message = &mut self.messages[offset.0 as usize];
                    message.is_leased = !message.is_durably_settled;
                    message.durable_due = None;
                }
            }
        }
        assert_eq!(newly, model_newly);
        self.replay.push(change);
    }

    /// Memory is lost: the ledger is rebuilt from the checkpoint and the log, byte for byte.
    pub(super) fn crash(&mut self) {
        let mut again: Ledger = postcard::from_bytes(&self.checkpoint).unwrap();
        for change in &self.replay {
            apply(&mut again, change);
        }
        let bytes = |ledger: &Ledger| postcard::to_stdvec(ledger).unwrap();
        assert_eq!(bytes(&again), bytes(&self.ledger));
        self.ledger = again;
        let leased = (0..).zip(&self.messages).filter(|(_, message)| message.is_leased);
        let leased: Vec<Offset> = leased.map(|(offset, _)| Offset(offset)).collect();
        assert_eq!(spread(&self.ledger.leases()), leased);
        self.unsynced.clear();
        let leases = self.ledger.leases();
        if !self.parks {
            leases.iter().for_each(|span| self.apply(Change::Return(*span, true)));
        }
        self.dispatch = dispatch(
            &self.ledger,
            Some(self.end()),
            self.single,
            (self.every, self.keyed, self.sessions),
        );
        self.since = 0;
        if self.parks {
            self.last_due = Millis(self.last_due.0 + 1);
            let due = self.last_due;
            leases.iter().for_each(|span| self.apply(Change::Park(*span, true, due)));
            self.dispatch.find_parked(&self.ledger);
        }
        self.active = None;
        self.consumers.clear();
        self.unsettled.clear();
        for message in &mut self.messages {
            message.place = match message.durable_due {
                _ if message.is_durably_settled => Place::Done,
                Some(_) => Place::Parked,
                None => Place::Ready,
            };
            message.due = message.durable_due;
            message.returns = message.durable_returns.unwrap_or(0);
            message.redelivered = true;
            message.came_back = message.due.is_none().then_some(false);
            message.is_spared = false;
        }
    }
}

impl Message {
    pub(super) fn is_kept(&self) -> bool {
        self.is_durably_settled && !self.is_gone
    }

    pub(super) fn come_back(&mut self, count: bool) {
        self.place = Place::Ready;
        self.redelivered = true;
        self.came_back = Some(true);
        self.returns += u16::from(count);
    }

    pub(super) fn return_durably(&mut self, count: bool, due: Option<Millis>) {
        self.is_leased = false;
        if !self.is_durably_settled {
            self.durable_returns = Some(self.durable_returns.unwrap_or(0) + u16::from(count));
            self.durable_due = due;
        }
    }

    /// Whether it was not settled before.
    pub(super) fn settle(&mut self) -> bool {
        (self.durable_returns, self.durable_due) = (None, None);
        self.is_leased = false;
        !std::mem::replace(&mut self.is_durably_settled, true)
    }
}

fn apply(ledger: &mut Ledger, change: &Change) -> u64 {
    match *change {
        Change::Settle(span) => ledger.settle(span),
        Change::Withdraw(span) => ledger.withdraw(span),
        Change::Rewind(to, end) => {
            ledger.rewind(to, end);
            0
        }
        Change::Forget(before) => {
            ledger.forget_settled(before);
            0
        }
        Change::Trim(to) => ledger.advance_floor_to(to),
        Change::Return(span, count) => {
            ledger.return_span(span, count);
            0
        }
        Change::Park(span, count, due) => {
            ledger.park(span, count, due);
            0
        }
        Change::Lease(span) => {
            ledger.lease(span);
            0
        }
        Change::Append(span, level) => {
            ledger.rank(span, level);
            0
        }
    }
}
