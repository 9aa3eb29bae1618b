//! Writing, reading, recycling, and a disk that says no.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::io::Disk;
use ::io::sim::{Fault, SimDisk, SimRandom};
use bytes::Bytes;

use super::store::{Store, frame, options};
use crate::{FailedKind, FrameKind, Location, Queue, ReadError, Refused, open};

#[test]
fn an_empty_store_opens_without_a_write() {
    let mut store = Store::new(1);
    store.open().unwrap();
    assert_eq!(store.disk.calls(), 0);
    assert!(store.parts().pool.segments().is_empty());
    let end = store.parts().writer.end();
    store.parts().writer.sync().unwrap();
    store.parts().writer.witness().unwrap();
    assert_eq!((store.parts().writer.end(), end.round), (end, 1));
    assert_eq!(store.disk.calls(), 0);
}

#[test]
fn what_is_written_reads_back_before_and_after_a_restart() {
    let mut store = Store::new(2);
    store.open().unwrap();
    for turn in 0..20 {
        store.push(0, &[61, 500, 2500]);
        store.push(1, &[]);
        store.push(2, &[100 + turn * 7]);
        store.write().unwrap();
        store.check_reads();
    }
    store.sync().unwrap();
    for _ in 0..3 {
        store.disk.restart();
        store.open().unwrap();
        store.check_reads();
        store.push(1, &[99]);
        store.write().unwrap();
        store.sync().unwrap();
    }
    assert_eq!(store.frames.len(), 63);
}

#[test]
fn nothing_is_written_before_recovery_is_read() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (mut writer, _, _, mut recovery) = open(disk, options(1)).unwrap();
    let mut queue = Queue::new(1000, &options(1));
    assert_eq!(writer.round(&mut queue).unwrap_err().kind, FailedKind::Disk);
    assert!(recovery.next_frame().unwrap().is_none());
    writer.round(&mut queue).unwrap();
}

#[test]
fn a_large_batch_leaves_room_for_other_shards() {
    let mut store = Store::new(3);
    store.open().unwrap();
    store.push(0, &[200_000]);
    store.push(0, &[100]);
    store.push(1, &[300]);
    let open = store.parts();
    let first = open.writer.round(&mut open.queue).unwrap();
    let shards: Vec<u16> = first.placed.iter().map(|placed| placed.shard.0).collect();
    assert_eq!(shards, [1], "the small frame of the other shard passes");
    let mut order = Vec::new();
    while !open.queue.is_empty() {
        let written = open.writer.round(&mut open.queue).unwrap();
        assert!(written.bytes <= (32 << 10) + 4096);
        order.extend(written.placed);
    }
    assert_eq!(order.iter().map(|placed| placed.index).collect::<Vec<_>>(), [1, 2]);
    assert!(matches!(&order[0].batches[..], [Location::Parts(parts)] if parts.list.len() == 17));
    assert_eq!(open.queue.bytes(), 0);
    for placed in first.placed.into_iter().chain(order) {
        store.locations.insert((placed.shard.0, placed.index), placed.batches);
    }
    store.sync().unwrap();
    store.check_reads();
    store.disk.restart();
    store.open().unwrap();
    store.check_reads();
}

#[test]
fn a_full_queue_gives_the_frame_back() {
    let random = SimRandom::new(1);
    let mut queue = Queue::new(2000, &options(1));
    queue.push(frame(&random, 0, 1, &[5000])).unwrap();
    let refused = queue.push(frame(&random, 0, 2, &[100])).unwrap_err();
    assert!(matches!(refused, Refused::Full(draft) if draft.index == 2));
    let mut draft = frame(&random, 0, 2, &[100]);
    draft.commands = Bytes::from(vec![0; 40_000]);
    assert!(matches!(queue.push(draft).unwrap_err(), Refused::TooLarge(_)));
    assert_eq!((queue.len(), queue.is_empty()), (1, false));
}

