//! Delivery of a subscription: consumers in, messages out, settlements back.

mod getting;
mod idle;
mod keys;
mod leaving;
mod settling;
mod terms;
mod turns;

pub(crate) use idle::Idle;
pub(super) use idle::options_of;
use keys::WaitingGet;
pub(super) use keys::{hash, key_of};
pub(in crate::worker) use leaving::tell_gone;

use super::Worker;
use super::apply::Arrivals;
use super::clients::{Clients, delivery_bytes};
use super::counting::ready_count;
use super::dead::Morgue;
use super::leasing::LEASING_MAX;
use super::lost::NO_PLACE;
use super::pacing::Pacer;
use super::retrying::Retries;
use super::seat::Seat;
use super::sessions::SessionNames;
use super::store::{At, Store, Waiter};
use super::window::WindowId;
use crate::api::{Delivery, Reply, Source, Take};
use crate::cache::Batch;
use crate::index::{LogRuns, Look, Run};
use catalog::QueueOptions;
use ledger::{AddError, Assignment, ConsumerKey, ConsumerOptions, Dispatch, Ledger, Span, Window};
use record::properties::Reason;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use types::{ClientId, Error, Kind, LogId, Millis, Offset, SubscriptionId, SubscriptionRef, Token};

/// Messages handed out in one go to a lone consumer.
const RUN_MAX: u32 = 64;
/// Bytes handed out in one go, unless the first message is larger.
const RUN_BYTES_MAX: u32 = 64 << 10;
/// The property a time to live of one message is in.
const EXPIRATION: &[u8] = b"expiration";

/// A subscription as its leader runs it.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) subscription: SubscriptionRef,
    pub(crate) options: Arc<QueueOptions>,
    pub(crate) logs: Vec<QueueLog>,
    /// The log whose turn is next.
    turn: usize,
    /// Standing consumers.
    pub(crate) consumers: BTreeMap<ConsumerKey, ConsumerOptions>,
    /// There was a consumer once: an auto-delete queue goes with its last one.
    pub(crate) was_consumed: bool,
    /// When a client last declared, consumed or got from it.
    pub(crate) used: Millis,
    pub(crate) tally: Tally,
    /// When it is looked at next for expiry.
    pub(crate) timer: Option<(Millis, ledger::TimerId)>,
    /// Gets that wait for the disk.
    pub(super) gets: Vec<WaitingGet>,
    /// Consumers bound by windows that reach beyond one log's dispatch.
    pub(super) windowed: BTreeMap<ConsumerKey, Vec<WindowId>>,
    /// What holds it back beside its consumers.
    pub(super) pacer: Option<Box<Pacer>>,
}

/// What went through a queue since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages appended.
    pub published: u64,
    /// Messages handed out.
    pub delivered: u64,
    /// Messages settled by consumers.
    pub acked: u64,
}

#[derive(Debug)]
pub(crate) struct QueueLog {
    pub(crate) log: LogId,
    pub(crate) dispatch: Dispatch,
    /// Lengths of the values that are not settled, kept where the queue is limited in bytes.
    pub(crate) lengths: BTreeMap<Offset, u32>,
    pub(crate) length_total: u64,
    pub(super) dying: Morgue,
    /// What came back and waits, where the queue has that.
    pub(super) retries: Option<Box<Retries>>,
    /// Handouts that wait for the frame with their lease, by its index.
    pub(super) leasing: VecDeque<(u64, Handout)>,
    pub(super) held: VecDeque<Handout>,
    loading: bool,
    /// Where keys are sessions.
    pub(super) sessions: Option<Box<SessionNames>>,
}

/// An assignment on its way to its consumer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handout {
    key: ConsumerKey,
    span: Span,
    attempt: u16,
    level: u8,
    redelivered: bool,
    settle_now: bool,
    /// Its lease is written down, where that has to be.
    pub(super) leased: bool,
    /// It answers a get instead of being delivered.
    get: Option<Token>,
}

/// Whether a handout could be carried out.
enum Handed {
    Out,
    /// The rest waits for the disk.
    Cold(Handout),
    /// The rest waits for the client, which has as much as it may.
    Full(Handout),
}

