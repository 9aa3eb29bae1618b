//! What clients do while nodes come and go, and what has to be so in the end.

use super::script::{NODES, Script};
use crate::api::{
    Append, Call, Delivery, Disposition, Event, Get, LeaseRange, Op, Payload, Read, ReadFrom,
    Reply, Schedule, Settle, Source, Take,
};
use crate::tests::append;
use crate::{GroupName, Part, Stepped};
use catalog::{Action, Change, Config, DeclareQueue, DeclareTopic, Outcome, QueueOptions, TopicId};
use groups::{Commit, Generation, OffsetKey, OffsetToCommit};
use io::Clock;
use record::batch::Builder;
use record::tail;
use std::collections::{BTreeMap, BTreeSet};
use types::{
    ConsumerId, Error, Kind, LogId, LogRef, Millis, Offset, ShardId, SubscriptionRef, Token,
};

/// What a call was for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Append(u64),
    Topic(u64),
    Later(u64),
    Settle(Vec<(LogId, Offset)>),
    Take,
    Commit(i64),
    /// Of a queue of this name.
    Declare(String),
    /// Whatever the answer is.
    Any,
    Other,
}

/// Three replicas, and clients that know which of them to ask.
pub(super) struct Broker {
    pub(super) script: Script,
    calls: BTreeMap<(usize, Token), Asked>,
    answers: BTreeMap<(usize, Token), Result<Reply, Error>>,
    last_token: u64,
    queue: Option<(LogRef, SubscriptionRef)>,
    topic: Option<LogRef>,
    next: u64,
    pub(super) acked: BTreeSet<u64>,
    in_topic: BTreeMap<u64, Offset>,
    sent: BTreeSet<u64>,
    /// Where each value was seen.
    seen: BTreeMap<u64, Offset>,
    settled: BTreeSet<Offset>,
    /// A settle of them was sent.
    unsure: BTreeSet<Offset>,
    /// With whom a message is.
    held: Vec<(usize, LogId, Offset)>,
    consumers: [bool; NODES],
    committed: (i64, i64),
    /// Queues whose declaration was answered.
    pub(super) declared: BTreeSet<String>,
    /// What queues are declared with.
    pub(super) options: QueueOptions,
    /// Messages may be in several places, one after another.
    pub(super) moves: bool,
    /// So many were moved.
    pub(super) moved: u64,
}

pub(super) fn append_value(log: LogRef, value: &str) -> Op {
    append(&[log], &[value], None)
}

/// An append of a batch that stays by itself.
fn append_batch(log: LogRef, value: &str) -> Op {
    let mut bytes = Vec::new();
    tail::encode(&mut bytes, None, Some(value.as_bytes()), std::iter::empty());
    let mut builder = Builder::new(Millis(0));
    builder.push(Millis(0), &bytes);
    let payload = Payload::Batch(builder.finish());
    Op::Append(Append { to: [log].into(), payload, waits: true })
}

/// Declares a queue.
pub(super) fn declaration(name: &str, id: TopicId, options: QueueOptions) -> DeclareQueue {
    DeclareQueue {
        name: name.into(),
        id,
        durable: true,
        exclusive: None,
        auto_delete: false,
        server_named: false,
        arguments: Default::default(),
        options,
    }
}

fn value_of(item: &Delivery) -> String {
    let view = tail::decode(&item.tail).expect("a stored tail");
    String::from_utf8_lossy(view.value.unwrap_or(b"null")).into_owned()
}

impl Broker {
    pub(super) fn new(seed: u64, shards: u16) -> Broker {
        Broker::of(Script::new(seed, shards))
    }

    pub(super) fn of(script: Script) -> Broker {
        Broker {
            script,
            calls: BTreeMap::new(),
            answers: BTreeMap::new(),
            last_token: 0,
            queue: None,
            topic: None,
            next: 0,
            acked: BTreeSet::new(),
            in_topic: BTreeMap::new(),
            sent: BTreeSet::new(),
            seen: BTreeMap::new(),
            settled: BTreeSet::new(),
            unsure: BTreeSet::new(),
            held: Vec::new(),
            consumers: [false; NODES],
            committed: (-1, -1),
            declared: BTreeSet::new(),
            options: QueueOptions::default(),
            moves: false,
            moved: 0,
        }
    }

