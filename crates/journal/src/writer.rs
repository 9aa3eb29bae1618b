//! Rounds onto the disk.

use std::io;
use std::sync::{Arc, OnceLock};

use ::io::{AlignedBuf, File};
use types::ShardId;

use crate::error::{Failed, FailedKind};
use crate::fields::Put;
use crate::frame::FrameKind;
use crate::layout::{BLOCK, FORMAT_VERSION, ROUND_HEADER_BYTES, RoundHeader, Superblock};
use crate::location::{Location, Part, Position};
use crate::pool::Pool;
use crate::queue::{Planned, Queue};

/// The one that appends. Nothing can be written before [`Recovery`](crate::Recovery) has given
/// its last frame.
#[derive(Debug)]
pub struct Writer {
    pool: Pool,
    tail: Arc<OnceLock<Tail>>,
    active: Option<Active>,
    /// A superblock's room, then a round.
    buffer: AlignedBuf,
    next_round: u64,
    durable_round: u64,
    is_sync_awaited: bool,
    is_last_witness: bool,
    kept: Option<Kept>,
    failed: Option<io::ErrorKind>,
}

/// What one round wrote.
#[derive(Debug, Default)]
pub struct Written {
    /// The frames that became complete, in order of the queue.
    pub placed: Vec<Placed>,
    /// Whether somebody waits for the sync of this round or of one before it.
    pub needs_sync: bool,
    /// The segment that had no room for this round, if it began another one.
    pub sealed: Option<u32>,
    /// Where the next round will begin, if this segment has room for it.
    pub end: Position,
    /// Bytes written, with padding.
    pub bytes: usize,
}

/// A frame that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its shard.
    pub shard: ShardId,
    /// Its index in the shard.
    pub index: u64,
    /// What it is.
    pub kind: FrameKind,
    /// Where it is itself.
    pub place: Part,
    /// Where each of its batches is.
    pub batches: Vec<Location>,
    /// The round that completed it; replay from here gives the frame.
    pub position: Position,
}

/// Where the journal goes on after an opening.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) active: Option<Active>,
    pub(crate) next_round: u64,
    pub(crate) epoch: u32,
}

/// The segment that is written.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) segment: u32,
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
    /// Where the next round goes.
    pub(crate) byte: u32,
    pub(crate) salt: u64,
    /// The superblock that goes with the first round.
    pub(crate) superblock: Option<Superblock>,
}

/// A round in the buffer that found the disk full.
#[derive(Debug)]
struct Kept {
    round_bytes: usize,
    written: Written,
}

impl Writer {
    pub(crate) fn new(pool: Pool, tail: Arc<OnceLock<Tail>>) -> Writer {
        let buffer_bytes = BLOCK as usize + pool.options().round_bytes_max as usize;
        Writer {
            pool,
            tail,
            active: None,
            buffer: AlignedBuf::zeroed(buffer_bytes),
            next_round: 0,
            durable_round: 0,
            is_sync_awaited: false,
            is_last_witness: false,
            kept: None,
            failed: None,
        }
    }

    /// Writes one round of what is queued, at most 4 MiB, with one write. Nothing is durable yet.
    /// An empty queue writes nothing.
    ///
    /// Fails with `NoSpace` when the disk is full: what was to be written is kept, and written
    /// first by the next call. After any other failure every call fails.
    pub fn round(&mut self, queue: &mut Queue) -> Result<Written, Failed> {
        self.start()?;
        if self.kept.is_some() {
            return self.write_kept();
        }
        let planned = queue.plan();
        if planned.frame_count == 0 {
            return Ok(Written {
                end: self.end(),
                needs_sync: self.is_sync_awaited,
                ..Written::default()
            });
        }
        let sealed = self.make_room(planned.bytes)?;
        let (position, round_bytes) = (self.end(), self.put_header(planned));
        let start = BLOCK as usize;
        let mut put =
            Put { bytes: &mut self.buffer[start..start + round_bytes], at: ROUND_HEADER_BYTES };
        let placed = queue.take_planned(&mut put, position);
        assert_eq!(put.at, planned.bytes, "a round has the bytes that were planned for it");
        put.pad(BLOCK as usize);
        self.is_sync_awaited |= planned.synced;
        let written = Written { placed, sealed, ..Written::default() };
        self.kept = Some(Kept { round_bytes, written });
        self.write_kept()
    }

    /// Makes every round written so far durable. A failure is never retried: every later call
    /// fails.
    pub fn sync(&mut self) -> Result<(), Failed> {
        self.start()?;
        let last = self.next_round - 1;
        if let Some(active) = &self.active
            && self.durable_round < last
            && !::io::planted("no-sync")
        {
            let synced = active.file.sync();
            synced.map_err(|error| self.fail("sync the journal", error))?;
        }
        self.durable_round = last;
        self.is_sync_awaited = self.kept.is_some() && self.is_sync_awaited;
        Ok(())
    }

    /// Writes and syncs an empty round that names the last durable one, so that damage to that
    /// one is told from a torn tail: for idle moments and a clean stop. Does nothing when the
    /// last round is such a one. Gives the segment that had no room for it, if it began another.
    pub fn witness(&mut self) -> Result<Option<u32>, Failed> {
        self.sync()?;
        if self.is_last_witness || self.active.is_none() || self.kept.is_some() {
            return Ok(None);
        }
        let planned = Planned { bytes: ROUND_HEADER_BYTES, ..Planned::default() };
        let sealed = self.make_room(planned.bytes)?;
        let round_bytes = self.put_header(planned);
        let start = BLOCK as usize;
        self.buffer[start + ROUND_HEADER_BYTES..start + round_bytes].fill(0);
        let written = Written { sealed, ..Written::default() };
        self.kept = Some(Kept { round_bytes, written });
        let written = self.write_kept()?;
        self.sync()?;
        self.is_last_witness = true;
        Ok(written.sealed)
    }

