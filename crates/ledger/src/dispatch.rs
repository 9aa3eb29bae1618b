//! Who gets which message next: the half that lives in the leader's memory.
//!
//! Flow: [`Dispatch::next`] hands out and notes a lease; the client acknowledges;
//! [`Dispatch::settled`] ends the lease and frees the credit at once, and says which spans to put
//! into a Settle command; applying that command changes the [`Ledger`]. Nothing handed out and
//! acknowledged is handed out again in between, since delivery only moves forward from the cursor
//! and through what was returned. A dispatch therefore has to live as long as its shard is led:
//! one built while settles are under way would deliver those again.

mod buckets;
mod consumers;
mod keys;
mod leases;
mod order;
mod parking;
mod rewinding;
mod sessions;
mod terms;
#[cfg(test)]
mod tests;

use crate::{Ledger, Span};
use consumers::{Consumers, Turn};
use leases::Leases;
use order::Order;
use parking::Parked;
use sessions::Who;
use std::collections::BTreeMap;
use types::{ClientId, Offset};

pub use rewinding::Standing;
pub use sessions::HeldSession;
pub use terms::{
    AddError, Assignment, ConsumerKey, ConsumerOptions, Ended, Held, SharedWindow, Unsettled,
    Window,
};

const EVERYTHING: Span = Span { first: Offset(i64::MIN), end: Offset(i64::MAX) };

/// Delivery of one subscription over one log, as its leader runs it.
#[derive(Debug)]
pub struct Dispatch {
    /// From here on nothing was handed out or taken out by this dispatch.
    cursor: Offset,
    /// From the cursor up to here, everything is ready and its history is alike.
    alike_until: Offset,
    /// Settled offsets at or above the cursor.
    settled_ahead: u64,
    /// Below, everything may have been delivered before an unclean stop.
    redelivered_before: Offset,
    /// What came back since this dispatch began, and its counted returns. After a rewind some of it may lie
    /// at or above the cursor, and is aside there.
    returned: BTreeMap<Offset, u16>,
    parked: Parked,
    leases: Leases,
    consumers: Consumers,
    skipped: Vec<Span>,
    /// Where arrival is not all that decides what comes next: it has the place of the cursor then, and
    /// of what came back.
    order: Option<Box<Order>>,
}

/// A ready message that has been taken out of delivery.
struct Picked {
    offset: Offset,
    bytes: u32,
    history: History,
    level: u8,
    /// From the cursor, not from what came back.
    is_fresh: bool,
}

/// What is known of earlier deliveries of a message.
#[derive(Clone, Copy)]
struct History {
    attempt: u16,
    redelivered: bool,
}

impl Dispatch {
    /// Delivery from the ledger's floor on. Cost: independent of the backlog.
    ///
    /// `redelivered_before`: after an unclean stop, the end of the log at the start; everything
    /// below may have been delivered before.
    pub fn new(ledger: &Ledger, redelivered_before: Option<Offset>) -> Dispatch {
        let redelivered_before = redelivered_before.unwrap_or(ledger.floor());
        Dispatch {
            cursor: ledger.floor(),
            alike_until: ledger.floor(),
            settled_ahead: ledger.settled_above_floor(),
            redelivered_before: redelivered_before.max(ledger.again_before()),
            returned: BTreeMap::new(),
            parked: Parked::of(ledger),
            leases: Leases::default(),
            consumers: Consumers::default(),
            skipped: Vec::new(),
            order: Order::of(ledger).map(Box::new),
        }
    }

    /// Of the messages handed out every so many is the oldest, whatever its level, so that none waits
    /// for ever. Nothing where there are no levels.
    pub fn take_oldest_every(&mut self, every: u32) {
        if let Some(order) = &mut self.order {
            order.take_oldest_every(every);
        }
    }

    /// Hands out at most so many messages of a key at a time from now on, 1 or more, before there is any
    /// consumer; the others of the key wait in their order. Keys have to be told ([`Dispatch::tell_keys`]) when they
    /// are wanted ([`Dispatch::take_wanted`]). What is settled as it is handed out holds up nothing.
    pub fn order_by_key(&mut self, ledger: &Ledger, at_once: u32) {
        let order = self.order.get_or_insert_with(|| Box::new(Order::from_floor(ledger, 1)));
        order.order_by_key(at_once);
        let mut from = Offset(i64::MIN);
        while let Some(offset) = self.parked.waiting().next_present(from) {
            order.wait(offset);
            from = offset.next();
        }
    }

    /// Where the key of a message has to be told before more can be handed out: which, once.
    pub fn take_wanted(&mut self) -> Option<Offset> {
        self.order.as_mut()?.take_wanted()
    }

