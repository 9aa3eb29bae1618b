//! A client of a run: what it asks at random, and what it makes of the answers.

mod body;
mod committing;
mod delivering;
mod draining;
pub(crate) mod events;
mod filling;
mod moving;
mod once;
mod ranking;
mod recurring;
mod replaying;
mod scheduling;
mod sessions;
mod trimming;

use crate::model::{Id, Model, Violation, broken};
use crate::world::{MIXED, QueueUnderTest, World};
pub(crate) use body::id_of;
use body::{encode, payload};
use bytes::Bytes;
use engine::api::{
    Append, Appended, Call, Disposition, Event, LeaseRange, Op, Payload, Reply, Settle, Source,
    Take, Transaction, Verdict,
};
use engine::groups;
use engine::{Client, GroupName};
use events::Expectation;
use io::Clock as _;
use io::sim::SimRandom;
use record::batch::Builder;
use recurring::Recurs;
use replaying::Replaying;
use sessions::{States, Stating};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use types::{ConsumerId, Error, Kind, LogId, LogRef, Millis, Offset, ShardId, Token};

/// What producers stamp their records with.
const TIMESTAMP: Millis = Millis(1_700_000_000_000);

/// What was asked and not answered.
#[derive(Clone, Debug)]
enum Asked {
    Append { logs: Vec<LogId>, ids: Vec<Id> },
    Once { log: LogId, ids: Vec<Id> },
    Settle { log: LogId, ids: Vec<Id> },
    Return { log: LogId, ids: Vec<Id>, last: Vec<Id>, waits: Vec<(Id, Millis)> },
    Transaction { logs: Vec<LogId>, ids: Vec<Id>, settled: Vec<(LogId, Id)> },
    Commit { group: String, number: usize },
    Trim { log: LogId, before: Offset },
    Schedule { logs: Vec<LogId>, ids: Vec<Id> },
    Move { from: LogId, to: LogId, id: Id },
    Fade { from: LogId, to: LogId, ids: Vec<Id> },
    Reject { from: LogId, to: LogId, id: Id },
    Fill { bounded: LogId, others: Vec<LogId>, ids: Vec<Id> },
    Unschedule { log: LogId, entries: Vec<(Offset, Id)> },
    Replay(Replaying),
    Recurs(Recurs),
    State(Stating),
    Expecting(Expectation),
    ReadKey { log: LogId, key: u64, known: Vec<Offset> },
    Purge,
    Other,
}

/// How long an idempotent producer may send its last batch again: half of what the engine remembers.
const SENT_AGAIN_MAX: Millis = Millis(15_000);

/// An idempotent producer's next batch, and the last one it may send again.
#[derive(Debug)]
struct Sequence {
    log: LogRef,
    next: i32,
    last: Option<(Bytes, Vec<Id>, bool)>,
    /// When a batch was new last.
    sent: Millis,
}

pub(crate) struct SimClient {
    number: u64,
    client: Client,
    next_id: u64,
    asked: BTreeMap<Token, Asked>,
    /// Leases, by queue number.
    held: BTreeMap<usize, BTreeMap<Offset, Id>>,
    consumes: BTreeSet<usize>,
    /// The last offset a queue delivered that was not a redelivery.
    highest: BTreeMap<usize, Offset>,
    producer: Option<Sequence>,
    /// The level and the place of what the queue with priorities delivered last, where everything is
    /// ready when it begins.
    ranked: Option<Option<(Reverse<u8>, Offset)>>,
    /// Deliveries.
    taken: usize,
    /// Messages that the queue takes once, and when each was sent first; a new life of the client
    /// still knows them.
    sent_once: Vec<(Id, Millis)>,
    states: States,
}

impl SimClient {
    pub(crate) fn new(number: u64, world: &World) -> SimClient {
        SimClient {
            number,
            client: world.connect(),
            next_id: 0,
            asked: BTreeMap::new(),
            held: BTreeMap::new(),
            consumes: BTreeSet::new(),
            highest: BTreeMap::new(),
            producer: None,
            ranked: None,
            taken: 0,
            sent_once: Vec::new(),
            states: States::default(),
        }
    }

