//! Where the batches of each log lie: the replica-local half of a log.
//!
//! One [`Run`] per batch and log. Offsets rise but need not be dense: a run whose records are all
//! settled is taken out and leaves a hole. The bytes each segment still holds for somebody are
//! counted here.
//!
//! Runs of segments whose index file is stored are not kept in memory. A [`Stretch`] stands for those
//! of one page of an index file: its offsets, its bytes, its newest times. The page itself is read
//! when somebody looks into it, by the reading threads, and kept in [`Pages`] as long as there is
//! room. So whoever looks up an offset gets a run, or is told which page to fetch first ([`Look`]).
//!
//! What makes that simple:
//! * Runs in memory and stretches of a log never overlap. The runs of a page are neighbours in their
//!   log, and one that is to be copied forward, or replaced, becomes runs in memory first, the
//!   whole page ([`Index::unfold`]).
//! * What a stretch counts as live is never less than what is live: a segment is given back only
//!   when nothing in it is needed. It may be more ([`Stretch::stale`]): where records above a
//!   ledger's floor were settled, or a log's start is inside the page. The worker's sweep reads such
//!   pages again and counts.
//! * Outboxes are looked into where nobody can wait for a page: their runs stay in memory, packed
//!   ([`runs`]). So do runs that refer to a batch of a schedule, which no index file has.
//! * What of a schedule is due next is found in pages of another order ([`dues`]). Of its runs in
//!   memory none is taken out because it is settled, before two checkpoints have been cut: a replay may
//!   look for it, in a checkpoint or in the index file that its segment will have.
//! * A hole needs no note. Which runs are dead follows from the ledgers, so a page is filtered by
//!   them whenever it is read ([`Index::page_loaded`]).

mod audit;
mod dues;
mod pages;
mod restore;
mod runs;
mod stored;
#[cfg(test)]
mod tests;

pub(crate) use dues::{Dues, Row, Turn, turn_of};
pub(crate) use pages::{Page, PageKey, Pages, Stretch, stored_runs};
pub(crate) use stored::{Sealing, StoredRuns, is_paged};

use journal::{Directory, Location, Parts};
use runs::Runs;
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
    /// See [`Index::refer`].
    pub(crate) referred: bool,
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

impl Place {
    /// Whether it says only that the batch is in parts.
    pub(crate) fn is_in_parts(&self) -> bool {
        self.segment == PARTS
    }
}

impl Run {
    /// The offset after its last record.
    pub(crate) fn end(&self) -> Offset {
        self.first.plus(self.count)
    }
}

/// What looking for a run gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is this one.
    Run(Run),
    /// Whether it is in this page is known when that was fetched.
    Page(PageKey),
    /// There is none.
    None,
}

/// The runs of one log, by offset.
#[derive(Debug)]
struct LogIndex {
    runs: Runs,
    stretches: VecDeque<Stretch>,
    parts: BTreeMap<Offset, Arc<Parts>>,
    bytes: u64,
}

/// What a log has at some place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    Run(Run),
    Stretch(&'a Stretch),
}

/// A log's runs, looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRuns<'a> {
    index: &'a LogIndex,
    pages: &'a Pages,
}

/// The runs of all logs of a worker.
#[derive(Debug)]
pub(crate) struct Index {
    logs: BTreeMap<LogId, LogIndex>,
    live: BTreeMap<u32, u64>,
    /// What was added to each segment that has no index file yet.
    recent: BTreeMap<u32, BTreeMap<LogId, stored::Extent>>,
    /// Runs in parts: they span segments, so checkpoints keep them, not index files.
    parted: BTreeSet<(LogId, Offset)>,
    /// Runs whose batch was appended to another log before: no index file says so, checkpoints do.
    referred: BTreeSet<(LogId, Offset)>,
    pub(crate) pages: Pages,
    /// Every segment before this one has its index file.
    indexed_before: u32,
    /// Most runs of a page.
    page_runs_max: usize,
    /// Stretches found at the start, in the order of their segments, until all is known.
    found: Vec<(LogId, Stretch)>,
    /// What each segment with an index file had when that was made: where to look for what of it is
    /// needed still.
    homes: BTreeMap<u32, Vec<Home>>,
    /// Entries of schedules in the order of their due times.
    pub(crate) dues: Dues,
    /// Directories of which pages of schedules are still to take the place of runs, and from which page
    /// on.
    folding: VecDeque<(Arc<Directory>, usize)>,
}

