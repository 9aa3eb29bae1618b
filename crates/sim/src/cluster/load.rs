//! Clients: what they ask of which node, and what they make of the answers.

mod asking;
mod message;

use super::Cluster;
use super::book::{Book, Id};
use crate::Violation;
use crate::model::broken;
use bytes::Bytes;
use engine::api::{
    Append, Call, Disposition, Event, LeaseRange, Op, Payload, Reply, Settle, Source, Take, Verdict,
};
use io::sim::SimRandom;
use message::{commit, delivered_bytes, id_of, tail_of};
pub(super) use message::{group_name, group_shard, id_of_tail, named};
use record::batch::Builder;
use record::tails;
use std::collections::{BTreeMap, BTreeSet};
use types::{ConsumerId, Error, LogId, LogRef, Millis, ShardId, SubscriptionRef, Token};

/// Topics, queues and groups.
const TOPICS: usize = 5;
const QUEUES: usize = 4;
const GROUPS: usize = 3;
/// Producers that number what they send.
const PRODUCERS: usize = 4;
/// Most that a node is asked at a time.
const UNDER_WAY_MAX: usize = 60;
/// What is asked in a tick, at most.
const PER_TICK: u64 = 6;
/// After so many ticks a client gives an answer up.
pub(super) const GIVES_UP: u64 = 700;
/// What clients stamp their records with.
const TIMESTAMP: Millis = Millis(1_700_000_000_000);
/// A consumer's unsettled messages.
const PREFETCH: u32 = 8;

/// What was asked, for whom.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Append {
        log: LogId,
        ids: Vec<Id>,
    },
    Sequenced {
        producer: usize,
    },
    Take {
        queue: usize,
    },
    Settle {
        log: LogId,
        ids: Vec<Id>,
        is_done: bool,
    },
    Commit {
        group: usize,
        position: i64,
    },
    /// Somebody looks for the answer.
    Told,
}

/// A queue of the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) log: LogRef,
    pub(super) subscription: SubscriptionRef,
}

/// A producer that numbers what it sends, and sends it again until it hears that it is there.
struct Producer {
    id: i64,
    next: i32,
    log: LogRef,
    /// What is under way: the message and its batch, and since when, if somebody was asked.
    current: Option<(Id, Bytes, Option<u64>)>,
}

/// All clients.
pub(super) struct Load {
    random: SimRandom,
    pub(super) book: Book,
    pub(super) topics: Vec<LogRef>,
    pub(super) queues: Vec<Queue>,
    producers: Vec<Producer>,
    /// By node and token: since when, and what.
    asked: BTreeMap<(usize, Token), (u64, Asked)>,
    answers: BTreeMap<(usize, Token), Result<Reply, Error>>,
    /// What a consumer of a node holds, by queue.
    held: BTreeMap<(usize, usize), Vec<(Id, types::Offset)>>,
    consumes: BTreeSet<(usize, usize)>,
    positions: [i64; GROUPS],
    lives: Vec<Option<types::ClientId>>,
    numbers: Numbers,
}

/// The last token, the last message, and what was heard so far.
struct Numbers {
    token: u64,
    id: Id,
    trace: u64,
}

impl Load {
    pub(super) fn new(seed: u64) -> Load {
        Load {
            random: SimRandom::new(seed ^ 0x10ad),
            book: Book::default(),
            topics: Vec::new(),
            queues: Vec::new(),
            producers: Vec::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            held: BTreeMap::new(),
            consumes: BTreeSet::new(),
            positions: [0; GROUPS],
            lives: vec![None; super::NODES],
            numbers: Numbers { token: 0, id: 0, trace: 0xcbf2_9ce4_8422_2325 },
        }
    }

    pub(super) fn trace(&self) -> u64 {
        self.numbers.trace
    }

    fn note(&mut self, word: u64) {
        self.numbers.trace = (self.numbers.trace ^ word).wrapping_mul(0x0100_0000_01b3);
    }

    fn send(&mut self, cluster: &Cluster<'_>, node: usize, op: Op, asked: Asked) -> Option<Token> {
        self.numbers.token += 1;
        let token = Token(self.numbers.token);
        let call = vec![Call { token, op: op.clone() }];
        cluster.machines[node].with(|life| life.client.submit(op.shard(), call))?;
        self.asked.insert((node, token), (cluster.tick, asked));
        Some(token)
    }

