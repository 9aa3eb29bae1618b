//! Sessions: a key whose messages are all one consumer's, as long as it has any of them or any is there.
//!
//! A session is taken with its first message that is handed out, and is free again when none of it is with
//! its consumer and either that is no consumer any more or none is ready. What is ready beyond the place that
//! delivery has come to is not known: a session of which nothing is known to be ready is idle, and stays with
//! its consumer until delivery has looked as far as it looks and found nothing to hand out.

use super::consumers::{Consumers, Turn};
use super::keys::Keys;
use super::{Assignment, ConsumerKey, Dispatch, Picked, View};
use crate::Ledger;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use types::Offset;

/// The owner of what belongs to no consumer.
pub(super) const NOBODY: u32 = u32::MAX;

/// So many idle sessions stay with their consumers; of one more, all are free.
const IDLE_MAX: usize = 10_000;

/// The first of what an owner's sessions have blocked: the highest level, and of that the oldest.
type First = (Reverse<usize>, Offset);
/// The oldest of that, and its level.
type Oldest = (Offset, usize);

/// Whose the keys of a log are.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Those that are somebody's, or held back.
    by_key: BTreeMap<u64, Session>,
    owners: BTreeMap<u32, Owner>,
    owned: BTreeSet<(u32, u64)>,
    /// Messages that came back and hold their session back.
    waits: BTreeSet<Offset>,
    /// Nothing of them is with their owner, or known to be ready.
    idle: BTreeSet<u64>,
    /// The first of each owner that may have credit.
    heads: BTreeSet<(Reverse<usize>, Offset, u32)>,
    oldest: BTreeSet<(Offset, usize, u32)>,
    /// Owners that took a session, or lost one.
    changed: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Session {
    owner: Option<u32>,
    /// Messages that are with the owner.
    in_flight: u32,
    /// Messages that came back and wait: until they can go, none of the session goes.
    waiting: u32,
}

#[derive(Debug, Default)]
struct Owner {
    sessions: u32,
    /// So many at most; 0: without bound.
    most: u32,
    /// A consumer, that is served; otherwise it only holds messages.
    stands: bool,
    /// It had no credit when it was to get something.
    sleeps: bool,
    first: Option<First>,
    oldest: Option<Oldest>,
}

/// For whom a message is looked for.
pub(super) enum Who<'a> {
    /// Whoever it is.
    Anyone,
    /// Consumers with credit; `takes`: one of them may take what is nobody's.
    Consumers { consumers: &'a mut Consumers, takes: bool },
    /// One holder, whatever credit it has.
    One(u32),
}

/// A session that is somebody's, or is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldSession {
    /// The number of its key.
    pub key: u64,
    /// Whose it is.
    pub owner: Option<ConsumerKey>,
    /// Messages that are with the owner.
    pub in_flight: u32,
    /// Messages that came back and wait for their time.
    pub waiting: u32,
}

