//! Which level each unsettled message has, where a queue has levels.

use crate::Span;
use crate::offset_set::OffsetSet;
use serde::{Deserialize, Serialize};
use types::Offset;

/// The unsettled offsets of a log by level: each is in one of the sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Levels {
    /// By level, from 0 on.
    sets: Vec<OffsetSet>,
    /// Everything below has, or had, a level.
    end: Offset,
}

impl Levels {
    /// Levels from 0 up to `max`, for what is appended from `start` on.
    pub(crate) fn new(start: Offset, max: u8) -> Levels {
        Levels { sets: vec![OffsetSet::default(); usize::from(max) + 1], end: start }
    }

    pub(crate) fn max(&self) -> u8 {
        u8::try_from(self.sets.len() - 1).unwrap_or(u8::MAX)
    }

    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// What is appended: a level above the highest counts as that.
    pub(crate) fn insert(&mut self, span: Span, level: u8) {
        let span = Span::new(span.first.max(self.end), span.end);
        let level = level.min(self.max());
        self.sets[usize::from(level)].insert(span);
        self.end = self.end.max(span.end);
    }

    /// Gives the runs of each level to `each`.
    pub(crate) fn settle(&mut self, span: Span, mut each: impl FnMut(usize, Span)) {
        let mut left = span.len();
        let sets = self.sets.iter_mut().enumerate().rev();
        for (level, set) in sets.filter(|(_, set)| !set.is_empty()) {
            let before = set.len();
            set.remove(span, |run| each(level, run));
            left = left.saturating_sub(before - set.len());
            if left == 0 {
                return;
            }
        }
    }

    /// What was settled at a level is not any more.
    pub(crate) fn bring_back(&mut self, level: usize, run: Span) {
        self.sets[level].insert(run);
    }

    pub(crate) fn of(&self, offset: Offset) -> Option<u8> {
        let at = self.sets.iter().position(|set| !set.is_empty() && set.contains(offset))?;
        u8::try_from(at).ok()
    }

    /// The offsets of one level.
    pub(crate) fn at(&self, level: usize) -> &OffsetSet {
        &self.sets[level]
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let sets = self.sets.iter().map(OffsetSet::heap_bytes).sum::<usize>();
        sets + self.sets.capacity() * size_of::<OffsetSet>()
    }

    /// Whether it can be what a ledger with this floor and so many settled offsets above it has. For
    /// what was read from the disk.
    pub(crate) fn fits(&self, floor: Offset, settled: u64) -> bool {
        let has = self.sets.iter().map(OffsetSet::len).fold(0, u64::saturating_add);
        let lowest = |set: &OffsetSet| set.next_present(Offset(i64::MIN));
        (2..=256).contains(&self.sets.len())
            && self.sets.iter().filter_map(lowest).all(|lowest| floor <= lowest)
            && Span::new(floor, self.end).len().checked_sub(settled) == Some(has)
    }
}
