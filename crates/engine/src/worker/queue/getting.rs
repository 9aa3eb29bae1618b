//! Messages that are asked for one at a time.

use super::keys::{Told, WaitingGet, tell_keys};
use super::{Handout, Queue, Turn, expired, gone, is_overdue, ledger_of, record_bytes, run_at};
use crate::api::{Get, Reply};
use crate::index::Look;
use crate::worker::Worker;
use crate::worker::lost::NO_PLACE;
use crate::worker::seat::Seat;
use crate::worker::store::Store;
use ledger::{Assignment, ConsumerKey, Span};
use types::{ClientId, Millis, Token};

impl Worker {
    pub(in crate::worker) fn get(&mut self, client: ClientId, token: Token, get: &Get) {
        let now = self.now;
        let key = ConsumerKey { client, consumer: get.consumer };
        let id = get.subscription.subscription;
        self.wake(get.subscription);
        let Some(seat) = self.seats.get_mut(&get.subscription.shard) else { return };
        let Some(mut queue) = seat.queues.remove(&id) else {
            return self.clients.reply(client, token, Err(gone()));
        };
        queue.used = now;
        let by = (key, get.settle_on_delivery);
        let mut none = true;
        for at in 0..queue.logs.len() {
            match assign_one(seat, &mut self.store, (&mut queue, at), by, now) {
                Ok(None) => continue,
                Ok(Some(assignment)) => {
                    queue.logs[at].held.push_back(Handout::from((assignment, Some(token))));
                }
                Err(Cold) => {
                    let settle_now = get.settle_on_delivery;
                    queue.gets.push(WaitingGet { key, token, settle_now });
                }
            }
            none = false;
            break;
        }
        seat.queues.insert(id, queue);
        seat.ready.insert(id);
        seat.idle.maybe.insert(id);
        if none {
            self.clients.reply(client, token, Ok(Reply::Got(None, 0)));
        } else if let Some(client) = self.clients.get_mut(client) {
            client.subscriptions.insert(id);
        }
    }
}

impl Turn<'_> {
    /// What a get was to have cannot be had: it has the next one, or hears that there is none.
    pub(super) fn get_next(&mut self, queue: &mut Queue, at: usize, handout: &Handout) {
        let Some(token) = handout.get else { return };
        let by = (handout.key, handout.settle_now);
        match assign_one(self.seat, self.store, (queue, at), by, self.now) {
            Ok(Some(assignment)) => {
                queue.logs[at].held.push_front(Handout::from((assignment, Some(token))));
            }
            Err(Cold) => {
                let Handout { key, settle_now, .. } = *handout;
                queue.gets.push(WaitingGet { key, token, settle_now });
            }
            Ok(None) => self.clients.reply(handout.key.client, token, Ok(Reply::Got(None, 0))),
        }
    }
}

/// Something has to come from the disk first.
pub(super) struct Cold;

/// Leases the next ready message of one of a queue's logs.
pub(super) fn assign_one(
    seat: &Seat,
    store: &mut Store,
    (queue, at): (&mut Queue, usize),
    by: (ConsumerKey, bool),
    now: Millis,
) -> Result<Option<Assignment>, Cold> {
    loop {
        if let Some(assignment) = lease_one(seat, store, (queue, at), by, now) {
            return Ok(Some(assignment));
        }
        match tell_keys(store, queue, at) {
            Told::Now => {}
            Told::Nothing => return Ok(None),
            Told::Later => return Err(Cold),
        }
    }
}

fn lease_one(
    seat: &Seat,
    store: &mut Store,
    (queue, at): (&mut Queue, usize),
    by: (ConsumerKey, bool),
    now: Millis,
) -> Option<Assignment> {
    let (ttl, most) = (queue.options.message_ttl, queue.options.returns_max);
    let id = queue.subscription.subscription;
    if queue.pacer.is_some() && queue.pace_room(now) == 0 {
        return None;
    }
    let log = &mut queue.logs[at];
    let (ledger, end) = ledger_of(&seat.shard, id, log.log)?;
    let index = store.index.log(log.log);
    let mut holes = Vec::new();
    let assignment = log.dispatch.take_one(ledger, end, by, |offset| {
        if is_overdue(ledger, offset, most) {
            return None;
        }
        match run_at(index, offset) {
            Look::Run(run) => (!expired(&run, ttl, now)).then(|| record_bytes(&run)),
            // What it is shows when it is handed out.
            Look::Page(_) => Some(1),
            Look::None => {
                Span::push(&mut holes, Span::one(offset));
                None
            }
        }
    });
    holes.into_iter().for_each(|hole| store.losses.note(log.log, hole, NO_PLACE));
    if let (Some(pacer), Some(assignment)) = (&mut queue.pacer, &assignment) {
        pacer.took(assignment.span, assignment.settle_now);
    }
    assignment
}
