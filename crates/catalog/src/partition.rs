//! Which log of a topic a record goes to, where the publisher does not say.

use crate::Topic;
use types::LogRef;

impl Topic {
    /// The log for a record with this key; those without one take turns.
    #[must_use]
    pub fn log_for(&self, key: Option<&[u8]>, turn: u32) -> Option<LogRef> {
        let number = key.map_or(turn, |key| murmur2(key) & 0x7fff_ffff);
        let count = u32::try_from(self.partitions.len()).ok()?;
        self.partitions.get(usize::try_from(number.checked_rem(count)?).ok()?).copied()
    }
}

/// The hash by which Kafka's Java clients choose a partition, so that a key has the same one
/// whichever wire it came by.
///
/// Source: Apache Kafka, `Utils.murmur2`.
fn murmur2(bytes: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut word = word.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        word = u32::wrapping_mul(word, MIX);
        word ^= word >> 24;
        hash = hash.wrapping_mul(MIX) ^ word.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests;
