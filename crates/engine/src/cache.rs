//! Batches in memory: what was written last, and what was read last, bounded in bytes.

mod slab;
#[cfg(test)]
mod tests;

pub(crate) use slab::{Marks, Row, Slab};

use bytes::Bytes;
use journal::Location;
use record::batch::{self, Header, Records};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use types::{LogId, Millis, Offset};

/// Room made for the records of a batch before any was seen.
const RECORDS_RESERVED_MAX: u32 = 4096;

/// The part of its room that the cache has while memory is short.
const SHORT_PART: usize = 4;

/// How often a page of an index of keys is passed over when there is no room.
const CHANCES_MAX: u8 = 4;

/// Names beyond twice those of what is kept that may be of what is not here any more.
const NAMES_SPARE: usize = 1024;

/// A stored batch and, once somebody asked, where its records lie.
#[derive(Debug)]
pub(crate) struct Batch {
    /// RecordBatch v2 as stored.
    pub(crate) bytes: Bytes,
    decoded: OnceLock<Option<Decoded>>,
}

#[derive(Debug)]
struct Decoded {
    body: Bytes,
    records: Vec<Record>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    offset_delta: u32,
    tail_start: u32,
    tail_end: u32,
    timestamp: Millis,
}

impl Decoded {
    /// Bytes it takes beside the `stored` batch.
    fn added_bytes(&self, stored: &Bytes) -> usize {
        let shared = stored.as_ptr_range().contains(&self.body.as_ptr());
        let body_bytes = if shared { 0 } else { self.body.len() };
        body_bytes + self.records.capacity() * size_of::<Record>()
    }
}

impl Batch {
    pub(crate) fn new(bytes: Bytes) -> Batch {
        Batch { bytes, decoded: OnceLock::new() }
    }

    /// Bytes it takes in memory by now: as stored, and what taking it apart has added.
    fn held_bytes(&self) -> usize {
        let decoded = self.decoded.get().and_then(Option::as_ref);
        self.bytes.len() + decoded.map_or(0, |decoded| decoded.added_bytes(&self.bytes))
    }

    /// The tail and timestamp of the record `delta` after the batch's first; `None` where compaction
    /// or damage left no such record.
    pub(crate) fn record(&self, delta: u32) -> Option<(Bytes, Millis)> {
        let decoded = self.decoded.get_or_init(|| decode(&self.bytes)).as_ref()?;
        let record = match decoded.records.get(delta as usize) {
            Some(record) if record.offset_delta == delta => record,
            _ => {
                let at = decoded.records.binary_search_by_key(&delta, |r| r.offset_delta).ok()?;
                &decoded.records[at]
            }
        };
        let tail = decoded.body.slice(record.tail_start as usize..record.tail_end as usize);
        Some((tail, record.timestamp))
    }

    /// Delta and timestamp of the first record whose timestamp is `since` or later.
    pub(crate) fn first_since(&self, since: Millis) -> Option<(u32, Millis)> {
        self.timestamps().find(|(_, timestamp)| *timestamp >= since)
    }

