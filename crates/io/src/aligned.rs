//! Memory as O_DIRECT wants it.

mod mapping;

use std::fmt;
use std::ops::{Deref, DerefMut};

use mapping::Mapping;

/// Unit of direct reads and writes: positions, lengths and memory are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// Buffers this long have memory in huge pages where the kernel gives them: a transfer of 1 MiB
/// costs half as much when it need not look up 256 pages.
const MAPPED_BYTES_MIN: usize = 512 << 10;

/// A buffer of fixed length, zeroed, whose first byte lies on a multiple of [`BLOCK_BYTES`].
pub struct AlignedBuf {
    memory: Memory,
    len: usize,
}

enum Memory {
    // Larger than asked by one block, so that an aligned range of the length asked lies within:
    // safe code, and a moved `Vec` does not move its heap memory.
    Heap { memory: Vec<u8>, start: usize },
    Mapped(Mapping),
}

impl AlignedBuf {
    /// A buffer of `len` zero bytes.
    pub fn zeroed(len: usize) -> AlignedBuf {
        let mapped = (len >= MAPPED_BYTES_MIN).then(|| Mapping::zeroed(len)).and_then(Result::ok);
        AlignedBuf { memory: mapped.map_or_else(|| Memory::heap(len), Memory::Mapped), len }
    }
}

impl Memory {
    fn heap(len: usize) -> Memory {
        let memory = vec![0; len + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES, "every {BLOCK_BYTES} bytes hold one aligned address");
        Memory::Heap { memory, start }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap { memory, start } => &memory[*start..*start + self.len],
            Memory::Mapped(mapping) => &mapping.bytes()[..self.len],
        }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Heap { memory, start } => &mut memory[*start..*start + self.len],
            Memory::Mapped(mapping) => &mut mapping.bytes_mut()[..self.len],
        }
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
    use super::{AlignedBuf, BLOCK_BYTES, MAPPED_BYTES_MIN};

    #[test]
    fn starts_on_a_block_also_after_a_move() {
        let buffers: Vec<AlignedBuf> =
            (0..40).map(|i| AlignedBuf::zeroed(i * 50_000)).rev().collect();
        assert!(buffers[0].len() > MAPPED_BYTES_MIN);
        for (i, buffer) in buffers.iter().rev().enumerate() {
            assert_eq!(buffer.as_ptr().addr() % BLOCK_BYTES, 0);
            assert_eq!(buffer.len(), i * 50_000);
            assert!(buffer.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn every_byte_can_be_written_and_read_by_another_thread() {
        let mut buffer = AlignedBuf::zeroed(5 * MAPPED_BYTES_MIN + 1);
        buffer.fill(7);
        let sum: usize =
            std::thread::spawn(move || buffer.iter().map(|byte| usize::from(*byte)).sum())
                .join()
                .unwrap();
        assert_eq!(sum, 7 * (5 * MAPPED_BYTES_MIN + 1));
    }
}
