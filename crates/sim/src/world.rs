//! The machine a run happens on: disk, clock, engine, and what was declared.

use crate::mixed::Mixed;
use crate::model::{Id, Model, Violation, broken};
use crate::mood::Mood;
use crate::run::Tally;
use engine::api::{Call, Event, Op, Reply};
use engine::catalog::{
    Action, Change, Config, DeadLetter, DeclareQueue, DeclareTopic, Dedup, Growth, KEY_INDEX, Keep,
    Outcome, Overflow, Pace, QueueOptions, Remembered, Retry, RetryOn, Serving,
};
use engine::{Client, Options, Part, Sizes, Stepped, UnzipSizes};
use io::sim::{SimClock, SimDisk, SimRandom};
use io::{Clock as _, Random as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use types::{Error, LogId, LogRef, Millis, SubscriptionRef, Token};

/// Steps after which an engine that still owes an answer counts as stuck.
const PATIENCE: usize = 20_000;

/// Calls to the disk that opening a store makes, more or less.
const OPENING_CALLS: u64 = 12;

/// How often a message of the last of the queues may come back.
pub(crate) const RETURNS_MAX: u16 = 2;

/// How long a message waits that comes back to the last of the queues.
pub(crate) const RETRY: Retry = Retry {
    on: RetryOn::Failed,
    min: Millis(200),
    max: Millis(500),
    growth: Growth::Linear,
    jitter: 20,
};

/// The same for the queue of which what a crash returns does not count.
pub(crate) const RETRY_ALL: Retry =
    Retry { on: RetryOn::All, min: Millis(100), growth: Growth::Times(2), jitter: 0, ..RETRY };

/// That queue, by number.
const RETRIED: usize = 2;

/// The queue of which few messages are with clients at once, by number, and how many.
const CAPPED: usize = 0;
pub(crate) const CAP: u32 = 4;

/// The queue that serves one consumer at a time, by number.
pub(crate) const SINGLE: usize = 2;

/// The queue with priorities, by number, and the highest of them.
pub(crate) const RANKED: usize = 1;
pub(crate) const PRIORITY_MAX: u8 = 3;

/// The queue that hands out one message of a key at a time, or two, by number.
pub(crate) const KEYED: usize = 0;
/// The queue that keeps what is settled, in some runs, by number: for ever, or a little of it.
pub(crate) const KEPT: usize = 1;
const ALL: Keep = Keep { age: Some(Millis(1 << 50)), bytes: None, key_index: false };
const LITTLE: Keep = Keep { age: None, bytes: Some(4 << 10), key_index: false };
/// The queue that takes no message twice, by number.
pub(crate) const ONCE: usize = 1;

/// How long that queue remembers ids.
pub(crate) const REMEMBERED: Millis = Millis(30_000);

/// How many messages the queue holds that refuses more.
pub(crate) const LEN_MAX: u64 = 5;

/// How long a message stays in the queue that nobody consumes.
pub(crate) const FADES: Millis = Millis(50);

/// The queue with features chosen by chance, by number.
pub(crate) const MIXED: usize = 3;

/// A queue of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueUnderTest {
    pub(crate) log: LogRef,
    pub(crate) subscription: SubscriptionRef,
}

pub(crate) struct World {
    pub(crate) random: SimRandom,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) engine: Option<Stepped>,
    pub(crate) model: Model,
    pub(crate) topics: Vec<LogRef>,
    pub(crate) queues: Vec<QueueUnderTest>,
    pub(crate) ends: DeadEnds,
    pub(crate) next_token: u64,
    pub(crate) mood: Mood,
    pub(crate) tally: Tally,
    pub(crate) shape: Shape,
}

/// How large a run is.
pub(crate) struct Shape {
    /// Of a log that has so many records, some have to go before more come.
    pub(crate) backlog_max: usize,
    /// A queue keeps what is settled.
    pub(crate) keeps: Option<Keep>,
    /// Of each key of the queue that has keys so many messages are out at a time.
    pub(crate) of_a_key: u32,
    pub(crate) mixed: Mixed,
    shards: u16,
}

/// Queues that nobody consumes.
#[derive(Default)]
pub(crate) struct DeadEnds {
    /// What is in it expires and goes to the third of the others.
    pub(crate) fading: Option<QueueUnderTest>,
    /// Refuses what is too much.
    pub(crate) bounded: Option<QueueUnderTest>,
    /// Purges of that one that were asked for and not answered.
    pub(crate) purges: u64,
    /// Where what comes back too often goes, by the log it was in.
    pub(crate) graves: BTreeMap<LogId, QueueUnderTest>,
    /// What recurs comes here.
    pub(crate) ticks: Option<QueueUnderTest>,
}

/// The disk failed under the engine, as it was to.
pub(crate) struct Dead;

