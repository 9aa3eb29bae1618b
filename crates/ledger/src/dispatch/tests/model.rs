//! Random operations against a model that keeps every message by itself.

mod changes;
mod durable;
mod handing;
mod sessions;
mod strategy;

use crate::{
    ConsumerKey, ConsumerOptions, Dispatch, Held, Ledger, Span, Standing, Unsettled, Window,
};
use proptest::prelude::{Just, any, prop_oneof, proptest};
use sessions::Asked;
use std::collections::BTreeMap;
use strategy::{keys, step};
use types::{ClientId, Millis, Offset};

/// What the leader believes of one message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    Held(ConsumerKey),
    /// It came back and waits for its time.
    Parked,
    /// Acknowledged, passed over, purged or trimmed.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    place: Place,
    /// Counted returns, as the leader knows them.
    returns: u16,
    redelivered: bool,
    is_durably_settled: bool,
    durable_returns: Option<u16>,
    /// Its delivery is written down, and not its end.
    is_leased: bool,
    /// It came back since the crash; `None`: it was parked before, and whether the dispatch noted that it
    /// is ready again depends on where it stood.
    came_back: Option<bool>,
    /// Until when it was parked last, as the leader knows and as is written down.
    due: Option<Millis>,
    durable_due: Option<Millis>,
    level: u8,
    key: Option<u64>,
    /// Settled, and not to be had again.
    is_gone: bool,
    /// It was not settled when the ledger was rewound, and delivery comes to its place once more.
    is_spared: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Settle(Span),
    Withdraw(Span),
    /// Up to the end that there is then.
    Rewind(Offset, Offset),
    Forget(Offset),
    Return(Span, bool),
    Park(Span, bool, Millis),
    Trim(Offset),
    Lease(Span),
    Append(Span, u8),
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue(i64, u8, u64),
    Deliver { times: u8, run_max: u32 },
    Get(ConsumerKey, bool),
    Settle(ConsumerKey, i64, i64),
    SettleUpTo(ConsumerKey, i64),
    Return(ConsumerKey, i64, i64, bool),
    Park(ConsumerKey, i64, i64, bool),
    ParkAll(ClientId),
    Release(i64, i64),
    PurgeParked,
    Add(ConsumerKey, ConsumerOptions),
    Leave(ConsumerKey, bool),
    Cancel(ConsumerKey),
    DropClient(ClientId),
    Window(ConsumerKey, u32),
    Overdue(u16),
    Purge(u64, Option<usize>),
    TakeAt(i64),
    Rewind(i64),
    Forget(i64),
    Trim(i64),
    Sync,
    Checkpoint,
    Crash,
}

/// The thing under test, the model, and the log between them.
struct World {
    ledger: Ledger,
    dispatch: Dispatch,
    messages: Vec<Message>,
    consumers: BTreeMap<ConsumerKey, ConsumerOptions>,
    /// What each holds; whose message is settled gives back its average.
    unsettled: BTreeMap<ConsumerKey, Unsettled>,
    /// In the log, not yet applied.
    unsynced: Vec<Change>,
    /// Applied since the checkpoint.
    replay: Vec<Change>,
    checkpoint: Vec<u8>,
    /// Deliveries are written down before they are made.
    leases: bool,
    /// What was with a consumer at a crash waits.
    parks: bool,
    /// Rises with each that is parked.
    last_due: Millis,
    /// Only one consumer is served; whether it makes room for a higher priority.
    single: Option<bool>,
    active: Option<ConsumerKey>,
    /// Consumers, the first that came first.
    arrivals: Vec<ConsumerKey>,
    /// The highest level; 0: there are none.
    level_max: u8,
    /// Of each key so many messages at a time are handed out.
    keyed: Option<u32>,
    /// Each key is one consumer's.
    sessions: bool,
    asked: Asked,
    /// Of the handouts every so many is of the oldest message.
    every: Option<u32>,
    /// Handouts since the last of those.
    since: u32,
    /// What is settled is kept.
    keeps: bool,
    /// What is settled below cannot be had again.
    kept_from: Offset,
    /// How many were settled and are not any more.
    brought_back: u64,
}

impl World {
    fn new(
        (leases, parks): (bool, bool),
        single: Option<bool>,
        level_max: u8,
        every: Option<u32>,
        (keyed, keeps, sessions): (Option<u32>, bool, bool),
    ) -> World {
        let mut ledger = Ledger::with_levels(Offset(0), level_max);
        ledger.keep_settled(keeps);
        let every = every.filter(|_| level_max > 0);
        let sessions = sessions && keyed.is_some();
        let keyed =
            if sessions { keyed.filter(|at_once| *at_once > 1).or(Some(u32::MAX)) } else { keyed };
        World {
            dispatch: dispatch(&ledger, None, single, (every, keyed, sessions)),
            checkpoint: postcard::to_stdvec(&ledger).unwrap(),
            ledger,
            messages: Vec::new(),
            consumers: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            unsynced: Vec::new(),
            replay: Vec::new(),
            leases,
            parks,
            last_due: Millis(0),
            single,
            active: None,
            arrivals: Vec::new(),
            level_max,
            keyed,
            sessions,
            asked: Asked::default(),
            every,
            since: 0,
            keeps,
            kept_from: Offset(0),
            brought_back: 0,
        }
    }

