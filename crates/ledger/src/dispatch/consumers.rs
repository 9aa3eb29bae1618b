//! Who may take messages, what each holds, and whose turn it is.

use super::{AddError, ConsumerKey, ConsumerOptions, SharedWindow, Unsettled, Window};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use types::{ClientId, ConsumerId};

/// Consumers, and holders of messages that are none (any more).
///
/// Every consumer that can take a message is in a turn queue. One in a queue may turn out not to
/// be able to: it is dropped from the queue when its turn comes, and put back when it can.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    slots: Vec<Option<Holder>>,
    free: Vec<u32>,
    by_key: BTreeMap<ConsumerKey, u32>,
    turns: BTreeMap<Reverse<i32>, VecDeque<u32>>,
    shared: BTreeMap<SharedWindow, Shared>,
    standing: usize,
    exclusive: bool,
    single: Option<Single>,
    /// Where keys are sessions.
    sessions: Option<Box<Limits>>,
}

/// What consumers and sessions know of one another.
#[derive(Debug, Default)]
struct Limits {
    /// Consumers that have as many sessions as they may: they take nothing that is nobody's.
    full: BTreeSet<u32>,
    /// Whose credit is waited for.
    watched: BTreeSet<u32>,
    /// Who has credit again.
    woken: Vec<u32>,
}

/// Only one consumer at a time is served.
#[derive(Clone, Copy, Debug)]
struct Single {
    active: Option<u32>,
    /// Who is active makes room for a higher priority, once it holds nothing.
    yields: bool,
    /// Consumers there ever were.
    arrivals: u64,
}

#[derive(Debug)]
pub(super) struct Holder {
    pub(super) key: ConsumerKey,
    pub(super) options: ConsumerOptions,
    pub(super) unsettled: Unsettled,
    /// A consumer; otherwise it only holds messages.
    standing: bool,
    open: bool,
    queued: bool,
    /// Rises from consumer to consumer, where that matters.
    arrival: u64,
}

#[derive(Debug, Default)]
struct Shared {
    window: Window,
    unsettled: Unsettled,
    members: Vec<u32>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) slot: u32,
    /// Nobody else is waiting for a turn at this priority.
    pub(super) is_alone: bool,
}

impl Consumers {
    pub(super) fn add(
        &mut self,
        key: ConsumerKey,
        options: ConsumerOptions,
    ) -> Result<(), AddError> {
        let known = self.by_key.get(&key).copied();
        if known.is_some_and(|slot| self.holder(slot).standing) {
            return Err(AddError::Exists);
        }
        if self.exclusive {
            return Err(AddError::HeldExclusively);
        }
        if options.exclusive && 0 < self.standing {
            return Err(AddError::InUse);
        }
        let slot = known.unwrap_or_else(|| self.new_holder(key));
        let held = self.holder(slot).unsettled;
        self.charge_shared(self.holder(slot).options.shared, held, false);
        self.charge_shared(options.shared, held, true);
        let holder = self.holder_mut(slot);
        (holder.standing, holder.open, holder.options) = (true, true, options);
        self.standing += 1;
        self.exclusive = options.exclusive;
        if let Some(shared) = options.shared {
            self.shared.entry(shared).or_default().members.push(slot);
        }
        if let Some(single) = &mut self.single {
            single.arrivals += 1;
            let arrival = single.arrivals;
            self.holder_mut(slot).arrival = arrival;
        }
        self.elect();
        self.enqueue(slot);
        Ok(())
    }

    /// From now on one consumer at a time is served: the first, and when it goes the first of the
    /// highest priority. `yields`: it makes room for a higher priority once it holds nothing.
    pub(super) fn serve_one(&mut self, yields: bool) {
        self.single = Some(Single { active: None, yields, arrivals: 0 });
    }

    /// The one that is served, where only one is.
    pub(super) fn active(&self) -> Option<ConsumerKey> {
        self.single?.active.map(|slot| self.holder(slot).key)
    }