    /// The process ended: nothing that was asked will be answered. The client comes back.
    pub(crate) fn reconnect(&mut self, world: &World) {
        self.client = world.connect();
        self.asked.clear();
        self.held.clear();
        self.consumes.clear();
        self.highest.clear();
        self.producer = None;
        self.states.cut_off();
    }

    /// The connection breaks and the client comes back, with the process going on.
    pub(crate) fn drop_connection(&mut self, world: &mut World) {
        for (number, held) in std::mem::take(&mut self.held) {
            let log = world.queues[number].log.log;
            held.values().for_each(|id| world.model.log(log).returned(*id));
        }
        world.model.sessions.gone(self.number);
        world.returned_unseen();
        world.model.active.retain(|_, active| *active != self.number);
        self.reconnect(world);
    }

    pub(crate) fn connected_clean(&self) -> bool {
        self.asked.is_empty()
    }

    fn send(&mut self, world: &mut World, op: Op, asked: Asked) {
        world.next_token += 1;
        let token = Token(world.next_token);
        self.asked.insert(token, asked);
        self.client.submit(op.shard(), vec![Call { token, op }]);
    }

    /// Does one thing chosen by chance.
    pub(crate) fn act(&mut self, world: &mut World) {
        match world.random.below(45) {
            0..7 => self.append(world),
            7..9 => self.append_sequenced(world),
            9..12 => self.take(world),
            12..17 => self.settle(world),
            17 => self.transact(world),
            18 => self.commit(world),
            19..21 => self.schedule(world),
            21 => self.unschedule(world),
            22..24 => self.move_one(world),
            24..26 => self.reject_one(world),
            26 => self.fade(world),
            27..30 => self.fill(world),
            30..33 => self.append_once(world),
            33 => self.replay(world),
            34..38 => self.append_events(world),
            38..40 => self.read_events(world),
            40..42 => self.keep_state(world),
            42..44 => self.recur(world),
            _ => self.trim(world),
        }
    }

    fn new_ids(&mut self, count: u64) -> Vec<Id> {
        let first = self.next_id;
        self.next_id += count;
        (first..first + count).map(|id| Id(self.number << 40 | id)).collect()
    }

    fn append(&mut self, world: &mut World) {
        let mut everything: Vec<LogRef> = world.queues.iter().map(|queue| queue.log).collect();
        if world.mood.reaches_topics(&world.random) {
            everything.extend(&world.topics);
        }
        let first = everything[pick(&world.random, everything.len())];
        if self.is_enough(world, first.log) {
            return self.consume(world);
        }
        let mut to: Vec<LogRef> = everything
            .into_iter()
            .filter(|log| log.shard == first.shard && (*log == first || world.random.chance(20)))
            .collect();
        to.sort_unstable();
        let count = 1 + world.random.below(4);
        let ids = self.new_ids(count);
        let logs: Vec<LogId> = to.iter().map(|log| log.log).collect();
        logs.iter().for_each(|log| world.model.log(*log).asked(&ids));
        let append = Append { to: to.into(), payload: payload(&world.random, &ids), waits: true };
        self.send(world, Op::Append(append), Asked::Append { logs, ids });
    }

    /// A batch of an idempotent producer: a new one, or the last one again.
    fn append_sequenced(&mut self, world: &mut World) {
        let topic = match world.mood.reaches_topics(&world.random) {
            true => world.topics[pick(&world.random, world.topics.len())],
            false => world.queues[pick(&world.random, world.queues.len())].log,
        };
        if self.is_enough(world, topic.log) {
            return self.consume(world);
        }
        let number = i64::try_from(self.number).unwrap_or(0);
        let again = world.random.chance(30);
        let fresh = self.new_ids(1);
        let now = world.clock.now();
        let new = Sequence { log: topic, next: 0, last: None, sent: now };
        let producer = self.producer.get_or_insert(new);
        let again = again && now.since(producer.sent) <= SENT_AGAIN_MAX;
        let (batch, ids) = match &producer.last {
            Some((batch, ids, _)) if again => (batch.clone(), ids.clone()),
            _ => {
                let mut builder = Builder::new(TIMESTAMP);
                // Each life of the client is a producer of its own.
                let life = i64::try_from(fresh[0].0 & 0xff_ffff).unwrap_or(0);
                let id = producer.last.as_ref().map_or(number << 32 | life, |(batch, ..)| {
                    i64::from_be_bytes(batch[43..51].try_into().expect("eight bytes"))
                });
                builder.set_producer(id, 0, producer.next);
                builder.push(TIMESTAMP, &encode(&world.random, fresh[0]));
                producer.next += 1;
                producer.sent = now;
                world.model.log(producer.log.log).asked(&fresh);
                (builder.finish(), fresh)
            }
        };
        let log = producer.log;
        producer.last = Some((batch.clone(), ids.clone(), false));
        let append = Append { to: [log].into(), payload: Payload::Batch(batch), waits: true };
        self.send(world, Op::Append(append), Asked::Append { logs: vec![log.log], ids });
    }

