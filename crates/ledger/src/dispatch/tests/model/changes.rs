//! What becomes of messages: they arrive, are settled, come back, wait, are taken out.

use super::{Change, Message, Place, World, spread};
use crate::{ConsumerKey, Ended, Span};
use std::collections::BTreeMap;
use types::{ClientId, Millis, Offset};

impl World {
    pub(super) fn enqueue(&mut self, count: i64, level: u8, key: u64) {
        let first = self.end();
        let message = Message {
            place: Place::Ready,
            returns: 0,
            redelivered: false,
            is_durably_settled: false,
            durable_returns: None,
            is_leased: false,
            is_gone: false,
            is_spared: false,
            came_back: Some(false),
            level: level.min(self.level_max),
            key: (key > 0).then_some(key),
            due: None,
            durable_due: None,
        };
        self.messages.extend((0..count).map(|_| message));
        self.apply(Change::Append(Span::new(first, self.end()), level));
    }

    pub(super) fn settle(&mut self, key: ConsumerKey, first: i64, end: i64) {
        let mut spans = Vec::new();
        let span = Span::new(Offset(first), Offset(end));
        self.dispatch.settled(key, span, &mut spans);
        let wanted = self.each_held(span, key, |message| message.place = Place::Done);
        assert_eq!(spread(&spans), wanted);
        self.unsynced.extend(spans.into_iter().map(Change::Settle));
    }

    pub(super) fn give_back(&mut self, key: ConsumerKey, first: i64, end: i64, count: bool) {
        let mut spans = Vec::new();
        let span = Span::new(Offset(first), Offset(end));
        self.dispatch.returned(key, span, count, &mut spans);
        let wanted = self.each_held(span, key, |message| message.come_back(count));
        assert_eq!(spread(&spans), wanted);
        self.unsynced.extend(spans.into_iter().map(|span| Change::Return(span, count)));
    }

    pub(super) fn park(&mut self, key: ConsumerKey, (first, end): (i64, i64), count: bool) {
        let span = Span::new(Offset(first), Offset(end));
        let mut ended = Vec::new();
        self.dispatch.end(key, span, &mut ended);
        self.parked(&ended, count);
        self.refund(key, ended.iter().map(|ended| ended.span.len()).sum());
        let is_left = |message: &Message| message.place == Place::Held(key);
        let within = self.messages.iter().take(end as usize).skip(first as usize);
        assert!(!within.clone().any(is_left), "all that it held there ended");
    }

    pub(super) fn park_all(&mut self, client: ClientId) {
        let mut ended = Vec::new();
        self.dispatch.end_client(client, &mut ended);
        self.parked(&ended, true);
        self.unsettled.retain(|holder, _| holder.client != client);
        self.held(|holder| holder.client == client);
    }

    /// Leases ended: their messages wait, each run until another time.
    pub(super) fn parked(&mut self, ended: &[Ended], count: bool) {
        for Ended { span, attempt, level } in ended {
            self.last_due = Millis(self.last_due.0 + 1);
            self.dispatch.park(*span);
            for offset in span.offsets() {
                let message = &mut self.messages[offset.0 as usize];
                assert!(matches!(message.place, Place::Held(_)));
                assert_eq!((*attempt, *level), (message.returns + 1, message.level));
                message.come_back(count);
                (message.place, message.due) = (Place::Parked, Some(self.last_due));
                message.came_back = message.came_back.filter(|_| !message.is_spared);
            }
            self.unsynced.push(Change::Park(*span, count, self.last_due));
        }
    }

    /// The time of some has come; those of which the ledger does not know so stay.
    pub(super) fn release(&mut self, first: i64, end: i64) {
        for offset in Span::new(Offset(first), Offset(end.min(self.end().0))).offsets() {
            let message = &mut self.messages[offset.0 as usize];
            let due = self.ledger.due(offset);
            assert_eq!(due, message.durable_due);
            if due.is_none() || due != message.due {
                continue;
            }
            let returns = self.ledger.returns(offset).expect("what was parked came back");
            let is_parked = message.place == Place::Parked;
            assert_eq!(self.dispatch.is_parked(offset), is_parked);
            assert_eq!(self.dispatch.release(&self.ledger, offset, returns), is_parked);
            if is_parked {
                assert_eq!(returns, message.returns);
                message.place = Place::Ready;
            }
        }
    }

    pub(super) fn purge_parked(&mut self) {
        let mut spans = Vec::new();
        let taken = self.dispatch.take_parked(&mut spans);
        let mut wanted = Vec::new();
        for (offset, message) in self.messages.iter_mut().enumerate() {
            if message.place == Place::Parked {
                message.place = Place::Done;
                wanted.push(Offset(offset as i64));
            }
        }
        assert_eq!(spread(&spans), wanted);
        assert_eq!(taken, wanted.len() as u64);
        self.unsynced.extend(spans.into_iter().map(Change::Settle));
    }

    pub(super) fn each_held(
        &mut self,
        span: Span,
        key: ConsumerKey,
        change: impl Fn(&mut Message),
    ) -> Vec<Offset> {
        let mut offsets = Vec::new();
        for offset in span.offsets() {
            if let Some(message) = self.messages.get_mut(offset.0 as usize)
                && message.place == Place::Held(key)
            {
                change(message);
                offsets.push(offset);
            }
        }
        self.refund(key, offsets.len() as u64);
        offsets
    }

