//! What comes next where arrival does not decide alone: the highest level first, then arrival.

use super::{History, Picked, View};
use crate::{Ledger, Span};
use std::collections::BTreeMap;
use types::Offset;

/// Delivery of a queue with levels.
#[derive(Debug)]
pub(super) struct Order {
    /// By level.
    fronts: Vec<Front>,
    /// Of the offsets from here on, `passed` are not to be handed out for the first time any more.
    base: Offset,
    passed: u64,
    guard: Option<Guard>,
}

/// Where delivery of one level stands.
#[derive(Debug)]
struct Front {
    /// From here on nothing of the level was handed out or taken out.
    cursor: Offset,
    /// From the cursor up to here, everything is ready, of this level, and its history is alike.
    alike_until: Offset,
    /// What came back, and its counted returns: all of it before the cursor.
    returned: BTreeMap<Offset, u16>,
}

/// Every so often it is the oldest message's turn.
#[derive(Debug)]
struct Guard {
    every: u32,
    /// Messages until then.
    left: u32,
}

impl Order {
    /// From the ledger's floor on, if its queue has levels.
    pub(super) fn of(ledger: &Ledger) -> Option<Order> {
        let levels = usize::from(ledger.level_max()?) + 1;
        let cursor = ledger.floor();
        let front = || Front { cursor, alike_until: cursor, returned: BTreeMap::new() };
        Some(Order {
            fronts: (0..levels).map(|_| front()).collect(),
            base: cursor,
            passed: ledger.settled_above_floor(),
            guard: None,
        })
    }

    pub(super) fn take_oldest_every(&mut self, every: u32) {
        let every = every.max(1);
        self.guard = Some(Guard { every, left: every - 1 });
    }

    pub(super) fn level_count(&self) -> usize {
        self.fronts.len()
    }

    /// What of a level came back.
    pub(super) fn returned_at(&mut self, level: u8) -> &mut BTreeMap<Offset, u16> {
        &mut self.fronts[usize::from(level)].returned
    }

    pub(super) fn take_overdue(&mut self, spans: &[Span], most: u16, taken: &mut Vec<Span>) {
        let kept = taken.len();
        for front in self.fronts.iter_mut().filter(|front| !front.returned.is_empty()) {
            for span in spans {
                let overdue = |_: &Offset, returns: &mut u16| *returns > most;
                for (offset, _) in front.returned.extract_if(span.first..span.end, overdue) {
                    Span::push_since(taken, kept, Span::one(offset));
                }
            }
        }
        Span::order_since(taken, kept);
    }

    pub(super) fn take_ready(
        &mut self,
        view: View<'_>,
        (count, level): (u64, Option<usize>),
        out: &mut Vec<Span>,
    ) -> u64 {
        let (mut taken, kept) = (0, out.len());
        while taken < count
            && let Some(level) = self.highest(view, level)
        {
            let front = &mut self.fronts[level];
            let run = match front.returned.pop_first() {
                Some((offset, _)) => Span::one(offset),
                None => {
                    let run = Span::new(front.cursor, front.alike_until.min(view.end));
                    let len = run.len().min(count - taken);
                    front.cursor.0 += i64::try_from(len).expect("the distance of two offsets");
                    self.passed += len;
                    Span::new(run.first, front.cursor)
                }
            };
            taken += run.len();
            Span::push_since(out, kept, run);
        }
        Span::order_since(out, kept);
        taken
    }

    pub(super) fn peek(
        &self,
        ledger: &Ledger,
        end: Offset,
        level: Option<usize>,
    ) -> Option<Offset> {
        let head = |level: usize| {
            let front = &self.fronts[level];
            let returned = front.returned.first_key_value().map(|(&offset, _)| offset);
            let fresh = || ledger.levels()?.at(level).next_present(front.cursor);
            returned.or_else(|| fresh().filter(|&offset| offset < end))
        };
        match level {
            Some(level) => head(level),
            None => (0..self.fronts.len()).rev().find_map(head),
        }
    }

    /// The ledger settled a span, and not because of what was settled here.
    pub(super) fn forget(&mut self, ledger: &Ledger, span: Span) {
        let Some(levels) = ledger.levels() else { return };
        let mut fresh = 0;
        for (level, front) in self.fronts.iter_mut().enumerate() {
            front.returned.extract_if(span.first..span.end, |_, _| true).for_each(drop);
            front.alike_until = front.cursor;
            fresh += levels.at(level).count_in(Span::new(front.cursor, Offset(i64::MAX)));
        }
        self.base = ledger.floor();
        self.passed = Span::new(self.base, levels.end()).len().saturating_sub(fresh);
    }

