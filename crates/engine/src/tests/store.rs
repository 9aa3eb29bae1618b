//! The files beside the journal: lost ones are made anew, and a full disk is left in peace.

use super::Stage;
use crate::Part;
use crate::api::{Extent, Get, Op, Read, ReadFrom, Reply, Source, Take};
use catalog::{Config, QueueOptions};
use io::Disk;
use journal::Damage;
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef};

/// Appends records one at a time, each some rounds' worth apart.
fn fill(stage: &mut Stage, log: LogRef, count: usize) {
    let value = "x".repeat(12 << 10);
    for _ in 0..count {
        stage.publish(&[log], &[&value]).expect("published");
    }
}

fn checkpoint(stage: &mut Stage) {
    stage.engine.checkpoint();
    stage.run();
}

fn index_files(stage: &Stage) -> Vec<String> {
    let names = stage.disk.list().expect("the disk works");
    names.into_iter().filter(|name| name.ends_with(".idx")).collect()
}

/// What the start found.
fn findings(stage: &Stage) -> Vec<Damage> {
    stage.engine.findings().iter().map(|finding| finding.what).collect()
}

/// How many records of a log can be read, one after the other.
fn readable(stage: &mut Stage, log: LogRef) -> i64 {
    let Ok(Reply::Extents(extents)) = stage.call(Op::Extent(vec![log])) else {
        panic!("no extent")
    };
    let Some(Extent { end, .. }) = extents[0] else { panic!("no log") };
    let mut found = 0;
    for offset in 0..end.0 {
        let logs = vec![ReadFrom { log, offset: Offset(offset), bytes_max: 1 }];
        let read = Read { logs, bytes_max: 1, bytes_min: 0, wait: Millis(0) };
        let Ok(Reply::Read(logs)) = stage.call(Op::Read(read)) else { panic!("no batches") };
        let first = logs[0].batches.as_ref().expect("readable").iter().next();
        found += i64::from(first.is_some_and(|batch| batch.base_offset == Offset(offset)));
    }
    found
}

#[test]
fn a_deleted_index_file_is_reported_once_and_made_anew() {
    let mut stage = Stage::with_shards(2);
    let idle = stage.topic("idle", 1, Config::default())[0];
    let busy = stage.topic("busy", 1, Config::default())[0];
    assert_ne!(idle.shard, busy.shard);
    // The idle shard's last frame is followed by none of its own that tells its base.
    fill(&mut stage, idle, 1);
    fill(&mut stage, busy, 40);
    checkpoint(&mut stage);
    let deleted = index_files(&stage);
    assert!(deleted.len() > 1, "{deleted:?}");
    for name in &deleted {
        stage.disk.remove(name).expect("the file is there");
    }
    stage.reopen();
    assert_eq!(findings(&stage), vec![Damage::Index; deleted.len()]);
    assert_eq!((readable(&mut stage, idle), readable(&mut stage, busy)), (1, 40));
    stage.crash();
    assert_eq!(findings(&stage), [], "they were stored again");
    assert_eq!((readable(&mut stage, idle), readable(&mut stage, busy)), (1, 40));
}

#[test]
fn a_full_disk_is_tried_ever_less_often_and_then_used_again() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    fill(&mut stage, log, 40);
    stage.disk.set_free_bytes(0);
    stage.engine.checkpoint();
    stage.run();
    let before = stage.disk.calls();
    for _ in 0..500 {
        stage.engine.step(Part::Keeper).expect("a full disk is no failure");
        stage.clock.pass(20_000);
    }
    let tries = stage.disk.calls() - before;
    assert!((1..=60).contains(&tries), "{tries} calls in 10 s");
    stage.disk.set_free_bytes(u64::MAX);
    stage.clock.pass(1_000_000);
    let stored = |stage: &Stage| {
        let handle = stage.engine.handle();
        handle.metrics().checkpoints.load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = stored(&stage);
    fill(&mut stage, log, 40);
    assert!(stored(&stage) > before, "the checkpoint was not stored after all");
    assert_eq!(readable(&mut stage, log), 80);
}

/// Turns a bit in the middle of the value that is `value`, wherever it is stored.
fn damage(stage: &Stage, value: &str) {
    let names = stage.disk.list().expect("the disk works");
    let turned = names.iter().filter(|name| name.ends_with(".seg")).any(|name| {
        let bytes = stage.disk.contents(name).expect("it is there");
        let at = bytes.windows(value.len()).position(|window| window == value.as_bytes());
        at.is_some_and(|at| stage.disk.flip_bit(name, at + value.len() / 2, 3))
    });
    assert!(turned, "the value is in no segment");
}

/// Has the journal say that its last round is durable, and ends the process.
fn leave(stage: &mut Stage) {
    stage.clock.pass(60_000);
    stage.engine.step(Part::Journal).expect("the disk works");
    stage.reopen();
}