impl From<(Assignment, Option<Token>)> for Handout {
    fn from((assignment, get): (Assignment, Option<Token>)) -> Handout {
        Handout {
            key: assignment.key,
            span: assignment.span,
            attempt: assignment.attempt,
            level: assignment.level,
            redelivered: assignment.redelivered,
            settle_now: assignment.settle_now,
            leased: false,
            get,
        }
    }
}

impl Queue {
    pub(crate) fn new(
        subscription: SubscriptionRef,
        options: Arc<QueueOptions>,
        now: Millis,
    ) -> Queue {
        let pacer = Pacer::wanted(&options.serving.pace, now);
        Queue {
            subscription,
            options,
            logs: Vec::new(),
            turn: 0,
            consumers: BTreeMap::new(),
            was_consumed: false,
            used: now,
            tally: Tally::default(),
            timer: None,
            gets: Vec::new(),
            windowed: BTreeMap::new(),
            pacer,
        }
    }

    pub(super) fn add_log(
        &mut self,
        log: LogId,
        dispatch: Dispatch,
        retries: Option<Box<Retries>>,
    ) {
        if self.logs.iter().all(|queue_log| queue_log.log != log) {
            self.logs.reserve_exact(1);
            self.logs.push(QueueLog {
                log,
                dispatch,
                lengths: BTreeMap::new(),
                length_total: 0,
                dying: Morgue::default(),
                retries,
                leasing: VecDeque::new(),
                held: VecDeque::new(),
                loading: false,
                sessions: self.options.serving.sessions.then(Box::default),
            });
        }
    }

    pub(crate) fn loaded(&mut self) {
        self.logs.iter_mut().for_each(|log| log.loading = false);
    }

    pub(crate) fn unacked(&self) -> u64 {
        self.logs.iter().map(|log| log.dispatch.unacked_count()).sum()
    }

    pub(crate) fn log_mut(&mut self, log: LogId) -> Option<&mut QueueLog> {
        self.logs.iter_mut().find(|queue_log| queue_log.log == log)
    }
}

impl QueueLog {
    /// Values of these lengths were appended from `first` on.
    pub(crate) fn add_lengths(&mut self, first: Offset, lengths: impl Iterator<Item = u32>) {
        let mut offset = first;
        for length in lengths {
            self.lengths.insert(offset, length);
            self.length_total += u64::from(length);
            offset = offset.next();
        }
    }

    /// A span is settled.
    pub(super) fn forget_terms(&mut self, span: Span) {
        if let Some(retries) = &mut self.retries {
            retries.forget(span);
        }
    }

    /// A span is settled.
    pub(crate) fn forget_lengths(&mut self, span: Span) {
        while let Some((offset, length)) =
            self.lengths.range(span.first..span.end).next().map(|(o, l)| (*o, *l))
        {
            self.lengths.remove(&offset);
            self.length_total -= u64::from(length);
        }
    }
}

/// The run that holds `offset`.
fn run_at(runs: Option<LogRuns<'_>>, offset: Offset) -> Look {
    runs.map_or(Look::None, |runs| runs.at(offset))
}

/// Length of a run's records on average: what counts against limits and windows.
fn record_bytes(run: &Run) -> u32 {
    run.at.len / run.count.max(1)
}

impl Worker {
    pub(super) fn take(&mut self, client: ClientId, token: Token, take: &Take) {
        let Source::Subscription(subscription) = take.source else {
            return self.tail(client, token, take);
        };
        let result = self.add_consumer(client, subscription, take);
        self.clients.reply(client, token, result.map(|()| Reply::Done));
    }