    /// Chooses who is active, if it is time to.
    fn elect(&mut self) {
        let Some(single) = self.single else { return };
        let current = single.active.filter(|&slot| self.is_standing(slot));
        let Some(best) = self.best() else {
            self.single = Some(Single { active: None, ..single });
            return;
        };
        let stays = current.filter(|&slot| {
            let (holder, best) = (self.holder(slot), self.holder(best));
            let outranked = single.yields && holder.options.priority < best.options.priority;
            !outranked || holder.unsettled.messages > 0
        });
        let active = stays.unwrap_or(best);
        if single.active != Some(active) {
            self.single = Some(Single { active: Some(active), ..single });
            self.enqueue(active);
        }
    }

    /// The first of the consumers of the highest priority.
    fn best(&self) -> Option<u32> {
        let standing = self.by_key.values().copied().filter(|&slot| self.is_standing(slot));
        standing.min_by_key(|&slot| {
            let holder = self.holder(slot);
            (Reverse(holder.options.priority), holder.arrival)
        })
    }

    fn is_standing(&self, slot: u32) -> bool {
        self.slots[slot as usize].as_ref().is_some_and(|holder| holder.standing)
    }

    /// The only one that is served now, if any.
    fn served(&self) -> Option<u32> {
        self.single?.active.filter(|&slot| self.is_served(slot))
    }

    /// Whether a consumer is active, and stays so as far as anybody knows.
    fn is_served(&self, slot: u32) -> bool {
        let Some(single) = self.single else { return true };
        let priority = |slot| self.holder(slot).options.priority;
        let is_outranked = || self.best().is_some_and(|best| priority(best) > priority(slot));
        single.active == Some(slot) && !(single.yields && is_outranked())
    }

    /// The slot of `key`, made if need be for one that only holds messages.
    pub(super) fn holding(&mut self, key: ConsumerKey) -> u32 {
        match self.by_key.get(&key) {
            Some(&slot) => slot,
            None => self.new_holder(key),
        }
    }

    pub(super) fn find(&self, key: ConsumerKey) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    pub(super) fn slots_of(&self, client: ClientId) -> impl Iterator<Item = u32> {
        let first = ConsumerKey { client, consumer: ConsumerId(0) };
        let last = ConsumerKey { client, consumer: ConsumerId(u32::MAX) };
        self.by_key.range(first..=last).map(|(_, &slot)| slot)
    }

    pub(super) fn holder(&self, slot: u32) -> &Holder {
        self.slots[slot as usize].as_ref().expect("slots are handed out in use")
    }

    pub(super) fn count(&self) -> usize {
        self.standing
    }

