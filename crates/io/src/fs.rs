//! The machine's file system behind [`Disk`].

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use crate::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::disk::{Access, DirLock, Disk, File};
use crate::faults::{Allowed, FaultPlan, Faults};

/// The file that is locked; nothing is kept in it.
pub(crate) const LOCK_NAME: &str = "lock";

/// Short writes in a row that do not complete a block, before a write counts as failed.
const STUCK_MAX: u32 = 8;

/// A directory of the machine's file system.
#[derive(Debug)]
pub struct FsDisk {
    path: PathBuf,
    directory: fs::File,
    faults: Option<Arc<Faults>>,
}

impl FsDisk {
    /// Opens the directory `path`, and creates it, durably, if it does not exist.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<FsDisk> {
        let path = path.into();
        make_durable(&path)?;
        let directory = fs::File::open(&path)?;
        Ok(FsDisk { path, directory, faults: None })
    }

    /// The same directory, whose files fail as planned.
    #[must_use]
    pub fn with_faults(self, plan: FaultPlan) -> FsDisk {
        FsDisk { faults: Some(Arc::new(Faults::new(plan))), ..self }
    }

    fn open_with(&self, name: &str, access: Access, create: bool) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(create).truncate(create);
        if access == Access::Direct {
            let flags = i32::try_from(OFlags::DIRECT.bits()).expect("open flags fit an int");
            match options.clone().custom_flags(flags).open(&path) {
                Ok(file) if reads_direct(&file) => return Ok(self.file(file, true)),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.file(options.open(&path)?, false))
    }

    fn file(&self, file: fs::File, direct: bool) -> Arc<dyn File> {
        Arc::new(FsFile { file, direct, faults: self.faults.clone() })
    }
}

/// Creates a directory and those above it that are missing, each durable before one is made in it.
fn make_durable(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if !path.is_dir() {
        make_durable(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // Also of one that is there: who made it may have been killed before its sync.
    match fs::File::open(parent).and_then(|parent| parent.sync_all()) {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Some file systems accept the flag at open and refuse it at the first transfer.
fn reads_direct(file: &fs::File) -> bool {
    let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
    file.read_at(&mut block, 0).is_ok()
}

impl Disk for FsDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.open_with(name, access, false)
    }

    fn create(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.open_with(name, access, true)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn lock(&self) -> io::Result<DirLock> {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(false).open(self.path.join(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(DirLock::new(file))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&self.directory)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn total_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&self.directory)?;
        Ok(found.f_blocks.saturating_mul(found.f_frsize))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

#[derive(Debug)]
struct FsFile {
    file: fs::File,
    direct: bool,
    faults: Option<Arc<Faults>>,
}

impl FsFile {
    /// Writes some of `bytes`, as the kernel may; gives how many it says it wrote.
    fn write_some(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        let Some(faults) = &self.faults else { return self.file.write_at(bytes, position) };
        let Allowed { write_bytes, told_bytes } = faults.write(bytes.len())?;
        let count = self.file.write_at(&bytes[..write_bytes], position)?;
        Ok(count.min(told_bytes))
    }
}

impl File for FsFile {
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        let mut stuck = 0;
        while written < bytes.len() {
            match self.write_some(position + written as u64, &bytes[written..]) {
                Ok(count) => {
                    // What follows a short write has to be aligned again: a block is whole or
                    // written anew.
                    let unit = if self.direct { BLOCK_BYTES } else { 1 };
                    let done = count / unit * unit;
                    written += done;
                    stuck = if done == 0 { stuck + 1 } else { 0 };
                    if stuck > STUCK_MAX {
                        return Err(ErrorKind::WriteZero.into());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    // The last part of a block ends the file; an unaligned read would be refused.
                    if self.direct && !count.is_multiple_of(BLOCK_BYTES) {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.sync())?;
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.grow())?;
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(len),
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is_direct(&self) -> bool {
        self.direct
    }
}

#[cfg(test)]
mod tests;
