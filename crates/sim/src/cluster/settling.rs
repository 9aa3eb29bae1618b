//! After the storms: the cluster accepts writes, every majority has what was acknowledged, and all nodes
//! come to have the same.

use super::load::{Load, Queue, group_shard, id_of_tail, leader, named, term};
use super::{ACCEPTS_WITHIN, Cluster, NODES, SHARDS};
use crate::Violation;
use crate::model::broken;
use engine::api::{Get, Op, Read, ReadFrom, Reply};
use record::batch::{HEADER_BYTES, Header, Records};
use std::collections::BTreeMap;
use types::{ConsumerId, LogRef, Millis, Offset, ShardId};

/// Ticks in which answers may still come.
const RESTS: u64 = 1_000;
/// Ticks until all nodes have the same, at most.
const AGREE_WITHIN: u64 = 20_000;
/// Ticks until two nodes of three have leaders for all shards, at most: the one that wants to lead first
/// may be the one that cannot.
const LEADERS_WITHIN: u64 = 10_000;
/// What is read of a topic at a time.
const READ_BYTES: u32 = 64 << 10;

pub(super) fn settle(cluster: &mut Cluster<'_>, load: &mut Load) -> Result<(), Violation> {
    accept_writes(cluster, load)?;
    for _ in 0..RESTS {
        cluster.step()?;
        load.hear(cluster)?;
    }
    load.end();
    agree(cluster, load)?;
    // Each pair without the third.
    for node in 0..NODES {
        for other in (0..NODES).filter(|other| *other != node) {
            cluster.cut(node, other, true);
        }
        read_all(cluster, load, node)?;
        for other in (0..NODES).filter(|other| *other != node) {
            cluster.mend(node, other);
        }
    }
    agree(cluster, load)?;
    drain(cluster, load)
}

/// Every shard accepts a write not long after the last trouble.
fn accept_writes(cluster: &mut Cluster<'_>, load: &mut Load) -> Result<(), Violation> {
    let begin = cluster.tick;
    let logs: Vec<LogRef> =
        load.topics.iter().copied().chain(load.queues.iter().map(|queue| queue.log)).collect();
    for log in logs {
        load.write_one(cluster, log)?;
    }
    let silence = cluster.tick - begin;
    cluster.tally.silence_ms = silence;
    if silence > ACCEPTS_WITHIN {
        return broken(format!("no write was accepted for {silence} ms after the last trouble"));
    }
    Ok(())
}

/// All nodes come to the same entry of each shard, and to the same state.
fn agree(cluster: &mut Cluster<'_>, load: &mut Load) -> Result<(), Violation> {
    let begin = cluster.tick;
    let mut applied = Vec::new();
    while cluster.tick - begin < AGREE_WITHIN {
        cluster.step()?;
        load.hear(cluster)?;
        applied = (0..NODES).filter_map(|node| applied_by(cluster, node)).collect();
        if applied.len() == NODES && applied.windows(2).all(|pair| pair[0] == pair[1]) {
            let state = |node: usize| cluster.machines[node].with(|life| life.engine.state());
            for other in 1..NODES {
                compare(&state(0), &state(other), other)?;
            }
            return Ok(());
        }
    }
    let faulty: Vec<_> =
        cluster.machines.iter().map(|machine| machine.with(|life| life.node.faulty())).collect();
    broken(format!("nodes do not come to have the same: {applied:?}; faulty: {faulty:?}"))
}

fn applied_by(cluster: &Cluster<'_>, node: usize) -> Option<Vec<(ShardId, u64)>> {
    let applied = cluster.machines[node].with(|life| life.engine.applied())?;
    Some(applied.into_iter().map(|(shard, index, _)| (shard, index)).collect())
}

type States = Option<Vec<(ShardId, Vec<u8>)>>;

fn compare(one: &States, other: &States, number: usize) -> Result<(), Violation> {
    let (Some(one), Some(other)) = (one, other) else {
        return broken("a node is not up that should be");
    };
    match one.iter().zip(other).find(|(one, other)| one != other) {
        None => Ok(()),
        Some(((shard, _), _)) => {
            broken(format!("nodes 0 and {number} have other states of shard {shard} at one entry"))
        }
    }
}

