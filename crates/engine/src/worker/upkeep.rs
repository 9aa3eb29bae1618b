//! What time brings: expiry, length limits, retention, dead runs, and reports to the keeper.

use super::Worker;
use super::counting::{parked_count, ready_count};
use super::queue::{expiration, is_overdue};
use super::store::{Found, Waiter};
use crate::command::Command;
use crate::draft::Awaits;
use crate::index::{Entry, LogRuns, Look, PageKey, Run, Stretch};
use crate::shard::{Schedule, Shard};
use catalog::Found as NameFound;
use ledger::{Ledger, Span};
use record::properties::Reason;
use types::{
    ClientId, LogId, LogRef, Millis, Offset, ShardId, SubscriptionId, SubscriptionRef, Token,
};

/// Messages of one queue that expire in one turn; the rest have the next one.
const EXPIRE_PER_TURN: usize = 4096;
/// How often retention is looked at.
pub(super) const RETENTION_EVERY: Millis = Millis(1_000);
/// How long a batch with timestamps of long ago stays at least, if its log keeps anything so long:
/// whoever wrote it can read it. Apache Kafka looks every five minutes.
const RETAINED_MIN: Millis = Millis(5 * 60 * 1_000);
/// How often dead runs are looked for.
pub(super) const SWEEP_EVERY: Millis = Millis(200);
/// Runs looked at per log and sweep.
pub(super) const SWEEP_RUNS_MAX: usize = 65_536;

/// Pages on their way from the disk only to be counted, at most.
const COUNTING_MAX: usize = 16;

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// A queue, or what is in it, may have expired.
    Queue(SubscriptionRef),
    /// Something of a log's schedule is due.
    Schedule(LogRef),
    /// The time of a message that came back has come.
    Retry(SubscriptionRef, LogId),
    /// Deliveries of a queue that were held back can go on.
    Pace(SubscriptionRef),
    /// Something that is listed under a log recurs.
    Rota(LogRef),
}

/// What a look at the oldest ready message of a level found.
enum Head {
    None,
    /// Expired, or came back too often: it goes.
    Out(Reason),
    /// It expires then, if ever.
    Until(Option<Millis>),
    /// Its batch comes from the disk first.
    Cold,
}

impl Worker {
    /// Looks at a queue's expiry now, and arranges the next look.
    pub(super) fn arm(&mut self, subscription: SubscriptionRef) {
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let Some(queue) = seat.queues.get(&subscription.subscription) else { return };
        if queue.timer.is_none() {
            self.expire(subscription);
        }
    }

    /// Looks at a queue's expiry now, whatever was arranged.
    pub(super) fn rearm(&mut self, subscription: SubscriptionRef) {
        self.expire(subscription);
    }

    /// Looks at whatever its time has come for.
    pub(super) fn look_at_due(&mut self) {
        let mut due = Vec::new();
        self.timers.advance(self.now, &mut due);
        for due in due {
            match due {
                Due::Schedule(log) => self.agenda_due(log),
                Due::Retry(subscription, log) => self.retries_due(subscription, log),
                Due::Rota(home) => self.rota_due(home),
                Due::Pace(subscription) => self.pace_due(subscription),
                Due::Queue(subscription) => {
                    let seat = self.seats.get_mut(&subscription.shard);
                    let queues = seat.map(|seat| &mut seat.queues);
                    if let Some(queue) =
                        queues.and_then(|queues| queues.get_mut(&subscription.subscription))
                    {
                        queue.timer = None;
                        self.expire(subscription);
                    }
                }
            }
        }
    }

