//! What one file's changes replaced: a log that is cut when the file is synced.
//!
//! Entries of 40 bytes of header, the bytes that were there, and a trailer; little-endian. A killed
//! process leaves at most its last entry without a trailer, and the change of that one was not
//! begun. One of kind [`SYNCED`] says that the ones before its number are durable but those it lists.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::disk::File;

/// What a disk writes whole.
pub(super) const SECTOR_BYTES: u64 = 512;

/// Most bytes of one entry.
const PIECE_BYTES: u64 = 1 << 20;
/// No file is longer.
const POSITION_MAX: u64 = i64::MAX as u64;
const HEADER_BYTES: u64 = 40;
const TRAILER_BYTES: u64 = 8;
const SEAL: u64 = u64::from_le_bytes(*b"XDOCKCUT");

const BYTES: u64 = 1;
const ZEROES: u64 = 2;
const SYNCED: u64 = 3;

/// The log of one file. Survives its process, and is then gone on with.
#[derive(Debug)]
pub(super) struct Undo {
    log: fs::File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Where the next entry goes.
    end: u64,
    next: u64,
    /// Changes that are written down and have not come back yet.
    running: BTreeSet<u64>,
}

/// The changes that a sync beginning now covers: those before a number that are not running.
#[derive(Debug)]
pub(super) struct Mark {
    before: u64,
    running: BTreeSet<u64>,
}

/// What a change replaced in one range, in whole sectors.
#[derive(Debug)]
pub(super) struct Replaced {
    /// Of the change; one of many bytes is in several pieces.
    pub(super) number: u64,
    /// Bytes of the file before the change.
    pub(super) old_len: u64,
    pub(super) position: u64,
    pub(super) len: u64,
    /// Where in the log the bytes are; none: zeroes.
    bytes_at: Option<u64>,
    /// A sync made the change durable.
    pub(super) is_durable: bool,
}

impl Undo {
    /// Opens the log of `inode`, or begins it.
    pub(super) fn open(record: &Path, inode: u64) -> io::Result<Undo> {
        let mut options = fs::OpenOptions::new();
        let log = options.read(true).write(true).create(true).truncate(false);
        let log = log.open(path(record, inode))?;
        let (found, end) = read(&log)?;
        let next = found.iter().map(|replaced| replaced.number + 1).max().unwrap_or(1);
        Ok(Undo { log, state: Mutex::new(State { end, next, running: BTreeSet::new() }) })
    }