    /// Whether a log holds so much that there has to be less first.
    fn is_enough(&self, world: &mut World, log: LogId) -> bool {
        let backlog_max = world.shape.backlog_max;
        world.model.log(log).backlog() >= backlog_max
    }

    /// Does what makes backlogs shorter.
    fn consume(&mut self, world: &mut World) {
        match world.random.below(4) {
            0 => self.take(world),
            1 => self.trim(world),
            _ => self.settle(world),
        }
    }

    fn take(&mut self, world: &mut World) {
        let number = pick(&world.random, world.queues.len());
        if !self.consumes.insert(number) {
            return;
        }
        let source = Source::Subscription(world.queues[number].subscription);
        if number == MIXED {
            self.states.sessions_max = u32::try_from(world.random.below(3)).unwrap_or(0);
        }
        let take = Take {
            consumer: consumer(number),
            source,
            prefetch: u32::try_from(1 + world.random.below(20)).unwrap_or(1),
            window: None,
            settle_on_delivery: false,
            exclusive: false,
            priority: 0,
            sessions_max: if number == MIXED { self.states.sessions_max } else { 0 },
        };
        self.send(world, Op::Take(take), Asked::Other);
    }

    /// Settles or returns some of what it holds.
    fn settle(&mut self, world: &mut World) {
        let Some((number, offsets)) = self.choose_held(world) else { return };
        let QueueUnderTest { log, subscription } = world.queues[number];
        let disposition = match world.random.below(100) {
            0..20 => Disposition::Returned,
            20..28 => Disposition::Released,
            _ => Disposition::Done,
        };
        let now = world.clock.now();
        let (ids, ranges) = self.release(number, log.log, &offsets);
        let model = world.model.log(log.log);
        let last: Vec<Id> = ids.iter().copied().filter(|id| model.is_last_attempt(*id)).collect();
        let failed = disposition == Disposition::Returned;
        let waits = ids.iter().filter_map(|id| model.wait_of(*id, failed, now)).collect();
        for id in &ids {
            if number == MIXED && disposition != Disposition::Done {
                world.model.sessions.returned(*id, self.number);
            }
            match disposition {
                Disposition::Returned => {
                    world.model.log(log.log).returned(*id);
                    world.may_have_returned(log.log, *id);
                }
                Disposition::Released => world.model.log(log.log).returned(*id),
                _ => world.model.log(log.log).settle_asked(*id),
            }
        }
        let source = Source::Subscription(subscription);
        let settle = Settle { consumer: consumer(number), source, ranges, disposition };
        let asked = match disposition {
            Disposition::Returned => Asked::Return { log: log.log, ids, last, waits },
            // Nothing is counted of these.
            Disposition::Released => {
                Asked::Return { log: log.log, ids: Vec::new(), last: Vec::new(), waits }
            }
            _ => Asked::Settle { log: log.log, ids },
        };
        self.send(world, Op::Settle(settle), asked);
    }