    pub(super) fn ready_count(&self, end: Offset) -> u64 {
        let fresh = Span::new(self.base, end).len().saturating_sub(self.passed);
        let returned = self.fronts.iter().map(|front| front.returned.len() as u64);
        fresh + returned.sum::<u64>()
    }

    /// Nothing came back that is still here.
    pub(super) fn is_idle(&self) -> bool {
        self.fronts.iter().all(|front| front.returned.is_empty())
    }

    /// Takes the next ready message out of delivery that `len_of` does not pass over.
    pub(super) fn pick(
        &mut self,
        view: View<'_>,
        skipped: &mut Vec<Span>,
        len_of: &mut impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Picked> {
        while let Some(level) = self.next_level(view) {
            let front = &mut self.fronts[level];
            let (offset, history, is_fresh) = match front.returned.pop_first() {
                Some((offset, returns)) => (offset, History::after(returns), false),
                None => {
                    let offset = front.cursor;
                    front.cursor = offset.next();
                    self.passed += 1;
                    (offset, History::of(view.ledger, offset, view.redelivered_before), true)
                }
            };
            if let Some(bytes) = len_of(offset) {
                self.count(1);
                let level = u8::try_from(level).expect("256 levels at most");
                return Some(Picked { offset, bytes, history, level, is_fresh });
            }
            Span::push(skipped, Span::one(offset));
        }
        None
    }

    /// How far what follows the cursor of a level is like what was just picked there, and how many
    /// messages may go together.
    pub(super) fn run(&self, level: u8, run_max: u32) -> (Offset, u32) {
        let alike_until = self.fronts[usize::from(level)].alike_until;
        let left = self.guard.as_ref().map_or(run_max, |guard| guard.left.saturating_add(1));
        let follows_guard = self.guard.as_ref().is_some_and(|guard| guard.left + 1 == guard.every);
        (alike_until, if follows_guard { 1 } else { run_max.min(left) })
    }

    /// What follows the one that was just picked, up to `next`, is handed out with it.
    pub(super) fn ran(&mut self, level: u8, next: Offset) {
        let front = &mut self.fronts[usize::from(level)];
        let more = Span::new(front.cursor, next).len();
        front.cursor = next;
        self.passed += more;
        if more > 0 {
            self.count(u32::try_from(more).unwrap_or(u32::MAX));
        }
    }

    /// So many messages were handed out.
    fn count(&mut self, messages: u32) {
        if let Some(guard) = &mut self.guard {
            guard.left = match guard.left {
                0 => guard.every - 1,
                left => left.saturating_sub(messages),
            };
        }
    }

    fn next_level(&mut self, view: View<'_>) -> Option<usize> {
        let is_oldest_due = self.guard.as_ref().is_some_and(|guard| guard.left == 0);
        if !is_oldest_due {
            return self.highest(view, None);
        }
        let ready = (0..self.fronts.len())
            .filter(|&level| self.peek(view.ledger, view.end, Some(level)).is_some());
        let oldest = ready.min_by_key(|&level| self.peek(view.ledger, view.end, Some(level)))?;
        self.find_ready(view, oldest).then_some(oldest)
    }

    /// The highest level with something ready, or the given one if it has. Its front stands there.
    fn highest(&mut self, view: View<'_>, level: Option<usize>) -> Option<usize> {
        match level {
            Some(level) => self.find_ready(view, level).then_some(level),
            None => (0..self.fronts.len()).rev().find(|&level| self.find_ready(view, level)),
        }
    }

    /// Moves the cursor of a level to its next ready offset, unless something came back.
    fn find_ready(&mut self, view: View<'_>, level: usize) -> bool {
        let View { ledger, end, redelivered_before } = view;
        let front = &mut self.fronts[level];
        if !front.returned.is_empty() {
            return true;
        }
        if front.cursor < front.alike_until {
            return front.cursor < end;
        }
        let Some(set) = ledger.levels().map(|levels| levels.at(level)) else { return false };
        if set.is_empty() {
            return false;
        }
        let Some(next) = set.next_present(front.cursor).filter(|&next| next < end) else {
            return false;
        };
        front.cursor = next;
        front.alike_until = set.next_absent(next);
        if let Some(returned) = ledger.next_returned(next) {
            let bound = if returned == next { next.next() } else { returned };
            front.alike_until = front.alike_until.min(bound);
        }
        if next < redelivered_before {
            front.alike_until = front.alike_until.min(redelivered_before);
        }
        true
    }
}