    /// Removes the log of `inode`.
    pub(super) fn forget(record: &Path, inode: u64) -> io::Result<()> {
        match fs::remove_file(path(record, inode)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes down what a write is about to replace; the change ends with [`done`](Undo::done).
    pub(super) fn before_write(&self, file: &dyn File, position: u64, len: u64) -> io::Result<u64> {
        let end = position.checked_add(len).ok_or(ErrorKind::FileTooLarge)?;
        self.before(file, file.len()?, (position, end))
    }

    /// The same for a change of length: what is cut off.
    pub(super) fn before_length(&self, file: &dyn File, len: u64) -> io::Result<u64> {
        let old_len = file.len()?;
        self.before(file, old_len, (len.min(old_len), old_len))
    }

    /// Notes that the change has come back, whatever it came back with.
    pub(super) fn done(&self, change: u64) {
        self.state().running.remove(&change);
    }

    /// To be taken before a sync begins.
    pub(super) fn mark(&self) -> Mark {
        let state = self.state();
        Mark { before: state.next, running: state.running.clone() }
    }

    /// Forgets what a sync has made durable.
    pub(super) fn synced(&self, mark: Mark) -> io::Result<()> {
        let state = &mut *self.state();
        if state.end == 0 {
            return Ok(());
        }
        if state.next == mark.before && mark.running.is_empty() {
            self.log.set_len(0)?;
            state.end = 0;
            return Ok(());
        }
        let listed: Vec<u8> = mark.running.iter().flat_map(|number| number.to_le_bytes()).collect();
        let header = [mark.before, SYNCED, 0, 0, listed.len() as u64];
        self.append(state, header, &listed)
    }

    fn before(&self, file: &dyn File, old_len: u64, range: (u64, u64)) -> io::Result<u64> {
        let unit = if file.is_direct() { BLOCK_BYTES as u64 } else { SECTOR_BYTES };
        let (mut position, end) = (range.0 / unit * unit, range.1.next_multiple_of(unit));
        let state = &mut *self.state();
        let number = state.next;
        loop {
            let len = (end - position).min(PIECE_BYTES);
            let mut bytes = AlignedBuf::zeroed(0);
            if position < old_len {
                bytes = AlignedBuf::zeroed(usize::try_from(len).expect("a piece is small"));
                file.read_at(position, &mut bytes)?;
            }
            let is_zero = bytes.iter().all(|byte| *byte == 0);
            let (kind, kept) = if is_zero { (ZEROES, &[][..]) } else { (BYTES, &bytes[..]) };
            self.append(state, [number, kind, old_len, position, len], kept)?;
            position += len;
            if position >= end {
                break;
            }
        }
        state.next += 1;
        state.running.insert(number);
        Ok(number)
    }

    fn append(&self, state: &mut State, header: [u64; 5], bytes: &[u8]) -> io::Result<()> {
        let mut entry: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
        entry.extend_from_slice(bytes);
        entry.extend_from_slice(&(header[0] ^ SEAL).to_le_bytes());
        if let Err(error) = self.log.write_all_at(&entry, state.end) {
            // What is left of it must not be taken for an entry later.
            self.log.set_len(state.end)?;
            return Err(error);
        }
        state.end += entry.len() as u64;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the changes of `inode` replaced, oldest first, with the log that has the bytes; `None`
/// when nothing of it can be undone.
pub(super) fn load(record: &Path, inode: u64) -> io::Result<Option<(fs::File, Vec<Replaced>)>> {
    let log = match fs::File::open(path(record, inode)) {
        Ok(log) => log,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (found, _) = read(&log)?;
    Ok(Some((log, found)).filter(|(_, found)| found.iter().any(|replaced| !replaced.is_durable)))
}

impl Replaced {
    /// The range in sectors.
    pub(super) fn sectors(&self) -> Range<usize> {
        let sector = |byte: u64| usize::try_from(byte / SECTOR_BYTES).unwrap_or(usize::MAX);
        sector(self.position)..sector(self.position + self.len)
    }

    /// The bytes that were there.
    pub(super) fn bytes(&self, log: &fs::File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len).map_err(|_| ErrorKind::FileTooLarge)?];
        if let Some(at) = self.bytes_at {
            log.read_exact_at(&mut bytes, at)?;
        }
        Ok(bytes)
    }
}

fn path(record: &Path, inode: u64) -> PathBuf {
    record.join(format!("undo-{inode}"))
}

/// The entries of a log, and where they end.
fn read(log: &fs::File) -> io::Result<(Vec<Replaced>, u64)> {
    let len = log.metadata()?.len();
    let (mut found, mut at): (Vec<Replaced>, u64) = (Vec::new(), 0);
    while at + HEADER_BYTES + TRAILER_BYTES <= len {
        let mut bytes = [0; HEADER_BYTES as usize];
        log.read_exact_at(&mut bytes, at)?;
        let mut header = [0; 5];
        for (field, bytes) in header.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *field = u64::from_le_bytes(*bytes);
        }
        let [number, kind, old_len, position, covered] = header;
        let stored = if kind == ZEROES { 0 } else { covered };
        let bytes_at = at + HEADER_BYTES;
        if covered > PIECE_BYTES
            || position > POSITION_MAX
            || bytes_at + stored + TRAILER_BYTES > len
        {
            break;
        }
        let mut trailer = [0; TRAILER_BYTES as usize];
        log.read_exact_at(&mut trailer, bytes_at + stored)?;
        if u64::from_le_bytes(trailer) != number ^ SEAL {
            break;
        }
        if kind == SYNCED {
            let mut listed = vec![0; usize::try_from(stored).expect("at most a piece")];
            log.read_exact_at(&mut listed, bytes_at)?;
            let listed = listed.as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it));
            let running: BTreeSet<u64> = listed.collect();
            for replaced in &mut found {
                replaced.is_durable |=
                    replaced.number < number && !running.contains(&replaced.number);
            }
        } else {
            let bytes_at = (kind == BYTES).then_some(bytes_at);
            let len = covered;
            let replaced = Replaced { number, old_len, position, len, bytes_at, is_durable: false };
            found.push(replaced);
        }
        at = bytes_at + stored + TRAILER_BYTES;
    }
    Ok((found, at))
}
