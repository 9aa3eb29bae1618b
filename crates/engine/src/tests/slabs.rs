//! Small batches that are loaded together are read, delivered, skipped and counted one by one.

use super::Stage;
use crate::api::{
    Disposition, LeaseRange, Op, Read, ReadBatches, ReadFrom, Reply, Settle, Source, Take,
};
use catalog::{Config, QueueOptions};
use io::Disk;
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef};

const BATCHES: i64 = 40;

/// Batches of two records.
fn fill(stage: &mut Stage, log: LogRef) {
    for number in 0..BATCHES {
        let values = [number * 2, number * 2 + 1].map(|number| format!("value {number:04}"));
        stage.publish(&[log], &[&values[0], &values[1]]).expect("published");
    }
    // What was just written is in memory.
    stage.reopen();
}

fn read(stage: &mut Stage, log: LogRef, offset: i64, bytes_max: u32) -> ReadBatches {
    let logs = vec![ReadFrom { log, offset: Offset(offset), bytes_max }];
    let read = Read { logs, bytes_max: 1 << 20, bytes_min: 0, wait: Millis(0) };
    match stage.call(Op::Read(read)) {
        Ok(Reply::Read(mut logs)) => logs.remove(0).batches.expect("readable"),
        other => panic!("not a read: {other:?}"),
    }
}

/// Every batch holds the records that it has to have by its offset.
fn check(batches: &ReadBatches) -> Vec<i64> {
    let one = |batch: crate::api::ReadBatch| {
        let wanted = format!("value {:04}", batch.base_offset.0);
        assert!(batch.bytes.windows(wanted.len()).any(|found| found == wanted.as_bytes()));
        batch.base_offset.0
    };
    batches.iter().map(one).collect()
}

fn take(stage: &mut Stage, subscription: SubscriptionRef, prefetch: u32) {
    let take = Take {
        source: Source::Subscription(subscription),
        consumer: ConsumerId(1),
        prefetch,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
        window: None,
    };
    stage.call(Op::Take(take)).expect("a consumer");
}

fn settle(stage: &mut Stage, (log, from): (LogRef, SubscriptionRef), first: i64, last: i64) {
    let ranges = vec![LeaseRange { log: log.log, first: Offset(first), last: Offset(last) }];
    let source = Source::Subscription(from);
    let disposition = Disposition::Done;
    let settle = Settle { consumer: ConsumerId(1), source, ranges, disposition };
    stage.call(Op::Settle(settle)).expect("settled");
}

#[test]
fn cold_batches_come_in_one_row_from_wherever_it_is_read() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    fill(&mut stage, log);
    let all = read(&mut stage, log, 0, 1 << 20);
    assert_eq!(check(&all), (0..BATCHES).map(|at| at * 2).collect::<Vec<_>>());
    assert_eq!(all.rows.len(), 1, "they lie back to back");
    // A batch that is read into comes whole; the first one always comes.
    assert_eq!(check(&read(&mut stage, log, 31, 1)), [30]);
    let some = read(&mut stage, log, 31, 300);
    assert!(some.bytes() <= 300 && check(&some).len() > 1);
}

#[test]
fn a_row_ends_where_batches_of_a_queue_were_settled() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    fill(&mut stage, log);
    take(&mut stage, subscription, 0);
    assert_eq!(stage.delivered().len() as i64, BATCHES * 2);
    settle(&mut stage, (log, subscription), 10, 13);
    for _ in 0..300 {
        stage.run();
    }
    let expected: Vec<i64> =
        (0..BATCHES).map(|at| at * 2).filter(|at| ![10, 12].contains(at)).collect();
    for cold in [false, true] {
        if cold {
            stage.reopen();
        }
        let all = read(&mut stage, log, 0, 1 << 20);
        assert_eq!(check(&all), expected);
        assert_eq!(all.rows.len(), 2);
    }
}

#[test]
fn consumers_are_given_cold_small_batches_in_order() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    fill(&mut stage, log);
    take(&mut stage, subscription, 0);
    let values: Vec<String> =
        (0..BATCHES * 2).map(|number| format!("value {number:04}!")).collect();
    let delivered: Vec<String> = stage.delivered();
    let plain = |values: &[String]| -> Vec<String> {
        values.iter().map(|value| value.trim_end_matches('!').to_owned()).collect()
    };
    assert_eq!(plain(&delivered), plain(&values));
}

#[test]
fn a_damaged_batch_among_them_is_skipped_alone() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    fill(&mut stage, log);
    // Found when it is read, not at the start.
    damage(&stage, "value 0021");
    let all = read(&mut stage, log, 0, 1 << 20);
    let expected: Vec<i64> = (0..BATCHES).map(|at| at * 2).filter(|at| *at != 20).collect();
    assert_eq!((check(&all), all.rows.len()), (expected, 2));
    assert_eq!(check(&read(&mut stage, log, 21, 1)), [22]);
    let handle = stage.engine.handle();
    let lost = &handle.metrics().damage.lost_records;
    assert_eq!(lost.load(std::sync::atomic::Ordering::Relaxed), 2, "each record once");
}

fn damage(stage: &Stage, value: &str) {
    let names = stage.disk.list().expect("the disk works");
    let turned = names.iter().filter(|name| name.ends_with(".seg")).any(|name| {
        let bytes = stage.disk.contents(name).expect("it is there");
        let at = bytes.windows(value.len()).position(|window| window == value.as_bytes());
        at.is_some_and(|at| stage.disk.flip_bit(name, at + value.len() / 2, 3))
    });
    assert!(turned, "the value is in no segment");
}
