//! Maps whose entries are stored in chunks, each of a range of keys.
//!
//! Whatever changes an entry goes through here: it marks the entry's chunk as changed, and while a
//! cut is being taken, it first has the chunk stored as it was at the cut. So a checkpoint has the
//! chunks that changed, as of one moment, and is made bit by bit.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use types::{LogId, SubscriptionId};

/// A key that is a number.
pub(crate) trait ChunkKey: Copy + Ord + Serialize + DeserializeOwned {
    fn number(self) -> u32;
    fn of(number: u32) -> Self;
}

impl ChunkKey for LogId {
    fn number(self) -> u32 {
        self.0
    }

    fn of(number: u32) -> LogId {
        LogId(number)
    }
}

impl ChunkKey for SubscriptionId {
    fn number(self) -> u32 {
        self.0
    }

    fn of(number: u32) -> SubscriptionId {
        SubscriptionId(number)
    }
}

/// A map; reading it is reading a `BTreeMap`.
#[derive(Clone, Debug)]
pub(crate) struct Chunked<K, V> {
    entries: BTreeMap<K, V>,
    /// Bits of a key that tell entries of a chunk apart.
    bits: u32,
    /// After which cut each chunk changed last, since the start of the process.
    changed: BTreeMap<u32, u64>,
    /// The last cut.
    cut: u64,
    /// Chunks that are still to be stored as they were at the cut.
    todo: BTreeSet<u32>,
    /// Those that were stored because they were about to change.
    early: Vec<(u32, Bytes)>,
}

/// What of a state a checkpoint wants: everything, or the chunks that changed after a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Cuts are counted; a later one has a larger number.
    pub(crate) number: u64,
    pub(crate) since: Option<u64>,
}

impl Cut {
    /// Whether what changed last after cut `changed` is wanted.
    pub(crate) fn wants(self, changed: Option<u64>) -> bool {
        match self.since {
            None => true,
            Some(since) => changed.is_some_and(|changed| changed >= since),
        }
    }
}

impl<K: ChunkKey, V> Chunked<K, V> {
    /// An empty one, with `1 << bits` keys to a chunk.
    pub(crate) fn new(bits: u32) -> Chunked<K, V> {
        Chunked {
            entries: BTreeMap::new(),
            bits,
            changed: BTreeMap::new(),
            cut: 0,
            todo: BTreeSet::new(),
            early: Vec::new(),
        }
    }
}

impl<K: ChunkKey, V: Serialize + DeserializeOwned> Chunked<K, V> {
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        if !self.entries.contains_key(&key) {
            return None;
        }
        self.touch(key);
        self.entries.get_mut(&key)
    }

    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.touch(key);
        self.entries.entry(key).or_insert_with(make)
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        if !self.entries.contains_key(&key) {
            return None;
        }
        self.touch(key);
        self.entries.remove(&key)
    }

    /// Notes what is to be stored: the chunks that `cut` wants, as they are now.
    pub(crate) fn begin_cut(&mut self, cut: Cut) {
        self.early.clear();
        self.cut = cut.number;
        self.todo = match cut.since {
            None => self.chunks(),
            Some(_) => {
                let changed = self.changed.iter().filter(|(_, at)| cut.wants(Some(**at)));
                changed.map(|(chunk, _)| *chunk).collect()
            }
        };
    }

    /// Stores chunks of the cut until `room` bytes are used up; gives them to `each`, one that is
    /// empty without bytes. True when there are no more.
    pub(crate) fn cut_on(&mut self, room: &mut usize, mut each: impl FnMut(u32, Bytes)) -> bool {
        while *room > 0 {
            let next = self.early.pop().or_else(|| {
                let chunk = self.todo.pop_first()?;
                Some((chunk, self.stored(chunk)))
            });
            let Some((chunk, bytes)) = next else { return true };
            *room = room.saturating_sub(bytes.len() + 64);
            each(chunk, bytes);
        }
        self.early.is_empty() && self.todo.is_empty()
    }

    /// Puts back what a chunk was stored with. Fails when the bytes are not that.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        let entries: Vec<(K, V)> = postcard::from_bytes(bytes)?;
        self.entries.extend(entries);
        Ok(())
    }

    /// An entry is about to change.
    fn touch(&mut self, key: K) {
        let chunk = key.number() >> self.bits;
        if !io::planted("chunk-cut-late") && self.todo.remove(&chunk) {
            let bytes = self.stored(chunk);
            self.early.push((chunk, bytes));
        }
        if !(io::planted("chunk-mark-forgotten") && self.cut % 3 == 1) {
            self.changed.insert(chunk, self.cut);
        }
    }

    /// Every chunk that has an entry.
    fn chunks(&self) -> BTreeSet<u32> {
        let mut chunks = BTreeSet::new();
        let mut next = self.entries.first_key_value();
        while let Some((key, _)) = next {
            let chunk = key.number() >> self.bits;
            chunks.insert(chunk);
            let (_, last) = self.bounds(chunk);
            let beyond = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            next = self.entries.range(beyond).next();
        }
        chunks
    }

    fn stored(&self, chunk: u32) -> Bytes {
        let (first, last) = self.bounds(chunk);
        let entries: Vec<(&K, &V)> = self.entries.range(first..=last).collect();
        if entries.is_empty() {
            return Bytes::new();
        }
        postcard::to_allocvec(&entries).expect("a Vec takes every state there is").into()
    }

    /// The first and the last key of a chunk.
    fn bounds(&self, chunk: u32) -> (K, K) {
        let first = chunk << self.bits;
        (K::of(first), K::of(first | ((1 << self.bits) - 1)))
    }
}

impl<K, V> Deref for Chunked<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.entries
    }
}

impl<'a, K, V> IntoIterator for &'a Chunked<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

/// As the map: equal entries give equal bytes, whatever was marked.
impl<K: Serialize, V: Serialize> Serialize for Chunked<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
