//! Record batches as bytes: shared on the way in, a list of pieces on the way out.

use super::{Malformed, Nullable, Reader, Writer};
use bytes::{Bytes, BytesMut};
use smallvec::{SmallVec, smallvec};
use std::fmt;

/// Bytes at the start of a record batch that change when it is read: base offset, batch length,
/// partition leader epoch, magic and CRC (the CRC covers none of those before it).
pub const BATCH_PREFIX_BYTES: usize = 21;

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
