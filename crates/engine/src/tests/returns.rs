//! A limit of returns: what comes back once too often is taken out, counted over crashes.

use super::Stage;
use crate::api::{
    Counts, Delivery, Disposition, Event, Get, LeaseRange, Leave, Op, Reply, Settle, Source, Take,
};
use catalog::{DeadLetter, QueueOptions};
use record::properties::{self, Reason};
use record::tail;
use std::sync::Arc;
use types::{ConsumerId, LogRef, Offset, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

const CONSUMER: ConsumerId = ConsumerId(1);

/// A queue whose messages come back twice at most, and where those go that do once more.
fn queues(stage: &mut Stage) -> (Queue, Queue) {
    let letter = DeadLetter { router: "".into(), key: Some("grave".into()) };
    let options = QueueOptions {
        returns_max: Some(2),
        dead_letter: Some(Arc::new(letter)),
        ..QueueOptions::default()
    };
    (stage.queue("limited", options), stage.queue("grave", QueueOptions::default()))
}

fn take(stage: &mut Stage, from: Queue, prefetch: u32) {
    let take = Take {
        consumer: CONSUMER,
        source: Source::Subscription(from.1),
        prefetch,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.call(Op::Take(take)).expect("the consumer is registered");
}

fn give_back(stage: &mut Stage, queue: Queue, (first, last): (i64, i64)) {
    let settle = Settle {
        consumer: CONSUMER,
        source: Source::Subscription(queue.1),
        ranges: vec![LeaseRange { log: queue.0.log, first: Offset(first), last: Offset(last) }],
        disposition: Disposition::Returned,
    };
    stage.call(Op::Settle(settle)).expect("returned");
}

fn get(stage: &mut Stage, queue: Queue) -> Option<Delivery> {
    let get = Get { consumer: CONSUMER, subscription: queue.1, settle_on_delivery: false };
    match stage.call(Op::Get(get)) {
        Ok(Reply::Got(item, _)) => item,
        other => panic!("not got: {other:?}"),
    }
}

/// Offset and attempts of what has come.
fn come(stage: &mut Stage) -> Vec<(i64, u16)> {
    let mut found = Vec::new();
    stage.events.retain_mut(|event| match event {
        Event::Deliver { items, .. } => {
            found.extend(items.drain(..).map(|item| (item.offset.0, item.attempts)));
            false
        }
        _ => true,
    });
    found
}

fn counts(stage: &mut Stage, queue: Queue) -> (u64, u64) {
    match stage.call(Op::Count(queue.1)) {
        Ok(Reply::Counts(Counts { ready, unacked, .. })) => (ready, unacked),
        other => panic!("no counts: {other:?}"),
    }
}

#[test]
fn what_comes_back_once_too_often_dies_without_a_consumer() {
    let mut stage = Stage::new();
    let (limited, grave) = queues(&mut stage);
    stage.publish(&[limited.0], &["a"]).expect("published");
    for attempts in 0..3 {
        let item = get(&mut stage, limited).expect("it is there");
        assert_eq!(item.attempts, attempts);
        give_back(&mut stage, limited, (0, 0));
    }
    stage.run();
    assert_eq!(get(&mut stage, limited).map(|item| item.attempts), None);
    let item = get(&mut stage, grave).expect("it died");
    let view = tail::decode(&item.tail).expect("a stored tail");
    let history = properties::decode(view.headers).history().expect("a history");
    assert_eq!(history.deaths[0].place.reason, Reason::Deliveries);
    let live = stage.engine.state();
    stage.reopen();
    assert_eq!(stage.engine.state(), live);
}

#[test]
fn a_crash_counts_for_what_was_delivered_and_for_nothing_else() {
    let mut stage = Stage::new();
    let (limited, grave) = queues(&mut stage);
    stage.publish(&[limited.0], &["a", "b", "c", "d"]).expect("published");
    for attempts in 0..3 {
        take(&mut stage, limited, 2);
        assert_eq!(come(&mut stage), [(0, attempts), (1, attempts)]);
        stage.crash();
    }
    stage.run();
    assert_eq!(counts(&mut stage, grave), (2, 0), "both died, and nobody was there to consume");
    take(&mut stage, limited, 0);
    assert_eq!(come(&mut stage), [(2, 0), (3, 0)]);
}

#[test]
fn nothing_is_delivered_before_that_is_on_the_disk() {
    let mut stage = Stage::new();
    let (limited, _) = queues(&mut stage);
    stage.publish(&[limited.0], &["a"]).expect("published");
    let mut delivered = 0;
    for cut in 0..12 {
        stage.disk.crash_at(stage.disk.calls() + cut);
        let take = Take {
            consumer: CONSUMER,
            source: Source::Subscription(limited.1),
            prefetch: 0,
            window: None,
            settle_on_delivery: false,
            exclusive: false,
            priority: 0,
            sessions_max: 0,
        };
        stage.send(Op::Take(take));
        for _ in 0..40 {
            if stage.engine.run(1).is_err() {
                break;
            }
            stage.clock.pass(1_000);
            stage.events.extend(stage.client.outbox().take());
        }
        for (_, attempts) in come(&mut stage) {
            assert_eq!(attempts, delivered, "cut at call {cut}");
            delivered += 1;
        }
        stage.disk.crash_at(stage.disk.calls());
        stage.disk.restart();
        stage.reopen();
    }
    assert_eq!(delivered, 3, "it was delivered as often as it may be");
}

#[test]
fn a_settled_message_and_one_that_nobody_got_yet_do_not_count() {
    let mut stage = Stage::new();
    let (limited, grave) = queues(&mut stage);
    for round in 0..5 {
        stage.publish(&[limited.0], &["a"]).expect("published");
        take(&mut stage, limited, 0);
        assert_eq!(come(&mut stage), [(round, 0)]);
        let range = LeaseRange { log: limited.0.log, first: Offset(round), last: Offset(round) };
        let settle = Settle {
            consumer: CONSUMER,
            source: Source::Subscription(limited.1),
            ranges: vec![range],
            disposition: Disposition::Done,
        };
        stage.call(Op::Settle(settle)).expect("settled");
        stage.crash();
        assert_eq!(counts(&mut stage, limited), (0, 0));
    }
    stage.publish(&[limited.0], &["b"]).expect("published");
    for _ in 0..5 {
        // The consumer has gone before the frame with its lease is placed.
        let take = Take {
            consumer: CONSUMER,
            source: Source::Subscription(limited.1),
            prefetch: 0,
            window: None,
            settle_on_delivery: false,
            exclusive: false,
            priority: 0,
            sessions_max: 0,
        };
        stage.send(Op::Take(take));
        let source = Source::Subscription(limited.1);
        stage.engine.run(1).expect("the disk works");
        stage.call(Op::Leave(Leave { consumer: CONSUMER, source, release: true })).expect("left");
        let given = come(&mut stage);
        assert!(given.is_empty(), "{given:?}");
    }
    take(&mut stage, limited, 0);
    assert_eq!(come(&mut stage), [(5, 0)]);
    assert_eq!(counts(&mut stage, grave), (0, 0));
}

#[test]
fn what_a_queue_without_dead_letters_takes_out_is_gone() {
    let mut stage = Stage::new();
    let options = QueueOptions { returns_max: Some(0), ..QueueOptions::default() };
    let limited = stage.queue("limited", options);
    stage.publish(&[limited.0], &["a", "b"]).expect("published");
    take(&mut stage, limited, 1);
    assert_eq!(come(&mut stage), [(0, 0)]);
    give_back(&mut stage, limited, (0, 0));
    stage.run();
    assert_eq!(come(&mut stage), [(1, 0)]);
    stage.crash();
    stage.run();
    assert_eq!(counts(&mut stage, limited), (0, 0), "the crash was the second's return");
}

#[test]
fn what_a_consumer_without_acknowledgements_did_not_get_is_the_next_ones() {
    let mut stage = Stage::new();
    let plain = stage.queue("plain", QueueOptions::default());
    stage.publish(&[plain.0], &["a"]).expect("published");
    // What is delivered has to come from the disk first.
    stage.crash();
    let source = Source::Subscription(plain.1);
    stage.send(Op::Take(Take {
        consumer: CONSUMER,
        source,
        prefetch: 0,
        window: None,
        settle_on_delivery: true,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    }));
    stage.engine.run(1).expect("the disk works");
    stage.call(Op::Leave(Leave { consumer: CONSUMER, source, release: true })).expect("left");
    assert_eq!(come(&mut stage), []);
    take(&mut stage, plain, 0);
    assert_eq!(come(&mut stage), [(0, 0)]);
}

#[test]
fn who_waits_for_a_message_of_a_queue_that_goes_hears_of_it() {
    let mut stage = Stage::new();
    let (limited, _) = queues(&mut stage);
    stage.publish(&[limited.0], &["a"]).expect("published");
    let get = Get { consumer: CONSUMER, subscription: limited.1, settle_on_delivery: false };
    let delete = catalog::DeleteQueue { name: "limited".into(), by: None, only: None };
    let token = stage.send(Op::Get(get));
    stage.change(catalog::Action::DeleteQueue(delete)).expect("deleted");
    let answer = stage.answer(token).expect("it is answered");
    assert!(answer.is_err() || matches!(answer, Ok(Reply::Got(Some(_), _))), "{answer:?}");
}
