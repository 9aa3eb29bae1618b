//! 4096 offsets of a set, in whichever form is small.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) const CHUNK_SHIFT: u32 = 12;
pub(super) const CHUNK_LEN: usize = 1 << CHUNK_SHIFT;

/// Longest sorted list, in offsets; beyond, a bitmap.
const LIST_LEN_MAX: usize = 128;

const WORDS: usize = CHUNK_LEN / 64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Chunk {
    /// Positions in the chunk, rising.
    List(Vec<u16>),
    Bits(Bits),
    /// This and the following chunks, so many in all, are full.
    Full(i64),
}

/// A bitmap of a chunk, and how many of its bits are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    count: u16,
    words: Box<[u64; WORDS]>,
}

impl Chunk {
    /// How many offsets it holds; of a run of full chunks, all of theirs.
    pub(super) fn len(&self) -> u64 {
        match self {
            Chunk::List(list) => list.len() as u64,
            Chunk::Bits(bits) => u64::from(bits.count),
            Chunk::Full(chunks) => chunks.unsigned_abs() << CHUNK_SHIFT,
        }
    }

    pub(super) fn contains(&self, at: usize) -> bool {
        match self {
            Chunk::List(list) => list.binary_search(&position(at)).is_ok(),
            Chunk::Bits(bits) => bits.words[at / 64] & (1 << (at % 64)) != 0,
            Chunk::Full(_) => true,
        }
    }

    /// Adds the positions `from..to`, not the whole chunk; gives how many are new.
    pub(super) fn insert(&mut self, from: usize, to: usize) -> u64 {
        match self {
            Chunk::List(list) => {
                let low = list.partition_point(|&at| usize::from(at) < from);
                let high = low + list[low..].partition_point(|&at| usize::from(at) < to);
                let added = (to - from) - (high - low);
                if list.len() + added <= LIST_LEN_MAX {
                    list.splice(low..high, (from..to).map(position));
                } else {
                    *self = Chunk::Bits(Bits::of_list(list, from, to));
                }
                added as u64
            }
            Chunk::Bits(bits) => bits.insert(from, to),
            Chunk::Full(_) => 0,
        }
    }

    /// Takes out the positions below `to`; gives how many there were.
    pub(super) fn remove_below(&mut self, to: usize) -> u64 {
        match self {
            Chunk::List(list) => {
                let low = list.partition_point(|&at| usize::from(at) < to);
                list.drain(..low);
                low as u64
            }
            Chunk::Bits(bits) => {
                let before = bits.count;
                bits.remove(0, to);
                u64::from(before - bits.count)
            }
            Chunk::Full(_) => 0,
        }
    }

    /// Takes out what it holds of the positions `from..to`; gives runs of them to `each`, in order.
    /// Not for runs of full chunks.
    pub(super) fn remove(&mut self, from: usize, to: usize, mut each: impl FnMut(usize, usize)) {
        let mut at = from;
        while let Some(first) = self.next_present(at).filter(|&first| first < to) {
            at = self.next_absent(first).map_or(to, |end| end.min(to));
            each(first, at);
        }
        match self {
            Chunk::List(list) => {
                let below = |bound| list.partition_point(|&p| usize::from(p) < bound);
                let (low, high) = (below(from), below(to));
                list.drain(low..high);
            }
            Chunk::Bits(bits) => bits.remove(from, to),
            Chunk::Full(_) => {}
        }
    }

    /// The first position at or above `at` that it lacks.
    pub(super) fn next_absent(&self, at: usize) -> Option<usize> {
        match self {
            Chunk::List(list) => {
                let low = list.partition_point(|&p| usize::from(p) < at);
                let run =
                    list[low..].iter().zip(at..).take_while(|&(&p, want)| usize::from(p) == want);
                Some(at + run.count()).filter(|&at| at < CHUNK_LEN)
            }
            Chunk::Bits(bits) => first_bit(at, |word| !bits.words[word]),
            Chunk::Full(_) => None,
        }
    }

    /// The first position at or above `at` that it holds.
    pub(super) fn next_present(&self, at: usize) -> Option<usize> {
        if at >= CHUNK_LEN {
            return None;
        }
        match self {
            Chunk::List(list) => {
                let low = list.partition_point(|&p| usize::from(p) < at);
                list.get(low).map(|&p| usize::from(p))
            }
            Chunk::Bits(bits) => first_bit(at, |word| bits.words[word]),
            Chunk::Full(_) => Some(at),
        }
    }

