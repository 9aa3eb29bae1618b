//! Index and checkpoint files whole, and stores on the machine's own disk.

use std::sync::Arc;

use ::io::{Disk, FsDisk, Random};

use super::store::{Store, frame, options};
use crate::{Location, Queue, check, open};

#[test]
fn a_sound_store_checks_out() {
    let mut store = Store::new(1);
    store.open().unwrap();
    for turn in 0..30 {
        store.push(0, &[100, 9000]);
        store.push(1, &[20_000]);
        store.write().unwrap();
        if turn % 10 == 9 {
            store.store_checkpoint().unwrap();
            store.recycle().unwrap();
        }
    }
    store.sync().unwrap();
    let segments = store.parts().pool.segments().len();
    store.disk.restart();
    let report = check(&store.dyn_disk()).unwrap();
    assert_eq!((report.findings, report.torn), (Vec::new(), None));
    assert_eq!(report.segments, segments as u64);
    assert!(report.frames >= 20 && report.batches > report.frames && report.rounds > 20);
}

#[test]
fn an_empty_store_checks_out() {
    let store = Store::new(1);
    assert_eq!(check(&store.dyn_disk()).unwrap(), crate::Report::default());
}

#[test]
fn the_machines_own_disk_does() {
    let path = std::env::temp_dir().join(format!("crossdock-journal-{}", std::process::id()));
    let random = ::io::SystemRandom::open().unwrap();
    let mut next = 1;
    let mut locations: Vec<Location> = Vec::new();
    for _ in 0..3 {
        let disk: Arc<dyn Disk> = Arc::new(FsDisk::open(&path).unwrap());
        let (mut writer, reader, pool, mut recovery) =
            open(disk.clone(), options(random.next())).unwrap();
        let mut found = 0;
        while let Some(frame) = recovery.next_frame().unwrap() {
            found += 1;
            assert_eq!(frame.index, found);
        }
        assert_eq!((found + 1, recovery.torn()), (next, None));
        let mut queue = Queue::new(1 << 20, &options(1));
        let seed = ::io::sim::SimRandom::new(next);
        for _ in 0..20 {
            queue.push(frame(&seed, 0, next, &[100, 20_000])).unwrap();
            next += 1;
            while !queue.is_empty() {
                for placed in writer.round(&mut queue).unwrap().placed {
                    locations.extend(placed.batches);
                }
            }
            writer.sync().unwrap();
            pool.prepare().unwrap();
        }
        assert!(reader.read_many(&locations).into_iter().all(|read| read.is_ok()));
        let busy = open(disk.clone(), options(1)).unwrap_err();
        assert!(busy.to_string().contains("in use by another process"));
        writer.witness().unwrap();
    }
    let disk: Arc<dyn Disk> = Arc::new(FsDisk::open(&path).unwrap());
    let report = check(&disk).unwrap();
    assert_eq!((report.frames, report.findings.len()), (60, 0));
    std::fs::remove_dir_all(&path).unwrap();
}