    fn end(&self) -> Offset {
        Offset(self.messages.len() as i64)
    }

    /// Who is active stays so while it is there, but for a higher priority that is to be made room for.
    fn elect(&mut self) {
        let Some(yields) = self.single else { return };
        self.arrivals.retain(|key| self.consumers.contains_key(key));
        let priority = |key: &ConsumerKey| self.consumers[key].priority;
        let highest = self.arrivals.iter().map(priority).max();
        let best = self.arrivals.iter().find(|key| Some(priority(key)) == highest).copied();
        let stays = self.active.filter(|key| {
            self.consumers.contains_key(key)
                && (!yields
                    || Some(priority(key)) == highest
                    || self.held(|holder| holder == *key).messages > 0)
        });
        self.active = stays.or(best);
        assert_eq!(self.dispatch.active(), self.active);
    }

    /// Whether a consumer may be served at all.
    fn is_served(&self, key: ConsumerKey) -> bool {
        let Some(yields) = self.single else { return true };
        let highest = self.consumers.values().map(|options| options.priority).max();
        self.active == Some(key) && (!yields || Some(self.consumers[&key].priority) == highest)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enqueue(count, level, key) => self.enqueue(count, level, key),
            Step::Deliver { times, run_max } => {
                (0..times).for_each(|_| self.deliver(run_max));
            }
            Step::Get(key, settle_now) => self.get(key, settle_now),
            Step::Settle(key, first, end) => self.settle(key, first, end),
            Step::SettleUpTo(key, end) => self.settle(key, 0, end),
            Step::Return(key, first, end, count) => self.give_back(key, first, end, count),
            Step::Park(key, first, end, count) => self.park(key, (first, end), count),
            Step::ParkAll(client) => self.park_all(client),
            Step::Release(first, end) => self.release(first, end),
            Step::PurgeParked => self.purge_parked(),
            Step::Add(key, options) => {
                let fits = !self.consumers.contains_key(&key);
                assert_eq!(self.dispatch.add(key, options).is_ok(), fits);
                if fits {
                    self.consumers.insert(key, options);
                    self.arrivals.push(key);
                }
            }
            Step::Leave(key, count) => {
                let spans = self.dispatch.leave(key, Held::Return { count });
                self.consumers.remove(&key);
                self.came_back(&spans, count, |holder| holder == key);
            }
            Step::Cancel(key) => {
                assert!(self.dispatch.leave(key, Held::Keep).is_empty());
                self.consumers.remove(&key);
            }
            Step::DropClient(client) => {
                let spans = self.dispatch.drop_client(client, true);
                self.consumers.retain(|key, _| key.client != client);
                self.came_back(&spans, true, |holder| holder.client == client);
            }
            Step::Window(key, messages) => {
                let window = Window { messages, bytes: 0 };
                self.dispatch.set_window(key, window);
                if let Some(options) = self.consumers.get_mut(&key) {
                    options.window = window;
                }
            }
            Step::Overdue(most) => self.overdue(most),
            Step::Purge(count, level) => self.purge(count, level),
            Step::TakeAt(at) => self.take_at(at),
            Step::Rewind(to) => self.rewind(to),
            Step::Forget(before) => {
                self.unsynced.push(Change::Forget(Offset(before.min(self.end().0))));
            }
            Step::Trim(to) => self.trim(to),
            Step::Sync => self.sync(),
            Step::Checkpoint => {
                self.checkpoint = postcard::to_stdvec(&self.ledger).unwrap();
                self.replay.clear();
            }
            Step::Crash => self.crash(),
        }
    }

    fn compare(&self) {
        let count = |place: fn(&Message) -> bool| {
            self.messages.iter().filter(|message| place(message)).count() as u64
        };
        let ready = count(|message| message.place == Place::Ready);
        assert_eq!(self.dispatch.ready_count(self.end()), ready);
        let held = count(|message| matches!(message.place, Place::Held(_)));
        assert_eq!(self.dispatch.unacked_count(), held);
        let parked = count(|message| message.place == Place::Parked);
        assert_eq!(self.dispatch.parked_count(), parked);
        assert_eq!(self.dispatch.consumer_count(), self.consumers.len());
        let settled = count(|message| message.is_durably_settled);
        assert_eq!(self.ledger.settled_total(), settled + self.brought_back);
        assert_eq!(self.ledger.unsettled(self.end()), self.messages.len() as u64 - settled);
        for level in (0..self.dispatch.level_count()).map(Some).chain([None]) {
            let next = self.next_of(level).map(|at| Offset(at as i64));
            assert_eq!(self.dispatch.peek(&self.ledger, self.end(), level), next, "{level:?}");
        }
        for (offset, message) in self.messages.iter().enumerate() {
            let offset = Offset(offset as i64);
            if !message.is_durably_settled {
                assert_eq!(self.ledger.level_of(offset), message.level);
            }
            let standing = match message.place {
                Place::Ready => Standing::Ready,
                Place::Held(_) => Standing::Leased,
                Place::Parked => Standing::Waiting,
                Place::Done if message.is_durably_settled => Standing::Settled,
                Place::Done => Standing::Leaving,
            };
            assert_eq!(self.dispatch.standing(&self.ledger, self.end(), offset), standing);
            let is_kept = self.keeps && message.is_kept() && offset >= self.kept_from;
            let is_kept = is_kept || !self.keeps && message.is_durably_settled;
            assert_eq!(self.ledger.is_kept(offset), is_kept);
            let is_dead = message.is_durably_settled && !(self.keeps && is_kept);
            assert_eq!(self.ledger.is_run_dead(offset, 1), is_dead);
        }
        let kept = (self.kept_from.0..).zip(self.messages.iter().skip(self.kept_from.0 as usize));
        let kept: Vec<i64> = kept.filter(|(_, it)| it.is_kept()).map(|(at, _)| at).collect();
        if self.keeps {
            assert_eq!(self.ledger.kept_count(self.end()), kept.len() as u64);
            let unsettled = self.messages.iter().position(|it| !it.is_durably_settled);
            let needed = unsettled.map(|at| at as i64).into_iter().chain(kept.first().copied());
            assert!(needed.min().is_none_or(|first| self.ledger.needed_from() <= Offset(first)));
        }
        for key in keys() {
            assert_eq!(self.dispatch.unsettled_of(key), self.held(|holder| holder == key));
        }
        if self.sessions {
            self.compare_sessions();
        }
        let of_client = self.dispatch.unsettled_of_client(ClientId(1));
        assert_eq!(of_client, self.held(|holder| holder.client == ClientId(1)));
    }

    /// Nothing may be lost: one consumer takes all that is left, and then nothing is left.
    fn drain(&mut self) {
        for client in [1, 2] {
            self.step(Step::DropClient(ClientId(client)));
        }
        self.sync();
        self.release(0, self.end().0);
        let key = keys()[0];
        // Of a key that is held nothing more would come.
        let options =
            ConsumerOptions { settle_now: self.keyed.is_some(), ..ConsumerOptions::default() };
        self.step(Step::Add(key, options));
        self.elect();
        let ready = self.dispatch.ready_count(self.end());
        for _ in 0..=ready {
            self.deliver(7);
        }
        self.settle(key, 0, self.end().0);
        self.sync();
        self.compare();
        assert_eq!(self.ledger.floor(), self.end());
        assert_eq!(self.dispatch.ready_count(self.end()), 0);
        self.ledger.forget_settled(self.end());
        self.ledger.keep_settled(false);
        let empty = Ledger::with_levels(self.end(), self.level_max);
        if self.brought_back == 0 {
            assert_eq!(self.ledger.heap_bytes(), empty.heap_bytes());
        }
    }
}