    /// The keys of messages from `first` on, as numbers that differ where keys do; `None`: a message
    /// without a key, which waits for none.
    pub fn tell_keys(&mut self, first: Offset, keys: impl Iterator<Item = Option<u64>>) {
        if let Some(order) = &mut self.order {
            order.tell_keys(first, keys);
        }
    }

    /// How many levels there are: 1 where there are none.
    pub fn level_count(&self) -> usize {
        self.order.as_ref().map_or(1, |order| order.level_count())
    }

    /// Serves one standing consumer at a time from now on, before there is any: the first that came,
    /// and when it goes the first of the highest priority among the others. `yields`: it makes room
    /// for one of a higher priority as soon as it holds nothing, and gets nothing more until then.
    pub fn serve_one(&mut self, yields: bool) {
        self.consumers.serve_one(yields);
    }

    /// The consumer that is served, where only one is.
    pub fn active(&self) -> Option<ConsumerKey> {
        self.consumers.active()
    }

    /// Adds a standing consumer.
    pub fn add(&mut self, key: ConsumerKey, options: ConsumerOptions) -> Result<(), AddError> {
        self.consumers.add(key, options)?;
        if let Some(slot) = self.consumers.find(key)
            && let Some(keys) = self.order.as_mut().and_then(|order| order.keys_mut())
        {
            keys.stand(slot, options.sessions_max);
        }
        Ok(())
    }

    /// Takes a consumer (or holder) away. Gives the spans that came back, to be put into a Return
    /// command.
    pub fn leave(&mut self, key: ConsumerKey, held: Held) -> Vec<Span> {
        let mut back = Vec::new();
        let Some(slot) = self.consumers.find(key) else { return back };
        if let Held::Return { count } = held {
            self.give_back(slot, EVERYTHING, count, &mut back);
        }
        // Giving the last lease back lets go of one that is no consumer.
        if self.consumers.find(key).is_some() {
            self.retire(slot);
        }
        back
    }

    /// Takes everything of a client away, messages it holds being returned. Gives their spans, in
    /// order.
    pub fn drop_client(&mut self, client: ClientId, count: bool) -> Vec<Span> {
        let slots: Vec<u32> = self.consumers.slots_of(client).collect();
        let mut back = Vec::new();
        for slot in slots {
            self.give_back(slot, EVERYTHING, count, &mut back);
        }
        let standing: Vec<u32> = self.consumers.slots_of(client).collect();
        standing.into_iter().for_each(|slot| self.retire(slot));
        self.consumers.drop_shared(client);
        back.sort_unstable();
        back
    }

    fn retire(&mut self, slot: u32) {
        if let Some(keys) = self.order.as_mut().and_then(|order| order.keys_mut()) {
            keys.retire(slot);
        }
        self.consumers.retire(slot);
    }

    /// Changes a consumer's window.
    pub fn set_window(&mut self, key: ConsumerKey, window: Window) {
        if let Some(slot) = self.consumers.find(key) {
            self.consumers.set_window(slot, window);
        }
    }

    /// Changes a shared window, also one nobody uses yet. It stays until its client is dropped.
    pub fn set_shared_window(&mut self, shared: SharedWindow, window: Window) {
        self.consumers.set_shared_window(shared, window);
    }

    /// Stops or resumes hand-outs to a consumer, as when its connection does not keep up.
    pub fn set_flow(&mut self, key: ConsumerKey, open: bool) {
        if let Some(slot) = self.consumers.find(key) {
            self.consumers.set_flow(slot, open);
        }
    }

