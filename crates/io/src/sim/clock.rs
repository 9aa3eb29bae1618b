//! A clock that moves when told.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use types::Millis;

use crate::clock::Clock;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct SimClock {
    now: AtomicI64,
    micros: AtomicU64,
}

impl SimClock {
    /// A clock that shows `now`, its microseconds at 0.
    pub fn new(now: Millis) -> SimClock {
        SimClock { now: AtomicI64::new(now.0), micros: AtomicU64::new(0) }
    }

    /// Lets `micros` microseconds pass. The time of day moves by the whole milliseconds that end.
    pub fn pass(&self, micros: u64) {
        let before = self.micros.fetch_add(micros, Ordering::SeqCst);
        let ended = (before + micros) / 1000 - before / 1000;
        self.now.fetch_add(i64::try_from(ended).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the time of day, as an operator or NTP does; no time passes.
    pub fn set(&self, now: Millis) {
        self.now.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::SeqCst))
    }

    fn micros(&self) -> u64 {
        self.micros.load(Ordering::SeqCst)
    }
}
