//! What is short of memory is slow, and not wrong.

use super::{Stage, append};
use crate::MemoryPool;
use crate::api::{Disposition, Event, LeaseRange, Op, Read, ReadFrom, Reply, Settle, Source, Take};
use catalog::{Config, QueueOptions};
use types::{ConsumerId, Millis, Offset, SubscriptionRef};

fn take(stage: &mut Stage, from: SubscriptionRef) {
    let take = Take {
        consumer: ConsumerId(1),
        source: Source::Subscription(from),
        prefetch: 0,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.call(Op::Take(take)).expect("the consumer is registered");
}

fn blocked(stage: &mut Stage) -> Vec<Option<&'static str>> {
    stage.run();
    let heard = stage.events.iter().filter_map(|event| match event {
        Event::Blocked(why) => Some(*why),
        _ => None,
    });
    let heard = heard.collect();
    stage.events.retain(|event| !matches!(event, Event::Blocked(_)));
    heard
}

#[test]
fn publishing_is_blocked_while_more_is_on_its_way_than_there_is_room_for() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a"]).expect("published");
    take(&mut stage, subscription);
    let handle = stage.engine.handle();
    let budget = handle.memory().budget(MemoryPool::Submitted);
    handle.memory().add(MemoryPool::Submitted, budget + 1);
    assert_eq!(blocked(&mut stage), [Some("low on memory")]);
    let waiting = stage.send(append(&[log], &["b"], None));
    stage.run();
    assert!(stage.answer(waiting).is_none());
    assert!(handle.memory().used(MemoryPool::Held) > 0);
    assert_eq!(stage.delivered(), ["a"]);
    let ranges = vec![LeaseRange { log: log.log, first: Offset(0), last: Offset(0) }];
    let source = Source::Subscription(subscription);
    let disposition = Disposition::Done;
    let settle = Settle { consumer: ConsumerId(1), source, ranges, disposition };
    stage.call(Op::Settle(settle)).expect("settled while publishing is blocked");
    handle.memory().sub(MemoryPool::Submitted, budget + 1);
    assert_eq!(blocked(&mut stage), [None]);
    assert!(matches!(stage.answer(waiting), Some(Ok(Reply::Appended(_)))));
    assert_eq!(handle.memory().used(MemoryPool::Held), 0);
    assert_eq!(stage.delivered(), ["b"]);
}

#[test]
fn a_client_that_takes_nothing_gets_less_when_memory_is_short() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    let body = "x".repeat(30_000);
    for _ in 0..20 {
        stage.publish(&[log], &[&body]).expect("published");
    }
    let handle = stage.engine.handle();
    let budget = handle.memory().budget(MemoryPool::Output);
    handle.memory().add(MemoryPool::Output, budget);
    take(&mut stage, subscription);
    stage.run();
    let first = stage.delivered().len();
    assert!((1..=2).contains(&first), "{first} messages");
    // Each batch of them counts until the client has written it, and then more comes.
    let mut came = first;
    while came < 20 {
        let used = handle.memory().used(MemoryPool::Output) - budget;
        assert!(used > 0, "{came} came");
        if stage.client.outbox().written(used) {
            stage.client.resume();
        }
        stage.run();
        let more = stage.delivered().len();
        assert!((1..=2).contains(&more), "{more} messages");
        came += more;
    }
    assert_eq!(came, 20);
}

#[test]
fn a_read_gives_less_when_memory_is_short_but_something() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    let body = "x".repeat(10_000);
    for _ in 0..20 {
        stage.publish(&[log], &[&body]).expect("published");
    }
    let read = || {
        let from = ReadFrom { log, offset: Offset(0), bytes_max: 1 << 20 };
        Op::Read(Read {
            logs: vec![from],
            bytes_max: 1 << 20,
            bytes_min: 1 << 20,
            wait: Millis(60_000),
        })
    };
    let handle = stage.engine.handle();
    handle.memory().add(MemoryPool::Output, handle.memory().budget(MemoryPool::Output));
    let Ok(Reply::Read(logs)) = stage.call(read()) else { panic!("no answer") };
    assert_eq!(logs[0].batches.as_ref().expect("read").iter().count(), 1);
}
