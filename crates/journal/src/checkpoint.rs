//! The two alternating checkpoint files.

use std::io;

use ::io::{Access, Disk};
use bytes::Bytes;
use types::ShardId;

pub use crate::fields::Malformed;
use crate::fields::{Crc, Take, crc32c};
use crate::layout::FORMAT_VERSION;
use crate::location::Position;

const MAGIC: u64 = u64::from_le_bytes(*b"XDOCKCHK");
const TRAILER: u64 = u64::from_le_bytes(*b"CHKEND\r\n");
const END_BYTES: usize = 12;
const APPLIED_BYTES: usize = 14;
const PAGE_HEADER_BYTES: usize = 11;
/// Where the version is; the checksum is the same in every version.
const VERSION_AT: usize = 8;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The state, opaque here.
    pub bytes: Bytes,
}

/// A checkpoint file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    Valid { checkpoint: Checkpoint, epoch: u32 },
    Corrupt { at_byte: usize },
    Newer { version: u32 },
}

/// Stores `checkpoint` in place of the older of the two.
pub(crate) fn store(disk: &dyn Disk, checkpoint: &Checkpoint, epoch: u32) -> io::Result<()> {
    let name = NAMES[usize::from(checkpoint.sequence % 2 == 1)];
    let head = encode_head(checkpoint, epoch);
    let mut crc = Crc::new();
    crc.update(&head);
    for page in &checkpoint.pages {
        crc.update(&page.bytes);
    }
    let mut end = crc.finish().to_le_bytes().to_vec();
    end.extend_from_slice(&TRAILER.to_le_bytes());
    let mut pieces = vec![&head[..]];
    pieces.extend(checkpoint.pages.iter().map(|page| &page.bytes[..]));
    pieces.push(&end);
    store_file(disk, name, &pieces)
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
    let unsynced = if NAMES.contains(&name) { "checkpoint-not-synced" } else { "index-not-synced" };
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

/// Reads one of the two files; `None` when there is none.
pub(crate) fn load(disk: &dyn Disk, name: &str) -> io::Result<Option<Loaded>> {
    let Some(bytes) = load_file(disk, name)? else { return Ok(None) };
    Ok(Some(match decode(&bytes) {
        Ok((checkpoint, epoch)) => Loaded::Valid { checkpoint, epoch },
        Err(_) if newer_version(&bytes).is_some() => {
            Loaded::Newer { version: newer_version(&bytes).unwrap_or(0) }
        }
        Err(Malformed { at_byte, .. }) => Loaded::Corrupt { at_byte },
    }))
}

fn encode_head(checkpoint: &Checkpoint, epoch: u32) -> Vec<u8> {
    let Checkpoint { sequence, replay, applied, pages } = checkpoint;
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&replay.segment.to_le_bytes());
    out.extend_from_slice(&replay.byte.to_le_bytes());
    out.extend_from_slice(&replay.round.to_le_bytes());
    out.extend_from_slice(&replay.epoch.to_le_bytes());
    for count in [applied.len(), pages.len()] {
        let count = u32::try_from(count).expect("shards and their pages are few");
        out.extend_from_slice(&count.to_le_bytes());
    }
    for Applied { shard, term, index } in applied {
        out.extend_from_slice(&shard.0.to_le_bytes());
        out.extend_from_slice(&term.to_le_bytes());
        out.extend_from_slice(&index.to_le_bytes());
    }
    for Page { kind, shard, bytes } in pages {
        out.push(match kind {
            PageKind::Replicated => 1,
            PageKind::Local => 2,
        });
        out.extend_from_slice(&shard.0.to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    }
    out
}

fn is_sealed(bytes: &Bytes) -> bool {
    bytes.len().checked_sub(END_BYTES).is_some_and(|covered| {
        let (body, end) = bytes.split_at(covered);
        end[..4] == crc32c(body).to_le_bytes() && end[4..] == TRAILER.to_le_bytes()
    })
}

fn newer_version(bytes: &Bytes) -> Option<u32> {
    let field = bytes.get(VERSION_AT..VERSION_AT + 4)?.try_into().ok()?;
    let version = u32::from_le_bytes(field);
    let is_newer = bytes.starts_with(&MAGIC.to_le_bytes()) && version > FORMAT_VERSION;
    (is_newer && is_sealed(bytes)).then_some(version)
}

/// The checkpoint in the bytes of a file, and the epoch it was stored in.
pub(crate) fn decode(bytes: &Bytes) -> Result<(Checkpoint, u32), Malformed> {
    if !is_sealed(bytes) {
        return Err(Malformed { at_byte: bytes.len(), why: "wrong checksum or trailer" });
    }
    let bytes = &bytes.slice(..bytes.len() - END_BYTES);
    let mut take = Take::new(bytes);
    if take.u64()? != MAGIC || take.u32()? > FORMAT_VERSION {
        return Err(Malformed { at_byte: 0, why: "not a checkpoint of this version" });
    }
    let epoch = take.u32()?;
    let sequence = take.u64()?;
    let (segment, byte) = (take.u32()?, take.u32()?);
    let replay = Position { segment, byte, round: take.u64()?, epoch: take.u32()? };
    let (applied_count, page_count) = (take.u32()?, take.u32()?);
    let applied_count = take.count(u64::from(applied_count), APPLIED_BYTES)?;
    let mut applied = Vec::with_capacity(applied_count);
    for _ in 0..applied_count {
        let (shard, term, index) = (ShardId(take.u16()?), take.u32()?, take.u64()?);
        applied.push(Applied { shard, term, index });
    }
    let page_count = take.count(u64::from(page_count), PAGE_HEADER_BYTES)?;
    let mut headers = Vec::with_capacity(page_count);
    for _ in 0..page_count {
        let kind = match take.u8()? {
            1 => PageKind::Replicated,
            2 => PageKind::Local,
            _ => return Err(take.wrong("unknown kind of page")),
        };
        headers.push((kind, ShardId(take.u16()?), take.u64()?));
    }
    let mut pages = Vec::with_capacity(page_count);
    for (kind, shard, len) in headers {
        let len = take.count(len, 1)?;
        pages.push(Page { kind, shard, bytes: take.bytes(len)? });
    }
    if take.left() > 0 {
        return Err(take.wrong("bytes after the last page"));
    }
    Ok((Checkpoint { sequence, replay, applied, pages }, epoch))
}
