//! Messages that came back and wait before they are handed out again, where their queue says so.
//!
//! How long is decided here, when they come back, and is in the frame with their return: the ledger keeps
//! due times, and apply knows no clock. The leader keeps the nearest of them with a timer for the first.
//! A message can bring terms of its own in headers; they are read when it is handed out, and kept while a
//! consumer has it.

use super::Worker;
use super::nearest::{Nearest, Seen, Turn};
use super::queue::{Queue, QueueLog, ledger_of};
use super::seat::Seat;
use super::upkeep::Due;
use crate::command::{Command, Parking, Range};
use catalog::{Growth, QueueOptions, Retry, RetryOn};
use ledger::{Ended, Ledger, Span, TimerId};
use record::properties::{self, Reason, Value};
use record::tail;
use std::collections::BTreeMap;
use types::{LogId, Millis, Offset, ShardId, SubscriptionId, SubscriptionRef};

/// Messages of one log that become ready in one turn; the rest have the next one.
const RELEASE_PER_TURN: usize = 4096;
/// How soon it is looked again whether a shard has its first frame.
const START_LOOK: Millis = Millis(10);
/// Due times in one command, so that commands can be spread over frames.
const PARKINGS_PER_COMMAND: usize = 1024;

/// The headers by which a message has terms of its own.
const TYPE: &[u8] = b"x-delayed-retry-type";
const MIN: &[u8] = b"x-delayed-retry-min";
const MAX: &[u8] = b"x-delayed-retry-max";
const MULTIPLIER: &[u8] = b"x-delayed-retry-multiplier";
const JITTER: &[u8] = b"x-delayed-retry-jitter";
const LIMIT: &[u8] = b"x-delivery-limit";

/// What of a log waits for its time.
#[derive(Debug)]
pub(super) struct Retries {
    nearest: Nearest,
    timer: Option<(Millis, TimerId)>,
    /// Of what is with consumers, what has something to say on that by itself.
    own: BTreeMap<Offset, Terms>,
}

/// How a message is delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    retry: Option<Retry>,
    /// How often it may come back.
    returns_max: Option<u16>,
    /// It does not wait for longer than that: it expires then.
    expires: Option<Millis>,
}

/// What becomes of messages that came back.
#[derive(Debug, Default)]
struct Sorted {
    waiting: Vec<Parking>,
    ready: Vec<(Span, u16, u8)>,
    /// Too often.
    spent: Vec<Span>,
}

impl Terms {
    /// Those of a queue.
    pub(super) fn of_queue(options: &QueueOptions) -> Terms {
        let QueueOptions { serving, returns_max, .. } = options;
        Terms { retry: serving.retry, returns_max: *returns_max, expires: None }
    }

    /// Those of a message: what its headers say, else what its queue does. A header that makes no sense
    /// says nothing.
    pub(super) fn of_message(self, tail: &[u8], expires: Option<Millis>) -> Terms {
        let mut terms = Terms { expires, ..self };
        let Ok(view) = tail::decode(tail) else { return terms };
        let starts = |name: &[u8]| name.starts_with(b"x-de");
        if !view.headers.clone().any(|(name, _)| starts(name)) {
            return terms;
        }
        let said = properties::decode(view.headers);
        for header in said.user().filter(|header| starts(header.name)) {
            terms.say(header.name, &header.value());
        }
        terms.retry = terms.retry.filter(|retry| retry.min.0 > 0);
        if let Some(retry) = &mut terms.retry {
            retry.max = retry.max.max(retry.min);
        }
        terms
    }

    fn say(&mut self, name: &[u8], value: &Value) {
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        if name == LIMIT {
            let own = number.and_then(|limit| u16::try_from(limit).ok());
            self.returns_max = self.returns_max.into_iter().chain(own).min();
        } else if name == TYPE {
            match value.as_str() {
                Some("disabled") => self.retry = None,
                Some(text) => {
                    if let (Some(retry), Some(on)) = (&mut self.retry, on(text)) {
                        retry.on = on;
                    }
                }
                None => {}
            }
        } else if let (Some(retry), Some(number)) = (&mut self.retry, number.filter(|n| *n >= 0)) {
            let small = u32::try_from(number).unwrap_or(u32::MAX);
            match name {
                MIN => retry.min = Millis(number),
                MAX => retry.max = Millis(number),
                MULTIPLIER if small > 0 => retry.growth = Growth::Times(small),
                JITTER => retry.jitter = u8::try_from(small.min(100)).unwrap_or(100),
                _ => {}
            }
        }
    }

    /// Whether a message that has come back so often is not to be handed out again.
    pub(super) fn is_spent(&self, returns: u16) -> bool {
        self.returns_max.is_some_and(|most| returns > most)
    }

    /// When a message may be handed out again that failed so often, the last time now if `failed`;
    /// `None`: at once.
    fn due(&self, failed: bool, failures: u16, now: Millis, chance: u64) -> Option<Millis> {
        let due = now.plus(self.retry?.delay(failed, failures, chance)?);
        Some(self.expires.map_or(due, |expires| due.min(expires)))
    }
}

