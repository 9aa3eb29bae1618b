//! What a log remembers of the ids of messages, so that none is appended twice.
//!
//! The log's own memory is that of its queue; a router that tells duplicates has one of its own in each
//! log it leads to, which sees what comes by that router. Both are exact, over crashes too, as they
//! change with the appends of frames and nothing else.

mod memory;

pub(crate) use memory::ID_BYTES;

use super::seldom::Seldom;
use crate::api::{MessageId, Within};
use crate::id_table::Hashed;
use catalog::{Dedup, Remembered};
use memory::Memory;
use serde::{Deserialize, Serialize};
use types::{Millis, Offset};

/// Memories of routers in one log; the one used longest ago makes room.
const ROUTERS_MAX: usize = 16;
/// A memory that ends with its messages has so many ids more than twice the messages that are held, at
/// most, before a batch is appended.
const SWEEP_MIN: u64 = 64;

/// Whose memory: 0 is the log's own, others are a router's id and one.
type Whose = u32;

/// The memories of one log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Seen {
    memories: Seldom<Whose, Memory>,
}

/// The memories that have a say about some messages, at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks<'a> {
    memories: [Option<(&'a Memory, Dedup)>; 2],
    now: Millis,
}

impl Looks<'_> {
    /// Whether no id is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.memories.iter().all(Option::is_none)
    }

    /// Has what is known of ids come from memory side by side, for those who look for one after the other.
    pub(super) fn warm(&self, ids: &[Hashed]) {
        self.memories.iter().flatten().for_each(|(memory, _)| memory.warm(ids));
    }

    /// Where the message is that one of this id is a duplicate of. `holds`: whether the message at an
    /// offset is still there.
    pub(super) fn find(&self, id: &Hashed, holds: impl Fn(Offset) -> bool) -> Option<Offset> {
        if io::planted("duplicate-message-accepted") {
            return None;
        }
        self.memories.iter().flatten().find_map(|(memory, dedup)| {
            let seen = memory.get(id)?;
            let is_known = match dedup.remembered {
                Remembered::WhileHeld => holds(seen.offset),
                Remembered::For(_) | Remembered::Always => seen.until > self.now,
            };
            is_known.then_some(seen.offset)
        })
    }
}

impl Seen {
    /// How many ids are remembered.
    pub(crate) fn len(&self) -> usize {
        self.memories.values().map(Memory::len).sum()
    }

    /// Whether the time of some id is over.
    pub(crate) fn has_outlived(&self, now: Millis) -> bool {
        self.memories.values().filter_map(Memory::first_until).any(|until| until <= now)
    }