    /// Nobody is known, nor any window.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty() && self.shared.is_empty()
    }

    pub(super) fn has_credit(&self) -> bool {
        let full = self.sessions.iter().flat_map(|sessions| &sessions.full);
        self.turns.values().flatten().chain(full).any(|&slot| self.can_take(slot))
    }

    /// Ends a consumer; what it holds it keeps, and goes when it holds nothing.
    pub(super) fn retire(&mut self, slot: u32) {
        let holder = self.holder_mut(slot);
        if holder.standing {
            (holder.standing, holder.queued) = (false, false);
            let (priority, shared) = (Reverse(holder.options.priority), holder.options.shared);
            self.standing -= 1;
            self.exclusive = false;
            if let Some(turns) = self.turns.get_mut(&priority) {
                turns.retain(|&other| other != slot);
                if turns.is_empty() {
                    self.turns.remove(&priority);
                }
            }
            if let Some(shared) = shared.and_then(|shared| self.shared.get_mut(&shared)) {
                shared.members.retain(|&other| other != slot);
            }
            self.elect();
            // Who is active may have made room for this one.
            if let Some(active) = self.single.and_then(|single| single.active) {
                self.enqueue(active);
            }
        }
        self.drop_idle(slot);
    }

    /// Forgets the shared windows of a client, whose consumers are gone.
    pub(super) fn drop_shared(&mut self, client: ClientId) {
        let first = SharedWindow { client, group: 0 };
        let last = SharedWindow { client, group: u32::MAX };
        self.shared.extract_if(first..=last, |_, _| true).for_each(drop);
    }

    pub(super) fn set_window(&mut self, slot: u32, window: Window) {
        self.holder_mut(slot).options.window = window;
        self.enqueue(slot);
    }

    pub(super) fn set_shared_window(&mut self, shared: SharedWindow, window: Window) {
        self.shared.entry(shared).or_default().window = window;
        self.enqueue_members(shared);
    }

    pub(super) fn set_flow(&mut self, slot: u32, open: bool) {
        self.holder_mut(slot).open = open;
        self.enqueue(slot);
    }

    /// The consumer to be served next: highest priority, then round robin.
    pub(super) fn next_turn(&mut self) -> Option<Turn> {
        let served = self.single.map(|_| self.served());
        let Consumers { slots, turns, shared, sessions, .. } = self;
        for turns in turns.values_mut() {
            while let Some(&slot) = turns.front() {
                let holder = slots[slot as usize].as_mut().expect("queued slots are in use");
                let is_served = served.is_none_or(|served| served == Some(slot));
                let is_full = sessions.as_ref().is_some_and(|all| all.full.contains(&slot));
                if is_served && !is_full && holder.can_take(shared) {
                    return Some(Turn { slot, is_alone: turns.len() == 1 });
                }
                holder.queued = false;
                turns.pop_front();
            }
        }
        None
    }

    /// Ends the turn of the consumer that [`Consumers::next_turn`] gave.
    pub(super) fn rotate(&mut self, turn: Turn) {
        if turn.is_alone {
            return;
        }
        let priority = Reverse(self.holder(turn.slot).options.priority);
        if let Some(turns) = self.turns.get_mut(&priority) {
            turns.rotate_left(1);
        }
    }

    /// What a consumer may still take; `None`: without bound.
    pub(super) fn room(&self, slot: u32) -> (Option<u64>, Option<u64>) {
        let holder = self.holder(slot);
        if holder.options.settle_now {
            return (None, None);
        }
        let own = room(holder.options.window, holder.unsettled);
        let shared = holder.options.shared.and_then(|shared| self.shared.get(&shared));
        let Some(shared) = shared else { return own };
        let shared = room(shared.window, shared.unsettled);
        (least(own.0, shared.0), least(own.1, shared.1))
    }

    /// Notes that a holder took so much.
    pub(super) fn charge(&mut self, slot: u32, amount: Unsettled) {
        let holder = self.holder_mut(slot);
        holder.unsettled.messages += amount.messages;
        holder.unsettled.bytes += amount.bytes;
        let shared = holder.options.shared;
        self.charge_shared(shared, amount, true);
    }

    /// Notes that so many messages of what a holder had are settled or gone. Their bytes are not known
    /// one by one: they count as those it holds do on average.
    pub(super) fn refund(&mut self, slot: u32, messages: u64) {
        let holder = self.holder_mut(slot);
        let amount = holder.unsettled.part(messages);
        holder.unsettled.messages -= amount.messages;
        holder.unsettled.bytes -= amount.bytes;
        let shared = holder.options.shared;
        self.charge_shared(shared, amount, false);
        if self.single.is_some_and(|single| single.yields) {
            self.elect();
        }
        self.enqueue(slot);
        if let Some(shared) = shared {
            self.enqueue_members(shared);
        }
        self.drop_idle(slot);
    }

    /// Lets go of a holder that is no consumer and holds nothing.
    pub(super) fn drop_idle(&mut self, slot: u32) {
        let holder = self.holder(slot);
        if !holder.standing && holder.unsettled.messages == 0 {
            let key = holder.key;
            self.by_key.remove(&key);
            if let Some(sessions) = &mut self.sessions {
                sessions.full.remove(&slot);
                sessions.watched.remove(&slot);
            }
            self.slots[slot as usize] = None;
            self.free.push(slot);
        }
    }

    fn new_holder(&mut self, key: ConsumerKey) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 consumers")
        });
        self.slots[slot as usize] = Some(Holder {
            key,
            options: ConsumerOptions::default(),
            unsettled: Unsettled::default(),
            standing: false,
            open: false,
            queued: false,
            arrival: 0,
        });
        self.by_key.insert(key, slot);
        slot
    }

    fn holder_mut(&mut self, slot: u32) -> &mut Holder {
        self.slots[slot as usize].as_mut().expect("slots are handed out in use")
    }

    /// Whether a consumer has credit, and is served.
    pub(super) fn can_take(&self, slot: u32) -> bool {
        self.is_served(slot) && self.holder(slot).can_take(&self.shared)
    }

    /// Where only one consumer is served: which, if any.
    pub(super) fn single(&self) -> Option<Option<u32>> {
        self.single.map(|_| self.served())
    }

    pub(super) fn keep_sessions(&mut self) {
        self.sessions = Some(Box::default());
    }

    /// Says whether a consumer has as many sessions as it may.
    pub(super) fn set_full(&mut self, slot: u32, is_full: bool) {
        let is_there = self.slots[slot as usize].is_some();
        let Some(sessions) = self.sessions.as_mut().filter(|_| is_there) else { return };
        if is_full {
            sessions.full.insert(slot);
        } else if sessions.full.remove(&slot) {
            self.enqueue(slot);
        }
    }

    /// Has [`Consumers::take_woken`] tell when a consumer that has no credit has some.
    pub(super) fn watch(&mut self, slot: u32) {
        if let Some(sessions) = &mut self.sessions {
            sessions.watched.insert(slot);
        }
    }

    pub(super) fn take_woken(&mut self) -> Vec<u32> {
        self.sessions.as_mut().map_or(Vec::new(), |sessions| std::mem::take(&mut sessions.woken))
    }

    fn enqueue(&mut self, slot: u32) {
        if self.sessions.is_some() && self.can_take(slot) {
            let Some(sessions) = &mut self.sessions else { return };
            if sessions.watched.remove(&slot) {
                sessions.woken.push(slot);
            }
            if sessions.full.contains(&slot) {
                return;
            }
        }
        if self.holder(slot).queued || !self.can_take(slot) {
            return;
        }
        let holder = self.holder_mut(slot);
        holder.queued = true;
        let priority = Reverse(holder.options.priority);
        self.turns.entry(priority).or_default().push_back(slot);
    }

    fn enqueue_members(&mut self, shared: SharedWindow) {
        let members = self.shared.get(&shared).map_or(0, |shared| shared.members.len());
        for at in 0..members {
            self.enqueue(self.shared[&shared].members[at]);
        }
    }

    fn charge_shared(&mut self, shared: Option<SharedWindow>, amount: Unsettled, add: bool) {
        let Some(shared) = shared else { return };
        let held = &mut self.shared.entry(shared).or_default().unsettled;
        if add {
            held.messages += amount.messages;
            held.bytes += amount.bytes;
        } else {
            held.messages -= amount.messages;
            held.bytes -= amount.bytes;
        }
    }
}

impl Holder {
    fn can_take(&self, shared: &BTreeMap<SharedWindow, Shared>) -> bool {
        let has_room = |(messages, bytes)| messages != Some(0) && bytes != Some(0);
        let has_shared_room = || {
            let shared = self.options.shared.and_then(|key| shared.get(&key));
            shared.is_none_or(|shared| has_room(room(shared.window, shared.unsettled)))
        };
        self.standing
            && self.open
            && (self.options.settle_now
                || (has_room(room(self.options.window, self.unsettled)) && has_shared_room()))
    }
}

/// What is left of a window, in messages and bytes; `None`: without bound.
fn room(window: Window, held: Unsettled) -> (Option<u64>, Option<u64>) {
    let left = |bound: u64, held: u64| (bound != 0).then(|| bound.saturating_sub(held));
    (left(u64::from(window.messages), held.messages), left(window.bytes, held.bytes))
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
