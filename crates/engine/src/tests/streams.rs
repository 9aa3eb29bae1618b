//! Logs read by offset.

use super::Stage;
use crate::api::{
    Append, Extent, Find, FindTarget, Op, Payload, Read, ReadFrom, Reply, Source, StartAt, Take,
};
use catalog::{Action, Config, ConfigChange};
use types::{ConsumerId, Kind, LogRef, Millis, Offset};

fn read(log: LogRef, offset: i64, wait: i64) -> Op {
    Op::Read(Read {
        logs: vec![ReadFrom { log, offset: Offset(offset), bytes_max: 1 << 20 }],
        bytes_max: 1 << 20,
        bytes_min: 1,
        wait: Millis(wait),
    })
}

/// Base offsets and extent a read gave.
fn bases(reply: Reply) -> (Result<Vec<i64>, Kind>, Extent) {
    let Reply::Read(mut logs) = reply else { panic!("not a read: {reply:?}") };
    let log = logs.remove(0);
    let batches = log.batches.map_err(|error| error.kind);
    (batches.map(|all| all.iter().map(|batch| batch.base_offset.0).collect()), log.extent)
}

#[test]
fn a_read_gives_whole_batches_from_the_one_that_holds_the_offset() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    stage.publish(&[log], &["a", "b"]).expect("published");
    stage.publish(&[log], &["c"]).expect("published");
    let reply = stage.call(read(log, 1, 0)).expect("read");
    assert_eq!(bases(reply).0, Ok(vec![0, 2]));
    let reply = stage.call(read(log, 9, 0)).expect("read");
    assert_eq!(bases(reply).0, Err(Kind::Invalid));
}

#[test]
fn a_read_at_the_end_waits_for_the_next_batch_or_its_time() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    let token = stage.send(read(log, 0, 60_000));
    stage.run();
    assert!(stage.answer(token).is_none(), "nothing is there");
    stage.publish(&[log], &["a"]).expect("published");
    let reply = stage.answer(token).expect("answered").expect("read");
    assert_eq!(bases(reply).0, Ok(vec![0]));
    let token = stage.send(read(log, 1, 500));
    stage.run();
    stage.clock.pass(600_000);
    stage.run();
    let reply = stage.answer(token).expect("answered").expect("read");
    assert_eq!(bases(reply).0, Ok(vec![]));
}

#[test]
fn what_was_acknowledged_is_read_back_from_the_disk_after_a_power_cut() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    for value in ["a", "b", "c"] {
        stage.publish(&[log], &[value]).expect("published");
    }
    stage.crash();
    let reply = stage.call(read(log, 0, 0)).expect("read");
    let (batches, extent) = bases(reply);
    assert_eq!(batches, Ok(vec![0, 1, 2]));
    assert_eq!((extent.start, extent.end), (Offset(0), Offset(3)));
}

#[test]
fn offsets_are_found_by_time() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    stage.publish(&[log], &["a"]).expect("published");
    stage.clock.pass(10_000_000);
    let later = Millis(1_700_000_005_000);
    stage.publish(&[log], &["b"]).expect("published");
    let find = |target| Op::Find(Find { log, target });
    let found = |reply| match reply {
        Ok(Reply::Found(found)) => found.map(|found| found.offset.0),
        other => panic!("not an offset: {other:?}"),
    };
    assert_eq!(found(stage.call(find(FindTarget::Since(later)))), Some(1));
    assert_eq!(found(stage.call(find(FindTarget::MaxTimestamp))), Some(1));
    assert_eq!(found(stage.call(find(FindTarget::Earliest))), Some(0));
    assert_eq!(found(stage.call(find(FindTarget::Latest))), Some(2));
}

#[test]
fn a_consumer_of_a_log_begins_where_it_asks_and_settles_nothing() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    stage.publish(&[log], &["a", "b", "c"]).expect("published");
    let take = Take {
        consumer: ConsumerId(1),
        source: Source::Log { log, from: StartAt::Offset(Offset(1)) },
        prefetch: 10,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.call(Op::Take(take)).expect("registered");
    assert_eq!(stage.delivered(), ["b", "c"]);
    stage.publish(&[log], &["d"]).expect("published");
    assert_eq!(stage.delivered(), ["d"]);
}

#[test]
fn a_batch_with_timestamps_of_long_ago_can_be_read_for_a_while() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    let mut tail = Vec::new();
    record::tail::encode(&mut tail, None, Some(b"old"), [].into_iter());
    let mut batch = record::batch::Builder::new(Millis(1_000));
    batch.push(Millis(1_000), &tail);
    let payload = Payload::Batch(batch.finish());
    stage.call(Op::Append(Append { to: [log].into(), payload, waits: true })).expect("appended");
    let start = |stage: &mut Stage| {
        stage.run();
        bases(stage.call(read(log, 1, 0)).expect("read")).1.start
    };
    stage.clock.pass(200_000_000);
    assert_eq!(start(&mut stage), Offset(0));
    stage.clock.pass(200_000_000);
    assert_eq!(start(&mut stage), Offset(1), "five minutes are over");
}

#[test]
fn an_append_to_more_logs_than_a_frame_can_name_reaches_them_all() {
    let mut stage = Stage::roomy();
    let mut logs = Vec::new();
    for name in ["a", "b"] {
        logs.extend(stage.topic(name, 10_000, Config::default()).iter());
    }
    stage.publish(&logs, &["x"]).expect("published");
    stage.crash();
    let Ok(Reply::Extents(extents)) = stage.call(Op::Extent(logs)) else { panic!("no extents") };
    assert_eq!(extents.len(), 20_000);
    assert!(extents.iter().flatten().all(|extent| extent.end == Offset(1)));
}

#[test]
fn what_is_too_much_goes_by_the_batch_though_its_page_holds_more() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    let other = stage.topic("other", 1, Config::default())[0];
    let value = "x".repeat(20_000);
    for _ in 0..8 {
        stage.publish(&[log], &[&value]).expect("published");
    }
    // The segment is full and has its index: two pages of four batches.
    for _ in 0..20 {
        stage.publish(&[other], &[&value]).expect("published");
    }
    let config = Config([("retention.bytes".to_owned(), "50000".to_owned())].into());
    let change = ConfigChange::Replace(config);
    stage.change(Action::AlterConfig { name: "t".into(), change }).expect("altered");
    for _ in 0..8 {
        stage.clock.pass(1_000_000);
        stage.run();
    }
    let reply = stage.call(read(log, 6, 0)).expect("read");
    let (bases, extent) = bases(reply);
    assert_eq!((extent.start, bases), (Offset(6), Ok(vec![6, 7])), "60,000 bytes were too much");
}
