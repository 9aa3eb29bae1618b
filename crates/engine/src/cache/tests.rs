use super::{BatchCache, Key, Name};
use record::batch::{Builder, Compression};
use record::tail;
use types::{LogId, Millis, Offset};

const BODY_BYTES: usize = 100_000;

/// A batch of one record, much shorter as stored than unpacked.
fn packed() -> bytes::Bytes {
    let mut tail = Vec::new();
    tail::encode(&mut tail, None, Some(&[7; BODY_BYTES]), std::iter::empty());
    let mut builder = Builder::new(Millis(0));
    builder.push(Millis(0), &tail);
    builder.finish_compressed(Compression::Lz4)
}

fn key(number: u32) -> Key {
    (1, number)
}

#[test]
fn an_unpacked_body_counts_from_the_turn_it_is_unpacked_in() {
    let stored = packed();
    assert!(stored.len() < BODY_BYTES / 10);
    let mut cache = BatchCache::new(3 * BODY_BYTES);
    for number in 0..10 {
        cache.insert(key(number), stored.clone());
    }
    cache.recount(false);
    assert_eq!(cache.bytes, 10 * stored.len());
    let kept = (0..10).filter_map(|number| cache.get(key(number))).collect::<Vec<_>>();
    assert_eq!(kept.len(), 10);
    for batch in &kept {
        assert_eq!(batch.record(0).expect("there is one").0.len(), BODY_BYTES + 5);
    }
    cache.recount(false);
    assert!(cache.bytes <= 3 * BODY_BYTES, "{} bytes are held", cache.bytes);
    assert!(cache.bytes > 2 * BODY_BYTES);
    for number in 0..10 {
        cache.forget(Name::Batch(key(number)));
    }
    assert_eq!(cache.bytes, 0);
}

#[test]
fn the_cache_gives_way_while_memory_is_short() {
    let stored = packed();
    let mut cache = BatchCache::new(8 * stored.len());
    (0..8).for_each(|number| drop(cache.insert(key(number), stored.clone())));
    cache.recount(true);
    assert_eq!(cache.bytes, 2 * stored.len());
    cache.insert(key(8), stored.clone());
    assert_eq!(cache.bytes, 2 * stored.len());
    cache.recount(false);
    (10..20).for_each(|number| drop(cache.insert(key(number), stored.clone())));
    assert_eq!(cache.bytes, 8 * stored.len());
}

#[test]
fn what_went_to_its_only_reader_goes_before_what_nobody_had_yet() {
    let stored = packed();
    let mut cache = BatchCache::new(6 * stored.len());
    (0..6).for_each(|number| cache.add(key(number), stored.clone(), number == 5));
    let (log, end) = (LogId(1), Offset(0));
    for number in [3, 4, 5] {
        assert!(cache.get(key(number)).is_some());
        cache.spend(key(number), log, end);
    }
    assert!(cache.get(key(4)).is_some(), "it came back");
    (6..8).for_each(|number| cache.add(key(number), stored.clone(), false));
    let here: Vec<u32> = (0..8).filter(|number| cache.has(key(*number))).collect();
    assert_eq!(here, [1, 2, 4, 5, 6, 7], "4 came back, and of 5 other logs have something");
}

#[test]
fn a_favored_batch_outlives_others_for_a_while() {
    let stored = packed();
    let mut cache = BatchCache::new(4 * stored.len());
    (0..4).for_each(|number| cache.add(key(number), stored.clone(), false));
    cache.favor(key(0));
    (4..12).for_each(|number| cache.add(key(number), stored.clone(), false));
    let here: Vec<u32> = (0..12).filter(|number| cache.has(key(*number))).collect();
    assert_eq!(here, [0, 9, 10, 11]);
    (12..60).for_each(|number| cache.add(key(number), stored.clone(), false));
    assert!(!cache.has(key(0)), "nobody has asked for it since");
}

#[test]
fn names_of_what_is_gone_do_not_add_up() {
    let stored = packed();
    let mut cache = BatchCache::new(2 * stored.len());
    for number in 0..20_000 {
        cache.add(key(number), stored.clone(), false);
        cache.spend(key(number), LogId(1), Offset(0));
    }
    assert_eq!(cache.bytes, 2 * stored.len());
    assert!(cache.order.len() + cache.spent.len() < 5_000);
    (20_000..20_004).for_each(|number| cache.add(key(number), stored.clone(), false));
    assert_eq!(cache.bytes, 2 * stored.len());
}
