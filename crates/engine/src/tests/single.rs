//! Queues that serve one consumer at a time.

use super::Stage;
use crate::Client;
use crate::api::{Call, Event, Leave, Op, Source, Take};
use catalog::{QueueKind, QueueOptions, Serving};
use std::sync::Arc;
use types::{ConsumerId, Kind, LogRef, SubscriptionRef, Token};

type Queue = (LogRef, SubscriptionRef);

fn single(stage: &mut Stage, kind: QueueKind) -> Queue {
    let serving = Serving { single_active: true, ..Serving::default() };
    stage.queue("q", QueueOptions { serving, kind, ..QueueOptions::default() })
}

fn take(queue: Queue, consumer: u32, priority: i32) -> Take {
    Take {
        consumer: ConsumerId(consumer),
        source: Source::Subscription(queue.1),
        prefetch: 0,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority,
        sessions_max: 0,
    }
}

fn leave(queue: Queue, consumer: u32, release: bool) -> Op {
    let source = Source::Subscription(queue.1);
    Op::Leave(Leave { consumer: ConsumerId(consumer), source, release })
}

/// Which consumer had which offsets.
fn came(stage: &mut Stage) -> Vec<(u32, i64)> {
    let mut found = Vec::new();
    stage.events.retain_mut(|event| match event {
        Event::Deliver { consumer, items } => {
            found.extend(items.drain(..).map(|item| (consumer.0, item.offset.0)));
            false
        }
        _ => true,
    });
    found
}

#[test]
fn one_consumer_is_served_and_the_best_of_the_others_follows() {
    let mut stage = Stage::new();
    let queue = single(&mut stage, QueueKind::Classic);
    for (consumer, priority) in [(1, 0), (2, 0), (3, 5)] {
        stage.call(Op::Take(take(queue, consumer, priority))).expect("registered");
    }
    stage.publish(&[queue.0], &["a", "b"]).expect("published");
    assert_eq!(came(&mut stage), [(1, 0), (1, 1)]);
    stage.call(leave(queue, 1, true)).expect("left");
    assert_eq!(came(&mut stage), [(3, 0), (3, 1)], "what the first held comes first");
    stage.call(leave(queue, 3, false)).expect("left");
    stage.publish(&[queue.0], &["c"]).expect("published");
    assert_eq!(came(&mut stage), [(2, 2)], "what is kept is not with the next one");
}

#[test]
fn a_connection_that_ends_makes_room() {
    let mut stage = Stage::new();
    let queue = single(&mut stage, QueueKind::Classic);
    let first: Client = stage.engine.handle().connect(Arc::new(|| {}));
    let op = Op::Take(take(queue, 7, 9));
    first.submit(op.shard(), vec![Call { token: Token(1), op }]);
    stage.run();
    stage.call(Op::Take(take(queue, 1, 0))).expect("registered");
    stage.publish(&[queue.0], &["a"]).expect("published");
    assert_eq!(came(&mut stage), []);
    drop(first);
    stage.run();
    assert_eq!(came(&mut stage), [(1, 0)]);
}

#[test]
fn exclusive_consumers_are_refused() {
    let mut stage = Stage::new();
    let queue = single(&mut stage, QueueKind::Classic);
    let refused = stage.call(Op::Take(Take { exclusive: true, ..take(queue, 1, 0) }));
    assert_eq!(refused.expect_err("refused").kind, Kind::InUse);
    stage.call(Op::Take(take(queue, 1, 0))).expect("registered");
    stage.crash();
    stage.publish(&[queue.0], &["a"]).expect("published");
    for consumer in [2, 1] {
        stage.call(Op::Take(take(queue, consumer, 0))).expect("registered");
    }
    assert_eq!(came(&mut stage), [(2, 0)], "it is so after a start too");
}