    /// Delta and timestamp of the first record with the largest timestamp.
    pub(crate) fn latest(&self) -> Option<(u32, Millis)> {
        self.timestamps().reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// Lengths of the records' values, in order.
    pub(crate) fn value_lengths(&self) -> impl Iterator<Item = u32> {
        let decoded = self.decoded.get_or_init(|| decode(&self.bytes)).as_ref();
        decoded.into_iter().flat_map(|decoded| {
            decoded.records.iter().map(|record| {
                let tail = &decoded.body[record.tail_start as usize..record.tail_end as usize];
                let value = record::tail::decode(tail).ok().and_then(|view| view.value);
                value.map_or(0, |value| u32::try_from(value.len()).unwrap_or(u32::MAX))
            })
        })
    }

    fn timestamps(&self) -> impl Iterator<Item = (u32, Millis)> {
        let decoded = self.decoded.get_or_init(|| decode(&self.bytes)).as_ref();
        decoded
            .map_or(&[][..], |decoded| &decoded.records)
            .iter()
            .map(|record| (record.offset_delta, record.timestamp))
    }
}

/// Takes a batch apart. The body was checked when it came in or was read; one that cannot be taken
/// apart (an unreadable compressed body) has no records for anyone but who reads whole batches.
fn decode(bytes: &Bytes) -> Option<Decoded> {
    let header = Header::decode(bytes).ok()?;
    let body = batch::decompress(&header, bytes, types::APPEND_BYTES_MAX).ok()?;
    let mut records = Vec::with_capacity(header.count.min(RECORDS_RESERVED_MAX) as usize);
    let mut walk = Records::new(&header, &body);
    while let Some(record) = walk.next_head() {
        let record = record.ok()?;
        let tail_end = walk.at();
        records.push(Record {
            offset_delta: record.offset_delta,
            tail_start: u32::try_from(tail_end - record.tail.len()).ok()?,
            tail_end: u32::try_from(tail_end).ok()?,
            timestamp: header.timestamp_of(record.timestamp_delta),
        });
    }
    Some(Decoded { body, records })
}

/// Names a cached batch: where its first byte lies.
pub(crate) type Key = (u32, u32);

/// The key of the batch at `location`.
pub(crate) fn key(location: &Location) -> Key {
    location.pieces().next().map_or((u32::MAX, 0), |piece| (piece.segment, piece.position))
}

/// Second-chance cache of batches, and of slabs of them.
#[derive(Debug)]
pub(crate) struct BatchCache {
    entries: BTreeMap<Key, Entry>,
    /// By where they begin; they may overlap.
    slabs: BTreeMap<(LogId, Offset), Kept>,
    order: VecDeque<Name>,
    /// What went to the only one who reads it: it goes first.
    spent: VecDeque<Name>,
    /// Batches that may have been taken apart since they were counted.
    touched: Vec<Key>,
    bytes: usize,
    bytes_max: usize,
    /// Memory is short: a part of that has to do.
    short: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Batch(Key),
    Slab(LogId, Offset),
}

#[derive(Debug)]
struct Entry {
    batch: Arc<Batch>,
    chances: u8,
    /// Several logs have it.
    shared: bool,
    /// Bytes of it in the cache's sum.
    counted: usize,
}

#[derive(Debug)]
struct Kept {
    slab: Arc<Slab>,
    chances: u8,
}

impl BatchCache {
    pub(crate) fn new(bytes_max: usize) -> BatchCache {
        BatchCache {
            entries: BTreeMap::new(),
            slabs: BTreeMap::new(),
            order: VecDeque::new(),
            spent: VecDeque::new(),
            touched: Vec::new(),
            bytes: 0,
            bytes_max,
            short: false,
        }
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<Arc<Batch>> {
        let entry = self.entries.get_mut(&key)?;
        entry.chances = entry.chances.max(1);
        if entry.counted == entry.batch.bytes.len() && self.touched.last() != Some(&key) {
            self.touched.push(key);
        }
        Some(Arc::clone(&entry.batch))
    }

    /// A batch leads to many others: it stays for longer than what somebody has asked for.
    pub(crate) fn favor(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.chances = CHANCES_MAX;
        }
    }

    /// Whether a batch is there by itself.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.entries.contains_key(&key)
    }

    /// The slab with what a log has at `offset`, if there is one.
    pub(crate) fn slab(&mut self, log: LogId, offset: Offset) -> Option<&Arc<Slab>> {
        let (_, kept) = self.slabs.range_mut((log, Offset(0))..=(log, offset)).next_back()?;
        if kept.slab.end() <= offset {
            return None;
        }
        kept.chances = kept.chances.max(1);
        Some(&kept.slab)
    }

    /// Bytes in the cache.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts what taking batches apart has added since the last call, and makes room for it.
    pub(crate) fn recount(&mut self, short: bool) {
        self.short = short;
        for key in self.touched.drain(..) {
            if let Some(entry) = self.entries.get_mut(&key) {
                let held = entry.batch.held_bytes();
                self.bytes += held - entry.counted;
                entry.counted = held;
            }
        }
        self.evict();
    }