    pub(super) fn elect(&mut self, shard: ShardId, node: usize) {
        self.script.elect(shard, node);
        self.hear();
    }

    /// The queue is there already.
    pub(super) fn uses(&mut self, queue: (LogRef, SubscriptionRef)) {
        self.queue = Some(queue);
    }

    pub(super) fn subscription(&self) -> SubscriptionRef {
        self.queue.expect("it was declared").1
    }

    pub(super) fn send(&mut self, node: usize, op: Op, asked: Asked) -> Option<Token> {
        let client = self.script.nodes[node].client.as_ref()?;
        self.last_token += 1;
        let token = Token(self.last_token);
        client.submit(op.shard(), vec![Call { token, op }]);
        self.calls.insert((node, token), asked);
        Some(token)
    }

    /// Asks a node, with everything that is under way arriving.
    pub(super) fn call(&mut self, node: usize, op: Op) -> Result<Reply, Error> {
        let token = self.send(node, op, Asked::Other).expect("the node is up");
        for _ in 0..4 {
            self.script.settle();
            self.hear();
            if let Some(answer) = self.answers.remove(&(node, token)) {
                return answer;
            }
        }
        panic!("node {node} does not answer")
    }

    fn change(&mut self, node: usize, action: Action) -> Outcome {
        let change = Change::new("/", action);
        match self.call(node, Op::Change { shard: ShardId(0), change: Box::new(change) }) {
            Ok(Reply::Changed(result)) => result.expect("not refused"),
            other => panic!("not an answer to a change: {other:?}"),
        }
    }

    pub(super) fn queue(&mut self, name: &str) -> (LogRef, SubscriptionRef) {
        let node = self.script.leader(ShardId(0)).expect("somebody leads");
        let outcome = self.change(node, self.declaration(node, name));
        let Outcome::Queue { log, subscription, .. } = outcome else { panic!("{outcome:?}") };
        self.queue = Some((log, subscription));
        (log, subscription)
    }

    pub(super) fn declaration(&self, node: usize, name: &str) -> Action {
        let id = self.engine(node).handle().new_topic_id();
        Action::DeclareQueue(declaration(name, id, self.options.clone()))
    }

    fn topic(&mut self, name: &str) -> LogRef {
        let node = self.script.leader(ShardId(0)).expect("somebody leads");
        let id = self.engine(node).handle().new_topic_id();
        let config = Config::default();
        let declare = DeclareTopic { name: name.into(), id, partitions: 1, config };
        let outcome = self.change(node, Action::DeclareTopic(declare));
        let Outcome::Topic { partitions, .. } = outcome else { panic!("{outcome:?}") };
        self.topic = Some(partitions[0]);
        partitions[0]
    }

    pub(super) fn engine(&self, node: usize) -> &Stepped {
        self.script.nodes[node].engine.as_ref().expect("the node is up")
    }

    pub(super) fn restart(&mut self, node: usize) {
        self.script.cut(node);
        self.forget(node);
        self.script.start(node);
    }

    fn forget(&mut self, node: usize) {
        self.calls.retain(|(of, _), _| *of != node);
        self.held.retain(|(of, ..)| *of != node);
        self.consumers[node] = false;
    }

    /// Takes in what the clients hear.
    pub(super) fn hear(&mut self) {
        for node in 0..NODES {
            let Some(client) = &self.script.nodes[node].client else { continue };
            for event in client.outbox().take() {
                match event {
                    Event::Reply { token, result } => self.answered(node, token, result),
                    Event::Deliver { items, .. } => {
                        items.iter().for_each(|item| self.delivered(node, item));
                    }
                    Event::ConsumerGone { .. } => {
                        self.consumers[node] = false;
                        self.held.retain(|(of, ..)| *of != node);
                    }
                    Event::Blocked(_) => {}
                }
            }
        }
    }

