//! Where stored bytes are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A place in the journal: the start of a round. Ordered as the journal is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Number of the segment; numbers grow and are never reused.
    pub segment: u32,
    /// Byte in the segment's file.
    pub byte: u32,
    /// Number of the round that is, or will be, there; rounds count from 1.
    pub round: u64,
    /// Openings of the store so far when that round was, or will be, written. A round of an
    /// earlier one there is left over from before a crash.
    pub epoch: u32,
}

/// Where one record batch is stored. More kinds (a log's own file, an object) can follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// In one piece, in a segment.
    Journal {
        /// Number of the segment.
        segment: u32,
        /// Byte in the segment's file.
        position: u32,
        /// Length in bytes.
        len: u32,
    },
    /// In pieces, each in a PART frame.
    Parts(Arc<Parts>),
}

/// The pieces of a batch, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Where each piece is.
    pub list: Vec<Part>,
}

/// Where one piece of a batch is, or a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Number of the segment.
    pub segment: u32,
    /// Byte in the segment's file.
    pub position: u32,
    /// Length in bytes.
    pub len: u32,
}

const _: () = assert!(size_of::<Location>() == 16);

impl Location {
    /// Length of the batch in bytes.
    pub fn len(&self) -> usize {
        match self {
            Location::Journal { len, .. } => *len as usize,
            Location::Parts(parts) => parts.list.iter().map(|part| part.len as usize).sum(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces, one or more, as (segment, bytes) for the liveness table.
    pub fn pieces(&self) -> impl Iterator<Item = Part> + '_ {
        let (one, list) = match self {
            Location::Journal { segment, position, len } => {
                (Some(Part { segment: *segment, position: *position, len: *len }), &[][..])
            }
            Location::Parts(parts) => (None, &parts.list[..]),
        };
        one.into_iter().chain(list.iter().copied())
    }
}
