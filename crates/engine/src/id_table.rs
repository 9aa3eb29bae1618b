//! A table of ids that lie elsewhere, by number: 8 bytes for each place of it.
//!
//! A place has half of an id's hash and the id's number. So whoever looks for an id that is not there
//! seldom looks anywhere else, and growing reads nothing but the table. Ids are chosen by clients, who do
//! not know the keys of the hash.

use crate::api::MessageId;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Places of the smallest table.
const PLACES_MIN: usize = 16;

/// Nothing but lookups depends on them.
static KEYS: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let random = RandomState::new();
    [0, 1].map(|number: u64| random.hash_one(number))
});

/// Numbers of ids by ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdTable {
    /// As many as a power of two, or none; at most three quarters are taken.
    places: Vec<Place>,
    len: usize,
}

/// `hash` is 0: it is free.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    hash: u32,
    number: u32,
}

/// An id with its hash, which is worked out once for all tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed {
    pub(crate) id: MessageId,
    hash: u32,
}

impl From<MessageId> for Hashed {
    #[inline]
    fn from(id: MessageId) -> Hashed {
        Hashed { id, hash: hash_of(&id) }
    }
}

/// Where an id is in a table, until that changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    at: usize,
    pub(crate) number: u32,
}

impl IdTable {
    /// How many ids.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Looks for an id; `is`: whether it has this number.
    pub(crate) fn find(&self, id: &Hashed, is: impl Fn(u32) -> bool) -> Option<Found> {
        if self.len == 0 {
            return None;
        }
        let hash = id.hash;
        let mut at = self.home(hash);
        loop {
            let place = self.places[at];
            if place.hash == 0 {
                return None;
            }
            if place.hash == hash && is(place.number) {
                return Some(Found { at, number: place.number });
            }
            at = self.after(at);
        }
    }

    /// Has the places of ids come from memory side by side, for those who look for one after the other.
    pub(crate) fn warm(&self, ids: &[Hashed]) {
        if !self.places.is_empty() {
            let hashes = ids.iter().map(|id| self.places[self.home(id.hash)].hash);
            std::hint::black_box(hashes.fold(0, |all, hash| all ^ hash));
        }
    }

    /// Makes room for so many more ids.
    pub(crate) fn reserve(&mut self, more: usize) {
        let needed = (self.len + more) * 4;
        if needed > self.places.len() * 3 {
            self.resize(needed.div_ceil(3).next_power_of_two().max(PLACES_MIN));
        }
    }

    /// Looks for an id, as [`find`](IdTable::find), and adds it with `number` if it is not there.
    pub(crate) fn find_or_add(
        &mut self,
        id: &Hashed,
        number: u32,
        is: impl Fn(u32) -> bool,
    ) -> Option<Found> {
        self.reserve(1);
        let hash = id.hash;
        let mut at = self.home(hash);
        loop {
            let place = self.places[at];
            if place.hash == 0 {
                break;
            }
            if place.hash == hash && is(place.number) {
                return Some(Found { at, number: place.number });
            }
            at = self.after(at);
        }
        self.places[at] = Place { hash, number };
        self.len += 1;
        None
    }

    /// An id has another number.
    pub(crate) fn renumber(&mut self, found: Found, number: u32) {
        self.places[found.at].number = number;
    }

    /// Takes an id out.
    pub(crate) fn remove(&mut self, found: Found) {
        self.len -= 1;
        // Those behind it that would not be found past a free place move up.
        let mut free = found.at;
        let mut at = self.after(free);
        while self.places[at].hash != 0 {
            let home = self.home(self.places[at].hash);
            let mask = self.places.len() - 1;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(free) & mask) {
                self.places[free] = self.places[at];
                free = at;
            }
            at = self.after(at);
        }
        self.places[free] = Place::default();
        if self.places.len() > PLACES_MIN.max(self.len * 8) {
            self.resize((self.places.len() / 4).max(PLACES_MIN));
        }
    }

    fn resize(&mut self, places: usize) {
        let before = std::mem::replace(&mut self.places, vec![Place::default(); places]);
        before.into_iter().filter(|place| place.hash != 0).for_each(|place| self.place(place));
    }

    fn place(&mut self, place: Place) {
        let mut at = self.home(place.hash);
        while self.places[at].hash != 0 {
            at = self.after(at);
        }
        self.places[at] = place;
    }

    /// Where a hash belongs: by its upper bits, so that growing walks through both tables in order.
    fn home(&self, hash: u32) -> usize {
        let places = self.places.len() as u64;
        ((u64::from(hash) * places) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }
}

fn hash_of(id: &MessageId) -> u32 {
    let [one, other] = *KEYS;
    let all = u128::from_le_bytes(id.0);
    let product = u128::from(all as u64 ^ one) * u128::from((all >> 64) as u64 ^ other);
    let folded = (product >> 64) as u64 ^ product as u64;
    (folded >> 32) as u32 | 1
}

#[cfg(test)]
mod tests {
    use super::{IdTable, PLACES_MIN};
    use crate::api::MessageId;
    use io::Random;
    use io::sim::SimRandom;
    use std::collections::BTreeMap;

    #[test]
    fn a_table_has_what_a_map_has_after_the_same_changes() {
        let random = SimRandom::new(1);
        let ids: Vec<MessageId> =
            (0..3_000u32).map(|id| MessageId::of(&id.to_le_bytes())).collect();
        let (mut table, mut map) = (IdTable::default(), BTreeMap::new());
        for step in 0..60_000u32 {
            // It grows, shrinks to nothing and grows again.
            let grows = step / 10_000 % 2 == 0;
            let number = (random.next() % ids.len() as u64) as u32;
            let id = &ids[number as usize];
            let found = table.find(&(*id).into(), |at| at % 3_000 == number);
            assert_eq!(found.map(|found| found.number), map.get(id).copied(), "{step}");
            match found {
                None if grows => {
                    let added = table.find_or_add(&(*id).into(), number, |at| at % 3_000 == number);
                    assert!(added.is_none());
                    map.insert(*id, number);
                }
                Some(_) if grows => {
                    let found = table.find_or_add(&(*id).into(), 0, |at| at % 3_000 == number);
                    let found = found.expect("it was there before");
                    table.renumber(found, found.number + 3_000);
                    map.insert(*id, found.number + 3_000);
                }
                Some(found) => {
                    table.remove(found);
                    map.remove(id);
                }
                None => {}
            }
            assert_eq!(table.len(), map.len());
        }
        for (number, id) in ids.iter().enumerate() {
            if let Some(found) = table.find(&(*id).into(), |at| at as usize % 3_000 == number) {
                table.remove(found);
            }
        }
        assert_eq!((table.len(), table.places.len()), (0, PLACES_MIN));
    }
}
