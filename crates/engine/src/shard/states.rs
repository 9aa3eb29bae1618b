//! What is kept for the sessions of queues: by slots, so that a checkpoint stores what changed.

use super::Shard;
use super::chunked::{ChunkKey, Chunked};
use crate::api::{STATES_BYTES_MAX, SessionSet};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use types::SubscriptionId;

/// Slots of a shard.
const SLOTS: u64 = 4_096;
/// What a state takes beside its key and its bytes.
const OVERHEAD: usize = 64;

/// Which of the slots that states are placed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct StateSlot(u32);

impl ChunkKey for StateSlot {
    fn number(self) -> u32 {
        self.0
    }

    fn of(number: u32) -> StateSlot {
        StateSlot(number)
    }
}

/// A state and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionState {
    pub(crate) version: u64,
    pub(crate) state: Bytes,
}

/// Whose a state is, and of which session.
type StateKey = (SubscriptionId, Bytes);

/// States of a shard's queues.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SessionStates {
    slots: Chunked<StateSlot, BTreeMap<StateKey, SessionState>>,
    /// The latest version of all.
    pub(super) latest: u64,
    /// What they take, by queue.
    #[serde(skip)]
    sums: BTreeMap<SubscriptionId, usize>,
    /// What all of them take.
    #[serde(skip)]
    sum: usize,
}

impl SessionStates {
    /// None.
    pub(super) fn new() -> SessionStates {
        SessionStates { slots: Chunked::new(0), latest: 0, sums: BTreeMap::new(), sum: 0 }
    }

    pub(crate) fn get(&self, id: SubscriptionId, key: &Bytes) -> Option<&SessionState> {
        self.slots.get(&slot(id, key))?.get(&(id, Bytes::clone(key)))
    }

    /// Some of a queue's in the order of their keys: so many, from a key on.
    pub(crate) fn some(
        &self,
        id: SubscriptionId,
        from: &Bytes,
        count: usize,
    ) -> BTreeMap<&Bytes, &SessionState> {
        let mut some = BTreeMap::new();
        if !self.sums.contains_key(&id) {
            return some;
        }
        for states in self.slots.values() {
            for ((of, key), state) in states.range((id, Bytes::clone(from))..) {
                let is_beyond = some.len() >= count
                    && some.last_key_value().is_some_and(|(last, _)| *last < key);
                if *of != id || is_beyond {
                    break;
                }
                some.insert(key, state);
                if some.len() > count {
                    some.pop_last();
                }
            }
        }
        some
    }

    /// What all of them take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.sum
    }

    /// Counts what they take anew.
    pub(super) fn recount(&mut self) {
        self.sums = self.counted();
        self.sum = self.sums.values().sum();
    }

    pub(super) fn counted(&self) -> BTreeMap<SubscriptionId, usize> {
        let mut sums = BTreeMap::new();
        for ((id, key), state) in self.slots.values().flatten() {
            *sums.entry(*id).or_default() += bytes_of(key, &state.state);
        }
        sums
    }

    pub(super) fn is_counted(&self) -> bool {
        self.sums == self.counted() && self.sum == self.sums.values().sum()
    }

    /// A queue is gone, and its states.
    pub(super) fn drop_all_of(&mut self, id: SubscriptionId) {
        let Some(gone) = self.sums.remove(&id) else { return };
        self.sum -= gone;
        let has_any = |states: &BTreeMap<StateKey, SessionState>| {
            states.range((id, Bytes::new())..).next().is_some_and(|((of, _), _)| *of == id)
        };
        let some = self.slots.iter().filter(|(_, states)| has_any(states));
        let some: Vec<StateSlot> = some.map(|(slot, _)| *slot).collect();
        for slot in some {
            let Some(states) = self.slots.get_mut(slot) else { continue };
            states.retain(|(of, _), _| *of != id);
            if states.is_empty() {
                self.slots.remove(slot);
            }
        }
    }

    fn set(&mut self, id: SubscriptionId, key: &Bytes, state: Option<&Bytes>) -> SessionSet {
        let before = self.get(id, key).map_or(0, |before| bytes_of(key, &before.state));
        let after = state.map_or(0, |state| bytes_of(key, state));
        let sum = self.sums.get(&id).copied().unwrap_or(0) - before + after;
        if after > before && sum > STATES_BYTES_MAX {
            return SessionSet::Full;
        }
        let slot = slot(id, key);
        let version = match state {
            Some(state) => {
                self.latest += 1;
                let (version, state) = (self.latest, Bytes::clone(state));
                let states = self.slots.get_or_insert_with(slot, BTreeMap::new);
                states.insert((id, Bytes::clone(key)), SessionState { version, state });
                version
            }
            None => {
                let states = self.slots.get_mut(slot);
                let is_last = states.is_some_and(|states| {
                    states.remove(&(id, Bytes::clone(key)));
                    states.is_empty()
                });
                if is_last {
                    self.slots.remove(slot);
                }
                0
            }
        };
        self.sum = self.sum - before + after;
        match sum {
            0 => self.sums.remove(&id),
            _ => self.sums.insert(id, sum),
        };
        SessionSet::Done(version)
    }
}

impl Deref for SessionStates {
    type Target = Chunked<StateSlot, BTreeMap<StateKey, SessionState>>;

    fn deref(&self) -> &Self::Target {
        &self.slots
    }
}

impl DerefMut for SessionStates {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.slots
    }
}

impl Shard {
    /// Keeps a state, or takes it away, if it has the version that is expected.
    pub(super) fn set_session(
        &mut self,
        id: SubscriptionId,
        key: &Bytes,
        (expected, state): (Option<u64>, Option<&Bytes>),
    ) -> SessionSet {
        if !self.subscriptions.contains_key(&id) {
            return SessionSet::Gone;
        }
        let version = self.states.get(id, key).map_or(0, |there| there.version);
        let is_careless = io::planted("session-state-lost") && version % 3 == 1;
        if expected.is_some_and(|expected| expected != version) && !is_careless {
            return SessionSet::Unexpected(version);
        }
        self.states.set(id, key, state)
    }
}

fn bytes_of(key: &Bytes, state: &Bytes) -> usize {
    key.len() + state.len() + OVERHEAD
}

/// FNV-1a: the same in every release.
fn slot(id: SubscriptionId, key: &[u8]) -> StateSlot {
    let seed = 0xcbf2_9ce4_8422_2325;
    let bytes = id.0.to_le_bytes();
    let hash = bytes
        .iter()
        .chain(key)
        .fold(seed, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    StateSlot(u32::try_from((hash >> 32 ^ hash) % SLOTS).expect("slots are few"))
}

#[cfg(test)]
mod tests;
