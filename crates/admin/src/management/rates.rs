//! How fast counts rise, from what they were when somebody last asked.
//!
//! Nothing is sampled while nobody asks. A sample is kept for five seconds at least, so that two
//! requests in a row have something to compare with.

use engine::api::QueueStats;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use types::{Millis, SubscriptionId};

/// A sample is replaced when it is as old.
const SAMPLE_AGE: Millis = Millis(5_000);

/// Most queues that are sampled.
const SAMPLED_MAX: usize = 50_000;

type Sample = BTreeMap<SubscriptionId, QueueStats>;

/// Samples of the counts of queues.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<Samples>);

#[derive(Debug, Default)]
struct Samples {
    before: (Millis, Arc<Sample>),
    latest: (Millis, Arc<Sample>),
}

/// What counts were some time ago.
#[derive(Debug, Default)]
pub(crate) struct Before {
    seconds: f64,
    sample: Arc<Sample>,
}

impl Rates {
    /// Notes what counts are `now`; gives what they were, if that is known.
    pub(crate) fn note(&self, now: Millis, stats: &Sample) -> Before {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.latest.1.is_empty() || now.since(samples.latest.0) >= SAMPLE_AGE {
            let taken: Sample = stats.iter().take(SAMPLED_MAX).map(|(id, it)| (*id, *it)).collect();
            let taken = Arc::new(taken);
            samples.before = std::mem::replace(&mut samples.latest, (now, taken));
        }
        let millis = now.since(samples.before.0).0.max(1);
        Before { seconds: millis as f64 / 1000.0, sample: Arc::clone(&samples.before.1) }
    }
}

impl Before {
    /// How much what `count` gives has risen each second; 0 while that is not known.
    pub(crate) fn rate(&self, stats: &QueueStats, count: fn(&QueueStats) -> u64) -> f64 {
        let Some(before) = self.sample.get(&stats.subscription.subscription) else { return 0.0 };
        let risen = count(stats) as f64 - count(before) as f64;
        (risen / self.seconds * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests;
