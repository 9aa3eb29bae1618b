//! The checkpoint's own file.

use std::io;

use ::io::Disk;
use bytes::Bytes;
use types::ShardId;

use super::standing::{Key, Place, Standing};
use super::{Applied, Checkpoint, NAMES, Page, PageKind, load_file, store_file};
use crate::fields::{Crc, Malformed, Take, crc32c};
use crate::layout::FORMAT_VERSION;
use crate::location::Position;

const MAGIC: u64 = u64::from_le_bytes(*b"XDOCKCHK");
const TRAILER: u64 = u64::from_le_bytes(*b"CHKEND\r\n");
const END_BYTES: usize = 12;
const APPLIED_BYTES: usize = 14;
const PAGE_HEADER_BYTES: usize = 39;
/// Where the version is; the checksum is the same in every version.
const VERSION_AT: usize = 8;
/// Oldest version that is read.
const VERSION_MIN: u32 = 3;
/// The chunk of a page that is none.
const NO_CHUNK: u64 = u64::MAX;

/// What the file of a checkpoint says, and what it names elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// With the pages that are in its own file.
    pub(crate) checkpoint: Checkpoint,
    pub(crate) epoch: u32,
    pub(crate) standing: Standing,
}

/// A checkpoint's own file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    Valid(Box<Head>),
    Corrupt {
        at_byte: usize,
    },
    /// Of a version that this program does not read, older or newer.
    Other {
        version: u32,
    },
}

impl Head {
    /// The whole checkpoint; `None` when what is elsewhere is not what was written.
    pub(crate) fn read(self, disk: &dyn Disk) -> io::Result<Option<Checkpoint>> {
        let Head { mut checkpoint, standing, .. } = self;
        let is_whole = standing.read(disk, |(kind, shard, chunk), bytes| {
            checkpoint.pages.push(Page { kind, shard, chunk: Some(chunk), bytes });
        })?;
        Ok(is_whole.then_some(checkpoint))
    }

    /// Whether what is elsewhere is what was written.
    pub(crate) fn is_whole(&self, disk: &dyn Disk) -> io::Result<bool> {
        self.standing.read(disk, |_, _| {})
    }
}

/// Writes the checkpoint's own file; gives its bytes. `inline`: every page is in it.
pub(super) fn store(
    disk: &dyn Disk,
    checkpoint: &Checkpoint,
    standing: &Standing,
    (epoch, inline): (u32, bool),
) -> io::Result<u64> {
    let name = NAMES[usize::from(checkpoint.sequence % 2 == 1)];
    let here = checkpoint.pages.iter().filter(|page| match page.chunk {
        Some(_) => inline && !page.bytes.is_empty(),
        None => true,
    });
    let here: Vec<&Page> = here.collect();
    let head = encode(checkpoint, epoch, (&here, standing));
    let mut crc = Crc::new();
    crc.update(&head);
    for page in &here {
        crc.update(&page.bytes);
    }
    let mut end = crc.finish().to_le_bytes().to_vec();
    end.extend_from_slice(&TRAILER.to_le_bytes());
    let mut pieces = vec![&head[..]];
    pieces.extend(here.iter().map(|page| &page.bytes[..]));
    pieces.push(&end);
    store_file(disk, name, &pieces)?;
    Ok(pieces.iter().map(|piece| piece.len() as u64).sum())
}

/// Reads one of the two files; `None` when there is none.
pub(crate) fn load(disk: &dyn Disk, name: &str) -> io::Result<Option<Loaded>> {
    let Some(bytes) = load_file(disk, name)? else { return Ok(None) };
    Ok(Some(match (decode(&bytes), other_version(&bytes)) {
        (Ok(head), _) => Loaded::Valid(Box::new(head)),
        (Err(_), Some(version)) => Loaded::Other { version },
        (Err(Malformed { at_byte, .. }), None) => Loaded::Corrupt { at_byte },
    }))
}

fn encode(checkpoint: &Checkpoint, epoch: u32, (here, standing): (&[&Page], &Standing)) -> Vec<u8> {
    let Checkpoint { sequence, replay, applied, .. } = checkpoint;
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&replay.segment.to_le_bytes());
    out.extend_from_slice(&replay.byte.to_le_bytes());
    out.extend_from_slice(&replay.round.to_le_bytes());
    out.extend_from_slice(&replay.epoch.to_le_bytes());
    for count in [applied.len(), here.len() + standing.places.len()] {
        let count = u32::try_from(count).expect("shards and their pages are few");
        out.extend_from_slice(&count.to_le_bytes());
    }
    for Applied { shard, term, index } in applied {
        out.extend_from_slice(&shard.0.to_le_bytes());
        out.extend_from_slice(&term.to_le_bytes());
        out.extend_from_slice(&index.to_le_bytes());
    }
    for Page { kind, shard, chunk, bytes } in here {
        let place = Place { file: 0, byte: 0, len: bytes.len() as u64, crc: crc32c(bytes) };
        encode_place(&mut out, (*kind, *shard, chunk.unwrap_or(NO_CHUNK)), place);
    }
    for (key, place) in &standing.places {
        encode_place(&mut out, *key, *place);
    }
    out
}

