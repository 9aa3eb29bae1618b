//! What a power cut could undo, written down while it can.
//!
//! A [`RecordedDisk`] does to a directory what [`FsDisk`] does. Before each change it writes into a
//! second directory, the record, what the change replaces, and forgets it once a sync that began
//! after the change has come back. The record is in the page cache, as the store is, so both
//! survive SIGKILL; what is in the record then is what a power cut at that moment could have
//! undone, and [`cut_power`] undoes some of it.
//!
//! What a sync covers is what Linux and POSIX promise, no more: `fdatasync` the bytes and the length
//! of its file, not the file's name; `fsync` of the directory its names, not what is in the files.
//! What was not synced may survive in any combination and order.

mod cut;
mod names;
mod undo;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Access, DirLock, Disk, File};
use crate::fs::FsDisk;
use names::{Change, Names};
use undo::Undo;

pub use cut::{Cut, cut_power};

/// A directory of the machine's file system that keeps a record of what is not synced.
#[derive(Debug)]
pub struct RecordedDisk {
    inner: FsDisk,
    path: PathBuf,
    record: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    names: Names,
    /// By inode.
    undos: BTreeMap<u64, Arc<Undo>>,
}

impl RecordedDisk {
    /// Opens the directory `path`, and begins a record of it in `record`, or goes on with the one
    /// that is there: what a killed process had not synced is not durable yet.
    ///
    /// Fails when the two are on different file systems, or when the record is of other files.
    pub fn open(path: impl Into<PathBuf>, record: impl Into<PathBuf>) -> io::Result<RecordedDisk> {
        let (path, record) = (path.into(), record.into());
        let inner = FsDisk::open(&path)?;
        fs::create_dir_all(&record)?;
        if fs::metadata(&path)?.dev() != fs::metadata(&record)?.dev() {
            let why = "a record has to be on the file system of its store";
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        let names = match Names::load(&path, &record)? {
            Some(names) => names,
            None => Names::begin(&path, &record)?,
        };
        let state = Mutex::new(State { names, undos: BTreeMap::new() });
        Ok(RecordedDisk { inner, path, record, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inode(&self, name: &str) -> io::Result<u64> {
        Ok(fs::symlink_metadata(self.path.join(name))?.ino())
    }

    fn undo(&self, state: &mut State, inode: u64) -> io::Result<Arc<Undo>> {
        if let Some(undo) = state.undos.get(&inode) {
            return Ok(undo.clone());
        }
        let undo = Arc::new(Undo::open(&self.record, inode)?);
        state.undos.insert(inode, undo.clone());
        Ok(undo)
    }
}

impl Disk for RecordedDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let state = &mut *self.state();
        let file = self.inner.open(name, access)?;
        let undo = self.undo(state, self.inode(name)?)?;
        Ok(Arc::new(RecordedFile { inner: file, undo }))
    }

    fn create(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let state = &mut *self.state();
        if self.path.join(name).exists() {
            let emptied = self.inner.open(name, Access::Buffered)?;
            let undo = self.undo(state, self.inode(name)?)?;
            let change = undo.before_length(&*emptied, 0)?;
            let file = self.inner.create(name, access);
            undo.done(change);
            return Ok(Arc::new(RecordedFile { inner: file?, undo }));
        }
        let file = self.inner.create(name, access)?;
        let inode = self.inode(name)?;
        state.names.add(Change::Create { name: name.to_owned(), inode })?;
        state.undos.remove(&inode);
        Undo::forget(&self.record, inode)?;
        let undo = self.undo(state, inode)?;
        Ok(Arc::new(RecordedFile { inner: file, undo }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.state();
        let inode = self.inode(from)?;
        if self.path.join(to).exists() {
            state.names.hold(to, self.inode(to)?)?;
        }
        let (from_name, to_name) = (from.to_owned(), to.to_owned());
        state.names.add(Change::Rename { from: from_name, to: to_name, inode })?;
        let renamed = self.inner.rename(from, to);
        if renamed.is_err() {
            state.names.cancel()?;
        }
        renamed
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let state = &mut *self.state();
        let inode = self.inode(name)?;
        state.names.hold(name, inode)?;
        state.names.add(Change::Remove { name: name.to_owned(), inode })?;
        let removed = self.inner.remove(name);
        if removed.is_err() {
            state.names.cancel()?;
        }
        removed
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mark = self.state().names.mark();
        self.inner.sync_dir()?;
        let state = &mut *self.state();
        for inode in state.names.synced(mark)? {
            state.undos.remove(&inode);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<DirLock> {
        self.inner.lock()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn total_bytes(&self) -> io::Result<u64> {
        self.inner.total_bytes()
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

#[derive(Debug)]
struct RecordedFile {
    inner: Arc<dyn File>,
    undo: Arc<Undo>,
}

impl File for RecordedFile {
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let change = self.undo.before_write(&*self.inner, position, bytes.len() as u64)?;
        let written = self.inner.write_at(position, bytes);
        self.undo.done(change);
        written
    }

    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(position, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mark = self.undo.mark();
        self.inner.sync()?;
        self.undo.synced(mark)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let change = self.undo.before_length(&*self.inner, len)?;
        let cut = self.inner.set_len(len);
        self.undo.done(change);
        cut
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let change = self.undo.before_length(&*self.inner, self.inner.len()?.max(len))?;
        let allocated = self.inner.allocate(len);
        self.undo.done(change);
        allocated
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn is_direct(&self) -> bool {
        self.inner.is_direct()
    }
}

/// The inode and name of every plain file in `path`, but the lock, which is no part of a store.
fn files_of(path: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let found = entry.metadata()?;
        match entry.file_name().into_string() {
            Ok(name) if found.is_file() && name != crate::fs::LOCK_NAME => {
                files.insert(name, found.ino());
            }
            _ => {}
        }
    }
    Ok(files)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("a record that does not fit its store: {what}"))
}

#[cfg(test)]
mod tests;
