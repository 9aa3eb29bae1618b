//! Segments in which logs lie interleaved are written again, log by log.

use super::Stage;
use crate::UnzipSizes;
use crate::api::{Op, Read, ReadFrom, Reply};
use catalog::Config;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use types::{LogRef, Millis, Offset};

const LOGS: u32 = 8;
/// Records of each log; each fills a batch.
const RECORDS: usize = 200;

fn stage(bytes_per_s: u64) -> (Stage, Arc<[LogRef]>) {
    let mut stage = Stage::new();
    stage.sizes.unzip = UnzipSizes {
        bytes_per_s,
        run_bytes: 16 << 10,
        pass_bytes: 64 << 10,
        group_bytes: 1 << 20,
        settled_us: 2_000_000,
    };
    stage.crash();
    let logs = stage.topic("t", LOGS, Config::default());
    (stage, logs)
}

/// A record to every log in turn.
fn publish(stage: &mut Stage, logs: &[LogRef]) {
    for number in 0..RECORDS {
        for log in logs {
            stage.send(super::append(&[*log], &[&value(number, *log)], None));
            stage.engine.run(1).expect("the disk works");
        }
        stage.run();
        stage.events.clear();
    }
}

fn value(number: usize, log: LogRef) -> String {
    format!("{number:>500} of {}", log.log)
}

/// Nobody asks for anything, for so many seconds.
fn rest(stage: &mut Stage, seconds: u64) {
    for _ in 0..seconds * 40 {
        stage.engine.run(4).expect("the disk works");
        stage.clock.pass(25_000);
    }
    stage.engine.checkpoint();
    (0..40).for_each(|_| stage.run());
    stage.engine.audit().expect("what is counted is what there is");
}

fn check(stage: &mut Stage, logs: &[LogRef]) {
    for log in logs {
        let mut offset = Offset(0);
        for number in 0..RECORDS {
            let from = ReadFrom { log: *log, offset, bytes_max: 1 };
            let read = Read { logs: vec![from], bytes_max: 1, bytes_min: 0, wait: Millis(0) };
            let token = stage.send(Op::Read(read));
            let answer = (0..20).find_map(|_| {
                stage.run();
                stage.answer(token)
            });
            let Some(Ok(Reply::Read(logs))) = answer else { panic!("not read: {answer:?}") };
            let batches = logs[0].batches.as_ref().expect("it is there");
            let batch = batches.iter().next().expect("one at least");
            assert_eq!(batch.base_offset, offset);
            let wanted = value(number, *log).into_bytes();
            assert!(batch.bytes.windows(wanted.len()).any(|window| window == wanted));
            offset = offset.next();
        }
    }
}

fn unzipped(stage: &Stage) -> u64 {
    stage.engine.handle().metrics().copies.unzipped_segments.load(Relaxed)
}

#[test]
fn each_log_lies_together_afterwards_and_nothing_is_written_twice_more() {
    let (mut stage, logs) = stage(1 << 20);
    publish(&mut stage, &logs);
    let before = stage.engine.pieces();
    rest(&mut stage, 40);
    let (after, first) = (stage.engine.pieces(), unzipped(&stage));
    assert!(first >= 3, "{first} segments");
    assert!(after * 4 < before, "{before} pieces before, {after} after");
    rest(&mut stage, 60);
    assert_eq!(unzipped(&stage), first, "what is in order stays where it is");
    check(&mut stage, &logs);
    stage.crash();
    check(&mut stage, &logs);
}

#[test]
fn a_crash_at_any_time_meanwhile_loses_nothing() {
    let (mut stage, logs) = stage(200 << 10);
    publish(&mut stage, &logs);
    let before = stage.engine.pieces();
    for _ in 0..12 {
        for _ in 0..130 {
            stage.engine.run(1).expect("the disk works");
            stage.clock.pass(25_000);
        }
        stage.crash();
        check(&mut stage, &logs);
    }
    rest(&mut stage, 60);
    let after = stage.engine.pieces();
    assert!(after * 4 < before, "{before} pieces before, {after} after");
    check(&mut stage, &logs);
}

#[test]
fn what_others_write_comes_first() {
    let (mut stage, logs) = stage(1 << 20);
    publish(&mut stage, &logs);
    let before = unzipped(&stage);
    for _ in 0..400 {
        // Some 400 KB in a second.
        stage.publish(&[logs[0]], &[&"x".repeat(10_000)]).expect("published");
        stage.clock.pass(13_000);
    }
    assert_eq!(unzipped(&stage), before, "nothing while an eighth of the rate is taken");
    rest(&mut stage, 20);
    assert!(unzipped(&stage) > before);
}
