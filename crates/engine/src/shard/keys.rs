//! The index of a log's keys: where the records of each lie, so that those of one are found without
//! reading the log, and apply knows which was the last.
//!
//! The newest entries are in here. Older ones are in runs, each for a stretch of the log's offsets and
//! sorted by key. A run is a list of pages, and a page is a batch with one record in a hidden log
//! beside the log: so runs are written, read back, kept and given up as everything else is. The leader
//! makes runs of what is in here, and fewer and longer ones of many; a command puts one in its place.
//! Apply reads no page: what it has to know of them is told beside the append that asks.
//!
//! Source: P. O'Neil, E. Cheng, D. Gawlick, E. O'Neil, "The log-structured merge-tree (LSM-tree)", Acta
//! Informatica 33(4), 1996.

use crate::api::KeyHash;
use ledger::{Ledger, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use types::{LogId, Offset};

/// Set in the id of the hidden log with the pages of a log's keys; the rest is the id of that log. A
/// schedule has the first of them, an outbox the second.
const PAGES: u32 = 1 << 30 | 1 << 29;
/// What an entry takes in a page.
pub(crate) const ENTRY_BYTES: usize = 24;
/// What an entry takes in memory: in a set whose nodes are two thirds full.
pub(super) const HELD_BYTES: usize = ENTRY_BYTES * 3 / 2;

/// Where a record with a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct KeyEntry {
    pub(crate) key: KeyHash,
    pub(crate) offset: Offset,
}

/// A page of a run: the entries from `first` on are in the hidden log at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyPage {
    pub(crate) first: KeyEntry,
    pub(crate) at: Offset,
}

/// The entries of the records from `first` to before `end`, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRun {
    pub(crate) first: Offset,
    pub(crate) end: Offset,
    /// How often its entries were put together with others.
    pub(crate) level: u8,
    pub(crate) pages: Vec<KeyPage>,
}

/// The index of one log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// What lies before is in runs.
    from: Offset,
    recent: BTreeSet<KeyEntry>,
    /// By offset.
    runs: Vec<KeyRun>,
    /// Offset of the next page in the hidden log.
    pub(crate) end: Offset,
    /// Which pages are given up.
    pub(crate) ledger: Ledger,
}

impl KeyEntry {
    pub(crate) fn of(key: KeyHash, offset: Offset) -> KeyEntry {
        KeyEntry { key, offset }
    }

    pub(crate) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..16].copy_from_slice(&self.key.0);
        bytes[16..].copy_from_slice(&self.offset.0.to_be_bytes());
        bytes
    }

    /// Reads what [`KeyEntry::to_bytes`] gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<KeyEntry> {
        let (key, offset) = bytes.split_first_chunk()?;
        let offset = Offset(i64::from_be_bytes(offset.try_into().ok()?));
        Some(KeyEntry { key: KeyHash(*key), offset })
    }
}

impl KeyRun {
    /// The pages that may have an entry from `first` to `last`, as places in [`KeyRun::pages`].
    pub(crate) fn pages_of(&self, first: KeyEntry, last: KeyEntry) -> std::ops::Range<usize> {
        let from = self.pages.partition_point(|page| page.first <= first).saturating_sub(1);
        let end = self.pages.partition_point(|page| page.first <= last);
        from..end.max(from)
    }
}

impl Keys {
    /// The index of a log that has no records yet.
    pub(crate) fn new() -> Keys {
        Keys {
            from: Offset(0),
            recent: BTreeSet::new(),
            runs: Vec::new(),
            end: Offset(0),
            ledger: Ledger::new(Offset(0)),
        }
    }

    /// The id under which the pages of a log's keys are in the journal and in the index.
    pub(crate) fn id_of(log: LogId) -> LogId {
        LogId(log.0 | PAGES)
    }

    /// The log whose pages have this id, if it is one of pages.
    pub(crate) fn log_of(id: LogId) -> Option<LogId> {
        (id.0 & PAGES == PAGES).then_some(LogId(id.0 & !PAGES))
    }

