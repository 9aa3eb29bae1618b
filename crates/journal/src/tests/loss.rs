//! Segments that are gone or cut, what tells it, and putting a store in order.

use ::io::{Access, Disk};

use super::store::{Store, whole_index};
use crate::finding::{Damage, Finding};
use crate::{OpenError, Repaired, Report, Scrubbed, check, repair};

/// A store of several segments with two checkpoints, killed.
fn many_segments(seed: u64) -> Store {
    let mut store = Store::new(seed);
    store.open().unwrap();
    for turn in 0..40 {
        store.push(0, &[100, 9000]);
        store.push(1, &[100, 500]);
        store.write().unwrap();
        if turn % 13 == 12 {
            store.store_checkpoint().unwrap();
        }
    }
    store.sync().unwrap();
    store.parts().writer.witness().unwrap();
    store.disk.kill();
    store
}

fn report(store: &Store) -> Report {
    check(&store.dyn_disk()).unwrap()
}

fn damages(findings: &[Finding]) -> Vec<Damage> {
    findings.iter().map(|finding| finding.what).collect()
}

/// What opening finds, up to the end of the journal.
fn opening(store: &mut Store) -> Result<Vec<Damage>, OpenError> {
    let (.., mut recovery) = store.recover()?;
    while recovery.next_frame()?.is_some() {}
    Ok(damages(recovery.findings()))
}

#[test]
fn a_deleted_segment_that_checkpoints_cover_is_told_and_the_store_opens() {
    for gone in [1, 2] {
        let mut store = many_segments(1);
        store.disk.remove(&format!("j-{gone}.seg")).unwrap();
        let found = report(&store);
        let [finding] = &found.findings[..] else { panic!("{:?}", found.findings) };
        assert_eq!((finding.what, finding.segment), (Damage::Records, Some(gone)));
        assert!(!finding.logs.is_empty() && !found.needs_salvage);
        assert_eq!(opening(&mut store).unwrap(), [Damage::Records]);
        let (.., mut recovery) = store.recover().unwrap();
        assert!(recovery.sealed().contains(&gone), "its index says what was in it");
        assert!(!whole_index(&mut recovery, gone).unwrap().logs.is_empty());
    }
}

#[test]
fn a_segment_deleted_with_its_index_is_told_by_the_one_after_it() {
    let mut store = many_segments(8);
    for name in ["j-2.seg", "j-2.idx"] {
        store.disk.remove(name).unwrap();
    }
    let found = report(&store);
    let [finding] = &found.findings[..] else { panic!("{:?}", found.findings) };
    assert_eq!((finding.what, finding.segment), (Damage::Records, Some(2)));
    assert_eq!(opening(&mut store).unwrap(), [Damage::Records]);
    assert_eq!(repair(&store.dyn_disk()).unwrap().given_up, [2]);
    assert_eq!(opening(&mut store).unwrap(), []);
}

#[test]
fn what_says_that_segments_were_given_back_goes_with_those_that_name_them() {
    let mut store = Store::new(9);
    store.open().unwrap();
    let marks = |store: &Store| {
        let names = store.disk.list().unwrap();
        names.into_iter().filter(|name| name.ends_with(".gone")).count()
    };
    for turn in 0..120 {
        store.push(0, &[100, 9000]);
        store.write().unwrap();
        if turn % 10 == 9 {
            store.store_checkpoint().unwrap();
            store.recycle().unwrap();
            assert!(marks(&store) <= 1, "one segment is the first");
        }
    }
    assert_eq!(marks(&store), 1);
    store.disk.kill();
    assert_eq!(opening(&mut store).unwrap(), []);
    assert_eq!(marks(&store), 1);
}

#[test]
fn a_segment_that_is_destroyed_is_not_used_again() {
    let mut store = many_segments(2);
    let length = store.disk.contents("j-1.seg").unwrap().len();
    (0..length).step_by(16).for_each(|at| assert!(store.disk.set_byte("j-1.seg", at, 0xA5)));
    assert_eq!(opening(&mut store).unwrap(), [Damage::Records]);
    let (_, _, pool, mut recovery) = store.recover().unwrap();
    while recovery.next_frame().unwrap().is_some() {}
    (0..3).for_each(|_| assert!(pool.prepare().is_ok()));
    assert_eq!(store.disk.contents("j-1.seg").unwrap().len(), length);
}

