//! What goes to disk of an index: index files, and what checkpoints keep until there is one.

use super::dues::turn_of;
use super::runs::PackedRuns;
use super::{Home, Index, LogIndex, PARTS, Place, Run, Stretch, less, place};
use crate::envelope::Envelope;
use crate::shard::{Keys, Outbox, Schedule};
use journal::{Directory, IndexPart, Location, Order, PageEntry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogId, Millis, Offset};

/// Pages of entries in the order of due times are shorter: of every row one is in memory.
const DUE_PART: usize = 4;

/// Bytes of one part of an index file that is being made.
const PART_BYTES: usize = 1 << 20;

/// A stored batch of a log and where it lies, as checkpoints keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRun {
    log: LogId,
    first: Offset,
    count: u32,
    max_timestamp: Millis,
    appended: Millis,
    expiring: bool,
    location: Location,
    /// See [`Index::refer`].
    referred: bool,
}

/// What a checkpoint keeps of where a shard's batches lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRuns {
    /// What lies in the segments before this one is in their index files.
    pub(crate) indexed_before: u32,
    /// The rest of logs that are paged, and of others what is in parts.
    pub(crate) runs: Vec<StoredRun>,
    /// The rest of the others, of which there may be millions.
    packed: Vec<(LogId, PackedRuns)>,
}

impl StoredRuns {
    /// About how many there are.
    pub(crate) fn count(&self) -> usize {
        self.runs.len() + self.packed.iter().map(|(_, runs)| runs.count()).sum::<usize>()
    }

    /// What is packed of it, in bytes.
    pub(crate) fn packed_bytes(&self) -> u64 {
        self.packed.iter().map(|(_, runs)| runs.len() as u64).sum()
    }
}

impl Index {
    /// Puts back what a checkpoint kept.
    pub(crate) fn restore(&mut self, stored: StoredRuns) {
        stored.runs.into_iter().for_each(|run| self.restore_one(run));
        for (log, runs) in &stored.packed {
            self.restore_packed(*log, runs);
        }
    }

    /// There may be millions of them.
    fn restore_packed(&mut self, log: LogId, runs: &PackedRuns) {
        let index = self.logs.entry(log).or_insert_with(|| LogIndex::of(log));
        let mut extents: BTreeMap<u32, Extent> = BTreeMap::new();
        let mut replaced = Vec::new();
        for run in runs.iter() {
            let Place { segment, position, len } = run.at;
            let location = Location::Journal { segment, position, len };
            if run.referred || segment < self.indexed_before {
                replaced.push((run, location));
                continue;
            }
            if let Some(there) = index.runs.put(run) {
                index.runs.put(there);
                replaced.push((run, location));
                continue;
            }
            index.bytes += u64::from(len);
            *self.live.entry(segment).or_default() += u64::from(len);
            let (first, end) = extents.entry(segment).or_insert((run.first, run.end()));
            (*first, *end) = (run.first.min(*first), run.end().max(*end));
        }
        for (segment, (first, end)) in extents {
            let logs = self.recent.entry(segment).or_default();
            let extent = logs.entry(log).or_insert((first, end));
            *extent = (first.min(extent.0), end.max(extent.1));
        }
        for (run, location) in replaced {
            match run.referred {
                true => self.refer(log, run, &location),
                false if self.is_indexed(log, &location) => {}
                false => self.insert(log, run, &location),
            }
        }
    }

    fn restore_one(&mut self, stored: StoredRun) {
        let run = Run {
            first: stored.first,
            max_timestamp: stored.max_timestamp,
            appended: stored.appended,
            count: stored.count,
            at: place(&stored.location),
            expiring: stored.expiring,
            referred: stored.referred,
        };
        match stored.referred {
            true => self.refer(stored.log, run, &stored.location),
            false => self.insert(stored.log, run, &stored.location),
        }
    }

    /// The runs of hidden logs that a restart does not find in index files: those in segments that
    /// have none yet, those in parts, and those referred.
    pub(crate) fn unindexed_hidden(&self, of: impl Fn(LogId) -> bool) -> StoredRuns {
        let mut places: BTreeMap<LogId, Vec<Extent>> = BTreeMap::new();
        let singles = self.parted.iter().chain(&self.referred);
        let singles = singles.map(|(log, first)| (*log, (*first, first.next())));
        let recent = self.recent.values().flatten().map(|(log, extent)| (*log, *extent));
        for (log, extent) in singles.chain(recent).filter(|(log, _)| !is_paged(*log) && of(*log)) {
            places.entry(log).or_default().push(extent);
        }
        let mut stored =
            StoredRuns { indexed_before: self.indexed_before, ..StoredRuns::default() };
        for (log, mut places) in places {
            let Some(index) = self.logs.get(&log) else { continue };
            places.sort_unstable();
            let mut found = Vec::new();
            let mut next = Offset(i64::MIN);
            for (first, end) in places {
                let runs = index.runs.from(next.max(first)).take_while(|run| run.first < end);
                found.extend(runs.filter(|run| self.is_unindexed(run)));
                next = next.max(end);
            }
            found.dedup_by_key(|run| run.first);
            let (in_parts, whole): (Vec<Run>, Vec<Run>) =
                found.into_iter().partition(|run| run.at.segment == PARTS);
            stored.runs.extend(in_parts.iter().map(|run| index.stored(log, run)));
            if !whole.is_empty() {
                stored.packed.push((log, PackedRuns::of(whole.into_iter())));
            }
        }
        stored
    }

