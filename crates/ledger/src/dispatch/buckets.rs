//! How fast messages of each key are handed out: a token bucket for each key that had one not long ago.
//!
//! A bucket is a time: when it is full. Each message puts that off by as long as a message takes; a message can go
//! if it is no further away than the burst. What is full is forgotten soon.
//!
//! Source: the generic cell rate algorithm, ITU-T Recommendation I.371.

use super::Dispatch;
use super::keys::Keys;
use std::collections::{BTreeMap, BTreeSet};
use types::Millis;

/// Keys that had a message not long ago, of one log; with as many delivery comes to no further one before a bucket
/// is forgotten.
const BUCKETS_MAX: usize = 100_000;
const NANOS_PER_MS: i64 = 1_000_000;
const NANOS_PER_S: i64 = 1_000 * NANOS_PER_MS;
/// When messages wait for a bucket and come later than they could, up to so much of that is not lost.
const LATE_MAX: i64 = 100 * NANOS_PER_MS;
/// So long after it was full a bucket is forgotten: messages that come late still find for how long they waited.
const REMEMBERED: i64 = NANOS_PER_S;

/// The buckets of a log's keys.
#[derive(Debug)]
pub(super) struct Buckets {
    /// How long a message takes, in nanoseconds.
    step: i64,
    /// How far ahead of its time a bucket may be, in nanoseconds.
    ahead: i64,
    now: Millis,
    by_key: BTreeMap<u64, Bucket>,
    /// Those that have nothing, by when they have.
    dry: BTreeSet<(Millis, u64)>,
    /// All of them, by when they are forgotten.
    ends: BTreeSet<(Millis, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When it is full, in nanoseconds.
    full: i64,
    is_dry: bool,
    /// Messages have waited for it since it was dry.
    is_late: bool,
}

impl Buckets {
    fn new(per_second: u32, burst: u32, now: Millis) -> Buckets {
        let per_second = i64::from(per_second.max(1));
        let step = (NANOS_PER_S + per_second - 1) / per_second;
        let ahead = step.saturating_mul(i64::from(burst.max(1)) - 1);
        Buckets {
            step,
            ahead,
            now,
            by_key: BTreeMap::new(),
            dry: BTreeSet::new(),
            ends: BTreeSet::new(),
        }
    }

    pub(super) fn is_dry(&self, key: u64) -> bool {
        self.by_key.get(&key).is_some_and(|bucket| bucket.is_dry)
    }

    /// There is no room for the bucket of one more key.
    fn has_no_room_for(&self, key: u64) -> bool {
        self.by_key.len() >= BUCKETS_MAX && !self.by_key.contains_key(&key)
    }

    /// A message of a key is handed out; `waits`: others of the key wait.
    fn spend(&mut self, key: u64, waits: bool) {
        let now = nanos(self.now);
        let new = Bucket { full: now, is_dry: false, is_late: false };
        let bucket = self.by_key.entry(key).or_insert(new);
        let was = *bucket;
        let late = if bucket.is_late { LATE_MAX } else { 0 };
        bucket.full = bucket.full.max(now - late).saturating_add(self.step);
        bucket.is_dry = now < bucket.full - self.ahead;
        bucket.is_late &= waits;
        let is = *bucket;
        self.ends.remove(&(was.end(), key));
        self.ends.insert((is.end(), key));
        if was.is_dry {
            self.dry.remove(&(millis(was.full - self.ahead), key));
        }
        if is.is_dry {
            self.dry.insert((millis(is.full - self.ahead), key));
        }
    }

    /// The first of those that have something again.
    fn first_due(&self) -> Option<u64> {
        self.dry.first().filter(|(due, _)| *due <= self.now).map(|(_, key)| *key)
    }

    /// One has something again; `waits`: messages wait for that.
    fn fill(&mut self, key: u64, waits: bool) {
        let Some(bucket) = self.by_key.get_mut(&key) else { return };
        let due = bucket.full - self.ahead;
        bucket.is_dry = false;
        bucket.is_late = waits;
        self.dry.remove(&(millis(due), key));
    }

    fn forget_full(&mut self) {
        while let Some((_, key)) = self.ends.first().filter(|(end, _)| *end <= self.now).copied() {
            self.ends.pop_first();
            self.by_key.remove(&key);
        }
    }

    /// When something changes by time alone.
    fn next_due(&self) -> Option<Millis> {
        let is_at_bound = self.by_key.len() >= BUCKETS_MAX;
        let room = if is_at_bound { self.ends.first() } else { None };
        // All are forgotten then.
        let none = self.ends.last();
        self.dry.first().into_iter().chain(room).chain(none).map(|(due, _)| *due).min()
    }
}

impl Bucket {
    /// When it is forgotten.
    fn end(&self) -> Millis {
        millis(self.full.saturating_add(REMEMBERED))
    }
}

fn nanos(time: Millis) -> i64 {
    time.0.saturating_mul(NANOS_PER_MS)
}

/// The first whole millisecond that is not before.
fn millis(nanos: i64) -> Millis {
    Millis(nanos.saturating_add(NANOS_PER_MS - 1).div_euclid(NANOS_PER_MS))
}

impl Keys {
    /// A message of a key is handed out.
    pub(super) fn spend(&mut self, key: u64) {
        if self.limits.buckets.is_some() {
            let waits = self.is_awaited(key);
            self.change(key, |keys| {
                keys.limits.buckets.iter_mut().for_each(|it| it.spend(key, waits))
            });
        }
    }

    /// Whether a key is one more than can be remembered.
    pub(super) fn has_no_room_for(&self, key: Option<u64>) -> bool {
        key.zip(self.limits.buckets.as_ref())
            .is_some_and(|(key, buckets)| buckets.has_no_room_for(key))
    }

    fn pass_time(&mut self, now: Millis) {
        let Some(buckets) = &mut self.limits.buckets else { return };
        buckets.now = buckets.now.max(now);
        while let Some(key) = self.limits.buckets.as_ref().and_then(|buckets| buckets.first_due()) {
            let waits = self.is_awaited(key);
            self.change(key, |keys| {
                keys.limits.buckets.iter_mut().for_each(|it| it.fill(key, waits))
            });
        }
        self.limits.buckets.iter_mut().for_each(|buckets| buckets.forget_full());
    }
}

impl Dispatch {
    /// Of each key no more than so many messages a second are handed out from now on, and so many at once after a
    /// pause, where messages go by key ([`Dispatch::order_by_key`]). The time has to be told then
    /// ([`Dispatch::pass_time`]).
    pub fn limit_rate_of_keys(&mut self, (per_second, burst): (u32, u32), now: Millis) {
        if let Some(keys) = self.order.as_mut().and_then(|order| order.limited_keys()) {
            keys.limits.buckets = Some(Box::new(Buckets::new(per_second, burst, now)));
        }
    }

    /// It is later now.
    pub fn pass_time(&mut self, now: Millis) {
        if let Some(keys) = self.order.as_mut().and_then(|order| order.limited_keys()) {
            keys.pass_time(now);
        }
    }

    /// When the time is to be told next, though nothing else happens.
    pub fn next_due(&mut self) -> Option<Millis> {
        self.order.as_mut()?.limited_keys()?.limits.buckets.as_ref()?.next_due()
    }

    /// How many keys are remembered for their rate.
    #[cfg(test)]
    pub(super) fn bucket_count(&mut self) -> usize {
        let keys = self.order.as_mut().and_then(|order| order.limited_keys());
        keys.and_then(|keys| keys.limits.buckets.as_ref()).map_or(0, |buckets| buckets.by_key.len())
    }
}

#[cfg(test)]
mod tests;
