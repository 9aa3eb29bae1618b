//! What is settled and can be had again: of a queue that keeps what its consumers are done with, and of
//! a topic, whose log keeps everything for a time.

use super::Ledger;
use crate::Span;
use crate::levels::Levels;
use crate::offset_set::OffsetSet;
use serde::{Deserialize, Serialize};
use types::Offset;

/// What a ledger knows of what is settled beyond that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// What is settled is kept, as long as nobody says otherwise.
    on: bool,
    /// What was settled below is forgotten.
    from: Offset,
    /// Settled from there on, and not to be had again.
    gone: OffsetSet,
    /// Of what can be had again, by level; none where there are no levels.
    levels: Vec<OffsetSet>,
    /// Some of what lies before was brought back.
    again_before: Offset,
}

/// What a rewind did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewound {
    /// From here on what was settled is not any more.
    pub from: Offset,
    /// How many messages those are.
    pub count: u64,
    /// What had not been settled, from there on and in order: it stays where it is.
    pub spared: Vec<Span>,
}

impl Kept {
    fn new(floor: Offset) -> Kept {
        Kept {
            on: false,
            from: floor,
            gone: OffsetSet::default(),
            levels: Vec::new(),
            again_before: Offset(i64::MIN),
        }
    }

    fn forget_before(&mut self, before: Offset) {
        self.from = self.from.max(before);
        let forgotten = Span::new(Offset(i64::MIN), self.from);
        for set in self.levels.iter_mut().chain([&mut self.gone]).filter(|set| !set.is_empty()) {
            set.remove(forgotten, |_| {});
        }
    }

    /// Nothing of a span can be had again.
    fn withdraw(&mut self, span: Span) {
        let span = Span::new(span.first.max(self.from), span.end);
        self.gone.insert(span);
        for set in &mut self.levels {
            set.remove(span, |_| {});
        }
    }

    /// What is gone from the start on need not be remembered as that.
    fn trim(&mut self, floor: Offset) {
        if self.from < floor && self.gone.contains(self.from) {
            self.forget_before(self.gone.next_absent(self.from).min(floor));
        }
    }

    /// The first offset in `[from, end)`, all of which is settled, that can be had again.
    fn next(&self, from: Offset, end: Offset) -> Option<Offset> {
        let next = self.gone.next_absent(from.max(self.from));
        (next < end).then_some(next)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let sets = self.levels.iter().chain([&self.gone]).map(OffsetSet::heap_bytes).sum::<usize>();
        size_of::<Kept>() + sets + self.levels.capacity() * size_of::<OffsetSet>()
    }

    /// Whether it can belong to a ledger with these levels. For what was read from the disk.
    pub(super) fn fits(&self, levels: Option<&Levels>) -> bool {
        let wanted = levels.filter(|_| self.on).map_or(0, |levels| usize::from(levels.max()) + 1);
        let gone = self.gone.next_present(Offset(i64::MIN));
        self.levels.len() == wanted && gone.is_none_or(|gone| self.from <= gone)
    }
}

impl Ledger {
    /// Keeps from now on what is settled, or does not any more.
    pub fn keep_settled(&mut self, on: bool) {
        if on == self.keeps_settled() {
            return;
        }
        let again_before = self.again_before();
        let fresh = Kept { again_before, on, ..Kept::new(self.floor) };
        let kept = match on {
            true => {
                let levels = self.levels.as_ref().map_or(0, |levels| usize::from(levels.max()) + 1);
                let levels = vec![OffsetSet::default(); levels];
                Some(Kept { gone: self.settled.clone(), levels, ..fresh })
            }
            false => (self.floor < again_before).then_some(fresh),
        };
        self.past.get_or_insert_default().kept = kept.map(Box::new);
        self.forget(|_| {});
    }

    /// Whether what is settled is kept.
    pub fn keeps_settled(&self) -> bool {
        self.keeper().is_some()
    }

    fn kept(&self) -> Option<&Kept> {
        self.past.as_ref()?.kept.as_deref()
    }

    fn keeper(&self) -> Option<&Kept> {
        self.kept().filter(|kept| kept.on)
    }

    fn keeper_mut(&mut self) -> Option<&mut Kept> {
        self.past.as_mut()?.kept.as_deref_mut().filter(|kept| kept.on)
    }

    /// Settles levels of a span, and keeps them if what is settled is kept.
    pub(super) fn settle_levels(&mut self, span: Span) {
        let Some(levels) = &mut self.levels else { return };
        let kept = self.past.as_mut().and_then(|past| past.kept.as_deref_mut());
        match kept.filter(|kept| kept.on) {
            None => levels.settle(span, |_, _| {}),
            Some(kept) => {
                let kept_span = |run: Span| Span::new(run.first.max(kept.from), run.end);
                levels.settle(span, |level, run| {
                    kept.levels[level].insert(kept_span(run));
                });
            }
        }
    }

    /// Settles the offsets of `span`, which nobody can have again, nor what of them was settled before;
    /// gives how many were not. Where nothing is kept that is [`Ledger::settle`].
    pub fn withdraw(&mut self, span: Span) -> u64 {
        let newly = self.settle(span);
        let floor = self.floor;
        if let Some(kept) = self.keeper_mut() {
            kept.withdraw(span);
            kept.trim(floor);
        }
        newly
    }