    /// What lies before is in runs.
    pub(crate) fn from(&self) -> Offset {
        self.from
    }

    /// Those entries that are in no run.
    pub(crate) fn recent(&self) -> &BTreeSet<KeyEntry> {
        &self.recent
    }

    pub(crate) fn runs(&self) -> &[KeyRun] {
        &self.runs
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let pages = self.runs.iter().map(|run| run.pages.len()).sum::<usize>();
        self.recent_bytes() + pages * size_of::<KeyPage>()
    }

    /// What of it recent entries take.
    pub(crate) fn recent_bytes(&self) -> usize {
        self.recent.len() * HELD_BYTES
    }

    /// How many pages are in runs.
    pub(crate) fn page_count(&self) -> u64 {
        self.runs.iter().map(|run| run.pages.len() as u64).sum()
    }

    /// Whether pages are in no run, and nobody has given them up.
    pub(crate) fn has_strays(&self) -> bool {
        self.ledger.unsettled(self.end) != self.page_count()
    }

    /// The last record of a key among those of which a run tells nothing.
    pub(crate) fn last_recent(&self, key: KeyHash, before: Offset) -> Option<Offset> {
        let all = KeyEntry::of(key, Offset(i64::MIN))..KeyEntry::of(key, before);
        self.recent.range(all).next_back().map(|entry| entry.offset)
    }

    /// Records were appended from `base` on, of these keys.
    pub(super) fn note(&mut self, base: Offset, keys: impl Iterator<Item = Option<KeyHash>>) {
        let offsets = (base.0..).map(Offset);
        let keyed = offsets.zip(keys).filter_map(|(at, key)| Some(KeyEntry::of(key?, at)));
        self.recent.extend(keyed);
    }

    /// A page is appended to the hidden log.
    pub(super) fn append_page(&mut self) -> Offset {
        let base = self.end;
        self.end = base.next();
        base
    }

    /// Puts a run in the place of those it was made of, or of recent entries. `start`: where the log
    /// begins.
    pub(super) fn put(&mut self, run: KeyRun, start: Offset) {
        let inside = |other: &KeyRun| other.first >= run.first && other.end <= run.end;
        let replaced: Vec<KeyRun> = self.runs.extract_if(.., |other| inside(other)).collect();
        replaced.iter().for_each(|run| self.give_up(run));
        if run.end > self.from {
            self.recent.retain(|entry| entry.offset >= run.end);
            self.from = run.end;
        }
        if run.end <= start || run.pages.is_empty() {
            return self.give_up(&run);
        }
        if io::planted("key-run-forgotten") && run.level == 0 && run.first.0 % 2 == 1 {
            return self.give_up(&run);
        }
        let at = self.runs.partition_point(|other| other.first < run.first);
        self.runs.insert(at, run);
    }

    /// The log begins at `start` now.
    pub(super) fn trim(&mut self, start: Offset) {
        let gone: Vec<KeyRun> = self.runs.extract_if(.., |run| run.end <= start).collect();
        gone.iter().for_each(|run| self.give_up(run));
        if start > self.from {
            self.recent.retain(|entry| entry.offset >= start);
        }
    }

    /// Gives up the pages that are in no run: whoever wrote them did not come to put them into one.
    pub(super) fn give_up_strays(&mut self) {
        let kept: BTreeSet<Offset> =
            self.runs.iter().flat_map(|run| &run.pages).map(|page| page.at).collect();
        let mut next = self.ledger.floor();
        for at in kept.into_iter().chain([self.end]) {
            if next < at {
                self.ledger.settle(Span::new(next, at));
            }
            next = at.next().max(next);
        }
    }

    fn give_up(&mut self, run: &KeyRun) {
        run.pages.iter().for_each(|page| {
            self.ledger.settle(Span::one(page.at));
        });
    }
}

#[cfg(test)]
mod tests;
