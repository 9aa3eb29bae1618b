//! The engine as its front ends see it, on a simulated disk, one step at a time.

mod ahead;
mod dead;
mod fairness;
mod forgetting;
mod keeping;
mod keyed;
mod memory;
mod moving;
mod names;
mod once;
mod ordering;
mod overflow;
mod pacing;
mod policies;
mod priorities;
mod queues;
mod recurring;
mod replaying;
mod replicas;
mod retries;
mod returns;
mod schedules;
mod sessions;
mod single;
mod slabs;
mod space;
mod store;
mod streams;
mod unzip;

use crate::api::{Append, Call, Event, Op, Payload, Reply};
use crate::{Client, Options, Sizes, Stepped, UnzipSizes};
use bytes::Bytes;
use catalog::{Action, Change, Config, DeclareQueue, DeclareTopic, Outcome, QueueOptions, Refusal};
use io::sim::{SimClock, SimDisk, SimRandom};
use record::{tail, tails};
use std::sync::Arc;
use types::{Error, LogRef, Millis, SubscriptionRef, Token};

/// A broker on a simulated disk, and one client of it.
pub(super) struct Stage {
    pub(super) disk: Arc<SimDisk>,
    pub(super) clock: Arc<SimClock>,
    pub(super) engine: Stepped,
    pub(super) client: Client,
    pub(super) events: Vec<Event>,
    shards: u16,
    sizes: Sizes,
    memory_limit: usize,
    next_token: u64,
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage::with_shards(1)
    }

    pub(super) fn with_shards(shards: u16) -> Stage {
        Stage::open(Arc::new(SimDisk::new(7)), shards)
    }

    /// With one shard, on a disk.
    pub(super) fn on(disk: &Arc<SimDisk>) -> Stage {
        Stage::open(Arc::clone(disk), 1)
    }

    fn open(disk: Arc<SimDisk>, shards: u16) -> Stage {
        let clock = Arc::new(SimClock::new(Millis(1_700_000_000_000)));
        let sizes = small_sizes();
        let memory_limit = 1 << 30;
        let engine = open(&disk, &clock, shards, (&sizes, memory_limit));
        let client = engine.handle().connect(Arc::new(|| {}));
        Stage {
            disk,
            clock,
            engine,
            client,
            events: Vec::new(),
            shards,
            sizes,
            memory_limit,
            next_token: 0,
        }
    }

    /// With rounds and segments as long as a broker's.
    pub(super) fn roomy() -> Stage {
        let mut stage = Stage::with_shards(1);
        stage.sizes = Sizes::default();
        stage.crash();
        stage
    }

    /// With so much memory, in bytes.
    pub(super) fn with_memory(limit: usize) -> Stage {
        let mut stage = Stage::new();
        stage.memory_limit = limit;
        stage.crash();
        stage
    }

    /// Cuts the power: what was not synced may be lost. Opens the store again.
    pub(super) fn crash(&mut self) {
        self.disk.crash_at(self.disk.calls());
        self.disk.restart();
        self.open_again();
    }

    /// Ends the process as SIGKILL would: the page cache survives. Opens the store again.
    pub(super) fn reopen(&mut self) {
        self.disk.kill();
        self.open_again();
    }

    fn open_again(&mut self) {
        self.engine = open(&self.disk, &self.clock, self.shards, (&self.sizes, self.memory_limit));
        self.client = self.engine.handle().connect(Arc::new(|| {}));
        self.events.clear();
    }

    pub(super) fn run(&mut self) {
        // Long enough for a frame that waits for company.
        for _ in 0..8 {
            self.engine.run(4).expect("the disk works");
            self.clock.pass(3_000);
        }
        self.events.extend(self.client.outbox().take());
    }

    pub(super) fn send(&mut self, op: Op) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.client.submit(op.shard(), vec![Call { token, op }]);
        token
    }

    pub(super) fn call(&mut self, op: Op) -> Result<Reply, Error> {
        let token = self.send(op);
        self.run();
        self.answer(token).expect("the call is answered")
    }

    pub(super) fn answer(&mut self, wanted: Token) -> Option<Result<Reply, Error>> {
        let at = self
            .events
            .iter()
            .position(|event| matches!(event, Event::Reply { token, .. } if *token == wanted))?;
        match self.events.remove(at) {
            Event::Reply { result, .. } => Some(result),
            _ => None,
        }
    }

    pub(super) fn change(&mut self, action: Action) -> Result<Outcome, Refusal> {
        let mut change = Change::new("/", action);
        let layer = self.engine.handle().names().place(&mut change)?;
        let shard = crate::shard_of(layer);
        match self.call(Op::Change { shard, change: Box::new(change) }) {
            Ok(Reply::Changed(result)) => *result,
            other => panic!("not an answer to a change: {other:?}"),
        }
    }

    pub(super) fn queue(&mut self, name: &str, options: QueueOptions) -> (LogRef, SubscriptionRef) {
        let declare = DeclareQueue {
            name: name.into(),
            id: self.engine.handle().new_topic_id(),
            durable: true,
            exclusive: None,
            auto_delete: false,
            server_named: false,
            arguments: Default::default(),
            options,
        };
        match self.change(Action::DeclareQueue(declare)) {
            Ok(Outcome::Queue { log, subscription, .. }) => (log, subscription),
            other => panic!("the queue was not declared: {other:?}"),
        }
    }

    pub(super) fn topic(&mut self, name: &str, partitions: u32, config: Config) -> Arc<[LogRef]> {
        let id = self.engine.handle().new_topic_id();
        let declare = DeclareTopic { name: name.into(), id, partitions, config };
        match self.change(Action::DeclareTopic(declare)) {
            Ok(Outcome::Topic { partitions, .. }) => partitions,
            other => panic!("the topic was not declared: {other:?}"),
        }
    }

    pub(super) fn publish(&mut self, to: &[LogRef], values: &[&str]) -> Result<Reply, Error> {
        self.call(append(to, values, None))
    }

    /// The values delivered so far, with `!` behind those marked redelivered.
    pub(super) fn delivered(&mut self) -> Vec<String> {
        let mut values = Vec::new();
        self.events.retain_mut(|event| match event {
            Event::Deliver { items, .. } => {
                values.extend(items.drain(..).map(|item| {
                    let view = tail::decode(&item.tail).expect("a stored tail");
                    let value = String::from_utf8_lossy(view.value.unwrap_or(b"null"));
                    format!("{value}{}", if item.redelivered { "!" } else { "" })
                }));
                false
            }
            _ => true,
        });
        values
    }
}