    fn choose_held(&mut self, world: &World) -> Option<(usize, Vec<Offset>)> {
        let number = pick(&world.random, world.queues.len());
        let held = self.held.get(&number).filter(|held| !held.is_empty())?;
        let (odds, most) = if world.mood.prompt { (100, usize::MAX) } else { (60, 8) };
        let wanted = held.iter().filter(|(_, id)| !world.mood.parks(**id));
        let some = wanted.map(|(offset, _)| *offset).filter(|_| world.random.chance(odds));
        let some: Vec<Offset> = some.take(most).collect();
        (!some.is_empty()).then_some((number, some))
    }

    fn release(
        &mut self,
        number: usize,
        log: LogId,
        offsets: &[Offset],
    ) -> (Vec<Id>, Vec<LeaseRange>) {
        let held = self.held.entry(number).or_default();
        let ids = offsets.iter().filter_map(|offset| held.remove(offset)).collect();
        let range = |offset: &Offset| LeaseRange { log, first: *offset, last: *offset };
        (ids, offsets.iter().map(range).collect())
    }

    /// Settles something and appends something, all or nothing.
    fn transact(&mut self, world: &mut World) {
        let Some((number, offsets)) = self.choose_held(world) else { return };
        let QueueUnderTest { log, subscription } = world.queues[number];
        let (settled, ranges) = self.release(number, log.log, &offsets);
        settled.iter().for_each(|id| world.model.log(log.log).settle_asked(*id));
        let ids = self.new_ids(1);
        world.model.log(log.log).asked(&ids);
        let transaction = Transaction {
            shard: log.shard,
            appends: vec![Append {
                to: [log].into(),
                payload: payload(&world.random, &ids),
                waits: true,
            }],
            settles: vec![Settle {
                consumer: consumer(number),
                source: Source::Subscription(subscription),
                ranges,
                disposition: Disposition::Done,
            }],
        };
        let settled = settled.into_iter().map(|id| (log.log, id)).collect();
        let asked = Asked::Transaction { logs: vec![log.log], ids, settled };
        self.send(world, Op::Transaction(transaction), asked);
    }

