//! The replicated state machine: what every replica of a shard agrees on.
//!
//! [`Shard::apply`] is the only way it changes. It reads the frame and nothing else: no clock, no
//! randomness, no map with an order of its own. Where bytes lie, who is connected and who waits is
//! the worker's, and is not in here.

mod between;
mod chunked;
mod group_slots;
mod holds;
mod keeping;
mod keyed;
mod keys;
mod later;
mod ledgers;
mod log;
mod once;
mod outbox;
mod pages;
mod producers;
mod ranking;
mod recurring;
mod schedule;
mod seen;
mod seldom;
mod states;

pub(crate) use chunked::{Chunked, Cut};
pub(crate) use group_slots::GroupSlots;
pub(crate) use holds::Holds;
use keyed::KeysTold;
pub(crate) use keyed::is_known;
pub(crate) use keys::{ENTRY_BYTES, KeyEntry, KeyPage, KeyRun, Keys};
use ledgers::Ledgers;
pub(crate) use log::{Log, log_options};
pub(crate) use once::Memories;
pub(crate) use outbox::{Outbound, Outbox};
pub(crate) use pages::Names;
pub(crate) use producers::PRODUCER_BYTES;
use ranking::Told;
pub(crate) use recurring::{Recurring, Recurrings};
pub(crate) use schedule::Schedule;
pub(crate) use seen::ID_BYTES;
use states::SessionStates;

use crate::api::{Expecting, Once, Recurred, SessionSet, Verdict};
use crate::command::{Activation, Command, GroupName, Parking, Range};
use crate::envelope::{Envelope, Way};
use catalog::{Catalog, Change, LogChange, Name, Outcome, Refusal};
use journal::Dest;
use ledger::{Ledger, Rewound, Span};
use record::batch::Header;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{LogId, Millis, Offset, ShardId, SubscriptionId};

/// Behaviour of `apply`; a change that would make replicas diverge raises it (architecture: machine version).
pub(crate) const MACHINE_VERSION: u16 = 15;

/// One shard's replicated state.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    machine_version: u16,
    /// Index of the last applied frame; 0 before the first.
    pub(crate) applied: u64,
    /// The latest leader time seen; time does not go back.
    pub(crate) time: Millis,
    /// Boxed: many logs are a wide map's nodes half empty otherwise.
    pub(crate) logs: Chunked<LogId, Box<Log>>,
    pub(crate) subscriptions: Chunked<SubscriptionId, Subscription>,
    pub(crate) groups: GroupSlots,
    pub(crate) catalog: Option<Catalog>,
    next_producer: i64,
    /// What is to be appended later, by log.
    pub(crate) schedules: Chunked<LogId, Schedule>,
    /// Where the records of each key are, of the logs that index their keys.
    pub(crate) keys: Chunked<LogId, Box<Keys>>,
    /// What is kept for sessions.
    pub(crate) states: SessionStates,
    /// What recurs, by the log it is listed under.
    pub(crate) recurring: Chunked<LogId, Recurrings>,
    /// What is on its way to other shards.
    pub(crate) outboxes: BTreeMap<ShardId, Outbox>,
    /// What came from the outboxes of others.
    received: BTreeMap<LogId, Ledger>,
    /// The last cut that a checkpoint was made of.
    #[serde(skip)]
    cut: u64,
    /// After which cut the names changed last, since the start of the process.
    #[serde(skip)]
    renamed: Option<u64>,
    /// What of all that clients can make grow.
    #[serde(skip)]
    holds: Holds,
}

/// Delivery state of a subscription: one ledger per log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) ledgers: Ledgers,
}

/// A frame as apply sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) index: u64,
    pub(crate) time: Millis,
    pub(crate) commands: &'a [Command],
    pub(crate) dests: &'a [Dest],
    /// One per batch of the frame.
    pub(crate) headers: &'a [Header],
}