    /// Whether an index file has whatever a schedule's log had at a location: of a schedule it has all
    /// that a replay can look for.
    pub(crate) fn is_indexed(&self, log: LogId, location: &Location) -> bool {
        match location {
            Location::Journal { segment, .. } => {
                *segment < self.indexed_before
                    && Schedule::log_of(log).is_some()
                    && !self.dues.unstored.contains(segment)
            }
            Location::Parts(_) => false,
        }
    }

    /// Whether a page of an index file has what a log has from an offset on, at a location: when this was
    /// applied before the process began.
    pub(crate) fn is_known(&self, log: LogId, first: Offset, location: &Location) -> bool {
        let Location::Journal { segment, .. } = location else { return false };
        let stretch = self.log(log).and_then(|runs| runs.stretch(first));
        stretch.is_some_and(|stretch| stretch.page.segment == *segment)
            || self.is_indexed(log, location)
    }

    /// Those of other logs, after `from`: so many runs are looked at. Gives where to go on.
    ///
    /// They need not be as of one moment. Whatever was added to the index meanwhile is added again
    /// when the frames since are replayed, which changes nothing; and what was taken out of it, the
    /// frames say too.
    pub(crate) fn unindexed(
        &self,
        from: (LogId, Offset),
        look_at_max: usize,
        of: impl Fn(LogId) -> bool,
    ) -> (StoredRuns, Option<(LogId, Offset)>) {
        let mut stored =
            StoredRuns { indexed_before: self.indexed_before, ..StoredRuns::default() };
        let mut left = look_at_max;
        for (log, index) in self.logs.range(from.0..) {
            if !is_paged(*log) || !of(*log) || io::planted("unindexed-forgotten") {
                continue;
            }
            let first = if *log == from.0 { from.1 } else { Offset(i64::MIN) };
            let (mut whole, mut next) = (Vec::new(), None);
            for (looked_at, run) in index.runs.from(first).enumerate() {
                if left == 0 && looked_at > 0 {
                    next = Some((*log, run.first));
                    break;
                }
                left = left.saturating_sub(1);
                match self.is_unindexed(&run) {
                    true if is_packed(*log) && run.at.segment != PARTS => whole.push(run),
                    true => stored.runs.push(index.stored(*log, &run)),
                    false => {}
                }
            }
            if !whole.is_empty() {
                stored.packed.push((*log, PackedRuns::of(whole.into_iter())));
            }
            if next.is_some() {
                return (stored, next);
            }
            left = left.saturating_sub(1);
            if left == 0 && log.0 < u32::MAX {
                return (stored, Some((LogId(log.0 + 1), Offset(i64::MIN))));
            }
        }
        (stored, None)
    }

    fn is_unindexed(&self, run: &Run) -> bool {
        match run.referred {
            true => !io::planted("activation-forgotten"),
            false => run.at.segment == PARTS || self.recent.contains_key(&run.at.segment),
        }
    }

    /// A segment is sealed: the pages of what this worker has in it.
    #[cfg(test)]
    pub(crate) fn seal(&self, segment: u32) -> IndexPart {
        let mut sealing = Sealing::new(segment);
        while !self.seal_on(&mut sealing, usize::MAX) {}
        sealing.parts.pop().unwrap_or_default()
    }

