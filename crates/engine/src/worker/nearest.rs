//! Of many things that are due some time, those that are next: a bounded number, ordered. The rest is
//! found by walking through all of them, some a turn, when the nearest run low.

use std::collections::BTreeSet;
use types::{Millis, Offset};

/// Things that are walked through in one turn.
const WALK_PER_TURN: usize = 16 << 10;

/// A thing's place in the order of due times.
pub(super) type Turn = (Millis, Offset);

/// The nearest of what is due some time.
#[derive(Debug)]
pub(super) struct Nearest {
    /// All before the horizon.
    near: BTreeSet<Turn>,
    /// `None`: nothing lies beyond.
    horizon: Option<Turn>,
    walk: Option<Walk>,
    near_max: usize,
}

/// A walk for the nearest beyond the horizon, by offset.
#[derive(Debug, Default)]
struct Walk {
    next: Offset,
    found: BTreeSet<Turn>,
    /// The first of those that were seen and not kept.
    beyond: Option<Turn>,
}

/// What a walk comes by.
pub(super) struct Seen {
    /// Where it goes on.
    pub(super) next: Offset,
    /// What is there, if it is to be found.
    pub(super) turn: Option<Turn>,
}

impl Nearest {
    /// `unseen`: there are things that nobody has looked at.
    pub(super) fn new(near_max: usize, unseen: bool) -> Nearest {
        let horizon = unseen.then_some((Millis(i64::MIN), Offset(i64::MIN)));
        Nearest { near: BTreeSet::new(), horizon, walk: None, near_max }
    }

    /// There is something more.
    pub(super) fn add(&mut self, turn: Turn) {
        if self.horizon.is_some_and(|horizon| turn >= horizon) {
            let room = self.near_max / 2;
            if let Some(walk) = &mut self.walk {
                // It may have passed there.
                walk.note(turn, room);
            }
            return;
        }
        self.near.insert(turn);
        if self.near.len() > self.near_max {
            self.horizon = self.near.iter().nth(self.near_max / 2).copied();
            if let Some(horizon) = self.horizon {
                self.near.split_off(&horizon);
            }
            // It looked beyond the old horizon.
            self.walk = None;
        }
    }

    /// The next one.
    pub(super) fn first(&self) -> Option<Turn> {
        self.near.first().copied()
    }

    /// Takes out the next one if it is due at `now`.
    pub(super) fn pop_due(&mut self, now: Millis) -> Option<Turn> {
        let first = self.first().filter(|(due, _)| *due <= now)?;
        self.near.remove(&first);
        Some(first)
    }

    /// More have to be looked for.
    pub(super) fn is_low(&self) -> bool {
        self.horizon.is_some() && self.near.len() <= self.near_max / 4
    }

    /// Where a walk that has begun goes on.
    pub(super) fn walk_from(&self) -> Option<Offset> {
        self.walk.as_ref().map(|walk| walk.next)
    }

    /// Looks at the next things beyond the horizon. When `all` ends before it was enough for a turn,
    /// there are no more.
    pub(super) fn walk(&mut self, all: impl Iterator<Item = Seen>) {
        let Some(horizon) = self.horizon else { return };
        let room = self.near_max / 2;
        let walk = self.walk.get_or_insert_default();
        let mut left = WALK_PER_TURN;
        for seen in all {
            if left == 0 {
                return;
            }
            left -= 1;
            walk.next = seen.next;
            if let Some(turn) = seen.turn.filter(|turn| *turn >= horizon) {
                walk.note(turn, room);
            }
        }
        if let Some(done) = self.walk.take() {
            self.near.extend(done.found);
            self.horizon = done.beyond;
        }
    }
}

impl Walk {
    /// Keeps something if it is one of the nearest.
    fn note(&mut self, turn: Turn, room: usize) {
        self.found.insert(turn);
        if self.found.len() > room
            && let Some(last) = self.found.pop_last()
        {
            self.beyond = Some(self.beyond.map_or(last, |beyond| beyond.min(last)));
        }
    }
}