    /// Clients ask for something.
    pub(super) fn act(&mut self, cluster: &mut Cluster<'_>) -> Result<(), Violation> {
        self.give_up(cluster.tick);
        for producer in 0..self.producers.len() {
            self.produce(cluster, producer);
        }
        for _ in 0..self.random.below(PER_TICK) {
            match self.random.below(10) {
                0..5 => self.append(cluster),
                5..8 => self.settle(cluster),
                8 => self.take(cluster),
                _ => self.commit(cluster),
            }
        }
        Ok(())
    }

    /// The node to be asked: as a rule the one that leads, and else any.
    fn node_for(&self, cluster: &Cluster<'_>, shard: ShardId) -> Option<usize> {
        let any = self.random.below(super::NODES as u64) as usize;
        let node = match self.random.chance(4) {
            true => any,
            false => leader(cluster, shard).unwrap_or(any),
        };
        let of_node = (node, Token(0))..(node + 1, Token(0));
        let is_free = self.asked.range(of_node).count() < UNDER_WAY_MAX;
        (is_free && cluster.machines[node].is_up()).then_some(node)
    }

    fn new_id(&mut self) -> Id {
        self.numbers.id += 1;
        self.numbers.id
    }

    fn append(&mut self, cluster: &mut Cluster<'_>) {
        let all = self.topics.len() + self.queues.len();
        let number = self.random.below(all as u64) as usize;
        let log = match self.topics.get(number) {
            Some(topic) => *topic,
            None => self.queues[number - self.topics.len()].log,
        };
        let Some(node) = self.node_for(cluster, log.shard) else { return };
        let count = 1 + self.random.below(3);
        let ids: Vec<Id> = (0..count).map(|_| self.new_id()).collect();
        let payload = Payload::Tails { bytes: self.packed(&ids), expiring: false };
        let append = Append { to: [log].into(), payload, waits: true };
        ids.iter().for_each(|id| self.book.sent(log.log, *id));
        cluster.tally.ops += count;
        self.send(cluster, node, Op::Append(append), Asked::Append { log: log.log, ids });
    }

    fn packed(&self, ids: &[Id]) -> Bytes {
        let mut bytes = Vec::new();
        for id in ids {
            let mark = tails::begin(&mut bytes, Some(TIMESTAMP));
            bytes.extend_from_slice(&tail_of(*id, self.random.below(60) as usize));
            tails::end(&mut bytes, mark);
        }
        bytes.into()
    }

    /// A numbered message is sent, or sent again.
    fn produce(&mut self, cluster: &mut Cluster<'_>, number: usize) {
        let producer = &self.producers[number];
        if producer.current.as_ref().is_some_and(|(.., since)| since.is_some()) {
            return;
        }
        let log = producer.log;
        let Some(node) = self.node_for(cluster, log.shard) else { return };
        if producer.current.is_none() {
            let id = self.new_id();
            let producer = &mut self.producers[number];
            let mut builder = Builder::new(TIMESTAMP);
            builder.set_producer(producer.id, 0, producer.next);
            builder.push(TIMESTAMP, &tail_of(id, 4));
            producer.current = Some((id, builder.finish(), None));
            self.book.sequenced(log.log, number as u64, id);
        }
        let Some((_, batch, since)) = &mut self.producers[number].current else { return };
        *since = Some(cluster.tick);
        let payload = Payload::Batch(batch.clone());
        let append = Append { to: [log].into(), payload, waits: true };
        cluster.tally.ops += 1;
        self.send(cluster, node, Op::Append(append), Asked::Sequenced { producer: number });
    }

    fn take(&mut self, cluster: &mut Cluster<'_>) {
        let number = self.random.below(self.queues.len() as u64) as usize;
        let queue = self.queues[number];
        let Some(node) = self.node_for(cluster, queue.log.shard) else { return };
        if !self.consumes.insert((node, number)) {
            return;
        }
        let take = Take {
            consumer: ConsumerId(number as u32 + 1),
            source: Source::Subscription(queue.subscription),
            prefetch: PREFETCH,
            window: None,
            settle_on_delivery: false,
            exclusive: false,
            priority: 0,
            sessions_max: 0,
        };
        cluster.tally.ops += 1;
        if self.send(cluster, node, Op::Take(take), Asked::Take { queue: number }).is_none() {
            self.consumes.remove(&(node, number));
        }
    }

