use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use super::{RecordedDisk, cut_power};
use crate::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::disk::{Access, Disk, File};
use crate::fs::FsDisk;
use crate::random::Random;
use crate::sim::SimRandom;

const SECTOR: usize = 512;

struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Scratch {
        let name = format!("crossdock-power-{}-{test}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }

    fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    fn record(&self) -> PathBuf {
        self.0.join("record")
    }

    fn disk(&self) -> RecordedDisk {
        RecordedDisk::open(self.store(), self.record()).unwrap()
    }

    fn cut(&self, seed: u64) -> super::Cut {
        cut_power(&self.store(), &self.record(), seed).unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.store().join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn blocks(count: usize, fill: u8) -> AlignedBuf {
    let mut bytes = AlignedBuf::zeroed(count * BLOCK_BYTES);
    bytes.fill(fill);
    bytes
}

/// A file as the reference knows it: what it was at each moment since the last sync of it.
#[derive(Default)]
struct Known {
    moments: Vec<Vec<u8>>,
}

impl Known {
    fn now(&self) -> Vec<u8> {
        self.moments.last().cloned().unwrap_or_default()
    }

    fn check(&self, found: &[u8], place: &str) {
        assert!(self.moments.iter().any(|it| it.len() == found.len()), "{place}: length");
        for (i, sector) in found.chunks(SECTOR).enumerate() {
            let is_known = self.moments.iter().any(|moment| {
                let mut was = moment.get(i * SECTOR..).unwrap_or_default().to_vec();
                was.resize(sector.len(), 0);
                was == sector
            });
            assert!(is_known, "{place}: sector {i} was never like that");
        }
    }
}

/// A directory as the reference knows it.
#[derive(Default)]
struct Model {
    files: BTreeMap<u64, Known>,
    names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    /// Every name that a file had since the last sync of the directory.
    had: BTreeSet<(String, u64)>,
    /// Files of which a name was taken away since then.
    touched: BTreeSet<u64>,
}

impl Model {
    fn name(&mut self, name: &str, inode: u64) {
        if let Some(replaced) = self.names.insert(name.to_owned(), inode) {
            self.touched.insert(replaced);
        }
        self.had.insert((name.to_owned(), inode));
    }

    fn unname(&mut self, name: &str) -> u64 {
        let inode = self.names.remove(name).unwrap();
        self.touched.insert(inode);
        inode
    }

    fn sync_names(&mut self) {
        self.durable.clone_from(&self.names);
        self.had = self.names.clone().into_iter().collect();
        self.touched.clear();
    }

    /// Holds what a power cut left against what it may leave, and takes it over.
    fn cut(&mut self, scratch: &Scratch, place: &str) {
        let mut left = BTreeMap::new();
        for name in FsDisk::open(scratch.store()).unwrap().list().unwrap() {
            if name != crate::fs::LOCK_NAME {
                let inode = fs::metadata(scratch.store().join(&name)).unwrap().ino();
                assert!(
                    self.had.contains(&(name.clone(), inode)),
                    "{place}: {name} is no name of it"
                );
                self.files[&inode].check(&scratch.read(&name), &format!("{place}: {name}"));
                assert!(left.insert(inode, name).is_none(), "{place}: a file with two names");
            }
        }
        for (name, inode) in self.durable.iter().filter(|(_, it)| !self.touched.contains(it)) {
            assert_eq!(left.get(inode), Some(name), "{place}: a durable name");
        }
        self.names = left.iter().map(|(inode, name)| (name.clone(), *inode)).collect();
        self.sync_names();
        self.files.retain(|inode, _| left.contains_key(inode));
        for (inode, known) in &mut self.files {
            known.moments = vec![scratch.read(&left[inode])];
        }
    }
}

/// One process: random work on `disk` and on the model of it.
fn work(disk: &RecordedDisk, model: &mut Model, random: &SimRandom) {
    let mut open: BTreeMap<u64, Arc<dyn File>> = BTreeMap::new();
    for _ in 0..random.below(40) {
        let name = ["a", "b", "c", "d"][random.below(4) as usize];
        let access = if random.chance(50) { Access::Direct } else { Access::Buffered };
        let Some(inode) = model.names.get(name).copied() else {
            let file = disk.create(name, access).unwrap();
            let inode = disk.inode(name).unwrap();
            model.files.insert(inode, Known { moments: vec![Vec::new()] });
            model.name(name, inode);
            open.insert(inode, file);
            continue;
        };
        let file = open.entry(inode).or_insert_with(|| disk.open(name, access).unwrap()).clone();
        let known = model.files.get_mut(&inode).unwrap();
        let mut bytes = known.now();
        match random.below(20) {
            0 => {
                let to = ["a", "b", "c", "d"][random.below(4) as usize];
                disk.rename(name, to).unwrap();
                if name != to {
                    model.unname(name);
                    model.name(to, inode);
                }
            }
            1 => {
                disk.remove(name).unwrap();
                model.unname(name);
            }
            2 => {
                open.insert(inode, disk.create(name, access).unwrap());
                known.moments.push(Vec::new());
            }
            3 | 4 => {
                disk.sync_dir().unwrap();
                model.sync_names();
            }
            5..8 => {
                file.sync().unwrap();
                known.moments = vec![bytes];
            }
            8 => {
                let len = random.below(5) as usize * 3000;
                file.set_len(len as u64).unwrap();
                bytes.resize(len, 0);
                known.moments.push(bytes);
            }
            9 => {
                let len = (1 + random.below(5) as usize) * BLOCK_BYTES;
                file.allocate(len as u64).unwrap();
                bytes.resize(len.max(bytes.len()), 0);
                known.moments.push(bytes);
            }
            _ => {
                let unit = if file.is_direct() { BLOCK_BYTES } else { 700 };
                let mut new = blocks(2, random.next() as u8);
                let count = unit * (1 + random.below(2) as usize);
                let at = unit * random.below(4) as usize;
                new[0] = random.next() as u8;
                file.write_at(at as u64, &new[..count]).unwrap();
                bytes.resize(bytes.len().max(at + count), 0);
                bytes[at..at + count].copy_from_slice(&new[..count]);
                known.moments.push(bytes);
            }
        }
    }
}

#[test]
fn what_was_synced_survives_and_the_rest_was_there_once() {
    let mut sum = super::Cut::default();
    for seed in 0..30 {
        let scratch = Scratch::new(&format!("model-{seed}"));
        let random = SimRandom::new(seed);
        let mut model = Model::default();
        for life in 0..6 {
            work(&scratch.disk(), &mut model, &random);
            // Else the next process goes on after a SIGKILL, with everything still to be lost.
            if random.chance(60) {
                let cut = scratch.cut(random.next());
                model.cut(&scratch, &format!("seed {seed}, life {life}"));
                sum.dropped += cut.dropped;
                sum.torn += cut.torn;
                sum.lengths += cut.lengths;
                sum.names_undone += cut.names_undone;
            }
        }
    }
    let super::Cut { dropped, torn, lengths, names_undone, .. } = sum;
    assert!(dropped.min(torn).min(lengths).min(names_undone) > 10, "{sum:?}");
}

#[test]
fn a_write_that_was_not_synced_is_there_gone_or_torn() {
    let (mut whole, mut gone, mut torn) = (0, 0, 0);
    for seed in 0..40 {
        let scratch = Scratch::new(&format!("write-{seed}"));
        let disk = scratch.disk();
        let file = disk.create("f", Access::Direct).unwrap();
        file.write_at(0, &blocks(4, 1)).unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(BLOCK_BYTES as u64, &blocks(2, 2)).unwrap();
        assert_eq!(scratch.cut(seed).writes, 1);
        let left = scratch.read("f");
        assert_eq!(left.len(), 4 * BLOCK_BYTES);
        let mixed = left.chunks(SECTOR).any(|it| it.iter().any(|byte| *byte != it[0]));
        assert!(!mixed, "seed {seed}: half a sector");
        match left.iter().filter(|byte| **byte == 2).count() {
            0 => gone += 1,
            count if count == 2 * BLOCK_BYTES => whole += 1,
            _ => torn += 1,
        }
    }
    assert!(whole > 3 && gone > 3 && torn > 3, "{whole} {gone} {torn}");
}

#[test]
fn a_sync_does_not_cover_a_write_that_was_on_its_way() {
    let scratch = Scratch::new("running");
    let disk = scratch.disk();
    disk.create("f", Access::Buffered).unwrap();
    let undo = disk.undo(&mut disk.state(), disk.inode("f").unwrap()).unwrap();
    let plain = FsDisk::open(scratch.store()).unwrap().open("f", Access::Buffered).unwrap();
    let (early, late) = (undo.before_write(&*plain, 0, 512).unwrap(), 512);
    undo.before_write(&*plain, late, 512).map(|it| undo.done(it)).unwrap();
    let mark = undo.mark();
    undo.done(early);
    undo.before_write(&*plain, 1024, 512).map(|it| undo.done(it)).unwrap();
    undo.synced(mark).unwrap();
    let (_, found) =
        super::undo::load(&scratch.record(), disk.inode("f").unwrap()).unwrap().unwrap();
    let durable: Vec<bool> = found.iter().map(|it| it.is_durable).collect();
    assert_eq!(durable, [false, true, false]);
}

#[test]
fn a_sync_of_everything_leaves_an_empty_record() {
    let scratch = Scratch::new("empty");
    let disk = scratch.disk();
    let file = disk.create("f", Access::Direct).unwrap();
    for i in 0..40 {
        file.write_at(i * BLOCK_BYTES as u64, &blocks(1, 9)).unwrap();
    }
    let log = scratch.record().join(format!("undo-{}", disk.inode("f").unwrap()));
    file.write_at(0, &blocks(1, 8)).unwrap();
    assert!(fs::metadata(&log).unwrap().len() > BLOCK_BYTES as u64);
    file.sync().unwrap();
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    disk.rename("f", "g").unwrap();
    disk.remove("g").unwrap();
    disk.sync_dir().unwrap();
    let names: Vec<_> = fs::read_dir(scratch.record()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(fs::read_to_string(scratch.record().join("names")).unwrap(), "");
}

#[test]
fn a_removed_file_comes_back_until_the_directory_is_synced() {
    let mut back = 0;
    for seed in 0..40 {
        let scratch = Scratch::new(&format!("removed-{seed}"));
        let disk = scratch.disk();
        for name in ["kept", "gone"] {
            let file = disk.create(name, Access::Buffered).unwrap();
            file.write_at(0, name.as_bytes()).unwrap();
            file.sync().unwrap();
        }
        disk.sync_dir().unwrap();
        disk.remove("gone").unwrap();
        let is_synced = seed % 2 == 0;
        if is_synced {
            disk.sync_dir().unwrap();
        }
        scratch.cut(seed);
        assert_eq!(scratch.read("kept"), b"kept");
        if scratch.store().join("gone").exists() {
            assert!(!is_synced);
            assert_eq!(scratch.read("gone"), b"gone");
            back += 1;
        }
    }
    assert!(back > 3);
}

#[test]
fn a_change_that_was_only_written_down_did_not_happen() {
    let scratch = Scratch::new("intent");
    let disk = scratch.disk();
    let file = disk.create("f", Access::Buffered).unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    let inode = disk.inode("f").unwrap();
    let names = scratch.record().join("names");
    let undo = scratch.record().join(format!("undo-{inode}"));
    let append = |path: &PathBuf, bytes: &[u8]| {
        let log = fs::OpenOptions::new().write(true).open(path).unwrap();
        log.write_all_at(bytes, log.metadata().unwrap().len()).unwrap();
    };
    // The process was killed after the line, and in the middle of an entry.
    append(&names, format!("remove {inode} f\n").as_bytes());
    append(&undo, &[1; 300]);
    drop(disk);
    for seed in 0..20 {
        scratch.disk();
        assert_eq!(scratch.cut(seed), super::Cut::default());
        assert_eq!(scratch.read("f"), b"synced");
    }
}

#[test]
fn a_record_of_other_files_is_refused() {
    let scratch = Scratch::new("others");
    scratch.disk().create("f", Access::Buffered).unwrap();
    fs::remove_file(scratch.store().join("f")).unwrap();
    let refused = RecordedDisk::open(scratch.store(), scratch.record()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData);
    assert!(cut_power(&scratch.store(), &scratch.record(), 1).is_err());
}

#[test]
fn the_power_of_a_running_process_is_not_cut() {
    let scratch = Scratch::new("held");
    let disk = scratch.disk();
    let held = disk.lock().unwrap();
    let refused = cut_power(&scratch.store(), &scratch.record(), 1).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    drop(held);
    scratch.cut(1);
}

#[test]
fn what_was_cut_off_comes_back_with_its_length_or_not_at_all() {
    let (mut back, mut gone) = (0, 0);
    for seed in 0..40 {
        let scratch = Scratch::new(&format!("shorter-{seed}"));
        let disk = scratch.disk();
        let file = disk.create("f", Access::Buffered).unwrap();
        file.write_at(0, &[7; 5000]).unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        file.set_len(1000).unwrap();
        scratch.cut(seed);
        match scratch.read("f").len() {
            5000 => back += 1,
            1000 => gone += 1,
            len => panic!("seed {seed}: {len} bytes"),
        }
        assert!(scratch.read("f").iter().all(|byte| *byte == 7), "seed {seed}");
    }
    assert!(back > 3 && gone > 3, "{back} {gone}");
}