/// What a frame did, for those who keep what is not replicated.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Destination `dest` of the frame took its batch, or did not.
    Appended { dest: usize, verdict: Verdict, base: Offset },
    /// The start of a log moved.
    Trimmed { log: LogId, start: Offset },
    /// A span of a subscription is settled because a command says so.
    Settled { subscription: SubscriptionId, log: LogId, span: Span },
    /// The same, and what of it was kept is not any more.
    Withdrawn { subscription: SubscriptionId, log: LogId, span: Span },
    /// What of a span of a log was settled and kept is not kept any more.
    SettledForgotten { log: LogId, span: Span },
    /// Command `command` has a subscription deliver again what was settled.
    Rewound { command: usize, subscription: SubscriptionId, log: LogId, rewound: Rewound },
    /// A span of a subscription is gone, and its leader did not ask for that: its log was trimmed, or the
    /// span was cancelled before it came.
    Forgotten { subscription: SubscriptionId, log: LogId, span: Span },
    /// Command `command` changed the names, or was refused.
    Changed { command: usize, result: Box<Result<Outcome, Refusal>> },
    /// Another shard has to follow a change of names made by command `command`.
    Follow { command: usize, change: LogChange },
    /// This shard followed a change of names.
    Followed(LogChange),
    /// A group said something to its members.
    Group { command: usize, name: GroupName, reply: groups::Reply, effects: Vec<groups::Effect> },
    /// Command `command` handed out a producer id.
    Producer { command: usize, id: i64 },
    /// Of `proposed` entries of a log's schedule these were appended to the log, and to where there.
    Activated { log: LogId, proposed: Vec<Activation>, moved: Vec<(Activation, Offset)> },
    /// Messages came back and wait.
    Parked { subscription: SubscriptionId, log: LogId, entries: Vec<Parking> },
    /// The index of a log's keys has a run of these offsets.
    KeyRun { log: LogId, first: Offset, end: Offset },
    /// Command `command` had a state of a session kept, or not.
    SessionSet { command: usize, set: SessionSet },
    /// Command `command` cancelled these entries of a log's schedule.
    Unscheduled { command: usize, log: LogId, offsets: Vec<Offset> },
    /// Command `command` was about a recurrence, which is this now.
    Recurred {
        command: usize,
        home: LogId,
        name: Name,
        result: Recurred,
        now: Option<Box<Recurring>>,
    },
    /// The shard has followed the catalog's shard up to this entry.
    NamesFollowed { upto: u64 },
    /// A recurrence was due, and is due next when it says now.
    Fired { home: LogId, name: Name },
}

impl Shard {
    /// An empty shard; one that owns names brings its catalog. Checkpoints keep `1 << chunk_bits` logs
    /// or subscriptions in a chunk.
    pub(crate) fn new(id: ShardId, catalog: Option<Catalog>, chunk_bits: u32) -> Shard {
        Shard {
            id,
            machine_version: MACHINE_VERSION,
            applied: 0,
            time: Millis(0),
            logs: Chunked::new(chunk_bits),
            subscriptions: Chunked::new(chunk_bits),
            groups: GroupSlots::new(),
            catalog,
            next_producer: 1,
            schedules: Chunked::new(chunk_bits),
            keys: Chunked::new(0),
            states: SessionStates::new(),
            recurring: Chunked::new(0),
            outboxes: BTreeMap::new(),
            received: BTreeMap::new(),
            cut: 0,
            renamed: None,
            holds: Holds::default(),
        }
    }

    /// The next so many frames are lost: what comes after them is applied without them.
    pub(crate) fn pass_over(&mut self, frames: u64) {
        self.applied += frames;
    }

    /// The next entry is nobody's frame: it takes its index.
    pub(crate) fn pass(&mut self, index: u64) {
        assert_eq!(index, self.applied + 1, "entries of a shard are applied in order");
        self.applied = index;
    }

