//! Messages that came back and are not to be delivered before their time.
//!
//! When that is, is the ledger's; who leads the queue releases them when it has come. In between they are
//! neither ready nor held by anybody. Those that a dispatch finds in the ledger when it begins lie before
//! its cursor: it passes over them, unless they are released before it comes.

use super::{Dispatch, EVERYTHING, Ended};
use crate::offset_set::OffsetSet;
use crate::{ConsumerKey, Ledger, Span};
use types::{ClientId, Offset};

/// What is out of delivery until it is released.
#[derive(Debug, Default)]
pub(super) struct Parked {
    pub(super) waiting: OffsetSet,
    /// At or above the cursor, which is to pass over them: waiting, or taken out and not settled yet. After
    /// a rewind, what was handed out or came back before, too.
    pub(super) aside: OffsetSet,
}

impl Parked {
    /// All that a ledger has.
    pub(super) fn of(ledger: &Ledger) -> Parked {
        let mut parked = Parked::default();
        parked.adopt(ledger, ledger.floor(), |_| true);
        parked
    }

    /// Takes in what a ledger has from `from` on, as far as delivery has not come to it; gives what it did
    /// not have.
    fn adopt(
        &mut self,
        ledger: &Ledger,
        from: Offset,
        is_ahead: impl Fn(Offset) -> bool,
    ) -> Vec<Offset> {
        let mut new = Vec::new();
        for (offset, _) in ledger.parked_from(from).filter(|(offset, _)| is_ahead(*offset)) {
            if self.aside.insert(Span::one(offset)) > 0 {
                self.waiting.insert(Span::one(offset));
                new.push(offset);
            }
        }
        new
    }

    /// All that wait.
    pub(super) fn waiting(&self) -> &OffsetSet {
        &self.waiting
    }

    /// How many the cursor will pass over.
    pub(super) fn aside(&self) -> u64 {
        self.aside.len()
    }

    /// The next one that the cursor will pass over.
    pub(super) fn next_aside(&self, from: Offset) -> Option<Offset> {
        if self.aside.is_empty() { None } else { self.aside.next_present(from) }
    }

    /// The cursor moves; gives how many it passes over.
    pub(super) fn pass(&mut self, from: Offset, to: Offset) -> u64 {
        let before = self.aside.len();
        if 0 < before {
            self.aside.remove(Span::new(from, to), |_| {});
        }
        before - self.aside.len()
    }

    /// A span is settled.
    pub(super) fn forget(&mut self, ledger: &Ledger, span: Span) {
        if !self.waiting.is_empty() {
            self.waiting.remove(span, |_| {});
        }
        // What is settled the cursor finds so itself.
        let mut from = Offset(i64::MIN);
        while let Some(offset) = self.next_aside(from) {
            if ledger.is_settled(offset) {
                self.aside.remove(Span::one(offset), |_| {});
            }
            from = offset.next();
        }
    }
}

impl Dispatch {
    /// Ends the leases that `key` has in `span` and frees the credit. The messages are the caller's,
    /// who has to give up, park or put back each of them; until then they hold their keys. Adds the runs to
    /// `out`.
    pub fn end(&mut self, key: ConsumerKey, span: Span, out: &mut Vec<Ended>) {
        let Some(slot) = self.consumers.find(key) else { return };
        let order = &mut self.order;
        let ended = self.leases.take(slot, span, |(attempt, level), span| {
            if let Some(keys) = order.as_mut().and_then(|order| order.keys_mut()) {
                keys.hold_back(span);
            }
            out.push(Ended { span, attempt, level });
        });
        self.refund(slot, ended);
    }

    /// [`Dispatch::end`] for all that `key` has.
    pub fn end_all(&mut self, key: ConsumerKey, out: &mut Vec<Ended>) {
        self.end(key, EVERYTHING, out);
    }

    /// [`Dispatch::end`] for all that a client has.
    pub fn end_client(&mut self, client: ClientId, out: &mut Vec<Ended>) {
        let slots: Vec<u32> = self.consumers.slots_of(client).collect();
        let keys: Vec<ConsumerKey> =
            slots.into_iter().map(|slot| self.consumers.holder(slot).key).collect();
        keys.into_iter().for_each(|key| self.end_all(key, out));
    }

    /// Messages whose leases ended are not to be delivered again.
    pub fn give_up(&mut self, span: Span) {
        if let Some(order) = &mut self.order {
            order.ended(span);
        }
    }

    /// Messages whose leases ended wait from now on until they are released, and hold their keys.
    pub fn park(&mut self, span: Span) {
        self.parked.waiting.insert(span);
    }

    /// Looks at the ledger again, to which something was parked that this dispatch has not seen: nothing of
    /// that was handed out.
    pub fn find_parked(&mut self, ledger: &Ledger) {
        let before = self.parked.aside.len();
        match &mut self.order {
            None => {
                self.parked.adopt(ledger, self.cursor, |_| true);
            }
            Some(order) => {
                let is_ahead = |offset| order.is_ahead(ledger.level_of(offset), offset);
                let new = self.parked.adopt(ledger, ledger.floor(), is_ahead);
                new.into_iter().for_each(|offset| order.wait(offset));
                order.look_again();
            }
        }
        if self.parked.aside.len() > before {
            self.alike_until = self.cursor;
        }
    }

    /// A parked message is ready from now on, having come back so often. False for one that is not
    /// parked any more.
    pub fn release(&mut self, ledger: &Ledger, offset: Offset, returns: u16) -> bool {
        if !self.parked.waiting.contains(offset) {
            return false;
        }
        self.parked.waiting.remove(Span::one(offset), |_| {});
        let before = self.parked.aside.len();
        self.parked.aside.remove(Span::one(offset), |_| {});
        if self.parked.aside.len() < before {
            // The cursor comes to it.
            self.give_up(Span::one(offset));
        } else {
            match &mut self.order {
                None => {
                    self.returned.insert(offset, returns);
                }
                Some(order) => order.come_back(ledger.level_of(offset), Span::one(offset), returns),
            }
        }
        true
    }

    /// Takes everything that is parked out of delivery; adds to `out` the spans to be put into a Settle
    /// command (what is in `out` stays) and gives how many they are.
    pub fn take_parked(&mut self, out: &mut Vec<Span>) -> u64 {
        let kept = out.len();
        let taken = self.parked.waiting.len();
        self.parked.waiting.remove(EVERYTHING, |run| Span::push_since(out, kept, run));
        out[kept..].iter().for_each(|run| self.give_up(*run));
        taken
    }

    /// Whether a message is parked.
    pub fn is_parked(&self, offset: Offset) -> bool {
        self.parked.waiting.contains(offset)
    }

    /// Messages that are parked.
    pub fn parked_count(&self) -> u64 {
        self.parked.waiting.len()
    }

    /// The next offset at or above `from`, below `end`, that was neither settled nor parked before the
    /// cursor came.
    pub(super) fn next_fresh(&self, ledger: &Ledger, from: Offset, end: Offset) -> Option<Offset> {
        let mut next = ledger.next_unsettled(from, end)?;
        if self.parked.aside.is_empty() {
            return Some(next);
        }
        loop {
            let free = self.parked.aside.next_absent(next);
            if free == next {
                return Some(next);
            }
            next = ledger.next_unsettled(free, end)?;
        }
    }
}
