//! Who asks much waits for it; others do not.

use super::{Stage, append};
use crate::api::{Call, Event, Op, Source, Take};
use catalog::{Config, QueueOptions};
use std::sync::Arc;
use types::{ConsumerId, SubscriptionRef, Token};

fn take(stage: &mut Stage, consumer: u32, from: SubscriptionRef) {
    let take = Take {
        consumer: ConsumerId(consumer),
        source: Source::Subscription(from),
        prefetch: 0,
        window: None,
        settle_on_delivery: true,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.send(Op::Take(take));
}

#[test]
fn a_connection_that_floods_delays_itself() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    let body = "x".repeat(20_000);
    for number in 1..=100 {
        let call = Call { token: Token(1_000 + number), op: append(&[log], &[&body], None) };
        stage.client.submit(log.shard, vec![call]);
    }
    let other = stage.engine.handle().connect(Arc::new(|| {}));
    other.submit(log.shard, vec![Call { token: Token(7), op: append(&[log], &["y"], None) }]);
    let mut flooded = 0;
    while other.outbox().take().is_empty() {
        stage.engine.run(1).expect("the disk works");
        flooded += stage.client.outbox().take().len();
    }
    assert!(flooded <= 20, "{flooded} of 100 came first");
    for _ in 0..200 {
        stage.engine.run(1).expect("the disk works");
        flooded += stage.client.outbox().take().len();
    }
    assert_eq!(flooded, 100);
}

#[test]
fn what_a_connection_sent_before_it_went_is_stored() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let body = "x".repeat(20_000);
    let other = stage.engine.handle().connect(Arc::new(|| {}));
    for number in 1..=30 {
        let call = Call { token: Token(number), op: append(&[log], &[&body], None) };
        other.submit(log.shard, vec![call]);
    }
    drop(other);
    for _ in 0..20 {
        stage.run();
    }
    take(&mut stage, 1, queue);
    for _ in 0..20 {
        stage.run();
    }
    assert_eq!(stage.delivered().len(), 30);
}

#[test]
fn a_deep_queue_leaves_turns_to_others() {
    let mut stage = Stage::roomy();
    let (deep, deep_queue) = stage.queue("deep", QueueOptions::default());
    // More than a turn hands out, and less than the cache has room for.
    let values = vec!["x"; 500];
    for _ in 0..40 {
        stage.publish(&[deep], &values).expect("published");
    }
    let mut queues = Vec::new();
    for number in 0..20 {
        let (log, queue) = stage.queue(&format!("q{number}"), QueueOptions::default());
        stage.publish(&[log], &["a"]).expect("published");
        queues.push(queue);
    }
    // One outbox takes a MiB: each queue has a client of its own.
    let client = |stage: &Stage| stage.engine.handle().connect(Arc::new(|| {}));
    let take = |from| Take {
        consumer: ConsumerId(1),
        source: Source::Subscription(from),
        prefetch: 0,
        window: None,
        settle_on_delivery: true,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    let all = std::iter::once(deep_queue).chain(queues);
    let clients: Vec<_> = all
        .map(|queue| {
            let client = client(&stage);
            client.submit(queue.shard, vec![Call { token: Token(1), op: Op::Take(take(queue)) }]);
            client
        })
        .collect();
    stage.engine.run(1).expect("the disk works");
    let delivered = |client: &crate::Client| -> usize {
        let items = client.outbox().take().into_iter().map(|event| match event {
            Event::Deliver { items, .. } => items.len(),
            _ => 0,
        });
        items.sum()
    };
    let counts: Vec<usize> = clients.iter().map(delivered).collect();
    assert!(counts[1..].iter().all(|count| *count == 1), "{counts:?}");
    assert!((500..20_000).contains(&counts[0]), "{counts:?}");
}

#[test]
fn every_partition_of_a_topic_has_its_turn() {
    let mut stage = Stage::roomy();
    let logs = stage.topic("t", 4, Config::default());
    let join = catalog::Action::DeclareSubscription { topic: "t".into(), name: "queue".into() };
    let Ok(catalog::Outcome::Subscription { subscription, .. }) = stage.change(join) else {
        panic!("no subscription")
    };
    let body = "x".repeat(1_000);
    let values = vec![&body[..]; 100];
    for log in logs.iter() {
        for _ in 0..2 {
            stage.publish(&[*log], &values).expect("published");
        }
    }
    take(&mut stage, 1, subscription);
    stage.engine.run(1).expect("the disk works");
    let mut counts = std::collections::BTreeMap::new();
    for event in stage.client.outbox().take() {
        if let Event::Deliver { items, .. } = event {
            items.iter().for_each(|item| *counts.entry(item.log).or_insert(0) += 1);
        }
    }
    assert!(counts.len() == 4, "{counts:?}");
}
