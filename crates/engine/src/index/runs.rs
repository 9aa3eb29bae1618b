//! The runs of one log that are in memory, in the order of their offsets.
//!
//! A log whose runs are paged has few of them here, as they are. A schedule may have millions of them
//! in segments that have no index file yet: those but the last lie packed, in blocks of some 12 bytes
//! for each run. Reading a run unpacks half a block, changing one a whole block.

mod packed;

use super::Run;
use super::stored::is_packed;
use packed::Packed;
pub(super) use packed::PackedRuns;
use std::collections::VecDeque;
use std::collections::vec_deque;
use types::{LogId, Offset};

/// Runs that do not overlap, by offset.
#[derive(Debug)]
pub(super) enum Runs {
    Plain(VecDeque<Run>),
    Packed(Packed),
}

/// Runs, in order.
#[derive(Clone, Debug)]
pub(super) enum Iter<'a> {
    Plain(vec_deque::Iter<'a, Run>),
    Packed(packed::Iter<'a>),
}

impl Runs {
    /// Those of a log, none yet.
    pub(super) fn of(log: LogId) -> Runs {
        if is_packed(log) { Runs::Packed(Packed::default()) } else { Runs::Plain(VecDeque::new()) }
    }

    /// All of them.
    pub(super) fn iter(&self) -> Iter<'_> {
        match self {
            Runs::Plain(runs) => Iter::Plain(runs.iter()),
            Runs::Packed(runs) => Iter::Packed(runs.iter()),
        }
    }

    /// Those from the one that holds `offset`, or the first after it, on.
    pub(super) fn from(&self, offset: Offset) -> Iter<'_> {
        match self {
            Runs::Plain(runs) => Iter::Plain(runs.range(position(runs, offset)..)),
            Runs::Packed(runs) => Iter::Packed(runs.from(offset)),
        }
    }

    /// The one that holds `offset`, or the first after it.
    pub(super) fn at_or_after(&self, offset: Offset) -> Option<Run> {
        match self {
            Runs::Plain(runs) => runs.get(position(runs, offset)).copied(),
            Runs::Packed(runs) => runs.from(offset).next(),
        }
    }

    /// The last one that begins before `end`.
    pub(super) fn last_before(&self, end: Offset) -> Option<Run> {
        match self {
            Runs::Plain(runs) => {
                let at = runs.partition_point(|run| run.first < end);
                at.checked_sub(1).and_then(|at| runs.get(at)).copied()
            }
            Runs::Packed(runs) => runs.last_before(end),
        }
    }

    /// Adds a run; one of the same first offset is replaced, and given.
    pub(super) fn put(&mut self, run: Run) -> Option<Run> {
        match self {
            Runs::Plain(runs) => {
                let at = position(runs, run.first);
                match runs.get_mut(at) {
                    Some(there) if there.first == run.first => Some(std::mem::replace(there, run)),
                    _ => {
                        runs.insert(at, run);
                        None
                    }
                }
            }
            Runs::Packed(runs) => runs.put(run),
        }
    }

    /// Takes the run out that begins at `first`.
    pub(super) fn remove(&mut self, first: Offset) -> Option<Run> {
        match self {
            Runs::Plain(runs) => {
                let at = position(runs, first);
                runs.get(at).filter(|run| run.first == first)?;
                runs.remove(at)
            }
            Runs::Packed(runs) => runs.remove(first),
        }
    }

    /// Takes out the runs that end at or before `start`.
    pub(super) fn take_before(&mut self, start: Offset) -> Vec<Run> {
        match self {
            Runs::Plain(runs) => {
                let mut taken = Vec::new();
                while let Some(run) = runs.pop_front_if(|run| run.end() <= start) {
                    taken.push(run);
                }
                taken
            }
            Runs::Packed(runs) => runs.take_before(start),
        }
    }

    /// Takes out those for which `dead` holds, among the first `look_at_max`.
    pub(super) fn take_dead(
        &mut self,
        look_at_max: usize,
        mut dead: impl FnMut(&Run) -> bool,
    ) -> Vec<Run> {
        match self {
            Runs::Plain(runs) => {
                let looked_at = runs.len().min(look_at_max);
                if !runs.range(..looked_at).any(&mut dead) {
                    return Vec::new();
                }
                let mut taken = Vec::new();
                let mut kept = VecDeque::with_capacity(runs.len());
                for (at, run) in runs.iter().enumerate() {
                    if at < looked_at && dead(run) {
                        taken.push(*run);
                    } else {
                        kept.push_back(*run);
                    }
                }
                *runs = kept;
                taken
            }
            Runs::Packed(runs) => runs.take_dead(look_at_max, dead),
        }
    }

    /// Takes out the runs that begin in `[first, end)`.
    pub(super) fn take_range(&mut self, first: Offset, end: Offset) -> Vec<Run> {
        match self {
            Runs::Plain(runs) => {
                let from = runs.partition_point(|run| run.first < first);
                let to = runs.partition_point(|run| run.first < end);
                runs.drain(from..to.max(from)).collect()
            }
            Runs::Packed(runs) => runs.take_range(first, end),
        }
    }

    /// Takes out those for which `dead` holds from `from` on, until about so many were looked at; gives
    /// where to go on.
    pub(super) fn take_dead_from(
        &mut self,
        from: Offset,
        look_at_max: usize,
        dead: impl FnMut(&Run) -> bool,
    ) -> (Vec<Run>, Option<Offset>) {
        match self {
            Runs::Plain(_) => (self.take_dead(usize::MAX, dead), None),
            Runs::Packed(runs) => runs.take_dead_from(from, look_at_max, dead),
        }
    }

    /// About what packed ones take in memory, in bytes.
    pub(super) fn packed_bytes(&self) -> usize {
        match self {
            Runs::Plain(_) => 0,
            Runs::Packed(runs) => runs.bytes(),
        }
    }

    /// Adds runs in order, all in the place between others where the first belongs, in one pass.
    pub(super) fn put_between(&mut self, between: &[Run]) {
        let Some(first) = between.first() else { return };
        match self {
            Runs::Plain(runs) => {
                let behind = runs.split_off(position(runs, first.first));
                runs.extend(between.iter().chain(&behind));
            }
            Runs::Packed(runs) => between.iter().for_each(|run| {
                runs.put(*run);
            }),
        }
    }

    /// Takes all out, to be put back by [`Runs::push`].
    pub(super) fn take(&mut self) -> Runs {
        let none = match self {
            Runs::Plain(_) => Runs::Plain(VecDeque::new()),
            Runs::Packed(_) => Runs::Packed(Packed::default()),
        };
        std::mem::replace(self, none)
    }

    /// Adds a run behind all others.
    pub(super) fn push(&mut self, run: Run) {
        match self {
            Runs::Plain(runs) => runs.push_back(run),
            Runs::Packed(runs) => {
                runs.put(run);
            }
        }
    }

    /// Keeps no more room than there are runs.
    pub(super) fn shrink_to_fit(&mut self) {
        if let Runs::Plain(runs) = self {
            runs.shrink_to_fit();
        }
    }
}