    /// Hands out the next ready message, or a run of them; called until it gives `None`.
    ///
    /// `end`: one past the last record that may be delivered. `run_max`: longest run, 1 or more.
    /// `len_of`: the length in bytes of the record at an offset, or `None` to pass over it because
    /// it is gone or expired; what was passed over is in [`Dispatch::take_skipped`].
    pub fn next(
        &mut self,
        ledger: &Ledger,
        end: Offset,
        run_max: u32,
        mut len_of: impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Assignment> {
        if self.has_sessions() {
            return self.next_of_sessions(ledger, end, len_of);
        }
        let turn = self.consumers.next_turn()?;
        let picked = self.pick(ledger, end, &mut len_of)?;
        let may_run = turn.is_alone && picked.is_fresh;
        let settle_now = self.consumers.holder(turn.slot).options.settle_now;
        let mut assignment = self.assignment(turn.slot, settle_now, picked);
        if may_run {
            self.extend_run(turn, &mut assignment, (end, run_max), len_of);
        }
        self.lease(turn.slot, &assignment);
        self.consumers.rotate(turn);
        Some(assignment)
    }

    /// Hands one ready message to `key` whether or not it is a consumer and without regard to
    /// windows (AMQP 0-9-1 `basic.get`).
    pub fn take_one(
        &mut self,
        ledger: &Ledger,
        end: Offset,
        (key, settle_now): (ConsumerKey, bool),
        mut len_of: impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Assignment> {
        if self.has_sessions() {
            return self.take_one_of_sessions((ledger, end), (key, settle_now), len_of);
        }
        let picked = self.pick(ledger, end, &mut len_of)?;
        let slot = self.consumers.holding(key);
        let assignment = self.assignment(slot, settle_now, picked);
        self.lease(slot, &assignment);
        self.consumers.drop_idle(slot);
        Some(assignment)
    }

    /// `key` is done with what it holds of `span`: ends the leases and frees the credit. Adds to
    /// `out` the spans it did hold, to be put into a Settle command; what is in `out` stays.
    pub fn settled(&mut self, key: ConsumerKey, span: Span, out: &mut Vec<Span>) {
        let Some(slot) = self.consumers.find(key) else { return };
        let kept = out.len();
        let order = &mut self.order;
        let ended = self.leases.take(slot, span, |_, run| {
            if let Some(order) = order {
                order.ended(run);
            }
            Span::push_since(out, kept, run);
        });
        Span::order_since(out, kept);
        self.refund(slot, ended);
    }

    /// `key` gives back what it holds of `span`: ready again at their place. Adds to `out` the
    /// spans it did hold, to be put into a Return command with the same `count`; what is in `out`
    /// stays.
    pub fn returned(&mut self, key: ConsumerKey, span: Span, count: bool, out: &mut Vec<Span>) {
        if let Some(slot) = self.consumers.find(key) {
            self.give_back(slot, span, count, out);
        }
    }

    /// What was handed out as settled at once did not go out after all: it is ready again, for the same
    /// attempt.
    pub fn put_back(&mut self, span: Span, (attempt, level): (u16, u8)) {
        let returns = attempt.saturating_sub(1);
        match &mut self.order {
            None => self.returned.extend(span.offsets().map(|offset| (offset, returns))),
            Some(order) => order.come_back(level, span, returns),
        }
    }

    /// Takes out of delivery what of `spans` is ready and came back more than `returns_max` times, as far
    /// as it came back since this dispatch began. Gives the spans.
    pub fn take_overdue(&mut self, spans: &[Span], returns_max: u16) -> Vec<Span> {
        let mut taken = Vec::new();
        if let Some(order) = &mut self.order {
            order.take_overdue(spans, returns_max, &mut taken);
        }
        for span in spans {
            let overdue = |_: &Offset, returns: &mut u16| *returns > returns_max;
            for (offset, _) in self.returned.extract_if(span.first..span.end, overdue) {
                Span::push(&mut taken, Span::one(offset));
            }
        }
        taken
    }

    /// Takes up to `count` ready messages out of delivery, those first that are next (`None`), or the
    /// oldest of one level; adds to `out` the spans to be put into a Settle command (what is in `out`
    /// stays) and gives how many they are. For purge, length limits and expiry.
    pub fn take_ready(
        &mut self,
        ledger: &Ledger,
        end: Offset,
        (count, level): (u64, Option<usize>),
        out: &mut Vec<Span>,
    ) -> u64 {
        if let Some(order) = &mut self.order {
            let view = View { ledger, end, redelivered_before: self.redelivered_before };
            return order.take_ready((view, &mut self.parked), (count, level), out);
        }
        let (mut taken, kept) = (0, out.len());
        while taken < count {
            if let Some((offset, _)) = self.take_returned(ledger, end) {
                taken += 1;
                Span::push_since(out, kept, Span::one(offset));
                continue;
            }
            if !self.find_ready(ledger, end) {
                break;
            }
            let run = Span::new(self.cursor, self.alike_until.min(end));
            let len = run.len().min(count - taken);
            self.cursor.0 += i64::try_from(len).expect("at most the distance of two offsets");
            taken += len;
            Span::push_since(out, kept, Span::new(run.first, self.cursor));
        }
        taken
    }

    /// The ready message that is next, or the oldest of one level.
    pub fn peek(&self, ledger: &Ledger, end: Offset, level: Option<usize>) -> Option<Offset> {
        if let Some(order) = &self.order {
            return order.peek(ledger, end, (level, &self.parked));
        }
        let returned = self.returned.first_key_value().map(|(&offset, _)| offset);
        match returned.filter(|offset| *offset < self.cursor) {
            None => returned.into_iter().chain(self.next_fresh(ledger, self.cursor, end)).min(),
            first => first,
        }
    }

    /// The spans `len_of` passed over since the last call, to be put into a Settle command.
    pub fn take_skipped(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.skipped)
    }

    /// The ledger settled `span` (trim, or any settle that did not begin in this dispatch): ends
    /// leases in it and forgets what was returned of it. Call after the ledger changed.
    pub fn forget(&mut self, ledger: &Ledger, span: Span) {
        if span.is_empty() {
            return;
        }
        self.returned.extract_if(span.first..span.end, |_, _| true).for_each(drop);
        let aside = self.parked.aside();
        self.parked.forget(ledger, span);
        for (slot, count) in self.leases.take_all(span) {
            self.consumers.refund(slot, count);
        }
        if let Some(order) = &mut self.order {
            order.forget(ledger, span);
        } else if self.cursor < span.end || self.parked.aside() < aside {
            self.cursor = self.cursor.max(ledger.floor());
            self.alike_until = self.cursor;
            self.settled_ahead = ledger.settled_in(Span::new(self.cursor, Offset(i64::MAX)));
        }
    }

    /// Messages that could be handed out now, given credit.
    pub fn ready_count(&self, end: Offset) -> u64 {
        if let Some(order) = &self.order {
            return order.ready_count(end).saturating_sub(self.parked.aside());
        }
        let passed_over = self.settled_ahead + self.parked.aside();
        let ahead = Span::new(self.cursor, end).len().saturating_sub(passed_over);
        ahead + self.returned.len() as u64
    }

    /// Messages handed out and neither settled nor returned.
    pub fn unacked_count(&self) -> u64 {
        self.leases.len()
    }

    /// Standing consumers.
    pub fn consumer_count(&self) -> usize {
        self.consumers.count()
    }

    /// Whether a standing consumer has credit now.
    pub fn has_credit(&self) -> bool {
        self.consumers.has_credit()
    }

    /// Whether one built anew from the ledger would be the same: everything below `end` is settled,
    /// and nobody is there to whom anything is handed out.
    pub fn is_idle(&self, ledger: &Ledger, end: Offset) -> bool {
        ledger.unsettled(end) == 0
            && self.leases.len() == 0
            && self.returned.is_empty()
            && self.order.as_ref().is_none_or(|order| order.is_idle())
            && self.skipped.is_empty()
            && self.consumers.is_empty()
    }

    /// What `key` holds.
    pub fn unsettled_of(&self, key: ConsumerKey) -> Unsettled {
        let slot = self.consumers.find(key);
        slot.map_or(Unsettled::default(), |slot| self.consumers.holder(slot).unsettled)
    }

    /// What a client holds.
    pub fn unsettled_of_client(&self, client: ClientId) -> Unsettled {
        let mut sum = Unsettled::default();
        for slot in self.consumers.slots_of(client) {
            let held = self.consumers.holder(slot).unsettled;
            sum.messages += held.messages;
            sum.bytes += held.bytes;
        }
        sum
    }

    /// Takes the next ready message out of delivery that `len_of` does not pass over.
    fn pick(
        &mut self,
        ledger: &Ledger,
        end: Offset,
        len_of: &mut impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Picked> {
        if let Some(order) = &mut self.order {
            let view = View { ledger, end, redelivered_before: self.redelivered_before };
            let who = &mut Who::Anyone;
            return order.pick((view, &mut self.parked), &mut self.skipped, who, len_of);
        }
        loop {
            while let Some((offset, returns)) = self.take_returned(ledger, end) {
                if let Some(bytes) = len_of(offset) {
                    let history = History::after(returns);
                    return Some(Picked { offset, bytes, history, level: 0, is_fresh: false });
                }
                Span::push(&mut self.skipped, Span::one(offset));
            }
            if !self.find_ready(ledger, end) {
                return None;
            }
            let offset = self.cursor;
            let history = History::of(ledger, offset, self.redelivered_before);
            self.cursor = offset.next();
            if let Some(bytes) = len_of(offset) {
                return Some(Picked { offset, bytes, history, level: 0, is_fresh: true });
            }
            Span::push(&mut self.skipped, Span::one(offset));
        }
    }

    /// Takes out what came back first, unless something that is at the cursor or after it comes before
    /// that.
    fn take_returned(&mut self, ledger: &Ledger, end: Offset) -> Option<(Offset, u16)> {
        let (&offset, &returns) = self.returned.first_key_value()?;
        if offset >= self.cursor {
            let is_there = self.find_ready(ledger, end);
            if is_there && self.cursor < offset {
                return None;
            }
        }
        self.returned.remove(&offset);
        Some((offset, returns))
    }

    /// A hand-out of what was picked; nothing is leased yet.
    fn assignment(&self, slot: u32, settle_now: bool, picked: Picked) -> Assignment {
        let Picked { offset, bytes, history, level, .. } = picked;
        Assignment {
            key: self.consumers.holder(slot).key,
            span: Span::one(offset),
            bytes: u64::from(bytes),
            attempt: history.attempt,
            redelivered: history.redelivered,
            level,
            settle_now,
        }
    }

    fn lease(&mut self, slot: u32, assignment: &Assignment) {
        let Assignment { span, bytes, attempt, level, settle_now, .. } = *assignment;
        if let Some(order) = &mut self.order {
            order.leased(span.first, slot, settle_now);
        }
        if !settle_now {
            self.leases.insert(slot, (attempt, level), span);
            self.consumers.charge(slot, Unsettled { messages: span.len(), bytes });
        }
    }

    /// Adds to an assignment what follows it, is alike and fits the window.
    fn extend_run(
        &mut self,
        turn: Turn,
        assignment: &mut Assignment,
        (end, run_max): (Offset, u32),
        mut len_of: impl FnMut(Offset) -> Option<u32>,
    ) {
        let (alike_until, run_max) = match &self.order {
            None => (self.alike_until, run_max),
            Some(order) => order.run(assignment.level, run_max),
        };
        let until = alike_until.min(end);
        let mut next = assignment.span.end;
        if next >= until {
            return;
        }
        let (messages, bytes) = self.consumers.room(turn.slot);
        let messages = messages.unwrap_or(u64::MAX).min(u64::from(run_max));
        let bytes_max = bytes.unwrap_or(u64::MAX);
        let mut taken = Unsettled { messages: 1, bytes: assignment.bytes };
        while next < until && taken.messages < messages && taken.bytes < bytes_max {
            let Some(bytes) = len_of(next) else { break };
            taken.messages += 1;
            taken.bytes += u64::from(bytes);
            next = next.next();
        }
        assignment.span.end = next;
        assignment.bytes = taken.bytes;
        match &mut self.order {
            None => self.cursor = next,
            Some(order) => order.ran(assignment.level, next),
        }
    }

    /// Moves the cursor to the next ready offset below `end`; false when there is none.
    fn find_ready(&mut self, ledger: &Ledger, end: Offset) -> bool {
        if self.cursor < self.alike_until {
            return self.cursor < end;
        }
        let Some(next) = self.next_fresh(ledger, self.cursor, end) else { return false };
        let passed = Span::new(self.cursor, next).len() - self.parked.pass(self.cursor, next);
        self.settled_ahead = self.settled_ahead.saturating_sub(passed);
        self.cursor = next;
        self.alike_until = ledger.next_settled(next).unwrap_or(Offset(i64::MAX));
        if let Some(returned) = ledger.next_returned(next) {
            let bound = if returned == next { next.next() } else { returned };
            self.alike_until = self.alike_until.min(bound);
        }
        if let Some(parked) = self.parked.next_aside(next) {
            self.alike_until = self.alike_until.min(parked);
        }
        if next < self.redelivered_before {
            self.alike_until = self.alike_until.min(self.redelivered_before);
        }
        true
    }

    fn give_back(&mut self, slot: u32, span: Span, count: bool, out: &mut Vec<Span>) {
        let Dispatch { leases, returned, order, .. } = self;
        let kept = out.len();
        let ended = leases.take(slot, span, |(attempt, level), run| {
            let returns = attempt - u16::from(!count);
            match order {
                None => returned.extend(run.offsets().map(|offset| (offset, returns))),
                Some(order) => order.come_back(level, run, returns),
            }
            Span::push_since(out, kept, run);
        });
        Span::order_since(out, kept);
        self.refund(slot, ended);
    }

    fn refund(&mut self, slot: u32, messages: u64) {
        if 0 < messages {
            self.consumers.refund(slot, messages);
        }
    }
}

/// What there is to be handed out.
#[derive(Clone, Copy)]
struct View<'a> {
    ledger: &'a Ledger,
    end: Offset,
    redelivered_before: Offset,
}

impl History {
    /// As the ledger knows it.
    fn of(ledger: &Ledger, offset: Offset, redelivered_before: Offset) -> History {
        let returns = ledger.returns(offset);
        let redelivered = returns.is_some() || offset < redelivered_before;
        History { redelivered, ..History::after(returns.unwrap_or(0)) }
    }

    /// After so many counted returns.
    fn after(returns: u16) -> History {
        History { attempt: returns.saturating_add(1), redelivered: true }
    }
}
