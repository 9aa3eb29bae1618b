//! The index at a start: from directories of index files, a checkpoint and the frames since.
//!
//! Pages of different segments can claim the same offsets: what was copied forward is in the index
//! of its old segment until that is given back. The later segment is right. Such pages, which are
//! few, are read and become runs in memory; all others are not looked at.

use super::stored::is_paged;
use super::{Home, Index, LogIndex, PARTS, PageKey, Run, Stretch, runs};
use crate::shard::Schedule;
use journal::{Directory, Location, Order};
use std::collections::BTreeMap;
use std::iter::Peekable;
use types::{LogId, Offset};

impl Index {
    /// Takes in the directory of an index file; they come in the order of their segments.
    pub(crate) fn found(&mut self, directory: &Directory, of: impl Fn(LogId) -> bool) {
        self.dues.add(directory, &of);
        let by_offset = || directory.pages.iter().filter(|page| page.order == Order::Offset);
        let pages = || by_offset().filter(|page| of(page.log));
        self.found.extend(pages().map(|page| (page.log, Stretch::new(directory.segment, page))));
        self.note_home(directory.segment, pages().map(Home::of));
    }

    /// Pages by offset of schedules of which the segment has no pages in the order of due times.
    pub(crate) fn undue_pages(&self, directory: &Directory) -> Vec<(LogId, PageKey)> {
        let by_offset = directory.pages.iter().filter(|page| page.order == Order::Offset);
        let schedules = by_offset.filter(|page| Schedule::log_of(page.log).is_some());
        let undue = schedules.filter(|page| !self.dues.has(page.log, directory.segment));
        undue.map(|page| (page.log, Stretch::new(directory.segment, page).page)).collect()
    }

    /// Every segment before this one was found, in its index file or rebuilt.
    pub(crate) fn found_before(&mut self, segment: u32) {
        self.indexed_before = segment;
        // An index file has one part for each worker there was, which may have been others.
        for homes in self.homes.values_mut() {
            homes.sort_unstable_by_key(|home| (home.log, home.first));
        }
    }

    /// Whether the index of a segment that has one says that this run of a log does not count there.
    pub(crate) fn counts_elsewhere(&self, log: LogId, run: &Run) -> bool {
        if !is_paged(log) || run.at.segment >= self.indexed_before {
            return false;
        }
        let homes = self.homes.get(&run.at.segment).map_or(&[][..], Vec::as_slice);
        let before = homes.partition_point(|home| (home.log, home.first) <= (log, run.first));
        let home = before.checked_sub(1).map(|at| &homes[at]);
        home.is_none_or(|home| home.log != log || home.end <= run.first)
    }

    /// The index file of this segment is not there, and will be rebuilt at the next start again.
    pub(crate) fn found_unstored(&mut self, segment: u32) {
        self.dues.unstored.insert(segment);
    }

    /// Takes in an index file that was rebuilt and is not stored.
    pub(crate) fn found_runs(&mut self, log: LogId, runs: Vec<Run>) {
        for run in runs {
            let (segment, position, len) = (run.at.segment, run.at.position, run.at.len);
            self.note_home(segment, [Home { log, first: run.first, end: run.end() }].into_iter());
            self.put(log, run, &Location::Journal { segment, position, len });
        }
    }

    /// Everything was found: settles who has what. `extent_of`: where a log that is there begins and
    /// ends; `read`: a page's runs. Not `all`: only of logs that are not paged, which a replay has to
    /// look into.
    ///
    /// Fails with the first error of `read`.
    pub(crate) fn settle_found<E>(
        &mut self,
        all: bool,
        extent_of: impl Fn(LogId) -> Option<(Offset, Offset)>,
        mut read: impl FnMut(LogId, PageKey) -> Result<Vec<Run>, E>,
    ) -> Result<(), E> {
        let mut by_log: BTreeMap<LogId, Vec<Stretch>> = BTreeMap::new();
        for (log, stretch) in self.found.extract_if(.., |(log, _)| all || !is_paged(*log)) {
            by_log.entry(log).or_default().push(stretch);
        }
        for (log, stretches) in by_log {
            let Some((start, end)) = extent_of(log) else { continue };
            let inside = |one: &Stretch| one.end > start && one.first < end;
            let mut kept = self.join(log, stretches.into_iter().filter(inside), &mut read)?;
            self.give_way(log, &mut kept, &mut read)?;
            if !is_paged(log) {
                let index = self.logs.entry(log).or_insert_with(|| LogIndex::of(log));
                let old = index.runs.take();
                let mut old = old.iter().peekable();
                for stretch in std::mem::take(&mut kept).into_values() {
                    let inside = |run: &Run| run.end() > start && run.first < end;
                    let runs = read(log, stretch.page)?;
                    self.merge_new(log, &mut old, runs.into_iter().filter(inside));
                }
                let index = self.logs.entry(log).or_insert_with(|| LogIndex::of(log));
                old.for_each(|run| index.runs.push(run));
            }
            let index = self.logs.entry(log).or_insert_with(|| LogIndex::of(log));
            for mut stretch in kept.into_values() {
                if stretch.first < start {
                    stretch.first = start;
                    stretch.stale = true;
                }
                index.bytes += u64::from(stretch.live_bytes);
                let live = self.live.entry(stretch.page.segment).or_default();
                *live += u64::from(stretch.live_bytes);
                index.add_stretch(stretch);
            }
        }
        Ok(())
    }

