//! Opening a store.

use std::sync::Arc;

use io::{Access, Disk};
use types::PART_BYTES;

use crate::error::OpenError;
use crate::pool::Pool;
use crate::reader::Reader;
use crate::recovery::Recovery;
use crate::writer::Writer;

/// Sizes and choices.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sizes of segments, growing: the next one is used when a segment is full, the last one
    /// repeats. Multiples of 4 KiB.
    pub segment_bytes: Vec<u32>,
    /// Largest round, in bytes, with its padding.
    pub round_bytes_max: u32,
    /// A batch above this travels in PART frames of this size.
    pub part_bytes: u32,
    /// Segments kept ready to be used.
    pub ready_count: usize,
    /// Given-up segment files kept to be used again.
    pub spare_count: usize,
    /// How segments are opened.
    pub access: Access,
    /// A random number, new for every opening: no record can imitate a round.
    pub salt: u64,
    /// Open also a store that lost acknowledged commands, without them.
    pub salvage: bool,
}

impl Options {
    /// What a broker uses; `salt` is random.
    pub fn new(salt: u64) -> Options {
        Options {
            segment_bytes: vec![4 << 20, 16 << 20, 64 << 20, 256 << 20],
            round_bytes_max: (4 << 20) - 4096,
            part_bytes: u32::try_from(PART_BYTES).expect("a part is small"),
            ready_count: 1,
            spare_count: 2,
            access: Access::Direct,
            salt,
            salvage: false,
        }
    }
}

/// Opens the store in `disk`, or begins one there.
pub fn open(
    _disk: Arc<dyn Disk>,
    _options: Options,
) -> Result<(Writer, Reader, Pool, Recovery), OpenError> {
    Err(OpenError::Locked { place: String::new() })
}
