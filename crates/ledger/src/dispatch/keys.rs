//! At most one message of a key is with a consumer: the others of the key wait, in their order.

use crate::Span;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use types::Offset;

/// Messages that wait for others of their key and were passed over: as many as that, and delivery
/// goes no further before one of them can go.
const PARKED_MAX: usize = 100_000;
/// Keys that were told and not needed yet: they are forgotten, and asked for again.
const KNOWN_MAX: usize = 64 << 10;
/// Of what is told at once so many are kept: so that those of all levels have room.
const TOLD_MAX: usize = KNOWN_MAX / 256;

/// Keys of the messages of a log, as far as they matter now.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Of what lies before delivery, as far as they were told; `None`: it has none.
    known: BTreeMap<Offset, Option<u64>>,
    /// Whose key has to be told before anything goes on.
    wanted: Option<Offset>,
    /// Of what is with consumers.
    held: BTreeMap<Offset, u64>,
    locked: BTreeSet<u64>,
    /// What was passed over or came back, by level.
    parked: BTreeMap<(usize, Offset), Parked>,
    by_key: BTreeSet<(u64, Reverse<usize>, Offset)>,
    /// The first that is parked of each key that is not locked.
    free: BTreeSet<(usize, Offset)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    key: u64,
    /// Its counted returns, if it came back.
    pub(super) returns: Option<u16>,
}

impl Keys {
    /// The keys of messages from `first` on.
    pub(super) fn tell(&mut self, first: Offset, keys: impl Iterator<Item = Option<u64>>) {
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let mut offset = first;
        for key in keys.take(TOLD_MAX) {
            self.known.insert(offset, key);
            offset = offset.next();
        }
    }

    pub(super) fn take_wanted(&mut self) -> Option<Offset> {
        self.wanted.take()
    }

    /// The key of a message that lies before delivery; `None` when it has to be told first.
    pub(super) fn of(&mut self, offset: Offset) -> Option<Option<u64>> {
        let known = self.known.get(&offset).copied();
        if known.is_none() {
            self.wanted = Some(offset);
        }
        known
    }

    /// Delivery has passed a message.
    pub(super) fn pass(&mut self, offset: Offset) {
        self.known.remove(&offset);
    }

    pub(super) fn is_locked(&self, key: u64) -> bool {
        self.locked.contains(&key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.parked.len() >= PARKED_MAX
    }

    pub(super) fn parked_count(&self) -> usize {
        self.parked.len()
    }

    /// The oldest that is parked at a level.
    pub(super) fn first_parked(&self, level: usize) -> Option<Offset> {
        let all = (level, Offset(i64::MIN))..=(level, Offset(i64::MAX));
        self.parked.range(all).next().map(|(&(_, offset), _)| offset)
    }

    /// The oldest at a level that is parked and waits for nothing any more.
    pub(super) fn first_free(&self, level: usize) -> Option<Offset> {
        let all = (level, Offset(i64::MIN))..=(level, Offset(i64::MAX));
        self.free.range(all).next().map(|&(_, offset)| offset)
    }

    pub(super) fn park(&mut self, place: (usize, Offset), key: u64, returns: Option<u16>) {
        self.change(key, |keys| keys.insert(place, Parked { key, returns }));
    }

    /// Takes what is parked out. Gives its key, too.
    pub(super) fn unpark(&mut self, place: (usize, Offset)) -> Option<(u64, Parked)> {
        let parked = self.parked.get(&place).copied()?;
        let key = parked.key;
        self.change(key, |keys| {
            keys.parked.remove(&place);
            keys.by_key.remove(&(key, Reverse(place.0), place.1));
        });
        Some((key, parked))
    }

    /// A message of the key is with a consumer.
    pub(super) fn lock(&mut self, offset: Offset, key: u64) {
        self.change(key, |keys| {
            keys.held.insert(offset, key);
            keys.locked.insert(key);
        });
    }

    /// A message is not with a consumer any more.
    pub(super) fn end(&mut self, offset: Offset) {
        if let Some(key) = self.held.remove(&offset) {
            self.change(key, |keys| {
                keys.locked.remove(&key);
            });
        }
    }

    /// A message came back. False when it has no key that is known.
    pub(super) fn come_back(&mut self, place: (usize, Offset), returns: u16) -> bool {
        let Some(key) = self.held.remove(&place.1) else { return false };
        self.change(key, |keys| {
            keys.locked.remove(&key);
            keys.insert(place, Parked { key, returns: Some(returns) });
        });
        true
    }

    /// What of a span is parked and fulfils a condition.
    pub(super) fn parked_in(
        &self,
        span: Span,
        is: impl Fn(Parked) -> bool,
    ) -> Vec<(usize, Offset)> {
        let mut found = Vec::new();
        let mut from = (0, span.first);
        while let Some((&(level, offset), parked)) = self.parked.range(from..).next() {
            from = if offset < span.first {
                (level, span.first)
            } else if span.end <= offset {
                (level + 1, span.first)
            } else {
                found.extend(is(*parked).then_some((level, offset)));
                (level, offset.next())
            };
        }
        found
    }

    /// A span is settled.
    pub(super) fn forget(&mut self, span: Span) {
        for place in self.parked_in(span, |_| true) {
            self.unpark(place);
        }
        let held: Vec<Offset> = self.held.range(span.first..span.end).map(|(&at, _)| at).collect();
        held.into_iter().for_each(|offset| self.end(offset));
        self.known.extract_if(span.first..span.end, |_, _| true).for_each(drop);
    }

    fn insert(&mut self, place: (usize, Offset), parked: Parked) {
        self.by_key.insert((parked.key, Reverse(place.0), place.1));
        self.parked.insert(place, parked);
    }

    /// Does what may change which message of a key is first, or whether it may go.
    fn change(&mut self, key: u64, change: impl FnOnce(&mut Keys)) {
        if let Some(first) = self.first_of(key) {
            self.free.remove(&first);
        }
        change(self);
        if let Some(first) = self.first_of(key).filter(|_| !self.locked.contains(&key)) {
            self.free.insert(first);
        }
    }

    fn first_of(&self, key: u64) -> Option<(usize, Offset)> {
        let from = (key, Reverse(usize::MAX), Offset(i64::MIN));
        let &(of, Reverse(level), offset) = self.by_key.range(from..).next()?;
        (of == key).then_some((level, offset))
    }
}