    fn add_consumer(
        &mut self,
        client: ClientId,
        subscription: SubscriptionRef,
        take: &Take,
    ) -> Result<(), Error> {
        let key = ConsumerKey { client, consumer: take.consumer };
        let stalled = self.clients.stalled(client);
        let now = self.now;
        self.wake(subscription);
        let seat = self.seats.get_mut(&subscription.shard).ok_or_else(gone)?;
        let queue = seat.queues.get_mut(&subscription.subscription).ok_or_else(gone)?;
        if queue.options.serving.single_active && take.exclusive {
            return Err(in_use());
        }
        let many = queue.logs.len() > 1;
        let options = ConsumerOptions {
            window: Window { messages: if many { 0 } else { take.prefetch }, bytes: 0 },
            shared: None,
            exclusive: take.exclusive,
            priority: take.priority,
            settle_now: take.settle_on_delivery,
            sessions_max: take.sessions_max,
        };
        for log in &mut queue.logs {
            log.dispatch.add(key, options).map_err(|why| match why {
                AddError::Exists => Error::new(Kind::Exists, "the consumer exists already"),
                AddError::HeldExclusively | AddError::InUse => in_use(),
            })?;
            if stalled {
                log.dispatch.set_flow(key, false);
            }
        }
        queue.consumers.insert(key, options);
        queue.was_consumed = true;
        queue.used = now;
        let own = (many && take.prefetch > 0).then_some(WindowId::Consumer(key));
        let shared = take.window.map(|number| WindowId::Shared { client, number });
        for id in own.into_iter().chain(shared) {
            let window = seat.windows.entry(id).or_default();
            if own == Some(id) {
                window.limit = take.prefetch;
            }
            window.members.insert((subscription.subscription, key));
            queue.windowed.entry(key).or_default().push(id);
        }
        seat.ready.insert(subscription.subscription);
        if let Some(client) = self.clients.get_mut(client) {
            client.subscriptions.insert(subscription.subscription);
        }
        Ok(())
    }
}

/// One queue's turn.
struct Turn<'a> {
    seat: &'a mut Seat,
    store: &'a mut Store,
    clients: &'a mut Clients,
    arrived: &'a Arrivals,
    now: Millis,
    /// Bytes that may still be handed out.
    left: usize,
    /// Of which batch the last record was: where order is not arrival, the next one is often of it, too.
    last: Option<(LogId, Run, Arc<Batch>)>,
}

