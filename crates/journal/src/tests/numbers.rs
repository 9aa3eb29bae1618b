//! The keeper and the writer make segments at the same time.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use ::io::sim::{SimDisk, SimRandom};
use ::io::{Access, DirLock, Disk, File};

use super::store::{frame, options};
use crate::{Queue, open};

/// A disk on which the keeper's segment is made while the writer makes one.
struct Meeting {
    disk: SimDisk,
    numbered: SyncSender<()>,
    go_on: Mutex<Receiver<()>>,
    /// The writer's way to let the keeper go on, and to know that it is done.
    pass: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meeting")
    }
}

impl Disk for Meeting {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.disk.open(name, access)
    }

    fn create(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        if name == "prepare-2.tmp" {
            self.numbered.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        } else if name == "j-3.seg" {
            let (go_on, done) = self.pass.lock().unwrap().take().unwrap();
            go_on.send(()).unwrap();
            done.recv().unwrap();
        }
        self.disk.create(name, access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn lock(&self) -> io::Result<DirLock> {
        self.disk.lock()
    }

    fn total_bytes(&self) -> io::Result<u64> {
        self.disk.total_bytes()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn place(&self) -> String {
        self.disk.place()
    }
}

#[test]
fn a_segment_prepared_while_the_writer_took_a_later_number_is_not_used_after_it() {
    let disk = SimDisk::new(1);
    let (numbered, is_numbered) = sync_channel(1);
    let (go, go_on) = sync_channel(1);
    let (done, is_done) = sync_channel(1);
    let pass = Mutex::new(Some((go, is_done)));
    let meeting = Meeting { disk: disk.clone(), numbered, go_on: Mutex::new(go_on), pass };
    let (mut writer, _, pool, mut recovery) = open(Arc::new(meeting), options(1)).unwrap();
    assert!(recovery.next_frame().unwrap().is_none());
    let (mut queue, random) = (Queue::new(1 << 20, &options(1)), SimRandom::new(1));
    let mut indexes = 1..;
    let mut write = |sealed: &mut Vec<u32>| {
        let index = indexes.next().unwrap();
        queue.push(frame(&random, 0, index, &[100, 20_000])).unwrap();
        while !queue.is_empty() {
            sealed.extend(writer.round(&mut queue).unwrap().sealed);
        }
        writer.sync().unwrap();
    };
    let mut sealed = Vec::new();
    write(&mut sealed);
    let keeper = std::thread::spawn(move || {
        assert!(pool.prepare().unwrap());
        done.send(()).unwrap();
    });
    is_numbered.recv().unwrap();
    for _ in 0..12 {
        write(&mut sealed);
    }
    keeper.join().unwrap();
    assert_eq!(sealed[..2], [1, 3]);
    assert!(sealed.is_sorted(), "{sealed:?}");
    drop((writer, recovery));
    let (_, _, _, mut recovery) = open(Arc::new(disk), options(3)).unwrap();
    for index in 1..=13 {
        assert_eq!(recovery.next_frame().unwrap().unwrap().index, index);
    }
    assert!(recovery.next_frame().unwrap().is_none());
    assert_eq!(recovery.findings(), []);
}
