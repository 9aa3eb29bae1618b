//! A cut has everything as of one moment, whatever changes while it is taken.

use super::{Chunked, Cut};
use bytes::Bytes;
use io::Random as _;
use io::sim::SimRandom;
use std::collections::BTreeMap;
use types::LogId;

type Stored = BTreeMap<u32, Bytes>;

/// Takes all of a cut, changing things in between.
fn take(map: &mut Chunked<LogId, u64>, into: &mut Stored, random: &SimRandom) {
    loop {
        let mut room = 1;
        let done = map.cut_on(&mut room, |chunk, bytes| {
            match bytes.is_empty() {
                true => into.remove(&chunk),
                false => into.insert(chunk, bytes),
            };
        });
        if done {
            return;
        }
        change(map, random);
    }
}

fn change(map: &mut Chunked<LogId, u64>, random: &SimRandom) {
    let key = LogId(u32::try_from(random.below(40)).unwrap());
    match random.below(4) {
        0 => drop(map.remove(key)),
        1 => *map.get_or_insert_with(key, || 0) += 1,
        _ => {
            if let Some(value) = map.get_mut(key) {
                *value = random.next();
            }
        }
    }
}

#[test]
fn changes_since_any_cut_and_what_was_before_are_the_whole() {
    for seed in 0..200 {
        let random = SimRandom::new(seed);
        let mut map = Chunked::new(2);
        let mut kept: Vec<(u64, Stored)> = Vec::new();
        for number in 1..20 {
            (0..random.below(30)).for_each(|_| change(&mut map, &random));
            let as_of = (*map).clone();
            let from = kept.get(usize::try_from(random.below(20)).unwrap()).cloned();
            let (since, mut stored) =
                from.map_or((None, Stored::new()), |(cut, stored)| (Some(cut), stored));
            map.begin_cut(Cut { number, since });
            take(&mut map, &mut stored, &random);
            let mut restored: Chunked<LogId, u64> = Chunked::new(2);
            stored.values().for_each(|bytes| restored.restore(bytes).unwrap());
            assert_eq!(*restored, as_of, "seed {seed}, cut {number}");
            kept.push((number, stored));
        }
    }
}
