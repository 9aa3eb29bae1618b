//! Pages of index files: which there are, and those in memory.

use super::{Index, LogIndex, Run, less, place};
use crate::envelope::Envelope;
use journal::{PageEntry, PagePlace};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use types::{LogId, Millis, Offset};

/// Of the room for pages, those that nobody has asked for yet have one part in so many.
const AHEAD_PART: usize = 4;

/// Names a page: where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageKey {
    pub(crate) segment: u32,
    pub(crate) place: PagePlace,
    /// Where in its log it began when it was made: finds its stretch.
    pub(crate) first: Offset,
}

/// What is known of a page without reading it, as far as its log still needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Runs that end at or before it are gone.
    pub(crate) first: Offset,
    pub(crate) end: Offset,
    pub(crate) page: PageKey,
    /// At least as new as what it holds.
    pub(crate) max_timestamp: Millis,
    pub(crate) appended: Millis,
    pub(crate) live_bytes: u32,
    /// Some batch has no timestamps.
    pub(crate) untimed: bool,
    /// Some record may have a time to live of its own.
    pub(crate) expiring: bool,
    /// Less may be live than is counted.
    pub(crate) stale: bool,
    /// It could not be read, or made anew from its segment.
    pub(crate) lost: bool,
}

impl Stretch {
    pub(crate) fn new(segment: u32, entry: &PageEntry) -> Stretch {
        Stretch {
            first: entry.first,
            end: entry.end,
            page: PageKey { segment, place: entry.place, first: entry.first },
            max_timestamp: entry.max_timestamp,
            appended: entry.append_time,
            live_bytes: u32::try_from(entry.batch_bytes).unwrap_or(u32::MAX),
            untimed: entry.untimed,
            expiring: entry.enveloped,
            stale: false,
            lost: false,
        }
    }
}

/// A page in memory: of its runs those that somebody needed when it was read.
#[derive(Debug)]
pub(crate) struct Page {
    runs: Vec<Run>,
}

impl Page {
    /// The runs that a stretch stands for.
    pub(crate) fn of(&self, stretch: &Stretch) -> &[Run] {
        let from = self.runs.partition_point(|run| run.end() <= stretch.first);
        let to = self.runs.partition_point(|run| run.first < stretch.end);
        self.runs.get(from..to).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        size_of::<Page>() + self.runs.capacity() * size_of::<Run>()
    }
}

