//! Idle queues: what holds nothing and is used by nobody has no entry among the queues of its seat.
//!
//! It would be built from the ledger as it was dropped: everything is settled, so that neither a
//! settle on its way nor a redelivery can be forgotten. What is left of it is its tally.

use super::{Queue, QueueLog, Tally, ledger_of};
use crate::shard::Shard;
use crate::worker::Worker;
use catalog::{Found, Names, QueueOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{LogId, ShardId, SubscriptionId, SubscriptionRef};

/// What is known of queues that have no entry.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// They have one, and may not need it any more.
    pub(crate) maybe: BTreeSet<SubscriptionId>,
    /// What went through those that were used.
    tallies: BTreeMap<SubscriptionId, Tally>,
}

impl Idle {
    pub(crate) fn tally(&self, id: SubscriptionId) -> Tally {
        self.tallies.get(&id).copied().unwrap_or_default()
    }

    /// What is known when no queue has an entry.
    pub(in crate::worker) fn tallies_only(self) -> Idle {
        Idle { maybe: BTreeSet::new(), ..self }
    }

    /// A subscription is gone.
    pub(crate) fn forget(&mut self, id: SubscriptionId) {
        self.maybe.remove(&id);
        self.tallies.remove(&id);
    }
}

impl Worker {
    /// Sees to it that a subscription has an entry, if there is such a subscription.
    pub(in crate::worker) fn wake(&mut self, subscription: SubscriptionRef) {
        let seat = self.seats.get(&subscription.shard);
        if seat.is_some_and(|seat| !seat.queues.contains_key(&subscription.subscription)) {
            let names = self.ports.names.load_full();
            self.enter(subscription, options_of(&names, subscription), None);
        }
    }

    /// Something was appended to a log: those who read it are not idle.
    pub(in crate::worker) fn wake_readers(&mut self, shard: ShardId, log: LogId) {
        let Some(seat) = self.seats.get(&shard) else { return };
        let readers = seat.shard.readers(log).iter();
        let idle: Vec<SubscriptionId> =
            readers.filter(|id| !seat.queues.contains_key(id)).copied().collect();
        for subscription in idle {
            self.wake(SubscriptionRef { shard, subscription });
        }
    }

    /// A subscription is there, or has more logs: `redelivered` if whatever is stored may have been
    /// delivered before.
    pub(in crate::worker) fn wake_unless_idle(
        &mut self,
        subscription: SubscriptionRef,
        options: &Arc<QueueOptions>,
        redelivered: Option<()>,
    ) {
        let id = subscription.subscription;
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let state = seat.shard.subscriptions.get(&id);
        for (log, _) in state.into_iter().flat_map(|state| state.ledgers.iter()) {
            seat.bounds.add(log, id, options);
            seat.has_levels |= options.serving.priority_max > 0;
        }
        let holds_something = state.into_iter().any(|state| {
            state.ledgers.iter().any(|(log, ledger)| {
                let log = seat.shard.logs.get(&log);
                log.is_some_and(|log| ledger.unsettled(log.end) > 0)
            })
        });
        if holds_something || options.expires.is_some() || seat.queues.contains_key(&id) {
            self.enter(subscription, Arc::clone(options), redelivered);
        }
    }

    /// A queue behaves in another way from now on, whatever is in it.
    pub(in crate::worker) fn alter_queue(
        &mut self,
        subscription: SubscriptionRef,
        options: &Arc<QueueOptions>,
    ) {
        let (shard, id) = (subscription.shard, subscription.subscription);
        // The names tell of it only after this.
        self.enter(subscription, Arc::clone(options), None);
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let logs: Vec<LogId> = match seat.queues.get_mut(&id) {
            Some(queue) => {
                queue.options = Arc::clone(options);
                if options.max_bytes.is_none() {
                    queue.logs.iter_mut().for_each(QueueLog::forget_all_lengths);
                }
                queue.logs.iter().map(|log| log.log).collect()
            }
            None => return,
        };
        for log in logs {
            seat.bounds.alter(log, id, options);
        }
        seat.ready.insert(id);
        self.limit_length(shard, id);
        self.rearm(subscription);
    }

    /// Drops the entries of queues that have become idle.
    pub(in crate::worker) fn drop_idle(&mut self) {
        let mut idle = Vec::new();
        for seat in self.seats.values_mut() {
            for id in std::mem::take(&mut seat.idle.maybe) {
                if !seat.queues.get(&id).is_some_and(|queue| queue.is_idle(&seat.shard)) {
                    continue;
                }
                let Some(queue) = seat.queues.remove(&id) else { continue };
                seat.ready.remove(&id);
                if queue.tally != Tally::default() {
                    seat.idle.tallies.insert(id, queue.tally);
                }
                idle.push(queue);
            }
        }
        idle.iter().for_each(|queue| self.cancel_timers(queue));
    }

    #[cfg(test)]
    pub(crate) fn awake(&self) -> usize {
        self.seats.values().map(|seat| seat.queues.len()).sum()
    }

    fn enter(
        &mut self,
        subscription: SubscriptionRef,
        options: Arc<QueueOptions>,
        redelivered: Option<()>,
    ) {
        let id = subscription.subscription;
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        if !seat.shard.subscriptions.contains_key(&id) {
            return;
        }
        let (idle, now) = (&mut seat.idle, self.now);
        seat.queues.entry(id).or_insert_with(|| {
            let tally = idle.tallies.remove(&id).unwrap_or_default();
            Box::new(Queue { tally, ..Queue::new(subscription, options, now) })
        });
        idle.maybe.insert(id);
        self.join_logs(subscription, redelivered);
        self.arm(subscription);
    }
}

impl Queue {
    /// One that expires has to remember when it was last used, one that is held back what it handed out.
    fn is_idle(&self, shard: &Shard) -> bool {
        let id = self.subscription.subscription;
        self.options.expires.is_none()
            && self.pacer.is_none()
            && self.consumers.is_empty()
            && self.windowed.is_empty()
            && self.gets.is_empty()
            && self.logs.iter().all(|log| log.is_idle(shard, id))
    }
}

impl QueueLog {
    /// The queue is not limited in bytes any more.
    fn forget_all_lengths(&mut self) {
        self.lengths.clear();
        self.length_total = 0;
    }

    fn is_idle(&self, shard: &Shard, id: SubscriptionId) -> bool {
        let ledger = ledger_of(shard, id, self.log);
        self.held.is_empty()
            && self.leasing.is_empty()
            && self.dying.is_empty()
            && !self.loading
            && ledger.is_none_or(|(ledger, end)| self.dispatch.is_idle(ledger, end))
    }
}

/// What of a queue's options concerns its subscription; a topic's subscription has none.
pub(in crate::worker) fn options_of(
    names: &Names,
    subscription: SubscriptionRef,
) -> Arc<QueueOptions> {
    match names.find_by_subscription(subscription.subscription) {
        Some((_, Found::Queue(queue))) => queue.options.of_subscription(),
        _ => QueueOptions::plain(),
    }
}