    /// Goes on with the pages of a sealed segment: about so many runs are looked at. True when all are
    /// there.
    pub(crate) fn seal_on(&self, sealing: &mut Sealing, look_at_max: usize) -> bool {
        let Some(from) = sealing.next.take() else { return true };
        let segment = sealing.segment;
        // One that grew to the end would be moved and moved again.
        if sealing.parts.last().is_none_or(|part| part.len() >= PART_BYTES) {
            sealing.parts.push(IndexPart::default());
        }
        let Some(part) = sealing.parts.last_mut() else { return true };
        let due_page_runs = (self.page_runs_max / DUE_PART).max(1);
        // Putting a row in order takes as long as finding it.
        if let Some((log, row)) = sealing.row.take() {
            push_row(part, log, row, due_page_runs);
            sealing.next = Some(from);
            return false;
        }
        let mut left = look_at_max;
        let none = BTreeMap::new();
        let logs = self.recent.get(&segment).unwrap_or(&none);
        for (log, (first, end)) in logs.range(from.0..) {
            let Some(index) = self.logs.get(log) else { continue };
            let first = if *log == from.0 { from.1.max(*first) } else { *first };
            let (mut page, mut row, mut next) = (Vec::new(), Vec::new(), None);
            let by_time = Schedule::log_of(*log).is_some();
            for run in index.runs.from(first) {
                if run.first >= *end {
                    break;
                }
                let here = run.at.segment == segment && !run.referred;
                let full = page.len() >= self.page_runs_max;
                let apart = page.last().is_some_and(|last| index.has_between(last, &run));
                if !here || full || apart {
                    push_page(part, *log, &mut page);
                }
                if left == 0 && page.is_empty() {
                    next = Some((*log, run.first));
                    break;
                }
                left = left.saturating_sub(1);
                if here {
                    page.push(run);
                    row.extend(by_time.then_some(run));
                }
            }
            push_page(part, *log, &mut page);
            if next.is_some() {
                (sealing.next, sealing.row) = (next, Some((*log, row)));
                return false;
            }
            push_row(part, *log, row, due_page_runs);
        }
        true
    }

    /// The index file of a segment is stored, and so are those of the segments before: what lies in
    /// it need be kept in memory no longer. What that is of schedules goes bit by bit
    /// ([`Index::fold_on`]).
    pub(crate) fn indexed(&mut self, directory: &Arc<Directory>) {
        for pages in directory.pages.chunk_by(|one, next| one.log == next.log) {
            let log = pages[0].log;
            let paged = is_paged(log) && Schedule::log_of(log).is_none();
            if let Some(index) = self.logs.get_mut(&log).filter(|_| paged) {
                index.fold(directory.segment, pages);
            }
        }
        let by_offset = directory.pages.iter().filter(|page| page.order == Order::Offset);
        let ours = by_offset.filter(|page| self.logs.contains_key(&page.log));
        let homes: Vec<Home> = ours.map(Home::of).collect();
        self.note_home(directory.segment, homes.into_iter());
        let logs = &self.logs;
        self.dues.add(directory, |log| logs.contains_key(&log));
        self.indexed_before = directory.segment + 1;
        self.recent = self.recent.split_off(&self.indexed_before);
        if directory.pages.iter().any(|page| Schedule::log_of(page.log).is_some()) {
            self.folding.push_back((Arc::clone(directory), 0));
        }
    }

    /// Whether pages of schedules are still to take the place of runs.
    pub(crate) fn is_folding(&self) -> bool {
        !self.folding.is_empty()
    }

    /// Has so many pages of schedules take the place of their runs; `dead` says which of those nobody
    /// needs.
    pub(crate) fn fold_on(&mut self, pages_max: usize, dead: impl Fn(LogId, &Run) -> bool) {
        for _ in 0..pages_max {
            let Some((directory, at)) = self.folding.front_mut() else { return };
            let segment = directory.segment;
            let Some(page) = directory.pages.get(*at).copied() else {
                self.folding.pop_front();
                continue;
            };
            *at += 1;
            if page.order == Order::Offset && Schedule::log_of(page.log).is_some() {
                self.fold_page(segment, &page, &dead);
            }
        }
    }

    /// A page that was copied out of in part stays in memory as runs: a stretch would cover what lies
    /// elsewhere.
    fn fold_page(&mut self, segment: u32, page: &PageEntry, dead: &impl Fn(LogId, &Run) -> bool) {
        let Some(index) = self.logs.get_mut(&page.log) else { return };
        let runs = index.runs.take_range(page.first, page.end);
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return };
        if runs.iter().any(|run| run.at.segment != segment || run.referred) {
            return index.runs.put_between(&runs);
        }
        let bytes = |runs: &[Run]| runs.iter().map(|run| u64::from(run.at.len)).sum::<u64>();
        let dead_bytes: u64 =
            runs.iter().filter(|run| dead(page.log, run)).map(|run| u64::from(run.at.len)).sum();
        let live_bytes = bytes(&runs) - dead_bytes;
        if live_bytes > 0 {
            index.add_stretch(Stretch {
                first: first.first,
                end: last.end(),
                live_bytes: u32::try_from(live_bytes).unwrap_or(u32::MAX),
                ..Stretch::new(segment, page)
            });
        }
        index.bytes -= dead_bytes;
        if dead_bytes > 0 {
            less(&mut self.live, segment, u32::try_from(dead_bytes).unwrap_or(u32::MAX));
        }
    }

    /// Notes where the index has a run that no index file has yet.
    pub(super) fn note_recent(&mut self, log: LogId, run: &Run) {
        if run.at.segment >= self.indexed_before {
            let logs = self.recent.entry(run.at.segment).or_default();
            let (first, end) = logs.entry(log).or_insert((run.first, run.end()));
            *first = run.first.min(*first);
            *end = run.end().max(*end);
        }
    }
}