/// Offsets of a log of which a segment had batches.
#[derive(Clone, Copy, Debug)]
struct Home {
    log: LogId,
    first: Offset,
    end: Offset,
}

impl LogIndex {
    fn of(log: LogId) -> LogIndex {
        LogIndex {
            runs: Runs::of(log),
            stretches: VecDeque::new(),
            parts: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// The first stretch that ends after `offset`.
    fn stretch_at(&self, offset: Offset) -> usize {
        self.stretches.partition_point(|stretch| stretch.end <= offset)
    }

    fn location(&self, run: &Run) -> Location {
        if run.at.segment == PARTS
            && let Some(parts) = self.parts.get(&run.first)
        {
            return Location::Parts(Arc::clone(parts));
        }
        Location::Journal { segment: run.at.segment, position: run.at.position, len: run.at.len }
    }
}

impl<'a> LogRuns<'a> {
    /// The run that holds `offset`, or the first one after it.
    pub(crate) fn at_or_after(&self, offset: Offset) -> Look {
        let run = self.index.runs.at_or_after(offset);
        for stretch in self.index.stretches.range(self.index.stretch_at(offset)..) {
            if run.is_some_and(|run| run.first < stretch.first) {
                break;
            }
            if stretch.lost {
                continue;
            }
            let Some(page) = self.pages.get(stretch.page) else { return Look::Page(stretch.page) };
            let runs = page.of(stretch);
            if let Some(run) = runs.get(runs.partition_point(|run| run.end() <= offset)) {
                return Look::Run(*run);
            }
        }
        run.map_or(Look::None, Look::Run)
    }

    /// The run that holds `offset`.
    pub(crate) fn at(&self, offset: Offset) -> Look {
        match self.at_or_after(offset) {
            Look::Run(run) if run.first > offset => Look::None,
            // The page is of what comes after.
            Look::Page(_) if self.stretch(offset).is_none() => Look::None,
            look => look,
        }
    }

    /// The runs from the one that holds `offset`, or the first after it, that are in memory.
    pub(crate) fn from(&self, offset: Offset) -> impl Iterator<Item = Run> {
        let (runs, mut next) = (*self, offset);
        let mut behind = [].iter();
        std::iter::from_fn(move || {
            let run = match behind.next() {
                Some(run) => *run,
                None => match runs.at_or_after(next) {
                    Look::Run(run) => {
                        behind = runs.behind(&run).iter();
                        run
                    }
                    Look::Page(_) | Look::None => return None,
                },
            };
            next = run.end();
            Some(run)
        })
    }

    /// What comes after a run in its page: no other run lies between them.
    fn behind(&self, run: &Run) -> &'a [Run] {
        let stretch = self.stretch(run.first);
        let page = stretch.and_then(|stretch| Some((stretch, self.pages.get(stretch.page)?)));
        page.map_or(&[], |(stretch, page)| {
            let runs = page.of(stretch);
            &runs[runs.partition_point(|one| one.first <= run.first)..]
        })
    }

    /// The runs from the one that holds `offset`, or the first after it, of a log of which all are in
    /// memory.
    pub(crate) fn in_memory(self, offset: Offset) -> impl Iterator<Item = Run> + 'a {
        self.index.runs.from(offset)
    }

