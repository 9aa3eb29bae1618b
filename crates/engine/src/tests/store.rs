//! The files beside the journal: lost ones are made anew, and a full disk is left in peace.

use super::Stage;
use crate::Part;
use crate::api::{Extent, Op, Read, ReadFrom, Reply};
use catalog::Config;
use io::Disk;
use journal::Damage;
use types::{LogRef, Millis, Offset};

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
        let first = logs[0].batches.as_ref().expect("readable").first();
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