/// What two of the nodes have is all that was acknowledged.
fn read_all(cluster: &mut Cluster<'_>, load: &mut Load, without: usize) -> Result<(), Violation> {
    let begin = cluster.tick;
    let led_by_others = |cluster: &Cluster<'_>| {
        (0..SHARDS).all(|shard| leader(cluster, ShardId(shard)).is_some_and(|node| node != without))
    };
    while !led_by_others(cluster) {
        if cluster.tick - begin > LEADERS_WITHIN {
            return broken(format!("without node {without} some shard has no leader"));
        }
        cluster.step()?;
        load.hear(cluster)?;
    }
    for log in load.topics.clone() {
        let found = read(cluster, load, log)?;
        load.book.check_topic(log.log, &found)?;
    }
    for group in load.book.groups().cloned().collect::<Vec<_>>() {
        let number: usize = group[1..].parse().unwrap_or(0);
        let op = Op::Offsets { shard: group_shard(number), name: named(&group) };
        let Reply::Offsets(offsets) = load.ask(cluster, &op)? else {
            return broken("positions were asked for");
        };
        let position = offsets.and_then(|all| Some(all.first()?.1.offset));
        load.book.check_position(&group, position)?;
    }
    Ok(())
}

/// A whole topic.
fn read(
    cluster: &mut Cluster<'_>,
    load: &mut Load,
    log: LogRef,
) -> Result<Vec<(Offset, u64)>, Violation> {
    let mut found = Vec::new();
    let mut offset = Offset(0);
    loop {
        let from = ReadFrom { log, offset, bytes_max: READ_BYTES };
        let read = Read { logs: vec![from], bytes_max: READ_BYTES, bytes_min: 0, wait: Millis(0) };
        let Reply::Read(logs) = load.ask(cluster, &Op::Read(read))? else {
            return broken("a topic was read");
        };
        let Some(one) = logs.into_iter().next() else { return broken("a topic was read") };
        let batches = one.batches.map_err(|error| Violation(format!("{log:?}: {error}")))?;
        let before = found.len();
        for batch in batches.iter() {
            let header = Header::decode(&batch.bytes).map_err(|why| Violation(why.to_string()))?;
            let body = batch.bytes.slice(HEADER_BYTES..);
            for record in Records::new(&header, &body) {
                let record = record.map_err(|why| Violation(why.to_string()))?;
                let at = batch.base_offset.plus(record.offset_delta);
                if at >= offset {
                    found.push((at, id_of_tail(record.tail)?));
                }
            }
        }
        if found.len() == before {
            return Ok(found);
        }
        offset = found.last().map_or(offset, |(at, _)| at.next());
    }
}

/// What is left in the queues is what was not settled.
fn drain(cluster: &mut Cluster<'_>, load: &mut Load) -> Result<(), Violation> {
    for queue in load.queues.clone() {
        let (begin, mut left) = (cluster.tick, BTreeMap::new());
        loop {
            let before = term(cluster, queue.log.shard);
            take_all(cluster, load, &queue, &mut left)?;
            if before.is_some() && before == term(cluster, queue.log.shard) {
                break;
            }
            // What a leader handed out and nobody settled the next one hands out again.
            if cluster.tick - begin > AGREE_WITHIN {
                return broken(format!("shard {} changes leaders for ever", queue.log.shard));
            }
        }
        load.book.check_queue(queue.log.log, &left)?;
    }
    Ok(())
}

fn take_all(
    cluster: &mut Cluster<'_>,
    load: &mut Load,
    queue: &Queue,
    left: &mut BTreeMap<u64, Offset>,
) -> Result<(), Violation> {
    loop {
        let get = Get {
            consumer: ConsumerId(99),
            subscription: queue.subscription,
            settle_on_delivery: false,
        };
        match load.ask(cluster, &Op::Get(get))? {
            Reply::Got(Some(item), _) => {
                let id = id_of_tail(&item.tail)?;
                let offset = *left.entry(id).or_insert(item.offset);
                if offset != item.offset {
                    let (log, other) = (queue.log.log, item.offset);
                    return broken(format!("message {id} is at {offset} and {other} of log {log}"));
                }
            }
            Reply::Got(None, _) => return Ok(()),
            other => return broken(format!("a get was answered: {other:?}")),
        }
    }
}
