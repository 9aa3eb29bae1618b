//! Checkpoints: two alternating files, and the chunk files that they stand on.
//!
//! A small state is in the checkpoint's own file, all of it. Of a larger one, the chunks that changed
//! since the checkpoint before the last go into a file of their own, and the checkpoint says for each
//! chunk which file has it. The two checkpoints have no chunk file in common: what is wrong with one
//! is not wrong with the other.

mod head;
mod standing;

use std::io;

use ::io::{Access, Disk};
use bytes::Bytes;
use types::ShardId;

pub use crate::fields::Malformed;
use crate::location::Position;

#[cfg(test)]
pub(crate) use head::decode;
pub(crate) use head::{Head, Loaded, load};
pub(crate) use standing::Standing;

/// Names of the two files, by parity of the sequence.
pub(crate) const NAMES: [&str; 2] = ["checkpoint-b", "checkpoint-a"];

/// The state of the store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Counts checkpoints: one more than that of the checkpoint before, which was the newest
    /// valid one.
    pub sequence: u64,
    /// Replay begins here. Some frames there may be applied already: `applied` tells.
    pub replay: Position,
    /// The last applied entry of each shard.
    pub applied: Vec<Applied>,
    /// Chunks that are not among the pages are as they were in the checkpoint before the last; see
    /// [`Pool::takes_changes`](crate::Pool::takes_changes).
    pub is_partial: bool,
    /// The state.
    pub pages: Vec<Page>,
}

/// How far a shard was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The shard.
    pub shard: ShardId,
    /// Term of its last applied entry.
    pub term: u32,
    /// Index of its last applied entry.
    pub index: u64,
}

/// Whose state a page is; the two never share a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageKind {
    /// The same on every replica.
    Replicated,
    /// Of this replica only: locations, liveness.
    Local,
}

/// One piece of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whose it is.
    pub kind: PageKind,
    /// Its shard.
    pub shard: ShardId,
    /// Which chunk of the shard's state, not `u64::MAX`. It stands until a checkpoint brings another
    /// one of that number; one without bytes takes it away. `None`: every checkpoint brings it anew.
    pub chunk: Option<u64>,
    /// The state, opaque here.
    pub bytes: Bytes,
}

/// Stores `checkpoint` in place of the older of the two, which stands on `before`. All of it is in
/// its own file if its pages have no more than `inline_bytes_max`. Gives what it stands on, and the
/// bytes written.
pub(crate) fn store(
    disk: &dyn Disk,
    checkpoint: &Checkpoint,
    before: &Standing,
    (epoch, inline_bytes_max): (u32, u64),
) -> io::Result<(Standing, u64)> {
    let page_bytes: u64 = checkpoint.pages.iter().map(|page| page.bytes.len() as u64).sum();
    let inline = !checkpoint.is_partial && page_bytes <= inline_bytes_max;
    let standing = match inline {
        true => Standing::default(),
        false => before.with_chunks(disk, checkpoint, epoch)?,
    };
    if ::io::planted("chunk-file-removed-early") {
        before.remove_all_but(disk, &standing)?;
    }
    let head_bytes = head::store(disk, checkpoint, &standing, (epoch, inline))?;
    before.remove_all_but(disk, &standing)?;
    let chunk_bytes = standing.file_bytes(checkpoint.sequence);
    Ok((standing, head_bytes + chunk_bytes))
}

/// Writes a whole file so that, after a power cut at any moment, the name stands for all of it or
/// for what it stood for before.
pub(crate) fn store_file(disk: &dyn Disk, name: &str, pieces: &[&[u8]]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = disk.create(&temporary, Access::Buffered)?;
    let mut position = 0;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        file.write_at(position, piece)?;
        position += piece.len() as u64;
    }
    let unsynced =
        if name.ends_with(".idx") { "index-not-synced" } else { "checkpoint-not-synced" };
    if !::io::planted(unsynced) {
        file.sync()?;
    }
    disk.rename(&temporary, name)?;
    if ::io::planted("directory-not-synced") { Ok(()) } else { disk.sync_dir() }
}

/// The bytes of a file written by [`store_file`]; `None` when there is none.
pub(crate) fn load_file(disk: &dyn Disk, name: &str) -> io::Result<Option<Bytes>> {
    let file = match disk.open(name, Access::Buffered) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    let count = file.read_at(0, &mut bytes)?;
    bytes.truncate(count);
    Ok(Some(bytes.into()))
}