    /// A planted fault: what a leader knows gets into the state beside the frames.
    pub(crate) fn change_outside_apply(&mut self) {
        self.next_producer += 1;
    }

    /// Applies the next frame: its commands in order, then its appends in order.
    pub(crate) fn apply(&mut self, entry: Entry<'_>, effects: &mut Vec<Effect>) {
        assert_eq!(entry.index, self.applied + 1, "frames of a shard are applied in order");
        self.applied = entry.index;
        self.time = self.time.max(entry.time);
        let mut unfired = Vec::new();
        for (at, command) in entry.commands.iter().enumerate() {
            match command {
                Command::Fire(fire) => unfired.extend(self.fire(fire, effects)),
                _ => self.command(at, command, effects),
            }
        }
        let told = Told::of(entry.commands);
        let keys_told = KeysTold::of(if self.keys.is_empty() { &[] } else { entry.commands });
        let hashed = if io::planted("hash-order") { hashed(entry.dests) } else { Vec::new() };
        for at in 0..entry.dests.len() {
            let at = hashed.get(at).copied().unwrap_or(at);
            let dest = &entry.dests[at];
            let header = &entry.headers[usize::from(dest.batch)];
            let (verdict, base) = match unfired.contains(&dest.batch) {
                true => (Verdict::Gone, Offset(0)),
                false => self.append(dest, header, &told),
            };
            if verdict == Verdict::Appended {
                self.note_keys(dest.log, base, dest.batch, &keys_told);
            }
            effects.push(Effect::Appended { dest: at, verdict, base });
        }
    }

    fn command(&mut self, at: usize, command: &Command, effects: &mut Vec<Effect>) {
        match command {
            Command::Settle { subscription, ranges } => self.settle(*subscription, ranges, effects),
            Command::Return { subscription, ranges, counted } => {
                if let Some(state) = self.subscriptions.get_mut(*subscription) {
                    for range in ranges {
                        if let Some(ledger) = state.ledgers.get_mut(range.log) {
                            ledger.return_span(range.span(), *counted);
                        }
                    }
                }
            }
            Command::Lease { subscription, ranges } => self.lease(*subscription, ranges),
            Command::Park { subscription, log, entries, counted } => {
                let state = self.subscriptions.get_mut(*subscription);
                let ledger = state.and_then(|state| state.ledgers.get_mut(*log));
                if let Some(ledger) = ledger {
                    for entry in entries {
                        ledger.park(entry.span(), *counted, entry.due);
                    }
                    let (subscription, log, entries) = (*subscription, *log, entries.clone());
                    effects.push(Effect::Parked { subscription, log, entries });
                }
            }
            Command::Trim { log, before } => self.trim(*log, *before, effects),
            Command::Change(change) => self.change(at, change, effects),
            Command::Log(change) => {
                self.follow(change, effects);
                effects.push(Effect::Followed(change.clone()));
            }
            Command::Group { group, command } => self.group(at, group, command, effects),
            Command::AllocateProducer => {
                let id = self.next_producer;
                self.next_producer += 1;
                effects.push(Effect::Producer { command: at, id });
            }
            // The last one is looked at before the frame's appends, by itself.
            Command::Started
            | Command::Rank { .. }
            | Command::Keys { .. }
            | Command::Remember { .. }
            | Command::Fire(_) => {}
            Command::Recur { home, name, step } => self.recur(at, (*home, name, step), effects),
            Command::KeyRun { log, run } => self.put_key_run(*log, run, effects),
            Command::GiveUpKeyStrays { log } => self.give_up_key_strays(*log, effects),
            Command::Sent { to, offset } => self.sent(*to, *offset, effects),
            Command::NamesFollowed { upto } => self.note_names_followed(*upto, effects),
            Command::Activate { log, entries } => self.activate(*log, entries, effects),
            Command::Unschedule { log, offsets } => {
                let offsets = self.unschedule(*log, offsets, effects);
                effects.push(Effect::Unscheduled { command: at, log: *log, offsets });
            }
            Command::ForgetProducers { before } => self.forget_producers(*before),
            Command::ForgetIds => self.forget_ids(),
            Command::Withdraw { subscription, ranges } => {
                self.withdraw(*subscription, ranges, effects);
            }
            Command::ForgetSettled { log, before } => self.forget_settled(*log, *before, effects),
            Command::SetSession { subscription, key, expected, state } => {
                let set = self.set_session(*subscription, key, (*expected, state.as_ref()));
                effects.push(Effect::SessionSet { command: at, set });
            }
            Command::Rewind { subscription, log, to } => {
                let (subscription, log) = (*subscription, *log);
                let rewound = self.rewind(subscription, log, *to);
                effects.push(Effect::Rewound { command: at, subscription, log, rewound });
            }
        }
    }