    pub(super) fn came_back(
        &mut self,
        spans: &[Span],
        count: bool,
        whose: impl Fn(ConsumerKey) -> bool,
    ) {
        let mut wanted = Vec::new();
        for (offset, message) in self.messages.iter_mut().enumerate() {
            if matches!(message.place, Place::Held(holder) if whose(holder)) {
                message.come_back(count);
                wanted.push(Offset(offset as i64));
            }
        }
        self.unsettled.retain(|holder, _| !whose(*holder));
        assert_eq!(spread(spans), wanted);
        self.unsynced.extend(spans.iter().map(|&span| Change::Return(span, count)));
    }

    /// The ready message that is next, or the oldest of one level.
    pub(super) fn next_of(&self, level: Option<usize>) -> Option<usize> {
        let Some(level) = level else { return self.next_ready(false, |_| true) };
        let mut messages = self.messages.iter();
        messages.position(|it| it.place == Place::Ready && usize::from(it.level) == level)
    }

    pub(super) fn purge(&mut self, count: u64, level: Option<usize>) {
        let level = level.filter(|&level| level < self.dispatch.level_count());
        let mut spans = Vec::new();
        let taken = self.dispatch.take_ready(&self.ledger, self.end(), (count, level), &mut spans);
        let mut wanted = Vec::new();
        while (wanted.len() as u64) < count
            && let Some(at) = self.next_of(level)
        {
            self.messages[at].place = Place::Done;
            wanted.push(Offset(at as i64));
        }
        wanted.sort_unstable();
        assert_eq!(spread(&spans), wanted);
        assert_eq!(taken, wanted.len() as u64);
        self.unsynced.extend(spans.into_iter().map(Change::Withdraw));
    }

    /// One message is taken out, if nobody has it.
    pub(super) fn take_at(&mut self, at: i64) {
        let offset = Offset(at);
        let taken = self.dispatch.take_at(&self.ledger, self.end(), offset);
        let message = self.messages.get_mut(at as usize);
        let message = message.filter(|it| matches!(it.place, Place::Ready | Place::Parked));
        assert_eq!(taken, message.is_some());
        if let Some(message) = message {
            message.place = Place::Done;
            self.unsynced.push(Change::Withdraw(Span::one(offset)));
        }
    }

    /// A command among the others: what was settled when it is applied comes again.
    pub(super) fn rewind(&mut self, to: i64) {
        // Without what is kept, nobody knows of which level something was.
        if self.keeps || self.level_max == 0 {
            self.unsynced.push(Change::Rewind(Offset(to), self.end()));
        }
    }

    pub(super) fn rewound(&mut self, to: Offset, end: Offset) {
        let to = to.max(self.kept_from);
        let mut last = None;
        let messages = self.messages.iter_mut().enumerate();
        for (at, message) in messages.take(end.0 as usize).skip(to.0 as usize) {
            if !message.is_durably_settled {
                message.is_spared = true;
                if message.place == Place::Parked {
                    message.came_back = None;
                }
                continue;
            }
            assert_eq!(message.place, Place::Done);
            if self.keeps && message.is_gone {
                continue;
            }
            *message = Message {
                place: Place::Ready,
                returns: 0,
                is_durably_settled: false,
                durable_returns: None,
                came_back: Some(false),
                due: None,
                durable_due: None,
                is_spared: false,
                ..*message
            };
            self.brought_back += 1;
            last = Some(at);
        }
        if let Some(last) = last {
            self.messages[..=last].iter_mut().for_each(|message| message.redelivered = true);
        }
    }

    /// What came back too often is taken out.
    pub(super) fn overdue(&mut self, most: u16) {
        let all = Span::new(Offset(0), self.end());
        // What came back before a crash is the ledger's, and looked at when its turn comes.
        let taken = spread(&self.dispatch.take_overdue(&[all], most));
        for (offset, message) in self.messages.iter_mut().enumerate() {
            let is_taken = taken.contains(&Offset(offset as i64));
            assert!(!is_taken || message.place == Place::Ready && message.returns > most);
            if let Some(came_back) = message.came_back {
                let is_known = came_back && message.place == Place::Ready;
                assert_eq!(is_taken, is_known && message.returns > most, "{offset}");
            }
            if is_taken {
                message.place = Place::Done;
            }
        }
        let spans = taken.into_iter().map(Span::one);
        self.unsynced.extend(spans.map(Change::Settle));
    }

    /// The log loses its beginning: a command like the others, applied at once with all before it.
    pub(super) fn trim(&mut self, to: i64) {
        self.sync();
        let to = Offset(to.min(self.end().0));
        let before = Span::new(self.ledger.floor(), to);
        self.apply(Change::Trim(to));
        self.dispatch.forget(&self.ledger, before);
        let mut ended = BTreeMap::<ConsumerKey, u64>::new();
        for message in &mut self.messages[..to.0 as usize] {
            if let Place::Held(holder) = std::mem::replace(&mut message.place, Place::Done) {
                *ended.entry(holder).or_default() += 1;
            }
        }
        ended.into_iter().for_each(|(holder, messages)| self.refund(holder, messages));
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            self.apply(change);
        }
    }
}
