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
