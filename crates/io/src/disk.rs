//! One directory of files, as the journal needs it.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

/// How a file's bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Past the page cache: positions, lengths and memory are multiples of
    /// [`BLOCK_BYTES`](crate::BLOCK_BYTES). Where the file system refuses it, the file is opened
    /// buffered instead, and [`File::is_direct`] says so.
    Direct,
    /// Through the page cache, of any length.
    Buffered,
}

/// A directory. Names are plain file names in it. What is done to names is sure to survive a
/// power cut only after [`sync_dir`](Disk::sync_dir).
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Creates a file, or empties the one of this name.
    fn create(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Renames a file, in place of one that has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// All names, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes the names durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Keeps every other process out of the directory for as long as the lock lives. Fails with
    /// `WouldBlock` when another one is in.
    fn lock(&self) -> io::Result<DirLock>;

    /// Bytes that can still be allocated.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Bytes of the whole file system.
    fn total_bytes(&self) -> io::Result<u64>;

    /// The directory as a person knows it.
    fn place(&self) -> String;
}

/// An open file. Written bytes are sure to survive a power cut only after [`sync`](File::sync).
pub trait File: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` at `position`.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads from `position` until `bytes` is full or the file ends; gives the bytes read.
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Makes what was written durable, with the length of the file. After a failure what was
    /// written since the sync before may be lost, whatever later calls say.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends to `len` bytes; new bytes read as zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Extends to `len` bytes that read as zero, with their space on the disk reserved where the
    /// file system can.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether reads and writes must be aligned.
    fn is_direct(&self) -> bool;
}

/// A directory held against other processes, until dropped.
pub struct DirLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl DirLock {
    /// A lock that ends when `held` is dropped.
    pub fn new(held: impl Any + Send + Sync) -> DirLock {
        DirLock(Box::new(held))
    }
}

impl fmt::Debug for DirLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirLock")
    }
}