fn open(
    disk: &Arc<SimDisk>,
    clock: &Arc<SimClock>,
    shards: u16,
    (sizes, memory_limit): (&Sizes, usize),
) -> Stepped {
    let sizes = sizes.clone();
    let options =
        Options { clock: Arc::clone(clock) as _, shards, memory_limit, sizes, ..options(disk) };
    Stepped::open(options).expect("the store opens")
}

/// What the tests open a store with.
pub(super) fn options(disk: &Arc<SimDisk>) -> Options {
    Options {
        disk: Arc::clone(disk) as _,
        clock: Arc::new(SimClock::new(Millis(1_700_000_000_000))),
        random: Arc::new(SimRandom::new(3)),
        workers: 1,
        shards: 1,
        memory_limit: 1 << 30,
        cache_bytes: 1 << 20,
        salvage: false,
        disk_free_min: None,
        scrub_bytes: 0,
        producer_idle: crate::PRODUCER_IDLE,
        sizes: small_sizes(),
    }
}

/// An append of one record per value, each with a time to live if given.
pub(super) fn append(to: &[LogRef], values: &[&str], ttl: Option<&str>) -> Op {
    let mut bytes = Vec::new();
    for value in values {
        let mut encoded = Vec::new();
        let headers = ttl.map(|ttl| (&b"expiration"[..], Some(ttl.as_bytes())));
        tail::encode(&mut encoded, None, Some(value.as_bytes()), headers.into_iter());
        tails::push(&mut bytes, None, &encoded);
    }
    let payload = Payload::Tails { bytes: Bytes::from(bytes), expiring: ttl.is_some() };
    Op::Append(Append { to: to.into(), payload, waits: true })
}

/// Sizes with which little fills a segment.
pub(super) fn small_sizes() -> Sizes {
    Sizes {
        segment_bytes: vec![256 << 10],
        round_bytes_max: 128 << 10,
        part_bytes: 64 << 10,
        checkpoint_bytes: 1 << 20,
        under_way_bytes: 100 << 10,
        checkpoint_inline_bytes: 1 << 10,
        checkpoint_slice_bytes: 256,
        chunk_bits: 1,
        schedule_near_max: 16,
        page_cache_bytes: 2 << 10,
        page_runs_max: 4,
        unzip: UnzipSizes { bytes_per_s: 0, ..UnzipSizes::default() },
    }
}