    /// Appends a batch where it is to go. Into a hidden log goes only what says so beside its batch,
    /// whatever id a client makes up.
    fn append(&mut self, dest: &Dest, header: &Header, told: &Told<'_>) -> (Verdict, Offset) {
        let levels = told.levels(dest.batch);
        let (once, said) = Once::decode(&dest.envelope);
        let (expecting, said) = Expecting::decode(said);
        let envelope = Envelope::decode(said);
        if let Some(log) = Keys::log_of(dest.log) {
            return match envelope.way {
                Some(Way::KeyPage) => self.append_key_page(log),
                _ => (Verdict::Gone, Offset(0)),
            };
        }
        let hidden = (Schedule::log_of(dest.log), Outbox::shards_of(dest.log));
        match (hidden, envelope.due, envelope.way) {
            ((Some(log), _), Some(_), _) => {
                self.schedule(log, dest.records, (levels, once.as_ref()))
            }
            ((None, Some((from, to))), None, Some(Way::Out(outbound))) if from == self.id => {
                (Verdict::Appended, self.outboxes.entry(to).or_default().append(outbound))
            }
            ((None, None), None, way) => {
                let known = match way {
                    Some(Way::In { outbox, offset, floor }) => self.has_come(outbox, offset, floor),
                    _ => false,
                };
                if let Some(expecting) = &expecting
                    && let Err(refused) = self.check_expected(dest.log, expecting)
                {
                    return refused;
                }
                if let Some(once) = &once {
                    return self.append_once(dest, header, (once, levels));
                }
                if let Some(list) = told.ids(dest.batch) {
                    return self.append_listed(dest, header, (list, levels));
                }
                match self.logs.get_mut(dest.log) {
                    _ if known => (Verdict::Duplicate, Offset(0)),
                    None => (Verdict::Gone, Offset(0)),
                    Some(log) => {
                        if let Some(Way::In { outbox, offset, .. }) = way
                            && let Some(received) = self.received.get_mut(&outbox)
                        {
                            received.settle(Span::one(offset));
                        }
                        let known = log.producers.len();
                        let appended = log.append(header, dest.records, self.time);
                        self.holds.producers = self.holds.producers - known + log.producers.len();
                        if let (Verdict::Appended, base) = appended
                            && log.options.level_max > 0
                        {
                            let at = (dest.log, base, dest.records);
                            ranking::rank(&mut self.subscriptions, &log.subscriptions, at, levels);
                        }
                        appended
                    }
                }
            }
            _ => (Verdict::Gone, Offset(0)),
        }
    }

    /// First and next offset of a log, a schedule or an outbox, by its id in the journal.
    pub(crate) fn extent(&self, id: LogId) -> Option<(Offset, Offset)> {
        if let Some(log) = Keys::log_of(id) {
            return self.keys.get(&log).map(|keys| (keys.ledger.floor(), keys.end));
        }
        match Schedule::log_of(id) {
            Some(log) => {
                let schedule = self.schedules.get(&log)?;
                Some((schedule.ledger.floor(), schedule.end))
            }
            None => match Outbox::shards_of(id) {
                Some((from, to)) => {
                    let outbox = self.outboxes.get(&to).filter(|_| from == self.id)?;
                    Some((outbox.ledger.floor(), outbox.end))
                }
                None => self.logs.get(&id).map(|log| (log.start, log.end)),
            },
        }
    }

