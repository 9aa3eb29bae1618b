//! Random numbers that a seed decides.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::Random;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The same numbers for the same seed.
///
/// Source: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub struct SimRandom {
    state: AtomicU64,
}

impl SimRandom {
    /// A generator of the numbers of `seed`.
    pub fn new(seed: u64) -> SimRandom {
        SimRandom { state: AtomicU64::new(seed) }
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True `percent` times of a hundred.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Random for SimRandom {
    fn next(&self) -> u64 {
        let mut mixed = self.state.fetch_add(GOLDEN, Ordering::SeqCst).wrapping_add(GOLDEN);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