#[test]
fn a_deleted_last_segment_is_told_by_the_index_of_the_one_before() {
    let mut store = Store::new(3);
    store.open().unwrap();
    for _ in 0..6 {
        store.push(0, &[9000, 9000]);
        store.write().unwrap();
        store.sync().unwrap();
    }
    let segments = store.parts().pool.segments();
    let last = segments.last().unwrap().segment;
    assert!(last > 1);
    for one in segments.iter().filter(|one| one.sealed) {
        let index = store.index_of(one.segment);
        let part = index.part(|_, _| false);
        store.parts().pool.store_index(index.segment, &[part]).unwrap();
    }
    store.disk.kill();
    assert_eq!(opening(&mut store).unwrap(), []);
    store.disk.remove(&format!("j-{last}.seg")).unwrap();
    let error = opening(&mut store).unwrap_err();
    assert!(
        matches!(&error, OpenError::Damaged { finding, .. }
        if finding.what == Damage::Missing && finding.segment == Some(last - 1)),
        "{error}"
    );
    assert!(report(&store).needs_salvage);
    store.options.salvage = true;
    assert_eq!(opening(&mut store).unwrap(), [Damage::Missing]);
    store.options.salvage = false;
    assert_eq!(opening(&mut store).unwrap(), [], "it was salvaged");
}

#[test]
fn a_cut_segment_that_checkpoints_cover_lost_records_only() {
    let mut store = many_segments(4);
    let file = store.disk.open("j-1.seg", Access::Buffered).unwrap();
    file.set_len(20_480).unwrap();
    file.sync().unwrap();
    assert_eq!(opening(&mut store).unwrap(), [Damage::Records]);
    assert!(!report(&store).needs_salvage);
}

#[test]
fn giving_a_segment_back_is_no_loss_wherever_the_power_goes() {
    let mut call = 0;
    loop {
        let mut store = many_segments(5);
        store.open().unwrap();
        call += 1;
        store.disk.crash_at(store.disk.calls() + call);
        let recycled = store.recycle();
        let is_over = !store.disk.is_crashed();
        store.disk.restart();
        store.open().unwrap();
        assert_eq!(damages(&report_closed(&mut store).findings), []);
        if is_over {
            assert!(recycled.unwrap() > 0 && call > 4);
            return;
        }
    }
}

fn report_closed(store: &mut Store) -> Report {
    store.open = None;
    report(store)
}

#[test]
fn a_scrub_finds_what_is_damaged_in_sealed_segments() {
    let mut store = many_segments(6);
    store.open().unwrap();
    let pool = store.parts().pool.clone();
    let scrub = |segment| {
        let mut all = Scrubbed::default();
        let mut scrub = pool.scrub(segment).unwrap()?;
        while let Some(scrubbed) = scrub.step().unwrap() {
            all.bytes += scrubbed.bytes;
            all.findings.extend(scrubbed.findings);
        }
        Some(all)
    };
    let segments = pool.segments();
    let active = segments.iter().find(|one| !one.sealed).unwrap();
    assert_eq!(scrub(active.segment), None, "it is being written");
    for one in segments.iter().filter(|one| one.sealed) {
        let scrubbed = scrub(one.segment).unwrap();
        assert_eq!(scrubbed.findings, []);
        assert!(scrubbed.bytes > one.bytes / 2, "{scrubbed:?} of {}", one.bytes);
    }
    let place = store.locations[&(0, 1)][1].pieces().next().unwrap();
    let byte = usize::try_from(place.position).unwrap() + 500;
    store.disk.flip_bit("j-1.seg", byte, 1);
    let [finding] = &scrub(1).unwrap().findings[..] else { panic!("one finding") };
    assert_eq!((finding.what, finding.byte), (Damage::Batch, u64::from(place.position)));
    store.disk.flip_bit("j-1.seg", byte, 1);
    for (byte, what) in
        [(4096 + 20, Damage::Round), (4096 + 90, Damage::Frame), (9, Damage::Superblock)]
    {
        store.disk.flip_bit("j-1.seg", byte, 1);
        assert_eq!(damages(&scrub(1).unwrap().findings), [what]);
        store.disk.flip_bit("j-1.seg", byte, 1);
    }
    assert!(pool.recycle(1).unwrap());
    assert_eq!(scrub(1), None);
}

#[test]
fn a_repair_puts_aside_and_makes_anew_and_deletes_nothing() {
    let mut store = many_segments(7);
    let newest = store.checkpoint.as_ref().unwrap().sequence;
    let checkpoint = ["checkpoint-b", "checkpoint-a"][usize::from(newest % 2 == 1)];
    store.disk.flip_bit(checkpoint, 50, 1);
    store.disk.flip_bit("j-2.idx", 30, 1);
    store.disk.remove("j-1.seg").unwrap();
    assert_eq!(report(&store).findings.len(), 3);
    let before = store.disk.list().unwrap().len();
    let Repaired { aside, given_up, rebuilt } = repair(&store.dyn_disk()).unwrap();
    let mut named: Vec<&str> = aside.iter().map(|(name, _)| name.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, [checkpoint, "j-1.idx", "j-2.idx"]);
    assert_eq!((rebuilt, given_up), (vec!["j-2.idx".to_owned()], vec![1]));
    assert_eq!(store.disk.list().unwrap().len(), before + 2, "nothing is deleted");
    assert_eq!(report(&store).findings, []);
    assert_eq!(opening(&mut store).unwrap(), []);
    assert_eq!(repair(&store.dyn_disk()).unwrap(), Repaired::default());
}