    fn settle(&mut self, cluster: &mut Cluster<'_>) {
        let holders: Vec<(usize, usize)> =
            self.held.iter().filter(|(_, held)| !held.is_empty()).map(|(of, _)| *of).collect();
        if holders.is_empty() {
            return;
        }
        let (node, number) = holders[self.random.below(holders.len() as u64) as usize];
        let Some(held) = self.held.get_mut(&(node, number)) else { return };
        let count = 1 + self.random.below(held.len().min(4) as u64) as usize;
        let mut settled: Vec<_> = held.drain(..count).collect();
        settled.sort_unstable_by_key(|(_, offset)| *offset);
        let queue = self.queues[number];
        let log = queue.log.log;
        let ranges =
            settled.iter().map(|(_, offset)| LeaseRange { log, first: *offset, last: *offset });
        let is_done = !self.random.chance(20);
        let settle = Settle {
            consumer: ConsumerId(number as u32 + 1),
            source: Source::Subscription(queue.subscription),
            ranges: ranges.collect(),
            disposition: if is_done { Disposition::Done } else { Disposition::Returned },
        };
        let ids: Vec<Id> = settled.iter().map(|(id, _)| *id).collect();
        if is_done {
            self.book.settling(log, &ids);
        }
        cluster.tally.ops += 1;
        self.send(cluster, node, Op::Settle(settle), Asked::Settle { log, ids, is_done });
    }

    fn commit(&mut self, cluster: &mut Cluster<'_>) {
        let group = self.random.below(GROUPS as u64) as usize;
        let name = group_name(group);
        let shard = group_shard(group);
        let Some(node) = self.node_for(cluster, shard) else { return };
        // One at a time: then what is acknowledged is what is there, or something asked for later.
        let is_asked = self.asked.values().any(
            |(_, asked)| matches!(asked, Asked::Commit { group: other, .. } if *other == group),
        );
        if is_asked {
            return;
        }
        self.positions[group] += 1;
        let position = self.positions[group];
        self.book.committing(&name, position);
        cluster.tally.ops += 1;
        let op = commit(shard, &name, position);
        self.send(cluster, node, op, Asked::Commit { group, position });
    }

    /// Clients hear what there is for them.
    pub(super) fn hear(&mut self, cluster: &mut Cluster<'_>) -> Result<(), Violation> {
        for node in 0..super::NODES {
            let told = cluster.machines[node].with(|life| {
                let outbox = life.client.outbox();
                let events = outbox.take();
                let bytes: usize = events.iter().map(delivered_bytes).sum();
                if outbox.written(bytes) {
                    life.client.resume();
                }
                (life.client.id(), events)
            });
            let alive = told.as_ref().map(|(client, _)| *client);
            if alive.is_none() || self.lives[node] != alive {
                self.forget(node);
                self.lives[node] = alive;
            }
            for event in told.into_iter().flat_map(|(_, events)| events) {
                self.event(cluster, node, event)?;
            }
        }
        Ok(())
    }

    /// A node's process ended: nobody answers what it was asked.
    fn forget(&mut self, node: usize) {
        let of_node = |(of, _): &(usize, Token)| *of == node;
        let gone: Vec<(u64, Asked)> =
            self.asked.extract_if(.., |key, _| of_node(key)).map(|(_, asked)| asked).collect();
        for (_, asked) in gone {
            self.unanswered(&asked);
        }
        self.held.retain(|(of, _), _| *of != node);
        self.consumes.retain(|(of, _)| *of != node);
    }

    fn unanswered(&mut self, asked: &Asked) {
        if let Asked::Sequenced { producer } = asked
            && let Some((.., since)) = &mut self.producers[*producer].current
        {
            *since = None;
        }
    }

    /// Clients do not wait for ever.
    fn give_up(&mut self, tick: u64) {
        let late = |_: &(usize, Token), (since, asked): &mut (u64, Asked)| {
            tick - *since > GIVES_UP && !matches!(asked, Asked::Take { .. })
        };
        let late: Vec<(u64, Asked)> =
            self.asked.extract_if(.., late).map(|(_, asked)| asked).collect();
        late.iter().for_each(|(_, asked)| self.unanswered(asked));
    }