    /// What is settled below `before`, or will be, cannot be had again.
    pub fn forget_settled(&mut self, before: Offset) {
        let floor = self.floor;
        if let Some(kept) = self.keeper_mut() {
            kept.forget_before(before);
            kept.trim(floor);
        }
    }

    /// What is settled from here on is kept, but for what was withdrawn. Where nothing is kept, the floor.
    pub fn kept_from(&self) -> Offset {
        self.keeper().map_or(self.floor, |kept| kept.from)
    }

    /// Below, nobody needs anything any more.
    pub fn needed_from(&self) -> Offset {
        self.kept_from().min(self.floor)
    }

    /// How many offsets below `end` are settled and kept, `end` being at or above all that are.
    pub fn kept_count(&self, end: Offset) -> u64 {
        let Some(kept) = self.keeper() else { return 0 };
        let below = Span::new(kept.from, self.floor.min(end)).len();
        let above = self.settled.count_in(Span::new(kept.from.max(self.floor), end));
        (below + above).saturating_sub(kept.gone.len())
    }

    /// Whether `offset` is settled and can be had again, as long as its log has it.
    pub fn is_kept(&self, offset: Offset) -> bool {
        self.is_settled(offset)
            && self.keeper().is_none_or(|kept| kept.next(offset, offset.next()) == Some(offset))
    }

    /// Whether nobody needs `count` records from `first` on any more: all are settled, and none is kept.
    pub fn is_run_dead(&self, first: Offset, count: u32) -> bool {
        let end = first.plus(count);
        self.next_unsettled(first, end).is_none()
            && self.keeper().is_none_or(|kept| kept.next(first, end).is_none())
    }

    /// How many offsets of `span` are settled or gone, and not kept.
    pub fn dead_in(&self, span: Span) -> u64 {
        let Some(kept) = self.keeper() else { return self.settled_in(span) };
        let before = self.settled_in(Span::new(span.first, span.end.min(kept.from)));
        before + kept.gone.count_in(span)
    }

    /// What lies before may have been delivered, as some of it was brought back.
    pub(crate) fn again_before(&self) -> Offset {
        self.kept().map_or(Offset(i64::MIN), |kept| kept.again_before)
    }

    /// What is settled from `from` on, up to the end of the log, is not settled any more, as far as it is
    /// kept: it is to be delivered again, as if it had never been returned. The log has to have it. What
    /// is not settled stays as it is.
    pub fn rewind(&mut self, from: Offset, end: Offset) -> Rewound {
        let from = self.keeper().map_or(from, |kept| kept.from.max(from));
        let (floor, before) = (self.floor, self.unsettled(end));
        let mut spared = Vec::new();
        let mut at = from.max(floor);
        while let Some(first) = self.next_unsettled(at, end) {
            at = self.settled.next_present(first).map_or(end, |next| next.min(end));
            spared.push(Span::new(first, at));
        }
        let gone = self.keeper().map_or_else(OffsetSet::default, |kept| kept.gone.clone());
        let last = self.last_kept(from, end, &gone);
        if from < floor {
            self.floor = gone.next_absent(from).min(floor);
            self.settled = OffsetSet::default();
        } else {
            self.settled.remove(Span::new(from, Offset(i64::MAX)), |_| {});
        }
        let mut at = from.max(self.floor);
        while let Some(first) = gone.next_present(at) {
            at = gone.next_absent(first);
            self.settled.insert(Span::new(first, at));
        }
        let brought = Span::new(from, end);
        let past = self.past.as_mut();
        let kept = past.and_then(|past| past.kept.as_deref_mut());
        if let (Some(levels), Some(kept)) = (&mut self.levels, kept) {
            for (level, set) in kept.levels.iter_mut().enumerate() {
                set.remove(brought, |run| levels.bring_back(level, run));
            }
        }
        if let Some(last) = last {
            let past = self.past.get_or_insert_default();
            let kept = past.kept.get_or_insert_with(|| Box::new(Kept::new(floor)));
            kept.again_before = kept.again_before.max(last.next());
        }
        Rewound { from, count: self.unsettled(end).saturating_sub(before), spared }
    }

    /// The last offset in `[from, end)` that is settled and not gone.
    fn last_kept(&self, from: Offset, end: Offset, gone: &OffsetSet) -> Option<Offset> {
        let mut last = None;
        let mut look = |run: Span| {
            let mut at = gone.next_absent(run.first);
            while at < run.end {
                let stop = gone.next_present(at).map_or(run.end, |next| next.min(run.end));
                last = Some(Offset(stop.0 - 1));
                at = gone.next_absent(stop);
            }
        };
        look(Span::new(from, self.floor.min(end)));
        let mut at = from.max(self.floor);
        while let Some(first) = self.settled.next_present(at).filter(|first| *first < end) {
            at = self.settled.next_absent(first).min(end);
            look(Span::new(first, at));
        }
        last
    }
}
