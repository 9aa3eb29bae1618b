//! At most one message of a key, or so many, are with consumers: the others of the key wait, in their order.

use super::buckets::Buckets;
use super::sessions::{NOBODY, Sessions, Who, own_session};
use crate::Span;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use types::Offset;

/// Messages that wait for others of their key and were passed over: as many as that, and delivery
/// goes no further before one of them can go.
const BLOCKED_MAX: usize = 100_000;
/// Keys that were told and not needed yet: they are forgotten, and asked for again.
const KNOWN_MAX: usize = 64 << 10;
/// Of what is told at once so many are kept: so that those of all levels have room.
const TOLD_MAX: usize = KNOWN_MAX / 256;

/// Whose a key is, and the level and place of the first of its messages that are blocked.
type Free = (u32, Reverse<usize>, Offset);
/// Whose a key is, and the place and level of the oldest of those.
type FreeByAge = (u32, Offset, usize);

/// Keys of the messages of a log, as far as they matter now.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) limits: Limits,
    /// Of what lies before delivery, as far as they were told; `None`: it has none.
    known: BTreeMap<Offset, Option<u64>>,
    /// Whose key has to be told before anything goes on.
    pub(super) wanted: Option<Offset>,
    /// Of what is with consumers, or came back and waits for its time.
    held: BTreeMap<Offset, u64>,
    /// How many of a key that are.
    locked: BTreeMap<u64, u32>,
    /// What waits for its time and whose key was not told yet.
    waiting: BTreeSet<Offset>,
    /// What was passed over or came back, by level.
    blocked: BTreeMap<(usize, Offset), Blocked>,
    by_key: BTreeSet<(u64, Reverse<usize>, Offset)>,
    by_age: BTreeSet<(u64, Offset, usize)>,
    /// Of each key that is not locked the first that is blocked, and the oldest, by whose the key is.
    free: BTreeSet<Free>,
    free_by_age: BTreeSet<FreeByAge>,
    /// Where keys are somebody's.
    pub(super) sessions: Option<Box<Sessions>>,
}

/// What holds messages of a key back.
#[derive(Debug)]
pub(super) struct Limits {
    /// So many are with consumers at most.
    at_once: u32,
    /// Where each key has a rate.
    pub(super) buckets: Option<Box<Buckets>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Blocked {
    key: u64,
    /// Its counted returns, if it came back.
    pub(super) returns: Option<u16>,
}

impl Keys {
    pub(super) fn new(at_once: u32) -> Keys {
        Keys {
            limits: Limits { at_once, buckets: None },
            known: BTreeMap::new(),
            wanted: None,
            held: BTreeMap::new(),
            locked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            blocked: BTreeMap::new(),
            by_key: BTreeSet::new(),
            by_age: BTreeSet::new(),
            free: BTreeSet::new(),
            free_by_age: BTreeSet::new(),
            sessions: None,
        }
    }

    pub(super) fn keep_sessions(&mut self) {
        self.sessions = Some(Box::default());
    }

