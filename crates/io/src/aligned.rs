//! Memory as O_DIRECT wants it.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Unit of direct reads and writes: positions, lengths and memory are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// A buffer of fixed length, zeroed, whose first byte lies on a multiple of [`BLOCK_BYTES`].
pub struct AlignedBuf {
    // Larger than asked by one block, so that an aligned range of the length asked lies within:
    // safe code, and a moved `Vec` does not move its heap memory.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// A buffer of `len` zero bytes.
    pub fn zeroed(len: usize) -> AlignedBuf {
        let memory = vec![0; len + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES, "every {BLOCK_BYTES} bytes hold one aligned address");
        AlignedBuf { memory, start, len }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{AlignedBuf, BLOCK_BYTES};

    #[test]
    fn starts_on_a_block_also_after_a_move() {
        let buffers: Vec<AlignedBuf> =
            (0..40).map(|i| AlignedBuf::zeroed(i * 1000)).rev().collect();
        for (i, buffer) in buffers.iter().rev().enumerate() {
            assert_eq!(buffer.as_ptr().addr() % BLOCK_BYTES, 0);
            assert_eq!(buffer.len(), i * 1000);
        }
    }
}