impl Home {
    pub(super) fn of(page: &PageEntry) -> Home {
        Home { log: page.log, first: page.first, end: page.end }
    }
}

impl LogIndex {
    fn stored(&self, log: LogId, run: &Run) -> StoredRun {
        StoredRun {
            log,
            first: run.first,
            count: run.count,
            max_timestamp: run.max_timestamp,
            appended: run.appended,
            expiring: run.expiring,
            location: self.location(run),
            referred: run.referred,
        }
    }

    /// Whether something that lies elsewhere is between two runs in memory.
    fn has_between(&self, one: &Run, next: &Run) -> bool {
        let stretch = self.stretches.get(self.stretch_at(one.end()));
        stretch.is_some_and(|stretch| stretch.first < next.first)
    }

    /// Puts stretches in the place of the runs that `pages` of a segment's index file have. A page
    /// of which something was copied forward since it was made stays in memory as runs: a stretch
    /// would cover what lies elsewhere.
    fn fold(&mut self, segment: u32, pages: &[PageEntry]) {
        let here = |run: &Run| run.at.segment == segment && !run.referred;
        let before = self.runs.take();
        let mut runs = before.iter().peekable();
        for page in pages {
            while let Some(run) = runs.next_if(|run| run.first < page.first) {
                self.runs.push(run);
            }
            let inside: Vec<Run> =
                std::iter::from_fn(|| runs.next_if(|run| run.first < page.end)).collect();
            match inside.first() {
                Some(first) if inside.iter().all(here) => self.add_stretch(Stretch {
                    // What it had before this run, and nobody needs any more, stays out.
                    first: first.first,
                    live_bytes: inside.iter().map(|run| run.at.len).sum(),
                    ..Stretch::new(segment, page)
                }),
                _ => inside.into_iter().for_each(|run| self.runs.push(run)),
            }
        }
        runs.for_each(|run| self.runs.push(run));
        self.runs.shrink_to_fit();
    }

    pub(super) fn add_stretch(&mut self, stretch: Stretch) {
        let at = self.stretches.partition_point(|there| there.first < stretch.first);
        self.stretches.insert(at, stretch);
    }
}

/// A sealed segment of which the pages are being made.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) segment: u32,
    pub(crate) parts: Vec<IndexPart>,
    /// What is still to be put in the order of due times.
    row: Option<(LogId, Vec<Run>)>,
    next: Option<(LogId, Offset)>,
}

impl Sealing {
    pub(crate) fn new(segment: u32) -> Sealing {
        let next = Some((LogId(0), Offset(i64::MIN)));
        Sealing { segment, parts: Vec::new(), row: None, next }
    }
}

/// Runs of a schedule in the order in which they are due.
fn push_row(part: &mut IndexPart, log: LogId, mut row: Vec<Run>, page_runs: usize) {
    row.sort_unstable_by_key(turn_of);
    for (number, page) in row.chunks(page_runs).enumerate() {
        let order = if number == 0 { Order::TimeFirst } else { Order::Time };
        part.push_in(order, log, page.iter().map(stored_run));
    }
}

fn push_page(part: &mut IndexPart, log: LogId, page: &mut Vec<Run>) {
    part.push(log, page.drain(..).map(|run| stored_run(&run)));
}

fn stored_run(run: &Run) -> journal::Run {
    let envelope = Envelope { expiring: run.expiring, ..Envelope::default() };
    let (segment, position, len) = (run.at.segment, run.at.position, run.at.len);
    journal::Run {
        first: run.first,
        count: run.count,
        location: Location::Journal { segment, position, len },
        max_timestamp: run.max_timestamp,
        append_time: run.appended,
        envelope: envelope.encode(),
    }
}

/// Whether a log's runs may be anywhere but in memory. Those of outboxes are needed where nobody can
/// wait for them, and those of pages of keys are few.
pub(crate) fn is_paged(log: LogId) -> bool {
    Outbox::shards_of(log).is_none() && Keys::log_of(log).is_none()
}

/// Whether what a log has in memory is packed: of schedules, outboxes and pages of keys there can be
/// many.
pub(super) fn is_packed(log: LogId) -> bool {
    Schedule::log_of(log).is_some() || !is_paged(log)
}

/// The offsets of a log that a segment has, from the first to the last.
pub(super) type Extent = (Offset, Offset);
