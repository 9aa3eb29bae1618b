//! Dead letters: what a queue takes out goes on to where the queue says.
//!
//! What is taken out is out of delivery at once and settled in the frame that appends it to its
//! targets, or to the outbox on its way to them. Until then it is the queue's, whatever ends the
//! process. Routes are those of the moment in which the frame is made.

use super::Worker;
use super::moving::OUTBOX_MAX;
use super::queue::{Queue, expiration};
use super::seat::Seat;
use super::store::{At, Waiter};
use crate::api::{Append, Payload};
use crate::draft::DESTS_MAX;
use crate::envelope::{Envelope, Way};
use crate::index::Run;
use crate::levels::Levels;
use crate::shard::{Outbound, Outbox};
use bytes::Bytes;
use catalog::{DeadLetter, Found, Headers, Name, Names, Property, Publish, Routes, Value};
use ledger::Span;
use record::batch::Builder;
use record::properties::{self, Address, Death, Decoded, History, Place, Readdressed, Reason};
use record::{Malformed, tail, tails};
use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use types::{
    ClientId, LogId, LogRef, Millis, Offset, ShardId, SubscriptionId, SubscriptionRef, Token,
};

/// Dead letters of one queue that are written in one turn, in bytes.
const TURN_BYTES: usize = 256 << 10;
/// While so much is on its way to the disk, dead letters wait.
const UNDER_WAY_MAX: usize = 1 << 20;

/// The queues of a shard that have dead letters to be written.
#[derive(Debug, Default)]
pub(crate) struct Dying {
    now: BTreeSet<SubscriptionId>,
    /// When something that is under way has arrived.
    later: BTreeSet<SubscriptionId>,
    /// When it has come from the disk.
    cold: BTreeSet<SubscriptionId>,
    waits: Vec<Wait>,
}

/// A client that hears something when what had died until then is written.
#[derive(Debug)]
struct Wait {
    client: ClientId,
    token: Token,
    /// Queues, and how many of the dead letters that each ever had.
    left: Vec<(SubscriptionId, u64)>,
}

/// Messages of a log that were taken out of delivery and are not settled yet, in order.
#[derive(Debug, Default)]
pub(super) struct Morgue {
    spans: VecDeque<(Span, Reason)>,
    /// How many there were since the start, those that are written among them.
    total: u64,
    written: u64,
}

/// A queue that dead letters come from, and where it sends them.
struct Sender<'a> {
    subscription: SubscriptionRef,
    log: LogId,
    namespace: &'a Name,
    queue: &'a Name,
    to: &'a DeadLetter,
}

/// A record that died.
struct Dead<'a> {
    offset: Offset,
    /// The queue has it, and is to settle it.
    is_stored: bool,
    reason: Reason,
    timestamp: Millis,
    tail: &'a [u8],
}

/// A record as it goes on, and where to.
#[derive(Default)]
struct Letter {
    tail: Vec<u8>,
    /// On the queue's shard.
    here: Vec<LogRef>,
    elsewhere: Vec<LogRef>,
}

/// Headers that are decoded when they are asked for.
struct Said<'a>(Decoded<'a>);

/// When the next dead letters of a queue are written.
enum Next {
    Never,
    Cold,
    Later,
    Soon,
}

impl Dying {
    /// Nothing died that is not written.
    pub(super) fn is_empty(&self) -> bool {
        self.queues().next().is_none() && self.waits.is_empty()
    }

    /// Something can be written in the next turn.
    pub(super) fn is_busy(&self) -> bool {
        !self.now.is_empty()
    }

    pub(super) fn add(&mut self, id: SubscriptionId) {
        self.cold.remove(&id);
        self.now.insert(id);
    }

    /// Something was placed: who waited looks again.
    pub(super) fn go_on(&mut self) {
        self.now.append(&mut self.later);
    }

    /// A queue is gone.
    pub(super) fn forget(&mut self, id: SubscriptionId) {
        for set in [&mut self.now, &mut self.later, &mut self.cold] {
            set.remove(&id);
        }
    }

    fn queues(&self) -> impl Iterator<Item = SubscriptionId> {
        self.now.iter().chain(&self.later).chain(&self.cold).copied()
    }

    fn put(&mut self, id: SubscriptionId, next: &Next) {
        match next {
            Next::Never => false,
            Next::Cold => self.cold.insert(id),
            Next::Later => self.later.insert(id),
            Next::Soon => self.now.insert(id),
        };
    }
}

