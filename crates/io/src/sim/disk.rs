//! A directory in memory that fails on command and forgets at a crash.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::inode::Inode;
use super::random::SimRandom;
use crate::aligned::BLOCK_BYTES;
use crate::disk::{Access, DirLock, Disk, File};

/// What the whole of it would hold; nothing is refused for that.
const TOTAL_BYTES: u64 = 64 << 20;

/// What happens at a call that was chosen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: the call may have done part of its work, and every later one fails until
    /// [`SimDisk::restart`].
    Crash,
    /// The call fails with EIO. A sync that fails loses what it should have made durable.
    Eio,
    /// The call fails with ENOSPC; a write has written half.
    Enospc,
    /// A write lands a few blocks from where it should, and reports success.
    Misdirect,
}

/// A directory in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: SimRandom,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    crashed: bool,
    /// Counts processes; a handle of an earlier one is dead.
    life: u64,
    held: Weak<()>,
    free_bytes: u64,
    direct: bool,
}

#[derive(Debug)]
enum NameChange {
    Create(String, usize),
    Rename { from: String, to: String, inode: usize },
    Remove(String),
}

impl SimDisk {
    /// An empty directory; `seed` decides what crashes destroy.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk {
            state: Arc::new(Mutex::new(State {
                random: SimRandom::new(seed),
                inodes: Vec::new(),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                name_changes: Vec::new(),
                calls: 0,
                faults: BTreeMap::new(),
                crashed: false,
                life: 0,
                held: Weak::new(),
                free_bytes: u64::MAX,
                direct: true,
            })),
        }
    }

    /// Calls so far that change something: create, rename, remove, sync_dir, write, sync, set_len,
    /// allocate.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Lets changing call number `call` (the first is 1) meet `fault`.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().faults.insert(call, fault);
    }

    /// The power goes with changing call number `call` (the first is 1).
    pub fn crash_at(&self, call: u64) {
        self.fail_at(call, Fault::Crash);
    }

    /// Whether the power is gone.
    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Cuts the power, and turns it on again: what was not synced survives in part, every open
    /// file and lock is dead, planned faults are forgotten.
    pub fn restart(&self) {
        let state = &mut *self.state();
        state.new_life();
        let odds = [0, 20, 50, 80, 100][usize::try_from(state.random.below(5)).unwrap_or(0)];
        for change in std::mem::take(&mut state.name_changes) {
            if state.random.chance(odds) {
                apply_name(&mut state.durable_names, change);
            }
        }
        state.names.clone_from(&state.durable_names);
        for inode in &mut state.inodes {
            inode.forget_cache(&state.random, odds);
        }
        state.drop_nameless();
    }

    /// Ends the process as SIGKILL does: what it wrote is still there, but not durable.
    pub fn kill(&self) {
        let state = &mut *self.state();
        state.new_life();
        state.drop_nameless();
    }

    /// Bounds the bytes that files can still grow by.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.state().free_bytes = free_bytes;
    }

    /// Refuses direct access from now on, as tmpfs does.
    pub fn refuse_direct(&self) {
        self.state().direct = false;
    }

    /// Turns one bit of a file, durably. False when there is no such byte.
    pub fn flip_bit(&self, name: &str, byte: usize, bit: u8) -> bool {
        self.change_byte(name, byte, |found| found ^ (1 << (bit % 8)))
    }

    /// Sets one byte of a file, durably. False when there is no such byte.
    pub fn set_byte(&self, name: &str, byte: usize, value: u8) -> bool {
        self.change_byte(name, byte, |_| value)
    }

    /// What a file holds, as a process would read it.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|inode| state.inodes[*inode].cached.to_vec())
    }

    fn change_byte(&self, name: &str, byte: usize, change: impl Fn(u8) -> u8) -> bool {
        let state = &mut *self.state();
        let Some(inode) = state.names.get(name).map(|inode| &mut state.inodes[*inode]) else {
            return false;
        };
        inode.change_byte(byte, change);
        byte < inode.durable.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, state: &State, inode: usize, access: Access) -> Arc<dyn File> {
        let direct = access == Access::Direct && state.direct;
        Arc::new(SimFile { disk: self.clone(), inode, life: state.life, direct })
    }
}

impl State {
    fn new_life(&mut self) {
        self.life += 1;
        self.crashed = false;
        self.held = Weak::new();
        self.faults.clear();
    }