#[test]
fn many_batches_that_pass_a_round_together_are_split() {
    let mut store = Store::new(4);
    store.open().unwrap();
    store.push(0, &[9000, 9000, 9000, 9000, 11_000]);
    store.write().unwrap();
    store.sync().unwrap();
    store.check_reads();
    let parts = store.locations[&(0, 1)].iter().filter(|l| matches!(l, Location::Parts(_)));
    assert_eq!(parts.count(), 2);
}

#[test]
fn segments_are_recycled_after_two_checkpoints_and_never_confused() {
    let mut store = Store::new(5);
    store.open().unwrap();
    let mut recycled = 0;
    for _ in 0..60 {
        store.push(0, &[9000]);
        store.push(1, &[9000]);
        store.write().unwrap();
        store.parts().pool.prepare().unwrap();
        let (before, stored) = (store.parts().pool.segments(), store.checkpoint.is_some());
        store.store_checkpoint().unwrap();
        recycled += store.recycle().unwrap();
        assert!(stored || recycled == 0, "one checkpoint alone gives nothing up");
        assert!(before.len() <= 4);
    }
    assert!(recycled > 8, "{recycled}");
    let names = store.disk.list().unwrap();
    assert!(names.len() < 14, "{names:?}");
    assert!(store.parts().pool.stored_bytes() < 1 << 20);
    let gone = Location::Journal { segment: 1, position: 4096, len: 100 };
    assert!(matches!(store.parts().reader.read(&gone), Err(ReadError::Gone { segment: 1 })));
    store.disk.restart();
    store.open().unwrap();
    store.check_reads();
}

#[test]
fn segments_grow_with_what_the_store_holds() {
    let mut store = Store::new(6);
    store.open().unwrap();
    for _ in 0..80 {
        store.push(0, &[9000]);
        store.write().unwrap();
        store.parts().pool.prepare().unwrap();
    }
    let sizes: Vec<u64> = store.parts().pool.segments().iter().map(|one| one.bytes).collect();
    // The last size is for a store that holds twice that much.
    assert_eq!(sizes[..5], [64 << 10, 64 << 10, 64 << 10, 64 << 10, 128 << 10]);
    assert!(sizes[4..].iter().all(|bytes| *bytes == 128 << 10), "{sizes:?}");
}

#[test]
fn what_flows_through_goes_round_in_the_same_files() {
    let mut store = Store::new(8);
    store.open().unwrap();
    let mut stored = Vec::new();
    for turn in 0..400 {
        store.push(0, &[9000]);
        store.write().unwrap();
        if turn % 2 == 0 {
            store.store_checkpoint().unwrap();
            store.recycle().unwrap();
        }
        store.parts().pool.prepare().unwrap();
        stored.push(store.parts().pool.stored_bytes());
    }
    // No file was removed, so no more were made than there are.
    assert!(stored.is_sorted(), "{stored:?}");
    assert!(stored[399] <= 5 * (64 << 10), "{stored:?}");
}

#[test]
fn a_large_store_keeps_an_eighth_in_files_to_be_used_again_and_fewer_as_it_shrinks() {
    const LAST: u64 = 128 << 10;
    let mut store = Store::new(9);
    store.open().unwrap();
    for _ in 0..800 {
        store.push(0, &[9000]);
        store.write().unwrap();
        store.parts().pool.prepare().unwrap();
    }
    store.store_checkpoint().unwrap();
    store.store_checkpoint().unwrap();
    let (mut used, mut most) = (u64::MAX, 0);
    for one in store.parts().pool.segments() {
        let pool = &store.parts().pool;
        if !pool.recycle(one.segment).unwrap() {
            continue;
        }
        used = pool.segments().iter().map(|one| one.bytes).sum();
        let ready = LAST;
        let spare = pool.stored_bytes() - used - ready;
        assert!(spare <= (used / 8).max(2 * LAST) + LAST, "{spare} beside {used}");
        most = most.max(spare);
    }
    assert!(used < 3 * LAST && most > 4 * LAST, "{used} left, {most} kept");
}