/// Which returns a word means.
fn on(text: &str) -> Option<RetryOn> {
    match text {
        "all" => Some(RetryOn::All),
        "failed" => Some(RetryOn::Failed),
        "returned" => Some(RetryOn::Released),
        _ => None,
    }
}

/// What chance has for one message that comes back now: even, and different for all.
fn chance(log: LogId, offset: Offset, now: Millis) -> u64 {
    let log = u64::from(log.0).rotate_left(40);
    let mut mixed = offset.0.cast_unsigned() ^ log ^ now.0.cast_unsigned().rotate_left(20);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 31)
}

impl Retries {
    /// For a queue that has them wait, or a log of which something does.
    pub(super) fn wanted(
        options: &QueueOptions,
        ledger: &Ledger,
        near_max: usize,
    ) -> Option<Box<Retries>> {
        let waits = ledger.parked_count() > 0;
        (options.serving.retry.is_some() || waits).then(|| {
            let nearest = Nearest::new(near_max, waits);
            Box::new(Retries { nearest, timer: None, own: BTreeMap::new() })
        })
    }

    /// A message is handed out.
    pub(super) fn note(&mut self, offset: Offset, own: Terms, of_queue: Terms) {
        match own == of_queue {
            true => self.own.remove(&offset),
            false => self.own.insert(offset, own),
        };
    }

    /// A span is settled.
    pub(super) fn forget(&mut self, span: Span) {
        if !self.own.is_empty() {
            self.own.extract_if(span.first..span.end, |_, _| true).for_each(drop);
        }
    }

    pub(super) fn timer(&self) -> Option<TimerId> {
        self.timer.map(|(_, timer)| timer)
    }
}

impl Sorted {
    fn wait(&mut self, offset: Offset, due: Millis) {
        match self.waiting.last_mut() {
            Some(last) if last.last.next() == offset && last.due == due => last.last = offset,
            _ => self.waiting.push(Parking { first: offset, last: offset, due }),
        }
    }

    fn go(&mut self, offset: Offset, returns: u16, level: u8) {
        match self.ready.last_mut() {
            Some((last, times, same))
                if last.end == offset && (*times, *same) == (returns, level) =>
            {
                last.end = offset.next();
            }
            _ => self.ready.push((Span::one(offset), returns, level)),
        }
    }
}

impl Queue {
    /// Whether a message that comes back may have to wait.
    pub(super) fn delays(&self) -> bool {
        self.options.serving.retry.is_some()
    }
}

impl Seat {
    /// Messages came back whose leases ended: each waits, is ready or has come back too often. `failed`:
    /// that counts.
    pub(super) fn send_back(
        &mut self,
        id: SubscriptionId,
        log: LogId,
        ended: &[Ended],
        failed: bool,
        now: Millis,
    ) {
        let Some(queue) = self.queues.get_mut(&id).filter(|_| !ended.is_empty()) else { return };
        let of_queue = Terms::of_queue(&queue.options);
        let Some(queue_log) = queue.log_mut(log) else { return };
        let mut sorted = Sorted::default();
        for Ended { span, attempt, level } in ended {
            let failures = attempt - u16::from(!failed);
            for offset in span.offsets() {
                let own = queue_log.retries.as_mut().and_then(|it| it.own.remove(&offset));
                let terms = own.unwrap_or(of_queue);
                if failed && terms.is_spent(failures) {
                    Span::push(&mut sorted.spent, Span::one(offset));
                } else if let Some(due) = terms.due(failed, failures, now, chance(log, offset, now))
                {
                    sorted.wait(offset, due);
                } else {
                    sorted.go(offset, failures, *level);
                }
            }
        }
        for entry in &sorted.waiting {
            queue_log.dispatch.park(entry.span());
        }
        for span in &sorted.spent {
            queue_log.dispatch.give_up(*span);
        }
        let mut back = sorted.spent.clone();
        for (span, returns, level) in &sorted.ready {
            queue_log.dispatch.put_back(*span, (returns.saturating_add(1), *level));
            back.push(*span);
        }
        self.return_spans(id, log, &back, failed);
        self.park(id, log, &sorted.waiting, failed);
        self.take_out(id, log, &sorted.spent, Reason::Deliveries);
    }

    /// Puts due times into commands of the next frame.
    fn park(&mut self, subscription: SubscriptionId, log: LogId, due: &[Parking], counted: bool) {
        for some in due.chunks(PARKINGS_PER_COMMAND) {
            let entries = some.to_vec();
            self.command(Command::Park { subscription, log, entries, counted });
        }
    }