    /// Subscriptions over a log.
    pub(crate) fn readers(&self, log: LogId) -> &[SubscriptionId] {
        self.logs.get(&log).map_or(&[], |log| &log.subscriptions)
    }

    fn lease(&mut self, id: SubscriptionId, ranges: &[Range]) {
        let Some(state) = self.subscriptions.get_mut(id) else { return };
        for range in ranges {
            if let Some(ledger) = state.ledgers.get_mut(range.log) {
                ledger.lease(range.span());
            }
        }
    }

    fn settle(&mut self, id: SubscriptionId, ranges: &[Range], effects: &mut Vec<Effect>) {
        let Some(state) = self.subscriptions.get_mut(id) else { return };
        for range in ranges {
            let Some(ledger) = state.ledgers.get_mut(range.log) else { continue };
            if io::planted("lost-settle") && range.first.0 % 5 == 1 {
                continue;
            }
            ledger.settle(range.span());
            let settled = Effect::Settled { subscription: id, log: range.log, span: range.span() };
            effects.push(settled);
        }
        for range in ranges {
            self.release(range.log, effects);
        }
    }

    /// A log kept for its subscriptions begins where the first of them needs something.
    fn release(&mut self, id: LogId, effects: &mut Vec<Effect>) {
        let Some(log) = self.logs.get(&id).filter(|log| log.options.interest) else { return };
        let floors = log.subscriptions.iter().filter_map(|subscription| {
            let ledger = self.subscriptions.get(subscription)?.ledgers.get(id)?;
            let lets_go = io::planted("kept-let-go");
            Some(if lets_go { ledger.floor() } else { ledger.needed_from() })
        });
        if let Some(floor) = floors.min()
            && floor > log.start
            && let Some(log) = self.logs.get_mut(id)
            && log.trim(floor)
        {
            effects.push(Effect::Trimmed { log: id, start: log.start });
        }
    }

    fn trim(&mut self, id: LogId, before: Option<Offset>, effects: &mut Vec<Effect>) {
        let Some(log) = self.logs.get_mut(id) else { return };
        let (was, end) = (log.start, log.end);
        if !log.trim(before.unwrap_or(end)) {
            return;
        }
        let start = log.start;
        for subscription in &log.subscriptions {
            let state = self.subscriptions.get_mut(*subscription);
            if let Some(ledger) = state.and_then(|state| state.ledgers.get_mut(id)) {
                ledger.advance_floor_to(start);
                let span = Span::new(was, start);
                let subscription = *subscription;
                effects.push(Effect::Forgotten { subscription, log: id, span });
            }
        }
        effects.push(Effect::Trimmed { log: id, start });
        self.trim_keys(id, start, effects);
    }

    fn change(&mut self, at: usize, change: &Change, effects: &mut Vec<Effect>) {
        let Some(catalog) = self.catalog.as_mut() else { return };
        let (result, follow) = catalog.apply(change, self.time);
        self.renamed = Some(self.cut);
        effects.push(Effect::Changed { command: at, result: Box::new(result) });
        for change in follow {
            if change.shard() == self.id {
                self.follow(&change, effects);
                effects.push(Effect::Followed(change));
            } else {
                effects.push(Effect::Follow { command: at, change });
            }
        }
    }

