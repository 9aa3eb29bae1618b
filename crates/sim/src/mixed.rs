//! A queue with features chosen by chance: how they combine is for the model to say.

use crate::model::LogModel;
use crate::world::{CAP, PRIORITY_MAX, RETRY, RETRY_ALL, RETURNS_MAX};
use engine::catalog::{DeadLetter, Pace, QueueOptions, Retry, Serving};
use io::sim::SimRandom;
use std::sync::Arc;

/// Which features the queue has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mixed {
    /// Strict priorities.
    pub(crate) has_levels: bool,
    /// Of each key so many messages are out at a time.
    pub(crate) of_a_key: Option<u32>,
    /// All messages of a key are one client's.
    sessions: bool,
    /// What comes back waits.
    retry: Option<Retry>,
    /// What comes back too often is a dead letter.
    pub(crate) is_limited: bool,
    /// Few messages are out at a time.
    is_capped: bool,
    /// One consumer at a time is served.
    pub(crate) is_single: bool,
    /// Every so many messages the oldest goes first.
    oldest_every: Option<u32>,
}

impl Mixed {
    pub(crate) fn by_chance(random: &SimRandom) -> Mixed {
        let retry = [None, Some(RETRY), Some(RETRY_ALL)];
        let of_a_key = [None, Some(1), Some(2), None];
        let pick = |count: u64| usize::try_from(random.below(count)).unwrap_or(0);
        let keys = pick(4);
        Mixed {
            has_levels: pick(2) == 0,
            of_a_key: of_a_key[keys],
            sessions: keys == 3,
            retry: retry[pick(3)],
            is_limited: pick(2) == 0,
            is_capped: pick(3) == 0,
            is_single: pick(4) == 0,
            oldest_every: [None, Some(3)][pick(2)],
        }
    }

    /// Whether messages come in the order in which they arrived, as far as they come for the first time.
    pub(crate) fn is_in_order(&self) -> bool {
        !self.has_levels && self.of_a_key.is_none() && !self.sessions
    }

    pub(crate) fn has_sessions(&self) -> bool {
        self.sessions
    }

    pub(crate) fn options(&self, dead_letter: Option<Arc<DeadLetter>>) -> QueueOptions {
        let in_flight_max = self.is_capped.then_some(CAP);
        QueueOptions {
            returns_max: self.is_limited.then_some(RETURNS_MAX),
            dead_letter: dead_letter.filter(|_| self.is_limited),
            serving: Serving {
                single_active: self.is_single,
                priority_max: if self.has_levels { PRIORITY_MAX } else { 0 },
                oldest_every: self.oldest_every.filter(|_| self.has_levels),
                order_key: (self.of_a_key.is_some() || self.sessions).then(|| "key".into()),
                sessions: self.sessions,
                key_in_flight_max: self.of_a_key,
                retry: self.retry,
                pace: Pace { in_flight_max, ..Pace::default() },
            },
            ..QueueOptions::default()
        }
    }

    /// Tells the model what holds of the queue.
    pub(crate) fn tell(&self, model: &mut LogModel) {
        if self.has_levels {
            model.has_levels();
        }
        if self.is_limited {
            model.limit_returns(RETURNS_MAX);
        }
        if self.is_capped {
            model.cap_held(CAP);
        }
        if let Some(retry) = self.retry {
            model.delay_returns(retry);
        }
    }
}