impl Iterator for Iter<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        match self {
            Iter::Plain(runs) => runs.next().copied(),
            Iter::Packed(runs) => runs.next(),
        }
    }
}

/// The first run that ends after `offset`. Most look for what is new, or near the first that is left.
fn position(runs: &VecDeque<Run>, offset: Offset) -> usize {
    if runs.back().is_none_or(|last| last.end() <= offset) {
        return runs.len();
    }
    let is_before = |at: usize| runs.get(at).is_some_and(|run| run.end() <= offset);
    let (mut from, mut step) = (0, 1);
    while is_before(from + step - 1) {
        from += step;
        step *= 2;
    }
    let mut to = (from + step - 1).min(runs.len());
    while from < to {
        let middle = from.midpoint(to);
        if is_before(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::packed::{Packed, PackedRuns};
    use super::{Runs, VecDeque};
    use crate::index::{Place, Run};
    use io::Random;
    use io::sim::SimRandom;
    use types::{Millis, Offset};

    fn run(random: &SimRandom, first: i64) -> Run {
        let up_to = |max: u64| random.next() % max;
        let far = [0, 1, i64::MAX, -1, 40_000_000_000][up_to(5) as usize];
        Run {
            first: Offset(first),
            max_timestamp: Millis(far),
            appended: Millis(up_to(1 << 40) as i64),
            count: 1 + up_to(3) as u32,
            at: Place {
                segment: up_to(4) as u32,
                position: up_to(1 << 32) as u32,
                len: up_to(1 << 20) as u32,
            },
            expiring: up_to(2) == 0,
            referred: up_to(2) == 0,
        }
    }

    fn all(runs: &Runs) -> Vec<Run> {
        runs.iter().collect()
    }

    /// One packed and one that is not, after the same changes at random.
    #[test]
    fn packed_runs_are_what_plain_ones_are() {
        for seed in 0..20 {
            let random = SimRandom::new(seed);
            let up_to = |max: u64| (random.next() % max) as i64;
            let mut plain = Runs::Plain(VecDeque::new());
            let mut packed = Runs::Packed(Packed::default());
            let places = [200, 20_000][seed as usize % 2];
            // Most come in order, as entries do; the first offsets are apart by as much as a run has.
            let mut next = 0;
            for step in 0..6_000 {
                let any = up_to(places) * 4;
                match up_to(100) {
                    0..70 => {
                        let first = if up_to(8) == 0 { any } else { next };
                        next = next.max(first + 4);
                        let new = run(&random, first);
                        assert_eq!(plain.put(new), packed.put(new), "{seed}, {step}");
                    }
                    70..84 => {
                        let first = Offset(any);
                        assert_eq!(plain.remove(first), packed.remove(first), "{seed}, {step}");
                    }
                    84 => {
                        let start = Offset(up_to(40) * 4);
                        assert_eq!(plain.take_before(start), packed.take_before(start));
                    }
                    85 => {
                        let dead = |run: &Run| run.at.position.is_multiple_of(7);
                        let gone = plain.take_dead(usize::MAX, dead);
                        assert_eq!(gone, packed.take_dead(usize::MAX, dead), "{seed}, {step}");
                    }
                    86 => {
                        let first = Offset(any);
                        let end = first.plus(up_to(2_000) as u32);
                        let gone = plain.take_range(first, end);
                        assert_eq!(gone, packed.take_range(first, end), "{seed}, {step}");
                    }
                    87 => {
                        let dead = |run: &Run| run.at.position.is_multiple_of(5);
                        let gone = plain.take_dead(usize::MAX, dead);
                        let (mut taken, mut from) = (Vec::new(), Some(Offset(i64::MIN)));
                        while let Some(next) = from {
                            let (some, more) = packed.take_dead_from(next, 200, dead);
                            taken.extend(some);
                            from = more;
                        }
                        assert_eq!(gone, taken, "{seed}, {step}");
                    }
                    88..98 => {
                        let offset = Offset(any + up_to(4));
                        assert_eq!(plain.at_or_after(offset), packed.at_or_after(offset));
                        assert_eq!(plain.last_before(offset), packed.last_before(offset));
                        let behind = plain.from(offset).take(300);
                        assert!(behind.eq(packed.from(offset).take(300)), "{seed}, {step}");
                    }
                    _ => assert_eq!(all(&plain), all(&packed), "{seed}, {step}"),
                }
            }
            let taken = packed.take();
            assert_eq!((all(&packed), all(&taken)), (Vec::new(), all(&plain)));
            let stored = PackedRuns::of(plain.iter());
            assert!(stored.iter().eq(plain.iter()), "{seed}");
            for run in taken.iter() {
                packed.push(run);
            }
            assert_eq!(all(&packed), all(&plain), "{seed}");
        }
    }

    #[test]
    fn an_entry_of_a_schedule_takes_fourteen_bytes() {
        let random = SimRandom::new(1);
        let entries = (0..10_000u32).map(|number| Run {
            first: Offset(number.into()),
            max_timestamp: Millis(1_700_000_000_000 + i64::from(number)),
            appended: Millis(1_700_000_000_000 + (random.next() % 31_536_000_000) as i64),
            count: 1,
            at: Place { segment: 9, position: number * 100, len: 90 },
            expiring: false,
            referred: false,
        });
        let bytes = postcard::to_allocvec(&PackedRuns::of(entries)).expect("memory takes it");
        assert!(bytes.len() < 140_000, "{}", bytes.len());
    }

    #[test]
    fn bytes_that_were_never_packed_end_somewhere() {
        let random = SimRandom::new(2);
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..random.next() % 40).map(|_| random.next() as u8).collect();
            let stored = postcard::to_allocvec(&bytes).expect("memory takes it");
            let runs: PackedRuns = postcard::from_bytes(&stored).expect("it is bytes");
            assert!(runs.iter().count() <= bytes.len());
        }
    }
}
