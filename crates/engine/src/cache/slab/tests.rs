use super::{Marks, Slab};
use crate::cache::BatchCache;
use crate::index::{Place, Run};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;
use types::{LogId, Millis, Offset};

const LOG: LogId = LogId(5);

fn run(first: i64, count: u32, len: u32) -> Run {
    Run {
        first: Offset(first),
        max_timestamp: Millis(0),
        appended: Millis(0),
        count,
        at: Place { segment: 1, position: first as u32 * 1_000, len },
        expiring: false,
        referred: false,
    }
}

/// A slab of these runs; every byte of a batch says which one it is.
fn slab(runs: &[Run]) -> Option<Slab> {
    let mut marks = Marks::new(LOG, runs.len());
    let mut bytes = Vec::new();
    for run in runs {
        marks.push((run.first, run.count), run.at.len as usize);
        bytes.extend(vec![run.first.0 as u8; run.at.len as usize]);
    }
    marks.over(Bytes::from(bytes))
}

/// `count` runs of one record without a hole.
fn dense(first: i64, count: i64) -> Vec<Run> {
    (first..first + count).map(|first| run(first, 1, 100)).collect()
}

fn kept(runs: &[Run]) -> Arc<Slab> {
    Arc::new(slab(runs).expect("there are some"))
}

#[test]
fn nothing_is_no_slab() {
    assert!(slab(&[]).is_none());
}

#[test]
fn a_short_row_does_not_keep_the_slab_in_memory() {
    let runs = dense(0, 10);
    let slab = slab(&runs).expect("there are some");
    let within = |row: &Bytes| slab.bytes.as_ptr_range().contains(&row.as_ptr());
    let row = |bytes_max| slab.row(&runs[0], runs[1..].iter().copied(), bytes_max).expect("there");
    assert!(within(&row(500).bytes) && !within(&row(400).bytes));
    assert!(!within(&slab.batch(&runs[3]).expect("there")));
}

#[test]
fn of_slabs_that_overlap_one_that_has_the_offset_is_found() {
    let mut cache = BatchCache::new(1 << 20);
    cache.insert_slab(&kept(&dense(0, 30)));
    cache.insert_slab(&kept(&dense(20, 20)));
    let mut first_of = |log, offset| cache.slab(log, Offset(offset)).map(|slab| slab.first().0);
    assert_eq!(
        [0, 19, 20, 39, 40].map(|at| first_of(LOG, at)),
        [Some(0), Some(0), Some(20), Some(20), None]
    );
    assert_eq!((first_of(LogId(4), 3), first_of(LogId(6), 3)), (None, None));
}

#[test]
fn of_two_that_begin_together_the_longer_one_is_kept_and_all_is_counted() {
    let mut cache = BatchCache::new(1 << 20);
    let (short, long) = (kept(&dense(0, 5)), kept(&dense(0, 50)));
    for slab in [&short, &long, &short] {
        cache.insert_slab(slab);
    }
    assert_eq!(cache.slab(LOG, Offset(0)).map(|slab| slab.end()), Some(Offset(50)));
    assert_eq!(cache.bytes(), long.held_bytes());
}

#[test]
fn slabs_go_when_there_is_no_room_those_that_were_used_later() {
    let one = kept(&dense(0, 10)).held_bytes();
    let mut cache = BatchCache::new(3 * one);
    (0..3).for_each(|at| cache.insert_slab(&kept(&dense(at * 10, 10))));
    assert!(cache.slab(LOG, Offset(0)).is_some());
    cache.insert_slab(&kept(&dense(30, 10)));
    let there: Vec<i64> = (0..4).filter(|at| cache.slab(LOG, Offset(at * 10)).is_some()).collect();
    assert_eq!(there, [0, 2, 3]);
    assert_eq!(cache.bytes(), 3 * one);
    cache.recount(true);
    assert!(cache.bytes() <= 3 * one / 4);
}

proptest! {
    /// Offsets with holes, of which the index has lost some since: a row has just those runs that
    /// follow each other in both.
    #[test]
    fn a_row_is_what_the_index_has_without_a_hole(
        batches in prop::collection::vec((0i64..3, 1u32..4, 1u32..50, any::<bool>()), 1..40),
        from in 0usize..40,
        bytes_max in 0usize..1_000,
    ) {
        let mut next = 0;
        let mut loaded = Vec::new();
        let mut live = Vec::new();
        for (hole, count, len, is_live) in batches {
            // Most follow each other.
            let one = run(next + hole / 2, count, len);
            next = one.end().0;
            loaded.push(one);
            live.extend((is_live || len % 3 > 0).then_some(one));
        }
        let slab = slab(&loaded).unwrap();
        let Some(first) = live.get(from) else { return Ok(()) };
        let row = slab.row(first, live[from + 1..].iter().copied(), bytes_max).unwrap();
        let mut expected = vec![*first];
        for run in &live[from + 1..] {
            let bytes: u32 = expected.iter().chain([run]).map(|run| run.at.len).sum();
            if run.first != expected[expected.len() - 1].end() || bytes as usize > bytes_max {
                break;
            }
            expected.push(*run);
        }
        let bytes: Vec<u8> =
            expected.iter().flat_map(|run| vec![run.first.0 as u8; run.at.len as usize]).collect();
        prop_assert_eq!(&row.bytes, &bytes);
        prop_assert_eq!(row.end, expected[expected.len() - 1].end());
        prop_assert!(slab.has(LOG, first) && !slab.has(LogId(1), first));
    }
}