/// Second-chance cache of pages.
#[derive(Debug)]
pub(crate) struct Pages {
    entries: BTreeMap<PageKey, Cached>,
    order: VecDeque<PageKey>,
    /// Pages that stay until whoever waited for them has had a turn, room or not.
    held: BTreeMap<PageKey, Arc<Page>>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Cached {
    page: Arc<Page>,
    used: Cell<bool>,
}

impl Pages {
    pub(super) fn new(bytes_max: usize) -> Pages {
        Pages {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            held: BTreeMap::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn get(&self, key: PageKey) -> Option<&Page> {
        if let Some(page) = self.held.get(&key) {
            return Some(page);
        }
        let cached = match io::planted("page-of-another-log") {
            true => self.entries.iter().find(|(there, _)| there.segment == key.segment)?.1,
            false => self.entries.get(&key)?,
        };
        cached.used.set(true);
        Some(&cached.page)
    }

    /// Whether a page is in memory.
    pub(super) fn has(&self, key: PageKey) -> bool {
        self.held.contains_key(&key) || self.entries.contains_key(&key)
    }

    /// Pages of `runs_max` runs that may be fetched before anybody asks for them.
    pub(crate) fn ahead_max(&self, runs_max: usize) -> usize {
        self.bytes_max / AHEAD_PART / (runs_max.max(1) * size_of::<Run>())
    }

    /// The page, to be held again later.
    pub(crate) fn share(&self, key: PageKey) -> Option<Arc<Page>> {
        let held = self.held.get(&key);
        held.or_else(|| self.entries.get(&key).map(|cached| &cached.page)).map(Arc::clone)
    }

    /// Keeps a page for this turn.
    pub(crate) fn hold(&mut self, key: PageKey, page: Arc<Page>) {
        self.held.insert(key, page);
    }

    /// Whoever waited has had its turn.
    pub(crate) fn release(&mut self) {
        self.held.clear();
        self.evict();
    }

    /// Bytes of the pages in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn insert(&mut self, key: PageKey, runs: Vec<Run>) {
        self.remove(key);
        let page = Arc::new(Page { runs });
        self.bytes += page.bytes();
        self.held.insert(key, Arc::clone(&page));
        self.entries.insert(key, Cached { page, used: Cell::new(false) });
        self.order.push_back(key);
    }

    pub(super) fn remove(&mut self, key: PageKey) {
        self.held.remove(&key);
        if let Some(cached) = self.entries.remove(&key) {
            self.bytes -= cached.page.bytes();
        }
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max
            && let Some(key) = self.order.pop_front()
        {
            match self.entries.get(&key) {
                Some(cached) if cached.used.replace(false) => self.order.push_back(key),
                _ => self.remove(key),
            }
        }
        // Names of pages that were removed otherwise must not pile up.
        if self.order.len() > self.entries.len() * 2 + 64 {
            self.order.retain(|key| self.entries.contains_key(key));
        }
    }
}

impl Index {
    /// Takes in a page that was read: `runs` as stored. Those that `dead` says nobody needs are left
    /// out, and what is live is counted.
    pub(crate) fn page_loaded(
        &mut self,
        log: LogId,
        key: PageKey,
        mut runs: Vec<Run>,
        dead: impl Fn(&Run) -> bool,
    ) {
        let known = self.logs.get_mut(&log).is_some_and(|index| index.stretch_of(key).is_some());
        if !known {
            return;
        }
        if !io::planted("hole-forgotten") {
            runs.retain(|run| !dead(run));
        }
        runs.shrink_to_fit();
        self.pages.insert(key, runs);
        self.count_page(log, key);
    }

    /// A page cannot be read.
    pub(crate) fn page_lost(&mut self, log: LogId, key: PageKey) {
        let stretch = self.logs.get_mut(&log).and_then(|index| index.stretch_of(key));
        if let Some((_, stretch)) = stretch {
            stretch.lost = true;
        }
    }

    /// Whether a page was to be read and could not be.
    pub(crate) fn is_lost(&self, log: LogId, key: PageKey) -> bool {
        let stretch = self.logs.get(&log).and_then(|index| index.stretch(key));
        stretch.is_some_and(|stretch| stretch.lost)
    }

    /// Marks the pages in which something between two offsets was settled; whether there are any.
    pub(crate) fn mark_stale(&mut self, log: LogId, first: Offset, end: Offset) -> bool {
        let Some(index) = self.logs.get_mut(&log) else { return false };
        let from = index.stretch_at(first);
        let mut any = false;
        for stretch in index.stretches.range_mut(from..).take_while(|one| one.first < end) {
            stretch.stale = true;
            any = true;
        }
        any
    }

    /// The pages of a log that have to be counted again.
    pub(crate) fn stale_pages(&self, log: LogId) -> Vec<PageKey> {
        let stretches = self.logs.get(&log).into_iter().flat_map(|index| &index.stretches);
        stretches.filter(|one| one.stale && !one.lost).map(|one| one.page).collect()
    }

    /// Counts a page again; false when it has to be read for that.
    pub(crate) fn recount(
        &mut self,
        log: LogId,
        key: PageKey,
        dead: impl Fn(&Run) -> bool,
    ) -> bool {
        let Some(page) = self.pages.share(key) else { return false };
        if page.runs.iter().any(&dead) {
            let kept = page.runs.iter().filter(|run| !dead(run)).copied().collect();
            self.pages.insert(key, kept);
        }
        self.count_page(log, key);
        true
    }