impl Headers for Said<'_> {
    fn header(&self, name: &str) -> Option<Cow<'_, Value>> {
        let found = self.0.user().find(|header| header.name == name.as_bytes())?;
        Some(Cow::Owned(found.value()))
    }

    fn property(&self, property: Property) -> Option<Cow<'_, [u8]>> {
        property.of(&self.0.properties)
    }
}

impl Morgue {
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Spans are out of delivery.
    pub(super) fn take_in(&mut self, spans: &[Span], reason: Reason) {
        for span in spans {
            self.total += span.len();
            match self.spans.back_mut() {
                Some((last, why)) if last.end == span.first && *why == reason => {
                    last.end = span.end;
                }
                _ => self.spans.push_back((*span, reason)),
            }
        }
    }

    fn next(&self) -> Option<(Offset, Reason)> {
        self.spans.front().map(|(span, reason)| (span.first, *reason))
    }

    /// Of those that come next, the ones up to `until` are dealt with: gives which.
    fn written(&mut self, until: Offset) -> Span {
        let Some((span, _)) = self.spans.front_mut() else { return Span::new(until, until) };
        let done = Span::new(span.first, until.min(span.end));
        span.first = done.end;
        self.written += done.len();
        if span.is_empty() {
            self.spans.pop_front();
        }
        done
    }
}

impl Queue {
    /// How many of its messages died, and how many of those are in a frame.
    fn died(&self) -> (u64, u64) {
        self.logs.iter().fold((0, 0), |(total, written), log| {
            (total + log.dying.total, written + log.dying.written)
        })
    }
}

impl Seat {
    /// Takes out of a queue what is out of its delivery: settles it, or has it go on as dead letters.
    pub(super) fn take_out(
        &mut self,
        id: SubscriptionId,
        log: LogId,
        spans: &[Span],
        reason: Reason,
    ) {
        if spans.is_empty() {
            return;
        }
        let queue = self.queues.get_mut(&id).filter(|queue| queue.options.dead_letter.is_some());
        match queue.and_then(|queue| queue.log_mut(log)) {
            Some(log) => {
                log.dying.take_in(spans, reason);
                self.dying.add(id);
            }
            // What a consumer refused it may want again.
            None if reason == Reason::Rejected => self.settle(id, log, spans),
            None => self.withdraw(id, log, spans),
        }
    }
}

impl Worker {
    /// Writes what died, as far as it is in memory and there is room.
    pub(super) fn send_dead(&mut self) {
        let shards: Vec<ShardId> = self.seats.keys().copied().collect();
        for shard in shards {
            let Some(seat) = self.seats.get_mut(&shard) else { continue };
            if !seat.dying.is_busy() {
                continue;
            }
            let names = self.ports.names.load_full();
            for id in std::mem::take(&mut seat.dying.now) {
                let next = self.send_dead_of(&names, SubscriptionRef { shard, subscription: id });
                if let Some(seat) = self.seats.get_mut(&shard) {
                    seat.dying.put(id, &next);
                }
            }
            if let Some(seat) = self.seats.get_mut(&shard) {
                seat.look_at_waits();
            }
        }
    }

    fn send_dead_of(&mut self, names: &Names, subscription: SubscriptionRef) -> Next {
        let id = subscription.subscription;
        let Some((namespace, Found::Queue(found))) = names.find_by_subscription(id) else {
            return Next::Never;
        };
        let Some(to) = found.options.dead_letter.as_deref() else { return Next::Never };
        let log = found.log.log;
        let sender = Sender { subscription, log, namespace, queue: &found.name, to };
        let mut bytes = 0;
        loop {
            let Some(seat) = self.seats.get_mut(&subscription.shard) else { return Next::Never };
            let next = seat.dying_of(id, log).and_then(|dying| dying.next());
            let Some((offset, reason)) = next else { return Next::Never };
            if seat.under_way_bytes() > UNDER_WAY_MAX && !seat.in_flight.is_empty() {
                return Next::Later;
            }
            if bytes > TURN_BYTES {
                return Next::Soon;
            }
            let (until, batch) = match self.store.batch_at(log, offset, Waiter::Dead(subscription))
            {
                At::Cold => return Next::Cold,
                At::Nothing { until } => (until, None),
                At::Batch(run, batch) => (offset.next(), Some((run, batch))),
            };
            let delta = |run: Run| u32::try_from(offset.0 - run.first.0).unwrap_or(u32::MAX);
            match batch.and_then(|(run, batch)| batch.record(delta(run))) {
                Some((tail, timestamp)) => {
                    bytes += tail.len();
                    let dead = Dead { offset, is_stored: true, reason, timestamp, tail: &tail };
                    if !seat.send_dead_record(names, &sender, &dead, self.now) {
                        return Next::Later;
                    }
                    seat.dying_of(id, log).map(|dying| dying.written(until));
                }
                // There is nothing of it any more.
                None => {
                    let gone = seat.dying_of(id, log).map(|dying| dying.written(until));
                    seat.withdraw(id, log, gone.as_slice());
                }
            }
        }
    }
}

