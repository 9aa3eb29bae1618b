//! What the index counts, what it keeps in memory, and what it finds again.

use super::{Entry, Index, Look, PageKey, Run, StoredRuns, place};
use journal::{Directory, IndexPart, Location, PageEntry, Part, Parts};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use types::{LogId, Millis, Offset};

const LOG: LogId = LogId(1);
/// Bytes of every batch.
const BYTES: u64 = 100;

/// An index and the index files of its segments.
struct Stage {
    index: Index,
    files: BTreeMap<PageKey, Vec<Run>>,
    directories: Vec<Directory>,
}

fn in_one(segment: u32, first: i64) -> Location {
    let position = 4096 + u32::try_from(first).unwrap_or(0) * 100;
    Location::Journal { segment, position, len: 100 }
}

fn in_parts(segment: u32) -> Location {
    let parts = [0, 1].map(|i| Part { segment: segment + i, position: 4096, len: 50 });
    Location::Parts(Arc::new(Parts { list: parts.to_vec() }))
}

fn run(first: i64, location: &Location) -> Run {
    let time = Millis(1_000 + first);
    let (first, at) = (Offset(first), place(location));
    Run {
        first,
        max_timestamp: time,
        appended: time,
        count: 1,
        at,
        expiring: false,
        referred: false,
    }
}

impl Stage {
    fn new(page_bytes_max: usize, page_runs_max: usize) -> Stage {
        let index = Index::new(page_bytes_max, page_runs_max);
        Stage { index, files: BTreeMap::new(), directories: Vec::new() }
    }

    /// Puts runs of one record into a segment.
    fn add(&mut self, segment: u32, firsts: impl IntoIterator<Item = i64>) {
        for first in firsts {
            let location = in_one(segment, first);
            self.index.insert(LOG, run(first, &location), &location);
        }
    }

    /// Seals a segment and stores its index.
    fn store(&mut self, segment: u32) {
        let directory = self.seal(segment);
        self.index.indexed(&Arc::new(directory));
    }

    fn seal(&mut self, segment: u32) -> Directory {
        let part: IndexPart = self.index.seal(segment);
        let directory = part.directory(segment);
        for (entry, runs) in directory.pages.iter().zip(part.decoded(segment)) {
            let key = PageKey { segment, place: entry.place, first: entry.first };
            self.files.insert(key, super::stored_runs(&runs));
        }
        self.directories.push(directory.clone());
        directory
    }

    /// The same index, as the next start finds it.
    fn restarted(&self, start: i64, end: i64) -> Stage {
        let mut next = Stage::new(0, 4);
        for directory in &self.directories {
            next.index.found(directory, |_| true);
            next.index.found_before(directory.segment + 1);
        }
        next.index.restore(unindexed(&self.index, 3));
        next.files.clone_from(&self.files);
        next.directories.clone_from(&self.directories);
        let read = |_, key| Ok::<_, Infallible>(next.files[&key].clone());
        let found = next.index.settle_found(true, |_| Some((Offset(start), Offset(end))), read);
        found.expect("nothing fails");
        next
    }

