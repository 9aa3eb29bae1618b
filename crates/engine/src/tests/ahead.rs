//! What a reader needs next is read from the disk before it asks for it.

use super::Stage;
use crate::api::{Op, Read, ReadFrom, Reply, Source, Take};
use crate::{MemoryPool, Part};
use catalog::{Config, QueueOptions};
use std::sync::atomic::Ordering::Relaxed;
use types::{ConsumerId, LogRef, Millis, Offset};

const VALUE_BYTES: usize = 100_000;
/// What is loaded at once has so many of them.
const LOADED: i64 = 10;

fn fill(stage: &mut Stage, log: LogRef, count: usize) {
    let value = "x".repeat(VALUE_BYTES);
    for _ in 0..count {
        stage.publish(&[log], &[&value]).expect("published");
    }
}

fn read(log: LogRef, offset: i64) -> Op {
    let logs = vec![ReadFrom { log, offset: Offset(offset), bytes_max: 8 << 20 }];
    Op::Read(Read { logs, bytes_max: 8 << 20, bytes_min: 1, wait: Millis(60_000) })
}

fn turn(stage: &mut Stage) {
    stage.engine.step(Part::Worker(0)).expect("the disk works");
    stage.events.extend(stage.client.outbox().take());
}

/// The disk answers, as often as it was asked.
fn load(stage: &mut Stage) {
    for _ in 0..200 {
        stage.engine.step(Part::Load).expect("the disk works");
    }
}

fn loaded(stage: &Stage) -> u64 {
    stage.engine.handle().metrics().cold_reads.load(Relaxed)
}

/// How many batches a read gave.
fn batches(reply: &Reply) -> usize {
    let Reply::Read(logs) = reply else { panic!("not a read") };
    logs[0].batches.as_ref().expect("they can be read").iter().count()
}

#[test]
fn what_comes_next_is_loaded_before_it_is_asked_for() {
    let mut stage = Stage::roomy();
    let log = stage.topic("t", 1, Config::default())[0];
    fill(&mut stage, log, 30);
    stage.reopen();
    let first = stage.send(read(log, 0));
    turn(&mut stage);
    assert!(stage.answer(first).is_none(), "it is on the disk");
    load(&mut stage);
    turn(&mut stage);
    let reply = stage.answer(first).expect("it has come").expect("readable");
    assert_eq!((batches(&reply) as i64, loaded(&stage)), (LOADED, LOADED as u64));
    // While the client is busy with that, the disk reads on.
    load(&mut stage);
    turn(&mut stage);
    assert!(loaded(&stage) > LOADED as u64, "nothing was read ahead");
    let next = stage.send(read(log, LOADED));
    turn(&mut stage);
    let reply = stage.answer(next).expect("it is there already").expect("readable");
    assert!(batches(&reply) > 0);
}

#[test]
fn who_asks_for_what_is_on_its_way_waits_for_that() {
    let mut stage = Stage::roomy();
    let log = stage.topic("t", 1, Config::default())[0];
    fill(&mut stage, log, 10);
    stage.reopen();
    let asked = [stage.send(read(log, 0)), stage.send(read(log, 0)), stage.send(read(log, 3))];
    turn(&mut stage);
    load(&mut stage);
    turn(&mut stage);
    let found = asked.map(|token| {
        let reply = stage.answer(token).expect("it has come").expect("readable");
        batches(&reply)
    });
    assert_eq!(found, [10, 10, 7]);
    assert_eq!(loaded(&stage), 10);
}

#[test]
fn a_queue_is_read_ahead_of_its_consumer() {
    let mut stage = Stage::roomy();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    fill(&mut stage, log, 30);
    stage.reopen();
    let take = Take {
        consumer: ConsumerId(1),
        source: Source::Subscription(subscription),
        prefetch: LOADED as u32,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.send(Op::Take(take));
    for _ in 0..6 {
        turn(&mut stage);
        load(&mut stage);
    }
    turn(&mut stage);
    assert_eq!(stage.delivered().len() as i64, LOADED);
    assert!(loaded(&stage) > LOADED as u64, "nothing was read ahead");
}

#[test]
fn many_readers_stay_within_the_room_for_loads_and_the_cache() {
    const LOGS: usize = 50;
    let mut stage = Stage::roomy();
    let logs = stage.topic("t", LOGS as u32, Config::default());
    for log in logs.iter() {
        fill(&mut stage, *log, 20);
    }
    stage.reopen();
    let handle = stage.engine.handle();
    let budget = handle.memory().budget(MemoryPool::Loads);
    assert!(budget < LOGS * (LOADED as usize) * VALUE_BYTES);
    let asked: Vec<_> = logs.iter().map(|log| stage.send(read(*log, 0))).collect();
    for _ in 0..10 {
        turn(&mut stage);
        assert!(handle.memory().used(MemoryPool::Loads) <= budget);
        load(&mut stage);
    }
    for token in asked {
        let reply = stage.answer(token).expect("it has come").expect("readable");
        assert_eq!(batches(&reply) as i64, LOADED);
    }
    // Of what was read ahead nothing was read yet: it has a quarter of the cache's MiB, and again
    // when so much came that the cache has it no more.
    let ahead = loaded(&stage) - (LOGS as u64 * LOADED as u64);
    assert!((1..=25).contains(&ahead), "{ahead} batches were read ahead");
}