impl Seat {
    fn dying_of(&mut self, id: SubscriptionId, log: LogId) -> Option<&mut Morgue> {
        Some(&mut self.queues.get_mut(&id)?.log_mut(log)?.dying)
    }

    /// Lets a client wait until everything before this is applied, dead letters among it.
    pub(super) fn wait_settled(&mut self, client: ClientId, token: Token) {
        let queues = &self.queues;
        let total = |id: &SubscriptionId| queues.get(id).map(|queue| queue.died());
        let left: Vec<(SubscriptionId, u64)> =
            self.dying.queues().filter_map(|id| Some((id, total(&id)?.0))).collect();
        match left.is_empty() || token == Token::NONE {
            true => self.wait_frame(client, token),
            false => self.dying.waits.push(Wait { client, token, left }),
        }
    }

    /// Whose dead letters are in a frame by now waits for that one.
    fn look_at_waits(&mut self) {
        for mut wait in std::mem::take(&mut self.dying.waits) {
            wait.left.retain(|(id, total)| {
                self.queues.get(id).is_some_and(|queue| queue.died().1 < *total)
            });
            match wait.left.is_empty() {
                true => self.wait_frame(wait.client, wait.token),
                false => self.dying.waits.push(wait),
            }
        }
    }

    /// Puts a record that its queue refused into the next frame as a dead letter. Where there is no room
    /// for it, it is dropped: nobody was told that it is anywhere.
    pub(super) fn send_refused(
        &mut self,
        names: &Names,
        subscription: SubscriptionRef,
        (timestamp, tail): (Option<Millis>, &[u8]),
        now: Millis,
    ) {
        let Some((namespace, Found::Queue(found))) =
            names.find_by_subscription(subscription.subscription)
        else {
            return;
        };
        let Some(to) = found.options.dead_letter.as_deref() else { return };
        let log = found.log.log;
        let sender = Sender { subscription, log, namespace, queue: &found.name, to };
        let offset = self.shard.logs.get(&log).map_or(Offset(0), |log| log.end);
        let timestamp = timestamp.unwrap_or_else(|| self.time(now));
        let (is_stored, reason) = (false, Reason::Length);
        let dead = Dead { offset, is_stored, reason, timestamp, tail };
        self.send_dead_record(names, &sender, &dead, now);
    }

