//! What queues hold, for whoever asks.

use super::Worker;
use super::queue::ready_count;
use crate::api::{Counts, QueueStats};
use types::{ShardId, SubscriptionRef};

impl Worker {
    pub(super) fn counts(&self, subscription: SubscriptionRef) -> Option<Counts> {
        let seat = self.seats.get(&subscription.shard)?;
        let queue = seat.queues.get(&subscription.subscription)?;
        Some(Counts {
            ready: ready_count(&seat.shard, queue),
            unacked: queue.unacked(),
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
        seat.queues
            .values()
            .filter_map(|queue| {
                Some(QueueStats {
                    subscription: queue.subscription,
                    counts: self.counts(queue.subscription)?,
                    tally: queue.tally,
                })
            })
            .collect()
    }
}
