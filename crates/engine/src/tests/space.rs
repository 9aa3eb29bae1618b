//! A disk that is nearly full: who waits, who goes on, and what makes room.

use super::{Stage, append};
use crate::api::{Disposition, Event, LeaseRange, Op, Read, ReadFrom, Reply, Settle, Source, Take};
use catalog::QueueOptions;
use std::sync::atomic::Ordering::Relaxed;
use types::{ConsumerId, Kind, LogRef, Millis, Offset, SubscriptionRef};

fn set_free(stage: &mut Stage, bytes: u64) {
    stage.disk.set_free_bytes(bytes);
    stage.clock.pass(60_000);
    stage.run();
}

fn told(stage: &mut Stage) -> Vec<Option<&'static str>> {
    let mut told = Vec::new();
    stage.events.retain(|event| match event {
        Event::Blocked(why) => {
            told.push(*why);
            false
        }
        _ => true,
    });
    told
}

fn consume_all(stage: &mut Stage, (log, from): (LogRef, SubscriptionRef)) -> usize {
    let (consumer, source) = (ConsumerId(1), Source::Subscription(from));
    stage
        .call(Op::Take(Take {
            consumer,
            source,
            prefetch: 1000,
            window: None,
            settle_on_delivery: false,
            exclusive: false,
            priority: 0,
            sessions_max: 0,
        }))
        .expect("the consumer is registered");
    let mut count = 0;
    loop {
        stage.run();
        let mut offsets = Vec::new();
        stage.events.retain(|event| match event {
            Event::Deliver { items, .. } => {
                offsets.extend(items.iter().map(|item| item.offset));
                let bytes = items.iter().map(crate::delivery_bytes).sum();
                if stage.client.outbox().written(bytes) {
                    stage.client.resume();
                }
                false
            }
            _ => true,
        });
        let Some((first, last)) = offsets.first().zip(offsets.last()) else { return count };
        let ranges = vec![LeaseRange { log: log.log, first: *first, last: *last }];
        count += offsets.len();
        let settle = Settle { consumer, source, ranges, disposition: Disposition::Done };
        stage.call(Op::Settle(settle)).expect("settled while publishing is blocked");
    }
}

#[test]
fn appends_wait_while_the_disk_is_low_and_then_go_on_in_order() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a"]).expect("published");
    set_free(&mut stage, 1 << 20);
    assert_eq!(told(&mut stage), [Some("low on disk")]);
    let waiting =
        [stage.send(append(&[log], &["b"], None)), stage.send(append(&[log], &["c"], None))];
    stage.run();
    assert!(waiting.iter().all(|token| stage.answer(*token).is_none()));
    assert_eq!(consume_all(&mut stage, (log, queue)), 1);
    set_free(&mut stage, u64::MAX);
    assert_eq!(told(&mut stage), [None]);
    for token in waiting {
        assert!(matches!(stage.answer(token), Some(Ok(Reply::Appended(_)))));
    }
    assert_eq!(stage.delivered(), ["b", "c"]);
}

#[test]
fn more_than_can_wait_is_refused() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    set_free(&mut stage, 1 << 20);
    let long = "x".repeat(4 << 20);
    let tokens: Vec<_> = (0..5).map(|_| stage.send(append(&[log], &[&long], None))).collect();
    stage.run();
    let answers: Vec<_> = tokens.iter().map(|token| stage.answer(*token)).collect();
    let refused: Vec<_> =
        answers.into_iter().flatten().map(|answer| answer.unwrap_err().kind).collect();
    assert_eq!(refused, [Kind::Throttled; 2], "three wait");
}

#[test]
fn consuming_makes_room_by_itself() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    stage.disk.set_free_bytes(9 << 20);
    let body = "x".repeat(50_000);
    let mut published = 0;
    while told(&mut stage).is_empty() {
        let token = stage.send(append(&[log], &[&body], None));
        stage.clock.pass(60_000);
        stage.run();
        published += usize::from(matches!(stage.answer(token), Some(Ok(_))));
        assert!(published < 200, "10 MB in 9 MiB");
    }
    assert!(published > 40, "{published}");
    let waiting = stage.send(append(&[log], &["last"], None));
    let consumed = consume_all(&mut stage, (log, queue));
    assert!((published..=published + 1).contains(&consumed), "{consumed} of {published}");
    for _ in 0..40 {
        stage.clock.pass(600_000);
        stage.run();
    }
    assert_eq!(told(&mut stage), [None], "segments were given back");
    assert!(matches!(stage.answer(waiting), Some(Ok(Reply::Appended(_)))));
    assert_eq!(stage.engine.handle().metrics().space.blocked.load(Relaxed), 0);
}

#[test]
fn survivors_of_many_logs_are_copied_together_and_then_stay() {
    let mut stage = Stage::new();
    let (hot, hot_queue) = stage.queue("hot", QueueOptions::default());
    let body = "x".repeat(10_000);
    let mut parked = Vec::new();
    for number in 0..80 {
        let (log, _) = stage.queue(&format!("parked-{number}"), QueueOptions::default());
        stage.publish(&[log], &["stays"]).expect("published");
        stage.publish(&[hot], &[&body]).expect("published");
        parked.push(log);
    }
    assert_eq!(consume_all(&mut stage, (hot, hot_queue)), 80);
    // Nothing is in memory any more.
    stage.crash();
    let rest = |stage: &mut Stage| {
        for _ in 0..1_200 {
            stage.engine.run(4).expect("the disk works");
            stage.clock.pass(25_000);
        }
        stage.engine.handle().metrics().copies.relocated_segments.load(Relaxed)
    };
    let relocated = rest(&mut stage);
    assert!(relocated > 0, "segments with hardly anything in them are copied out of");
    assert_eq!(rest(&mut stage), relocated, "the copies do not lie as far apart again");
    stage.crash();
    for log in parked {
        let from = ReadFrom { log, offset: Offset(0), bytes_max: 1 };
        let read = Read { logs: vec![from], bytes_max: 1, bytes_min: 0, wait: Millis(0) };
        let Ok(Reply::Read(logs)) = stage.call(Op::Read(read)) else { panic!("not read") };
        assert_eq!(logs[0].batches.as_ref().map(|batches| batches.iter().count()), Ok(1));
    }
}
