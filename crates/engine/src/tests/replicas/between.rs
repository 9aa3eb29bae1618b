//! Shards that several nodes lead: names reach them all, and what is moved between them arrives once.

use super::script::NODES;
use super::work::{Asked, Broker, append_value};
use super::{plants, seeds};
use crate::api::{IfGone, LeaseRange, Move, Op};
use catalog::Change;
use std::collections::BTreeSet;
use types::{LogRef, Offset, ShardId, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

/// A client does something.
fn act(broker: &mut Broker, queues: &[Queue]) {
    let pick = |broker: &Broker| queues[broker.script.random.below(queues.len() as u64) as usize];
    let (from, to) = (pick(broker), pick(broker));
    let shard = from.0.shard;
    let node = match broker.script.leader(shard) {
        Some(node) => node,
        None => broker.script.random.below(NODES as u64) as usize,
    };
    match broker.script.random.below(10) {
        0..=5 => {
            let value = broker.number();
            broker.send(node, append_value(from.0, &value.to_string()), Asked::Append(value));
        }
        6..=8 => {
            let first = broker.script.random.below(40) as i64;
            let last = first + broker.script.random.below(4) as i64;
            let range = LeaseRange { log: from.0.log, first: Offset(first), last: Offset(last) };
            let op = Move {
                consumer: None,
                source: from.1,
                range,
                to: to.0,
                stamp: Vec::new(),
                moves_max: None,
                restores: false,
                gone: IfGone::Keep,
            };
            broker.send(node, Op::Move(op), Asked::Any);
        }
        _ => {
            let Some(node) = broker.script.leader(ShardId(0)) else { return };
            let name = format!("more-{}", broker.number());
            let change = Change::new("/", broker.declaration(node, &name));
            let op = Op::Change { shard: ShardId(0), change: Box::new(change) };
            broker.send(node, op, Asked::Declare(name));
        }
    }
}

/// Gives how many messages were moved.
fn run(seed: u64) -> u64 {
    let mut broker = Broker::new(seed, 3);
    broker.moves = true;
    for shard in broker.script.shards() {
        broker.elect(shard, usize::from(shard.0));
    }
    let queues: Vec<Queue> = ["a", "b", "c"].iter().map(|name| broker.queue(name)).collect();
    let shards: BTreeSet<ShardId> = queues.iter().map(|(log, _)| log.shard).collect();
    assert_eq!(shards.len(), 3, "each is on another shard");
    for _ in 0..8_000 {
        match broker.script.random.chance(8) {
            true => act(&mut broker, &queues),
            false => broker.happen(),
        }
        broker.hear();
    }
    let leader = |shard: ShardId| (usize::from(shard.0) + seed as usize) % NODES;
    broker.heal(leader);
    for (node, name) in (0..NODES).flat_map(|node| broker.declared.iter().map(move |it| (node, it)))
    {
        let names = broker.engine(node).handle().names();
        assert!(names.find("/", name).is_some(), "node {node} does not know {name}");
    }
    let mut all = Vec::new();
    for queue in queues {
        broker.uses(queue);
        all.extend(broker.drain(leader(queue.0.shard)));
    }
    let all: Vec<u64> = all.iter().map(|value| value.parse().expect("a number")).collect();
    let once: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(once.len(), all.len(), "something is there twice: {all:?}");
    for value in &broker.acked {
        assert!(once.contains(value), "{value} is lost");
    }
    for name in broker.declared.clone() {
        let names = broker.engine(0).handle().names();
        let Some(catalog::Found::Queue(queue)) = names.find("/", &name) else {
            panic!("no queue {name}")
        };
        let log = queue.log;
        let reply = broker.call(leader(log.shard), append_value(log, "there"));
        reply.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    broker.moved
}

#[test]
fn what_goes_between_shards_arrives_once_whoever_leads_them() {
    plants::plant_from_environment();
    let moved: u64 = seeds().map(run).sum();
    assert!(moved > 0, "nothing was moved");
}
