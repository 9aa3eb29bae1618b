//! A clock, random numbers and a disk that are decided by a seed.
//!
//! The disk forgets, at a crash, what a real one may forget: any 4 KiB block of a write that was
//! not synced, part of one, and any change of a name that was not synced.

mod blocks;
mod clock;
mod disk;
mod inode;
mod random;

pub use clock::SimClock;
pub use disk::{Fault, SimDisk};
pub use random::SimRandom;

#[cfg(test)]
mod tests;