    /// Everything, in order.
    pub(crate) fn entries(self) -> impl Iterator<Item = Entry<'a>> {
        let mut runs = self.index.runs.iter().peekable();
        let mut stretches = self.index.stretches.iter().peekable();
        std::iter::from_fn(move || match (runs.peek(), stretches.peek()) {
            (Some(run), Some(stretch)) if stretch.first < run.first => {
                stretches.next().map(Entry::Stretch)
            }
            (Some(_), _) => runs.next().map(Entry::Run),
            (None, _) => stretches.next().map(Entry::Stretch),
        })
    }

    /// The first run with a record of `time` or later.
    pub(crate) fn since(&self, time: Millis) -> Look {
        for entry in self.entries() {
            match entry {
                Entry::Run(run) if run.max_timestamp >= time => return Look::Run(run),
                Entry::Stretch(stretch) if stretch.max_timestamp >= time && !stretch.lost => {
                    let Some(page) = self.pages.get(stretch.page) else {
                        return Look::Page(stretch.page);
                    };
                    let found = page.of(stretch).iter().find(|run| run.max_timestamp >= time);
                    if let Some(run) = found {
                        return Look::Run(*run);
                    }
                }
                _ => {}
            }
        }
        Look::None
    }

    /// The first run with the newest record.
    pub(crate) fn newest(&self) -> Look {
        let order = |run: &Run| (run.max_timestamp, -run.first.0);
        let mut best: Option<Run> = None;
        let mut unread: Vec<&Stretch> = Vec::new();
        for entry in self.entries() {
            let run = match entry {
                Entry::Run(run) => Some(run),
                Entry::Stretch(stretch) if stretch.lost => None,
                Entry::Stretch(stretch) => match self.pages.get(stretch.page) {
                    Some(page) => page.of(stretch).iter().copied().max_by_key(order),
                    None => {
                        unread.push(stretch);
                        None
                    }
                },
            };
            best = best.into_iter().chain(run).max_by_key(order);
        }
        let may_beat = |stretch: &&&Stretch| {
            best.is_none_or(|best| {
                (stretch.max_timestamp, -stretch.first.0) > (best.max_timestamp, -best.first.0)
            })
        };
        match (unread.iter().find(may_beat), best) {
            (Some(stretch), _) => Look::Page(stretch.page),
            (None, best) => best.map_or(Look::None, Look::Run),
        }
    }

    /// The last run before `end`.
    pub(crate) fn last_before(&self, end: Offset) -> Look {
        let run = self.index.runs.last_before(end);
        let at = self.index.stretches.partition_point(|stretch| stretch.first < end);
        for stretch in self.index.stretches.range(..at).rev() {
            if run.is_some_and(|run| run.first >= stretch.first) {
                break;
            }
            if stretch.lost {
                continue;
            }
            let Some(page) = self.pages.get(stretch.page) else { return Look::Page(stretch.page) };
            if let Some(run) = page.of(stretch).iter().rfind(|run| run.first < end) {
                return Look::Run(*run);
            }
        }
        run.map_or(Look::None, Look::Run)
    }

    /// Whether it has this run in memory, wherever that lies by now.
    pub(crate) fn has(&self, run: &Run) -> bool {
        let there = self.index.runs.at_or_after(run.first);
        there.is_some_and(|there| there.first == run.first && there.count == run.count)
    }

    /// The stretch that an offset is in, if its runs may have to be fetched.
    pub(crate) fn stretch(&self, offset: Offset) -> Option<&'a Stretch> {
        let stretch = self.index.stretches.get(self.index.stretch_at(offset))?;
        (stretch.first <= offset).then_some(stretch)
    }

    /// The pages from the one that holds `offset` on, of `bytes_max` bytes of batches, that are not in
    /// memory: the first `count_max` of them.
    pub(crate) fn pages_ahead(
        &self,
        offset: Offset,
        bytes_max: usize,
        count_max: usize,
    ) -> Vec<PageKey> {
        let (mut pages, mut bytes) = (Vec::new(), 0);
        for stretch in self.index.stretches.range(self.index.stretch_at(offset)..) {
            if bytes >= bytes_max || pages.len() >= count_max {
                break;
            }
            bytes += stretch.live_bytes as usize;
            if !stretch.lost && !self.pages.has(stretch.page) {
                pages.push(stretch.page);
            }
        }
        pages
    }

    /// Where its first run begins, or earlier in a page of which the first runs are gone.
    pub(crate) fn first_at_or_after(&self, offset: Offset) -> Option<Offset> {
        let run = self.index.runs.at_or_after(offset).map(|run| run.first);
        let stretch = self.index.stretches.get(self.index.stretch_at(offset)).map(|one| one.first);
        run.into_iter().chain(stretch).min()
    }

    /// Bytes of all batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.index.bytes
    }

    /// Where a run lies.
    pub(crate) fn location(&self, run: &Run) -> Location {
        self.index.location(run)
    }
}

