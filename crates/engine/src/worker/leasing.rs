//! Deliveries that are written down before they are made, where a queue limits how often a message may
//! come back: a crash loses no count then.
//!
//! A handout of such a queue waits for the frame with its lease. What is leased when a process begins
//! was with somebody when the last one ended: it comes back, counted, before anything is handed out.

use super::Worker;
use super::queue::{Queue, QueueLog, ledger_of, options_of};
use super::seat::Seat;
use crate::api::Get;
use catalog::Names;
use ledger::Span;
use record::properties::Reason;
use std::collections::BTreeSet;
use types::{ClientId, LogId, Millis, Offset, ShardId, SubscriptionId, SubscriptionRef, Token};

/// Handouts of one log that wait for their leases; no more are begun.
pub(super) const LEASING_MAX: usize = 64;

/// What of a shard waits for leases.
#[derive(Debug, Default)]
pub(crate) struct Leasing {
    /// Queues with handouts that do.
    queues: BTreeSet<SubscriptionId>,
    /// Queues of which messages were on their way when the last process ended.
    recovering: Vec<SubscriptionId>,
    /// What was asked for before the shard's first frame.
    early: Vec<(ClientId, Token, Get)>,
}

impl Leasing {
    pub(super) fn add(&mut self, id: SubscriptionId) {
        self.queues.insert(id);
    }
}

impl Queue {
    /// Whether what it hands out has to be leased before, on this shard.
    pub(super) fn leases(&self, seat: &Seat) -> bool {
        self.options.returns_max.is_some() && seat.synced()
    }
}

impl Seat {
    /// A frame is placed: what waited for the leases in it can be handed out.
    pub(super) fn leased(&mut self, index: u64) {
        let Seat { leasing, queues, ready, .. } = self;
        leasing.queues.retain(|id| {
            let Some(queue) = queues.get_mut(id) else { return false };
            ready.insert(*id);
            for log in &mut queue.logs {
                log.leased(index);
            }
            queue.logs.iter().any(|log| !log.leasing.is_empty())
        });
    }

    /// Takes out what came back more often than its queue allows.
    pub(super) fn take_out_overdue(&mut self, id: SubscriptionId, log: LogId, spans: &[Span]) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(most) = queue.options.returns_max else { return };
        if let Some(queue_log) = queue.log_mut(log) {
            let overdue = queue_log.dispatch.take_overdue(spans, most);
            self.take_out(id, log, &overdue, Reason::Deliveries);
        }
    }

    /// At a start: what was on its way comes back. True when there was anything.
    pub(super) fn recover_leases(&mut self, names: &Names, now: Millis) -> bool {
        let mut back = Vec::new();
        for (id, state) in &self.shard.subscriptions {
            for (log, ledger) in state.ledgers.iter() {
                let returns = |offset| ledger.returns(offset).unwrap_or(0);
                let each = ledger.leases().into_iter().flat_map(|span| span.offsets());
                let leased: Vec<(Offset, u16)> =
                    each.map(|offset| (offset, returns(offset))).collect();
                if !leased.is_empty() {
                    back.push((*id, log, leased));
                }
            }
        }
        for (id, log, leased) in &back {
            let subscription = SubscriptionRef { shard: self.shard.id, subscription: *id };
            let options = options_of(names, subscription);
            self.return_leased((*id, *log), leased, &options, now);
            self.leasing.recovering.push(*id);
        }
        !back.is_empty()
    }
}

impl QueueLog {
    /// The frames on their way have indices larger by so much.
    pub(super) fn shift_leases(&mut self, by: u64) {
        self.leasing.iter_mut().for_each(|(at, _)| *at += by);
    }

    /// The frames up to `index` are placed.
    fn leased(&mut self, index: u64) {
        while let Some((_, mut handout)) = self.leasing.pop_front_if(|(at, _)| *at <= index) {
            handout.leased = true;
            self.held.push_back(handout);
        }
    }
}

impl Worker {
    /// A get that comes before a shard's first frame waits for it: what is leased then does not count
    /// as returned yet.
    pub(super) fn get_unless_early(&mut self, client: ClientId, token: Token, get: &Get) {
        match self.seats.get_mut(&get.subscription.shard) {
            Some(seat) if seat.starting => {
                seat.leasing.early.push((client, token, get.clone()));
            }
            _ => self.get(client, token, get),
        }
    }

    /// A shard's first frame is placed.
    pub(super) fn started(&mut self, shard: ShardId) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let recovering = std::mem::take(&mut seat.leasing.recovering);
        for id in &recovering {
            for log in seat.queues.get_mut(id).into_iter().flat_map(|queue| &mut queue.logs) {
                if let Some((ledger, _)) = ledger_of(&seat.shard, *id, log.log)
                    && !io::planted("retry-forgotten")
                {
                    log.dispatch.find_parked(ledger);
                }
            }
        }
        for (client, token, get) in std::mem::take(&mut seat.leasing.early) {
            self.get(client, token, &get);
        }
        for subscription in recovering {
            self.rearm(SubscriptionRef { shard, subscription });
        }
    }
}
