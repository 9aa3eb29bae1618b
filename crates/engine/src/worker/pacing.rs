//! What holds deliveries of a queue back beside its consumers' windows: a rate, one for each key, a number in
//! flight, and a circuit breaker. In the leader's memory only, by the worker's clock: a new process begins with a full
//! bucket and a closed breaker.

mod breaker;
#[cfg(test)]
mod tests;

use super::Worker;
use super::queue::Queue;
use super::seat::Seat;
use super::upkeep::Due;
use breaker::Breaker;
use catalog::{Pace, Rate};
use ledger::{Span, TimerId};
use types::{Millis, ShardId, SubscriptionId, SubscriptionRef};

/// Tokens of a bucket are counted in parts of this size.
const PARTS: i64 = 1_000_000;
/// What a bucket gains while deliveries wait for it is not lost if the worker comes later than that is
/// due, up to so long.
const LATE_MAX: Millis = Millis(100);

/// What holds a queue's deliveries back.
#[derive(Debug)]
pub(super) struct Pacer {
    bucket: Option<Bucket>,
    in_flight_max: Option<u32>,
    breaker: Option<Breaker>,
    /// Keys have rates, too.
    by_key: bool,
    /// When deliveries that are held back can go on, if nothing else happens.
    until: Option<Millis>,
    timer: Option<(Millis, TimerId)>,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    parts: i64,
    /// When it was looked at last.
    at: Millis,
    /// Since when deliveries that wait could have gone on.
    due: Option<Millis>,
}

impl Bucket {
    fn new(rate: Rate, now: Millis) -> Bucket {
        Bucket { rate, parts: i64::from(rate.burst) * PARTS, at: now, due: None }
    }

    /// Parts gained in a time.
    fn gain(&self, time: Millis) -> i64 {
        time.0.max(0).saturating_mul(i64::from(self.rate.per_second) * (PARTS / 1_000))
    }

    /// How many messages can go now.
    fn room(&mut self, now: Millis) -> u32 {
        // It is due at a whole millisecond, which may be up to one later than it is there.
        let late = |due| now.since(due).plus(Millis(1)).min(LATE_MAX);
        let late = self.due.map_or(Millis(0), late);
        let full = (i64::from(self.rate.burst) * PARTS).saturating_add(self.gain(late));
        self.parts =
            self.parts.saturating_add(self.gain(now.since(self.at))).min(full.max(self.parts));
        self.at = self.at.max(now);
        u32::try_from(self.parts / PARTS).unwrap_or(0)
    }

    /// Deliveries wait; gives when the next can go.
    fn wait(&mut self) -> Millis {
        let per_ms = i64::from(self.rate.per_second) * (PARTS / 1_000);
        let lacking = (PARTS - self.parts).max(0);
        let due = self.at.plus(Millis((lacking + per_ms - 1) / per_ms));
        self.due = Some(due);
        due
    }
}

impl Pacer {
    /// `None` for a queue of which nothing is held back.
    pub(super) fn wanted(pace: &Pace, now: Millis) -> Option<Box<Pacer>> {
        (!pace.is_free()).then(|| {
            Box::new(Pacer {
                bucket: pace.rate.map(|rate| Bucket::new(rate, now)),
                in_flight_max: pace.in_flight_max,
                breaker: pace.breaker.map(Breaker::new),
                by_key: pace.key_rate.is_some(),
                until: None,
                timer: None,
            })
        })
    }

    /// How many messages can be handed out now, of which so many are in flight. Where none can and time
    /// alone changes that, the worker looks again then.
    pub(super) fn room(&mut self, in_flight: u64, now: Millis) -> u32 {
        self.until = None;
        let free = self.in_flight_max.map_or(u32::MAX, |most| {
            let most = if io::planted("cap-passed") { most.saturating_add(1) } else { most };
            u32::try_from(u64::from(most).saturating_sub(in_flight)).unwrap_or(u32::MAX)
        });
        if free == 0 {
            return 0;
        }
        let by_breaker = match &mut self.breaker {
            None => u32::MAX,
            Some(breaker) => match breaker.room(in_flight == 0, now) {
                Ok(room) => room,
                Err(until) => {
                    self.until = until;
                    return 0;
                }
            },
        };
        let by_rate = match &mut self.bucket {
            None => u32::MAX,
            Some(bucket) => match bucket.room(now) {
                0 => {
                    self.until = Some(bucket.wait());
                    return 0;
                }
                room => room,
            },
        };
        free.min(by_breaker).min(by_rate)
    }