#[test]
fn a_full_disk_keeps_the_round_and_goes_on_later() {
    let mut store = Store::new(7);
    store.open().unwrap();
    store.push(0, &[5000]);
    store.write().unwrap();
    store.sync().unwrap();
    store.disk.fail_at(store.disk.calls() + 1, Fault::Enospc);
    store.push(0, &[6000]);
    assert_eq!(store.write().unwrap_err().kind, FailedKind::NoSpace);
    store.push(0, &[7000]);
    let open = store.parts();
    let kept = open.writer.round(&mut open.queue).unwrap();
    assert_eq!(kept.placed.iter().map(|placed| placed.index).collect::<Vec<_>>(), [2]);
    assert!(kept.needs_sync);
    open.written.insert(0, 2);
    store.write().unwrap();
    store.sync().unwrap();
    store.disk.set_free_bytes(0);
    let mut full = false;
    for _ in 0..20 {
        store.push(1, &[9000]);
        match store.write() {
            Ok(()) => {}
            Err(failed) => full |= failed.kind == FailedKind::NoSpace,
        }
    }
    assert!(full, "no further segment can be made");
    store.disk.set_free_bytes(u64::MAX);
    store.write().unwrap();
    store.sync().unwrap();
    store.disk.restart();
    store.open().unwrap();
    assert_eq!(store.durable[&1], 20);
}

#[test]
fn a_failed_sync_is_the_end_of_the_writer() {
    let mut store = Store::new(8);
    store.open().unwrap();
    store.push(0, &[5000]);
    store.write().unwrap();
    store.disk.fail_at(store.disk.calls() + 1, Fault::Eio);
    assert_eq!(store.sync().unwrap_err().kind, FailedKind::Disk);
    let calls = store.disk.calls();
    assert!(store.sync().is_err());
    store.push(0, &[5000]);
    assert!(store.write().is_err());
    assert!(store.parts().writer.witness().is_err());
    assert_eq!(store.disk.calls(), calls, "nothing was tried again");
    store.disk.restart();
    store.open().unwrap();
}

#[test]
fn sync_is_wanted_only_by_frames_that_wait_for_it() {
    let mut store = Store::new(9);
    store.open().unwrap();
    let mut draft = frame(&store.random, 0, 1, &[100]);
    draft.synced = false;
    let open = store.parts();
    open.queue.push(draft).unwrap();
    assert!(!open.writer.round(&mut open.queue).unwrap().needs_sync);
    store.push(1, &[100]);
    let open = store.parts();
    assert!(open.writer.round(&mut open.queue).unwrap().needs_sync);
    open.writer.sync().unwrap();
    assert!(!open.writer.round(&mut open.queue).unwrap().needs_sync);
}

#[test]
fn a_disk_that_refuses_direct_access_is_used_buffered() {
    let mut store = Store::new(10);
    store.disk.refuse_direct();
    store.open().unwrap();
    store.push(0, &[5000, 40_000]);
    store.write().unwrap();
    store.sync().unwrap();
    store.check_reads();
    store.disk.restart();
    store.open().unwrap();
    store.check_reads();
}

#[test]
fn relocated_and_witness_frames_come_back() {
    let mut store = Store::new(11);
    store.open().unwrap();
    for kind in [FrameKind::Relocate, FrameKind::Witness] {
        let mut draft = frame(&store.random, 0, 1, &[100]);
        draft.kind = kind;
        if kind == FrameKind::Witness {
            draft.batches.clear();
            draft.dests.clear();
        }
        let open = store.parts();
        open.queue.push(draft).unwrap();
        open.writer.round(&mut open.queue).unwrap();
    }
    store.sync().unwrap();
    let (.., mut recovery) = {
        store.disk.kill();
        store.recover().unwrap()
    };
    let mut kinds = BTreeMap::new();
    while let Some(found) = recovery.next_frame().unwrap() {
        kinds.insert(format!("{:?}", found.kind), found.batches.len());
    }
    assert_eq!(kinds, BTreeMap::from([("Relocate".into(), 1), ("Witness".into(), 0)]));
}

