//! Time of day and time that passes.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use types::Millis;

/// Where time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of day. It can jump, backwards too.
    fn now(&self) -> Millis;

    /// Microseconds since some moment of this process; never goes back.
    fn micros(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose microseconds begin now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> Millis {
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