fn dispatch(
    ledger: &Ledger,
    before: Option<Offset>,
    single: Option<bool>,
    (every, keyed, sessions): (Option<u32>, Option<u32>, bool),
) -> Dispatch {
    let mut dispatch = Dispatch::new(ledger, before);
    if let Some(at_once) = keyed {
        dispatch.order_by_key(ledger, at_once);
        if sessions {
            dispatch.keep_sessions();
        }
    }
    if let Some(every) = every {
        dispatch.take_oldest_every(every);
    }
    if let Some(yields) = single {
        dispatch.serve_one(yields);
    }
    dispatch
}

fn spread(spans: &[Span]) -> Vec<Offset> {
    spans.iter().flat_map(|span| span.offsets()).collect()
}

proptest! {
    #[test]
    fn delivery_agrees_with_the_model(
        leases in any::<(bool, bool)>(),
        single in proptest::option::weighted(0.5, any::<bool>()),
        level_max in prop_oneof![Just(0u8), 1..5u8],
        every in proptest::option::weighted(0.3, 1..6u32),
        keyed in (
            proptest::option::weighted(0.4, prop_oneof![Just(1), 2..4u32]),
            any::<bool>(),
            any::<bool>(),
        ),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(leases, single, level_max, every, keyed);
        for step in steps {
            world.step(step);
            world.elect();
            world.compare();
        }
        world.drain();
    }
}