    fn expire(&mut self, subscription: SubscriptionRef) {
        let id = subscription.subscription;
        let mut next: Option<Millis> = None;
        let logs: Vec<LogId> = match self.seats.get(&subscription.shard) {
            Some(seat) => {
                seat.queues.get(&id).map_or(Vec::new(), |q| q.logs.iter().map(|l| l.log).collect())
            }
            None => return,
        };
        for log in logs {
            let due = self.expire_heads(subscription, log);
            next = next.into_iter().chain(due).min();
        }
        let expires = self.expire_queue(subscription);
        next = next.into_iter().chain(expires).min();
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let Some(queue) = seat.queues.get_mut(&id) else { return };
        if let Some((_, timer)) = queue.timer.take() {
            self.timers.cancel(timer);
        }
        queue.timer = next.map(|next| (next, self.timers.arm(next, Due::Queue(subscription))));
    }

    /// Deletes a queue nobody has used for its `expires`; gives when to look again.
    fn expire_queue(&mut self, subscription: SubscriptionRef) -> Option<Millis> {
        let seat = self.seats.get(&subscription.shard)?;
        let queue = seat.queues.get(&subscription.subscription)?;
        let expires = queue.options.expires?;
        let due = match queue.consumers.is_empty() {
            true => queue.used.plus(expires),
            false => self.now.plus(expires),
        };
        if due > self.now {
            return Some(due);
        }
        let names = self.ports.names.load_full();
        let found = names.find_by_subscription(subscription.subscription);
        if let Some((namespace, NameFound::Queue(queue))) = found {
            self.delete_queue(namespace, &queue.name, subscription);
        }
        Some(self.now.plus(expires))
    }

    /// Drops expired messages from the head of each level of a log's ready ones; gives when the next
    /// one expires.
    fn expire_heads(&mut self, subscription: SubscriptionRef, log: LogId) -> Option<Millis> {
        let seat = self.seats.get(&subscription.shard)?;
        let queue = seat.queues.get(&subscription.subscription)?;
        let levels = queue.logs.iter().find(|it| it.log == log)?.dispatch.level_count();
        let dues = (0..levels).filter_map(|level| self.expire_head(subscription, log, level));
        dues.min()
    }

    fn expire_head(
        &mut self,
        subscription: SubscriptionRef,
        log: LogId,
        level: usize,
    ) -> Option<Millis> {
        let id = subscription.subscription;
        let (mut expired, mut overdue) = (Vec::new(), Vec::new());
        let mut due = None;
        for _ in 0..EXPIRE_PER_TURN {
            match self.look_at_head(subscription, log, level) {
                Head::None | Head::Cold => break,
                Head::Until(when) => {
                    due = when;
                    break;
                }
                Head::Out(reason) => {
                    due = Some(self.now);
                    let gone = if reason == Reason::Expired { &mut expired } else { &mut overdue };
                    let seat = self.seats.get_mut(&subscription.shard)?;
                    let (ledger, end) = super::queue::ledger_of(&seat.shard, id, log)?;
                    let queue = seat.queues.get_mut(&id)?;
                    let queue_log = queue.logs.iter_mut().find(|l| l.log == log)?;
                    queue_log.dispatch.take_ready(ledger, end, (1, Some(level)), gone);
                }
            }
        }
        let seat = self.seats.get_mut(&subscription.shard)?;
        seat.take_out(id, log, &merged(expired), Reason::Expired);
        seat.take_out(id, log, &merged(overdue), Reason::Deliveries);
        due
    }