    /// How many of the positions `from..to` it holds. Not for runs of full chunks.
    pub(super) fn count_in(&self, from: usize, to: usize) -> u64 {
        match self {
            Chunk::List(list) => {
                let below = |bound| list.partition_point(|&p| usize::from(p) < bound);
                (below(to) - below(from)) as u64
            }
            Chunk::Bits(bits) => masks(from, to)
                .map(|(word, mask)| u64::from((bits.words[word] & mask).count_ones()))
                .sum(),
            Chunk::Full(_) => (to - from) as u64,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Chunk::List(list) => list.capacity() * size_of::<u16>(),
            Chunk::Bits(_) => CHUNK_LEN / 8,
            Chunk::Full(_) => 0,
        }
    }

    /// Whether it is as this module would have made it. For chunks read from disk.
    pub(super) fn is_well_formed(&self) -> bool {
        match self {
            Chunk::List(list) => {
                let is_rising = list.windows(2).all(|pair| pair[0] < pair[1]);
                let is_inside = list.last().is_some_and(|&last| usize::from(last) < CHUNK_LEN);
                is_rising && is_inside && list.len() <= LIST_LEN_MAX
            }
            Chunk::Bits(bits) => 0 < bits.count && usize::from(bits.count) < CHUNK_LEN,
            Chunk::Full(chunks) => 0 < *chunks,
        }
    }
}

impl Bits {
    /// The positions of `list` and `from..to`.
    fn of_list(list: &[u16], from: usize, to: usize) -> Bits {
        let mut bits = Bits { count: 0, words: Box::new([0; WORDS]) };
        for &at in list {
            bits.insert(usize::from(at), usize::from(at) + 1);
        }
        bits.insert(from, to);
        bits
    }

    fn insert(&mut self, from: usize, to: usize) -> u64 {
        let mut added = 0;
        for (word, mask) in masks(from, to) {
            added += (!self.words[word] & mask).count_ones();
            self.words[word] |= mask;
        }
        self.count += u16::try_from(added).expect("at most a chunk");
        u64::from(added)
    }

    fn remove(&mut self, from: usize, to: usize) {
        let mut removed = 0;
        for (word, mask) in masks(from, to) {
            removed += (self.words[word] & mask).count_ones();
            self.words[word] &= !mask;
        }
        self.count -= u16::try_from(removed).expect("at most a chunk");
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; CHUNK_LEN / 8];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.words.iter()) {
            *to = word.to_le_bytes();
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bits, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        let (pieces, rest) = bytes.as_chunks::<8>();
        if pieces.len() != WORDS || !rest.is_empty() {
            return Err(D::Error::custom("bitmap of a wrong length"));
        }
        let mut words = Box::new([0; WORDS]);
        for (word, piece) in words.iter_mut().zip(pieces) {
            *word = u64::from_le_bytes(*piece);
        }
        let count: u32 = words.iter().map(|word| word.count_ones()).sum();
        Ok(Bits { count: u16::try_from(count).expect("at most a chunk"), words })
    }
}

fn position(at: usize) -> u16 {
    u16::try_from(at).expect("a chunk has 4096 positions")
}

/// The words that the positions `from..to` lie in, each with the mask of those positions.
fn masks(from: usize, to: usize) -> impl Iterator<Item = (usize, u64)> {
    (from / 64..to.div_ceil(64)).map(move |word| {
        let low = from.max(word * 64) % 64;
        let width = to.min(word * 64 + 64) - from.max(word * 64);
        (word, (u64::MAX >> (64 - width)) << low)
    })
}

/// The first position at or above `at` whose bit is set in what `word_at` gives.
fn first_bit(at: usize, word_at: impl Fn(usize) -> u64) -> Option<usize> {
    let first = word_at(at / 64) & (u64::MAX << (at % 64));
    if first != 0 {
        return Some(at / 64 * 64 + first.trailing_zeros() as usize);
    }
    let word = (at / 64 + 1..WORDS).find(|&word| word_at(word) != 0)?;
    Some(word * 64 + word_at(word).trailing_zeros() as usize)
}
