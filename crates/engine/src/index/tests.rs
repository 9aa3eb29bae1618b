//! What the index counts, and what it keeps for checkpoints.

use super::{Index, Run, place};
use journal::{Location, Part, Parts};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogId, Millis, Offset};

const LOG: LogId = LogId(1);

fn in_one(segment: u32) -> Location {
    Location::Journal { segment, position: 4096, len: 100 }
}

fn in_parts(segment: u32) -> Location {
    let parts = [0, 1].map(|i| Part { segment: segment + i, position: 4096, len: 50 });
    Location::Parts(Arc::new(Parts { list: parts.to_vec() }))
}

fn insert(index: &mut Index, location: &Location) {
    let at = place(location);
    let (first, time) = (Offset(7), Millis(0));
    let run = Run { first, max_timestamp: time, appended: time, count: 1, at, expiring: false };
    index.insert(LOG, run, location);
}

#[test]
fn a_batch_that_moves_counts_where_it_is_and_not_where_it_was() {
    let mut index = Index::default();
    for (location, live) in [
        (in_parts(1), vec![(1, 50), (2, 50)]),
        (in_parts(5), vec![(5, 50), (6, 50)]),
        (in_one(8), vec![(8, 100)]),
        (in_parts(9), vec![(9, 50), (10, 50)]),
    ] {
        insert(&mut index, &location);
        assert_eq!(index.live(), &BTreeMap::from_iter(live), "moved to {location:?}");
        let log = index.log(LOG).expect("it has a run");
        let run = log.at_or_after(Offset(7)).expect("the run");
        assert_eq!(log.location(run), location);
    }
}

#[test]
fn a_sealed_segment_stays_in_checkpoints_until_none_replays_from_it() {
    let mut index = Index::default();
    insert(&mut index, &in_one(3));
    let sealed = index.seal(3, |_| true);
    assert_eq!(sealed.logs[&LOG].len(), 1);
    index.indexed_before(3);
    assert_eq!(index.unindexed(|_| true).len(), 1, "the replay may begin in the segment");
    index.indexed_before(4);
    assert_eq!(index.unindexed(|_| true), [], "its index file has it");
}
