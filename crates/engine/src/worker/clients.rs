//! The connections a worker talks to, and what it has for them this turn.

use crate::Outbox;
use crate::api::{Delivery, Event, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{ClientId, ConsumerId, Error, ShardId, SubscriptionId, Token};

/// What a delivery costs beyond its tail, in bytes.
const DELIVERY_OVERHEAD_BYTES: usize = 64;

#[derive(Debug)]
pub(crate) struct ClientSeat {
    outbox: Arc<Outbox>,
    events: Vec<Event>,
    /// Delivered in this turn, in bytes, and not counted in the outbox.
    delivered: usize,
    /// What it may still be delivered in this turn, in bytes.
    room: usize,
    /// Its socket does not keep up: no deliveries until it does.
    pub(crate) stalled: bool,
    /// It changed names of the local layer: something may be exclusive to it.
    pub(crate) has_local_names: bool,
    /// Subscriptions where it holds or consumes something.
    pub(crate) subscriptions: BTreeSet<SubscriptionId>,
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    seats: BTreeMap<ClientId, ClientSeat>,
    touched: Vec<ClientId>,
    /// Which shard each call is for that is not answered; only where a shard's leader may change.
    asked: Option<BTreeMap<(ClientId, Token), ShardId>>,
}

impl ClientSeat {
    fn count_delivered(&mut self) {
        let bytes = std::mem::take(&mut self.delivered);
        if bytes > 0 {
            self.outbox.delivering(bytes);
        }
    }
}

impl Clients {
    pub(crate) fn add(&mut self, id: ClientId, outbox: Arc<Outbox>) {
        let seat = ClientSeat {
            outbox,
            events: Vec::new(),
            delivered: 0,
            room: 0,
            stalled: false,
            has_local_names: false,
            subscriptions: BTreeSet::new(),
        };
        self.seats.insert(id, seat);
    }

    pub(crate) fn remove(&mut self, id: ClientId) -> Option<ClientSeat> {
        if let Some(asked) = &mut self.asked {
            asked.retain(|(client, _), _| *client != id);
        }
        self.seats.remove(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ClientId) -> Option<&mut ClientSeat> {
        self.seats.get_mut(&id)
    }

    pub(crate) fn stalled(&self, id: ClientId) -> bool {
        self.seats.get(&id).is_none_or(|seat| seat.stalled)
    }

    /// From now on remembers which calls are not answered.
    pub(super) fn note_calls(&mut self) {
        self.asked.get_or_insert_default();
    }

    /// A call came, for a shard.
    pub(super) fn asks(&mut self, id: ClientId, token: Token, shard: ShardId) {
        if let Some(asked) = &mut self.asked
            && token != Token::NONE
            && self.seats.contains_key(&id)
        {
            asked.insert((id, token), shard);
        }
    }

    /// Answers every call for a shard; whatever is answered to them later, nobody hears.
    pub(super) fn fail_all(&mut self, shard: ShardId, error: &Error) {
        let asked = self.asked.iter().flatten();
        let all: Vec<_> = asked.filter(|(_, of)| **of == shard).map(|(call, _)| *call).collect();
        for (client, token) in all {
            self.reply(client, token, Err(error.clone()));
        }
    }

    /// Answers a call, unless no answer is wanted.
    pub(crate) fn reply(&mut self, id: ClientId, token: Token, result: Result<Reply, Error>) {
        let answered = |asked: &mut BTreeMap<_, _>| asked.remove(&(id, token)).is_none();
        if token != Token::NONE && !self.asked.as_mut().is_some_and(answered) {
            self.event(id, Event::Reply { token, result });
        }
    }

    pub(crate) fn event(&mut self, id: ClientId, event: Event) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.events.is_empty() {
            self.touched.push(id);
        }
        seat.events.push(event);
    }

    /// An event for everybody.
    pub(crate) fn broadcast(&mut self, event: impl Fn() -> Event) {
        let ids: Vec<ClientId> = self.seats.keys().copied().collect();
        for id in ids {
            self.event(id, event());
        }
    }

    /// Hands a message over; false when the client should get no more for now.
    pub(crate) fn deliver(&mut self, id: ClientId, consumer: ConsumerId, item: Delivery) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        let bytes = item.tail.len() + DELIVERY_OVERHEAD_BYTES;
        if seat.events.is_empty() {
            self.touched.push(id);
        }
        if seat.delivered == 0 {
            seat.room = seat.outbox.room();
        }
        seat.delivered += bytes;
        match seat.events.last_mut() {
            Some(Event::Deliver { consumer: last, items }) if *last == consumer => items.push(item),
            _ => seat.events.push(Event::Deliver { consumer, items: vec![item] }),
        }
        if seat.delivered < seat.room {
            return true;
        }
        seat.count_delivered();
        seat.stalled = !seat.outbox.open();
        !seat.stalled
    }

    /// Sends what this turn gathered.
    pub(crate) fn emit(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(seat) = self.seats.get_mut(&id) {
                seat.count_delivered();
                seat.outbox.push(&mut seat.events);
            }
        }
    }
}

/// What the front end gives back to [`Outbox::written`] for a delivery.
#[must_use]
pub fn delivery_bytes(item: &Delivery) -> usize {
    item.tail.len() + DELIVERY_OVERHEAD_BYTES
}
