//! What is known of the log that indexes its keys: where the records of each key are, and behind what
//! those came that expected something.

use super::{Id, Violation, broken, key_of};
use std::collections::{BTreeMap, BTreeSet};
use types::Offset;

/// Set in what is sent to that log with its key.
const EVENT: u64 = 1 << 38;

impl Id {
    /// The id for a record that has its key in the log that indexes keys. It comes in an order of its
    /// own: one that looks at the disk first is passed by others.
    pub(crate) fn event(self) -> Id {
        Id(self.0 | EVENT).unordered()
    }

    pub(crate) fn is_event(self) -> bool {
        self.0 & EVENT != 0
    }
}

/// An append that found what it had expected.
#[derive(Clone, Copy, Debug)]
struct Taken {
    key: u64,
    last: Option<Offset>,
    base: Offset,
}

#[derive(Debug, Default)]
pub(crate) struct Events {
    by_key: BTreeMap<u64, BTreeSet<Offset>>,
    taken: Vec<Taken>,
    /// Records before may be gone.
    trimmed: Offset,
}

impl Events {
    /// Records before may be gone from now on.
    pub(crate) fn trim_asked(&mut self, before: Offset) {
        self.trimmed = self.trimmed.max(before);
        let trimmed = self.trimmed;
        self.taken.retain(|taken| taken.base >= trimmed);
    }

    /// Where the records of a key are known to be.
    pub(crate) fn of_key(&self, key: u64) -> Vec<Offset> {
        self.by_key.get(&key).into_iter().flatten().copied().collect()
    }

    /// A record is at an offset for certain.
    pub(crate) fn noted(&mut self, id: Id, offset: Offset) -> Result<(), Violation> {
        let key = key_of(id);
        self.by_key.entry(key).or_default().insert(offset);
        let between = |taken: &&Taken| {
            taken.key == key && offset < taken.base && taken.last.is_none_or(|last| offset > last)
        };
        match self.taken.iter().find(between).filter(|_| offset >= self.trimmed) {
            Some(taken) => broken(format!("{id:?} at {offset} was not seen by {taken:?}")),
            None => Ok(()),
        }
    }

    /// An append was taken that expected something of its key.
    pub(crate) fn taken(
        &mut self,
        key: u64,
        last: Option<Offset>,
        base: Offset,
    ) -> Result<(), Violation> {
        let taken = Taken { key, last, base };
        let first = last.map_or(Offset(0), Offset::next).max(self.trimmed);
        let offsets = self.by_key.entry(key).or_default();
        if last.is_some_and(|last| last >= base) {
            return broken(format!("{taken:?} comes before what it follows"));
        }
        if let Some(between) = offsets.range(first.min(base)..base).next() {
            return broken(format!("{taken:?} did not see the record at {between}"));
        }
        self.taken.push(taken);
        Ok(())
    }

    /// An append was refused: it expected `expected`, and the last record is said to be at `there`.
    /// `known`: the last one that was known when it was sent.
    pub(crate) fn refused(
        &self,
        (expected, there): (Option<Offset>, Option<Offset>),
        known: Option<Offset>,
    ) -> Result<(), Violation> {
        let known = known.filter(|known| *known >= self.trimmed);
        match expected == there || known > there {
            true => {
                broken(format!("refused, expecting {expected:?} at {there:?}, known {known:?}"))
            }
            false => Ok(()),
        }
    }

    /// A key was read from the beginning to before `end`. `known`: where its records were known to be
    /// when that was asked for.
    pub(crate) fn read(
        &self,
        known: &[Offset],
        found: &BTreeSet<Offset>,
        end: Offset,
    ) -> Result<(), Violation> {
        let there = known.iter().filter(|at| **at >= self.trimmed && **at < end);
        match there.copied().find(|at| !found.contains(at)) {
            Some(missing) => broken(format!("a record of the key at {missing} is not found")),
            None => Ok(()),
        }
    }
}
