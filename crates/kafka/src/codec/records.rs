//! Record batches as bytes: shared on the way in, a list of pieces on the way out.

use super::{Malformed, Nullable, Reader, Writer};
use bytes::{Bytes, BytesMut};
use record::batch::{first_of, patch, prefix_with};
use smallvec::{SmallVec, smallvec};
use std::fmt;
use types::Offset;

/// Bytes at the start of a record batch that change when it is read: base offset, batch length,
/// partition leader epoch, magic and CRC (the CRC covers none of those before it).
pub const BATCH_PREFIX_BYTES: usize = 21;

/// Batches shorter than this are copied next to their neighbours: that is cheaper than two more
/// segments of a frame for each.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// The records of one partition, in order.
#[derive(Clone, Default)]
pub struct Records {
    pieces: SmallVec<[Piece; 1]>,
}

#[derive(Clone)]
struct Piece {
    prefix: Option<[u8; BATCH_PREFIX_BYTES]>,
    rest: Bytes,
}

impl Records {
    /// Records that are one run of bytes.
    pub fn whole(bytes: Bytes) -> Records {
        Records { pieces: smallvec![Piece { prefix: None, rest: bytes }] }
    }

    /// Adds a batch whose first bytes are replaced: `rest` is what follows them.
    pub fn push_batch(&mut self, prefix: [u8; BATCH_PREFIX_BYTES], rest: Bytes) {
        self.pieces.push(Piece { prefix: Some(prefix), rest });
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.pieces
            .iter()
            .map(|piece| piece.rest.len() + piece.prefix.map_or(0, |prefix| prefix.len()))
            .sum()
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records as one run of bytes; free for records that were read from a frame.
    pub fn into_bytes(mut self) -> Bytes {
        if let [Piece { prefix: None, rest }] = self.pieces.as_mut_slice() {
            return std::mem::take(rest);
        }
        let mut bytes = BytesMut::with_capacity(self.len());
        for piece in &self.pieces {
            bytes.extend_from_slice(piece.prefix.as_ref().map_or(&[], |prefix| prefix.as_slice()));
            bytes.extend_from_slice(&piece.rest);
        }
        bytes.freeze()
    }
}

/// Makes records of batches as they are stored, patched in the copy.
#[derive(Debug)]
pub struct Rows {
    records: Records,
    copied: BytesMut,
    leader_epoch: i32,
}

impl Rows {
    /// None yet; what is added gets that leader epoch.
    pub fn new(leader_epoch: i32) -> Rows {
        Rows { records: Records::default(), copied: BytesMut::new(), leader_epoch }
    }

    /// Adds the batches in `row`, which lie back to back there and have offsets without a hole from
    /// `base_offset` on. What is no whole batch, and what follows that, is left out.
    pub fn push(&mut self, base_offset: Offset, row: &Bytes) {
        let (mut base, mut at) = (base_offset, 0);
        while let Some((batch_bytes, count)) = first_of(&row[at..]) {
            let end = at + batch_bytes;
            if batch_bytes < COPIED_BYTES_MAX {
                if at == 0 {
                    self.copied.reserve(row.len());
                }
                let start = self.copied.len();
                self.copied.extend_from_slice(&row[at..end]);
                patch(&mut self.copied[start..], base, self.leader_epoch);
            } else {
                self.end_copied();
                let prefix = prefix_with(&row[at..end], base, self.leader_epoch);
                self.records.push_batch(prefix, row.slice(at + BATCH_PREFIX_BYTES..end));
            }
            (base, at) = (base.plus(count), end);
        }
    }

    /// All that was added.
    pub fn finish(mut self) -> Records {
        self.end_copied();
        self.records
    }

    fn end_copied(&mut self) {
        if !self.copied.is_empty() {
            let rest = self.copied.split().freeze();
            self.records.pieces.push(Piece { prefix: None, rest });
        }
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        self.clone().into_bytes() == other.clone().into_bytes()
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.clone().into_bytes(), f)
    }
}

impl Nullable for Records {
    fn read_nullable(r: &mut Reader<'_>) -> Result<Option<Records>, Malformed> {
        let Some(length) = r.length()? else { return Ok(None) };
        r.share(length).map(|bytes| Some(Records::whole(bytes)))
    }

    fn write_nullable(value: Option<&Records>, w: &mut Writer) {
        w.length(value.map(Records::len));
        for piece in value.into_iter().flat_map(|records| &records.pieces) {
            if let Some(prefix) = &piece.prefix {
                w.put(prefix);
            }
            w.put_shared(&piece.rest);
        }
    }
}
