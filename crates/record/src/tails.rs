//! Many tails in one buffer, on their way from a session to the engine.
//!
//! Each is `[timestamp i64][tail length u32][tail]`, big-endian; timestamp -1 leaves the choice to
//! the log. Never stored.

#[cfg(test)]
mod tests;

use crate::cursor::Cursor;
use crate::{Fault, Malformed};
use types::Millis;

/// Bytes before each tail.
pub const ENTRY_BYTES: usize = 12;

const UNSET: i64 = -1;

/// Where an entry under construction began; give it back to [`end`].
#[derive(Debug)]
#[must_use]
pub struct Mark(usize);

/// Appends one entry.
pub fn push(out: &mut Vec<u8>, timestamp: Option<Millis>, tail: &[u8]) {
    let mark = begin(out, timestamp);
    out.extend_from_slice(tail);
    end(out, mark);
}

/// Begins an entry; the caller appends the tail to `out` and then calls [`end`].
#[inline]
pub fn begin(out: &mut Vec<u8>, timestamp: Option<Millis>) -> Mark {
    let mark = Mark(out.len());
    out.extend_from_slice(&timestamp.map_or(UNSET, |time| time.0).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    mark
}

/// Completes the entry begun at `mark`. Gives the bytes of its tail.
#[inline]
pub fn end(out: &mut [u8], mark: Mark) -> usize {
    let tail_at = mark.0 + ENTRY_BYTES;
    let tail_bytes = out.len() - tail_at;
    let length = u32::try_from(tail_bytes).expect("a record is far below 4 GiB");
    out[tail_at - 4..tail_at].copy_from_slice(&length.to_be_bytes());
    tail_bytes
}

/// Drops the entry begun at `mark`.
pub fn cancel(out: &mut Vec<u8>, mark: Mark) {
    out.truncate(mark.0);
}

/// Walks the entries of a buffer; ends after the first fault. The tails themselves are not decoded.
#[derive(Clone, Debug)]
pub struct Tails<'a> {
    cursor: Cursor<'a>,
    failed: bool,
}

impl<'a> Tails<'a> {
    /// The entries in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Tails<'a> {
        Tails { cursor: Cursor::new(bytes), failed: false }
    }

    /// Where the next entry begins.
    #[must_use]
    pub fn at(&self) -> usize {
        self.cursor.at()
    }

    fn entry(&mut self) -> Result<(Option<Millis>, &'a [u8]), Malformed> {
        let timestamp = self.cursor.i64()?;
        let length = self.cursor.u32()? as usize;
        let tail = self.cursor.take(length)?;
        match timestamp {
            UNSET => Ok((None, tail)),
            0.. => Ok((Some(Millis(timestamp)), tail)),
            _ => Err(self.cursor.fault(Fault::Invalid)),
        }
    }
}

impl<'a> Iterator for Tails<'a> {
    type Item = Result<(Option<Millis>, &'a [u8]), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.cursor.left() == 0 {
            return None;
        }
        let entry = self.entry();
        self.failed = entry.is_err();
        Some(entry)
    }
}
