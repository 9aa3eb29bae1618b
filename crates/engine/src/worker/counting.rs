//! What queues hold, for whoever asks.

use super::Worker;
use super::queue::Queue;
use crate::api::{Counts, QueueStats};
use crate::shard::Shard;
use types::{ShardId, SubscriptionId, SubscriptionRef};

impl Worker {
    pub(super) fn counts(&self, subscription: SubscriptionRef) -> Option<Counts> {
        let seat = self.seats.get(&subscription.shard)?;
        let Some(queue) = seat.queues.get(&subscription.subscription) else {
            let is_idle = seat.shard.subscriptions.contains_key(&subscription.subscription);
            return is_idle.then(|| Counts {
                kept: kept_count(&seat.shard, subscription.subscription),
                ..Counts::default()
            });
        };
        Some(Counts {
            ready: ready_count(&seat.shard, queue),
            unacked: queue.unacked(),
            delayed: parked_count(queue),
            kept: kept_count(&seat.shard, subscription.subscription),
            consumers: queue.consumers.len() as u64,
        })
    }

    pub(super) fn touch(&mut self, subscription: SubscriptionRef) {
        if let Some(seat) = self.seats.get_mut(&subscription.shard)
            && let Some(queue) = seat.queues.get_mut(&subscription.subscription)
        {
            queue.used = self.now;
        }
    }

    pub(super) fn stats(&self, shard: ShardId) -> Vec<QueueStats> {
        let Some(seat) = self.seats.get(&shard) else { return Vec::new() };
        let stats = |id: &SubscriptionId| {
            let subscription = SubscriptionRef { shard, subscription: *id };
            let queue = seat.queues.get(id);
            Some(QueueStats {
                subscription,
                counts: self.counts(subscription)?,
                tally: queue.map_or_else(|| seat.idle.tally(*id), |queue| queue.tally),
            })
        };
        seat.shard.subscriptions.keys().filter_map(stats).collect()
    }
}

/// Messages that could be handed out now.
pub(super) fn ready_count(shard: &Shard, queue: &Queue) -> u64 {
    queue
        .logs
        .iter()
        .filter_map(|log| Some(log.dispatch.ready_count(shard.logs.get(&log.log)?.end)))
        .sum()
}

/// Messages that are settled and kept.
fn kept_count(shard: &Shard, id: SubscriptionId) -> u64 {
    let ledgers = shard.subscriptions.get(&id).into_iter().flat_map(|state| state.ledgers.iter());
    ledgers.filter_map(|(log, ledger)| Some(ledger.kept_count(shard.logs.get(&log)?.end))).sum()
}

/// Messages that came back and wait for their time.
pub(super) fn parked_count(queue: &Queue) -> u64 {
    queue.logs.iter().map(|log| log.dispatch.parked_count()).sum()
}
