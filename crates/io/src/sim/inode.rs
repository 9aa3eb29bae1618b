//! One file of the simulated disk: what processes see, what is durable, and what is between.

use super::random::SimRandom;
use crate::aligned::BLOCK_BYTES;

const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Inode {
    /// As processes see it.
    pub(super) cached: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// What is in the one and not yet in the other.
    changes: Vec<Change>,
    /// A sync failed: what processes see will not become durable by itself.
    lost: bool,
}

#[derive(Debug)]
pub(super) enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Len(usize),
}

impl Inode {
    /// Changes what processes see.
    pub(super) fn change(&mut self, change: Change) {
        match &change {
            Change::Write { position, bytes } => put(&mut self.cached, *position, bytes),
            Change::Len(len) => self.cached.resize(*len, 0),
        }
        self.changes.push(change);
    }

    /// Changes one byte everywhere, also where it is on its way.
    pub(super) fn change_byte(&mut self, byte: usize, change: impl Fn(u8) -> u8) {
        let stored = [(0, &mut self.durable), (0, &mut self.cached)];
        let pending = self.changes.iter_mut().filter_map(|change| match change {
            Change::Write { position, bytes } => Some((*position, bytes)),
            Change::Len(_) => None,
        });
        for (position, bytes) in stored.into_iter().chain(pending) {
            if let Some(found) = byte.checked_sub(position).and_then(|at| bytes.get_mut(at)) {
                *found = change(*found);
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
            match change {
                Change::Len(len) => {
                    if random.chance(odds) {
                        self.durable.resize(len, 0);
                    }
                }
                Change::Write { position, bytes } => {
                    let mut done = 0;
                    while done < bytes.len() {
                        let at = position + done;
                        let room = BLOCK_BYTES - at % BLOCK_BYTES;
                        let block = &bytes[done..bytes.len().min(done + room)];
                        if random.chance(10) {
                            for (i, sector) in block.chunks(SECTOR_BYTES).enumerate() {
                                if random.chance(50) {
                                    put(&mut self.durable, at + i * SECTOR_BYTES, sector);
                                }
                            }
                        } else if random.chance(odds) {
                            put(&mut self.durable, at, block);
                        }
                        done += block.len();
                    }
                }
            }
        }
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Len(len) => self.durable.resize(len, 0),
                Change::Write { position, bytes } => put(&mut self.durable, position, &bytes),
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, position: usize, new: &[u8]) {
    if bytes.len() < position + new.len() {
        bytes.resize(position + new.len(), 0);
    }
    bytes[position..position + new.len()].copy_from_slice(new);
}