    /// Puts a dead letter into the next frame, with the settle of the message. False: there is no room
    /// for it now.
    fn send_dead_record(
        &mut self,
        names: &Names,
        sender: &Sender<'_>,
        dead: &Dead<'_>,
        now: Millis,
    ) -> bool {
        let shard = sender.subscription.shard;
        let time = self.time(now);
        let lost = |why| {
            tracing::error!(log = %sender.log, offset = %dead.offset, %why, "a dead letter is lost");
            Letter::default()
        };
        let mut letter = letter_of(names, sender, dead, time).unwrap_or_else(lost);
        if io::planted("dead-letter-forgotten") && dead.offset.0 % 4 == 1 {
            letter = Letter::default();
        }
        let full = |to: &LogRef| {
            let outbox = self.shard.outboxes.get(&to.shard);
            outbox.is_some_and(|outbox| outbox.entries.len() > OUTBOX_MAX)
        };
        if letter.elsewhere.iter().any(full) {
            return false;
        }
        // What has more targets than a frame can have is written in several, the settle in the last.
        let dests = letter.here.len() + letter.elsewhere.len();
        let level_bytes = if self.has_levels { Levels::one(0).bytes_max() } else { 0 };
        let key_bytes: usize = letter.here.iter().map(|to| self.key_bytes_of(to.log, 1)).sum();
        let said_bytes = level_bytes + key_bytes;
        let is_one_frame = self.begin_atomic((dests, said_bytes), &[]).is_ok();
        let mut packed = Vec::with_capacity(letter.tail.len() + 16);
        tails::push(&mut packed, Some(dead.timestamp), &letter.tail);
        let packed = Bytes::from(packed);
        for to in letter.here.chunks(DESTS_MAX / 2) {
            let payload = Payload::Tails { bytes: packed.clone(), expiring: false };
            let append = Append { to: to.into(), payload, waits: false };
            if let Ok(stamp) = super::appending::checked(self, &append) {
                let levels = self.levels_of(&append).ok().flatten();
                self.make_room(to.len(), said_bytes);
                self.append(&append, levels.as_ref(), (time, stamp));
            }
        }
        for to in &letter.elsewhere {
            let mut builder = Builder::with_capacity(time, letter.tail.len());
            builder.push(dead.timestamp, &letter.tail);
            let way = Some(Way::Out(Outbound { to: to.log, source: sender.log, keep: false }));
            let outbox = LogRef { shard, log: Outbox::id_of(shard, to.shard) };
            self.make_room(1, 0);
            self.draft.put(outbox, builder.finish(), Envelope { way, ..Envelope::default() });
        }
        if dead.is_stored {
            self.withdraw(sender.subscription.subscription, sender.log, &[Span::one(dead.offset)]);
        }
        if is_one_frame {
            self.end_atomic();
        }
        true
    }
}

/// What becomes of a record that died at `time`.
fn letter_of(
    names: &Names,
    sender: &Sender<'_>,
    dead: &Dead<'_>,
    time: Millis,
) -> Result<Letter, Malformed> {
    let view = tail::decode(dead.tail)?;
    let said = properties::decode(view.headers);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let own_key = said.address.routing_key.map_or_else(|| sender.queue.to_string(), text);
    let shown = said.copies.filter(|(_, hidden)| !hidden).map(|(key, _)| text(key));
    let death = Death {
        place: Place {
            reason: dead.reason,
            queue: sender.queue.to_string(),
            exchange: said.address.exchange.map(text).unwrap_or_default(),
        },
        count: 1,
        time,
        keys: std::iter::once(own_key.clone()).chain(shown).collect(),
        expiration: expiration(dead.tail).map(|ttl| ttl.0.to_string()),
    };
    let history = History::with(said.history(), death);
    let keys: Vec<String> = match &sender.to.key {
        Some(key) => vec![key.to_string()],
        None => std::iter::once(own_key).chain(said.copies.map(|(key, _)| text(key))).collect(),
    };
    let mut letter = Letter::default();
    let shard = sender.subscription.shard;
    (letter.here, letter.elsewhere) =
        targets(names, sender, (&said, &keys), &history, (view.key, dead.offset))
            .into_iter()
            .partition(|to| to.shard == shard);
    let new = Readdressed {
        address: Address {
            exchange: Some(sender.to.router.as_bytes()),
            routing_key: keys.first().map(String::as_bytes),
        },
        keeps_copies: sender.to.key.is_none(),
        history: &history,
    };
    properties::readdress(&mut letter.tail, &view, &new)?;
    Ok(letter)
}

/// Where a dead letter goes: not to a queue that it came from without anybody's refusing it since.
fn targets(
    names: &Names,
    sender: &Sender<'_>,
    (said, keys): (&Decoded<'_>, &[String]),
    history: &History,
    (key, offset): (Option<&[u8]>, Offset),
) -> Vec<LogRef> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let publish = Publish {
        namespace: sender.namespace,
        router: &sender.to.router,
        keys: &keys,
        headers: &Said(*said),
    };
    let mut routes = Routes::default();
    names.route_inside(&publish, &mut routes);
    let mut circle = Vec::new();
    for queue in history.circle() {
        if let Some(Found::Queue(queue)) = names.find(sender.namespace, queue) {
            circle.push(queue.log);
        }
    }
    let turn = u32::try_from(offset.0 & 0x7fff_ffff).unwrap_or(0);
    let chosen = routes.topics.iter().filter_map(|topic| topic.log_for(key, turn));
    let queues = routes.logs.iter().copied().filter(|log| !circle.contains(log));
    let mut targets: Vec<LogRef> = queues.chain(chosen).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}
