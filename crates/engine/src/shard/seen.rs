//! What a log remembers of the ids of messages, so that none is appended twice.
//!
//! The log's own memory is that of its queue; a router that tells duplicates has one of its own in each
//! log it leads to, which sees what comes by that router. Both are exact, over crashes too, as they
//! change with the appends of frames and nothing else.

use super::seldom::Seldom;
use crate::api::{MessageId, Once};
use catalog::{Dedup, Remembered};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use types::{Millis, Offset};

/// What an id takes in memory: 32 bytes in each of two maps whose nodes are two thirds full.
pub(crate) const ID_BYTES: usize = 2 * 32 * 3 / 2;

/// Memories of routers in one log; the one used longest ago makes room.
const ROUTERS_MAX: usize = 16;
/// A memory that ends with its messages looks for settled ones when it has as many again.
const SWEEP_MIN: usize = 64;

/// Whose memory: 0 is the log's own, others are a router's id and one.
type Whose = u32;

/// The memories of one log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Seen {
    memories: Seldom<Whose, Memory>,
}

/// Ids and where their messages are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Stored")]
struct Memory {
    used: Millis,
    sweep_at: u64,
    ids: BTreeMap<MessageId, Sighting>,
    /// By when they are forgotten.
    #[serde(skip)]
    order: BTreeSet<(Millis, Offset, MessageId)>,
}

/// A message that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sighting {
    offset: Offset,
    /// When its id is forgotten.
    until: Millis,
}

/// [`Memory`] as it is read.
#[derive(Deserialize)]
struct Stored {
    used: Millis,
    sweep_at: u64,
    ids: BTreeMap<MessageId, Sighting>,
}

impl From<Stored> for Memory {
    fn from(Stored { used, sweep_at, ids }: Stored) -> Memory {
        let order = ids.iter().map(|(id, seen)| (seen.until, seen.offset, *id)).collect();
        Memory { used, sweep_at, ids, order }
    }
}

impl Seen {
    /// How many ids are remembered.
    pub(crate) fn len(&self) -> usize {
        self.memories.values().map(|memory| memory.ids.len()).sum()
    }

    /// Whether the time of some id is over.
    pub(crate) fn has_outlived(&self, now: Millis) -> bool {
        let first = |memory: &Memory| memory.order.first().map(|(until, ..)| *until);
        self.memories.values().filter_map(first).any(|until| until <= now)
    }

    /// Where the message is that this one is a duplicate of. `own`: how the log itself remembers;
    /// `holds`: whether the message at an offset is still there.
    pub(super) fn find(
        &self,
        once: &Once,
        own: Option<Dedup>,
        now: Millis,
        holds: impl Fn(Offset) -> bool,
    ) -> Option<Offset> {
        if io::planted("duplicate-message-accepted") {
            return None;
        }
        each(once, own).into_iter().flatten().find_map(|(whose, dedup)| {
            let seen = self.memories.get(&whose)?.ids.get(&once.id)?;
            let is_known = match dedup.remembered {
                Remembered::WhileHeld => holds(seen.offset),
                Remembered::For(_) | Remembered::Always => seen.until > now,
            };
            is_known.then_some(seen.offset)
        })
    }

    /// Remembers a message that is appended at an offset.
    pub(super) fn remember(
        &mut self,
        once: &Once,
        own: Option<Dedup>,
        (offset, now): (Offset, Millis),
        holds: impl Fn(Offset) -> bool,
    ) {
        for (whose, dedup) in each(once, own).into_iter().flatten() {
            self.make_room(whose);
            let memory = self.memories.entry(whose).or_default();
            memory.used = now;
            memory.forget_outlived(now);
            if dedup.remembered == Remembered::WhileHeld
                && memory.ids.len() as u64 >= memory.sweep_at
            {
                memory.retain(&holds);
                memory.sweep_at = (memory.ids.len() * 2).max(SWEEP_MIN) as u64;
            }
            while memory.ids.len() as u64 >= u64::from(dedup.count_max.max(1))
                && let Some((_, _, id)) = memory.order.pop_first()
            {
                memory.ids.remove(&id);
            }
            let until = match dedup.remembered {
                Remembered::For(span) => now.plus(span),
                Remembered::WhileHeld | Remembered::Always => Millis(i64::MAX),
            };
            memory.insert(once.id, Sighting { offset, until });
        }
    }

    /// Forgets ids whose time is over.
    pub(super) fn forget_outlived(&mut self, now: Millis) {
        self.memories.values_mut().for_each(|memory| memory.forget_outlived(now));
        self.memories.retain(|_, memory| !memory.ids.is_empty());
    }

    /// The log itself remembers in another way from now on: what it has by the old one goes.
    pub(super) fn forget_own(&mut self) {
        self.memories.remove(&0);
    }

    fn make_room(&mut self, whose: Whose) {
        if self.memories.len() <= ROUTERS_MAX || self.memories.contains_key(&whose) {
            return;
        }
        let routers = self.memories.iter().filter(|(whose, _)| **whose != 0);
        if let Some((oldest, _)) = routers.min_by_key(|(_, memory)| memory.used) {
            let oldest = *oldest;
            self.memories.remove(&oldest);
        }
    }
}