impl Turn<'_> {
    fn next(&mut self, queue: &mut Queue, at: usize) -> Option<Handout> {
        let id = queue.subscription.subscription;
        let run_max = if queue.windowed.is_empty() { RUN_MAX } else { 1 };
        let (ttl, returns_max) = (queue.options.message_ttl, queue.options.returns_max);
        self.hold_full_windows(queue);
        let log = &mut queue.logs[at];
        // What waits for a client waits for nobody else.
        let clients = &*self.clients;
        let may_go = |held: &Handout| held.get.is_some() || !clients.stalled(held.key.client);
        if let Some(handout) = log.held.iter().position(may_go).and_then(|at| log.held.remove(at)) {
            return Some(handout);
        }
        if log.leasing.len() >= LEASING_MAX || !log.dispatch.has_credit() {
            return None;
        }
        let run_max = match queue.pacer.is_some() {
            true => run_max.min(self.paced_room(queue, at)?),
            false => run_max,
        };
        let log = &mut queue.logs[at];
        let (ledger, end) = ledger_of(&self.seat.shard, id, log.log)?;
        let index = self.store.index.log(log.log);
        let (now, arrived) = (self.now, self.arrived);
        let known = self.last.as_ref().filter(|(of, ..)| *of == log.log);
        let mut last: Option<Run> = known.map(|(_, run, _)| *run);
        let mut holes = Vec::new();
        let mut bytes = 0u32;
        let assignment = log.dispatch.next(ledger, end, run_max, |offset| {
            if is_overdue(ledger, offset, returns_max) {
                return None;
            }
            let run = match last {
                Some(run) if run.first <= offset && offset < run.end() => run,
                _ => match run_at(index, offset) {
                    Look::Run(run) => run,
                    // Its length counts for nothing; what it is shows when it is handed out.
                    Look::Page(_) => return Some(1),
                    Look::None => {
                        Span::push(&mut holes, Span::one(offset));
                        return None;
                    }
                },
            };
            last = Some(run);
            let expired = !arrived.include(run.appended) && expired(&run, ttl, now);
            // What is passed over after the first is not skipped: the run ends before it.
            let length = record_bytes(&run);
            let fits = bytes == 0 || bytes.saturating_add(length) <= RUN_BYTES_MAX;
            bytes = bytes.saturating_add(length);
            (!expired && fits).then_some(length)
        });
        holes.into_iter().for_each(|hole| self.store.losses.note(log.log, hole, NO_PLACE));
        let assignment = assignment?;
        if let Some(pacer) = &mut queue.pacer {
            pacer.took(assignment.span, assignment.settle_now);
        }
        Some(Handout::from((assignment, None)))
    }

    /// How many messages of a queue that is held back can go now, if there is one at all.
    fn paced_room(&self, queue: &mut Queue, at: usize) -> Option<u32> {
        let id = queue.subscription.subscription;
        let log = &queue.logs[at];
        let (ledger, end) = ledger_of(&self.seat.shard, id, log.log)?;
        log.dispatch.peek(ledger, end, None)?;
        Some(queue.pace_room(self.now)).filter(|room| *room > 0)
    }

    /// Closes the flow to consumers whose wide windows are full, and opens it to the others.
    fn hold_full_windows(&mut self, queue: &mut Queue) {
        if queue.windowed.is_empty() {
            return;
        }
        let flows: Vec<(ConsumerKey, bool)> = queue
            .windowed
            .iter()
            .map(|(key, windows)| {
                let full = windows.iter().any(|id| self.full(queue, *id));
                (*key, !full && !self.clients.stalled(key.client))
            })
            .collect();
        for (key, open) in flows {
            queue.logs.iter_mut().for_each(|log| log.dispatch.set_flow(key, open));
        }
    }

    fn full(&self, current: &Queue, id: WindowId) -> bool {
        let Some(window) = self.seat.windows.get(&id).filter(|window| window.limit > 0) else {
            return false;
        };
        let holds = |queue: &Queue, key| -> u64 {
            queue.logs.iter().map(|log| log.dispatch.unsettled_of(key).messages).sum()
        };
        let held: u64 = window
            .members
            .iter()
            .map(|(id, key)| match *id == current.subscription.subscription {
                true => holds(current, *key),
                false => self.seat.queues.get(id).map_or(0, |queue| holds(queue, *key)),
            })
            .sum();
        held >= u64::from(window.limit)
    }

    fn hand_out(&mut self, queue: &mut Queue, at: usize, handout: Handout) -> Handed {
        let id = queue.subscription.subscription;
        let log = queue.logs[at].log;
        let waiter = Waiter::Queue { shard: self.seat.shard.id, subscription: id };
        let mut offset = handout.span.first;
        let mut settled = Vec::new();
        while offset < handout.span.end {
            let (run, batch) = match self.batch_at(log, (offset, handout.level), waiter) {
                At::Batch(run, batch) => (run, batch),
                At::Cold => {
                    self.seat.settle(id, log, &settled);
                    let span = Span::new(offset, handout.span.end);
                    return Handed::Cold(Handout { span, ..handout });
                }
                At::Nothing { until } => {
                    let span = Span::new(offset, until.min(handout.span.end));
                    self.drop_lease(queue, at, &handout, span);
                    Span::push(&mut settled, span);
                    offset = span.end;
                    continue;
                }
            };
            // That may be known only when the page of the index was read.
            let late = !self.arrived.include(run.appended)
                && expired(&run, queue.options.message_ttl, self.now);
            let end = handout.span.end.min(run.end());
            while offset < end {
                let delta = u32::try_from(offset.0 - run.first.0).unwrap_or(u32::MAX);
                match batch.record(delta) {
                    Some((tail, _)) if late || self.outlived(&run, &tail) => {
                        self.drop_lease(queue, at, &handout, Span::one(offset));
                        self.take_out(queue, at, &[Span::one(offset)], Reason::Expired);
                    }
                    Some((tail, _))
                        if !self.has_terms(queue, at, &handout, (offset, &run, &tail)) =>
                    {
                        self.drop_lease(queue, at, &handout, Span::one(offset));
                        self.take_out(queue, at, &[Span::one(offset)], Reason::Deliveries);
                    }
                    Some((tail, timestamp)) => {
                        let item = Delivery {
                            log,
                            offset,
                            attempts: handout.attempt.saturating_sub(1),
                            redelivered: handout.redelivered,
                            timestamp,
                            tail,
                        };
                        let is_open = self.give(queue, at, &handout, item);
                        if handout.settle_now {
                            Span::push(&mut settled, Span::one(offset));
                        }
                        let rest = Span::new(offset.next(), handout.span.end);
                        if !is_open && !rest.is_empty() {
                            self.seat.settle(id, log, &settled);
                            return Handed::Full(Handout { span: rest, ..handout });
                        }
                    }
                    None => {
                        self.drop_lease(queue, at, &handout, Span::one(offset));
                        Span::push(&mut settled, Span::one(offset));
                    }
                }
                offset = offset.next();
            }
            if offset == run.end() {
                self.spend(queue, at, handout.level, &run);
            }
        }
        self.seat.settle(id, log, &settled);
        Handed::Out
    }

    fn batch_at(&mut self, log: LogId, (offset, level): (Offset, u8), waiter: Waiter) -> At {
        if let Some((of, run, batch)) = &self.last
            && (*of == log && run.first <= offset && offset < run.end())
        {
            return At::Batch(*run, Arc::clone(batch));
        }
        let Waiter::Queue { subscription, .. } = waiter else {
            return self.store.batch_at(log, offset, waiter);
        };
        let ledger = ledger_of(&self.seat.shard, subscription, log).map(|(ledger, _)| ledger);
        let of_level = ledger.and_then(|ledger| of_level(ledger, level));
        let filter = of_level.as_ref().map(|it| it as &dyn Fn(&Run) -> bool);
        let at = self.store.wanted_at((log, offset), waiter, filter);
        if let At::Batch(run, batch) = &at {
            self.last = Some((log, *run, Arc::clone(batch)));
        }
        at
    }

    /// False when the client should get no more for now.
    fn give(&mut self, queue: &mut Queue, at: usize, handout: &Handout, item: Delivery) -> bool {
        queue.tally.delivered += 1;
        self.left = self.left.saturating_sub(delivery_bytes(&item));
        let client = handout.key.client;
        let log = &mut queue.logs[at];
        if let (Some(names), Some(header)) = (&mut log.sessions, &queue.options.serving.order_key) {
            names.note(&log.dispatch, header.as_bytes(), &item);
        }
        if let Some(token) = handout.get {
            let ready = ready_count(&self.seat.shard, queue);
            self.clients.reply(client, token, Ok(Reply::Got(Some(item), ready)));
            return true;
        }
        let is_open = self.clients.deliver(client, handout.key.consumer, item);
        if !is_open {
            queue.logs[at].dispatch.set_flow(handout.key, false);
        }
        is_open
    }

    /// Nothing of `span` is delivered.
    fn drop_lease(&mut self, queue: &mut Queue, at: usize, handout: &Handout, span: Span) {
        let mut freed = Vec::new();
        queue.logs[at].dispatch.settled(handout.key, span, &mut freed);
        if let Some(pacer) = &mut queue.pacer {
            pacer.missed(span);
        }
        self.get_next(queue, at, handout);
    }

    /// The message's own time to live has passed.
    fn outlived(&self, run: &Run, tail: &[u8]) -> bool {
        let waited = run.expiring && !self.arrived.include(run.appended);
        waited && expiration(tail).is_some_and(|ttl| run.appended.plus(ttl) <= self.now)
    }
}

