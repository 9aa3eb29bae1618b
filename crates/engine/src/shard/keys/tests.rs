use super::{KeyEntry, KeyPage, KeyRun, Keys};
use crate::api::KeyHash;
use ledger::Span;
use types::{LogId, Offset};

fn hash(number: u8) -> KeyHash {
    KeyHash([number; 16])
}

fn entry(key: u8, offset: i64) -> KeyEntry {
    KeyEntry::of(hash(key), Offset(offset))
}

fn run(first: i64, end: i64, level: u8, pages: &[(KeyEntry, i64)]) -> KeyRun {
    let pages = pages.iter().map(|(first, at)| KeyPage { first: *first, at: Offset(*at) });
    KeyRun { first: Offset(first), end: Offset(end), level, pages: pages.collect() }
}

/// Records 0 to 3 of the keys 1, 2, none, 1; a run of the first three and its page.
fn some() -> Keys {
    let mut keys = Keys::new();
    keys.note(Offset(0), [Some(hash(1)), Some(hash(2)), None, Some(hash(1))].into_iter());
    assert_eq!(keys.append_page(), Offset(0));
    keys.put(run(0, 3, 0, &[(entry(1, 0), 0)]), Offset(0));
    keys
}

#[test]
fn ids_of_pages_are_those_of_no_schedule_and_no_outbox() {
    let ids = [LogId(0), LogId(7), LogId((1 << 29) - 1), LogId(1 << 31 | 9)];
    for log in ids {
        let id = Keys::id_of(log);
        assert_eq!(Keys::log_of(id), Some(log));
        assert_eq!(super::super::Schedule::log_of(id), None);
        assert_eq!(super::super::Outbox::shards_of(id), None);
        for other in [log, super::super::Schedule::id_of(log)] {
            assert_eq!(Keys::log_of(other), None);
        }
    }
}

#[test]
fn entries_are_in_a_run_or_recent() {
    let keys = some();
    assert_eq!(keys.from(), Offset(3));
    assert_eq!(keys.recent().iter().copied().collect::<Vec<_>>(), [entry(1, 3)]);
    assert_eq!(keys.last_recent(hash(1), Offset(9)), Some(Offset(3)));
    assert_eq!(keys.last_recent(hash(1), Offset(3)), None);
    assert_eq!(keys.last_recent(hash(2), Offset(9)), None);
}

#[test]
fn a_run_takes_the_place_of_those_it_was_made_of() {
    let mut keys = some();
    keys.note(Offset(4), [Some(hash(9))].into_iter());
    (0..2).for_each(|_| {
        keys.append_page();
    });
    keys.put(run(3, 5, 0, &[(entry(1, 3), 1)]), Offset(0));
    keys.put(run(0, 5, 1, &[(entry(1, 0), 2)]), Offset(0));
    assert_eq!(keys.runs(), [run(0, 5, 1, &[(entry(1, 0), 2)])]);
    assert!(keys.recent().is_empty());
    assert_eq!((keys.ledger.floor(), keys.ledger.unsettled(keys.end)), (Offset(2), 1));
    assert!(!keys.has_strays());
}

#[test]
fn what_the_log_has_lost_the_index_loses() {
    let mut keys = some();
    keys.trim(Offset(2));
    assert_eq!(keys.runs().len(), 1, "one record of it is there");
    keys.trim(Offset(3));
    assert_eq!((keys.runs().len(), keys.recent().len()), (0, 1));
    assert_eq!(keys.ledger.floor(), Offset(1));
    keys.trim(Offset(4));
    assert_eq!(keys.recent().len(), 0);
    keys.append_page();
    keys.put(run(3, 4, 0, &[(entry(1, 3), 1)]), Offset(4));
    assert_eq!((keys.runs().len(), keys.ledger.floor()), (0, Offset(2)), "it came too late");
}

#[test]
fn pages_of_no_run_are_strays() {
    let mut keys = some();
    (0..4).for_each(|_| {
        keys.append_page();
    });
    keys.put(run(3, 4, 0, &[(entry(1, 3), 2)]), Offset(0));
    assert!(keys.has_strays());
    keys.give_up_strays();
    assert!(!keys.has_strays());
    let settled = |at| keys.ledger.is_settled(Offset(at));
    assert_eq!([0, 1, 2, 3, 4].map(settled), [false, true, false, true, true]);
    assert_eq!(keys.ledger.settled_in(Span::new(Offset(0), Offset(5))), 3);
}

#[test]
fn pages_of_a_key_are_few() {
    let firsts = [entry(1, 0), entry(3, 5), entry(3, 9), entry(7, 1)];
    let pages: Vec<(KeyEntry, i64)> = firsts.into_iter().zip(0..).collect();
    let run = run(0, 10, 0, &pages);
    let of = |key| run.pages_of(entry(key, 0), entry(key, i64::MAX));
    assert_eq!([of(0), of(1), of(2), of(3), of(4), of(9)], [0..0, 0..1, 0..1, 0..3, 2..3, 3..4]);
    assert_eq!(run.pages_of(entry(3, 7), entry(3, i64::MAX)), 1..3);
}

#[test]
fn what_is_stored_is_read_back() {
    let keys = some();
    let bytes = postcard::to_allocvec(&keys).expect("memory takes it");
    let read: Keys = postcard::from_bytes(&bytes).expect("it is whole");
    assert_eq!(postcard::to_allocvec(&read).as_ref(), Ok(&bytes));
    assert_eq!(read.bytes(), keys.bytes());
    let entry = entry(200, i64::MAX);
    assert_eq!(KeyEntry::from_bytes(&entry.to_bytes()), Some(entry));
    assert_eq!(KeyEntry::from_bytes(&entry.to_bytes()[1..]), None);
}