    /// Keeps a batch that somebody is about to take apart.
    pub(crate) fn insert(&mut self, key: Key, bytes: Bytes) -> Arc<Batch> {
        if let Some(entry) = self.entries.get_mut(&key) {
            return Arc::clone(&entry.batch);
        }
        let batch = Arc::new(Batch::new(bytes));
        self.keep(key, Arc::clone(&batch), false);
        self.touched.push(key);
        batch
    }

    /// Keeps a batch for whoever asks for it; `shared`: several logs have it.
    pub(crate) fn add(&mut self, key: Key, bytes: Bytes, shared: bool) {
        if !self.entries.contains_key(&key) {
            self.keep(key, Arc::new(Batch::new(bytes)), shared);
        }
    }

    fn keep(&mut self, key: Key, batch: Arc<Batch>, shared: bool) {
        let counted = batch.bytes.len();
        self.bytes += counted;
        self.entries.insert(key, Entry { batch, chances: 0, shared, counted });
        self.order.push_back(Name::Batch(key));
        self.evict();
    }

    /// A batch, the one that a log has up to `end`, went to the only one who reads that: it is wanted again
    /// only if it comes back, and goes first when there is no room. Nothing of one that other logs have.
    pub(crate) fn spend(&mut self, key: Key, log: LogId, end: Offset) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| !entry.shared) {
            entry.chances = 0;
            self.spent.push_back(Name::Batch(key));
        }
        let last = self.slabs.range_mut((log, Offset(0))..(log, end)).next_back();
        if let Some((_, kept)) = last.filter(|(_, kept)| kept.slab.end() == end) {
            kept.chances = 0;
            self.spent.push_back(Name::Slab(log, kept.slab.first()));
        }
        let kept = self.entries.len() + self.slabs.len();
        for names in [&mut self.spent, &mut self.order] {
            if names.len() > 2 * kept + NAMES_SPARE {
                let mut seen = BTreeSet::new();
                names.retain(|name| {
                    let is_here = match name {
                        Name::Batch(key) => self.entries.contains_key(key),
                        Name::Slab(log, at) => self.slabs.contains_key(&(*log, *at)),
                    };
                    is_here && seen.insert(*name)
                });
            }
        }
    }

    /// Keeps a slab, instead of a shorter one that begins where it does.
    pub(crate) fn insert_slab(&mut self, slab: &Arc<Slab>) {
        let at = (slab.log, slab.first());
        if let Some(kept) = self.slabs.get_mut(&at) {
            if kept.slab.end() < slab.end() {
                self.bytes -= kept.slab.held_bytes();
                self.bytes += slab.held_bytes();
                kept.slab = Arc::clone(slab);
            }
        } else {
            self.bytes += slab.held_bytes();
            self.slabs.insert(at, Kept { slab: Arc::clone(slab), chances: 0 });
            self.order.push_back(Name::Slab(at.0, at.1));
        }
        self.evict();
    }

    fn evict(&mut self) {
        let bytes_max = if self.short { self.bytes_max / SHORT_PART } else { self.bytes_max };
        while self.bytes > bytes_max
            && let Some(name) = self.spent.pop_front()
        {
            // Its name is in the order, too.
            if self.chances(name).is_none_or(|chances| *chances == 0) {
                self.forget(name);
            }
        }
        while self.bytes > bytes_max
            && let Some(name) = self.order.pop_front()
        {
            match self.chances(name) {
                Some(chances) if *chances > 0 => {
                    *chances -= 1;
                    self.order.push_back(name);
                }
                _ => self.forget(name),
            }
        }
    }

    /// How often it is passed over when there is no room.
    fn chances(&mut self, name: Name) -> Option<&mut u8> {
        match name {
            Name::Batch(key) => self.entries.get_mut(&key).map(|entry| &mut entry.chances),
            Name::Slab(log, at) => self.slabs.get_mut(&(log, at)).map(|kept| &mut kept.chances),
        }
    }

    fn forget(&mut self, name: Name) {
        match name {
            Name::Batch(key) => {
                let entry = self.entries.remove(&key);
                self.bytes -= entry.map_or(0, |entry| entry.counted);
            }
            Name::Slab(log, at) => {
                let kept = self.slabs.remove(&(log, at));
                self.bytes -= kept.map_or(0, |kept| kept.slab.held_bytes());
            }
        }
    }
}