/// The time to live a message brought.
pub(super) fn expiration(tail: &[u8]) -> Option<Millis> {
    let view = record::tail::decode(tail).ok()?;
    let (_, value) = view.headers.clone().find(|(name, _)| *name == EXPIRATION)?;
    std::str::from_utf8(value?).ok()?.parse().ok().map(Millis)
}

/// Everything of the run has outlived the queue's time to live.
pub(super) fn expired(run: &Run, ttl: Option<Millis>, now: Millis) -> bool {
    ttl.is_some_and(|ttl| run.appended.plus(ttl) <= now)
}

/// Tells runs that have something at a level from others, where a queue has levels.
fn of_level(ledger: &Ledger, level: u8) -> Option<impl Fn(&Run) -> bool> {
    ledger.level_max()?;
    Some(move |run: &Run| ledger.has_at(Span::new(run.first, run.end()), level))
}

/// It came back too often, as the ledger knows.
pub(super) fn is_overdue(ledger: &Ledger, offset: Offset, returns_max: Option<u16>) -> bool {
    returns_max.is_some_and(|most| ledger.returns(offset).is_some_and(|returns| returns > most))
}

/// The ledger of a subscription over a log, and the log's end.
pub(super) fn ledger_of(
    shard: &crate::shard::Shard,
    subscription: SubscriptionId,
    log: LogId,
) -> Option<(&Ledger, Offset)> {
    let ledger = shard.subscriptions.get(&subscription)?.ledgers.get(log)?;
    Some((ledger, shard.logs.get(&log)?.end))
}

fn in_use() -> Error {
    Error::new(Kind::InUse, "the queue has an exclusive consumer or other consumers")
}

pub(super) fn gone() -> Error {
    Error::new(Kind::NotFound, "the subscription does not exist any more")
}
