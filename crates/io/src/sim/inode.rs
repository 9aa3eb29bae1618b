//! One file of the simulated disk: what processes see, what is durable, and what is between.

use super::blocks::{Block, Blocks, block_of, bytes_of};
use super::random::SimRandom;
use crate::aligned::BLOCK_BYTES;

const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Inode {
    /// As processes see it.
    pub(super) cached: Blocks,
    pub(super) durable: Blocks,
    /// What is in the one and not yet in the other.
    changes: Vec<Change>,
    /// A sync failed: what processes see will not become durable by itself.
    lost: bool,
}

#[derive(Debug)]
enum Change {
    /// A whole block was written.
    Block {
        number: usize,
        block: Block,
    },
    /// Bytes within one block were written.
    Part {
        position: usize,
        bytes: Vec<u8>,
    },
    Len(usize),
}

impl Change {
    fn apply(&self, to: &mut Blocks) {
        match self {
            Change::Block { number, block } => to.set(*number, block.clone()),
            Change::Part { position, bytes } => to.put(*position, bytes),
            Change::Len(len) => to.resize(*len),
        }
    }

    /// Applies some of the sectors that were written.
    fn tear(&self, to: &mut Blocks, random: &SimRandom) {
        let (at, bytes) = match self {
            Change::Block { number, block } => (number * BLOCK_BYTES, &bytes_of(block)[..]),
            Change::Part { position, bytes } => (*position, &bytes[..]),
            Change::Len(_) => return,
        };
        for (i, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if random.chance(50) {
                to.put(at + i * SECTOR_BYTES, sector);
            }
        }
    }
}

impl Inode {
    /// Changes the length that processes see.
    pub(super) fn set_len(&mut self, len: usize) {
        self.change(Change::Len(len));
    }

    /// Changes what processes see.
    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = position + done;
            let room = BLOCK_BYTES - at % BLOCK_BYTES;
            let piece = &bytes[done..bytes.len().min(done + room)];
            self.change(match piece.len() {
                BLOCK_BYTES => Change::Block { number: at / BLOCK_BYTES, block: block_of(piece) },
                _ => Change::Part { position: at, bytes: piece.to_vec() },
            });
            done += piece.len();
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.changes.push(change);
    }

    /// Changes one byte everywhere, also where it is on its way.
    pub(super) fn change_byte(&mut self, byte: usize, change: impl Fn(u8) -> u8) {
        self.durable.change_byte(byte, &change);
        self.cached.change_byte(byte, &change);
        for pending in &mut self.changes {
            match pending {
                Change::Block { number, block } if *number == byte / BLOCK_BYTES => {
                    let mut bytes = *bytes_of(block);
                    bytes[byte % BLOCK_BYTES] = change(bytes[byte % BLOCK_BYTES]);
                    *block = block_of(&bytes);
                }
                Change::Part { position, bytes } => {
                    if let Some(found) =
                        byte.checked_sub(*position).and_then(|at| bytes.get_mut(at))
                    {
                        *found = change(*found);
                    }
                }
                _ => {}
            }
        }
    }

    /// The process and its cache are gone: what is durable is what is seen.
    pub(super) fn forget_cache(&mut self, random: &SimRandom, odds: u64) {
        if self.changes.is_empty() && !self.lost {
            return;
        }
        self.survive(random, odds);
        self.cached.clone_from(&self.durable);
        self.lost = false;
    }

    /// Makes each block of what was not synced durable with a chance of `odds` percent, whole or
    /// torn, and forgets the rest.
    pub(super) fn survive(&mut self, random: &SimRandom, odds: u64) {
        self.lost |= !self.changes.is_empty();
        for change in std::mem::take(&mut self.changes) {
            let is_write = !matches!(change, Change::Len(_));
            if is_write && random.chance(10) {
                change.tear(&mut self.durable, random);
            } else if random.chance(odds) {
                change.apply(&mut self.durable);
            }
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable);
        }
    }
}