impl Index {
    /// An empty one that keeps pages of up to `page_runs_max` runs up to so many bytes.
    pub(crate) fn new(page_bytes_max: usize, page_runs_max: usize) -> Index {
        Index {
            logs: BTreeMap::new(),
            live: BTreeMap::new(),
            recent: BTreeMap::new(),
            parted: BTreeSet::new(),
            referred: BTreeSet::new(),
            pages: Pages::new(page_bytes_max),
            indexed_before: 0,
            page_runs_max,
            found: Vec::new(),
            homes: BTreeMap::new(),
            dues: Dues::default(),
            folding: VecDeque::new(),
        }
    }

    /// A log's runs, if it has had any.
    pub(crate) fn log(&self, log: LogId) -> Option<LogRuns<'_>> {
        self.logs.get(&log).map(|index| LogRuns { index, pages: &self.pages })
    }

    /// The page that a run is in, if it is in one and that is in memory.
    pub(crate) fn page_of(&self, log: LogId, run: &Run) -> Option<(PageKey, Arc<Page>)> {
        let index = self.logs.get(&log)?;
        let stretch = index.stretches.get(index.stretch_at(run.first))?;
        let key = Some(stretch.page).filter(|_| stretch.first < run.end())?;
        Some((key, self.pages.share(key)?))
    }

    /// Pages that may be fetched before anybody asks for them.
    pub(crate) fn ahead_max(&self) -> usize {
        self.pages.ahead_max(self.page_runs_max)
    }

    /// Bytes that somebody still needs, per segment.
    pub(crate) fn live(&self) -> &BTreeMap<u32, u64> {
        &self.live
    }

    /// Adds a run; one of the same first offset is replaced (it was copied forward).
    pub(crate) fn insert(&mut self, log: LogId, run: Run, location: &Location) {
        let run = Run { referred: false, ..run };
        self.put(log, run, location);
        if matches!(location, Location::Journal { .. }) {
            self.note_recent(log, &run);
        }
        self.referred.remove(&(log, run.first));
    }

    /// Adds a run whose batch is there already, as another log's: until it is copied forward, no
    /// index file has it.
    pub(crate) fn refer(&mut self, log: LogId, run: Run, location: &Location) {
        self.put(log, Run { referred: true, ..run }, location);
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
        let run = |(log, first): &(LogId, Offset)| {
            let run = self.log(*log)?.in_memory(*first).next()?;
            (run.first == *first).then_some((*log, run))
        };
        found.filter_map(run).collect()
    }

    fn put(&mut self, log: LogId, run: Run, location: &Location) {
        let index = self.logs.entry(log).or_insert_with(|| LogIndex::of(log));
        count(&mut self.live, location, true);
        if let Some(there) = index.runs.put(run) {
            let was = index.location(&there);
            count(&mut self.live, &was, false);
            index.bytes -= u64::from(there.at.len);
        }
        index.bytes += u64::from(run.at.len);
        if let Location::Parts(parts) = location {
            index.parts.insert(run.first, Arc::clone(parts));
            self.parted.insert((log, run.first));
        } else {
            index.parts.remove(&run.first);
            self.parted.remove(&(log, run.first));
        }
    }

    /// Drops the runs that end at or before `start`. True when that is inside a page, of which more
    /// counts as live than is.
    pub(crate) fn trim(&mut self, log: LogId, start: Offset) -> bool {
        let Some(index) = self.logs.get_mut(&log) else { return false };
        for run in index.runs.take_before(start) {
            let was = index.location(&run);
            if index.parts.remove(&run.first).is_some() {
                self.parted.remove(&(log, run.first));
            }
            self.referred.remove(&(log, run.first));
            index.bytes -= u64::from(run.at.len);
            count(&mut self.live, &was, false);
        }
        while let Some(stretch) = index.stretches.front().copied()
            && stretch.end <= start
        {
            index.stretches.pop_front();
            index.bytes -= u64::from(stretch.live_bytes);
            if !io::planted("trimmed-page-live") {
                less(&mut self.live, stretch.page.segment, stretch.live_bytes);
            }
            self.pages.remove(stretch.page);
        }
        match index.stretches.front_mut() {
            Some(stretch) if stretch.first < start && !io::planted("trimmed-runs-back") => {
                stretch.first = start;
                stretch.stale = true;
                true
            }
            _ => false,
        }
    }

    /// Drops the runs in memory that `dead` says nobody needs, looking at the first `look_at_max` of
    /// them.
    pub(crate) fn sweep(&mut self, log: LogId, look_at_max: usize, dead: impl Fn(&Run) -> bool) {
        let Some(index) = self.logs.get_mut(&log) else { return };
        for run in index.runs.take_dead(look_at_max, dead) {
            count(&mut self.live, &index.location(&run), false);
            index.parts.remove(&run.first);
            self.parted.remove(&(log, run.first));
            self.referred.remove(&(log, run.first));
            index.bytes -= u64::from(run.at.len);
        }
    }

    /// Forgets a log.
    pub(crate) fn remove(&mut self, log: LogId) {
        self.dues.remove(log);
        let Some(index) = self.logs.remove(&log) else { return };
        for run in index.runs.iter() {
            count(&mut self.live, &index.location(&run), false);
            self.parted.remove(&(log, run.first));
            self.referred.remove(&(log, run.first));
        }
        for stretch in &index.stretches {
            less(&mut self.live, stretch.page.segment, stretch.live_bytes);
            self.pages.remove(stretch.page);
        }
    }

    /// The runs in memory that have bytes in `segment`, which has an index file.
    pub(crate) fn runs_in(&self, segment: u32) -> Vec<(LogId, Run)> {
        let mut found = Vec::new();
        for Home { log, first, end } in self.homes.get(&segment).into_iter().flatten() {
            let Some(index) = self.logs.get(log) else { continue };
            let inside = index.runs.from(*first).take_while(|run| run.first < *end);
            let here = inside.filter(|run| run.at.segment == segment && !run.referred);
            found.extend(here.map(|run| (*log, run)));
        }
        // No index file has these.
        for (log, first) in self.parted.iter().chain(&self.referred) {
            let Some(index) = self.logs.get(log) else { continue };
            let run = index.runs.at_or_after(*first).filter(|run| run.first == *first);
            let here = run
                .filter(|run| index.location(run).pieces().any(|piece| piece.segment == segment));
            found.extend(here.map(|run| (*log, run)));
        }
        found
    }

    /// The pages of `segment` in which somebody may need something, the last one first.
    pub(crate) fn pages_in(&self, segment: u32) -> Vec<(LogId, PageKey)> {
        let page = |home: &Home| {
            let index = self.logs.get(&home.log)?;
            let stretch = index.stretches.get(index.stretch_at(home.first))?;
            let is_it = stretch.page.segment == segment && stretch.page.first == home.first;
            is_it.then_some((home.log, stretch.page))
        };
        let homes = self.homes.get(&segment).into_iter().flatten();
        homes.rev().filter_map(page).collect()
    }

    /// Forgets where to look in segments of which nothing is needed any more.
    pub(crate) fn forget_dead(&mut self) {
        self.homes.retain(|segment, _| self.live.contains_key(segment));
        self.dues.keep(|segment| self.live.contains_key(&segment));
    }

    /// Notes where to look for what a segment has.
    fn note_home(&mut self, segment: u32, homes: impl Iterator<Item = Home>) {
        self.homes.entry(segment).or_default().extend(homes);
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
        if add {
            *live.entry(piece.segment).or_default() += u64::from(piece.len);
        } else {
            less(live, piece.segment, piece.len);
        }
    }
}

fn less(live: &mut BTreeMap<u32, u64>, segment: u32, len: u32) {
    let bytes = live.entry(segment).or_default();
    *bytes -= u64::from(len);
    if *bytes == 0 {
        live.remove(&segment);
    }
}
