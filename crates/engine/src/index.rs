//! Where the batches of each log lie: the replica-local half of a log.
//!
//! One entry per batch and log. Offsets rise but need not be dense: a run whose records are all
//! settled is taken out and leaves a hole. The bytes each segment still holds for somebody are
//! counted here.

#[cfg(test)]
mod tests;

use crate::envelope::Envelope;
use journal::{Location, Parts, SegmentIndex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use types::{LogId, Millis, Offset};

/// One batch in one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: Offset,
    pub(crate) max_timestamp: Millis,
    /// The leader's time of the append.
    pub(crate) appended: Millis,
    pub(crate) count: u32,
    pub(crate) at: Place,
    /// Some record has a time to live of its own.
    pub(crate) expiring: bool,
}

/// Where a batch lies, packed: what [`Location`] says in 12 bytes. A batch in parts has
/// `segment == PARTS` and is looked up beside the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) position: u32,
    pub(crate) len: u32,
}

const PARTS: u32 = u32::MAX;

impl Run {
    /// The offset after its last record.
    pub(crate) fn end(&self) -> Offset {
        self.first.plus(self.count)
    }
}

/// The runs of one log, by offset.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    runs: VecDeque<Run>,
    parts: BTreeMap<Offset, Arc<Parts>>,
    bytes: u64,
}

/// The runs of all logs of a worker.
#[derive(Debug, Default)]
pub(crate) struct Index {
    logs: BTreeMap<LogId, LogIndex>,
    live: BTreeMap<u32, u64>,
    /// What was added to each segment that the stored checkpoint replays from, or a later one.
    recent: BTreeMap<u32, Vec<(LogId, Offset)>>,
    /// Runs in parts: they span segments, so checkpoints keep them, not index files.
    parted: BTreeSet<(LogId, Offset)>,
    /// Runs whose batch was appended to another log before: no index file says so, checkpoints do.
    referred: BTreeSet<(LogId, Offset)>,
}

impl LogIndex {
    /// The run that holds `offset`, or the first one after it.
    pub(crate) fn at_or_after(&self, offset: Offset) -> Option<&Run> {
        self.runs.get(self.position(offset))
    }

    /// The runs from the one that holds `offset`, or the first after it.
    pub(crate) fn from(&self, offset: Offset) -> impl Iterator<Item = &Run> {
        self.runs.range(self.position(offset)..)
    }

    /// All runs.
    pub(crate) fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    /// Bytes of all batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where a run lies.
    pub(crate) fn location(&self, run: &Run) -> Location {
        if run.at.segment == PARTS
            && let Some(parts) = self.parts.get(&run.first)
        {
            return Location::Parts(Arc::clone(parts));
        }
        Location::Journal { segment: run.at.segment, position: run.at.position, len: run.at.len }
    }

    fn position(&self, offset: Offset) -> usize {
        self.runs.partition_point(|run| run.end() <= offset)
    }
}

impl Index {
    /// A log's runs, if it has had any.
    pub(crate) fn log(&self, log: LogId) -> Option<&LogIndex> {
        self.logs.get(&log)
    }

    /// Bytes that somebody still needs, per segment.
    pub(crate) fn live(&self) -> &BTreeMap<u32, u64> {
        &self.live
    }

    /// Adds a run; one of the same first offset is replaced (it was copied forward).
    pub(crate) fn insert(&mut self, log: LogId, run: Run, location: &Location) {
        let index = self.logs.entry(log).or_default();
        count(&mut self.live, location, true);
        let position = index.position(run.first);
        match index.runs.get(position) {
            Some(there) if there.first == run.first => {
                let was = index.location(there);
                count(&mut self.live, &was, false);
                index.bytes -= u64::from(index.runs[position].at.len);
                index.runs[position] = run;
            }
            _ => index.runs.insert(position, run),
        }
        index.bytes += u64::from(run.at.len);
        if let Location::Parts(parts) = location {
            index.parts.insert(run.first, Arc::clone(parts));
            self.parted.insert((log, run.first));
        } else {
            index.parts.remove(&run.first);
            self.parted.remove(&(log, run.first));
            self.recent.entry(run.at.segment).or_default().push((log, run.first));
        }
        self.referred.remove(&(log, run.first));
    }

