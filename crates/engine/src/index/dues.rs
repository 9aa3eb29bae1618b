//! Where an index file has the entries of schedules in the order in which they are due.
//!
//! An entry is in memory as long as its segment has no index file; then it is in two pages of that
//! file, one by offset like the batches of any log, and one by due time. The latter come in rows: pages
//! in order, of some ten thousand entries that lay together. What is due next is the least of all rows,
//! so one page of each is in memory. A page is never changed: what of it was settled since, or lies
//! elsewhere by now, whoever reads it is told by the ledger and by the segments.

use super::{Index, LogRuns, PageKey, Run, count, less};
use journal::{Directory, Order, PagePlace};
use std::collections::{BTreeMap, BTreeSet};
use types::{LogId, Millis, Offset};

/// An entry's place in the order of due times.
pub(crate) type Turn = (Millis, Offset);

/// The place of a run in that order.
pub(crate) fn turn_of(run: &Run) -> Turn {
    (run.appended, run.first)
}

/// The rows of all schedules of a worker.
#[derive(Debug, Default)]
pub(crate) struct Dues {
    rows: BTreeMap<LogId, Vec<Row>>,
    /// Segments whose index could not be stored when it was rebuilt: of these, too, entries are in memory.
    pub(super) unstored: BTreeSet<u32>,
}

/// Pages of one segment in the order of due times.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) segment: u32,
    /// Offsets that it has entries of.
    first: Offset,
    end: Offset,
    /// When the last entry of each page is due, and where the page is.
    pages: Vec<(Millis, PagePlace)>,
    /// The page that is looked at.
    at: usize,
    /// Its entries, when it was read.
    head: Option<Vec<Run>>,
}

impl Row {
    /// One whose entries are all in memory, since no index file has them in this order.
    fn resident(segment: u32, mut runs: Vec<Run>) -> Row {
        runs.sort_unstable_by_key(turn_of);
        Row {
            segment,
            first: runs.iter().map(|run| run.first).min().unwrap_or(Offset(0)),
            end: runs.iter().map(Run::end).max().unwrap_or(Offset(0)),
            pages: Vec::new(),
            at: 0,
            head: Some(runs),
        }
    }

    fn key(&self, at: usize) -> Option<PageKey> {
        let (_, place) = self.pages.get(at)?;
        Some(PageKey { segment: self.segment, place: *place, first: self.first })
    }

    /// The first page that can have something due at `due` or later.
    fn page_at(&self, due: Millis) -> usize {
        self.pages.partition_point(|(last, _)| *last < due)
    }

    /// Turns to the page that has what comes from `turn` on, or a later one that was turned to. Gives it
    /// if it has to be read.
    pub(crate) fn seek(&mut self, turn: Turn) -> Option<PageKey> {
        let at = self.page_at(turn.0);
        if at > self.at && !self.pages.is_empty() {
            (self.at, self.head) = (at, None);
        }
        if self.head.is_some() && self.from(turn).is_empty() && self.has_more() {
            (self.at, self.head) = (self.at + 1, None);
        }
        match self.head {
            Some(_) => None,
            None => self.key(self.at),
        }
    }

    /// Turns back to the first page.
    pub(crate) fn rewind(&mut self) {
        if !self.pages.is_empty() {
            (self.at, self.head) = (0, None);
        }
    }

    /// What of the page in memory comes from `turn` on.
    pub(crate) fn from(&self, turn: Turn) -> &[Run] {
        let runs = self.head.as_deref().unwrap_or_default();
        runs.get(runs.partition_point(|run| turn_of(run) < turn)..).unwrap_or_default()
    }

    /// Whether there are pages behind the one in memory.
    pub(crate) fn has_more(&self) -> bool {
        self.at + 1 < self.pages.len()
    }

    /// Of runs as they were read, or made anew from the segment, those of page `at`, in order.
    fn of_page(&self, at: usize, mut runs: Vec<Run>) -> Vec<Run> {
        if let Some((last, _)) = self.pages.get(at) {
            runs.retain(|run| {
                run.appended <= *last && run.end() > self.first && run.first < self.end
            });
        }
        if let Some((before, _)) = at.checked_sub(1).and_then(|at| self.pages.get(at)) {
            runs.retain(|run| run.appended >= *before);
        }
        runs.sort_unstable_by_key(turn_of);
        runs
    }

    fn bytes(&self) -> usize {
        self.pages.capacity() * size_of::<(Millis, PagePlace)>()
            + self.head.as_ref().map_or(0, Vec::capacity) * size_of::<Run>()
    }
}

impl Dues {
    /// Takes in what an index file has in this order, of the logs that `of` names.
    pub(crate) fn add(&mut self, directory: &Directory, of: impl Fn(LogId) -> bool) {
        let pages = directory.pages.iter().filter(|page| page.order != Order::Offset);
        for page in pages.filter(|page| of(page.log)) {
            let rows = self.rows.entry(page.log).or_default();
            let begins = page.order == Order::TimeFirst || rows.is_empty();
            if begins {
                rows.push(Row {
                    segment: directory.segment,
                    first: page.first,
                    end: page.end,
                    pages: Vec::new(),
                    at: 0,
                    head: None,
                });
            }
            let Some(row) = rows.last_mut() else { continue };
            if io::planted("due-page-forgotten") && page.place.byte % 5 == 2 {
                continue;
            }
            row.first = row.first.min(page.first);
            row.end = row.end.max(page.end);
            row.pages.push((page.append_time, page.place));
        }
    }

    /// Takes in entries that no index file has in this order, though it has them.
    pub(crate) fn add_resident(&mut self, log: LogId, segment: u32, runs: Vec<Run>) {
        if !runs.is_empty() {
            self.rows.entry(log).or_default().push(Row::resident(segment, runs));
        }
    }

