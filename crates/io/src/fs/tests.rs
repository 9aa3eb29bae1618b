use std::io::ErrorKind;
use std::path::PathBuf;

use super::FsDisk;
use crate::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::disk::{Access, Disk};

struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("crossdock-io-{}-{test}", std::process::id()));
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_keep_what_is_written_both_ways() {
    let scratch = Scratch::new("both-ways");
    let disk = FsDisk::open(scratch.0.join("deep/er")).unwrap();
    for access in [Access::Direct, Access::Buffered] {
        let file = disk.create("f", access).unwrap();
        file.allocate(16 * BLOCK_BYTES as u64).unwrap();
        let mut block = AlignedBuf::zeroed(2 * BLOCK_BYTES);
        block.fill(7);
        file.write_at(BLOCK_BYTES as u64, &block).unwrap();
        file.sync().unwrap();
        let again = disk.open("f", access).unwrap();
        assert_eq!(again.len().unwrap(), 16 * BLOCK_BYTES as u64);
        let mut all = AlignedBuf::zeroed(32 * BLOCK_BYTES);
        assert_eq!(again.read_at(0, &mut all).unwrap(), 16 * BLOCK_BYTES);
        assert_eq!(all.iter().filter(|byte| **byte == 7).count(), 2 * BLOCK_BYTES);
        assert_eq!(all[BLOCK_BYTES], 7);
    }
}

#[test]
fn a_directory_is_held_by_one() {
    let scratch = Scratch::new("lock");
    let disk = FsDisk::open(&scratch.0).unwrap();
    let other = FsDisk::open(&scratch.0).unwrap();
    let held = disk.lock().unwrap();
    assert_eq!(other.lock().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    other.lock().unwrap();
}

#[test]
fn names_are_renamed_replaced_and_removed() {
    let scratch = Scratch::new("names");
    let disk = FsDisk::open(&scratch.0).unwrap();
    disk.create("a", Access::Buffered).unwrap().write_at(0, b"new").unwrap();
    disk.create("b", Access::Buffered).unwrap().write_at(0, b"old").unwrap();
    disk.rename("a", "b").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.list().unwrap(), ["b"]);
    let mut bytes = [0; 8];
    assert_eq!(disk.open("b", Access::Buffered).unwrap().read_at(0, &mut bytes).unwrap(), 3);
    assert_eq!(&bytes[..3], b"new");
    disk.remove("b").unwrap();
    assert!(disk.list().unwrap().is_empty());
    assert_eq!(disk.open("b", Access::Buffered).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(disk.free_bytes().unwrap() > 0);
}

#[test]
fn what_is_written_in_short_writes_is_whole() {
    let scratch = Scratch::new("short");
    let plan = "short-write@1+5".parse().unwrap();
    let disk = FsDisk::open(&scratch.0).unwrap().with_faults(plan);
    for (access, blocks) in [(Access::Direct, 8), (Access::Direct, 1), (Access::Buffered, 3)] {
        let file = disk.create("f", access).unwrap();
        let mut written = AlignedBuf::zeroed(blocks * BLOCK_BYTES);
        written.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8);
        file.write_at(0, &written).unwrap();
        let mut found = AlignedBuf::zeroed(blocks * BLOCK_BYTES);
        assert_eq!(file.read_at(0, &mut found).unwrap(), found.len());
        assert!(*found == *written);
    }
}

#[test]
fn a_planned_fault_meets_its_calls_and_no_others() {
    let scratch = Scratch::new("planned");
    let meets = |plan: &str, call: fn(&dyn crate::File) -> std::io::Result<()>| {
        let disk = FsDisk::open(&scratch.0).unwrap().with_faults(plan.parse().unwrap());
        let file = disk.create("f", Access::Buffered).unwrap();
        let failed = |_| call(&*file).err().map(|error| error.kind());
        (1..=4).map(failed).collect::<Vec<_>>()
    };
    let full = Some(ErrorKind::StorageFull);
    assert_eq!(meets("full@2+2", |file| file.write_at(0, b"x")), [None, full, full, None]);
    assert_eq!(meets("full@4", |file| file.allocate(9)), [None, None, None, full]);
    let is_io =
        |kinds: Vec<Option<ErrorKind>>| kinds.iter().map(Option::is_some).collect::<Vec<_>>();
    assert_eq!(is_io(meets("sync-error@3", |file| file.sync())), [false, false, true, false]);
    assert_eq!(
        is_io(meets("write-error@1", |file| file.write_at(0, b"x"))),
        [true, false, false, false]
    );
    for wrong in ["full", "full@", "full@x", "full@1+", "rust@1"] {
        assert!(wrong.parse::<crate::FaultPlan>().is_err(), "{wrong}");
    }
}