impl Memory {
    fn insert(&mut self, id: MessageId, seen: Sighting) {
        if let Some(before) = self.ids.insert(id, seen) {
            self.order.remove(&(before.until, before.offset, id));
        }
        self.order.insert((seen.until, seen.offset, id));
    }

    fn forget_outlived(&mut self, now: Millis) {
        while let Some((until, _, id)) = self.order.first().copied()
            && until <= now
        {
            self.order.pop_first();
            self.ids.remove(&id);
        }
    }

    fn retain(&mut self, holds: impl Fn(Offset) -> bool) {
        self.ids.retain(|_, seen| holds(seen.offset));
        let ids = &self.ids;
        self.order.retain(|(_, _, id)| ids.contains_key(id));
    }
}

/// The memories that have a say about a message.
fn each(once: &Once, own: Option<Dedup>) -> [Option<(Whose, Dedup)>; 2] {
    let of_router = once.within.map(|(router, dedup)| (router.0.saturating_add(1), dedup));
    [own.map(|dedup| (0, dedup)), of_router]
}

#[cfg(test)]
mod tests {
    use super::{ROUTERS_MAX, SWEEP_MIN, Seen};
    use crate::api::{MessageId, Once};
    use catalog::{Dedup, Remembered, RouterId};
    use types::{Millis, Offset};

    fn once(id: u32) -> Once {
        Once { id: MessageId::of(&id.to_le_bytes()), within: None }
    }

    fn dedup(remembered: Remembered) -> Dedup {
        Dedup { remembered, count_max: 1_000 }
    }

    #[test]
    fn an_id_is_known_as_long_as_its_window() {
        let own = Some(dedup(Remembered::For(Millis(10))));
        let mut seen = Seen::default();
        seen.remember(&once(1), own, (Offset(5), Millis(100)), |_| true);
        for (time, found) in [(100, Some(Offset(5))), (109, Some(Offset(5))), (110, None)] {
            assert_eq!(seen.find(&once(1), own, Millis(time), |_| true), found, "{time}");
        }
        assert_eq!(seen.find(&once(2), own, Millis(100), |_| true), None);
        assert!(seen.has_outlived(Millis(110)) && !seen.has_outlived(Millis(109)));
        seen.forget_outlived(Millis(110));
        assert_eq!((seen.len(), seen.memories.len()), (0, 0));
    }

    #[test]
    fn an_id_is_known_while_its_message_is_there() {
        let own = Some(dedup(Remembered::WhileHeld));
        let mut seen = Seen::default();
        for at in 0..10 * SWEEP_MIN as u32 {
            let floor = Offset(i64::from(at) - 3);
            let holds = |offset: Offset| offset >= floor;
            seen.remember(&once(at), own, (Offset(i64::from(at)), Millis(0)), holds);
            assert_eq!(seen.find(&once(at), own, Millis(1 << 60), holds), Some(Offset(at.into())));
            let gone =
                at.checked_sub(4).and_then(|gone| seen.find(&once(gone), own, Millis(0), holds));
            assert_eq!(gone, None);
            assert!(seen.len() <= 2 * SWEEP_MIN, "{}", seen.len());
        }
    }

    #[test]
    fn the_oldest_id_makes_room() {
        let own = Some(Dedup { remembered: Remembered::Always, count_max: 3 });
        let mut seen = Seen::default();
        for at in 0..5 {
            seen.remember(&once(at), own, (Offset(at.into()), Millis(at.into())), |_| true);
        }
        let known = (0..5).filter(|at| seen.find(&once(*at), own, Millis(9), |_| true).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [2, 3, 4]);
    }

    #[test]
    fn memories_of_routers_are_apart_and_few() {
        let mut seen = Seen::default();
        let of = |router: u32| {
            let within = Some((RouterId(router), dedup(Remembered::Always)));
            Once { within, ..once(1) }
        };
        let rounds = 2 * ROUTERS_MAX as u32;
        for router in 0..rounds {
            assert_eq!(seen.find(&of(router), None, Millis(0), |_| true), None);
            seen.remember(&of(router), None, (Offset(0), Millis(router.into())), |_| true);
        }
        assert!(seen.memories.len() <= ROUTERS_MAX + 1);
        assert!(seen.find(&of(rounds - 1), None, Millis(0), |_| true).is_some());
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let own = Some(dedup(Remembered::For(Millis(10))));
        let mut seen = Seen::default();
        for at in 0..9 {
            seen.remember(&once(at), own, (Offset(at.into()), Millis(at.into())), |_| true);
        }
        let bytes = postcard::to_allocvec(&seen).expect("memory takes it");
        let mut read: Seen = postcard::from_bytes(&bytes).expect("it is whole");
        read.forget_outlived(Millis(15));
        seen.forget_outlived(Millis(15));
        assert_eq!(read.len(), 3);
        assert_eq!(postcard::to_allocvec(&read), postcard::to_allocvec(&seen));
    }
}
