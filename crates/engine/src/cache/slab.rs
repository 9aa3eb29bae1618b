//! Neighbouring batches of a log that were loaded together and stay together.
//!
//! Of small batches what costs is not the bytes but that each has an allocation, an entry here and
//! there and a look-up. So they lie in one piece of memory, are found by offset, and are given by the
//! row to whoever reads whole batches. What a log has at an offset never changes, wherever it is
//! copied to, so nothing here has to follow the index.

#[cfg(test)]
mod tests;

use crate::index::Run;
use bytes::Bytes;
use types::{LogId, Offset};

/// A row that is less than one part in so many of its slab is copied out of it: it must not keep all
/// of it in memory.
const SHARED_PART: usize = 2;

/// Batches of a log, in order.
#[derive(Debug)]
pub(crate) struct Slab {
    pub(crate) log: LogId,
    marks: Vec<Mark>,
    bytes: Bytes,
}

/// A batch in a slab.
#[derive(Clone, Copy, Debug)]
struct Mark {
    first: Offset,
    count: u32,
    /// Where its bytes end.
    end: u32,
}

/// Batches that lie back to back and whose offsets have no hole.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) bytes: Bytes,
    /// The offset after its last record.
    pub(crate) end: Offset,
}

/// Makes a slab of batches in order.
#[derive(Debug)]
pub(crate) struct Marks {
    log: LogId,
    marks: Vec<Mark>,
    end: u32,
}

impl Marks {
    pub(crate) fn new(log: LogId, count: usize) -> Marks {
        Marks { log, marks: Vec::with_capacity(count), end: 0 }
    }

    /// The next batch: its offsets and length.
    pub(crate) fn push(&mut self, (first, count): (Offset, u32), len: usize) {
        self.end += u32::try_from(len).expect("a piece is no longer than a batch may be");
        self.marks.push(Mark { first, count, end: self.end });
    }

    /// The batches lie in `bytes` back to back; `None` if there are none.
    pub(crate) fn over(self, bytes: Bytes) -> Option<Slab> {
        assert_eq!(self.end as usize, bytes.len(), "all that was read is marked");
        let Marks { log, marks, .. } = self;
        (!marks.is_empty()).then_some(Slab { log, marks, bytes })
    }
}

impl Slab {
    /// The offset of its first record.
    pub(crate) fn first(&self) -> Offset {
        self.marks[0].first
    }

    /// The offset after its last record.
    pub(crate) fn end(&self) -> Offset {
        let last = self.marks[self.marks.len() - 1];
        last.first.plus(last.count)
    }

    /// Whether it has a batch of these offsets.
    pub(crate) fn has(&self, log: LogId, run: &Run) -> bool {
        self.log == log && self.position(run).is_some()
    }

    /// A copy of a batch that keeps nothing else in memory.
    pub(crate) fn batch(&self, run: &Run) -> Option<Bytes> {
        let mut at = self.position(run)?;
        if io::planted("slab-neighbour-read") && at + 1 < self.marks.len() {
            at += 1;
        }
        Some(Bytes::copy_from_slice(&self.bytes[self.start(at)..self.marks[at].end as usize]))
    }

    /// The batch of `first` and those of the runs behind it, in `bytes_max` if it is not the only one.
    pub(crate) fn row(
        &self,
        first: &Run,
        behind: impl Iterator<Item = Run>,
        bytes_max: usize,
    ) -> Option<Row> {
        let at = self.position(first)?;
        let start = self.start(at);
        let mut last = self.marks[at];
        for (mark, run) in self.marks[at + 1..].iter().zip(behind) {
            let is_next = io::planted("row-over-hole")
                || mark.is(&run) && mark.first == last.first.plus(last.count);
            if !is_next || mark.end as usize - start > bytes_max {
                break;
            }
            last = *mark;
        }
        let range = start..last.end as usize;
        let is_most = range.len() * SHARED_PART >= self.bytes.len();
        let bytes = match is_most {
            true => self.bytes.slice(range),
            false => Bytes::copy_from_slice(&self.bytes[range]),
        };
        Some(Row { bytes, end: last.first.plus(last.count) })
    }

    /// Bytes it takes in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.len() + self.marks.capacity() * size_of::<Mark>()
    }

    fn position(&self, run: &Run) -> Option<usize> {
        let at = self.marks.binary_search_by_key(&run.first, |mark| mark.first).ok()?;
        self.marks[at].is(run).then_some(at)
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.marks[before].end as usize)
    }
}

impl Mark {
    fn is(&self, run: &Run) -> bool {
        (self.first, self.count) == (run.first, run.count)
    }
}