    /// What was with consumers when the last process ended came back and counts: puts that into commands.
    pub(super) fn return_leased(
        &mut self,
        (id, log): (SubscriptionId, LogId),
        leased: &[(Offset, u16)],
        options: &QueueOptions,
        now: Millis,
    ) {
        let terms = Terms::of_queue(options);
        let mut sorted = Sorted::default();
        for (offset, returns) in leased.iter().copied() {
            let failures = returns.saturating_add(1);
            let due = terms.due(true, failures, now, chance(log, offset, now));
            match due.filter(|_| !terms.is_spent(failures)) {
                Some(due) => sorted.wait(offset, due),
                // How often each came back the ledger knows.
                None => sorted.go(offset, 0, 0),
            }
        }
        let ranges: Vec<Range> =
            sorted.ready.iter().map(|(span, ..)| Range::of(log, *span)).collect();
        if !ranges.is_empty() {
            self.command_now(Command::Return { subscription: id, ranges, counted: true });
        }
        for some in sorted.waiting.chunks(PARKINGS_PER_COMMAND) {
            let entries = some.to_vec();
            self.command_now(Command::Park { subscription: id, log, entries, counted: true });
        }
    }
}

impl Worker {
    /// Messages wait, and the ledger says so.
    pub(super) fn parked(
        &mut self,
        shard: ShardId,
        (subscription, log): (SubscriptionId, LogId),
        entries: &[Parking],
    ) {
        let near_max = self.schedule_near_max;
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(queue) = seat.queues.get_mut(&subscription) else { return };
        let Some(queue_log) = queue.log_mut(log) else { return };
        let retries = queue_log.retries.get_or_insert_with(|| {
            let nearest = Nearest::new(near_max, false);
            Box::new(Retries { nearest, timer: None, own: BTreeMap::new() })
        });
        for entry in entries {
            for offset in entry.span().offsets() {
                retries.nearest.add((entry.due, offset));
            }
        }
        self.rearm_retries(SubscriptionRef { shard, subscription }, log);
    }

    /// Has a log's timer set to what is due next, and more looked for if that runs low.
    pub(super) fn rearm_retries(&mut self, subscription: SubscriptionRef, log: LogId) {
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let queue = seat.queues.get_mut(&subscription.subscription);
        let queue_log = queue.and_then(|queue| queue.log_mut(log));
        let Some(retries) = queue_log.and_then(|log| log.retries.as_mut()) else { return };
        if retries.nearest.is_low() {
            self.retries_low.insert((subscription, log));
        }
        let next = retries.nearest.first().map(|(due, _)| due);
        if retries.timer.map(|(due, _)| due) == next {
            return;
        }
        if let Some((_, timer)) = retries.timer.take() {
            self.timers.cancel(timer);
        }
        let due = Due::Retry(subscription, log);
        retries.timer = next.map(|next| (next, self.timers.arm(next, due)));
    }

    /// The time of something has come: it is ready.
    pub(super) fn retries_due(&mut self, subscription: SubscriptionRef, log: LogId) {
        let id = subscription.subscription;
        let early = if io::planted("retry-early") { Millis(100) } else { Millis(0) };
        let until = self.now.plus(early);
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let Some((ledger, _)) = ledger_of(&seat.shard, id, log) else { return };
        let queue_log = seat.queues.get_mut(&id).and_then(|queue| queue.log_mut(log));
        let Some(QueueLog { retries: Some(retries), dispatch, .. }) = queue_log else { return };
        retries.timer = None;
        if seat.starting {
            // What the last process left behind is not all known yet.
            let again = self.now.plus(START_LOOK);
            let timer = self.timers.arm(again, Due::Retry(subscription, log));
            retries.timer = Some((again, timer));
            return;
        }
        for _ in 0..RELEASE_PER_TURN {
            let Some((due, offset)) = retries.nearest.pop_due(until) else { break };
            if ledger.due(offset) == Some(due) {
                dispatch.release(ledger, offset, ledger.returns(offset).unwrap_or(0));
            }
        }
        seat.ready.insert(id);
        self.rearm_retries(subscription, log);
        self.rearm(subscription);
    }

    /// Looks on for what is due next where that runs low.
    pub(super) fn walk_retries(&mut self) {
        for (subscription, log) in std::mem::take(&mut self.retries_low) {
            let id = subscription.subscription;
            let Some(seat) = self.seats.get_mut(&subscription.shard) else { continue };
            let Some((ledger, _)) = ledger_of(&seat.shard, id, log) else { continue };
            let queue_log = seat.queues.get_mut(&id).and_then(|queue| queue.log_mut(log));
            let Some(QueueLog { retries: Some(retries), dispatch, .. }) = queue_log else {
                continue;
            };
            let from = retries.nearest.walk_from().unwrap_or(ledger.floor());
            let turn = |offset, due| -> Option<Turn> {
                dispatch.is_parked(offset).then_some((due, offset))
            };
            let all = ledger.parked_from(from);
            let seen = |(offset, due): (Offset, Millis)| Seen {
                next: offset.next(),
                turn: turn(offset, due),
            };
            retries.nearest.walk(all.map(seen));
            self.rearm_retries(subscription, log);
        }
    }

    /// Forgets the timers of a queue that goes.
    pub(super) fn cancel_timers(&mut self, queue: &Queue) {
        let retries = queue.logs.iter().filter_map(|log| log.retries.as_ref()?.timer());
        let pace = queue.pacer.as_ref().and_then(|pacer| pacer.timer());
        for timer in queue.timer.iter().map(|(_, timer)| *timer).chain(retries).chain(pace) {
            self.timers.cancel(timer);
        }
    }
}