fn encode_place(out: &mut Vec<u8>, (kind, shard, chunk): Key, place: Place) {
    out.push(match kind {
        PageKind::Replicated => 1,
        PageKind::Local => 2,
    });
    out.extend_from_slice(&shard.0.to_le_bytes());
    out.extend_from_slice(&chunk.to_le_bytes());
    out.extend_from_slice(&place.file.to_le_bytes());
    out.extend_from_slice(&place.byte.to_le_bytes());
    out.extend_from_slice(&place.len.to_le_bytes());
    out.extend_from_slice(&place.crc.to_le_bytes());
}

fn is_sealed(bytes: &Bytes) -> bool {
    bytes.len().checked_sub(END_BYTES).is_some_and(|covered| {
        let (body, end) = bytes.split_at(covered);
        end[..4] == crc32c(body).to_le_bytes() && end[4..] == TRAILER.to_le_bytes()
    })
}

/// The version of an intact file that this program cannot read.
fn other_version(bytes: &Bytes) -> Option<u32> {
    let field = bytes.get(VERSION_AT..VERSION_AT + 4)?.try_into().ok()?;
    let version = u32::from_le_bytes(field);
    let is_other = !(VERSION_MIN..=FORMAT_VERSION).contains(&version);
    (bytes.starts_with(&MAGIC.to_le_bytes()) && is_other && is_sealed(bytes)).then_some(version)
}

/// The checkpoint in the bytes of a file.
pub(crate) fn decode(bytes: &Bytes) -> Result<Head, Malformed> {
    if !is_sealed(bytes) {
        return Err(Malformed { at_byte: bytes.len(), why: "wrong checksum or trailer" });
    }
    let bytes = &bytes.slice(..bytes.len() - END_BYTES);
    let mut take = Take::new(bytes);
    if take.u64()? != MAGIC || !(VERSION_MIN..=FORMAT_VERSION).contains(&take.u32()?) {
        return Err(Malformed { at_byte: 0, why: "not a checkpoint of this version" });
    }
    let epoch = take.u32()?;
    let mut checkpoint = Checkpoint { sequence: take.u64()?, ..Checkpoint::default() };
    let (segment, byte) = (take.u32()?, take.u32()?);
    checkpoint.replay = Position { segment, byte, round: take.u64()?, epoch: take.u32()? };
    let (applied_count, page_count) = (take.u32()?, take.u32()?);
    for _ in 0..take.count(u64::from(applied_count), APPLIED_BYTES)? {
        let (shard, term, index) = (ShardId(take.u16()?), take.u32()?, take.u64()?);
        checkpoint.applied.push(Applied { shard, term, index });
    }
    let (mut here, mut standing) = (Vec::new(), Standing::default());
    for _ in 0..take.count(u64::from(page_count), PAGE_HEADER_BYTES)? {
        let (key, place) = decode_place(&mut take)?;
        if place.file == 0 {
            here.push((key, place));
        } else if key.2 == NO_CHUNK || standing.places.insert(key, place).is_some() {
            return Err(take.wrong("a page elsewhere that is no chunk, or is there twice"));
        }
    }
    for ((kind, shard, chunk), place) in here {
        let len = take.count(place.len, 1)?;
        let bytes = take.bytes(len)?;
        let chunk = (chunk != NO_CHUNK).then_some(chunk);
        checkpoint.pages.push(Page { kind, shard, chunk, bytes });
    }
    if take.left() > 0 {
        return Err(take.wrong("bytes after the last page"));
    }
    Ok(Head { checkpoint, epoch, standing })
}

fn decode_place(take: &mut Take<'_>) -> Result<(Key, Place), Malformed> {
    let kind = match take.u8()? {
        1 => PageKind::Replicated,
        2 => PageKind::Local,
        _ => return Err(take.wrong("unknown kind of page")),
    };
    let key = (kind, ShardId(take.u16()?), take.u64()?);
    let (file, byte, len, crc) = (take.u64()?, take.u64()?, take.u64()?, take.u32()?);
    Ok((key, Place { file, byte, len, crc }))
}
