//! Who holds which message: a set of offsets for each holder, since what is in flight comes in runs.

use crate::Span;
use crate::offset_set::OffsetSet;
use std::collections::BTreeMap;
use types::Offset;

/// Leases by holder, one at most for each offset.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// By the slot of who holds them, by which attempt to deliver them it is (1 is the first), and by
    /// their level. None is empty.
    sets: BTreeMap<(u32, u16, u8), OffsetSet>,
    len: u64,
}

impl Leases {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn contains(&self, offset: Offset) -> bool {
        self.sets.values().any(|set| set.contains(offset))
    }

    /// Notes the leases of offsets that have none.
    pub(super) fn insert(&mut self, holder: u32, (attempt, level): (u16, u8), span: Span) {
        let new = self.sets.entry((holder, attempt, level)).or_default().insert(span);
        debug_assert_eq!(new, span.len(), "leased twice: {span:?}");
        self.len += new;
    }

    /// Ends the leases of `holder` in `span`. Each run of them is given to `ended` with its attempt
    /// and level, in order as far as those are the same. Gives how many they were.
    pub(super) fn take(
        &mut self,
        holder: u32,
        span: Span,
        mut ended: impl FnMut((u16, u8), Span),
    ) -> u64 {
        let (mut count, mut emptied) = (0, false);
        let all = (holder, 0, 0)..=(holder, u16::MAX, u8::MAX);
        for (&(_, attempt, level), set) in self.sets.range_mut(all.clone()) {
            let before = set.len();
            set.remove(span, |run| ended((attempt, level), run));
            count += before - set.len();
            emptied |= set.is_empty();
        }
        if emptied {
            self.sets.extract_if(all, |_, set| set.is_empty()).for_each(drop);
        }
        self.len -= count;
        count
    }

    /// Ends all leases in `span`; gives how many of each holder.
    pub(super) fn take_all(&mut self, span: Span) -> BTreeMap<u32, u64> {
        let mut ended = BTreeMap::new();
        for (&(holder, ..), set) in &mut self.sets {
            let before = set.len();
            set.remove(span, |_| {});
            if set.len() < before {
                *ended.entry(holder).or_default() += before - set.len();
            }
        }
        if !ended.is_empty() {
            self.sets.retain(|_, set| !set.is_empty());
        }
        self.len -= ended.values().sum::<u64>();
        ended
    }

    /// Memory held, in bytes, without the slack of tree nodes.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let of = |set: &OffsetSet| size_of::<((u32, u16, u8), OffsetSet)>() + set.heap_bytes();
        self.sets.values().map(of).sum()
    }
}

#[cfg(test)]
mod tests;