    /// Reads pages until the question is answered.
    fn ask(&mut self, question: impl Fn(&super::LogRuns<'_>) -> Look) -> Option<i64> {
        for _ in 0..20 {
            match question(&self.index.log(LOG)?) {
                Look::Run(run) => return Some(run.first.0),
                Look::None => return None,
                Look::Page(key) => self.load(key, |_| false),
            }
        }
        panic!("pages push each other out");
    }

    fn load(&mut self, key: PageKey, dead: impl Fn(&Run) -> bool) {
        self.index.pages.release();
        self.index.page_loaded(LOG, key, self.files[&key].clone(), dead);
    }

    /// First offset and segment of every run from `offset` on.
    fn all(&mut self, mut offset: i64) -> Vec<(i64, u32)> {
        let mut all = Vec::new();
        while let Some(first) = self.ask(|runs| runs.at_or_after(Offset(offset))) {
            let runs = self.index.log(LOG).expect("it has a run");
            let Look::Run(found) = runs.at(Offset(first)) else { panic!("it was there") };
            assert_eq!(runs.location(&found), in_one(found.at.segment, first));
            all.push((first, found.at.segment));
            offset = first + 1;
        }
        assert!(self.index.logs.values().all(super::LogIndex::is_sound));
        all
    }

    fn stretches(&self) -> Vec<(i64, i64)> {
        let entries = self.index.log(LOG).into_iter().flat_map(|runs| runs.entries());
        let stretch = |entry| match entry {
            Entry::Stretch(stretch) => Some((stretch.first.0, stretch.end.0)),
            Entry::Run(_) => None,
        };
        entries.filter_map(stretch).collect()
    }

    fn live(&self) -> Vec<(u32, u64)> {
        self.index.live().iter().map(|(segment, bytes)| (*segment, bytes / BYTES)).collect()
    }
}

#[test]
fn a_batch_that_moves_counts_where_it_is_and_not_where_it_was() {
    let mut index = Index::new(0, 4);
    for (location, live) in [
        (in_parts(1), vec![(1, 50), (2, 50)]),
        (in_parts(5), vec![(5, 50), (6, 50)]),
        (in_one(8, 7), vec![(8, 100)]),
        (in_parts(9), vec![(9, 50), (10, 50)]),
    ] {
        index.insert(LOG, run(7, &location), &location);
        assert_eq!(index.live(), &BTreeMap::from_iter(live), "moved to {location:?}");
        let runs = index.log(LOG).expect("it has a run");
        let Look::Run(found) = runs.at_or_after(Offset(7)) else { panic!("the run") };
        assert_eq!(runs.location(&found), location);
    }
}

#[test]
fn a_segment_is_in_checkpoints_until_its_index_file_is_stored() {
    let mut stage = Stage::new(0, 4);
    stage.add(3, 0..5);
    let location = in_parts(3);
    stage.index.insert(LogId(2), run(0, &location), &location);
    assert_eq!(unindexed(&stage.index, 1).runs.len(), 6);
    stage.store(3);
    let left = unindexed(&stage.index, 2);
    assert_eq!((left.indexed_before, left.runs.len()), (4, 1), "the one in parts");
}

#[test]
fn what_is_stored_is_found_page_by_page_whatever_there_is_room_for() {
    for room in [0, 300, 1 << 20] {
        let mut stage = Stage::new(room, 4);
        stage.add(1, 0..10);
        stage.add(2, 10..15);
        stage.store(1);
        assert_eq!(stage.stretches(), [(0, 4), (4, 8), (8, 10)]);
        stage.add(3, 15..20);
        stage.store(2);
        let expected: Vec<(i64, u32)> = (0..10)
            .map(|at| (at, 1))
            .chain((10..15).map(|at| (at, 2)))
            .chain((15..20).map(|at| (at, 3)))
            .collect();
        assert_eq!(stage.all(0), expected);
        assert_eq!(stage.ask(|runs| runs.at(Offset(9))), Some(9));
        assert_eq!(stage.ask(|runs| runs.since(Millis(1_006))), Some(6));
        assert_eq!(stage.ask(|runs| runs.newest()), Some(19));
        assert_eq!(stage.ask(|runs| runs.last_before(Offset(9))), Some(8));
        assert_eq!(stage.live(), [(1, 10), (2, 5), (3, 5)]);
        stage.index.pages.release();
        assert!(stage.index.pages.bytes() <= room);
        assert_eq!(stage.restarted(0, 20).all(0), expected, "after a restart");
    }
}

#[test]
fn a_trim_inside_a_page_hides_its_runs_and_counts_them_when_it_is_read() {
    let mut stage = Stage::new(0, 4);
    stage.add(1, 0..12);
    stage.store(1);
    assert!(!stage.index.trim(LOG, Offset(4)), "a whole page");
    assert!(stage.index.trim(LOG, Offset(6)), "half of one");
    assert_eq!(stage.live(), [(1, 8)], "never less than there is");
    assert_eq!(stage.all(0).first(), Some(&(6, 1)));
    assert_eq!(stage.live(), [(1, 6)]);
    let mut next = stage.restarted(6, 12);
    assert_eq!(next.live(), [(1, 8)]);
    assert_eq!(next.index.stale_pages(LOG).len(), 1);
    assert_eq!(next.all(0).len(), 6);
    next.index.trim(LOG, Offset(12));
    assert_eq!((next.live(), next.stretches()), (vec![], vec![]));
}

#[test]
fn holes_stay_holes_when_their_page_is_read_again() {
    let mut stage = Stage::new(1 << 20, 4);
    stage.add(1, 0..8);
    stage.store(1);
    let dead = |run: &Run| run.first.0 % 2 == 1 || run.first.0 > 3;
    stage.index.mark_stale(LOG, Offset(1), Offset(8));
    let stale = stage.index.stale_pages(LOG);
    assert_eq!(stale.len(), 2);
    for page in stale {
        assert!(!stage.index.recount(LOG, page, dead), "it is not in memory");
        stage.load(page, dead);
    }
    assert_eq!((stage.live(), stage.stretches()), (vec![(1, 2)], vec![(0, 3)]), "one page is gone");
    assert_eq!(stage.index.stale_pages(LOG), []);
    let runs = stage.index.log(LOG).expect("it has runs");
    assert!(matches!(runs.at_or_after(Offset(1)), Look::Run(run) if run.first == Offset(2)));
    assert_eq!(runs.at_or_after(Offset(3)), Look::None);
}

#[test]
fn a_page_whose_last_runs_are_gone_is_passed_without_room_for_two() {
    let mut stage = Stage::new(0, 4);
    stage.add(1, 0..8);
    let directory = stage.seal(1);
    stage.index.sweep(LOG, 100, |run| run.first == Offset(3) || run.first == Offset(4));
    stage.index.indexed(&Arc::new(directory));
    let dead = |run: &Run| run.first == Offset(3) || run.first == Offset(4);
    for _ in 0..4 {
        match stage.index.log(LOG).expect("it has runs").at_or_after(Offset(3)) {
            Look::Run(run) => return assert_eq!(run.first, Offset(5)),
            Look::Page(key) => stage.load(key, dead),
            Look::None => panic!("there is more"),
        }
    }
    panic!("the pages push each other out");
}

#[test]
fn what_is_copied_out_of_a_page_is_found_where_it_is_now() {
    let mut stage = Stage::new(0, 4);
    stage.add(1, 0..8);
    stage.add(2, 8..10);
    stage.store(1);
    let pages = stage.index.pages_in(1);
    let (_, first) = *pages.last().expect("two pages");
    assert_eq!(stage.index.unfold(LOG, first), None, "it has to be read");
    stage.load(first, |run| run.first == Offset(2));
    let unfolded = stage.index.unfold(LOG, first).expect("it is in memory");
    assert_eq!(unfolded.len(), 3);
    assert_eq!(stage.live(), [(1, 7), (2, 2)]);
    // One is copied before the segment is sealed, the others after.
    stage.add(2, [0]);
    let directory = stage.seal(2);
    let pages = directory.pages.iter().map(|page: &PageEntry| (page.first.0, page.end.0));
    assert_eq!(pages.collect::<Vec<_>>(), [(0, 1), (8, 10)], "a page has no stranger in it");
    stage.index.indexed(&Arc::new(directory));
    stage.add(3, [1, 3]);
    stage.store(3);
    let expected = [(0, 2), (1, 3), (3, 3), (4, 1), (5, 1), (6, 1), (7, 1), (8, 2), (9, 2)];
    assert_eq!(stage.all(0), expected);
    assert_eq!(stage.live(), [(1, 4), (2, 3), (3, 2)]);
    let mut next = stage.restarted(0, 10);
    let mut found = next.all(0);
    // Which runs are dead follows from ledgers, not from here.
    found.retain(|(first, _)| *first != 2);
    assert_eq!(found, expected, "the later segment has it");
}

#[test]
fn a_segment_whose_last_runs_are_settled_before_it_is_stored_needs_no_page() {
    let mut stage = Stage::new(0, 4);
    stage.add(1, 0..8);
    let directory = stage.seal(1);
    stage.index.trim(LOG, Offset(3));
    stage.index.sweep(LOG, 100, |run| run.first >= Offset(4));
    stage.index.indexed(&Arc::new(directory));
    assert_eq!((stage.live(), stage.stretches()), (vec![(1, 1)], vec![(3, 4)]));
    assert_eq!(stage.all(0), [(3, 1)], "what was trimmed is not back");
    stage.index.remove(LOG);
    assert_eq!(stage.live(), []);
}

#[test]
fn a_page_that_cannot_be_read_is_passed_over_and_keeps_its_segment() {
    let mut stage = Stage::new(0, 4);
    stage.add(1, 0..8);
    stage.store(1);
    let (_, first) = *stage.index.pages_in(1).last().expect("two pages");
    stage.index.page_lost(LOG, first);
    assert!(stage.index.is_lost(LOG, first));
    assert_eq!(stage.all(0).first(), Some(&(4, 1)));
    assert_eq!(stage.live(), [(1, 8)]);
}

#[test]
fn a_page_of_which_something_was_copied_before_it_was_stored_covers_nothing_else() {
    let mut stage = Stage::new(0, 4);
    stage.add(1, 0..3);
    let directory = stage.seal(1);
    stage.add(2, [1]);
    stage.index.indexed(&Arc::new(directory));
    stage.store(2);
    assert!(stage.index.logs[&LOG].is_sound());
    let runs = stage.index.log(LOG).expect("the log has runs");
    assert_eq!(runs.at(Offset(0)), Look::Run(run(0, &in_one(1, 0))));
    assert!(matches!(runs.at(Offset(1)), Look::Page(page) if page.segment == 2));
    assert_eq!(runs.at(Offset(2)), Look::Run(run(2, &in_one(1, 2))));
}

/// Everything that checkpoints keep, as it is taken in pieces of so many runs.
#[test]
fn a_copy_that_the_index_of_its_segment_does_not_have_counts_elsewhere() {
    let mut stage = Stage::new(1 << 20, 8);
    stage.add(1, 0..10);
    stage.store(1);
    stage.add(2, 20..23);
    stage.store(2);
    let index = stage.restarted(0, 30).index;
    let counts_elsewhere =
        |segment, first| index.counts_elsewhere(LOG, &run(first, &in_one(segment, first)));
    assert!(counts_elsewhere(2, 5) && counts_elsewhere(2, 25) && counts_elsewhere(1, 21));
    assert!(!counts_elsewhere(1, 5) && !counts_elsewhere(2, 20) && !counts_elsewhere(2, 22));
    assert!(!counts_elsewhere(3, 5), "no index says so");
}

fn unindexed(index: &Index, look_at_max: usize) -> StoredRuns {
    let mut all = index.unindexed_hidden(|_| true);
    let mut next = Some((LogId(0), Offset(i64::MIN)));
    while let Some(from) = next {
        let (some, more) = index.unindexed(from, look_at_max, |_| true);
        assert!(more.is_none_or(|more| more > from), "it goes on");
        all.runs.extend(some.runs);
        next = more;
    }
    all
}