    fn answered(&mut self, node: usize, token: Token, result: Result<Reply, Error>) {
        let Some(asked) = self.calls.remove(&(node, token)) else { return };
        if let (Err(error), false) = (&result, matches!(asked, Asked::Any)) {
            assert_eq!(error.kind, Kind::NotLeader, "{asked:?}: {error}");
        }
        match (asked, result) {
            (Asked::Append(value), Ok(Reply::Appended(at))) => {
                self.acked.insert(value);
                self.saw(value, at.base_offset);
            }
            (Asked::Later(value), Ok(Reply::Appended(_))) => {
                self.acked.insert(value);
            }
            (Asked::Topic(value), Ok(Reply::Appended(at))) => {
                self.in_topic.insert(value, at.base_offset);
            }
            (Asked::Settle(all), Ok(_)) => {
                self.settled.extend(all.iter().map(|(_, offset)| *offset));
            }
            (Asked::Take, result) => self.consumers[node] = result.is_ok(),
            (Asked::Commit(offset), Ok(_)) => self.committed.0 = self.committed.0.max(offset),
            (Asked::Declare(name), Ok(Reply::Changed(result))) => {
                result.expect("nobody else declares it");
                self.declared.insert(name);
            }
            (Asked::Any, Ok(Reply::Moved(count))) => self.moved += count,
            (Asked::Any, _) => {}
            (Asked::Other, result) => {
                self.answers.insert((node, token), result);
            }
            (_, Err(_)) => {}
            (asked, Ok(reply)) => panic!("{asked:?} is answered by {reply:?}"),
        }
    }

    fn saw(&mut self, value: u64, offset: Offset) {
        assert!(self.sent.contains(&value), "value {value} was never sent");
        if self.moves {
            return;
        }
        let known = *self.seen.entry(value).or_insert(offset);
        assert_eq!(known, offset, "value {value} is there twice");
    }

    fn delivered(&mut self, node: usize, item: &Delivery) {
        let value = value_of(item).parse().expect("a number");
        self.saw(value, item.offset);
        assert!(!self.settled.contains(&item.offset), "{value} was settled and comes again");
        self.held.push((node, item.log, item.offset));
    }

