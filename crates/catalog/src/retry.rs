//! How long a message waits that came back from its consumer.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use types::Millis;

/// Most that may be added to a delay by chance, in percent of it.
const JITTER_MAX: u8 = 100;

/// When a message that came back is delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Retry {
    /// Which returns it is for.
    pub on: RetryOn,
    /// The first delay; more than 0.
    pub min: Millis,
    /// No delay is longer, but for what is added by chance.
    pub max: Millis,
    /// How the delay grows.
    pub growth: Growth,
    /// So many percent of the delay are added at most, as chance has it; up to 100.
    pub jitter: u8,
}

/// Which messages that came back have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RetryOn {
    /// All.
    All,
    /// Those that count as failed.
    Failed,
    /// Those that were given back and do not count.
    Released,
}

/// How a delay grows with the number of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Growth {
    /// By the first delay each time.
    Linear,
    /// To so many times as much each time; by 1 it stays as it is.
    Times(u32),
}

impl Retry {
    /// How long a message waits that failed so often, the last time now if `failed`; `None`: not at all.
    ///
    /// `chance`: a random number, which says how much is added.
    #[must_use]
    pub fn delay(&self, failed: bool, failures: u16, chance: u64) -> Option<Millis> {
        let waits = match self.on {
            RetryOn::All => true,
            RetryOn::Failed => failed,
            RetryOn::Released => !failed,
        };
        waits.then(|| {
            let failures = i64::from(failures.max(1));
            let grown = match self.growth {
                Growth::Linear => self.min.0.saturating_mul(failures),
                Growth::Times(factor) => {
                    let power = u32::try_from(failures - 1).unwrap_or(u32::MAX);
                    self.min.0.saturating_mul(i64::from(factor).saturating_pow(power))
                }
            };
            let delay = grown.min(self.max.0);
            let most = i128::from(delay) * i128::from(self.jitter.min(JITTER_MAX)) / 100;
            let added = (i128::from(chance) * (most + 1)) >> u64::BITS;
            Millis(delay.saturating_add(i64::try_from(added).unwrap_or(0)))
        })
    }
}
