//! What is done to the files of a store that nobody has open. `crates/journal/FORMAT.md` draws
//! them.

use super::load::{Load, body};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

const BLOCK: usize = 4096;
const ROUND_HEADER_BYTES: usize = 64;
/// Where a checkpoint has its sequence.
const SEQUENCE_AT: usize = 16;
/// Where a chunk file has its first chunk.
const CHUNKS_AT: usize = 32;
const CHECKPOINTS: [&str; 2] = ["checkpoint-a", "checkpoint-b"];

/// A round as its header tells.
#[derive(Clone, Copy, Debug)]
struct Round {
    byte: usize,
    number: u64,
    frames: u32,
}

/// Flips a bit in the body of an early message of a queue, long covered by a checkpoint.
pub(super) fn queue_body(data: &Path, load: &Load) -> Result<String> {
    let number = *load.queue.iter().nth(20).context("too few messages")?;
    flip_body(data, &body('q', number))
}

/// Flips a bit in the body of a late message of a queue, which the next start replays.
pub(super) fn queue_body_replayed(data: &Path, load: &Load) -> Result<String> {
    let number = *load.queue.iter().rev().nth(20).context("too few messages")?;
    flip_body(data, &body('q', number))
}

/// Flips a bit in the body of an early record of a topic.
pub(super) fn topic_body(data: &Path, load: &Load) -> Result<String> {
    let number = *load.topic.iter().nth(20).context("too few messages")?;
    flip_body(data, &body('t', number))
}

/// Flips a bit in the body of a late record of a topic.
pub(super) fn topic_body_replayed(data: &Path, load: &Load) -> Result<String> {
    let number = *load.topic.iter().rev().nth(20).context("too few messages")?;
    flip_body(data, &body('t', number))
}

/// Flips a bit in the header of a frame that the next start replays.
pub(super) fn frame_header(data: &Path, _: &Load) -> Result<String> {
    let (path, round) = replayed_round(data)?;
    flip(&path, round.byte + ROUND_HEADER_BYTES + 16)
}

/// Flips a bit in the header of a round that the next start replays.
pub(super) fn round_header(data: &Path, _: &Load) -> Result<String> {
    let (path, round) = replayed_round(data)?;
    flip(&path, round.byte + 17)
}

/// Flips a bit in the header of a frame that checkpoints cover.
pub(super) fn old_frame_header(data: &Path, _: &Load) -> Result<String> {
    let (path, round) = old_round(data)?;
    flip(&path, round.byte + ROUND_HEADER_BYTES + 16)
}

/// Flips a bit in the header of a round that checkpoints cover.
pub(super) fn old_round_header(data: &Path, _: &Load) -> Result<String> {
    let (path, round) = old_round(data)?;
    flip(&path, round.byte + 17)
}

/// Flips a bit in the superblock of the first segment.
pub(super) fn superblock(data: &Path, _: &Load) -> Result<String> {
    let segments = segments(data)?;
    flip(&segments[0].1, 25)
}

/// Flips a bit in the superblock of the segment that was written last.
pub(super) fn last_superblock(data: &Path, _: &Load) -> Result<String> {
    let segments = segments(data)?;
    flip(&segments.last().context("no segment")?.1, 25)
}

/// Flips a bit in an index file.
pub(super) fn index_file(data: &Path, _: &Load) -> Result<String> {
    flip(&index_of(&segments(data)?[0].1)?, 40)
}

/// Flips a bit in the newer checkpoint.
pub(super) fn checkpoint(data: &Path, _: &Load) -> Result<String> {
    flip(&newest_checkpoint(data)?.0, 60)
}

/// Flips a bit in each checkpoint.
pub(super) fn both_checkpoints(data: &Path, _: &Load) -> Result<String> {
    let done = CHECKPOINTS.map(|name| flip(&data.join(name), 60));
    Ok(done.into_iter().collect::<Result<Vec<_>>>()?.join(", "))
}