    /// Adds a run whose batch is there already, as another log's: until it is copied forward, no
    /// index file has it.
    pub(crate) fn refer(&mut self, log: LogId, run: Run, location: &Location) {
        self.insert(log, run, location);
        let recent = self.recent.get_mut(&run.at.segment);
        if let Some(recent) = recent.filter(|recent| recent.last() == Some(&(log, run.first))) {
            recent.pop();
        }
        self.referred.insert((log, run.first));
    }

    /// Of the runs whose batch was another log's before, `count` of those that are beyond `kept`, and
    /// none of `but`.
    pub(crate) fn referred_beyond(
        &self,
        kept: usize,
        count: usize,
        but: &BTreeSet<(LogId, Offset)>,
    ) -> Vec<(LogId, Run)> {
        let beyond = self.referred.len().saturating_sub(kept).min(count);
        let found = self.referred.difference(but).take(beyond);
        found.filter_map(|(log, first)| Some((*log, *self.run(*log, *first)?))).collect()
    }

    /// Drops the runs that end at or before `start`.
    pub(crate) fn trim(&mut self, log: LogId, start: Offset) {
        let Some(index) = self.logs.get_mut(&log) else { return };
        while let Some(run) = index.runs.front().copied()
            && run.end() <= start
        {
            let was = index.location(&run);
            if index.parts.remove(&run.first).is_some() {
                self.parted.remove(&(log, run.first));
            }
            self.referred.remove(&(log, run.first));
            index.runs.pop_front();
            index.bytes -= u64::from(run.at.len);
            count(&mut self.live, &was, false);
        }
    }

    /// Drops the runs that `dead` says nobody needs, looking at the first `look_at_max` of them.
    pub(crate) fn sweep(&mut self, log: LogId, look_at_max: usize, dead: impl Fn(&Run) -> bool) {
        let Some(index) = self.logs.get_mut(&log) else { return };
        let looked_at = index.runs.len().min(look_at_max);
        let mut kept = VecDeque::with_capacity(index.runs.len());
        let mut dropped = false;
        for (i, run) in index.runs.iter().enumerate() {
            if i < looked_at && dead(run) {
                count(&mut self.live, &index.location(run), false);
                index.parts.remove(&run.first);
                self.parted.remove(&(log, run.first));
                self.referred.remove(&(log, run.first));
                index.bytes -= u64::from(run.at.len);
                dropped = true;
            } else {
                kept.push_back(*run);
            }
        }
        if dropped {
            index.runs = kept;
        }
    }

    /// Forgets a log.
    pub(crate) fn remove(&mut self, log: LogId) {
        let Some(index) = self.logs.remove(&log) else { return };
        for run in &index.runs {
            count(&mut self.live, &index.location(run), false);
            self.parted.remove(&(log, run.first));
            self.referred.remove(&(log, run.first));
        }
    }

    /// The runs that have bytes in `segment`.
    pub(crate) fn in_segment(&self, segment: u32) -> Vec<(LogId, Run)> {
        let mut found = Vec::new();
        for (log, index) in &self.logs {
            for run in &index.runs {
                if index.location(run).pieces().any(|piece| piece.segment == segment) {
                    found.push((*log, *run));
                }
            }
        }
        found
    }
}

/// The packed form of `location`, for a run.
pub(crate) fn place(location: &Location) -> Place {
    match location {
        Location::Journal { segment, position, len } => {
            Place { segment: *segment, position: *position, len: *len }
        }
        Location::Parts(_) => {
            let len = u32::try_from(location.len()).unwrap_or(u32::MAX);
            Place { segment: PARTS, position: 0, len }
        }
    }
}

fn count(live: &mut BTreeMap<u32, u64>, location: &Location, add: bool) {
    for piece in location.pieces() {
        let bytes = live.entry(piece.segment).or_default();
        let len = u64::from(piece.len);
        *bytes = if add { *bytes + len } else { *bytes - len };
        if *bytes == 0 {
            live.remove(&piece.segment);
        }
    }
}

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

