//! A set of offsets that stays small when it is dense: chunks of 4096 offsets, each a short sorted
//! list or a bitmap, and runs of full chunks.

mod chunk;
#[cfg(test)]
mod tests;

use crate::Span;
use chunk::{CHUNK_LEN, CHUNK_SHIFT, Chunk};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use types::Offset;

/// Beyond every key of a real log; keeps arithmetic on keys from disk in range.
const KEY_MAX: i64 = 1 << 50;

/// A set of offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetSet {
    /// By offset / 4096. Never empty chunks; a full chunk is always part of a `Full` run, and runs
    /// never touch.
    chunks: BTreeMap<i64, Chunk>,
    len: u64,
}

impl OffsetSet {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn contains(&self, offset: Offset) -> bool {
        let (key, at) = split(offset);
        self.chunk_at(key).is_some_and(|chunk| chunk.contains(at))
    }

    /// Adds the offsets of `span`; gives how many are new.
    pub(crate) fn insert(&mut self, span: Span) -> u64 {
        if span.is_empty() {
            return 0;
        }
        let (first_key, from) = split(span.first);
        let (last_key, last) = split(Offset(span.end.0 - 1));
        let mut added = 0;
        if first_key == last_key {
            added += self.insert_in_chunk(first_key, from, last + 1);
        } else {
            added += self.insert_in_chunk(first_key, from, CHUNK_LEN);
            added += self.insert_in_chunk(last_key, 0, last + 1);
            added += self.insert_full(first_key + 1, last_key);
        }
        self.len += added;
        added
    }

    /// Takes out everything below `offset`, and what follows it without a gap. Gives the first
    /// offset from `offset` on that was not in the set, and how many were taken out.
    pub(crate) fn remove_up_to(&mut self, offset: Offset) -> (Offset, u64) {
        let end = self.next_absent(offset);
        let (end_key, at) = split(end);
        let mut removed = 0;
        while let Some(mut entry) = self.chunks.first_entry() {
            let key = *entry.key();
            if key > end_key {
                break;
            }
            if key < end_key {
                removed += entry.get().len();
                entry.remove();
                continue;
            }
            removed += entry.get_mut().remove_below(at);
            if entry.get().len() == 0 {
                entry.remove();
            }
            break;
        }
        self.len -= removed;
        (end, removed)
    }

    /// Takes out what it has of `span`; gives runs of it to `each`, in order.
    pub(crate) fn remove(&mut self, span: Span, mut each: impl FnMut(Span)) {
        let mut rest = span;
        while let Some((key, run)) = self.first_entry_in(rest) {
            let part = Span::new(run.first.max(rest.first), run.end.min(rest.end));
            let Some(chunk) = self.chunks.get_mut(&key) else { return };
            if matches!(chunk, Chunk::Full(_)) {
                self.chunks.remove(&key);
                self.len -= run.len();
                self.insert(Span::new(run.first, part.first));
                self.insert(Span::new(part.end, run.end));
                each(part);
            } else {
                let before = chunk.len();
                let at = |offset: Offset| {
                    usize::try_from(offset.0 - run.first.0).expect("inside of the chunk")
                };
                chunk.remove(at(part.first), at(part.end), |from, to| {
                    each(Span::new(join(key, from), join(key, to)));
                });
                let left = chunk.len();
                self.len -= before - left;
                if left == 0 {
                    self.chunks.remove(&key);
                }
            }
            rest.first = part.end;
        }
    }

    /// The first offset at or above `from` that is not in the set.
    pub(crate) fn next_absent(&self, from: Offset) -> Offset {
        let (mut key, mut at) = split(from);
        loop {
            match self.run_at(key) {
                None => return join(key, at),
                Some((first, Chunk::Full(chunks))) => key = first + chunks,
                Some((_, chunk)) => match chunk.next_absent(at) {
                    Some(at) => return join(key, at),
                    None => key += 1,
                },
            }
            at = 0;
        }
    }

    /// The first offset at or above `from` that is in the set.
    pub(crate) fn next_present(&self, from: Offset) -> Option<Offset> {
        let (key, at) = split(from);
        if let Some(at) = self.chunk_at(key).and_then(|chunk| chunk.next_present(at)) {
            return Some(join(key, at));
        }
        let (&key, chunk) = self.chunks.range(key + 1..).next()?;
        chunk.next_present(0).map(|at| join(key, at))
    }