    /// Takes everything out of the queue, by one node.
    pub(super) fn drain(&mut self, node: usize) -> Vec<String> {
        let mut values = Vec::new();
        loop {
            let get = Get {
                consumer: ConsumerId(9),
                subscription: self.subscription(),
                settle_on_delivery: true,
            };
            match self.call(node, Op::Get(get)) {
                Ok(Reply::Got(Some(item), _)) => values.push(value_of(&item)),
                Ok(Reply::Got(None, _)) => return values,
                other => panic!("not an answer to a get: {other:?}"),
            }
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.sent.insert(self.next);
        self.next
    }

    /// A client does something.
    fn act(&mut self) {
        let (log, subscription) = self.queue.expect("declared");
        let topic = self.topic.expect("declared");
        let node = match self.script.leader(log.shard) {
            Some(node) if !self.script.random.chance(5) => node,
            _ => self.script.random.below(NODES as u64) as usize,
        };
        match self.script.random.below(12) {
            0..=3 => {
                let value = self.number();
                self.send(node, append_value(log, &value.to_string()), Asked::Append(value));
            }
            4 => {
                let value = self.number();
                self.send(node, append_batch(topic, &value.to_string()), Asked::Topic(value));
            }
            5 => {
                let value = self.number();
                let op = append_value(log, &value.to_string());
                let Op::Append(append) = op else { unreachable!("it is an append") };
                let ms = self.script.random.below(400) as i64;
                let due = self.script.clock.now().plus(Millis(ms));
                self.send(node, Op::Schedule(Schedule { append, due }), Asked::Later(value));
            }
            6..=8 if !self.held.is_empty() => {
                let at = self.script.random.below(self.held.len() as u64) as usize;
                let (of, log, offset) = self.held.swap_remove(at);
                let returned = self.script.random.chance(25);
                let (disposition, asked) = match returned {
                    true => (Disposition::Returned, Asked::Settle(Vec::new())),
                    false => (Disposition::Done, Asked::Settle(vec![(log, offset)])),
                };
                let ranges = vec![LeaseRange { log, first: offset, last: offset }];
                if !returned {
                    self.unsure.insert(offset);
                }
                let source = Source::Subscription(subscription);
                let consumer = ConsumerId(1);
                let settle = Settle { consumer, source, ranges, disposition };
                self.send(of, Op::Settle(settle), asked);
            }
            9 => {
                let offset = self.committed.1 + 1;
                self.committed.1 = offset;
                let op = commit(subscription.shard, offset);
                self.send(node, op, Asked::Commit(offset));
            }
            _ if !self.consumers[node] => {
                self.consumers[node] = true;
                let take = Take {
                    consumer: ConsumerId(1),
                    source: Source::Subscription(subscription),
                    prefetch: 5,
                    window: None,
                    settle_on_delivery: false,
                    exclusive: false,
                    priority: 0,
                    sessions_max: 0,
                };
                if self.send(node, Op::Take(take), Asked::Take).is_none() {
                    self.consumers[node] = false;
                }
            }
            _ => {}
        }
    }

    /// The network, the disks or the nodes do something.
    pub(super) fn happen(&mut self) {
        let below = |script: &Script, bound: u64| script.random.below(bound) as usize;
        let shards = self.script.shards();
        let shard = shards[below(&self.script, shards.len() as u64)];
        let node = below(&self.script, 3);
        match self.script.random.below(100) {
            0..=39 => {
                let part = match below(&self.script, 8) {
                    0 => Some(Part::Worker(0)),
                    1 => Some(Part::Journal),
                    2 => Some(Part::Keeper),
                    _ => None,
                };
                self.script.run(node, part);
            }
            40..=64 => {
                let (to, most) = (below(&self.script, 3), 1 + below(&self.script, 4));
                self.script.replicate(shard, node, to, most);
            }
            65..=74 => self.script.count(shard),
            75..=89 => {
                let most = 1 + below(&self.script, 3);
                self.script.commit(shard, node, most);
            }
            90..=92 => self.script.count_votes(shard),
            93 if self.script.leader(shard).is_none() || self.script.random.chance(5) => {
                let voters = [node, (node + 1) % 3, (node + 2) % 3];
                let count = 2 + below(&self.script, 2);
                if self.script.is_up(node) {
                    self.script.campaign(shard, node, &voters[..count]);
                }
            }
            94 if self.script.random.chance(30) && self.script.is_up(node) => {
                self.script.cut(node);
                self.forget(node);
            }
            95 if !self.script.is_up(node) => self.script.start(node),
            96 if self.script.is_up(node) => self.script.change_members(shard, node),
            97 if self.script.random.chance(30) => {
                if let Some(engine) = self.script.nodes[node].engine.as_mut() {
                    engine.checkpoint();
                }
            }
            98 => self.script.purge(shard),
            _ => self.script.clock.pass(self.script.random.below(20_000)),
        }
    }

    /// Everything comes back, `leaders` lead the shards, and what is under way arrives.
    pub(super) fn heal(&mut self, leader: impl Fn(ShardId) -> usize) {
        for node in 0..NODES {
            if !self.script.is_up(node) {
                self.script.start(node);
            }
        }
        self.script.settle();
        self.hear();
        for shard in self.script.shards() {
            self.elect(shard, leader(shard));
        }
        for _ in 0..40 {
            self.script.clock.pass(50_000);
            self.script.settle();
            self.hear();
        }
        for node in 0..NODES {
            self.engine(node).audit().expect("what is live is counted");
        }
        let states = |node: usize| self.engine(node).state();
        assert_eq!(states(0), states(1));
        assert_eq!(states(0), states(2));
    }

    /// What has to be so is looked at, with `node` leading.
    fn check(&mut self, node: usize) {
        self.heal(|_| node);
        self.check_topic(node);
        self.check_group(node);
        let left: Vec<u64> =
            self.drain(node).iter().map(|value| value.parse().expect("a number")).collect();
        for value in self.acked.clone() {
            let seen = self.seen.get(&value);
            let was_settled = seen.is_some_and(|offset| self.settled.contains(offset));
            let is_left = left.contains(&value) || self.is_held(value);
            assert!(was_settled || is_left || self.may_be_settled(value), "{value} is lost");
        }
        let once: BTreeSet<u64> = left.iter().copied().collect();
        assert_eq!(once.len(), left.len(), "something comes twice: {left:?}");
        for value in left {
            let seen = self.seen.get(&value);
            assert!(seen.is_none_or(|offset| !self.settled.contains(offset)), "{value} is back");
        }
    }

    fn is_held(&self, value: u64) -> bool {
        let offset = self.seen.get(&value);
        self.held.iter().any(|(_, _, held)| Some(held) == offset)
    }

    fn may_be_settled(&self, value: u64) -> bool {
        let offset = self.seen.get(&value);
        offset.is_some_and(|offset| self.unsure.contains(offset))
    }

    fn check_topic(&mut self, node: usize) {
        let log = self.topic.expect("declared");
        let mut found = BTreeMap::new();
        let mut offset = Offset(0);
        loop {
            let from = ReadFrom { log, offset, bytes_max: 1 << 20 };
            let read = Read { logs: vec![from], bytes_min: 0, bytes_max: 1 << 20, wait: Millis(0) };
            let Ok(Reply::Read(logs)) = self.call(node, Op::Read(read)) else {
                panic!("not an answer to a read")
            };
            let batches = logs.into_iter().next().expect("one log").batches.expect("it is there");
            if batches.is_empty() {
                break;
            }
            for row in batches.iter() {
                let batch = crate::cache::Batch::new(row.bytes.clone());
                for delta in 0.. {
                    let Some((bytes, _)) = batch.record(delta) else { break };
                    let view = tail::decode(&bytes).expect("a stored tail");
                    let text = String::from_utf8_lossy(view.value.expect("a value")).into_owned();
                    let value: u64 = text.parse().expect("a number");
                    let at = row.base_offset.plus(delta);
                    assert_eq!(found.insert(value, at), None, "{value} is there twice");
                    assert!(at >= offset, "{at} comes after {offset}");
                    offset = at.next();
                }
            }
        }
        for (value, offset) in &self.in_topic {
            assert_eq!(found.get(value), Some(offset), "value {value} of the topic");
        }
    }

    fn check_group(&mut self, node: usize) {
        let shard = self.subscription().shard;
        let Ok(Reply::Offsets(offsets)) = self.call(node, Op::Offsets { shard, name: group() })
        else {
            panic!("not an answer to offsets")
        };
        let offset = offsets.iter().flatten().map(|(_, committed)| committed.offset).max();
        let (least, most) = self.committed;
        let offset = offset.unwrap_or(-1);
        assert!(least <= offset && offset <= most, "{least} <= {offset} <= {most}");
    }
}

fn group() -> GroupName {
    GroupName { namespace: "/".into(), group: "g".into() }
}

fn commit(shard: ShardId, offset: i64) -> Op {
    let key = OffsetKey { topic: "t".into(), partition: 0 };
    let offset = OffsetToCommit { key, offset, leader_epoch: -1, metadata: String::new() };
    let commit = Commit {
        member: String::new(),
        instance: None,
        generation: Generation::NONE,
        metadata_bytes_max: 4096,
        offsets: vec![offset],
    };
    Op::Group { shard, name: group(), command: Box::new(groups::Command::Commit(commit)) }
}

/// One seed: clients and nodes do what they do, then everything is looked at.
pub(super) fn run(seed: u64, shards: u16) {
    let mut broker = Broker::new(seed, shards);
    for shard in broker.script.shards() {
        broker.elect(shard, seed as usize % NODES);
    }
    match seed % 4 {
        1 => broker.options.returns_max = Some(1_000),
        2 => broker.options.serving.priority_max = 3,
        3 => broker.options.serving.single_active = true,
        _ => {}
    }
    broker.queue("q");
    broker.topic("t");
    for _ in 0..3_000 {
        match broker.script.random.chance(12) {
            true => broker.act(),
            false => broker.happen(),
        }
        broker.hear();
    }
    broker.check((seed as usize + 1) % NODES);
}