/// Flips a bit in the chunks that the newer checkpoint brought.
pub(super) fn chunk_file(data: &Path, _: &Load) -> Result<String> {
    let (path, _) = newest_checkpoint(data)?;
    flip_chunk(data, &path)
}

/// Flips a bit in the chunks that each checkpoint brought.
pub(super) fn both_chunk_files(data: &Path, _: &Load) -> Result<String> {
    let done = CHECKPOINTS.map(|name| flip_chunk(data, &data.join(name)));
    Ok(done.into_iter().collect::<Result<Vec<_>>>()?.join(", "))
}

/// Flips a bit in each checkpoint of a store that no longer has its first segment.
pub(super) fn both_checkpoints_and_the_start(data: &Path, load: &Load) -> Result<String> {
    let done = both_checkpoints(data, load)?;
    Ok(format!("{done}, {}", old_segment(data, load)?))
}

/// Cuts a segment in half that checkpoints cover.
pub(super) fn cut_segment(data: &Path, _: &Load) -> Result<String> {
    let path = segments(data)?.swap_remove(1).1;
    cut(&path, fs::metadata(&path)?.len() / 2)
}

/// Cuts off the last half of what is written in the last segment.
pub(super) fn cut_last_segment(data: &Path, _: &Load) -> Result<String> {
    let (number, path) = segments(data)?.pop().context("no segment")?;
    let rounds = rounds(&path, number)?;
    let byte = rounds.get(rounds.len() / 2).context("no round")?.byte;
    cut(&path, byte as u64)
}

/// Deletes the first segment.
pub(super) fn old_segment(data: &Path, _: &Load) -> Result<String> {
    remove(&segments(data)?.swap_remove(0).1)
}

/// Deletes a segment in the middle, covered by a checkpoint.
pub(super) fn middle_segment(data: &Path, _: &Load) -> Result<String> {
    remove(&segments(data)?.swap_remove(1).1)
}

/// Deletes a segment in the middle together with its index file.
pub(super) fn middle_segment_and_index(data: &Path, _: &Load) -> Result<String> {
    let path = segments(data)?.swap_remove(1).1;
    let index = index_of(&path)?;
    Ok(format!("{}, {}", remove(&path)?, remove(&index)?))
}

/// Deletes the segment that was written last.
pub(super) fn last_segment(data: &Path, _: &Load) -> Result<String> {
    remove(&segments(data)?.pop().context("no segment")?.1)
}

/// Nothing: the fault came before.
pub(super) fn nothing(_: &Path, _: &Load) -> Result<String> {
    Ok(String::new())
}

/// Whether the journal has noted that its last round is durable, by one without frames.
pub(super) fn is_witnessed(data: &Path) -> Result<bool> {
    let (number, path) = segments(data)?.pop().context("no segment")?;
    Ok(rounds(&path, number)?.last().is_some_and(|last| last.frames == 0))
}

/// The segments that hold rounds, in order.
fn segments(data: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let name = name_of(&path);
        let number = name.strip_prefix("j-").and_then(|rest| rest.strip_suffix(".seg"));
        let Some(number) = number.and_then(|number| number.parse().ok()) else { continue };
        if fs::read(&path)?.starts_with(b"XDOCKSEG") {
            found.push((number, path));
        }
    }
    found.sort();
    ensure!(found.len() >= 4, "only {} segments: nothing lies between", found.len());
    Ok(found)
}

fn index_of(segment: &Path) -> Result<PathBuf> {
    let path = segment.with_extension("idx");
    ensure!(path.is_file(), "{} has no index file", name_of(segment));
    Ok(path)
}

