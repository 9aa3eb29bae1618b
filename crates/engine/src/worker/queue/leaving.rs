//! Consumers that end, and what they held.

use super::{Handout, Queue, QueueLog, gone};
use crate::api::{Event, Leave, Reply, Source};
use crate::worker::Worker;
use crate::worker::clients::Clients;
use crate::worker::window;
use ledger::{ConsumerKey, Held, Span};
use types::{ClientId, SubscriptionRef, Token};

impl Worker {
    pub(in crate::worker) fn leave(&mut self, client: ClientId, token: Token, leave: &Leave) {
        let key = ConsumerKey { client, consumer: leave.consumer };
        match leave.source {
            Source::Subscription(subscription) => {
                let held = if leave.release { Held::Return { count: true } } else { Held::Keep };
                self.end_consumer(subscription, key, held);
            }
            Source::Log { log, .. } => self.end_tailer(log.shard, key),
        }
        if let Some(seat) = self.seats.get_mut(&leave.source.shard()) {
            seat.wait_frame(client, token);
            if seat.is_idle() {
                self.clients.reply(client, token, Ok(Reply::Done));
            }
        }
    }

    fn end_consumer(&mut self, subscription: SubscriptionRef, key: ConsumerKey, held: Held) {
        let id = subscription.subscription;
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let Some(queue) = seat.queues.get_mut(&id) else { return };
        let now = self.now;
        let mut back = Vec::new();
        let mut failed = Vec::new();
        for log in &mut queue.logs {
            back.push((log.log, log.take_back(|handout| handout.key == key), false));
            let mut ended = Vec::new();
            if queue.options.serving.retry.is_some() && held != Held::Keep {
                log.dispatch.end_all(key, &mut ended);
            }
            failed.push((log.log, ended));
            back.push((log.log, log.dispatch.leave(key, held), true));
        }
        queue.used = now;
        let was_standing = queue.consumers.remove(&key).is_some();
        if let Some(windows) = queue.windowed.remove(&key) {
            window::leave(&mut seat.windows, &windows, (id, key));
        }
        for (log, spans, counted) in back {
            seat.pace_back(id, &spans, counted, now);
            seat.give_back(id, log, &spans, counted);
        }
        for (log, ended) in failed {
            let spans: Vec<Span> = ended.iter().map(|ended| ended.span).collect();
            seat.pace_back(id, &spans, true, now);
            seat.send_back(id, log, &ended, true, now);
        }
        seat.ready.insert(id);
        seat.idle.maybe.insert(id);
        if was_standing {
            self.last_consumer_left(subscription);
        }
    }

    /// A connection is gone: what it held goes back, its consumers end.
    pub(in crate::worker) fn drop_client(&mut self, client: ClientId) {
        let Some(gone) = self.clients.remove(client) else { return };
        let mut left = Vec::new();
        for seat in self.seats.values_mut() {
            for id in &gone.subscriptions {
                let Some(queue) = seat.queues.get_mut(id) else { continue };
                let mut back = Vec::new();
                let mut failed = Vec::new();
                for log in &mut queue.logs {
                    back.push((log.log, log.take_back(|it| it.key.client == client), false));
                    let mut ended = Vec::new();
                    if queue.options.serving.retry.is_some() {
                        log.dispatch.end_client(client, &mut ended);
                    }
                    failed.push((log.log, ended));
                    back.push((log.log, log.dispatch.drop_client(client, true), true));
                }
                queue.gets.retain(|get| get.key.client != client);
                queue.windowed.retain(|key, _| key.client != client);
                let before = queue.consumers.len();
                queue.consumers.retain(|key, _| key.client != client);
                if queue.consumers.len() < before {
                    queue.used = self.now;
                    left.push(queue.subscription);
                }
                for (log, spans, counted) in back {
                    seat.pace_back(*id, &spans, counted, self.now);
                    seat.give_back(*id, log, &spans, counted);
                }
                for (log, ended) in failed {
                    let spans: Vec<Span> = ended.iter().map(|ended| ended.span).collect();
                    seat.pace_back(*id, &spans, true, self.now);
                    seat.send_back(*id, log, &ended, true, self.now);
                }
                seat.ready.insert(*id);
                seat.idle.maybe.insert(*id);
            }
            seat.windows.retain(|id, _| id.client() != client);
        }
        for subscription in left {
            self.last_consumer_left(subscription);
        }
        self.drop_tailers(client);
        self.drop_waits(client);
        self.drop_looks(client);
        if gone.has_local_names {
            self.remove_client_names(client);
        }
    }
}

impl QueueLog {
    /// Handouts that were not made yet are taken back: their messages are ready again, and that counts
    /// for nothing. Gives which.
    fn take_back(&mut self, of: impl Fn(&Handout) -> bool) -> Vec<Span> {
        let mut taken = Vec::new();
        self.held.retain(|handout| {
            taken.extend(of(handout).then_some(*handout));
            !of(handout)
        });
        self.leasing.retain(|(_, handout)| {
            taken.extend(of(handout).then_some(*handout));
            !of(handout)
        });
        let mut back = Vec::new();
        for handout in taken {
            match handout.settle_now {
                true => {
                    self.dispatch.put_back(handout.span, (handout.attempt, handout.level));
                }
                false => self.dispatch.returned(handout.key, handout.span, false, &mut back),
            }
        }
        back
    }
}

/// Tells consumers of a subscription, and who waits for a message of it, that it is gone.
pub(in crate::worker) fn tell_gone(clients: &mut Clients, queue: &Queue) {
    for key in queue.consumers.keys() {
        clients.event(key.client, Event::ConsumerGone { consumer: key.consumer });
    }
    for get in &queue.gets {
        clients.reply(get.key.client, get.token, Err(gone()));
    }
    for log in &queue.logs {
        let waiting = log.held.iter().chain(log.leasing.iter().map(|(_, handout)| handout));
        for handout in waiting {
            if let Some(token) = handout.get {
                clients.reply(handout.key.client, token, Err(gone()));
            }
        }
    }
}