    /// Takes in what has arrived.
    pub(crate) fn listen(&mut self, world: &mut World) -> Result<(), Violation> {
        for event in self.client.outbox().take() {
            match event {
                Event::Reply { token, result } => self.answered(world, token, result)?,
                Event::Deliver { consumer, items } => {
                    let bytes = items.iter().map(engine::delivery_bytes).sum();
                    for item in items {
                        self.delivered(world, consumer, &item)?;
                    }
                    if self.client.outbox().written(bytes) {
                        self.client.resume();
                    }
                }
                Event::ConsumerGone { .. } => return broken("a consumer lost its queue"),
                Event::Blocked(_) => {}
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        world: &mut World,
        token: Token,
        result: Result<Reply, Error>,
    ) -> Result<(), Violation> {
        let model = &mut world.model;
        match (self.asked.remove(&token), result) {
            (Some(Asked::Append { logs, ids }), Ok(Reply::Appended(appended))) => {
                model.append_answered(&logs, &ids, &appended)?;
            }
            (Some(Asked::Once { log, ids }), Ok(Reply::Appended(appended))) => {
                model.once_answered(log, &ids, &appended)?;
            }
            (Some(Asked::Settle { log, ids }), Ok(Reply::Done)) => {
                ids.iter().for_each(|id| model.log(log).settle_proven(*id));
            }
            (Some(Asked::Return { log, ids, last, waits }), Ok(Reply::Done)) => {
                model.log(log).returns_proven(&ids, waits);
                last.into_iter().for_each(|id| world.died(log, id));
            }
            (Some(Asked::Transaction { logs, ids, settled }), Ok(Reply::Done)) => {
                logs.iter().for_each(|log| model.log(*log).acknowledged(&ids, None));
                settled.iter().for_each(|(log, id)| model.log(*log).settle_proven(*id));
            }
            (Some(Asked::Commit { group, number }), Ok(Reply::Group(reply))) => match *reply {
                groups::Reply::Committed(results) if results.iter().all(Result::is_ok) => {
                    model.commit_proven(&group, number);
                }
                reply => return broken(format!("a commit was answered: {reply:?}")),
            },
            (Some(Asked::Trim { log, before }), Ok(Reply::Trimmed(start))) if start >= before => {
                model.log(log).trim_proven(before);
            }
            (Some(Asked::Schedule { logs, ids }), Ok(Reply::Appended(appended))) => {
                for (at, log) in logs.iter().enumerate() {
                    let base = (at == 0).then_some(appended.base_offset);
                    model.log(*log).timetable.acknowledged(&ids, base);
                }
            }
            (Some(Asked::Unschedule { log, entries }), Ok(Reply::Unscheduled(taken))) => {
                model.log(log).timetable.cancel_answered(&entries, &taken)?;
            }
            (Some(Asked::Move { from, to, id }), Ok(Reply::Moved(1))) => {
                model.log(from).withdrawn(id);
                model.log(to).timetable.acknowledged(&[id], None);
            }
            (Some(Asked::Fade { from, to, ids }), Ok(Reply::Appended(appended))) => {
                model.log(from).acknowledged(&ids, Some(appended.base_offset));
                model.log(to).timetable.acknowledged(&ids, None);
            }
            (Some(Asked::Reject { from, to, id }), Ok(Reply::Done)) => {
                model.log(from).settle_proven(id);
                model.log(to).timetable.acknowledged(&[id], None);
            }
            (Some(Asked::Fill { bounded, others, ids }), result) => {
                model.filled((bounded, &others), &ids, result)?;
            }
            (Some(Asked::State(asked)), Ok(reply)) => self.states.answered(asked, reply)?,
            (Some(Asked::Replay(asked)), Ok(reply)) => asked.answered(model, token, &reply)?,
            (Some(Asked::Recurs(asked)), Ok(Reply::Recurred(recurred, entry))) => {
                asked.answered(model, (recurred, entry.as_deref()), world.clock.now())?;
            }
            (Some(Asked::Expecting(asked)), Ok(Reply::Appended(appended))) => {
                model.expecting_answered(&asked, &appended)?;
            }
            (Some(Asked::ReadKey { log, key, known }), Ok(Reply::Keyed(keyed))) => {
                model.key_read((log, key), &known, &keyed)?;
            }
            (Some(Asked::Purge), Ok(_)) => world.purged(),
            (Some(Asked::Other), Ok(_)) => {}
            // Refused before anything was done: as much a matter of luck as a lost answer.
            (Some(_), Err(Error { kind: Kind::Throttled, .. })) => {}
            (asked, result) => return broken(format!("{asked:?} was answered {result:?}")),
        }
        Ok(())
    }
}

impl Model {
    /// An append was answered.
    fn append_answered(
        &mut self,
        logs: &[LogId],
        ids: &[Id],
        appended: &Appended,
    ) -> Result<(), Violation> {
        match appended.verdict {
            Verdict::Appended if ids.iter().any(|id| id.is_event()) => {
                self.events_acknowledged(logs[0], ids, appended.base_offset)
            }
            Verdict::Appended | Verdict::Duplicate => {
                for (at, log) in logs.iter().enumerate() {
                    let base = (at == 0).then_some(appended.base_offset);
                    self.log(*log).acknowledged(ids, base);
                }
                Ok(())
            }
            verdict => broken(format!("an append was refused: {verdict:?}")),
        }
    }

    /// What the record holds and where it is must fit what is known.
    pub(crate) fn look(
        &mut self,
        log: LogId,
        (offset, tail): (Offset, &[u8]),
        now: Millis,
    ) -> Result<Id, Violation> {
        let id = id_of(tail)?;
        self.log(log).timetable.on_time(id, now)?;
        self.log(log).seen(id, offset)?;
        if id.is_event() {
            self.events.noted(id, offset)?;
        }
        Ok(id)
    }
}

pub(crate) fn group_name(group: &str) -> GroupName {
    GroupName { namespace: "/".into(), group: group.into() }
}

/// The shard that coordinates a group.
pub(crate) fn group_shard(world: &World, group: &str) -> ShardId {
    world.engine().handle().names().group_shard("/", group)
}

fn consumer(queue: usize) -> ConsumerId {
    ConsumerId(u32::try_from(queue).unwrap_or(u32::MAX))
}

fn pick(random: &SimRandom, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).unwrap_or(0)
}