fn lost(stage: &Stage) -> u64 {
    let handle = stage.engine.handle();
    handle.metrics().damage.lost_records.load(std::sync::atomic::Ordering::Relaxed)
}

fn consumer(subscription: SubscriptionRef) -> Op {
    Op::Take(Take {
        source: Source::Subscription(subscription),
        consumer: ConsumerId(1),
        prefetch: 0,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
        window: None,
    })
}

/// A read from `from` on: the base offsets of the batches it gives.
fn read(stage: &mut Stage, log: LogRef, from: i64) -> Vec<i64> {
    let logs = vec![ReadFrom { log, offset: Offset(from), bytes_max: 1 << 20 }];
    let read = Read { logs, bytes_max: 1 << 20, bytes_min: 0, wait: Millis(0) };
    let Ok(Reply::Read(logs)) = stage.call(Op::Read(read)) else { panic!("no batches") };
    let batches = logs[0].batches.as_ref().expect("readable");
    batches.iter().map(|batch| batch.base_offset.0).collect()
}

#[test]
fn reading_goes_on_behind_a_damaged_batch_and_it_is_counted() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    for value in ["first", "second of the records", "third", "fourth of the records"] {
        stage.publish(&[log], &[value, "and another"]).expect("published");
    }
    leave(&mut stage);
    damage(&stage, "second of the records");
    stage.reopen();
    assert_eq!(findings(&stage), [Damage::Batch]);
    assert_eq!(read(&mut stage, log, 0), [0, 4, 6]);
    assert_eq!(read(&mut stage, log, 3), [4, 6]);
    assert_eq!(lost(&stage), 2, "each record once");
    damage(&stage, "fourth of the records");
    stage.reopen();
    assert_eq!(read(&mut stage, log, 2), [4]);
    assert_eq!(read(&mut stage, log, 6), [] as [i64; 0], "the log ends with it");
    assert_eq!(lost(&stage), 4);
}

#[test]
fn a_queue_settles_what_is_damaged_and_serves_the_rest() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    for value in ["one", "two, to be damaged", "three"] {
        stage.publish(&[log], &[value]).expect("published");
    }
    leave(&mut stage);
    damage(&stage, "two, to be damaged");
    stage.reopen();
    stage.call(consumer(subscription)).expect("taken");
    stage.run();
    assert_eq!(stage.delivered(), ["one!", "three!"]);
    assert_eq!(lost(&stage), 1);
    let Ok(Reply::Counts(counts)) = stage.call(Op::Count(subscription)) else { panic!("counts") };
    assert_eq!((counts.ready, counts.unacked), (0, 2));
    stage.reopen();
    let Ok(Reply::Counts(counts)) = stage.call(Op::Count(subscription)) else { panic!("counts") };
    assert_eq!(counts.ready, 2, "it is settled for good");
}

#[test]
fn a_get_has_the_message_behind_a_damaged_one() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    for value in ["to be damaged first", "whole", "to be damaged last"] {
        stage.publish(&[log], &[value]).expect("published");
    }
    leave(&mut stage);
    damage(&stage, "to be damaged first");
    damage(&stage, "to be damaged last");
    stage.reopen();
    let get = || Op::Get(Get { subscription, consumer: ConsumerId(1), settle_on_delivery: true });
    let Ok(Reply::Got(Some(item), _)) = stage.call(get()) else { panic!("nothing") };
    assert_eq!(item.offset, Offset(1));
    assert!(matches!(stage.call(get()), Ok(Reply::Got(None, _))));
    assert_eq!(lost(&stage), 2);
}

#[test]
fn what_was_in_a_deleted_segment_is_counted_and_the_rest_is_served() {
    for with_index in [false, true] {
        let mut stage = Stage::new();
        let log = stage.topic("t", 1, Config::default())[0];
        let (queue, subscription) = stage.queue("q", QueueOptions::default());
        for _ in 0..4 {
            for _ in 0..15 {
                fill(&mut stage, log, 1);
                fill(&mut stage, queue, 1);
            }
            checkpoint(&mut stage);
        }
        stage.reopen();
        // Checkpoints know nothing of it any more but its index file does.
        let index = index_files(&stage).into_iter().min().expect("some");
        stage.disk.remove(&index.replace(".idx", ".seg")).expect("it is there");
        if with_index {
            stage.disk.remove(&index).expect("it is there");
        }
        stage.reopen();
        assert_eq!(findings(&stage), [Damage::Records]);
        let kept = readable(&mut stage, log);
        stage.call(consumer(subscription)).expect("taken");
        (0..20).for_each(|_| stage.run());
        let delivered = stage.delivered().len() as u64;
        let (in_topic, in_queue) = (60 - kept.unsigned_abs(), 60 - delivered);
        assert!(in_topic > 2 && in_queue > 2, "{in_topic} and {in_queue}");
        assert_eq!(lost(&stage), in_topic + in_queue, "with its index: {with_index}");
    }
}
