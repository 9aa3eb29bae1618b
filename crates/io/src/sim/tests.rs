use std::io::ErrorKind;

use super::{Fault, SimDisk};
use crate::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::disk::{Access, Disk, File};

fn block(value: u8, blocks: usize) -> AlignedBuf {
    let mut block = AlignedBuf::zeroed(blocks * BLOCK_BYTES);
    block.fill(value);
    block
}

fn durable_file(disk: &SimDisk, name: &str, blocks: usize) -> std::sync::Arc<dyn File> {
    let file = disk.create(name, Access::Direct).unwrap();
    file.set_len((blocks * BLOCK_BYTES) as u64).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    file
}

#[test]
fn a_crash_loses_some_unsynced_blocks_and_no_synced_one() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = durable_file(&disk, "f", 16);
        file.write_at(0, &block(1, 8)).unwrap();
        file.sync().unwrap();
        file.write_at(8 * BLOCK_BYTES as u64, &block(2, 8)).unwrap();
        disk.restart();
        assert!(file.sync().is_err(), "a handle from before the crash is dead");
        let bytes = disk.contents("f").unwrap();
        assert!(bytes[..8 * BLOCK_BYTES].iter().all(|byte| *byte == 1));
        for block in bytes[8 * BLOCK_BYTES..].chunks(BLOCK_BYTES) {
            match block.iter().filter(|byte| **byte == 2).count() {
                0 => lost += 1,
                BLOCK_BYTES => kept += 1,
                _ => torn += 1,
            }
        }
    }
    assert!(lost > 50 && kept > 50 && torn > 10, "{lost} {kept} {torn}");
}

#[test]
fn names_not_synced_may_be_lost() {
    let (mut created, mut renamed) = (0, 0);
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        durable_file(&disk, "tmp", 1);
        durable_file(&disk, "sure", 1);
        disk.create("new", Access::Buffered).unwrap().sync().unwrap();
        disk.rename("tmp", "final").unwrap();
        disk.restart();
        let names = disk.list().unwrap();
        assert!(names.contains(&"sure".to_owned()));
        assert_ne!(names.contains(&"tmp".to_owned()), names.contains(&"final".to_owned()));
        created += u32::from(names.contains(&"new".to_owned()));
        renamed += u32::from(names.contains(&"final".to_owned()));
    }
    assert!((5..45).contains(&created) && (5..45).contains(&renamed), "{created} {renamed}");
}

#[test]
fn a_failed_sync_loses_data_even_if_repeated() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let file = durable_file(&disk, "f", 4);
        disk.fail_at(disk.calls() + 2, Fault::Eio);
        file.write_at(0, &block(9, 4)).unwrap();
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
        file.sync().unwrap();
        disk.restart();
        lost += disk.contents("f").unwrap().iter().filter(|byte| **byte == 0).count();
    }
    assert!(lost > 0);
}

#[test]
fn after_a_crash_every_call_fails_until_restart() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f", 1);
    let held = disk.lock().unwrap();
    disk.crash_at(disk.calls() + 1);
    assert!(file.sync().is_err());
    assert!(disk.is_crashed() && file.len().is_err() && disk.list().is_err());
    disk.restart();
    disk.open("f", Access::Direct).unwrap().sync().unwrap();
    disk.lock().unwrap();
    drop(held);
}

#[test]
fn a_kill_loses_nothing_written() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f", 1);
    file.write_at(0, &block(3, 1)).unwrap();
    disk.kill();
    assert!(file.len().is_err());
    assert!(disk.contents("f").unwrap().iter().all(|byte| *byte == 3));
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f", 2);
    disk.set_free_bytes(BLOCK_BYTES as u64);
    file.write_at(0, &block(3, 2)).unwrap();
    let error = file.write_at(BLOCK_BYTES as u64, &block(3, 3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    file.write_at(BLOCK_BYTES as u64, &block(3, 2)).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 0);
}

#[test]
fn direct_files_want_alignment_and_can_be_refused() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f", 2);
    assert!(file.is_direct());
    assert_eq!(file.write_at(1, &block(3, 1)).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(file.write_at(0, &block(3, 1)[..100]).is_err());
    disk.refuse_direct();
    let file = disk.open("f", Access::Direct).unwrap();
    assert!(!file.is_direct());
    file.write_at(1, b"abc").unwrap();
}

#[test]
fn a_misdirected_write_reports_success() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f", 16);
    disk.fail_at(disk.calls() + 1, Fault::Misdirect);
    file.write_at(0, &block(5, 1)).unwrap();
    let bytes = disk.contents("f").unwrap();
    assert!(bytes[..BLOCK_BYTES].iter().all(|byte| *byte == 0) && bytes.contains(&5));
}

#[test]
fn the_same_seed_gives_the_same_wreck() {
    let wreck = |seed| {
        let disk = SimDisk::new(seed);
        let file = durable_file(&disk, "f", 64);
        file.write_at(0, &block(1, 64)).unwrap();
        disk.restart();
        disk.contents("f").unwrap()
    };
    assert_eq!(wreck(7), wreck(7));
    assert!((0..10).any(|seed| wreck(seed) != wreck(7)));
}