    /// Carries out what a change of names means for a log or subscription here. Doing it again
    /// changes nothing.
    fn follow(&mut self, change: &LogChange, effects: &mut Vec<Effect>) {
        match change {
            LogChange::CreateLog { log, config } => {
                self.logs.get_or_insert_with(log.log, || Box::new(Log::new(log_options(config))));
                if config.key_index {
                    self.keys.get_or_insert_with(log.log, || Box::new(Keys::new()));
                }
            }
            LogChange::AlterLog { log, config } => {
                if let Some(log) = self.logs.get_mut(log.log) {
                    let options = log_options(config);
                    if options.dedup != log.options.dedup {
                        let known = log.seen.len();
                        log.seen.forget_own();
                        self.holds.ids = self.holds.ids - known + log.seen.len();
                    }
                    log.options = options;
                }
                self.keep_settled_as_said(log.log, effects);
            }
            LogChange::DropLog(log) => {
                if let Some(gone) = self.logs.remove(log.log) {
                    self.holds.producers -= gone.producers.len();
                    self.holds.ids -= gone.seen.len();
                    effects.push(Effect::Trimmed { log: log.log, start: gone.end });
                }
                self.drop_keys(log.log, effects);
                self.drop_recurrings(log.log);
                if let Some(gone) = self.schedules.remove(log.log) {
                    let log = Schedule::id_of(log.log);
                    effects.push(Effect::Trimmed { log, start: gone.end });
                }
            }
            LogChange::CreateSubscription { subscription, over, .. }
            | LogChange::ExtendSubscription { subscription, over } => {
                let id = subscription.subscription;
                let state = self.subscriptions.get_or_insert_with(id, Subscription::default);
                for log in over {
                    let Some(known) = self.logs.get_mut(log.log) else { continue };
                    let (level_max, keeps) =
                        (known.options.level_max, known.options.keeps_settled());
                    let (start, end) = (known.start, known.end);
                    state.ledgers.insert_if_new(log.log, || {
                        let mut ledger = Ledger::with_levels(start, level_max);
                        ledger.rank(Span::new(start, end), 0);
                        ledger.keep_settled(keeps);
                        ledger
                    });
                    if !known.subscriptions.contains(&id) {
                        known.subscriptions.reserve_exact(1);
                        known.subscriptions.push(id);
                    }
                }
            }
            // How it behaves is its leader's to know.
            LogChange::AlterSubscription { .. } => {}
            LogChange::DropSubscription(subscription) => {
                let id = subscription.subscription;
                let Some(gone) = self.subscriptions.remove(id) else { return };
                self.states.drop_all_of(id);
                for (log, _) in gone.ledgers.iter() {
                    if let Some(log) = self.logs.get_mut(log) {
                        log.subscriptions.retain(|other| *other != id);
                    }
                    self.release(log, effects);
                }
            }
        }
    }

    fn group(
        &mut self,
        at: usize,
        name: &GroupName,
        command: &groups::Command,
        effects: &mut Vec<Effect>,
    ) {
        let groups = self.groups.beside_mut(name);
        let (mut told, before) = (Vec::new(), groups.bytes());
        let reply = groups.apply(&name.group, command.clone(), self.time, &mut told);
        self.holds.group_bytes = self.holds.group_bytes - before + groups.bytes();
        let name = name.clone();
        effects.push(Effect::Group { command: at, name, reply, effects: told });
    }
}

/// A planted fault: an order of destinations that no other node has.
fn hashed(dests: &[Dest]) -> Vec<usize> {
    let state = std::hash::RandomState::new();
    let mut order: Vec<usize> = (0..dests.len()).collect();
    order.sort_by_key(|at| std::hash::BuildHasher::hash_one(&state, at));
    order
}

impl Parking {
    pub(crate) fn span(&self) -> Span {
        Span::new(self.first, self.last.next())
    }
}

impl Range {
    pub(crate) fn span(&self) -> Span {
        Span::new(self.first, self.last.next())
    }

    pub(crate) fn of(log: LogId, span: Span) -> Range {
        Range { log, first: span.first, last: Offset(span.end.0 - 1) }
    }
}
