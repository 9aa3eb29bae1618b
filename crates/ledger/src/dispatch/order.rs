//! What comes next where arrival does not decide alone: the highest level first, of that what waits
//! for no other of its key, and then arrival.

use super::keys::Keys;
use super::parking::Parked;
use super::rewinding::split;
use super::sessions::Who;
use super::{History, Picked, View};
use crate::offset_set::OffsetSet;
use crate::{Ledger, Rewound, Span};
use std::collections::BTreeMap;
use types::Offset;

/// Delivery of a queue with levels, or in the order of keys.
#[derive(Debug)]
pub(super) struct Order {
    /// By level.
    fronts: Vec<Front>,
    /// Of the offsets from here on, `passed` are not to be handed out for the first time any more.
    base: Offset,
    passed: u64,
    guard: Option<Guard>,
    /// Where of each key one message at a time is handed out, or so many.
    keys: Option<Keys>,
    /// The key of the message that was picked last.
    picked: Option<u64>,
}

/// What a level has that can go.
#[derive(Clone, Copy)]
enum Head {
    /// This one, which came back, or is at the cursor.
    Next(Offset),
    /// This one, which waited for others of its key.
    Blocked(Offset),
}

/// A key has to be told first.
struct Untold;

/// Where delivery of one level stands.
#[derive(Debug)]
struct Front {
    /// From here on nothing of the level was handed out or taken out.
    cursor: Offset,
    /// From the cursor up to here, everything is ready, of this level, and its history is alike.
    alike_until: Offset,
    /// What came back, and its counted returns. After a rewind some of it may lie at or above the
    /// cursor, and is aside there.
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
        Some(Order::from_floor(ledger, usize::from(ledger.level_max()?) + 1))
    }

    pub(super) fn from_floor(ledger: &Ledger, levels: usize) -> Order {
        let cursor = ledger.floor();
        let front = || Front { cursor, alike_until: cursor, returned: BTreeMap::new() };
        Order {
            fronts: (0..levels).map(|_| front()).collect(),
            base: cursor,
            passed: ledger.settled_above_floor(),
            guard: None,
            keys: None,
            picked: None,
        }
    }

    pub(super) fn order_by_key(&mut self, at_once: u32) {
        self.keys = Some(Keys::new(at_once));
    }

    /// What waits for its time holds its key, whatever that is.
    pub(super) fn wait(&mut self, offset: Offset) {
        if let Some(keys) = &mut self.keys {
            keys.wait(offset);
        }
    }

    pub(super) fn take_wanted(&mut self) -> Option<Offset> {
        self.keys.as_mut()?.take_wanted()
    }

    pub(super) fn tell_keys(&mut self, first: Offset, keys: impl Iterator<Item = Option<u64>>) {
        if let Some(known) = &mut self.keys {
            known.tell(first, keys);
        }
    }

    /// What was picked last is with a holder; `settled`: and settled.
    pub(super) fn leased(&mut self, offset: Offset, slot: u32, settled: bool) {
        match (&mut self.keys, self.picked.take()) {
            (Some(keys), Some(key)) if settled => keys.take_session(key, slot),
            (Some(keys), Some(key)) => keys.lock(offset, key, slot),
            _ => {}
        }
    }

    pub(super) fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    pub(super) fn keys_mut(&mut self) -> Option<&mut Keys> {
        self.keys.as_mut()
    }

    /// Whose what was picked last is.
    pub(super) fn owner_of_picked(&self) -> Option<u32> {
        self.keys.as_ref()?.owner(self.picked?)
    }

    /// Leases have ended.
    pub(super) fn ended(&mut self, run: Span) {
        if let Some(keys) = &mut self.keys {
            run.offsets().for_each(|offset| keys.end(offset));
        }
    }

    /// What was leased is ready again.
    pub(super) fn come_back(&mut self, level: u8, run: Span, returns: u16) {
        let level = usize::from(level);
        for offset in run.offsets() {
            let keys = self.keys.as_mut();
            if !keys.is_some_and(|keys| keys.come_back((level, offset), returns)) {
                self.fronts[level].returned.insert(offset, returns);
            }
        }
    }

    /// A message of the key that was picked last goes out.
    fn spend(&mut self) {
        if let (Some(keys), Some(key)) = (&mut self.keys, self.picked) {
            keys.spend(key);
        }
    }

    /// The keys, where messages go by them.
    pub(super) fn limited_keys(&mut self) -> Option<&mut Keys> {
        self.keys.as_mut()
    }

    pub(super) fn take_oldest_every(&mut self, every: u32) {
        let every = every.max(1);
        self.guard = Some(Guard { every, left: every - 1 });
    }

    pub(super) fn level_count(&self) -> usize {
        self.fronts.len()
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
        for span in spans {
            let Some(keys) = &mut self.keys else { break };
            let overdue = keys.blocked_in(*span, |it| it.returns.is_some_and(|times| times > most));
            for place in overdue {
                keys.unblock(place);
                taken.push(Span::one(place.1));
            }
        }
        Span::order_since(taken, kept);
    }

    pub(super) fn take_ready(
        &mut self,
        (view, parked): (View<'_>, &mut Parked),
        (count, level): (u64, Option<usize>),
        out: &mut Vec<Span>,
    ) -> u64 {
        let (mut taken, kept) = (0, out.len());
        while taken < count
            && let Some(level) = self.highest((view, parked), level)
        {
            let blocked = self.keys.as_ref().and_then(|keys| keys.first_blocked(level));
            let next = self.find_next((view, parked), level);
            if let Some(offset) = blocked.filter(|&it| next.is_none_or(|other| it < other)) {
                self.keys.as_mut().and_then(|keys| keys.unblock((level, offset)));
                taken += 1;
                Span::push_since(out, kept, Span::one(offset));
                continue;
            }
            let Some(next) = next else { break };
            let front = &mut self.fronts[level];
            let run = match front.returned.remove(&next) {
                Some(_) => Span::one(next),
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
        (level, parked): (Option<usize>, &Parked),
    ) -> Option<Offset> {
        let head = |level: usize| {
            let front = &self.fronts[level];
            let returned = front.returned.first_key_value().map(|(&offset, _)| offset);
            let blocked = self.keys.as_ref().and_then(|keys| keys.first_blocked(level));
            let fresh = || {
                let mut next = next_at(ledger, level, front.cursor, end)?;
                while parked.next_aside(next) == Some(next) {
                    next = next_at(ledger, level, next.next(), end)?;
                }
                Some(next)
            };
            let back = returned.into_iter().chain(blocked).min();
            match back.filter(|back| *back < front.cursor) {
                None => back.into_iter().chain(fresh()).min(),
                first => first,
            }
        };
        match level {
            Some(level) => head(level),
            None => (0..self.fronts.len()).rev().find_map(head),
        }
    }

    /// The ledger settled a span, and not because of what was settled here.
    pub(super) fn forget(&mut self, ledger: &Ledger, span: Span) {
        for front in &mut self.fronts {
            front.returned.extract_if(span.first..span.end, |_, _| true).for_each(drop);
        }
        if let Some(keys) = &mut self.keys {
            keys.forget(span);
        }
        if ledger.levels().is_none() {
            let front = &mut self.fronts[0];
            front.cursor = front.cursor.max(ledger.floor());
        }
        self.look_again();
        self.count_again(ledger);
    }

    /// Counts anew what is to be handed out for the first time.
    pub(super) fn count_again(&mut self, ledger: &Ledger) {
        let Some(levels) = ledger.levels() else {
            self.base = self.fronts[0].cursor;
            self.passed = ledger.settled_in(Span::new(self.base, Offset(i64::MAX)));
            return;
        };
        let fronts = self.fronts.iter().enumerate();
        let ahead = |front: &Front| Span::new(front.cursor, Offset(i64::MAX));
        let fresh = fronts.map(|(level, front)| levels.at(level).count_in(ahead(front)));
        self.base = ledger.floor();
        self.passed = Span::new(self.base, levels.end()).len().saturating_sub(fresh.sum());
    }

    /// The ledger was rewound: the cursors go back, and what of it was not settled and lies before them
    /// is given to `put`, to be passed over, and of the rest what was aside.
    pub(super) fn spare(
        &mut self,
        (ledger, rewound): (&Ledger, &Rewound),
        was_aside: &OffsetSet,
        put: &mut impl FnMut(Span),
    ) {
        for (level, front) in self.fronts.iter_mut().enumerate() {
            match ledger.levels() {
                None => split(&rewound.spared, front.cursor, was_aside, put),
                Some(levels) => {
                    let of_level = levels.at(level);
                    let mut at = rewound.from;
                    for span in &rewound.spared {
                        at = at.max(span.first);
                        while let Some(first) =
                            of_level.next_present(at).filter(|it| *it < span.end)
                        {
                            at = of_level.next_absent(first).min(span.end);
                            split(&[Span::new(first, at)], front.cursor, was_aside, put);
                        }
                    }
                }
            }
            front.cursor = front.cursor.min(rewound.from.max(ledger.floor()));
            front.alike_until = front.cursor;
        }
    }

    /// Whether a message came back, or was passed over since its key is held.
    pub(super) fn has_back(&self, level: u8, offset: Offset) -> bool {
        let level = usize::from(level);
        self.fronts[level].returned.contains_key(&offset)
            || self.keys.as_ref().is_some_and(|keys| keys.is_blocked((level, offset)))
    }

    /// Takes out a message that came back, or was passed over since its key is held. False when it was
    /// neither.
    pub(super) fn take_back(&mut self, level: u8, offset: Offset) -> bool {
        let level = usize::from(level);
        self.fronts[level].returned.remove(&offset).is_some()
            || self.keys.as_mut().is_some_and(|keys| keys.unblock((level, offset)).is_some())
    }

    pub(super) fn ready_count(&self, end: Offset) -> u64 {
        let fresh = Span::new(self.base, end).len().saturating_sub(self.passed);
        let returned = self.fronts.iter().map(|front| front.returned.len() as u64);
        let blocked = self.keys.as_ref().map_or(0, |keys| keys.blocked_count() as u64);
        fresh + returned.sum::<u64>() + blocked
    }

    /// Nothing came back that is still here.
    pub(super) fn is_idle(&self) -> bool {
        let blocked = self.keys.as_ref().map_or(0, Keys::blocked_count);
        blocked == 0 && self.fronts.iter().all(|front| front.returned.is_empty())
    }

    /// Takes the next ready message out of delivery that `len_of` does not pass over.
    pub(super) fn pick(
        &mut self,
        (view, parked): (View<'_>, &mut Parked),
        skipped: &mut Vec<Span>,
        who: &mut Who<'_>,
        len_of: &mut impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Picked> {
        while let Some((level, head)) = self.next_head((view, parked), who).unwrap_or_default() {
            let (offset, history, is_fresh) = self.take_head(view, level, head);
            if let Some(bytes) = len_of(offset) {
                self.count(1);
                self.spend();
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
        let run_max = if self.keys.is_some() { 1 } else { run_max };
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

    /// What is to go next: its level, and where it is there.
    fn next_head(
        &mut self,
        (view, parked): (View<'_>, &mut Parked),
        who: &mut Who<'_>,
    ) -> Result<Option<(usize, Head)>, Untold> {
        let is_oldest_due = self.guard.as_ref().is_some_and(|guard| guard.left == 0);
        let mut oldest: Option<(Offset, usize, Head)> = None;
        for level in (0..self.fronts.len()).rev() {
            let Some((offset, head)) = self.head((view, parked), who, level)? else { continue };
            if !is_oldest_due {
                return Ok(Some((level, head)));
            }
            if oldest.is_none_or(|(other, ..)| offset < other) {
                oldest = Some((offset, level, head));
            }
        }
        Ok(oldest.map(|(_, level, head)| (level, head)))
    }

    /// What of a level is to go next. What waits for others of its key is blocked.
    fn head(
        &mut self,
        (view, parked): (View<'_>, &mut Parked),
        who: &mut Who<'_>,
        level: usize,
    ) -> Result<Option<(Offset, Head)>, Untold> {
        loop {
            let next = self.find_next((view, parked), level);
            let Some(keys) = &mut self.keys else {
                return Ok(next.map(|it| (it, Head::Next(it))));
            };
            if !keys.hold_waiting() {
                return Err(Untold);
            }
            let free = match self.guard.as_ref().is_some_and(|guard| guard.left == 0) {
                true => keys.oldest_free(level, who),
                false => keys.first_free(level, who),
            };
            let free = free.map(|offset| (offset, Head::Blocked(offset)));
            let Some(next) = next else { return Ok(free) };
            if free.is_some_and(|(free, _)| free < next) {
                return Ok(free);
            }
            let Some(key) = keys.of(next) else { return Err(Untold) };
            if keys.has_no_room_for(key) {
                return Ok(free);
            }
            let Some(key) = key.filter(|&key| !keys.may_go(key, who)) else {
                return Ok(Some((next, Head::Next(next))));
            };
            if keys.is_full() {
                return Ok(free);
            }
            keys.pass(next);
            let returns = self.fronts[level].returned.remove(&next);
            if returns.is_none() {
                self.pass(level);
            }
            if let Some(keys) = &mut self.keys {
                keys.block((level, next), key, returns);
            }
        }
    }

    /// Takes out what is to go next, and tells what is known of it: whether it comes for the first time
    /// from the cursor is the last.
    fn take_head(&mut self, view: View<'_>, level: usize, head: Head) -> (Offset, History, bool) {
        let known = |offset| History::of(view.ledger, offset, view.redelivered_before);
        if let (Head::Blocked(offset), Some(keys)) = (head, &mut self.keys)
            && let Some((key, blocked)) = keys.unblock((level, offset))
        {
            self.picked = Some(key);
            let history = blocked.returns.map_or_else(|| known(offset), History::after);
            return (offset, history, false);
        }
        let (Head::Next(offset) | Head::Blocked(offset)) = head;
        let (history, is_fresh) = match self.fronts[level].returned.remove(&offset) {
            Some(returns) => (History::after(returns), false),
            None => {
                self.pass(level);
                (known(offset), true)
            }
        };
        if let Some(keys) = &mut self.keys {
            self.picked = keys.of(offset).flatten();
            keys.pass(offset);
        }
        (offset, history, is_fresh)
    }

    /// The cursor of a level goes on by one.
    fn pass(&mut self, level: usize) {
        let front = &mut self.fronts[level];
        front.cursor = front.cursor.next();
        self.passed += 1;
    }

    /// What of a level came back, or is at the cursor, whichever is first.
    fn find_next(
        &mut self,
        (view, parked): (View<'_>, &mut Parked),
        level: usize,
    ) -> Option<Offset> {
        let front = &self.fronts[level];
        let returned = front.returned.first_key_value().map(|(&offset, _)| offset);
        if returned.is_some_and(|returned| returned < front.cursor) {
            return returned;
        }
        let is_there = self.find_ready((view, parked), level);
        returned.into_iter().chain(is_there.then_some(self.fronts[level].cursor)).min()
    }

    /// The highest level with something ready, or the given one if it has. Its front stands there.
    fn highest(
        &mut self,
        (view, parked): (View<'_>, &mut Parked),
        level: Option<usize>,
    ) -> Option<usize> {
        let levels = self.fronts.len();
        let mut has = |level: usize| {
            let keys = self.keys.as_ref();
            keys.is_some_and(|keys| keys.first_blocked(level).is_some())
                || self.find_next((view, parked), level).is_some()
        };
        match level {
            Some(level) => has(level).then_some(level),
            None => (0..levels).rev().find(|&level| has(level)),
        }
    }

    /// Moves the cursor of a level to its next ready offset. What is parked it passes.
    fn find_ready(&mut self, (view, parked): (View<'_>, &mut Parked), level: usize) -> bool {
        let View { ledger, end, redelivered_before } = view;
        let front = &mut self.fronts[level];
        if front.cursor < front.alike_until {
            return front.cursor < end;
        }
        let next = loop {
            let Some(next) = next_at(ledger, level, front.cursor, end) else { return false };
            if parked.next_aside(next) != Some(next) {
                break next;
            }
            parked.pass(next, next.next());
            front.cursor = next.next();
            self.passed += 1;
        };
        front.cursor = next;
        front.alike_until = match ledger.levels() {
            Some(levels) => levels.at(level).next_absent(next),
            None => ledger.next_settled(next).unwrap_or(Offset(i64::MAX)),
        };
        if let Some(returned) = ledger.next_returned(next) {
            let bound = if returned == next { next.next() } else { returned };
            front.alike_until = front.alike_until.min(bound);
        }
        if let Some(parked) = parked.next_aside(next) {
            front.alike_until = front.alike_until.min(parked);
        }
        if next < redelivered_before {
            front.alike_until = front.alike_until.min(redelivered_before);
        }
        true
    }

    /// Whether delivery has not come to an offset of a level yet.
    pub(super) fn is_ahead(&self, level: u8, offset: Offset) -> bool {
        self.fronts[usize::from(level)].cursor <= offset
    }

    /// Something may be aside now that was not.
    pub(super) fn look_again(&mut self) {
        self.fronts.iter_mut().for_each(|front| front.alike_until = front.cursor);
    }
}

/// The first unsettled offset of a level in `[from, end)`.
fn next_at(ledger: &Ledger, level: usize, from: Offset, end: Offset) -> Option<Offset> {
    match ledger.levels() {
        Some(levels) => levels.at(level).next_present(from).filter(|&next| next < end),
        None => ledger.next_unsettled(from, end),
    }
}