    /// Whether a round that found the disk full waits for the next call of
    /// [`round`](Writer::round).
    pub fn holds_round(&self) -> bool {
        self.kept.is_some()
    }

    /// Where the next round will begin, if the segment has room for it.
    pub fn end(&self) -> Position {
        let (active, round) = match self.tail.get() {
            Some(tail) if self.next_round == 0 => (&tail.active, tail.next_round),
            _ => (&self.active, self.next_round),
        };
        let (segment, byte) = active.as_ref().map_or((0, 0), |a| (a.segment, a.byte));
        Position { segment, byte, round, epoch: self.epoch() }
    }

    /// The last round known to be durable.
    pub fn durable_round(&self) -> u64 {
        self.durable_round
    }

    fn start(&mut self) -> Result<(), Failed> {
        if let Some(kind) = self.failed {
            return Err(Failed::fatal("use the journal after a failure", kind.into()));
        }
        if self.next_round > 0 {
            return Ok(());
        }
        let Some(tail) = self.tail.get() else {
            let source = io::Error::other("its recovery was not read to the end");
            return Err(Failed::fatal("write to the journal", source));
        };
        self.active.clone_from(&tail.active);
        self.next_round = tail.next_round;
        self.durable_round = tail.next_round - 1;
        Ok(())
    }

    fn fail(&mut self, doing: &'static str, source: io::Error) -> Failed {
        self.failed = Some(source.kind());
        Failed::fatal(doing, source)
    }

    fn epoch(&self) -> u32 {
        self.tail.get().map_or(0, |tail| tail.epoch)
    }

    /// Seals the segment if it has no room for a round of `bytes`, and begins the next one. Gives
    /// the sealed one.
    fn make_room(&mut self, bytes: usize) -> Result<Option<u32>, Failed> {
        let padded = (bytes as u64).next_multiple_of(u64::from(BLOCK));
        let room = self.active.as_ref().map_or(0, |a| a.bytes.saturating_sub(u64::from(a.byte)));
        if padded <= room {
            return Ok(None);
        }
        // Nothing is written to a segment before all of the one before it is durable: damage to
        // any segment but the last is damage, never a torn tail.
        if let Some(active) = self.active.clone() {
            let synced = active.file.sync();
            synced.map_err(|error| self.fail("sync a full segment", error))?;
            self.durable_round = self.next_round - 1;
        }
        let previous = self.active.as_ref().map(|active| active.segment);
        let ready = match self.pool.take(previous) {
            Ok(ready) => ready,
            Err(failed) => {
                let is_fatal = failed.kind == FailedKind::Disk;
                self.failed = is_fatal.then_some(failed.source.kind());
                return Err(failed);
            }
        };
        let salt = self.pool.options().salt;
        let superblock = Superblock {
            version: FORMAT_VERSION,
            segment: ready.segment,
            previous: previous.unwrap_or(0),
            epoch: self.epoch(),
            first_round: self.next_round,
            salt,
            segment_bytes: u32::try_from(ready.bytes).unwrap_or(u32::MAX),
        };
        self.active = Some(Active {
            segment: ready.segment,
            file: ready.file,
            bytes: ready.bytes,
            byte: BLOCK,
            salt,
            superblock: Some(superblock),
        });
        Ok(previous)
    }

    /// Puts the header of the planned round, and the superblock if it is the segment's first.
    /// Gives the round's bytes with their padding.
    fn put_header(&mut self, planned: Planned) -> usize {
        let active = self.active.as_ref().expect("there is room for the round");
        let header = RoundHeader {
            segment: active.segment,
            epoch: self.epoch(),
            frame_count: planned.frame_count,
            round: self.next_round,
            durable_round: self.durable_round,
            salt: active.salt,
            byte_len: u32::try_from(planned.bytes).expect("a round is small"),
        };
        let (block, round) = self.buffer.split_at_mut(BLOCK as usize);
        if let Some(superblock) = &active.superblock {
            superblock.encode(block);
        }
        header.encode(round);
        planned.bytes.next_multiple_of(BLOCK as usize)
    }

    fn write_kept(&mut self) -> Result<Written, Failed> {
        let Some(Kept { round_bytes, mut written }) = self.kept.take() else {
            return Ok(Written::default());
        };
        let active = self.active.as_mut().expect("there is room for the round");
        let from = if active.superblock.is_some() { 0 } else { BLOCK as usize };
        let position = u64::from(active.byte) + from as u64 - u64::from(BLOCK);
        let bytes = &self.buffer[from..BLOCK as usize + round_bytes];
        if let Err(error) = active.file.write_at(position, bytes) {
            let failed = Failed::new("write a round", error);
            if failed.kind == FailedKind::NoSpace {
                self.kept = Some(Kept { round_bytes, written });
            } else {
                self.failed = Some(failed.source.kind());
            }
            return Err(failed);
        }
        written.bytes = bytes.len();
        active.superblock = None;
        active.byte += u32::try_from(round_bytes).expect("a round is small");
        self.pool.note_filled(active.byte);
        self.next_round += 1;
        self.is_last_witness = false;
        written.needs_sync = self.is_sync_awaited;
        written.end = self.end();
        Ok(written)
    }
}