impl Shape {
    /// A queue keeps all that is settled.
    pub(crate) fn keeps_all(&self) -> bool {
        self.keeps == Some(ALL)
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Result<World, Violation> {
        let random = SimRandom::new(seed);
        let shards = 1 + u16::try_from(random.below(3)).unwrap_or(0);
        let most = usize::try_from(random.below(4)).unwrap_or(0);
        let of_a_key = 1 + u32::try_from(seed % 2).unwrap_or(0);
        let backlog_max = [40, 100, 250, 4_000][most];
        let keeps = [None, None, Some(LITTLE), Some(ALL), Some(ALL)];
        let keeps = keeps[usize::try_from(random.below(5)).unwrap_or(0)];
        let mut world = World {
            disk: Arc::new(SimDisk::new(seed ^ 0x5eed)),
            clock: Arc::new(SimClock::new(Millis(1_700_000_000_000))),
            engine: None,
            model: Model::default(),
            topics: Vec::new(),
            queues: Vec::new(),
            ends: DeadEnds::default(),
            next_token: 0,
            mood: Mood::by_chance(&random),
            tally: Tally::default(),
            shape: Shape { backlog_max, keeps, of_a_key, mixed: Mixed::by_chance(&random), shards },
            random,
        };
        world.open()?;
        world.declare()?;
        Ok(world)
    }

    /// Opens the store, as after a start of the process. Now and then the power goes again meanwhile.
    pub(crate) fn open(&mut self) -> Result<(), Violation> {
        if self.random.chance(10) {
            self.disk.crash_at(self.disk.calls() + 1 + self.random.below(OPENING_CALLS));
            let opened = Stepped::open(self.options());
            if opened.is_err() && !self.disk.is_crashed() {
                return broken("the store does not open");
            }
            self.disk.restart();
        }
        self.open_whole()
    }

    fn open_whole(&mut self) -> Result<(), Violation> {
        self.count_upkeep();
        if self.lost_records() > 0 {
            return broken("records of an undamaged store are counted as lost");
        }
        self.engine = None;
        self.mood = Mood::by_chance(&self.random);
        self.count_crash();
        self.model.new_life();
        if std::mem::take(&mut self.ends.purges) > 0 {
            self.may_be_purged();
        }
        match Stepped::open(self.options()) {
            Ok(engine) if engine.findings().is_empty() => {
                self.engine = Some(engine);
                Ok(())
            }
            Ok(engine) => broken(format!("the store is damaged: {:?}", engine.findings())),
            Err(error) => broken(format!("the store does not open: {error}")),
        }
    }

    /// A purge of the queue that refuses is answered.
    pub(crate) fn purged(&mut self) {
        self.ends.purges -= 1;
        self.may_be_purged();
    }

    /// The queue that refuses was emptied, or may have been.
    pub(crate) fn may_be_purged(&mut self) {
        let Some(bounded) = self.ends.bounded else { return };
        let log = self.model.log(bounded.log.log);
        log.ids().into_iter().for_each(|id| log.settle_asked(id));
    }

    /// The log that indexes its keys: the last of the topics.
    pub(crate) fn events(&self) -> Option<LogRef> {
        self.topics.last().copied()
    }

    /// The queues of which a message comes back so often at most.
    fn limited(&self) -> Vec<LogId> {
        self.ends.graves.keys().copied().collect()
    }

    /// Where what comes back to one of them too often goes.
    fn grave_of(&self, log: LogId) -> Option<LogId> {
        Some(self.ends.graves.get(&log)?.log.log)
    }

    /// What clients held of the limited queues when the process ended came back, for certain.
    fn count_crash(&mut self) {
        let now = self.clock.now();
        for limited in self.limited() {
            for id in self.model.log(limited).count_crash(now) {
                self.died(limited, id);
            }
        }
        self.returned_unseen();
    }

    /// Messages of the limited queues may have come back without anybody's knowing.
    pub(crate) fn returned_unseen(&mut self) {
        for limited in self.limited() {
            for id in self.model.log(limited).ids() {
                self.may_have_returned(limited, id);
            }
        }
    }

    /// A message of a queue came back, or may have: it may have died of it.
    pub(crate) fn may_have_returned(&mut self, log: LogId, id: Id) {
        let Some(grave) = self.grave_of(log) else { return };
        if self.model.log(log).may_have_returned(id) {
            self.model.log(log).settle_asked(id);
            self.model.log(log).timetable.may_be_gone(id);
            self.model.log(grave).timetable.may_come(id);
        }
    }

    /// A message of the limited queue came back too often, for certain.
    pub(crate) fn died(&mut self, log: LogId, id: Id) {
        let Some(grave) = self.grave_of(log) else { return };
        self.model.log(log).settle_proven(id);
        self.model.log(grave).timetable.may_come(id);
        self.model.log(grave).timetable.acknowledged(&[id], None);
    }

    fn options(&self) -> Options {
        Options {
            disk: Arc::clone(&self.disk) as _,
            clock: Arc::clone(&self.clock) as _,
            random: Arc::new(SimRandom::new(self.random.next())),
            workers: 1 + usize::try_from(self.random.below(2)).unwrap_or(0),
            shards: self.shape.shards,
            memory_limit: usize::MAX,
            producer_idle: Millis(30_000),
            cache_bytes: 8 << 10,
            salvage: false,
            disk_free_min: None,
            scrub_bytes: 0,
            sizes: Sizes {
                segment_bytes: vec![160 << 10, 256 << 10],
                round_bytes_max: 64 << 10,
                part_bytes: 16 << 10,
                checkpoint_bytes: 200 << 10,
                under_way_bytes: 1 + (usize::try_from(self.random.below(3)).unwrap_or(0) << 12),
                checkpoint_inline_bytes: self.random.below(2) << 12,
                checkpoint_slice_bytes: 1 << self.random.below(12),
                chunk_bits: u32::try_from(self.random.below(3)).unwrap_or(0),
                schedule_near_max: 8,
                page_cache_bytes: usize::try_from(self.random.below(3)).unwrap_or(0) << 10,
                unzip: UnzipSizes {
                    bytes_per_s: 16 << 20,
                    run_bytes: 4 << 10,
                    pass_bytes: 1 + self.random.below(200 << 10),
                    group_bytes: self.random.below(400 << 10),
                    settled_us: self.random.below(600_000),
                },
                page_runs_max: 1 + usize::try_from(self.random.below(24)).unwrap_or(0),
            },
        }
    }

    fn lost_records(&self) -> u64 {
        let handle = self.engine.as_ref().map(Stepped::handle);
        handle.map_or(0, |handle| handle.metrics().damage.lost_records.load(Ordering::Relaxed))
    }

    /// Notes what the engine did beside its work, before it ends.
    pub(crate) fn count_upkeep(&mut self) {
        if let Some(engine) = &self.engine {
            let handle = engine.handle();
            let metrics = handle.metrics();
            self.tally.recycled += metrics.recycled_segments.load(Ordering::Relaxed);
            self.tally.relocated += metrics.copies.relocated_segments.load(Ordering::Relaxed);
            self.tally.unzipped += metrics.copies.unzipped_segments.load(Ordering::Relaxed);
        }
    }

    fn declare(&mut self) -> Result<(), Violation> {
        self.declare_topics()?;
        let dead_to =
            |key: &str| Some(Arc::new(DeadLetter { router: "".into(), key: Some(key.into()) }));
        for number in 0..=SINGLE {
            let dead_letter = if number == 0 { dead_to("q1") } else { None };
            let retry = (number == RETRIED).then_some(RETRY_ALL);
            let in_flight_max = (number == CAPPED).then_some(CAP);
            let remembered = Remembered::For(REMEMBERED);
            let dedup = (number == ONCE).then_some(Dedup { remembered, count_max: u32::MAX });
            let options = QueueOptions {
                dead_letter,
                serving: Serving {
                    single_active: number == SINGLE,
                    priority_max: if number == RANKED { PRIORITY_MAX } else { 0 },
                    order_key: (number == KEYED).then(|| "key".into()),
                    key_in_flight_max: (number == KEYED).then_some(self.shape.of_a_key),
                    retry,
                    pace: Pace { in_flight_max, ..Pace::default() },
                    ..Serving::default()
                },
                dedup,
                keep: self.shape.keeps.filter(|_| number == KEPT).and_then(Keep::or_nothing),
                ..QueueOptions::default()
            };
            let queue = self.declare_queue(&format!("q{number}"), options)?;
            if number == RANKED {
                self.model.log(queue.log.log).has_levels();
            }
            if let Some(cap) = in_flight_max {
                self.model.log(queue.log.log).cap_held(cap);
            }
            if let Some(retry) = retry {
                self.model.log(queue.log.log).delay_returns(retry);
            }
            self.queues.push(queue);
        }
        let mixed = self.shape.mixed;
        let queue = self.declare_queue("mixed", mixed.options(dead_to("tomb")))?;
        mixed.tell(self.model.log(queue.log.log));
        self.queues.push(queue);
        if mixed.is_limited {
            let tomb = self.declare_queue("tomb", QueueOptions::default())?;
            self.ends.graves.insert(queue.log.log, tomb);
        }
        let options = QueueOptions {
            returns_max: Some(RETURNS_MAX),
            serving: Serving { retry: Some(RETRY), ..Serving::default() },
            dead_letter: dead_to("grave"),
            ..QueueOptions::default()
        };
        let limited = self.declare_queue("limited", options)?;
        self.model.log(limited.log.log).limit_returns(RETURNS_MAX);
        self.model.log(limited.log.log).delay_returns(RETRY);
        self.queues.push(limited);
        let grave = self.declare_queue("grave", QueueOptions::default())?;
        self.ends.graves.insert(limited.log.log, grave);
        let options = QueueOptions {
            message_ttl: Some(FADES),
            dead_letter: dead_to("q2"),
            ..QueueOptions::default()
        };
        self.ends.fading = Some(self.declare_queue("fading", options)?);
        let options = QueueOptions {
            max_len: Some(LEN_MAX),
            overflow: Overflow::Refuse,
            ..QueueOptions::default()
        };
        self.ends.bounded = Some(self.declare_queue("bounded", options)?);
        self.ends.ticks = Some(self.declare_queue("ticks", QueueOptions::default())?);
        Ok(())
    }

    fn declare_topics(&mut self) -> Result<(), Violation> {
        let indexed = Config([(KEY_INDEX.to_owned(), "true".to_owned())].into());
        for (name, partitions, config) in
            [("t0", 2, Config::default()), ("t1", 2, Config::default()), ("events", 1, indexed)]
        {
            let id = self.engine().handle().new_topic_id();
            let topic = DeclareTopic { name: name.into(), id, partitions, config };
            match self.change(Action::DeclareTopic(topic))? {
                Outcome::Topic { partitions, .. } => self.topics.extend(partitions.iter()),
                other => return broken(format!("a topic was declared: {other:?}")),
            }
        }
        Ok(())
    }

    fn declare_queue(
        &mut self,
        name: &str,
        options: QueueOptions,
    ) -> Result<QueueUnderTest, Violation> {
        let queue = DeclareQueue {
            name: name.into(),
            id: self.engine().handle().new_topic_id(),
            durable: true,
            exclusive: None,
            auto_delete: false,
            server_named: false,
            arguments: Default::default(),
            options,
        };
        match self.change(Action::DeclareQueue(queue))? {
            Outcome::Queue { log, subscription, .. } => Ok(QueueUnderTest { log, subscription }),
            other => broken(format!("a queue was declared: {other:?}")),
        }
    }

    pub(crate) fn change(&mut self, action: Action) -> Result<Outcome, Violation> {
        let mut change = Change::new("/", action);
        let names = self.engine().handle().names();
        let layer = names.place(&mut change).map_err(|why| Violation(why.to_string()))?;
        let shard = engine::shard_of(layer);
        match self.ask(Op::Change { shard, change: Box::new(change) })? {
            Ok(Reply::Changed(result)) => result.map_err(|why| Violation(why.to_string())),
            other => broken(format!("a change was answered: {other:?}")),
        }
    }

    /// Asks by a client of its own, with no fault to come, until it is answered.
    pub(crate) fn ask(&mut self, op: Op) -> Result<Result<Reply, Error>, Violation> {
        let client = self.connect();
        client.submit(op.shard(), vec![Call { token: Token(1), op }]);
        for _ in 0..PATIENCE {
            if self.step_all().is_err() {
                return broken("the disk failed though it was not to");
            }
            for event in client.outbox().take() {
                if let Event::Reply { result, .. } = event {
                    return Ok(result);
                }
            }
        }
        broken("the engine does not answer")
    }

    pub(crate) fn connect(&self) -> Client {
        self.engine().handle().connect(Arc::new(|| {}))
    }

    pub(crate) fn engine(&self) -> &Stepped {
        self.engine.as_ref().expect("the engine is open between crashes")
    }

    /// One part of the engine goes on, chosen by chance.
    pub(crate) fn step_any(&mut self) -> Result<(), Dead> {
        let workers = self.engine().worker_count();
        if self.random.below(200) == 0 {
            self.mood.choose_slow(&self.random);
        }
        let mut part = match self.random.below(8) {
            0..4 => Part::Worker(usize::try_from(self.random.below(workers as u64)).unwrap_or(0)),
            4..6 => Part::Journal,
            6 => Part::Load,
            _ => Part::Keeper,
        };
        if self.mood.slow == Some(part) && self.random.below(30) > 0 {
            part = Part::Worker(0);
        }
        match self.random.below(320) {
            0..20 => self.clock.pass(self.random.below(20_000)),
            20..24 => self.clock.pass(300_000),
            _ => {}
        }
        let engine = self.engine.as_mut().expect("the engine is open between crashes");
        engine.step(part).map_err(|_| Dead)
    }

    /// Every part goes on, and time passes.
    pub(crate) fn step_all(&mut self) -> Result<(), Dead> {
        self.clock.pass(2_000);
        let engine = self.engine.as_mut().expect("the engine is open between crashes");
        engine.run(1).map_err(|_| Dead)
    }
}