    /// How many offsets of `span` are in the set.
    pub(crate) fn count_in(&self, span: Span) -> u64 {
        if span.is_empty() || self.chunks.is_empty() {
            return 0;
        }
        let (first_key, from) = split(span.first);
        let (end_key, to) = split(span.end);
        let start = self.run_at(first_key).map_or(first_key, |(key, _)| key);
        let mut count = 0;
        for (&key, chunk) in self.chunks.range(start..=end_key) {
            count += if let Chunk::Full(chunks) = *chunk {
                let run = Span::new(join(key, 0), join(key + chunks, 0));
                Span::new(run.first.max(span.first), run.end.min(span.end)).len()
            } else {
                let low = if key == first_key { from } else { 0 };
                let high = if key == end_key { to } else { CHUNK_LEN };
                chunk.count_in(low, high)
            };
        }
        count
    }

    /// Memory held beside the struct itself, in bytes: entries and what they point to.
    pub(crate) fn heap_bytes(&self) -> usize {
        let entry_bytes = size_of::<(i64, Chunk)>();
        self.chunks.values().map(|chunk| entry_bytes + chunk.heap_bytes()).sum()
    }

    /// The first entry that covers something of `span`: its key, and all that it covers.
    fn first_entry_in(&self, span: Span) -> Option<(i64, Span)> {
        if span.is_empty() {
            return None;
        }
        let key = split(span.first).0;
        let covering = self.run_at(key);
        let entry = covering.or_else(|| self.chunks.range(key..).next().map(|(&k, c)| (k, c)));
        let (key, chunk) = entry?;
        let width = if let Chunk::Full(chunks) = *chunk { chunks } else { 1 };
        let run = Span::new(join(key, 0), join(key + width, 0));
        (run.first < span.end).then_some((key, run))
    }

    /// The entry that covers the chunk `key`, and its own key.
    fn run_at(&self, key: i64) -> Option<(i64, &Chunk)> {
        let (&first, chunk) = self.chunks.range(..=key).next_back()?;
        match chunk {
            Chunk::Full(chunks) => (key < first + chunks).then_some((first, chunk)),
            _ => (key == first).then_some((first, chunk)),
        }
    }

    fn chunk_at(&self, key: i64) -> Option<&Chunk> {
        self.run_at(key).map(|(_, chunk)| chunk)
    }

    /// Adds the positions `from..to` of one chunk.
    fn insert_in_chunk(&mut self, key: i64, from: usize, to: usize) -> u64 {
        if to - from == CHUNK_LEN {
            return self.insert_full(key, key + 1);
        }
        let covering = self.chunks.range_mut(..=key).next_back();
        let chunk = match covering {
            Some((&first, Chunk::Full(chunks))) if key < first + *chunks => return 0,
            Some((&first, chunk)) if first == key => chunk,
            _ => self.chunks.entry(key).or_insert_with(|| Chunk::List(Vec::new())),
        };
        let added = chunk.insert(from, to);
        if chunk.len() == CHUNK_LEN as u64 {
            self.chunks.remove(&key);
            self.insert_full(key, key + 1);
        }
        added
    }

    /// Makes the chunks `first..end` full; gives how many offsets are new.
    fn insert_full(&mut self, first: i64, end: i64) -> u64 {
        if first >= end {
            return 0;
        }
        let had = self.count_in(Span::new(join(first, 0), join(end, 0)));
        let added = Span::new(join(first, 0), join(end, 0)).len() - had;
        let mut run = (first, end);
        if let Some((before, Chunk::Full(chunks))) = self.run_at(first - 1) {
            run = (before, end.max(before + chunks));
        }
        if let Some((behind, Chunk::Full(chunks))) = self.run_at(end) {
            run.1 = run.1.max(behind + chunks);
        }
        self.chunks.extract_if(run.0..run.1, |_, _| true).for_each(drop);
        self.chunks.insert(run.0, Chunk::Full(run.1 - run.0));
        added
    }
}

impl Serialize for OffsetSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.chunks.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OffsetSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OffsetSet, D::Error> {
        let chunks = BTreeMap::<i64, Chunk>::deserialize(deserializer)?;
        let mut len: u64 = 0;
        let mut free_from = -KEY_MAX;
        for (&key, chunk) in &chunks {
            let width = if let Chunk::Full(chunks) = *chunk { chunks } else { 1 };
            let is_placed = free_from <= key && key < KEY_MAX && 0 < width && width < KEY_MAX;
            if !is_placed || !chunk.is_well_formed() {
                return Err(D::Error::custom("offset set out of order"));
            }
            free_from = key + width;
            len = len
                .checked_add(chunk.len())
                .ok_or_else(|| D::Error::custom("offset set too large"))?;
        }
        Ok(OffsetSet { chunks, len })
    }
}

fn split(offset: Offset) -> (i64, usize) {
    let at = usize::try_from(offset.0 & (CHUNK_LEN as i64 - 1)).expect("masked to 12 bits");
    (offset.0 >> CHUNK_SHIFT, at)
}

fn join(key: i64, at: usize) -> Offset {
    Offset((key << CHUNK_SHIFT) + at as i64)
}