    fn look_at_head(&mut self, subscription: SubscriptionRef, log: LogId, level: usize) -> Head {
        let (shard, id) = (subscription.shard, subscription.subscription);
        let Some((ttl, head, is_overdue)) = self.seats.get(&shard).and_then(|seat| {
            let queue = seat.queues.get(&id)?;
            let (ledger, end) = super::queue::ledger_of(&seat.shard, id, log)?;
            let queue_log = queue.logs.iter().find(|l| l.log == log)?;
            let head = queue_log.dispatch.peek(ledger, end, Some(level))?;
            let is_overdue = is_overdue(ledger, head, queue.options.returns_max);
            Some((queue.options.message_ttl, head, is_overdue && !seat.starting))
        }) else {
            return Head::None;
        };
        if is_overdue {
            return Head::Out(Reason::Deliveries);
        }
        let Some(runs) = self.store.index.log(log) else { return Head::None };
        if ttl.is_none() && runs.stretch(head).is_some_and(|stretch| !stretch.expiring) {
            return Head::Until(None);
        }
        let run = match runs.at_or_after(head) {
            Look::Run(run) => run,
            Look::Page(page) => {
                self.store.load_page(log, page, Waiter::Queue { shard, subscription: id });
                return Head::Cold;
            }
            Look::None => return Head::None,
        };
        let by_queue = ttl.map(|ttl| run.appended.plus(ttl));
        let own = match self.own_expiry(subscription, log, (&run, head)) {
            Ok(own) => own,
            Err(Cold) => return Head::Cold,
        };
        match by_queue.into_iter().chain(own).min() {
            Some(when) if when <= self.now => Head::Out(Reason::Expired),
            when => Head::Until(when),
        }
    }

    fn own_expiry(
        &mut self,
        subscription: SubscriptionRef,
        log: LogId,
        (run, offset): (&Run, Offset),
    ) -> Result<Option<Millis>, Cold> {
        if !run.expiring {
            return Ok(None);
        }
        let delta = u32::try_from(offset.0 - run.first.0).unwrap_or(u32::MAX);
        match self.store.find(log, run) {
            Found::Here(batch) => {
                let ttl = batch.record(delta).and_then(|(tail, _)| expiration(&tail));
                Ok(ttl.map(|ttl| run.appended.plus(ttl)))
            }
            Found::Cold => {
                let SubscriptionRef { shard, subscription } = subscription;
                self.store.load_from(log, run, Waiter::Queue { shard, subscription });
                Err(Cold)
            }
            Found::Lost(_) => Ok(None),
        }
    }

    /// Settles everything that is ready, and what waits for its time.
    pub(super) fn purge(&mut self, client: ClientId, token: Token, subscription: SubscriptionRef) {
        let id = subscription.subscription;
        self.wake(subscription);
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let Some(queue) = seat.queues.get_mut(&id) else {
            return self.clients.reply(client, token, Err(super::queue::gone()));
        };
        let mut purged = 0;
        let mut spans = Vec::new();
        for log in &mut queue.logs {
            let Some((ledger, end)) = super::queue::ledger_of(&seat.shard, id, log.log) else {
                continue;
            };
            let mut gone = Vec::new();
            purged += log.dispatch.take_ready(ledger, end, (u64::MAX, None), &mut gone);
            purged += log.dispatch.take_parked(&mut gone);
            spans.push((log.log, gone));
        }
        for (log, gone) in spans {
            seat.withdraw(id, log, &gone);
        }
        seat.draft.wait(client, token, Awaits::Purged(purged));
    }

