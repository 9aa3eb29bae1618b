//! What is handed out, and what should be.

use super::strategy::len_of;
use super::{Change, Message, Place, World};
use crate::{ConsumerKey, Span, Unsettled, Window};
use std::cmp::Reverse;
use types::Offset;

impl World {
    pub(super) fn has_room(&self, key: ConsumerKey) -> bool {
        let options = self.consumers[&key];
        let held = self.held(|holder| holder == key);
        let Window { messages, bytes } = options.window;
        let has_messages = messages == 0 || held.messages < u64::from(messages);
        let has_bytes = bytes == 0 || held.bytes < bytes;
        self.is_served(key) && (options.settle_now || (has_messages && has_bytes))
    }

    pub(super) fn held(&self, whose: impl Fn(ConsumerKey) -> bool) -> Unsettled {
        let mut held = Unsettled::default();
        for (_, unsettled) in self.unsettled.iter().filter(|(key, _)| whose(**key)) {
            held.messages += unsettled.messages;
            held.bytes += unsettled.bytes;
        }
        let is_held =
            |message: &&Message| matches!(message.place, Place::Held(holder) if whose(holder));
        assert_eq!(held.messages, self.messages.iter().filter(is_held).count() as u64);
        held
    }

    /// So many messages are not held any more.
    pub(super) fn refund(&mut self, key: ConsumerKey, messages: u64) {
        let held = self.unsettled.entry(key).or_default();
        if 0 < messages {
            held.bytes -= held.bytes * messages / held.messages;
            held.messages -= messages;
        }
    }

    /// The ready message that is next: of the highest level, unless it is the oldest one's turn.
    pub(super) fn next_ready(
        &self,
        is_oldest_due: bool,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let messages = self.messages.iter().enumerate();
        let ready = messages.filter(|(_, it)| it.place == Place::Ready);
        let rank = |level| if is_oldest_due { 0 } else { level };
        let ready = ready.filter(|(at, _)| may(*at));
        ready.min_by_key(|(at, message)| (Reverse(rank(message.level)), *at)).map(|(at, _)| at)
    }

    /// The one that is handed out next: it waits for no other of its key.
    pub(super) fn next_to_go(&self) -> Option<usize> {
        if self.sessions {
            return self.next_in_sessions();
        }
        let held = |key, at_once: u32| {
            let holds = |place| matches!(place, Place::Held(_) | Place::Parked);
            let of_key = |it: &&Message| holds(it.place) && it.key == Some(key);
            self.messages.iter().filter(of_key).count() >= at_once as usize
        };
        let is_oldest_due = self.every.is_some_and(|every| self.since + 1 >= every);
        self.next_ready(is_oldest_due, |at| {
            !self.messages[at].key.zip(self.keyed).is_some_and(|(key, at_once)| held(key, at_once))
        })
    }

    /// Finds the ready message that is there and next; the ones that are not there become done.
    pub(super) fn take_next(&mut self) -> Option<usize> {
        loop {
            let at = self.next_to_go()?;
            if len_of(Offset(at as i64)).is_some() {
                return Some(at);
            }
            self.messages[at].place = Place::Done;
        }
    }

    pub(super) fn deliver(&mut self, run_max: u32) {
        self.sync_before_leases();
        let able: Vec<ConsumerKey> =
            self.consumers.keys().copied().filter(|&key| self.has_room(key)).collect();
        assert_eq!(self.dispatch.has_credit(), !able.is_empty());
        self.note_owners(None);
        let given = loop {
            let given = self.dispatch.next(&self.ledger, self.end(), run_max, len_of);
            if given.is_some() || !self.tell() {
                break given;
            }
        };
        self.note_skipped();
        let Some(given) = given else {
            assert!(able.is_empty() || self.take_next().is_none(), "nothing given to {able:?}");
            return;
        };
        let best = able.iter().map(|key| self.consumers[key].priority).max().unwrap();
        assert!(self.is_served(given.key), "{:?} is not active", given.key);
        if !self.sessions {
            assert_eq!(self.consumers[&given.key].priority, best);
        }
        assert!(given.span.len() <= u64::from(run_max));
        let mut bytes = 0;
        for offset in given.span.offsets() {
            assert!(self.has_room(given.key), "{offset} is beyond the window");
            bytes += u64::from(len_of(offset).unwrap());
            self.hand_out(offset, given.key, (given.attempt, given.redelivered, given.settle_now));
        }
        assert_eq!(given.bytes, bytes);
        assert_eq!(given.settle_now, self.consumers[&given.key].settle_now);
        if given.settle_now {
            self.unsynced.push(Change::Settle(given.span));
        }
    }

    /// What is written down with the lease is applied before the handout is chosen.
    pub(super) fn sync_before_leases(&mut self) {
        if self.leases {
            self.sync();
        }
    }

    /// Tells some keys, if one is wanted.
    pub(super) fn tell(&mut self) -> bool {
        let Some(first) = self.dispatch.take_wanted() else { return false };
        assert!(self.keyed.is_some());
        let some = self.messages[first.0 as usize..].iter().take(5);
        self.dispatch.tell_keys(first, some.map(|message| message.key));
        true
    }

    pub(super) fn get(&mut self, key: ConsumerKey, settle_now: bool) {
        self.sync_before_leases();
        let by = (key, settle_now);
        self.note_owners(Some(key));
        let taken = loop {
            let taken = self.dispatch.take_one(&self.ledger, self.end(), by, len_of);
            if taken.is_some() || !self.tell() {
                break taken;
            }
        };
        self.note_skipped();
        let Some(given) = taken else {
            assert_eq!(self.take_next(), None);
            return;
        };
        self.hand_out(given.span.first, key, (given.attempt, given.redelivered, settle_now));
        if settle_now {
            self.unsynced.push(Change::Settle(given.span));
        }
    }

    pub(super) fn hand_out(&mut self, offset: Offset, key: ConsumerKey, told: (u16, bool, bool)) {
        let next = self.take_next();
        self.since = match self.every {
            Some(every) if self.since + 1 >= every => 0,
            _ => self.since + 1,
        };
        assert_eq!(next, Some(offset.0 as usize), "delivered out of order, or twice");
        let (attempt, redelivered, settle_now) = told;
        if self.sessions && !self.is_getting() {
            self.check_taker(offset.0 as usize, key);
        }
        let message = &mut self.messages[offset.0 as usize];
        assert!(!message.is_durably_settled, "{offset} is settled");
        assert_eq!((attempt, redelivered), (message.returns + 1, message.redelivered));
        message.place = if settle_now { Place::Done } else { Place::Held(key) };
        if !settle_now && self.leases {
            self.sync();
            self.apply(Change::Lease(Span::one(offset)));
        }
        if !settle_now {
            let held = self.unsettled.entry(key).or_default();
            held.messages += 1;
            held.bytes += u64::from(len_of(offset).unwrap());
        }
    }

    pub(super) fn note_skipped(&mut self) {
        for span in self.dispatch.take_skipped() {
            assert!(span.offsets().all(|offset| len_of(offset).is_none()));
            self.unsynced.push(Change::Settle(span));
        }
    }
}
