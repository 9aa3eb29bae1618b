//! Producers and groups have a budget: who is silent longest is forgotten, and who is there stays.

use super::Stage;
use crate::api::{Append, Appended, Op, Payload, Reply, Verdict};
use crate::shard::PRODUCER_BYTES;
use crate::{GroupName, MemoryPool};
use catalog::Config;
use groups::{Command, Commit, Generation, OffsetKey, OffsetToCommit, Refusal};
use record::batch::Builder;
use record::tail;
use types::{LogRef, Millis, ShardId};

fn write(stage: &mut Stage, log: LogRef, producer: i64, sequence: i32) -> Verdict {
    let mut record = Vec::new();
    tail::encode(&mut record, None, Some(b"value"), std::iter::empty());
    let mut batch = Builder::new(Millis(0));
    batch.set_producer(producer, 0, sequence);
    batch.push(Millis(0), &record);
    let payload = Payload::Batch(batch.finish());
    let append = Append { to: [log].into(), payload, waits: true };
    match stage.call(Op::Append(append)) {
        Ok(Reply::Appended(Appended { verdict, .. })) => verdict,
        other => panic!("not an answer to an append: {other:?}"),
    }
}

fn commit(stage: &mut Stage, group: &str, topic: &str) -> Result<(), Refusal> {
    let key = OffsetKey { topic: topic.to_owned(), partition: 0 };
    let noted = OffsetToCommit { key, offset: 7, leader_epoch: -1, metadata: String::new() };
    let commit = Commit {
        member: String::new(),
        instance: None,
        generation: Generation::NONE,
        metadata_bytes_max: 100,
        offsets: vec![noted],
    };
    let name = GroupName { namespace: "/".into(), group: group.into() };
    let command = Box::new(Command::Commit(commit));
    match stage.call(Op::Group { shard: ShardId(0), name, command }) {
        Ok(Reply::Group(reply)) => match *reply {
            groups::Reply::Committed(results) => results[0],
            groups::Reply::Refused(refusal) => Err(refusal),
            other => panic!("not an answer to a commit: {other:?}"),
        },
        other => panic!("not an answer to a commit: {other:?}"),
    }
}

fn used(stage: &Stage, pool: MemoryPool) -> usize {
    stage.engine.handle().memory().used(pool)
}

/// Lets the worker look around after some time.
fn pass(stage: &mut Stage, time: Millis) {
    stage.clock.pass(u64::try_from(time.0).unwrap() * 1_000);
    stage.run();
    stage.run();
}

#[test]
fn a_producer_that_is_silent_for_a_day_is_forgotten_and_no_other() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    assert_eq!(write(&mut stage, log, 1, 0), Verdict::Appended);
    assert_eq!(write(&mut stage, log, 2, 0), Verdict::Appended);
    assert_eq!(used(&stage, MemoryPool::Producers), 2 * PRODUCER_BYTES);
    let hour = Millis(60 * 60 * 1_000);
    pass(&mut stage, Millis(hour.0 * 23));
    assert_eq!(write(&mut stage, log, 2, 1), Verdict::Appended);
    pass(&mut stage, Millis(hour.0 * 2));
    assert_eq!(used(&stage, MemoryPool::Producers), PRODUCER_BYTES);
    assert_eq!(write(&mut stage, log, 2, 1), Verdict::Duplicate);
    // Nobody knows that it was written before.
    assert_eq!(write(&mut stage, log, 1, 0), Verdict::Appended);
    let state = stage.engine.state();
    stage.reopen();
    assert!(stage.engine.state() == state);
    stage.run();
    assert_eq!(used(&stage, MemoryPool::Producers), 2 * PRODUCER_BYTES);
    assert_eq!(write(&mut stage, log, 2, 1), Verdict::Duplicate);
}

#[test]
fn beyond_the_budget_the_producers_that_are_silent_longest_go_first() {
    const COUNT: i64 = 80;
    let mut stage = Stage::with_memory(16 * 60 * PRODUCER_BYTES);
    let log = stage.topic("t", 1, Config::default())[0];
    for producer in 0..COUNT {
        assert_eq!(write(&mut stage, log, producer, 0), Verdict::Appended);
    }
    pass(&mut stage, Millis(1_500));
    pass(&mut stage, Millis(1_500));
    pass(&mut stage, Millis(1_500));
    let budget = stage.engine.handle().memory().budget(MemoryPool::Producers);
    let held = used(&stage, MemoryPool::Producers);
    assert!((budget / 2..=budget).contains(&held), "{held} of {budget}");
    for producer in COUNT / 2..COUNT {
        assert_eq!(write(&mut stage, log, producer, 0), Verdict::Duplicate, "{producer}");
    }
    assert_eq!(write(&mut stage, log, 0, 0), Verdict::Appended, "it was forgotten");
}

#[test]
fn beyond_the_budget_there_are_no_new_groups_and_positions_and_those_that_are_there_stay() {
    let mut stage = Stage::with_memory(1 << 20);
    let mut noted = 0;
    while commit(&mut stage, &format!("group-{noted}"), "topic").is_ok() {
        noted += 1;
    }
    let budget = stage.engine.handle().memory().budget(MemoryPool::Groups);
    let held = used(&stage, MemoryPool::Groups);
    assert!((budget..budget + 2_000).contains(&held), "{held} of {budget}");
    assert_eq!(commit(&mut stage, "group-0", "topic"), Ok(()));
    assert_eq!(commit(&mut stage, "group-0", "another"), Err(Refusal::NoRoom));
    let name = GroupName { namespace: "/".into(), group: "group-0".into() };
    stage
        .call(Op::Group { shard: ShardId(0), name, command: Box::new(Command::DeleteGroup) })
        .expect("deleted");
    stage.reopen();
    stage.run();
    assert_eq!(commit(&mut stage, "group-1", "another"), Ok(()));
    stage.engine.audit().expect("what is counted is there");
}