    /// Empties the files that no name stands for or can come to stand for.
    fn drop_nameless(&mut self) {
        let mut named = vec![false; self.inodes.len()];
        for inode in self.names.values().chain(self.durable_names.values()) {
            named[*inode] = true;
        }
        for change in &self.name_changes {
            match change {
                NameChange::Create(_, inode) | NameChange::Rename { inode, .. } => {
                    named[*inode] = true;
                }
                NameChange::Remove(_) => {}
            }
        }
        for (inode, _) in self.inodes.iter_mut().zip(named).filter(|(_, named)| !named) {
            *inode = Inode::default();
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    /// Counts a changing call and gives the fault it meets, if any.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        self.alive()?;
        self.calls += 1;
        let fault = self.faults.remove(&self.calls);
        if fault == Some(Fault::Crash) {
            self.crashed = true;
        }
        Ok(fault)
    }

    fn change_names(&mut self, change: NameChange, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            Some(Fault::Eio) => return Err(eio()),
            Some(Fault::Enospc) => return Err(ErrorKind::StorageFull.into()),
            _ => {}
        }
        match &change {
            NameChange::Create(name, inode) => {
                self.names.insert(name.clone(), *inode);
            }
            NameChange::Rename { from, to, inode } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *inode);
            }
            NameChange::Remove(name) => {
                self.names.remove(name);
            }
        }
        self.name_changes.push(change);
        self.alive()
    }

    /// What a file took is free again when its name goes.
    fn give_back(&mut self, inode: usize) {
        let bytes = self.inodes[inode].cached.len() as u64;
        self.free_bytes = self.free_bytes.saturating_add(bytes);
    }

    /// Takes the room for a file of `len` bytes, unless the call is to fail.
    fn grow(&mut self, inode: usize, len: usize, fault: Option<Fault>) -> io::Result<()> {
        let growth = len.saturating_sub(self.inodes[inode].cached.len()) as u64;
        match fault {
            Some(Fault::Eio) => return Err(eio()),
            Some(Fault::Enospc) => return Err(ErrorKind::StorageFull.into()),
            _ if growth > self.free_bytes => return Err(ErrorKind::StorageFull.into()),
            _ => {}
        }
        if self.free_bytes != u64::MAX {
            self.free_bytes -= growth;
        }
        Ok(())
    }

    fn inode_of(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Create(name, inode) => {
            names.insert(name, inode);
        }
        NameChange::Rename { from, to, inode } => {
            if names.get(&from) == Some(&inode) {
                names.remove(&from);
            }
            names.insert(to, inode);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Disk for SimDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        state.alive()?;
        let inode = state.inode_of(name)?;
        Ok(self.file(&state, inode, access))
    }

    fn create(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let fault = state.call()?;
        if let Ok(inode) = state.inode_of(name) {
            state.inodes[inode].set_len(0);
            state.alive()?;
            return Ok(self.file(&state, inode, access));
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change_names(NameChange::Create(name.to_owned(), inode), fault)?;
        Ok(self.file(&state, inode, access))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.call()?;
        let inode = state.inode_of(from)?;
        if let Ok(replaced) = state.inode_of(to) {
            state.give_back(replaced);
        }
        let change = NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode };
        state.change_names(change, fault)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.call()?;
        let inode = state.inode_of(name)?;
        state.give_back(inode);
        state.change_names(NameChange::Remove(name.to_owned()), fault)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let state = &mut *self.state();
        match state.call()? {
            Some(Fault::Crash) => return state.alive(),
            Some(Fault::Eio | Fault::Enospc) => return Err(eio()),
            _ => {}
        }
        for change in std::mem::take(&mut state.name_changes) {
            apply_name(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<DirLock> {
        let mut state = self.state();
        state.alive()?;
        if state.held.strong_count() > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let held = Arc::new(());
        state.held = Arc::downgrade(&held);
        Ok(DirLock::new(held))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state().free_bytes)
    }

    fn total_bytes(&self) -> io::Result<u64> {
        Ok(TOTAL_BYTES)
    }

    fn place(&self) -> String {
        "simulated disk".to_owned()
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
    life: u64,
    direct: bool,
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.alive()?;
        if state.life == self.life {
            Ok(state)
        } else {
            Err(io::Error::other("the process that opened this file is dead"))
        }
    }

    fn check_aligned(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let aligned = position.is_multiple_of(BLOCK_BYTES as u64)
            && bytes.len().is_multiple_of(BLOCK_BYTES)
            && bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES);
        if aligned || !self.direct { Ok(()) } else { Err(ErrorKind::InvalidInput.into()) }
    }

    /// Writes, unless the call is to fail.
    fn write(&self, position: usize, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.state()?;
        let fault = state.call()?;
        let end = position + bytes.len();
        match state.grow(self.inode, end, fault) {
            Err(error) if fault == Some(Fault::Enospc) => {
                state.inodes[self.inode].write(position, &bytes[..bytes.len() / 2]);
                return Err(error);
            }
            grown => grown?,
        }
        let mut position = position;
        if fault == Some(Fault::Misdirect) {
            let blocks = 1 + usize::try_from(state.random.below(8)).unwrap_or(0);
            position += blocks * BLOCK_BYTES;
        }
        state.inodes[self.inode].write(position, bytes);
        state.alive()
    }
}

impl File for SimFile {
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_aligned(position, bytes)?;
        let position = usize::try_from(position).map_err(|_| ErrorKind::FileTooLarge)?;
        self.write(position, bytes)
    }

    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.check_aligned(position, bytes)?;
        let state = self.state()?;
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(state.inodes[self.inode].cached.read(position, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state()?;
        let fault = state.call()?;
        let inode = &mut state.inodes[self.inode];
        match fault {
            Some(Fault::Crash) => state.alive(),
            Some(Fault::Eio | Fault::Enospc) => {
                // Linux marks the pages clean: a later sync succeeds, and they never arrive.
                inode.survive(&state.random, 50);
                if self.direct {
                    // No page cache hides what the disk does not have.
                    inode.cached.clone_from(&inode.durable);
                }
                Err(eio())
            }
            _ => {
                inode.sync();
                Ok(())
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| ErrorKind::FileTooLarge)?;
        let state = &mut *self.state()?;
        let fault = state.call()?;
        state.grow(self.inode, len, fault)?;
        state.inodes[self.inode].set_len(len);
        state.alive()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let len = len.max(self.len()?);
        self.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[self.inode].cached.len() as u64)
    }

    fn is_direct(&self) -> bool {
        self.direct
    }
}