    /// Whether a segment has entries of a log in this order.
    pub(crate) fn has(&self, log: LogId, segment: u32) -> bool {
        self.of(log).iter().any(|row| row.segment == segment)
    }

    /// The rows of a log.
    pub(crate) fn of(&self, log: LogId) -> &[Row] {
        self.rows.get(&log).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn of_mut(&mut self, log: LogId) -> &mut [Row] {
        self.rows.get_mut(&log).map_or(&mut [], Vec::as_mut_slice)
    }

    /// A page was read, or could not be: true if it is one of these. Of its entries those are kept that
    /// `waits` says something of; a page that has none is passed.
    pub(crate) fn loaded(
        &mut self,
        log: LogId,
        key: PageKey,
        runs: Option<&[Run]>,
        waits: impl Fn(&Run) -> bool,
    ) -> bool {
        for row in self.of_mut(log) {
            if (row.segment, row.first) != (key.segment, key.first) {
                continue;
            }
            let at = row.pages.iter().position(|(_, place)| *place == key.place);
            let Some(at) = at else { continue };
            if row.at == at && row.head.is_none() {
                let mut runs = row.of_page(at, runs.unwrap_or_default().to_vec());
                runs.retain(&waits);
                runs.shrink_to_fit();
                row.head = Some(runs);
            }
            return true;
        }
        false
    }

    /// The entry that is due at `due` and has `offset`; of several the one that was written last. `read`
    /// reads a page.
    ///
    /// Fails with the first error of `read`.
    pub(crate) fn find<E>(
        &mut self,
        log: LogId,
        (due, offset): Turn,
        mut read: impl FnMut(LogId, PageKey) -> Result<Vec<Run>, E>,
    ) -> Result<Option<Run>, E> {
        let mut found: Option<Run> = None;
        for row in self.of_mut(log) {
            if offset < row.first || offset >= row.end {
                continue;
            }
            let mut at = row.page_at(due);
            loop {
                if row.at != at || row.head.is_none() {
                    let Some(key) = row.key(at) else { break };
                    let runs = read(log, key)?;
                    row.head = Some(row.of_page(at, runs));
                    row.at = at;
                }
                let here = row.from((due, offset)).first().filter(|run| run.first == offset);
                if let Some(run) = here {
                    if found.is_none_or(|found| found.at.segment < run.at.segment) {
                        found = Some(*run);
                    }
                    break;
                }
                // What is due at the same time can be in several pages.
                at += 1;
                if row.pages.get(at - 1).is_none_or(|(last, _)| *last > due) {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Whoever looked for something at a start is done.
    pub(crate) fn forget_heads(&mut self) {
        self.rows.values_mut().flatten().for_each(Row::rewind);
    }

    /// Forgets the rows of segments of which nothing is needed any more.
    pub(crate) fn keep(&mut self, is_live: impl Fn(u32) -> bool) {
        for rows in self.rows.values_mut() {
            rows.retain(|row| is_live(row.segment));
        }
        self.rows.retain(|_, rows| !rows.is_empty());
    }

    /// Forgets the rows of other logs.
    pub(crate) fn keep_logs(&mut self, is_there: impl Fn(LogId) -> bool) {
        self.rows.retain(|log, _| is_there(*log));
    }

    pub(crate) fn remove(&mut self, log: LogId) {
        self.rows.remove(&log);
    }

    /// About what it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.values().flatten().map(Row::bytes).sum()
    }
}

/// What is of schedules only.
impl Index {
    /// Drops the pages of a schedule that end at or before `start`; of one that `start` is inside more
    /// counts as live than is, which it gives.
    pub(crate) fn trim_pages(&mut self, log: LogId, start: Offset) -> bool {
        let Some(index) = self.logs.get_mut(&log) else { return false };
        while let Some(stretch) = index.stretches.front().copied()
            && stretch.end <= start
        {
            index.stretches.pop_front();
            index.bytes -= u64::from(stretch.live_bytes);
            less(&mut self.live, stretch.page.segment, stretch.live_bytes);
            self.pages.remove(stretch.page);
        }
        match index.stretches.front_mut() {
            Some(stretch) if stretch.first < start => {
                stretch.first = start;
                stretch.stale = true;
                true
            }
            _ => false,
        }
    }

    /// Drops the runs in memory that `dead` says nobody needs, from `from` on, until about so many were
    /// looked at; gives where to go on.
    pub(crate) fn sweep_from(
        &mut self,
        log: LogId,
        from: Offset,
        look_at_max: usize,
        dead: impl Fn(&Run) -> bool,
    ) -> Option<Offset> {
        let index = self.logs.get_mut(&log)?;
        let (gone, next) = index.runs.take_dead_from(from, look_at_max, dead);
        for run in gone {
            count(&mut self.live, &index.location(&run), false);
            index.parts.remove(&run.first);
            self.parted.remove(&(log, run.first));
            index.bytes -= u64::from(run.at.len);
        }
        next
    }

    /// Where a schedule's entries are in the order of their due times, and its runs.
    pub(crate) fn rows_of(&mut self, log: LogId) -> (&mut [Row], Option<LogRuns<'_>>) {
        let runs = self.logs.get(&log).map(|index| LogRuns { index, pages: &self.pages });
        (self.dues.of_mut(log), runs)
    }

    /// About what the runs of a schedule in memory take, in bytes.
    pub(crate) fn packed_bytes(&self, log: LogId) -> usize {
        self.logs.get(&log).map_or(0, |index| index.runs.packed_bytes())
    }
}