    /// Messages are handed out. `settled`: at once.
    pub(super) fn took(&mut self, span: Span, settled: bool) {
        if let Some(bucket) = &mut self.bucket {
            bucket.parts -= i64::try_from(span.len()).unwrap_or(i64::MAX / PARTS) * PARTS;
            bucket.due = None;
        }
        if let Some(breaker) = &mut self.breaker {
            breaker.took(span.first, settled);
        }
    }

    /// What was to be handed out was not there.
    pub(super) fn missed(&mut self, span: Span) {
        if let Some(bucket) = &mut self.bucket {
            bucket.parts += i64::try_from(span.len()).unwrap_or(0) * PARTS;
        }
        self.ended(&[span], None, Millis(0));
    }

    /// Messages are with nobody any more. `failed`: whether they were processed, if that was said.
    pub(super) fn ended(&mut self, spans: &[Span], failed: Option<bool>, now: Millis) {
        if let Some(breaker) = &mut self.breaker {
            spans.iter().for_each(|span| breaker.ended(*span, failed, now));
        }
    }

    pub(super) fn timer(&self) -> Option<TimerId> {
        self.timer.map(|(_, timer)| timer)
    }
}

impl Queue {
    /// How many messages can be handed out now as far as its pace goes.
    pub(super) fn pace_room(&mut self, now: Millis) -> u32 {
        if self.pacer.is_none() {
            return u32::MAX;
        }
        let in_flight = self.unacked();
        if self.pacer.as_ref().is_some_and(|pacer| pacer.by_key) {
            self.logs.iter_mut().for_each(|log| log.dispatch.pass_time(now));
        }
        self.pacer.as_mut().map_or(u32::MAX, |pacer| pacer.room(in_flight, now))
    }

    /// Messages are with nobody any more; `failed`: whether they were processed, if that was said.
    pub(super) fn paced(&mut self, spans: &[Span], failed: Option<bool>, now: Millis) {
        if let Some(pacer) = &mut self.pacer {
            pacer.ended(spans, failed, now);
        }
    }
}

impl Seat {
    /// Messages of a queue came back as their consumer went.
    pub(super) fn pace_back(
        &mut self,
        id: SubscriptionId,
        spans: &[Span],
        failed: bool,
        now: Millis,
    ) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.paced(spans, failed.then_some(true), now);
        }
    }
}

impl Worker {
    /// Sets the timer of a queue that is held back.
    pub(super) fn rearm_pace(&mut self, shard: ShardId, id: SubscriptionId) {
        let now = self.now;
        let queue = self.seats.get_mut(&shard).and_then(|seat| seat.queues.get_mut(&id));
        let Some(Queue { pacer: Some(pacer), logs, .. }) = queue.map(|queue| &mut **queue) else {
            return;
        };
        // What has been due by now waits for something else.
        let due =
            logs.iter_mut().filter_map(|log| log.dispatch.next_due().filter(|due| *due > now));
        let until = pacer.until.into_iter().chain(due).min();
        if pacer.timer.map(|(due, _)| due) == until {
            return;
        }
        if let Some((_, timer)) = pacer.timer.take() {
            self.timers.cancel(timer);
        }
        let due = Due::Pace(SubscriptionRef { shard, subscription: id });
        pacer.timer = until.map(|until| (until, self.timers.arm(until, due)));
    }

    /// A queue that was held back may go on.
    pub(super) fn pace_due(&mut self, subscription: SubscriptionRef) {
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let queue = seat.queues.get_mut(&subscription.subscription);
        if let Some(pacer) = queue.and_then(|queue| queue.pacer.as_mut()) {
            (pacer.timer, pacer.until) = (None, None);
            seat.ready.insert(subscription.subscription);
        }
    }
}
