//! Ids of messages in the order in which they are forgotten.

use crate::api::MessageId;
use crate::id_table::{Hashed, IdTable};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeSet, VecDeque};
use types::{Millis, Offset};

/// What an id takes in memory: 32 bytes in a list, 8 in a table, each a bit more than half full at least.
pub(crate) const ID_BYTES: usize = 32 * 4 / 3 + 8 * 2;

/// So many entries of a list are forgotten ones, beside half of them.
const GONE_MAX: usize = 64;

/// Ids, and where their messages are. What is forgotten first is what has the least time, and of those of
/// one time what came first; whatever it keeps besides follows from that.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Stored")]
pub(super) struct Memory {
    pub(super) used: Millis,
    /// In the order in which they came.
    list: VecDeque<Entry>,
    /// The number of the first in the list; the others follow.
    first: u64,
    /// Those that are not forgotten, by the lower halves of their numbers.
    table: IdTable,
    /// Those that are forgotten before one that came before them. In the list they stay until it is
    /// their turn there.
    strays: BTreeSet<(Millis, u64)>,
    /// The latest time of all in the list.
    latest: Millis,
}

/// A message that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    id: MessageId,
    pub(super) offset: Offset,
    /// When its id is forgotten.
    pub(super) until: Millis,
}

/// Stands where an entry is forgotten.
const GONE: Millis = Millis(i64::MIN);

/// [`Memory`] as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    used: Millis,
    list: Vec<Entry>,
}

impl From<Stored> for Memory {
    fn from(Stored { used, list }: Stored) -> Memory {
        let mut memory = Memory { used, ..Memory::default() };
        list.into_iter().for_each(|it| memory.add(it.id.into(), (it.offset, it.until)));
        memory
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = self.list.iter().filter(|entry| entry.until != GONE).copied().collect();
        Stored { used: self.used, list }.serialize(serializer)
    }
}

impl Memory {
    /// How many ids.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Has what is known of ids come from memory side by side.
    pub(super) fn warm(&self, ids: &[Hashed]) {
        self.table.warm(ids);
    }

    /// The message of an id.
    pub(super) fn get(&self, id: &Hashed) -> Option<&Entry> {
        let found = self.table.find(id, |number| self.list[self.at(number)].id == id.id)?;
        self.list.get(self.at(found.number))
    }

    /// Adds an id, or remembers it anew: with the offset of its message, and until when.
    pub(super) fn add(&mut self, hashed: Hashed, (offset, until): (Offset, Millis)) {
        let (id, number) = (hashed.id, self.first + self.list.len() as u64);
        let (list, first) = (&self.list, self.first);
        let is = |number: u32| list[at_of(first, number)].id == id;
        if let Some(found) = self.table.find_or_add(&hashed, number as u32, is) {
            let before = self.first + self.at(found.number) as u64;
            self.mark_gone(before);
            self.table.renumber(found, number as u32);
        }
        if !self.list.is_empty() && until < self.latest {
            self.strays.insert((until, number));
        } else {
            self.latest = until;
        }
        self.list.push_back(Entry { id, offset, until });
        self.fit();
    }

    /// When the next one is forgotten.
    pub(super) fn first_until(&self) -> Option<Millis> {
        self.next().map(|(until, _)| until)
    }

    /// Forgets the one whose turn it is; false if there is none.
    pub(super) fn pop_first(&mut self) -> bool {
        let Some((_, number)) = self.next() else { return false };
        let id = self.list[self.at(number as u32)].id;
        if let Some(found) = self.table.find(&id.into(), |other| other == number as u32) {
            self.table.remove(found);
        }
        self.mark_gone(number);
        self.fit();
        true
    }

    /// Forgets those whose time is over.
    pub(super) fn forget_outlived(&mut self, now: Millis) {
        while self.first_until().is_some_and(|until| until <= now) {
            self.pop_first();
        }
    }

    /// Forgets those of which the messages are not held.
    pub(super) fn retain(&mut self, holds: impl Fn(Offset) -> bool) {
        self.list.retain(|entry| entry.until != GONE && holds(entry.offset));
        self.make_anew();
    }

    /// The next one to be forgotten.
    fn next(&self) -> Option<(Millis, u64)> {
        let listed = self.list.front().map(|entry| (entry.until, self.first));
        match self.strays.first() {
            Some(stray) => listed.map(|listed| listed.min(*stray)),
            None => listed,
        }
    }