/// A number for a message that has no key: a session of its own.
pub(super) fn own_session(offset: Offset) -> u64 {
    let mut bits = offset.0.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Sessions {
    /// Whose the messages of a session are; `None` while it is held back.
    pub(super) fn whose(&self, key: u64) -> Option<u32> {
        match self.by_key.get(&key) {
            None => Some(NOBODY),
            Some(session) if session.waiting > 0 => None,
            Some(session) => Some(session.owner.unwrap_or(NOBODY)),
        }
    }

    /// A holder is a consumer that is served, and has so many sessions at most.
    pub(super) fn stand(&mut self, slot: u32, most: u32) {
        let owner = self.owners.entry(slot).or_default();
        (owner.stands, owner.most) = (true, most);
        self.changed.insert(slot);
    }

    pub(super) fn stands(&self, slot: u32) -> bool {
        self.owners.get(&slot).is_some_and(|owner| owner.stands)
    }

    /// Consumers that are served, as far as that was said.
    pub(super) fn standing(&self) -> impl Iterator<Item = u32> {
        self.owners.iter().filter(|(_, owner)| owner.stands).map(|(slot, _)| *slot)
    }

    /// A holder is no consumer any more. Gives its sessions of which it holds nothing, which are to be
    /// released.
    pub(super) fn retire(&mut self, slot: u32) -> Vec<u64> {
        let Some(owner) = self.owners.get_mut(&slot) else { return Vec::new() };
        owner.stands = false;
        let is_held = |key: &u64| self.by_key.get(key).is_some_and(|it| it.in_flight > 0);
        let all = self.owned.range((slot, 0)..=(slot, u64::MAX)).map(|(_, key)| *key);
        let ends = all.filter(|key| !is_held(key)).collect();
        self.drop_owner(slot);
        ends
    }

    /// A session is nobody's any more.
    pub(super) fn release(&mut self, key: u64) {
        self.idle.remove(&key);
        let Some(session) = self.by_key.get_mut(&key) else { return };
        if let Some(slot) = session.owner.take() {
            self.owned.remove(&(slot, key));
            self.changed.insert(slot);
            if let Some(owner) = self.owners.get_mut(&slot) {
                owner.sessions -= 1;
            }
            self.drop_owner(slot);
        }
    }

    /// A session is a holder's from now on, if it is nobody's.
    pub(super) fn take(&mut self, key: u64, slot: u32) {
        let session = self.by_key.entry(key).or_default();
        if session.owner.is_none() {
            session.owner = Some(slot);
            self.owned.insert((slot, key));
            self.owners.entry(slot).or_default().sessions += 1;
            self.changed.insert(slot);
        }
        debug_assert_eq!(session.owner, Some(slot), "of a session that is another's");
    }

    /// A message is with its session's owner.
    pub(super) fn leased(&mut self, key: u64, slot: u32) {
        self.take(key, slot);
        self.by_key.entry(key).or_default().in_flight += 1;
    }

    /// A message waits, and holds its session back; `was_leased`: it was with the owner.
    pub(super) fn hold_back(&mut self, key: u64, offset: Offset, was_leased: bool) {
        if self.waits.insert(offset) {
            let session = self.by_key.entry(key).or_default();
            session.in_flight -= u32::from(was_leased);
            session.waiting += 1;
        }
    }

    /// A message is not with the owner any more, and does not wait.
    pub(super) fn ended(&mut self, key: u64, offset: Offset) {
        let waited = self.waits.remove(&offset);
        if let Some(session) = self.by_key.get_mut(&key) {
            let of = if waited { &mut session.waiting } else { &mut session.in_flight };
            *of -= 1;
        }
    }

    /// Something changed of a session; `has_blocked`: some of its messages are known to be ready.
    pub(super) fn tidy(&mut self, key: u64, has_blocked: bool) {
        let Some(session) = self.by_key.get(&key).copied() else { return };
        let is_at_rest = session.in_flight == 0 && session.owner.is_some();
        let stands = session.owner.is_some_and(|slot| self.stands(slot));
        if is_at_rest && !stands {
            self.release(key);
        } else if is_at_rest && session.waiting == 0 && !has_blocked {
            self.idle.insert(key);
        } else {
            self.idle.remove(&key);
        }
        let is_free = |session: &Session| session.owner.is_none() && session.waiting == 0;
        if self.by_key.get(&key).is_some_and(is_free) {
            self.by_key.remove(&key);
        }
    }

    /// What an owner's sessions have blocked begins there now.
    pub(super) fn set_head(&mut self, slot: u32, first: Option<First>, oldest: Option<Oldest>) {
        self.hide_head(slot);
        let Some(owner) = self.owners.get_mut(&slot) else { return };
        (owner.first, owner.oldest) = (first, oldest);
        self.show_head(slot);
    }

    fn hide_head(&mut self, slot: u32) {
        let Some(owner) = self.owners.get(&slot) else { return };
        if let (Some((level, offset)), Some((age, at))) = (owner.first, owner.oldest) {
            self.heads.remove(&(level, offset, slot));
            self.oldest.remove(&(age, at, slot));
        }
    }

    fn show_head(&mut self, slot: u32) {
        let Some(owner) = self.owners.get(&slot).filter(|owner| !owner.sleeps) else { return };
        if let (Some((level, offset)), Some((age, at))) = (owner.first, owner.oldest) {
            self.heads.insert((level, offset, slot));
            self.oldest.insert((age, at, slot));
        }
    }

    /// The first that owners with credit have blocked at a level.
    pub(super) fn first_at(&mut self, level: usize, consumers: &mut Consumers) -> Option<Offset> {
        let level = Reverse(level);
        let all = (level, Offset(i64::MIN), 0)..=(level, Offset(i64::MAX), u32::MAX);
        while let Some(&(_, offset, slot)) = self.heads.range(all.clone()).next() {
            if consumers.can_take(slot) {
                return Some(offset);
            }
            self.sleep(slot, consumers);
        }
        None
    }

    /// The oldest that owners with credit have blocked, and its level.
    pub(super) fn oldest(&mut self, consumers: &mut Consumers) -> Option<Oldest> {
        while let Some(&(offset, level, slot)) = self.oldest.first() {
            if consumers.can_take(slot) {
                return Some((offset, level));
            }
            self.sleep(slot, consumers);
        }
        None
    }

    /// An owner has no credit: until it has, nothing is looked for among what is its.
    fn sleep(&mut self, slot: u32, consumers: &mut Consumers) {
        self.hide_head(slot);
        if let Some(owner) = self.owners.get_mut(&slot) {
            owner.sleeps = true;
        }
        consumers.watch(slot);
    }

    /// An owner may have credit again.
    pub(super) fn wake(&mut self, slot: u32) {
        if let Some(owner) = self.owners.get_mut(&slot) {
            owner.sleeps = false;
            self.show_head(slot);
        }
    }

    /// Holders that took or lost a session, and whether each has as many as it may.
    pub(super) fn take_changed(&mut self) -> Vec<(u32, bool)> {
        let changed = std::mem::take(&mut self.changed);
        let is_full = |owner: &Owner| owner.most > 0 && owner.sessions >= owner.most;
        let full = |slot| self.owners.get(&slot).is_some_and(is_full);
        changed.into_iter().map(|slot| (slot, full(slot))).collect()
    }

    fn drop_owner(&mut self, slot: u32) {
        if self.owners.get(&slot).is_some_and(|owner| !owner.stands && owner.sessions == 0) {
            self.hide_head(slot);
            self.owners.remove(&slot);
        }
    }

    fn owner(&self, key: u64) -> Option<u32> {
        self.by_key.get(&key)?.owner
    }
}

impl Keys {
    /// Whose a key is, if it is anybody's.
    pub(super) fn owner(&self, key: u64) -> Option<u32> {
        self.sessions.as_ref()?.owner(key)
    }

    /// A holder is a consumer that is served, and has so many sessions at most.
    pub(super) fn stand(&mut self, slot: u32, most: u32) {
        if let Some(sessions) = &mut self.sessions {
            sessions.stand(slot, most);
        }
    }

    /// A holder is no consumer any more, or is not served.
    pub(super) fn retire(&mut self, slot: u32) {
        let ends = self.sessions.as_mut().map_or(Vec::new(), |sessions| sessions.retire(slot));
        self.release(ends);
    }

    /// Sessions of which nothing is ready are free: there is nothing that could go. False when there are
    /// none, or when what is ready is not known.
    fn release_idle(&mut self) -> bool {
        let is_known = self.wanted.is_none();
        is_known && self.end_idle()
    }

    /// Sessions of which nothing is known to be ready are free, where they are too many.
    fn bound_idle(&mut self) {
        if self.sessions.as_ref().is_some_and(|sessions| sessions.idle.len() > IDLE_MAX) {
            self.end_idle();
        }
    }

    fn end_idle(&mut self) -> bool {
        let sessions = self.sessions.as_ref();
        let idle = sessions.map_or(Vec::new(), |sessions| sessions.idle.iter().copied().collect());
        let is_any = !idle.is_empty();
        self.release(idle);
        is_any
    }

    fn release(&mut self, ends: Vec<u64>) {
        for key in ends {
            self.change(key, |keys| {
                if let Some(sessions) = &mut keys.sessions {
                    sessions.release(key);
                }
            });
        }
    }
}

impl Dispatch {
    /// Has each key be one consumer's from now on, while it has messages of it or any is ready
    /// ([`Dispatch::order_by_key`] comes first).
    pub fn keep_sessions(&mut self) {
        if let Some(keys) = self.order.as_mut().and_then(|order| order.keys_mut()) {
            keys.keep_sessions();
            self.consumers.keep_sessions();
        }
    }

    /// The sessions that are somebody's, or are held back, by their numbers.
    pub fn sessions(&self) -> impl Iterator<Item = HeldSession> {
        let sessions = self.order.as_ref().and_then(|order| order.keys()?.sessions.as_deref());
        let keys = sessions.into_iter().flat_map(|sessions| sessions.by_key.keys());
        keys.filter_map(|key| self.session(*key))
    }

    /// One of them, by its number.
    pub fn session(&self, key: u64) -> Option<HeldSession> {
        let session = self.order.as_ref()?.keys()?.sessions.as_ref()?.by_key.get(&key)?;
        Some(HeldSession {
            key,
            owner: session.owner.map(|slot| self.consumers.holder(slot).key),
            in_flight: session.in_flight,
            waiting: session.waiting,
        })
    }

    /// The number of the session of a message that is with a consumer, or waits.
    pub fn session_of_leased(&self, offset: Offset) -> Option<u64> {
        self.order.as_ref()?.keys()?.key_of_held(offset)
    }

    /// [`Dispatch::next`] where keys are sessions: what comes next of all that can go to somebody goes to its
    /// session's consumer, or to whose turn it is to take one.
    #[inline(never)]
    pub(super) fn next_of_sessions(
        &mut self,
        ledger: &Ledger,
        end: Offset,
        mut len_of: impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Assignment> {
        let (turn, slot, picked) = loop {
            self.settle_sessions();
            let turn = self.consumers.next_turn();
            if turn.is_none() && !self.consumers.has_credit() {
                return None;
            }
            let picked = self.pick_of_sessions((ledger, end), turn, &mut len_of);
            match picked {
                Some((picked, owner)) => {
                    let slot = owner.or(turn.map(|turn| turn.slot))?;
                    break (turn, slot, picked);
                }
                None if self.release_idle() => {}
                None => return None,
            }
        };
        let settle_now = self.consumers.holder(slot).options.settle_now;
        let assignment = self.assignment(slot, settle_now, picked);
        self.lease(slot, &assignment);
        if let Some(turn) = turn.filter(|turn| turn.slot == slot) {
            self.consumers.rotate(turn);
        }
        Some(assignment)
    }

    /// What comes next, and whose it is, if it is anybody's.
    fn pick_of_sessions(
        &mut self,
        (ledger, end): (&Ledger, Offset),
        turn: Option<Turn>,
        len_of: &mut impl FnMut(Offset) -> Option<u32>,
    ) -> Option<(Picked, Option<u32>)> {
        let order = self.order.as_mut()?;
        let view = View { ledger, end, redelivered_before: self.redelivered_before };
        let consumers = &mut self.consumers;
        let mut who = Who::Consumers { consumers, takes: turn.is_some() };
        let picked = order.pick((view, &mut self.parked), &mut self.skipped, &mut who, len_of)?;
        Some((picked, order.owner_of_picked()))
    }

    /// [`Dispatch::take_one`] where keys are sessions: of one that is nobody's, or the taker's own.
    #[inline(never)]
    pub(super) fn take_one_of_sessions(
        &mut self,
        (ledger, end): (&Ledger, Offset),
        (key, settle_now): (ConsumerKey, bool),
        mut len_of: impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Assignment> {
        self.settle_sessions();
        let slot = self.consumers.holding(key);
        let view = View { ledger, end, redelivered_before: self.redelivered_before };
        let (parked, skipped) = (&mut self.parked, &mut self.skipped);
        let order = self.order.as_mut();
        let picked =
            order.and_then(|it| it.pick((view, parked), skipped, &mut Who::One(slot), &mut len_of));
        let assignment = picked.map(|picked| self.assignment(slot, settle_now, picked));
        if let Some(assignment) = &assignment {
            self.lease(slot, assignment);
        }
        self.consumers.drop_idle(slot);
        assignment
    }

    /// Consumers hear how many sessions they may still take, and sessions who has credit again.
    fn settle_sessions(&mut self) {
        let single = self.consumers.single();
        let Some(keys) = self.order.as_mut().and_then(|order| order.keys_mut()) else { return };
        if let (Some(active), Some(sessions)) = (single, &keys.sessions) {
            let is_new = active.filter(|slot| !sessions.stands(*slot));
            let others: Vec<u32> =
                sessions.standing().filter(|slot| Some(*slot) != active).collect();
            others.into_iter().for_each(|slot| keys.retire(slot));
            if let Some(slot) = is_new {
                keys.stand(slot, self.consumers.holder(slot).options.sessions_max);
            }
        }
        keys.bound_idle();
        let Some(sessions) = &mut keys.sessions else { return };
        for (slot, is_full) in sessions.take_changed() {
            self.consumers.set_full(slot, is_full);
        }
        self.consumers.take_woken().into_iter().for_each(|slot| sessions.wake(slot));
    }

    fn release_idle(&mut self) -> bool {
        let keys = self.order.as_mut().and_then(|order| order.keys_mut());
        keys.is_some_and(|keys| keys.release_idle())
    }

    pub(super) fn has_sessions(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.keys().is_some_and(Keys::has_sessions))
    }
}