    /// Puts stretches together; of two that overlap the later one stays.
    fn join<E>(
        &mut self,
        log: LogId,
        stretches: impl Iterator<Item = Stretch>,
        read: &mut impl FnMut(LogId, PageKey) -> Result<Vec<Run>, E>,
    ) -> Result<BTreeMap<Offset, Stretch>, E> {
        let mut kept: BTreeMap<Offset, Stretch> = BTreeMap::new();
        for new in stretches {
            let mut under = overlapping(&kept, new.first, new.end);
            if io::planted("old-copy-read") && !under.is_empty() {
                continue;
            }
            while let Some(old) = under.pop() {
                kept.remove(&old.first);
                if new.first <= old.first && old.end <= new.end {
                    continue;
                }
                let runs = read(log, old.page)?;
                let outside = |run: &Run| run.end() <= new.first || run.first >= new.end;
                let inside = |run: &Run| run.end() > old.first && run.first < old.end;
                self.add_new(log, runs.into_iter().filter(|run| inside(run) && outside(run)));
            }
            kept.insert(new.first, new);
        }
        Ok(kept)
    }

    /// Between a run in memory and a stretch, the one in the later segment stays.
    fn give_way<E>(
        &mut self,
        log: LogId,
        kept: &mut BTreeMap<Offset, Stretch>,
        read: &mut impl FnMut(LogId, PageKey) -> Result<Vec<Run>, E>,
    ) -> Result<(), E> {
        // What was added since lies behind all of them, and can be much.
        let end = kept.values().map(|stretch| stretch.end).max().unwrap_or(Offset(i64::MIN));
        let runs: Vec<Run> = self.logs.get(&log).map_or(Vec::new(), |index| {
            index.runs.iter().take_while(|run| run.first < end).collect()
        });
        for run in runs {
            for stretch in overlapping(kept, run.first, run.end()) {
                if run.at.segment != PARTS && run.at.segment <= stretch.page.segment {
                    self.drop_run(log, &run);
                } else {
                    kept.remove(&stretch.first);
                    let runs = read(log, stretch.page)?;
                    let inside = |run: &Run| run.end() > stretch.first && run.first < stretch.end;
                    self.add_new(log, runs.into_iter().filter(inside));
                }
            }
        }
        Ok(())
    }

    /// Adds runs but where there is one already.
    fn add_new(&mut self, log: LogId, runs: impl Iterator<Item = Run>) {
        for run in runs {
            let index = self.logs.entry(log).or_insert_with(|| LogIndex::of(log));
            let there = index.runs.at_or_after(run.first);
            if there.is_none_or(|there| there.first >= run.end()) {
                let (segment, position, len) = (run.at.segment, run.at.position, run.at.len);
                self.put(log, run, &Location::Journal { segment, position, len });
            }
        }
    }

    /// The same of many, which follow those of the call before, to runs of which `old` are still to be
    /// put back: millions that lie before others would each move those.
    fn merge_new(
        &mut self,
        log: LogId,
        old: &mut Peekable<runs::Iter<'_>>,
        new: impl Iterator<Item = Run>,
    ) {
        let Some(index) = self.logs.get_mut(&log) else { return };
        for run in new {
            while let Some(old) = old.next_if(|old| old.end() <= run.first) {
                index.runs.push(old);
            }
            if old.peek().is_none_or(|there| there.first >= run.end()) {
                index.bytes += u64::from(run.at.len);
                *self.live.entry(run.at.segment).or_default() += u64::from(run.at.len);
                index.runs.push(run);
            }
        }
    }

    fn drop_run(&mut self, log: LogId, run: &Run) {
        let Some(index) = self.logs.get_mut(&log) else { return };
        if index.runs.at_or_after(run.first).as_ref() == Some(run) {
            index.runs.remove(run.first);
            index.bytes -= u64::from(run.at.len);
            super::less(&mut self.live, run.at.segment, run.at.len);
            self.referred.remove(&(log, run.first));
        }
    }

    /// Marks the pages in which a ledger has settled something: how many records are settled
    /// between two offsets is asked of `settled_in`.
    pub(crate) fn mark_settled(&mut self, log: LogId, settled_in: impl Fn(Offset, Offset) -> u64) {
        let stretches = self.logs.get_mut(&log).into_iter().flat_map(|index| &mut index.stretches);
        for stretch in stretches {
            stretch.stale |= settled_in(stretch.first, stretch.end) > 0;
        }
    }
}

impl LogIndex {
    /// Whether nothing in memory overlaps.
    pub(super) fn is_sound(&self) -> bool {
        let runs = self.runs.iter().map(|run| (run.first, run.end()));
        let mut all: Vec<_> =
            runs.chain(self.stretches.iter().map(|one| (one.first, one.end))).collect();
        all.sort_unstable();
        all.windows(2).all(|pair| pair[0].1 <= pair[1].0)
    }
}

/// The stretches that share an offset with `[first, end)`.
fn overlapping(kept: &BTreeMap<Offset, Stretch>, first: Offset, end: Offset) -> Vec<Stretch> {
    let before = kept.range(..end).rev().map(|(_, stretch)| *stretch);
    before.take_while(|stretch| stretch.end > first).collect()
}
