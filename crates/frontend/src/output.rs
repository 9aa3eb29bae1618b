//! Bytes on their way to a socket.

use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes of this length or longer are kept by reference; shorter ones are cheaper to copy.
const REFERENCE_BYTES_MIN: usize = 4 << 10;

/// What an empty buffer keeps for the next reply; more is given back.
const KEPT_BYTES_MAX: usize = 8 << 10;

/// Copied bytes and referenced ones, in order.
#[derive(Debug, Default)]
pub(crate) struct Output {
    chunks: VecDeque<Bytes>,
    chunk_bytes: usize,
    /// What was written into the buffer after the last chunk.
    tail: BytesMut,
    /// All bytes that have left.
    left: u64,
}

impl Output {
    /// The buffer to append to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends `bytes`, by reference when they are long.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < REFERENCE_BYTES_MIN {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            let copied = self.tail.split().freeze();
            self.chunk_bytes += copied.len();
            self.chunks.push_back(copied);
        }
        self.chunk_bytes += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// Bytes that wait.
    pub(crate) fn pending(&self) -> usize {
        self.chunk_bytes + self.tail.len()
    }

    /// All bytes ever put in: [`Output::left`] reaches this when they have gone.
    pub(crate) fn end(&self) -> u64 {
        self.left + self.pending() as u64
    }

    /// All bytes that have left.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Fills `slices` with what waits, from the front; gives how many it filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let parts = self.chunks.iter().map(|chunk| &chunk[..]).chain(tail);
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    /// Removes `count` bytes from the front.
    pub(crate) fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.pending());
        self.left += count as u64;
        while let Some(front) = self.chunks.front_mut() {
            let part = count.min(front.len());
            self.chunk_bytes -= part;
            count -= part;
            if part < front.len() {
                front.advance(part);
                return;
            }
            self.chunks.pop_front();
        }
        self.tail.advance(count);
        if self.tail.is_empty() && self.tail.capacity() > KEPT_BYTES_MAX {
            self.tail = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests;
