//! Three replicas of a broker: the same state everywhere, nothing lost and nothing twice, whoever leads.

mod between;
mod lasting;
mod plants;
mod script;
mod threads;
mod work;

use super::{Stage, options};
use crate::api::{Op, Reply};
use crate::{EngineError, Stepped};
use catalog::QueueOptions;
use io::sim::SimDisk;
use script::Script;
use std::sync::Arc;
use types::{Kind, ShardId};
use work::{Broker, append_value};

const ZERO: ShardId = ShardId(0);

/// The seeds that are run: `REPLICA_SEEDS` says how many, or, with a dash, from which to which.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("REPLICA_SEEDS").unwrap_or_default();
    let number = |text: &str| text.parse().ok();
    match given.split_once('-') {
        Some((first, end)) => number(first).unwrap_or(0)..number(end).unwrap_or(24),
        None => 0..number(&given).unwrap_or(24),
    }
}

#[test]
fn what_the_leader_appends_is_in_the_state_of_every_node() {
    let mut broker = Broker::new(1, 1);
    broker.elect(ZERO, 0);
    let (log, _) = broker.queue("q");
    let reply = broker.call(0, append_value(log, "one"));
    assert!(matches!(reply, Ok(Reply::Appended(_))), "{reply:?}");
    broker.script.settle();
    let state = |node: usize| broker.script.nodes[node].engine.as_ref().expect("up").state();
    assert_eq!(state(0), state(1));
    assert_eq!(state(0), state(2));
    let reply = broker.call(1, append_value(log, "two"));
    assert_eq!(reply.expect_err("another node leads").kind, Kind::NotLeader);
    broker.elect(ZERO, 2);
    assert_eq!(broker.drain(2), ["one"]);
    let reply = broker.call(0, Op::Count(broker.subscription()));
    assert_eq!(reply.expect_err("it does not lead any more").kind, Kind::NotLeader);
}

#[test]
fn a_replica_that_starts_again_has_what_was_committed() {
    let mut broker = Broker::new(2, 1);
    broker.elect(ZERO, 1);
    let (log, _) = broker.queue("q");
    for value in 0..40 {
        broker.call(1, append_value(log, &value.to_string())).expect("appended");
    }
    broker.script.nodes[1].engine.as_mut().expect("up").checkpoint();
    broker.script.settle();
    for value in 40..50 {
        broker.call(1, append_value(log, &value.to_string())).expect("appended");
    }
    for node in 0..3 {
        broker.restart(node);
    }
    broker.elect(ZERO, 1);
    let wanted: Vec<String> = (0..50).map(|value: i32| value.to_string()).collect();
    assert_eq!(broker.drain(1), wanted);
}

#[test]
fn what_a_single_node_has_stored_three_replicas_have() {
    let disks: Vec<Arc<SimDisk>> = (0..3).map(|node| Arc::new(SimDisk::new(node))).collect();
    let mut wanted = Vec::new();
    let mut queue = None;
    for disk in &disks {
        let mut stage = Stage::on(disk);
        let made = stage.queue("q", QueueOptions::default());
        wanted.clear();
        for value in 0..60 {
            wanted.push(value.to_string());
            stage.publish(&[made.0], &[&value.to_string()]).expect("published");
            if value == 30 {
                stage.engine.checkpoint();
            }
        }
        queue = Some(made);
        disk.kill();
    }
    let mut broker = Broker::of(Script::on(disks.clone(), 5, 1));
    broker.uses(queue.expect("declared"));
    broker.elect(ZERO, 2);
    assert_eq!(broker.drain(2), wanted);
    broker.restart(1);
    broker.elect(ZERO, 1);
    assert_eq!(broker.drain(1), [""; 0]);
    drop(broker);
    disks[0].kill();
    let refused = Stepped::open(options(&disks[0])).expect_err("replicas wrote it");
    assert!(matches!(refused, EngineError::Replica), "{refused}");
}

#[test]
fn replicas_lose_nothing_and_agree_whatever_happens() {
    plants::plant_from_environment();
    for seed in seeds() {
        work::run(seed, 1);
    }
}