    fn event(
        &mut self,
        cluster: &mut Cluster<'_>,
        node: usize,
        event: Event,
    ) -> Result<(), Violation> {
        match event {
            Event::Reply { token, result } => {
                let Some((_, asked)) = self.asked.remove(&(node, token)) else { return Ok(()) };
                self.note(token.0 << 1 | u64::from(result.is_ok()));
                self.answered(cluster, (node, token), asked, result)
            }
            Event::Deliver { consumer, items } => {
                let number = consumer.0 as usize - 1;
                let queue = self.queues[number];
                let term = term_of(cluster, node, queue.log.shard);
                for item in &items {
                    let id = id_of(item)?;
                    self.note(id << 20 ^ item.offset.0 as u64);
                    self.book.delivered(queue.log.log, id, term)?;
                    self.held.entry((node, number)).or_default().push((id, item.offset));
                }
                Ok(())
            }
            Event::ConsumerGone { consumer } => {
                let number = consumer.0 as usize - 1;
                // What was settled and not answered was not its any more.
                let gone = self.queues[number].log.log;
                let of_it = self.asked.iter_mut().filter(|((of, _), _)| *of == node);
                for (_, (_, asked)) in of_it {
                    if let Asked::Settle { log, is_done, .. } = asked {
                        *is_done &= *log != gone;
                    }
                }
                self.held.remove(&(node, number));
                self.consumes.remove(&(node, number));
                Ok(())
            }
            Event::Blocked(_) => Ok(()),
        }
    }

    fn answered(
        &mut self,
        cluster: &mut Cluster<'_>,
        (node, token): (usize, Token),
        asked: Asked,
        result: Result<Reply, Error>,
    ) -> Result<(), Violation> {
        let reply = match (asked, result) {
            (Asked::Told, result) => {
                self.answers.insert((node, token), result);
                return Ok(());
            }
            (Asked::Take { queue }, Err(_)) => {
                self.consumes.remove(&(node, queue));
                return Ok(());
            }
            (asked, Err(_)) => {
                self.unanswered(&asked);
                return Ok(());
            }
            (asked, Ok(reply)) => (asked, reply),
        };
        cluster.tally.acknowledged += 1;
        match reply {
            (Asked::Append { log, ids }, Reply::Appended(at))
                if at.verdict == Verdict::Appended =>
            {
                for (at, id) in (at.base_offset.0..).zip(ids) {
                    self.book.acknowledged(log, (id, types::Offset(at)))?;
                }
                Ok(())
            }
            (Asked::Sequenced { producer }, Reply::Appended(at))
                if matches!(at.verdict, Verdict::Appended | Verdict::Duplicate) =>
            {
                let of = &mut self.producers[producer];
                if let Some((id, ..)) = of.current.take() {
                    of.next += 1;
                    let log = of.log.log;
                    self.book.acknowledged(log, (id, at.base_offset))?;
                }
                Ok(())
            }
            (Asked::Settle { log, ids, is_done: true }, _) => {
                let shard = self.shard_of(log);
                if let Some(term) = term_of(cluster, node, shard) {
                    self.book.settled(log, &ids, term);
                }
                Ok(())
            }
            (Asked::Commit { group, position }, Reply::Group(_) | Reply::Done) => {
                self.book.committed(&group_name(group), position);
                Ok(())
            }
            (Asked::Settle { .. } | Asked::Take { .. }, _) => Ok(()),
            (asked, reply) => broken(format!("{asked:?} is answered by {reply:?}")),
        }
    }

    fn shard_of(&self, log: LogId) -> ShardId {
        let queue = self.queues.iter().find(|queue| queue.log.log == log);
        queue.map_or(ShardId(0), |queue| queue.log.shard)
    }

    /// Nothing more is asked; consumers of all nodes end with what they hold.
    pub(super) fn end(&mut self) {
        self.asked.clear();
        self.held.clear();
    }
}

/// The node that leads a shard in the highest term.
pub(super) fn leader(cluster: &Cluster<'_>, shard: ShardId) -> Option<usize> {
    let terms = (0..super::NODES).filter_map(|node| Some((term_of(cluster, node, shard)?, node)));
    terms.max().map(|(_, node)| node)
}

/// The term in which a shard is led, if it is.
pub(super) fn term(cluster: &Cluster<'_>, shard: ShardId) -> Option<u32> {
    (0..super::NODES).filter_map(|node| term_of(cluster, node, shard)).max()
}

fn term_of(cluster: &Cluster<'_>, node: usize, shard: ShardId) -> Option<u32> {
    let leading = cluster.machines[node].leading();
    leading.into_iter().find(|(led, _)| *led == shard).map(|(_, term)| term)
}