    /// Replaces a page, which has to be in memory, by its runs; gives them. None of a page that
    /// nobody needs any more.
    pub(crate) fn unfold(&mut self, log: LogId, key: PageKey) -> Option<Vec<Run>> {
        let stretch = self.logs.get_mut(&log).and_then(|index| index.stretch_of(key));
        if stretch.is_none() {
            return Some(Vec::new());
        }
        let page = self.pages.share(key)?;
        let index = self.logs.get_mut(&log)?;
        let (at, stretch) = index.stretch_of(key)?;
        let (runs, live_bytes) = (page.of(stretch).to_vec(), stretch.live_bytes);
        index.bytes -= u64::from(live_bytes);
        less(&mut self.live, key.segment, live_bytes);
        index.stretches.remove(at);
        self.pages.remove(key);
        index.runs.put_between(&runs);
        let bytes: u64 = runs.iter().map(|run| u64::from(run.at.len)).sum();
        index.bytes += bytes;
        *self.live.entry(key.segment).or_default() += bytes;
        less(&mut self.live, key.segment, 0);
        Some(runs)
    }

    /// Counts what is live of a page in memory; nothing is: it goes.
    fn count_page(&mut self, log: LogId, key: PageKey) {
        let Some(page) = self.pages.share(key) else { return };
        let Some(index) = self.logs.get_mut(&log) else { return };
        let Some((at, stretch)) = index.stretch_of(key) else { return };
        let runs = page.of(stretch);
        let live: u64 = runs.iter().map(|run| u64::from(run.at.len)).sum();
        let was = stretch.live_bytes;
        stretch.live_bytes = u32::try_from(live).unwrap_or(u32::MAX);
        stretch.stale = false;
        if let (Some(first), Some(last)) = (runs.first(), runs.last()) {
            // Whoever has read the page knows what is in it, and does not have to read it again to
            // pass it: two pages that do not both fit could else push each other out for ever.
            stretch.first = stretch.first.max(first.first);
            stretch.end = last.end();
            let newest = runs.iter().map(|run| run.max_timestamp).max();
            stretch.max_timestamp = newest.unwrap_or(stretch.max_timestamp);
            let appended = runs.iter().map(|run| run.appended).max();
            stretch.appended = appended.unwrap_or(stretch.appended);
        }
        let (now, gone) = (stretch.live_bytes, runs.is_empty());
        index.bytes = index.bytes + u64::from(now) - u64::from(was);
        if gone {
            index.stretches.remove(at);
            self.pages.remove(key);
        }
        *self.live.entry(key.segment).or_default() += u64::from(now);
        less(&mut self.live, key.segment, was);
    }
}

impl LogIndex {
    /// The stretch of a page, and which it is.
    pub(super) fn stretch_of(&mut self, key: PageKey) -> Option<(usize, &mut Stretch)> {
        let at = self.stretch_at(key.first);
        self.stretches.get_mut(at).filter(|stretch| stretch.page == key).map(|found| (at, found))
    }

    /// The stretch of a page. What a page has had before its stretch begins is dead, and no other
    /// page is there: so it is the first that ends after where the page began.
    fn stretch(&self, key: PageKey) -> Option<&Stretch> {
        self.stretches.get(self.stretch_at(key.first)).filter(|stretch| stretch.page == key)
    }
}

/// The runs of a page as they are stored.
pub(crate) fn stored_runs(runs: &[journal::Run]) -> Vec<Run> {
    let run = |run: &journal::Run| {
        let Envelope { expiring, due, .. } = Envelope::decode(&run.envelope);
        Run {
            first: run.first,
            max_timestamp: run.max_timestamp,
            appended: due.unwrap_or(run.append_time),
            count: run.count,
            at: place(&run.location),
            expiring,
            referred: false,
        }
    };
    runs.iter().map(run).collect()
}
