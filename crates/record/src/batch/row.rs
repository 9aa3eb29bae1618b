//! Batches back to back, as they are loaded from the disk and sent together.

use super::{EPOCH_AT, HEADER_BYTES, UNCOUNTED_BYTES};
use bytes::Bytes;
use types::Offset;

const LENGTH_AT: usize = 8;
const LAST_DELTA_AT: usize = 23;

/// The batch at the start of `bytes`: its length, and how many offsets it spans.
///
/// Only its length and its last delta are looked at; `None` where `bytes` ends before it does.
#[inline]
pub fn first_of(bytes: &[u8]) -> Option<(usize, u32)> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let field = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let batch_bytes = (field(LENGTH_AT) as usize).checked_add(UNCOUNTED_BYTES)?;
    let is_whole = batch_bytes >= HEADER_BYTES && batch_bytes <= bytes.len();
    is_whole.then(|| (batch_bytes, field(LAST_DELTA_AT).saturating_add(1)))
}

/// Makes a copy of a batch what a reader must see: its base offset and leader epoch.
///
/// `batch`: at least its first 16 bytes.
#[inline]
pub fn patch(batch: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    batch[..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[EPOCH_AT..EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// The batches in `bytes`, each with the offset of its first record: the first one's is
/// `base_offset`, and none lies between two of them. Ends where no whole batch follows.
pub fn in_row(base_offset: Offset, bytes: &Bytes) -> impl Iterator<Item = (Offset, Bytes)> + use<> {
    let (mut next, mut rest) = (base_offset, bytes.clone());
    std::iter::from_fn(move || {
        let (batch_bytes, count) = first_of(&rest)?;
        let base = next;
        next = base.plus(count);
        Some((base, rest.split_to(batch_bytes)))
    })
}