    /// The memories that have a say about messages that come by a router or by none. `own`: how the log
    /// itself remembers.
    pub(super) fn looks(
        &self,
        within: Option<Within>,
        own: Option<Dedup>,
        now: Millis,
    ) -> Looks<'_> {
        let memories = each(within, own);
        let memories = memories.map(|one| {
            let (whose, dedup) = one?;
            Some((self.memories.get(&whose)?, dedup))
        });
        Looks { memories, now }
    }

    /// Remembers messages that are appended from an offset on. `held`: whether the message at an offset
    /// is still there, and how many may be.
    pub(super) fn remember(
        &mut self,
        (ids, within): (impl Iterator<Item = MessageId> + Clone, Option<Within>),
        own: Option<Dedup>,
        (base, now): (Offset, Millis),
        held: (impl Fn(Offset) -> bool, u64),
    ) {
        let (holds, count) = held;
        for (whose, dedup) in each(within, own).into_iter().flatten() {
            self.make_room(whose);
            let memory = self.memories.entry(whose).or_default();
            memory.used = now;
            memory.forget_outlived(now);
            if dedup.remembered == Remembered::WhileHeld
                && memory.len() as u64 > count.saturating_mul(2).saturating_add(SWEEP_MIN)
            {
                memory.retain(&holds);
            }
            let until = match dedup.remembered {
                Remembered::For(span) => now.plus(span),
                Remembered::WhileHeld | Remembered::Always => Millis(i64::MAX),
            };
            let hashed: Vec<Hashed> = ids.clone().map(Hashed::from).collect();
            memory.warm(&hashed);
            let offsets = std::iter::successors(Some(base), |offset| Some(offset.next()));
            for (id, offset) in hashed.into_iter().zip(offsets) {
                while memory.len() as u64 >= u64::from(dedup.count_max.max(1)) && memory.pop_first()
                {
                }
                memory.add(id, (offset, until));
            }
        }
    }

    /// Forgets ids whose time is over.
    pub(super) fn forget_outlived(&mut self, now: Millis) {
        self.memories.values_mut().for_each(|memory| memory.forget_outlived(now));
        self.memories.retain(|_, memory| memory.len() > 0);
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

/// The memories that have a say about a message.
fn each(within: Option<Within>, own: Option<Dedup>) -> [Option<(Whose, Dedup)>; 2] {
    let of_router = within.map(|(router, dedup)| (router.0.saturating_add(1), dedup));
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

    fn find(
        seen: &Seen,
        once: &Once,
        own: Option<Dedup>,
        now: Millis,
        holds: impl Fn(Offset) -> bool,
    ) -> Option<Offset> {
        seen.looks(once.within, own, now).find(&once.id.into(), holds)
    }

    fn remember(
        seen: &mut Seen,
        once: &Once,
        own: Option<Dedup>,
        at: (Offset, Millis),
        held: (impl Fn(Offset) -> bool, u64),
    ) {
        seen.remember((std::iter::once(once.id), once.within), own, at, held);
    }

    fn dedup(remembered: Remembered) -> Dedup {
        Dedup { remembered, count_max: 1_000 }
    }

    #[test]
    fn an_id_is_known_as_long_as_its_window() {
        let own = Some(dedup(Remembered::For(Millis(10))));
        let mut seen = Seen::default();
        remember(&mut seen, &once(1), own, (Offset(5), Millis(100)), (|_| true, 1));
        for (time, found) in [(100, Some(Offset(5))), (109, Some(Offset(5))), (110, None)] {
            assert_eq!(find(&seen, &once(1), own, Millis(time), |_| true), found, "{time}");
        }
        assert_eq!(find(&seen, &once(2), own, Millis(100), |_| true), None);
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
            remember(&mut seen, &once(at), own, (Offset(i64::from(at)), Millis(0)), (holds, 4));
            assert_eq!(
                find(&seen, &once(at), own, Millis(1 << 60), holds),
                Some(Offset(at.into()))
            );
            let gone =
                at.checked_sub(4).and_then(|gone| find(&seen, &once(gone), own, Millis(0), holds));
            assert_eq!(gone, None);
            assert!(seen.len() as u64 <= 2 * 4 + SWEEP_MIN + 1, "{}", seen.len());
        }
    }

    #[test]
    fn the_oldest_id_makes_room() {
        let own = Some(Dedup { remembered: Remembered::Always, count_max: 3 });
        let mut seen = Seen::default();
        for at in 0..5 {
            remember(
                &mut seen,
                &once(at),
                own,
                (Offset(at.into()), Millis(at.into())),
                (|_| true, 9),
            );
        }
        let known = (0..5).filter(|at| find(&seen, &once(*at), own, Millis(9), |_| true).is_some());
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
            assert_eq!(find(&seen, &of(router), None, Millis(0), |_| true), None);
            remember(
                &mut seen,
                &of(router),
                None,
                (Offset(0), Millis(router.into())),
                (|_| true, 9),
            );
        }
        assert!(seen.memories.len() <= ROUTERS_MAX + 1);
        assert!(find(&seen, &of(rounds - 1), None, Millis(0), |_| true).is_some());
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let own = Some(dedup(Remembered::For(Millis(10))));
        let mut seen = Seen::default();
        for at in 0..9 {
            remember(
                &mut seen,
                &once(at),
                own,
                (Offset(at.into()), Millis(at.into())),
                (|_| true, 9),
            );
        }
        let bytes = postcard::to_allocvec(&seen).expect("memory takes it");
        let mut read: Seen = postcard::from_bytes(&bytes).expect("it is whole");
        read.forget_outlived(Millis(15));
        seen.forget_outlived(Millis(15));
        assert_eq!(read.len(), 3);
        assert_eq!(postcard::to_allocvec(&read), postcard::to_allocvec(&seen));
    }
}
