//! How fast a queue hands its messages out, and when it stops to.

use serde::{Deserialize, Serialize};
use types::Millis;

/// What holds deliveries of a queue back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pace {
    /// How many messages are handed out in a time.
    pub rate: Option<Rate>,
    /// How many messages of each key are handed out in a time, where messages go by key.
    pub key_rate: Option<Rate>,
    /// Most messages that are with consumers at once.
    pub in_flight_max: Option<u32>,
    /// When deliveries stop because messages fail.
    pub breaker: Option<Breaker>,
}

/// Messages in a time, as a token bucket has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rate {
    /// Messages a second, on average; more than 0.
    pub per_second: u32,
    /// So many are handed out at once after a pause; more than 0.
    pub burst: u32,
}

/// A circuit breaker: after many failures nothing is handed out for a while, then one message to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Breaker {
    /// So many failures …
    pub failures: u32,
    /// … within so long stop deliveries …
    pub window: Millis,
    /// … for so long.
    pub pause: Millis,
}

impl Pace {
    /// Whether it holds nothing back.
    #[must_use]
    pub fn is_free(&self) -> bool {
        *self == Pace::default()
    }
}
