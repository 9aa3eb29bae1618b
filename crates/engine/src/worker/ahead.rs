//! How far logs are read, so that what comes next is on its way before it is asked for.
//!
//! Of each log that is being read from the disk the newest load is known. When its reader is half
//! through, the next one is due. What was read ahead and nobody has come to yet has a part of the
//! cache's room and no more: a reader beyond that waits for its loads, as it would without all this,
//! and nobody's batches are pushed out before they are read.

#[cfg(test)]
mod tests;

use journal::Location;
use std::collections::{BTreeMap, VecDeque};
use types::{LogId, Offset};

/// Of the cache's room, what was read ahead and not asked for yet has one part in so many.
const AHEAD_PART: usize = 4;

/// Batches up to this length, on average, are small.
const SMALL_BYTES: usize = 16 << 10;

/// Consecutive batches of a log.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(super) first: Offset,
    /// About half of its bytes lie before this.
    pub(super) half: Offset,
    pub(super) end: Offset,
    pub(crate) locations: Vec<Location>,
    /// Of each batch the first offset and how many it spans.
    pub(crate) spans: Vec<(Offset, u32)>,
    pub(super) bytes: usize,
    /// Something in between was not wanted.
    pub(super) has_gaps: bool,
}

impl Piece {
    /// Whether its batches are so short, and so many, that they are better kept together.
    pub(crate) fn is_of_small(&self) -> bool {
        !self.has_gaps
            && self.locations.len() > 1
            && self.bytes / self.locations.len() <= SMALL_BYTES
    }
}

/// The newest load of a log.
#[derive(Debug)]
struct Front {
    first: Offset,
    half: Offset,
    end: Offset,
    /// While it is on its way.
    load: Option<u64>,
    /// Bytes of it that count as read ahead.
    unread_bytes: usize,
    /// Which one of all it is.
    number: u64,
}

/// Where logs are being read.
#[derive(Debug)]
pub(super) struct Ahead {
    fronts: BTreeMap<LogId, Front>,
    /// All loads of late, with the bytes of those up to each.
    order: VecDeque<(u64, u64, LogId)>,
    next_number: u64,
    loaded_bytes: u64,
    unread_bytes: usize,
    cache_bytes_max: usize,
}

impl Ahead {
    pub(super) fn new(cache_bytes_max: usize) -> Ahead {
        Ahead {
            fronts: BTreeMap::new(),
            order: VecDeque::new(),
            next_number: 0,
            loaded_bytes: 0,
            unread_bytes: 0,
            cache_bytes_max,
        }
    }

    /// Bytes that may be read ahead now.
    pub(super) fn room(&self) -> usize {
        (self.cache_bytes_max / AHEAD_PART).saturating_sub(self.unread_bytes)
    }

    /// A piece of a log is being read as load `load`; `asked`: somebody waits for it.
    pub(super) fn begun(&mut self, log: LogId, load: u64, piece: &Piece, asked: bool) {
        self.next_number += 1;
        let unread_bytes = if asked { 0 } else { piece.bytes };
        let front = Front {
            first: piece.first,
            half: piece.half,
            end: piece.end,
            load: Some(load),
            unread_bytes,
            number: self.next_number,
        };
        self.unread_bytes += unread_bytes;
        if let Some(before) = self.fronts.insert(log, front) {
            self.unread_bytes -= before.unread_bytes;
        }
        self.loaded_bytes += piece.bytes as u64;
        self.order.push_back((self.loaded_bytes, self.next_number, log));
        self.forget_old();
    }

    /// A load of a log has come.
    pub(super) fn arrived(&mut self, log: LogId, load: u64) {
        if let Some(front) = self.fronts.get_mut(&log).filter(|front| front.load == Some(load)) {
            front.load = None;
        }
    }

    /// The load on its way that brings what a log has at `offset`.
    pub(super) fn load_of(&self, log: LogId, offset: Offset) -> Option<u64> {
        let front = self.fronts.get(&log)?;
        (front.first <= offset && offset < front.end).then_some(front.load)?
    }

    /// Somebody has read a log up to `offset`: gives where to read on, if that is due.
    pub(super) fn reached(&mut self, log: LogId, offset: Offset) -> Option<Offset> {
        let front = self.fronts.get_mut(&log)?;
        if offset < front.half || offset > front.end {
            return None;
        }
        self.unread_bytes -= std::mem::take(&mut front.unread_bytes);
        Some(front.end)
    }

    /// Forgets what the cache has no more: so much came after it.
    fn forget_old(&mut self) {
        while let Some((since, number, log)) = self.order.front().copied()
            && since + (self.cache_bytes_max as u64) < self.loaded_bytes
        {
            self.order.pop_front();
            if self.fronts.get(&log).is_some_and(|front| front.number == number)
                && let Some(front) = self.fronts.remove(&log)
            {
                self.unread_bytes -= front.unread_bytes;
            }
        }
    }
}