#[test]
fn neighbours_and_strangers_are_read_in_the_order_asked() {
    let mut store = Store::new(12);
    store.open().unwrap();
    for _ in 0..30 {
        store.push(0, &[700, 61, 9000]);
        store.write().unwrap();
    }
    let mut wanted: Vec<(Location, Bytes)> = Vec::new();
    for (key, locations) in &store.locations {
        let batches = store.frames[key].batches.clone();
        wanted.extend(locations.iter().cloned().zip(batches));
    }
    wanted.reverse();
    wanted.swap(3, 40);
    let locations: Vec<Location> = wanted.iter().map(|(location, _)| location.clone()).collect();
    let read = store.parts().reader.read_many(&locations);
    for (read, (_, expected)) in read.into_iter().zip(&wanted) {
        assert_eq!(&read.unwrap(), expected);
    }
    let together = |store: &mut Store, wanted: &[(Location, Bytes)]| {
        let locations: Vec<Location> =
            wanted.iter().map(|(location, _)| location.clone()).collect();
        let read = store.parts().reader.read_together(&locations);
        let batches: Vec<Bytes> = wanted.iter().map(|(_, batch)| batch.clone()).collect();
        assert_eq!(read.bytes, batches.concat());
        assert!(read.failed.is_empty());
    };
    together(&mut store, &wanted);
    wanted.sort_by_key(|(location, _)| location.pieces().next().map(|part| part.position));
    together(&mut store, &wanted);
    together(&mut store, &wanted[..1]);
    together(&mut store, &[]);
    let beyond = Location::Journal { segment: 1, position: 1 << 30, len: 100 };
    assert!(matches!(store.parts().reader.read(&beyond), Err(ReadError::Corrupt { .. })));
}

#[test]
fn a_stale_batch_is_not_mistaken_for_a_round() {
    // A record that holds a copy of the journal's own first rounds, on a block boundary.
    let mut store = Store::new(13);
    store.open().unwrap();
    store.push(0, &[100]);
    store.write().unwrap();
    store.sync().unwrap();
    let journal = store.disk.contents("j-1.seg").unwrap();
    let mut draft = frame(&store.random, 0, 2, &[11_000]);
    let mut forged = draft.batches[0].to_vec();
    let batch_at = {
        let mut same = Store::new(13);
        same.open().unwrap();
        same.push(0, &[100]);
        same.write().unwrap();
        same.push(0, &[11_000]);
        same.write().unwrap();
        let part = same.locations[&(0, 2)][0].pieces().next().unwrap();
        usize::try_from(part.position).unwrap()
    };
    let mut at = batch_at.next_multiple_of(4096);
    while at + 64 < batch_at + forged.len() {
        let mut round = journal[4096..4160].to_vec();
        // A forger knows everything but the salt.
        round[16..24].copy_from_slice(&90_u64.to_le_bytes());
        round[24..32].copy_from_slice(&89_u64.to_le_bytes());
        round[32..40].copy_from_slice(&7_u64.to_le_bytes());
        let crc = crate::fields::crc32c(&round[..60]);
        round[60..64].copy_from_slice(&crc.to_le_bytes());
        forged[at - batch_at..at - batch_at + 64].copy_from_slice(&round);
        at += 4096;
    }
    let crc = crate::fields::crc32c(&forged[21..]);
    forged[17..21].copy_from_slice(&crc.to_be_bytes());
    draft.batches = vec![forged.into()];
    store.frames.insert((0, 2), draft.clone());
    let open = store.parts();
    open.queue.push(draft).unwrap();
    open.writer.round(&mut open.queue).unwrap();
    // The first block of the round did not arrive, so that only what follows it can tell.
    store.disk.kill();
    store.disk.set_byte("j-1.seg", 8192 + 20, 9);
    store.open().unwrap();
    assert_eq!(store.durable[&0], 1, "a torn tail, not damage");
}