    pub(super) fn has_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    /// The keys of messages from `first` on.
    pub(super) fn tell(&mut self, first: Offset, keys: impl Iterator<Item = Option<u64>>) {
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let mut offset = first;
        let has_sessions = self.sessions.is_some();
        for key in keys.take(TOLD_MAX) {
            let own = || has_sessions.then(|| own_session(offset));
            self.known.insert(offset, key.or_else(own));
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

    /// Whose what is next of a key is; `None`: it is to wait.
    fn whose(&self, key: u64) -> Option<u32> {
        if self.locked.get(&key).is_some_and(|count| *count >= self.limits.at_once)
            || self.limits.buckets.as_ref().is_some_and(|buckets| buckets.is_dry(key))
        {
            return None;
        }
        self.sessions.as_ref().map_or(Some(NOBODY), |sessions| sessions.whose(key))
    }

    /// Whether what is next of a key can go.
    pub(super) fn may_go(&self, key: u64, who: &Who<'_>) -> bool {
        match (self.whose(key), who) {
            (None, _) => false,
            (Some(NOBODY), Who::Consumers { takes, .. }) => *takes,
            (Some(NOBODY), _) => true,
            (Some(_), Who::Anyone) => false,
            (Some(owner), Who::Consumers { consumers, .. }) => consumers.can_take(owner),
            (Some(owner), Who::One(slot)) => owner == *slot,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.blocked.len() >= BLOCKED_MAX
    }

    pub(super) fn blocked_count(&self) -> usize {
        self.blocked.len()
    }

    /// The oldest that is blocked at a level.
    pub(super) fn first_blocked(&self, level: usize) -> Option<Offset> {
        let all = (level, Offset(i64::MIN))..=(level, Offset(i64::MAX));
        self.blocked.range(all).next().map(|(&(_, offset), _)| offset)
    }

    /// The oldest at a level that is blocked and waits for nothing any more.
    pub(super) fn first_free(&mut self, level: usize, who: &mut Who<'_>) -> Option<Offset> {
        let of = |free: &BTreeSet<Free>, slot| {
            let at = |offset| (slot, Reverse(level), Offset(offset));
            free.range(at(i64::MIN)..=at(i64::MAX)).next().map(|&(.., offset)| offset)
        };
        let (takes, own) = match (who, &mut self.sessions) {
            (Who::Consumers { consumers, takes }, Some(sessions)) => {
                (*takes, sessions.first_at(level, consumers))
            }
            (Who::One(slot), Some(_)) => (true, of(&self.free, *slot)),
            _ => (true, None),
        };
        let free = takes.then(|| of(&self.free, NOBODY)).flatten();
        free.into_iter().chain(own).min()
    }

    /// The oldest of all that are blocked and wait for nothing any more, if it is at this level.
    pub(super) fn oldest_free(&mut self, level: usize, who: &mut Who<'_>) -> Option<Offset> {
        let (takes, own) = match (who, &mut self.sessions) {
            (Who::Consumers { consumers, takes }, Some(sessions)) => {
                (*takes, sessions.oldest(consumers))
            }
            (Who::One(slot), Some(_)) => (true, self.oldest_free_of(*slot)),
            _ => (true, None),
        };
        let free = takes.then(|| self.oldest_free_of(NOBODY)).flatten();
        let oldest = free.into_iter().chain(own).min();
        oldest.filter(|(_, at)| *at == level).map(|(offset, _)| offset)
    }

    fn oldest_free_of(&self, slot: u32) -> Option<(Offset, usize)> {
        let &(of, offset, level) = self.free_by_age.range((slot, Offset(i64::MIN), 0)..).next()?;
        (of == slot).then_some((offset, level))
    }

    fn first_free_of(&self, slot: u32) -> Option<(Reverse<usize>, Offset)> {
        let from = (slot, Reverse(usize::MAX), Offset(i64::MIN));
        let &(of, level, offset) = self.free.range(from..).next()?;
        (of == slot).then_some((level, offset))
    }

    pub(super) fn block(&mut self, place: (usize, Offset), key: u64, returns: Option<u16>) {
        self.change(key, |keys| keys.insert(place, Blocked { key, returns }));
    }

    /// Takes what is blocked out. Gives its key, too.
    pub(super) fn unblock(&mut self, place: (usize, Offset)) -> Option<(u64, Blocked)> {
        let blocked = self.blocked.get(&place).copied()?;
        let key = blocked.key;
        self.change(key, |keys| {
            keys.blocked.remove(&place);
            keys.by_key.remove(&(key, Reverse(place.0), place.1));
            keys.by_age.remove(&(key, place.1, place.0));
        });
        Some((key, blocked))
    }

    /// A message of the key is with a holder.
    pub(super) fn lock(&mut self, offset: Offset, key: u64, slot: u32) {
        self.change(key, |keys| {
            if keys.hold(offset, key)
                && let Some(sessions) = &mut keys.sessions
            {
                sessions.leased(key, slot);
            }
        });
    }

    /// A message of the key went to a holder, and is settled.
    pub(super) fn take_session(&mut self, key: u64, slot: u32) {
        if self.sessions.as_ref().is_some_and(|sessions| sessions.stands(slot)) {
            self.change(key, |keys| {
                keys.sessions.iter_mut().for_each(|sessions| sessions.take(key, slot));
            });
        }
    }

    /// The key of what is with a holder, or waits.
    pub(super) fn key_of_held(&self, offset: Offset) -> Option<u64> {
        self.held.get(&offset).copied()
    }

    /// Messages are with nobody any more, and may have to wait: they hold their sessions back.
    pub(super) fn hold_back(&mut self, span: Span) {
        if !self.has_sessions() {
            return;
        }
        for offset in span.offsets() {
            let Some(key) = self.held.get(&offset).copied() else { continue };
            self.change(key, |keys| {
                let sessions = keys.sessions.iter_mut();
                sessions.for_each(|sessions| sessions.hold_back(key, offset, true));
            });
        }
    }

    /// A message holds its key no longer.
    pub(super) fn end(&mut self, offset: Offset) {
        self.waiting.remove(&offset);
        if let Some(key) = self.held.remove(&offset) {
            self.change(key, |keys| keys.unlock(offset, key));
        }
    }

    /// A message waits for its time, and holds its key.
    pub(super) fn wait(&mut self, offset: Offset) {
        self.waiting.insert(offset);
    }

    /// Has what waits hold its key. False when one has to be told first.
    pub(super) fn hold_waiting(&mut self) -> bool {
        while let Some(offset) = self.waiting.first().copied() {
            let Some(key) = self.of(offset) else { return false };
            self.pass(offset);
            self.waiting.remove(&offset);
            if let Some(key) = key {
                self.change(key, |keys| {
                    if keys.hold(offset, key)
                        && let Some(sessions) = &mut keys.sessions
                    {
                        sessions.hold_back(key, offset, false);
                    }
                });
            }
        }
        true
    }

    /// False when it did already.
    fn hold(&mut self, offset: Offset, key: u64) -> bool {
        let is_new = self.held.insert(offset, key).is_none();
        if is_new {
            *self.locked.entry(key).or_default() += 1;
        }
        is_new
    }

    fn unlock(&mut self, offset: Offset, key: u64) {
        if let Some(sessions) = &mut self.sessions {
            sessions.ended(key, offset);
        }
        if let Some(count) = self.locked.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.locked.remove(&key);
            }
        }
    }

    /// A message came back. False when it has no key that is known.
    pub(super) fn come_back(&mut self, place: (usize, Offset), returns: u16) -> bool {
        self.waiting.remove(&place.1);
        let Some(key) = self.held.remove(&place.1) else { return false };
        self.change(key, |keys| {
            keys.unlock(place.1, key);
            keys.insert(place, Blocked { key, returns: Some(returns) });
        });
        true
    }

    pub(super) fn is_blocked(&self, place: (usize, Offset)) -> bool {
        self.blocked.contains_key(&place)
    }

    /// What of a span is blocked and fulfils a condition.
    pub(super) fn blocked_in(
        &self,
        span: Span,
        is: impl Fn(Blocked) -> bool,
    ) -> Vec<(usize, Offset)> {
        let mut found = Vec::new();
        let mut from = (0, span.first);
        while let Some((&(level, offset), blocked)) = self.blocked.range(from..).next() {
            from = if offset < span.first {
                (level, span.first)
            } else if span.end <= offset {
                (level + 1, span.first)
            } else {
                found.extend(is(*blocked).then_some((level, offset)));
                (level, offset.next())
            };
        }
        found
    }

    /// A span is settled.
    pub(super) fn forget(&mut self, span: Span) {
        for place in self.blocked_in(span, |_| true) {
            self.unblock(place);
        }
        let waiting = self.waiting.range(span.first..span.end).copied();
        let held = self.held.range(span.first..span.end).map(|(&at, _)| at);
        let held: Vec<Offset> = waiting.chain(held).collect();
        held.into_iter().for_each(|offset| self.end(offset));
        self.known.extract_if(span.first..span.end, |_, _| true).for_each(drop);
    }

    fn insert(&mut self, place: (usize, Offset), blocked: Blocked) {
        self.by_key.insert((blocked.key, Reverse(place.0), place.1));
        self.by_age.insert((blocked.key, place.1, place.0));
        self.blocked.insert(place, blocked);
    }

    /// Does what may change which message of a key is first, whose it is, or whether it may go.
    pub(super) fn change(&mut self, key: u64, change: impl FnOnce(&mut Keys)) {
        // Without sessions it is nobody's, and there or not.
        let before = if self.has_sessions() { self.whose(key) } else { Some(NOBODY) };
        let had = before.and_then(|whose| self.firsts_of(key, whose));
        if let Some((free, by_age)) = had {
            self.free.remove(&free);
            self.free_by_age.remove(&by_age);
        }
        change(self);
        let has_blocked = self.first_of(key).is_some();
        if let Some(sessions) = &mut self.sessions {
            sessions.tidy(key, has_blocked);
        } else if !has_blocked {
            return;
        }
        let after = self.whose(key);
        let has = after.and_then(|whose| self.firsts_of(key, whose));
        if let Some((free, by_age)) = has {
            self.free.insert(free);
            self.free_by_age.insert(by_age);
        }
        if self.has_sessions() && had != has {
            let owners = had.into_iter().chain(has).map(|((whose, ..), _)| whose);
            owners.for_each(|slot| self.find_head(slot));
        }
    }

    /// The first that is blocked of a key, and the oldest, by whose the key is.
    fn firsts_of(&self, key: u64, whose: u32) -> Option<(Free, FreeByAge)> {
        let (level, offset) = self.first_of(key)?;
        let (oldest, at) = self.oldest_of(key)?;
        Some(((whose, Reverse(level), offset), (whose, oldest, at)))
    }

    fn find_head(&mut self, slot: u32) {
        let (first, oldest) = (self.first_free_of(slot), self.oldest_free_of(slot));
        if let Some(sessions) = self.sessions.as_mut().filter(|_| slot != NOBODY) {
            sessions.set_head(slot, first, oldest);
        }
    }

    /// Messages of a key wait.
    pub(super) fn is_awaited(&self, key: u64) -> bool {
        self.first_of(key).is_some()
    }

    fn first_of(&self, key: u64) -> Option<(usize, Offset)> {
        let from = (key, Reverse(usize::MAX), Offset(i64::MIN));
        let &(of, Reverse(level), offset) = self.by_key.range(from..).next()?;
        (of == key).then_some((level, offset))
    }

    fn oldest_of(&self, key: u64) -> Option<(Offset, usize)> {
        let &(of, offset, level) = self.by_age.range((key, Offset(i64::MIN), 0)..).next()?;
        (of == key).then_some((offset, level))
    }
}
