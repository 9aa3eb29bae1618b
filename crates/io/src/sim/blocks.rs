//! The bytes of a simulated file, in blocks that its versions share: what a process sees, what is
//! durable and what is between differ in few of them, and a file of zeroes takes no memory.

use std::sync::Arc;

use crate::aligned::BLOCK_BYTES;

/// One block; none: zeroes.
pub(super) type Block = Option<Arc<[u8; BLOCK_BYTES]>>;

const ZEROES: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    len: usize,
    // What the last one has beyond the length is zeroes.
    blocks: Vec<Block>,
}

impl Blocks {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cuts the end off, or adds zeroes.
    pub(super) fn resize(&mut self, len: usize) {
        if len < self.len
            && !len.is_multiple_of(BLOCK_BYTES)
            && let Some(Some(last)) = self.blocks.get_mut(len / BLOCK_BYTES)
        {
            Arc::make_mut(last)[len % BLOCK_BYTES..].fill(0);
        }
        self.blocks.resize(len.div_ceil(BLOCK_BYTES), None);
        self.len = len;
    }

    /// Puts a whole block at its number.
    pub(super) fn set(&mut self, number: usize, block: Block) {
        self.grow((number + 1) * BLOCK_BYTES);
        self.blocks[number] = block;
    }

    /// Puts bytes that lie within one block.
    pub(super) fn put(&mut self, position: usize, bytes: &[u8]) {
        self.grow(position + bytes.len());
        let block = self.blocks[position / BLOCK_BYTES].get_or_insert_with(|| Arc::new(ZEROES));
        let from = position % BLOCK_BYTES;
        Arc::make_mut(block)[from..from + bytes.len()].copy_from_slice(bytes);
    }

    /// Fills `bytes` from `position` on as far as the file goes; gives how many there were.
    pub(super) fn read(&self, position: usize, bytes: &mut [u8]) -> usize {
        let position = position.min(self.len);
        let count = bytes.len().min(self.len - position);
        let mut done = 0;
        while done < count {
            let at = position + done;
            let from = at % BLOCK_BYTES;
            let piece = (BLOCK_BYTES - from).min(count - done);
            let into = &mut bytes[done..done + piece];
            match &self.blocks[at / BLOCK_BYTES] {
                Some(block) => into.copy_from_slice(&block[from..from + piece]),
                None => into.fill(0),
            }
            done += piece;
        }
        count
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes);
        bytes
    }

    /// Changes one byte, if there is one.
    pub(super) fn change_byte(&mut self, byte: usize, change: impl Fn(u8) -> u8) {
        if byte < self.len {
            let mut found = [0];
            self.read(byte, &mut found);
            self.put(byte, &[change(found[0])]);
        }
    }

    fn grow(&mut self, len: usize) {
        if self.len < len {
            self.resize(len);
        }
    }
}

/// A block of its own with these bytes, of which there are as many as a block has.
pub(super) fn block_of(bytes: &[u8]) -> Block {
    match <&[u8; BLOCK_BYTES]>::try_from(bytes) {
        Ok(bytes) if *bytes != ZEROES => Some(Arc::new(*bytes)),
        _ => None,
    }
}

/// The bytes of a block.
pub(super) fn bytes_of(block: &Block) -> &[u8; BLOCK_BYTES] {
    block.as_deref().unwrap_or(&ZEROES)
}
