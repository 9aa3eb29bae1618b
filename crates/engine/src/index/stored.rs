//! What goes to disk of an index: index files, and what checkpoints keep until there is one.

use super::runs::PackedRuns;
use super::{Home, Index, LogIndex, PARTS, Place, Run, Stretch, place};
use crate::envelope::Envelope;
use crate::shard::{Outbox, Schedule};
use journal::{Directory, IndexPart, Location, PageEntry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{LogId, Millis, Offset};

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

impl Index {
    /// Puts back what a checkpoint kept.
    pub(crate) fn restore(&mut self, stored: StoredRuns) {
        stored.runs.into_iter().for_each(|run| self.restore_one(run));
        for (log, run) in
            stored.packed.iter().flat_map(|(log, runs)| runs.iter().map(|run| (*log, run)))
        {
            let Place { segment, position, len } = run.at;
            let location = Location::Journal { segment, position, len };
            match run.referred {
                true => self.refer(log, run, &location),
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
            for (looked_at, run) in index.runs.from(first).enumerate() {
                if left == 0 && looked_at > 0 {
                    return (stored, Some((*log, run.first)));
                }
                left = left.saturating_sub(1);
                if self.is_unindexed(&run) {
                    stored.runs.push(index.stored(*log, &run));
                }
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
    pub(crate) fn seal(&self, segment: u32) -> IndexPart {
        let mut part = IndexPart::default();
        for (log, (first, end)) in self.recent.get(&segment).into_iter().flatten() {
            let Some(index) = self.logs.get(log) else { continue };
            let mut page: Vec<Run> = Vec::new();
            for run in index.runs.from(*first) {
                if run.first >= *end {
                    break;
                }
                let here = run.at.segment == segment && !run.referred;
                let full = page.len() >= self.page_runs_max;
                let apart = page.last().is_some_and(|last| index.has_between(last, &run));
                if !here || full || apart {
                    push_page(&mut part, *log, &mut page);
                }
                if here {
                    page.push(run);
                }
            }
            push_page(&mut part, *log, &mut page);
        }
        part
    }

    /// The index file of a segment is stored, and so are those of the segments before: what lies in
    /// it is kept in memory no longer.
    pub(crate) fn indexed(&mut self, directory: &Directory) {
        for pages in directory.pages.chunk_by(|one, next| one.log == next.log) {
            let log = pages[0].log;
            if let Some(index) = self.logs.get_mut(&log).filter(|_| is_paged(log)) {
                index.fold(directory.segment, pages);
            }
        }
        let ours = directory.pages.iter().filter(|page| self.logs.contains_key(&page.log));
        let homes: Vec<Home> = ours.map(Home::of).collect();
        self.note_home(directory.segment, homes.into_iter());
        self.indexed_before = directory.segment + 1;
        self.recent = self.recent.split_off(&self.indexed_before);
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

fn push_page(part: &mut IndexPart, log: LogId, page: &mut Vec<Run>) {
    part.push(
        log,
        page.drain(..).map(|run| {
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
        }),
    );
}

/// Whether a log's runs may be anywhere but in memory. Those of schedules and outboxes are needed where nobody can
/// wait for them.
pub(crate) fn is_paged(log: LogId) -> bool {
    Schedule::log_of(log).is_none() && Outbox::shards_of(log).is_none()
}

/// The offsets of a log that a segment has, from the first to the last.
pub(super) type Extent = (Offset, Offset);