    /// Drops the oldest ready messages of a queue that is longer than it may be.
    pub(super) fn limit_length(&mut self, shard: ShardId, id: SubscriptionId) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(queue) = seat.queues.get(&id) else { return };
        let (max_len, max_bytes) = (queue.options.max_len, queue.options.max_bytes);
        if max_len.is_none() && max_bytes.is_none() || queue.options.refuses() {
            return;
        }
        let waiting = ready_count(&seat.shard, queue) + parked_count(queue);
        let mut excess = max_len.map_or(0, |max| waiting.saturating_sub(max));
        let Some(queue) = seat.queues.get_mut(&id) else { return };
        let Some(queue_log) = queue.logs.first_mut() else { return };
        let log = queue_log.log;
        let Some((ledger, end)) = super::queue::ledger_of(&seat.shard, id, log) else { return };
        let mut gone = Vec::new();
        loop {
            let too_long = max_bytes.is_some_and(|max| queue_log.length_total > max);
            let count = if excess > 0 { excess } else { u64::from(too_long) };
            let before = gone.len();
            let which = (count, None);
            if count == 0 || queue_log.dispatch.take_ready(ledger, end, which, &mut gone) == 0 {
                break;
            }
            excess = 0;
            for span in &gone[before..] {
                queue_log.forget_lengths(*span);
            }
        }
        seat.take_out(id, log, &merged(gone), Reason::Length);
    }

    /// Trims logs to their retention, and has producers forgotten. What is too old goes by the page
    /// where it is no longer in memory; a page of which only a part is too much is read for that.
    pub(super) fn retain(&mut self) {
        if self.is_replica {
            self.send_again();
        }
        self.forget_producers();
        self.forget_ids();
        let mut unread = Vec::new();
        for seat in self.seats.values_mut() {
            let mut trims = Vec::new();
            for (id, log) in &seat.shard.logs {
                let is_queue = log.options.interest;
                if is_queue && !log.options.keeps_settled() {
                    continue;
                }
                let Some(index) = self.store.index.log(*id) else { continue };
                let mut keep_from = None;
                let (from, mut bytes) = match is_queue {
                    true => kept_part(&seat.shard, *id, index.bytes()),
                    false => (log.start, index.bytes()),
                };
                for entry in index.entries() {
                    let age = Age::of(entry);
                    if age.end <= from {
                        continue;
                    }
                    let old = log
                        .options
                        .retention
                        .is_some_and(|retention| age.outlived(retention, self.now));
                    let over = log.options.retention_bytes.is_some_and(|max| match entry {
                        Entry::Run(_) => bytes > max,
                        Entry::Stretch(_) => bytes.saturating_sub(age.bytes) >= max,
                    });
                    if !old && !over {
                        if let (Entry::Stretch(page), Some(max)) =
                            (entry, log.options.retention_bytes)
                            && bytes > max
                        {
                            match part_over(index, page, bytes - max) {
                                Ok(end) => keep_from = end.or(keep_from),
                                Err(page) => unread.push((*id, page)),
                            }
                        }
                        break;
                    }
                    bytes = bytes.saturating_sub(age.bytes);
                    keep_from = Some(age.end);
                }
                if let Some(before) = keep_from.filter(|before| *before > from) {
                    trims.push(match is_queue {
                        true => Command::ForgetSettled { log: *id, before },
                        false => Command::Trim { log: *id, before: Some(before) },
                    });
                }
            }
            trims.into_iter().for_each(|trim| {
                seat.command(trim);
            });
        }
        for (log, page) in unread {
            self.count_later(log, page);
        }
    }

    /// Has a page read, unless many are already.
    fn count_later(&mut self, log: LogId, page: PageKey) {
        if self.store.counting < COUNTING_MAX {
            self.store.counting += 1;
            self.store.load_page(log, page, Waiter::Sweep);
        }
    }

    /// Takes runs out of the index that every subscription of their log has settled, and counts what
    /// is live of pages in which something was settled. `runs_max`: of each log's runs in memory so
    /// many are looked at.
    pub(super) fn sweep(&mut self, runs_max: usize) {
        for seat in self.seats.values_mut().chain(self.followed.values_mut()) {
            let shard = &seat.shard;
            for id in std::mem::take(&mut seat.scattered) {
                if shard.extent(id).is_none() {
                    continue;
                }
                let dead = dead_in(shard, id);
                if Schedule::log_of(id).is_none() {
                    self.store.index.sweep(id, runs_max, &dead);
                }
                for page in self.store.index.stale_pages(id) {
                    if self.store.index.recount(id, page, &dead) {
                        continue;
                    }
                    seat.scattered.insert(id);
                    if self.store.counting < COUNTING_MAX {
                        self.store.counting += 1;
                        self.store.load_page(id, page, Waiter::Sweep);
                    }
                }
            }
        }
    }
}

