//! The entries of one schedule as its leader keeps them: the nearest at hand, the young ones in the
//! order of their due times, and how the next ones are found.

use super::{ACTIVATE_PER_TURN, PROPOSED_MAX};
use crate::command::Activation;
use crate::index::{LogRuns, PageKey, Row, Run, Turn, turn_of};
use crate::shard::Schedule;
use ledger::{Ledger, TimerId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use types::{Millis, Offset};

/// Of the entries that are kept at hand, one part in so many is looked for in one turn.
const REFILL_PART: usize = 16;
/// Checkpoints that are on the disk at any time.
const CHECKPOINTS: usize = 2;

/// What one schedule's leader keeps of it.
#[derive(Debug)]
pub(crate) struct Agenda {
    /// The entries before the horizon that wait and were not proposed. Some may have been cancelled.
    near: BTreeMap<Turn, Run>,
    /// `None`: nothing lies beyond.
    horizon: Option<Turn>,
    /// It was farther off before.
    rewound: bool,
    near_max: usize,
    /// By the segment they lie in.
    young: BTreeMap<u32, Young>,
    /// Proposed to be activated, and not applied.
    pub(super) proposed: BTreeMap<Offset, Run>,
    /// Pages on their way from the disk.
    pub(super) loading: usize,
    pub(in crate::worker) timer: Option<(Millis, TimerId)>,
    /// What was settled when this checkpoint was cut and the two on the disk were, the oldest first.
    pub(super) cuts: VecDeque<Ledger>,
    /// From where on what is settled is still to be taken out of memory.
    pub(super) sweep: Option<Offset>,
}

/// Entries that no index file has, in the order of their due times: many sorted lists, and what is not
/// sorted yet.
#[derive(Debug, Default)]
struct Young {
    fresh: Vec<Turn>,
    sorted: Vec<Vec<Turn>>,
}

impl Young {
    fn push(&mut self, turn: Turn, list_max: usize) {
        self.fresh.push(turn);
        if self.fresh.len() >= list_max {
            self.fresh.sort_unstable();
            self.sorted.push(std::mem::take(&mut self.fresh));
        }
    }

    fn lists(&self) -> impl Iterator<Item = &[Turn]> {
        self.sorted.iter().map(Vec::as_slice).chain([&self.fresh[..]])
    }

    fn retain(&mut self, waits: impl Fn(&Turn) -> bool) {
        self.fresh.retain(&waits);
        self.sorted.iter_mut().for_each(|list| list.retain(&waits));
        self.sorted.retain(|list| !list.is_empty());
    }
}

impl Agenda {
    /// `unseen`: there are entries that nobody has looked at.
    pub(in crate::worker) fn new(near_max: usize, unseen: bool) -> Agenda {
        Agenda {
            near: BTreeMap::new(),
            horizon: unseen.then_some((Millis(i64::MIN), Offset(i64::MIN))),
            rewound: false,
            near_max,
            young: BTreeMap::new(),
            proposed: BTreeMap::new(),
            loading: 0,
            timer: None,
            cuts: VecDeque::new(),
            sweep: None,
        }
    }

    /// There is something more, in memory.
    pub(in crate::worker) fn add(&mut self, run: Run) {
        let turn = turn_of(&run);
        self.young.entry(run.at.segment).or_default().push(turn, self.near_max);
        if self.horizon.is_some_and(|horizon| turn >= horizon) {
            return;
        }
        self.keep(run);
        if self.near.len() > self.near_max {
            self.horizon = self.near.keys().nth(self.near_max / 2).copied();
            self.rewound = true;
            if let Some(horizon) = self.horizon {
                self.near.split_off(&horizon);
            }
        }
    }

    /// Keeps an entry at hand: where it was written last.
    pub(in crate::worker) fn keep(&mut self, run: Run) {
        let there = self.near.entry(turn_of(&run)).or_insert(run);
        if there.at.segment < run.at.segment {
            *there = run;
        }
    }

    /// An entry was copied forward.
    pub(in crate::worker) fn moved(&mut self, run: Run) {
        let turn = turn_of(&run);
        self.young.entry(run.at.segment).or_default().push(turn, self.near_max);
        if let Some(there) = self.near.get_mut(&turn) {
            *there = run;
        }
        if let Some(there) = self.proposed.get_mut(&run.first) {
            *there = run;
        }
    }

    /// More have to be looked for.
    pub(in crate::worker) fn is_low(&self) -> bool {
        self.horizon.is_some() && self.near.len() <= self.near_max / 4 && self.loading == 0
    }

    /// Takes in the next entries beyond the horizon; gives the pages that have to be read for that.
    pub(in crate::worker) fn refill(
        &mut self,
        schedule: &Schedule,
        rows: &mut [Row],
        runs: Option<LogRuns<'_>>,
    ) -> Vec<PageKey> {
        let Some(from) = self.horizon else { return Vec::new() };
        if std::mem::take(&mut self.rewound) {
            rows.iter_mut().for_each(Row::rewind);
        }
        let unread: Vec<PageKey> = rows.iter_mut().filter_map(|row| row.seek(from)).collect();
        if !unread.is_empty() {
            return unread;
        }
        self.young.values_mut().for_each(|young| young.fresh.sort_unstable());
        let lists = self.young.values().flat_map(Young::lists);
        let lists: Vec<&[Turn]> =
            lists.map(|list| &list[list.partition_point(|turn| *turn < from)..]).collect();
        let pages: Vec<&[Run]> = rows.iter().map(|row| row.from(from)).collect();
        let turn_at = |(source, at): (usize, usize)| match lists.get(source) {
            Some(list) => list.get(at).copied(),
            None => pages.get(source - lists.len())?.get(at).map(turn_of),
        };
        let mut next: BinaryHeap<Reverse<(Turn, (usize, usize))>> = (0..lists.len() + pages.len())
            .filter_map(|source| Some(Reverse((turn_at((source, 0))?, (source, 0)))))
            .collect();
        let (mut found, mut horizon) = (Vec::new(), None);
        let (mut left, mut last) = ((self.near_max / REFILL_PART).max(1), None);
        while let Some(Reverse((turn, (source, at)))) = next.pop() {
            // What was copied forward is in two rows, and both have to be looked at.
            if left == 0 && last != Some(turn) {
                horizon = horizon.or(Some(turn));
                break;
            }
            left = left.saturating_sub(1);
            last = Some(turn);
            let (due, offset) = turn;
            let page = source.checked_sub(lists.len());
            if !self.proposed.contains_key(&offset) {
                let in_memory = || {
                    let run = runs?.in_memory(offset).next();
                    run.filter(|run| run.first == offset)
                };
                let in_page = page.and_then(|page| pages.get(page)?.get(at).copied());
                // What is in memory was written later than what a page has.
                let run = in_memory().or(in_page);
                found.extend(run.filter(|run| schedule.any_waits(run.first, run.end())));
            }
            match turn_at((source, at + 1)) {
                Some(turn) => next.push(Reverse((turn, (source, at + 1)))),
                // What its next page has comes after this one, and before whatever comes after that.
                None if page.is_some_and(|page| rows[page].has_more()) => {
                    (left, horizon) = (0, Some((due, offset.next())));
                }
                None => {}
            }
        }
        self.horizon = horizon;
        found.into_iter().for_each(|run| self.keep(run));
        Vec::new()
    }

    pub(in crate::worker) fn take_due(
        &mut self,
        schedule: &Schedule,
        now: Millis,
    ) -> Vec<Activation> {
        let early = if io::planted("timer-early") { Millis(500) } else { Millis(0) };
        let room = ACTIVATE_PER_TURN.min(PROPOSED_MAX.saturating_sub(self.proposed.len()));
        let (mut due, mut records) = (Vec::new(), 0);
        while records < room
            && let Some(first) = self.near.first_entry()
            && first.key().0 <= now.plus(early)
        {
            let ((when, offset), run) = first.remove_entry();
            if schedule.any_waits(offset, run.end()) {
                due.push(Activation { offset, due: when, count: run.count });
                self.proposed.insert(offset, run);
                records += run.count as usize;
            }
        }
        due
    }

    /// When there is something to do next, if nothing else happens.
    pub(in crate::worker) fn next_due(&self) -> Option<Millis> {
        let first = self.near.first_key_value().map(|((due, _), _)| *due);
        first.filter(|_| self.proposed.len() < PROPOSED_MAX)
    }

    /// The index file of a segment is stored: it has what is young there.
    pub(in crate::worker) fn indexed(&mut self, segment: u32) {
        self.young.remove(&segment);
    }

    /// A checkpoint is cut.
    pub(in crate::worker) fn cut(&mut self, ledger: &Ledger) {
        self.cuts.push_back(ledger.clone());
        if self.cuts.len() > CHECKPOINTS + 1 {
            self.cuts.pop_front();
        }
        let is_old = self.cuts.len() > CHECKPOINTS;
        self.sweep = is_old.then_some(Offset(i64::MIN));
    }

    /// Forgets the young ones that were settled two checkpoints ago; `is_there`: an entry is in memory
    /// still, as some of its records are not settled.
    pub(in crate::worker) fn forget_settled(&mut self, is_there: impl Fn(Offset) -> bool) {
        let Some(settled) = self.cuts.front() else { return };
        for young in self.young.values_mut() {
            young.retain(|(_, offset)| !settled.is_settled(*offset) || is_there(*offset));
        }
        self.young.retain(|_, young| young.lists().any(|list| !list.is_empty()));
    }

    /// About what it takes in memory, in bytes.
    pub(in crate::worker) fn bytes(&self) -> usize {
        let turns = |young: &Young| young.lists().map(<[Turn]>::len).sum::<usize>();
        let young: usize = self.young.values().map(turns).sum();
        let runs = self.near.len() + self.proposed.len();
        young * size_of::<Turn>() + runs * size_of::<(Turn, Run)>()
    }
}
