//! Chunk files: what a checkpoint has of its state elsewhere than in its own file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use ::io::{Access, Disk, File};
use bytes::Bytes;
use types::ShardId;

use super::{Checkpoint, Page, PageKind, store_file};
use crate::fields::crc32c;
use crate::layout::{FORMAT_VERSION, chunks_name};

const MAGIC: u64 = u64::from_le_bytes(*b"XDOCKCHN");
pub(super) const HEAD_BYTES: u64 = 32;

/// What names a chunk.
pub(super) type Key = (PageKind, ShardId, u64);

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Sequence of the checkpoint that wrote its file.
    pub(super) file: u64,
    pub(super) byte: u64,
    pub(super) len: u64,
    pub(super) crc: u32,
}

/// The chunks that a checkpoint has elsewhere, and their files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(super) places: BTreeMap<Key, Place>,
    /// Bytes of those files that this process has written.
    file_bytes: BTreeMap<u64, u64>,
}

impl Standing {
    /// Whether it has chunks, and its files less than twice what counts in them.
    pub(crate) fn takes_changes(&self) -> bool {
        let live: u64 = self.places.values().map(|place| place.len).sum();
        let held: u64 = self.file_bytes.values().sum();
        held > 0 && held < 2 * live
    }

    /// Its chunk files, by the sequences of the checkpoints that wrote them.
    pub(crate) fn files(&self) -> BTreeSet<u64> {
        self.places.values().map(|place| place.file).collect()
    }

    /// Bytes that were written of one of its files.
    pub(super) fn file_bytes(&self, file: u64) -> u64 {
        self.file_bytes.get(&file).copied().unwrap_or(0)
    }

    /// This, with the chunks of `checkpoint` in the place of those they replace: of all, if it is not
    /// partial. They are in a file of their own then, durably.
    pub(super) fn with_chunks(
        &self,
        disk: &dyn Disk,
        checkpoint: &Checkpoint,
        epoch: u32,
    ) -> io::Result<Standing> {
        let file = checkpoint.sequence;
        let Standing { mut places, mut file_bytes } = match checkpoint.is_partial {
            true => self.clone(),
            false => Standing::default(),
        };
        let head = encode_head(file, epoch);
        let mut pieces: Vec<&[u8]> = vec![&head];
        let mut byte = HEAD_BYTES;
        for Page { kind, shard, chunk, bytes } in &checkpoint.pages {
            let Some(chunk) = chunk else { continue };
            let key = (*kind, *shard, *chunk);
            if bytes.is_empty() {
                places.remove(&key);
                continue;
            }
            let place = Place { file, byte, len: bytes.len() as u64, crc: crc32c(bytes) };
            byte += place.len;
            pieces.push(bytes);
            if !(::io::planted("chunk-of-older-generation-kept") && places.contains_key(&key)) {
                places.insert(key, place);
            }
        }
        if pieces.len() > 1 {
            store_file(disk, &chunks_name(file), &pieces)?;
            file_bytes.insert(file, byte);
        }
        let mut standing = Standing { places, file_bytes };
        let files = standing.files();
        standing.file_bytes.retain(|file, _| files.contains(file));
        Ok(standing)
    }

    /// Removes the files that `other` does not need.
    pub(super) fn remove_all_but(&self, disk: &dyn Disk, other: &Standing) -> io::Result<()> {
        for file in self.files().difference(&other.files()) {
            match disk.remove(&chunks_name(*file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads every chunk, and gives it to `each`. False at the first that is not what was written, or
    /// whose file is not there.
    pub(super) fn read(
        &self,
        disk: &dyn Disk,
        mut each: impl FnMut(Key, Bytes),
    ) -> io::Result<bool> {
        let mut files: BTreeMap<u64, (Arc<dyn File>, u64)> = BTreeMap::new();
        for file in self.files() {
            match disk.open(&chunks_name(file), Access::Buffered) {
                Ok(open) => {
                    let len = open.len()?;
                    files.insert(file, (open, len));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        for (key, place) in &self.places {
            let Some((file, file_len)) = files.get(&place.file) else { return Ok(false) };
            // Before anything is allocated for it.
            let is_inside = place.byte.checked_add(place.len).is_some_and(|end| end <= *file_len);
            let (true, Ok(len)) = (is_inside, usize::try_from(place.len)) else {
                return Ok(false);
            };
            let mut bytes = vec![0; len];
            let count = file.read_at(place.byte, &mut bytes)?;
            if count < len || crc32c(&bytes) != place.crc {
                return Ok(false);
            }
            each(*key, bytes.into());
        }
        Ok(true)
    }
}

/// The head of a chunk file says to a person what it is; the checkpoint says what is in it.
fn encode_head(sequence: u64, epoch: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&crc32c(&out).to_le_bytes());
    out
}
