//! Liveness is exact, whatever a run lies in and however often it moves.

use super::{Index, Run, place};
use journal::{Location, Part, Parts};
use std::sync::Arc;
use types::{LogId, Millis, Offset};

fn parts(segment: u32) -> Location {
    let part = |position| Part { segment, position, len: 10 };
    Location::Parts(Arc::new(Parts { list: vec![part(0), part(16)] }))
}

fn run(location: &Location) -> Run {
    Run {
        first: Offset(0),
        max_timestamp: Millis(0),
        appended: Millis(0),
        count: 1,
        at: place(location),
        expiring: false,
    }
}

#[test]
fn a_run_that_moves_frees_where_it_lay_and_no_more() {
    let whole = Location::Journal { segment: 4, position: 0, len: 20 };
    let mut index = Index::default();
    for (location, segment) in [(parts(1), 1), (parts(2), 2), (whole, 4), (parts(3), 3)] {
        index.insert(LogId(1), run(&location), &location);
        let live: Vec<(u32, u64)> = index.live().iter().map(|(s, bytes)| (*s, *bytes)).collect();
        assert_eq!(live, [(segment, 20)]);
    }
    index.trim(LogId(1), Offset(1));
    assert!(index.live().is_empty());
}