/// From where on a queue keeps what is settled, and about how much of a log of so many bytes that is:
/// its messages count as if they were of one size.
fn kept_part(shard: &Shard, id: LogId, bytes: u64) -> (Offset, u64) {
    let Some(log) = shard.logs.get(&id) else { return (Offset(0), 0) };
    let ledgers = log.subscriptions.iter().filter_map(|reader| {
        shard.subscriptions.get(reader).and_then(|state| state.ledgers.get(id))
    });
    let (mut from, mut part) = (log.end, 0);
    for ledger in ledgers {
        let (kept, unsettled) = (ledger.kept_count(log.end), ledger.unsettled(log.end));
        let share = u128::from(bytes) * u128::from(kept) / u128::from((kept + unsettled).max(1));
        from = from.min(ledger.kept_from());
        part = part.max(u64::try_from(share).unwrap_or(u64::MAX));
    }
    (from, part)
}

/// Where the first `over` bytes of a page end, by whole batches: `None` while more counts there than
/// is. The page if it has to be read.
fn part_over(index: LogRuns<'_>, page: &Stretch, mut over: u64) -> Result<Option<Offset>, PageKey> {
    if page.stale || page.lost {
        return Ok(None);
    }
    if let Look::Page(page) = index.at_or_after(page.first) {
        return Err(page);
    }
    let mut end = None;
    for run in index.from(page.first).take_while(|run| run.first < page.end) {
        if over == 0 {
            break;
        }
        over = over.saturating_sub(u64::from(run.at.len));
        end = Some(run.end());
    }
    Ok(end)
}

/// Whether nobody needs a run any more: its log is trimmed by interest, and all who have an interest
/// have settled it; or it is of a schedule, and settled there.
pub(super) fn is_dead(shard: &Shard, log: LogId, run: &Run) -> bool {
    dead_in(shard, log)(run)
}

/// [`is_dead`] for many runs of a log.
pub(super) fn dead_in(shard: &Shard, log: LogId) -> impl Fn(&Run) -> bool + use<'_> {
    let state = shard.logs.get(&log).filter(|state| state.options.interest);
    let subscriptions = state.into_iter().flat_map(|state| &state.subscriptions);
    let of = |id| shard.subscriptions.get(id).and_then(|state| state.ledgers.get(log));
    let schedule = Schedule::log_of(log).and_then(|log| shard.schedules.get(&log));
    let schedule = schedule.map(|schedule| &schedule.ledger);
    let ledgers: Vec<&Ledger> = subscriptions.filter_map(of).chain(schedule).collect();
    let has_interest = state.is_some() || schedule.is_some();
    move |run| has_interest && ledgers.iter().all(|ledger| ledger.is_run_dead(run.first, run.count))
}

/// What retention looks at: of a batch, or of all in a page.
struct Age {
    stamped: Millis,
    appended: Millis,
    bytes: u64,
    end: Offset,
}

impl Age {
    /// One without timestamps is as old as its append.
    fn of(entry: Entry<'_>) -> Age {
        match entry {
            Entry::Run(run) => {
                let untimed = run.max_timestamp < Millis(0);
                let stamped = if untimed { run.appended } else { run.max_timestamp };
                let bytes = u64::from(run.at.len);
                Age { stamped, appended: run.appended, bytes, end: run.end() }
            }
            Entry::Stretch(page) => {
                let newest = page.max_timestamp;
                let stamped = if page.untimed { newest.max(page.appended) } else { newest };
                let bytes = u64::from(page.live_bytes);
                Age { stamped, appended: page.appended, bytes, end: page.end }
            }
        }
    }

    /// Whether it is older than its log keeps.
    fn outlived(&self, retention: Millis, now: Millis) -> bool {
        self.stamped.plus(retention) < now && self.appended.plus(retention.min(RETAINED_MIN)) < now
    }
}

/// Spans in order, neighbours joined.
fn merged(spans: Vec<Span>) -> Vec<Span> {
    let mut out = Vec::new();
    for span in spans {
        Span::push(&mut out, span);
    }
    out
}

/// The bytes have to come from the disk first.
struct Cold;