/// The rounds of a segment, one after another.
fn rounds(path: &Path, segment: u32) -> Result<Vec<Round>> {
    let bytes = fs::read(path)?;
    let (mut found, mut at) = (Vec::new(), BLOCK);
    while at + ROUND_HEADER_BYTES <= bytes.len() {
        let word = |from: usize| u32_at(&bytes, at + from);
        if &bytes[at..at + 4] != b"XDRN" || word(4) != segment {
            break;
        }
        let round = Round { byte: at, number: u64_at(&bytes, at + 16), frames: word(12) };
        found.push(round);
        at += (word(40) as usize).next_multiple_of(BLOCK).max(BLOCK);
    }
    Ok(found)
}

/// A round with frames that lies behind the replay position, and is not the last.
fn replayed_round(data: &Path) -> Result<(PathBuf, Round)> {
    let (_, first) = newest_checkpoint(data)?;
    let mut behind = Vec::new();
    for (number, path) in segments(data)? {
        let rounds = rounds(&path, number)?.into_iter();
        let rounds = rounds.filter(|round| round.number > first && round.frames > 0);
        behind.extend(rounds.map(|round| (path.clone(), round)));
    }
    ensure!(behind.len() > 4, "only {} rounds are replayed", behind.len());
    Ok(behind.swap_remove(behind.len() / 2))
}

/// A round with frames in the first segment, which checkpoints cover.
fn old_round(data: &Path) -> Result<(PathBuf, Round)> {
    let (number, path) = segments(data)?.swap_remove(0);
    let rounds = rounds(&path, number)?;
    let round = rounds.iter().filter(|round| round.frames > 0).nth(rounds.len() / 2);
    Ok((path, *round.or(rounds.last()).context("no round")?))
}

/// The newer checkpoint, and the number of the round that replay begins with.
fn newest_checkpoint(data: &Path) -> Result<(PathBuf, u64)> {
    let mut newest = None;
    for name in CHECKPOINTS {
        let path = data.join(name);
        let Ok(bytes) = fs::read(&path) else { continue };
        ensure!(bytes.len() > 48, "{name} is short");
        let (sequence, round) = (u64_at(&bytes, SEQUENCE_AT), u64_at(&bytes, 32));
        newest = newest.max(Some((sequence, path, round)));
    }
    newest.map(|(_, path, round)| (path, round)).context("no checkpoint")
}

fn flip_body(data: &Path, body: &[u8]) -> Result<String> {
    for (_, path) in segments(data)? {
        let bytes = fs::read(&path)?;
        // The mark and the first of the noise tell the place.
        let place = bytes.windows(64).position(|window| window == &body[..64]);
        if let Some(place) = place {
            return flip(&path, place + body.len() / 2);
        }
    }
    anyhow::bail!("the body is in no segment")
}

/// Flips a bit in the middle of the chunk file that was written with a checkpoint.
fn flip_chunk(data: &Path, checkpoint: &Path) -> Result<String> {
    let sequence = u64_at(&fs::read(checkpoint)?, SEQUENCE_AT);
    let path = data.join(format!("chunks-{sequence}"));
    ensure!(path.is_file(), "{} brought no chunks", name_of(checkpoint));
    let chunk_bytes = usize::try_from(fs::metadata(&path)?.len())?.saturating_sub(CHUNKS_AT);
    flip(&path, CHUNKS_AT + chunk_bytes / 2)
}

fn flip(path: &Path, at: usize) -> Result<String> {
    let mut bytes = fs::read(path)?;
    ensure!(at < bytes.len(), "{} is shorter than {at}", name_of(path));
    bytes[at] ^= 4;
    fs::write(path, bytes)?;
    Ok(format!("byte {at} of {}", name_of(path)))
}

fn cut(path: &Path, length: u64) -> Result<String> {
    fs::OpenOptions::new().write(true).open(path)?.set_len(length)?;
    Ok(format!("{} cut to {length} bytes", name_of(path)))
}

fn remove(path: &Path) -> Result<String> {
    fs::remove_file(path)?;
    Ok(format!("{} deleted", name_of(path)))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at + 4)) << 32 | u64::from(u32_at(bytes, at))
}