    /// An entry is forgotten. Those are not at the front of the list.
    fn mark_gone(&mut self, number: u64) {
        let at = self.at(number as u32);
        let entry = &mut self.list[at];
        if !self.strays.is_empty() {
            self.strays.remove(&(entry.until, number));
        }
        entry.until = GONE;
        while self.list.pop_front_if(|entry| entry.until == GONE).is_some() {
            self.first += 1;
        }
    }

    /// Drops the forgotten ones when they are many, and gives back room.
    fn fit(&mut self) {
        if self.list.len() > 2 * self.table.len() + GONE_MAX {
            self.list.retain(|entry| entry.until != GONE);
            self.make_anew();
        } else if self.list.capacity() > 4 * self.list.len() + GONE_MAX {
            self.list.shrink_to(2 * self.list.len());
        }
    }

    /// Numbers the list anew, of which none is forgotten.
    fn make_anew(&mut self) {
        let list = std::mem::take(&mut self.list);
        *self = Memory { used: self.used, ..Memory::default() };
        list.into_iter().for_each(|it| self.add(it.id.into(), (it.offset, it.until)));
    }

    fn at(&self, number: u32) -> usize {
        at_of(self.first, number)
    }
}

/// Where the entry with a number is in a list whose first has another.
fn at_of(first: u64, number: u32) -> usize {
    number.wrapping_sub(first as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::{GONE_MAX, Memory};
    use crate::api::MessageId;
    use io::Random;
    use io::sim::SimRandom;
    use std::collections::BTreeMap;
    use types::{Millis, Offset};

    /// The same as lists that are searched.
    #[derive(Default)]
    struct Model(BTreeMap<MessageId, (Millis, i64, Offset)>);

    impl Model {
        fn first(&self) -> Option<(Millis, i64, MessageId)> {
            self.0.iter().map(|(id, (until, step, _))| (*until, *step, *id)).min()
        }
    }

    #[test]
    fn what_has_the_least_time_is_forgotten_first_whatever_came_before_it() {
        for seed in 0..20 {
            let random = SimRandom::new(seed);
            let up_to = |max: u64| (random.next() % max) as i64;
            let ids: Vec<MessageId> =
                (0..200u32).map(|id| MessageId::of(&id.to_le_bytes())).collect();
            // In some runs each has more time than those before it.
            let spread = [1, 5, 1_000][seed as usize % 3];
            let (mut memory, mut model) = (Memory::default(), Model::default());
            for step in 0..4_000 {
                let now = step / 10;
                match up_to(20) {
                    0..12 => {
                        let id = ids[up_to(200) as usize];
                        let (offset, until) = (Offset(up_to(9)), Millis(now + 50 + up_to(spread)));
                        memory.add(id.into(), (offset, until));
                        model.0.insert(id, (until, step, offset));
                    }
                    12..14 => {
                        let first = model.first();
                        first.map(|(.., id)| model.0.remove(&id));
                        assert_eq!(memory.pop_first(), first.is_some(), "{seed}, {step}");
                    }
                    14 => {
                        memory.forget_outlived(Millis(now));
                        model.0.retain(|_, (until, ..)| *until > Millis(now));
                    }
                    15 => {
                        let holds = |offset: Offset| offset.0 % 7 != step % 7;
                        memory.retain(holds);
                        model.0.retain(|_, (.., offset)| holds(*offset));
                    }
                    16 => {
                        let bytes = postcard::to_allocvec(&memory).expect("memory takes it");
                        let read: Memory = postcard::from_bytes(&bytes).expect("it is whole");
                        assert_eq!(postcard::to_allocvec(&read), Ok(bytes), "{seed}, {step}");
                        memory = read;
                    }
                    _ => {}
                }
                let id = &ids[up_to(200) as usize];
                let found = memory.get(&(*id).into()).map(|entry| (entry.until, entry.offset));
                assert_eq!(
                    found,
                    model.0.get(id).map(|(until, _, offset)| (*until, *offset)),
                    "{seed}, {step}"
                );
                let first = model.first().map(|(until, ..)| until);
                assert_eq!(memory.first_until(), first, "{seed}, {step}");
                assert_eq!(memory.len(), model.0.len());
                assert!(memory.list.len() <= 2 * memory.len() + GONE_MAX);
            }
        }
    }
}