impl StoredRun {
    fn new(log: LogId, run: &Run, location: Location, referred: bool) -> StoredRun {
        StoredRun {
            log,
            first: run.first,
            count: run.count,
            max_timestamp: run.max_timestamp,
            appended: run.appended,
            expiring: run.expiring,
            location,
            referred,
        }
    }
}

impl Index {
    /// Puts back what a checkpoint kept.
    pub(crate) fn restore(&mut self, stored: StoredRun) {
        let run = Run {
            first: stored.first,
            max_timestamp: stored.max_timestamp,
            appended: stored.appended,
            count: stored.count,
            at: place(&stored.location),
            expiring: stored.expiring,
        };
        match stored.referred {
            true => self.refer(stored.log, run, &stored.location),
            false => self.insert(stored.log, run, &stored.location),
        }
    }

    /// Every segment before this one has its index file, and no replay begins before it.
    pub(crate) fn indexed_before(&mut self, segment: u32) {
        self.recent = self.recent.split_off(&segment);
    }

    /// The runs that a restart may not find in an index file, for it reads those of the segments
    /// before its replay only; and those in parts or referred.
    pub(crate) fn unindexed(&self, of: impl Fn(LogId) -> bool) -> Vec<StoredRun> {
        let forgotten = io::planted("activation-forgotten");
        let referred = self.referred.iter().filter(|_| !forgotten);
        let recent = self.recent.values().flatten().chain(&self.parted).chain(referred);
        let mut stored: Vec<StoredRun> = recent
            .filter(|(log, _)| of(*log))
            .filter_map(|(log, first)| self.stored(*log, *first))
            .collect();
        stored.sort_by_key(|run| (run.log, run.first));
        stored.dedup();
        stored
    }

    /// A segment is sealed: the index file of what this worker has in it.
    pub(crate) fn seal(&mut self, segment: u32, of: impl Fn(LogId) -> bool) -> SegmentIndex {
        let mut sealed = SegmentIndex { segment, ..SegmentIndex::default() };
        for (log, first) in self.recent.get(&segment).into_iter().flatten() {
            let (log, first) = (*log, *first);
            let Some(stored) = self.stored(log, first).filter(|_| of(log)) else { continue };
            if !stored.location.pieces().any(|piece| piece.segment == segment) {
                continue;
            }
            let envelope = Envelope { expiring: stored.expiring, ..Envelope::default() };
            sealed.logs.entry(log).or_default().push(journal::Run {
                first: stored.first,
                count: stored.count,
                location: stored.location,
                max_timestamp: stored.max_timestamp,
                append_time: stored.appended,
                envelope: envelope.encode(),
            });
        }
        for runs in sealed.logs.values_mut() {
            runs.sort_by_key(|run| run.first);
            runs.dedup_by_key(|run| run.first);
        }
        sealed
    }

    /// Takes in an index file.
    pub(crate) fn load(&mut self, sealed: SegmentIndex) {
        for (log, runs) in sealed.logs {
            for run in runs {
                let Envelope { expiring, due, .. } = Envelope::decode(&run.envelope);
                let at = place(&run.location);
                let loaded = Run {
                    first: run.first,
                    max_timestamp: run.max_timestamp,
                    appended: due.unwrap_or(run.append_time),
                    count: run.count,
                    at,
                    expiring,
                };
                self.insert(log, loaded, &run.location);
            }
        }
        self.recent.remove(&sealed.segment);
    }

    fn stored(&self, log: LogId, first: Offset) -> Option<StoredRun> {
        let index = self.logs.get(&log)?;
        let run = self.run(log, first)?;
        let referred = self.referred.contains(&(log, first));
        Some(StoredRun::new(log, run, index.location(run), referred))
    }

    fn run(&self, log: LogId, first: Offset) -> Option<&Run> {
        self.logs.get(&log)?.at_or_after(first).filter(|run| run.first == first)
    }
}
