//! What a queue takes out goes on as a dead letter: once, with its history, whatever ends the process.

use super::{Stage, append};
use crate::api::{
    Counts, Delivery, Disposition, Event, LeaseRange, Op, Reply, Settle, Source, Take,
};
use catalog::{DeadLetter, QueueOptions};
use record::properties::{self, History, Reason};
use record::tail;
use std::sync::Arc;
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

fn dead_to(router: &str, key: Option<&str>) -> QueueOptions {
    let letter = DeadLetter { router: router.into(), key: key.map(Into::into) };
    QueueOptions { dead_letter: Some(Arc::new(letter)), ..QueueOptions::default() }
}

fn take(stage: &mut Stage, from: Queue, consumer: u32) {
    let take = Take {
        consumer: ConsumerId(consumer),
        source: Source::Subscription(from.1),
        prefetch: 0,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.call(Op::Take(take)).expect("the consumer is registered");
}

fn reject(queue: Queue, (consumer, first, last): (u32, i64, i64)) -> Op {
    Op::Settle(Settle {
        consumer: ConsumerId(consumer),
        source: Source::Subscription(queue.1),
        ranges: vec![LeaseRange { log: queue.0.log, first: Offset(first), last: Offset(last) }],
        disposition: Disposition::Rejected,
    })
}

fn ready(stage: &mut Stage, queue: Queue) -> u64 {
    match stage.call(Op::Count(queue.1)) {
        Ok(Reply::Counts(Counts { ready, .. })) => ready,
        other => panic!("no counts: {other:?}"),
    }
}

/// What has come to a consumer.
fn come(stage: &mut Stage, consumer: u32) -> Vec<Delivery> {
    let mut found = Vec::new();
    stage.events.retain_mut(|event| match event {
        Event::Deliver { consumer: of, items } if *of == ConsumerId(consumer) => {
            found.append(items);
            false
        }
        _ => true,
    });
    found
}

fn value(item: &Delivery) -> String {
    let view = tail::decode(&item.tail).expect("a stored tail");
    String::from_utf8_lossy(view.value.unwrap_or_default()).into_owned()
}

fn history(item: &Delivery) -> History {
    let view = tail::decode(&item.tail).expect("a stored tail");
    properties::decode(view.headers).history().expect("it died")
}

/// Queue, reason and count of each death, the newest first.
fn deaths(item: &Delivery) -> Vec<(String, Reason, u64)> {
    let deaths = history(item).deaths.into_iter();
    deaths.map(|death| (death.place.queue, death.place.reason, death.count)).collect()
}

#[test]
fn what_is_refused_is_at_its_target_with_its_history_and_nowhere_else() {
    for shards in [1, 2] {
        let mut stage = Stage::with_shards(shards);
        let source = stage.queue("source", dead_to("", Some("grave")));
        let grave = stage.queue("grave", QueueOptions::default());
        assert_eq!(source.0.shard == grave.0.shard, shards == 1);
        stage.publish(&[source.0], &["a", "b", "c"]).expect("published");
        take(&mut stage, source, 1);
        stage.call(reject(source, (1, 0, 1))).expect("refused");
        stage.run();
        stage.crash();
        take(&mut stage, source, 1);
        take(&mut stage, grave, 2);
        stage.run();
        assert_eq!(come(&mut stage, 1).iter().map(value).collect::<Vec<_>>(), ["c"]);
        let there = come(&mut stage, 2);
        assert_eq!(there.iter().map(value).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(deaths(&there[0]), [("source".into(), Reason::Rejected, 1)]);
        let death = &history(&there[0]).deaths[0];
        assert_eq!((&death.keys[..], &death.place.exchange[..]), (&["source".to_owned()][..], ""));
        let live = stage.engine.state();
        stage.reopen();
        assert_eq!(stage.engine.state(), live);
    }
}

#[test]
fn a_power_cut_at_any_call_leaves_a_refused_message_in_one_place() {
    let mut places = std::collections::BTreeMap::new();
    for cut in 0..30 {
        let mut stage = Stage::with_shards(2);
        let source = stage.queue("source", dead_to("", Some("grave")));
        let grave = stage.queue("grave", QueueOptions::default());
        stage.publish(&[source.0], &["a"]).expect("published");
        take(&mut stage, source, 1);
        stage.disk.crash_at(stage.disk.calls() + cut);
        let token = stage.send(reject(source, (1, 0, 0)));
        let mut answered = false;
        for _ in 0..60 {
            if stage.engine.run(1).is_err() {
                break;
            }
            stage.clock.pass(1_000);
            stage.events.extend(stage.client.outbox().take());
            answered |= stage.answer(token).is_some();
        }
        stage.disk.crash_at(stage.disk.calls());
        stage.disk.restart();
        stage.reopen();
        for _ in 0..4 {
            stage.run();
        }
        take(&mut stage, source, 1);
        take(&mut stage, grave, 2);
        stage.run();
        let (here, there) = (come(&mut stage, 1).len(), come(&mut stage, 2).len());
        assert_eq!(here + there, 1, "cut at call {cut}: {here} here, {there} there");
        assert!(!answered || there == 1, "cut at call {cut}: it was said to be refused");
        *places.entry((answered, there)).or_insert(0) += 1;
    }
    assert!(places.len() > 1, "every cut came at the same moment: {places:?}");
}

#[test]
fn what_expires_goes_on_without_its_time_to_live() {
    let mut stage = Stage::new();
    let options = QueueOptions { message_ttl: Some(Millis(1_000)), ..dead_to("", Some("grave")) };
    let source = stage.queue("source", options);
    let grave = stage.queue("grave", QueueOptions::default());
    stage.call(append(&[source.0], &["own"], Some("100"))).expect("published");
    stage.publish(&[source.0], &["queues"]).expect("published");
    stage.clock.pass(500_000);
    stage.run();
    assert_eq!((ready(&mut stage, source), ready(&mut stage, grave)), (1, 1));
    stage.clock.pass(5_000_000);
    stage.run();
    assert_eq!((ready(&mut stage, source), ready(&mut stage, grave)), (0, 2));
    take(&mut stage, grave, 1);
    let there = come(&mut stage, 1);
    assert_eq!(there.iter().map(value).collect::<Vec<_>>(), ["own", "queues"]);
    assert_eq!(deaths(&there[0]), [("source".into(), Reason::Expired, 1)]);
    assert_eq!(history(&there[0]).deaths[0].expiration.as_deref(), Some("100"));
    assert_eq!(history(&there[1]).deaths[0].expiration, None);
}

#[test]
fn what_a_queue_is_too_long_for_goes_on_the_oldest_first() {
    let mut stage = Stage::new();
    let options = QueueOptions { max_len: Some(2), ..dead_to("", Some("grave")) };
    let source = stage.queue("source", options);
    let grave = stage.queue("grave", QueueOptions::default());
    stage.publish(&[source.0], &["a", "b", "c", "d"]).expect("published");
    stage.run();
    assert_eq!((ready(&mut stage, source), ready(&mut stage, grave)), (2, 2));
    take(&mut stage, grave, 1);
    let there = come(&mut stage, 1);
    assert_eq!(there.iter().map(value).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(deaths(&there[1]), [("source".into(), Reason::Length, 1)]);
}

#[test]
fn what_goes_in_circles_by_itself_is_dropped_and_what_is_refused_goes_on() {
    let mut stage = Stage::new();
    let options = QueueOptions { message_ttl: Some(Millis(1_000)), ..dead_to("", Some("one")) };
    let one = stage.queue("one", options);
    stage.publish(&[one.0], &["a"]).expect("published");
    take(&mut stage, one, 1);
    for round in 1..=3u64 {
        let there = come(&mut stage, 1);
        assert_eq!(there.len(), 1, "round {round}");
        let known = [("one".to_owned(), Reason::Rejected, round - 1)];
        if round > 1 {
            assert_eq!(deaths(&there[0]), known);
        }
        let at = there[0].offset.0;
        stage.call(reject(one, (1, at, at))).expect("refused");
        stage.run();
    }
    assert_eq!(come(&mut stage, 1).len(), 1);
    stage.reopen();
    // Nobody holds it any more: it expires, and would come to where it expired.
    stage.clock.pass(1_500_000);
    stage.run();
    assert_eq!(ready(&mut stage, one), 0);
}

#[test]
fn a_dead_letter_that_nobody_wants_is_dropped() {
    let mut stage = Stage::new();
    let no_router = stage.queue("a", dead_to("no-such", None));
    let no_binding = stage.queue("b", dead_to("", Some("nowhere")));
    for queue in [no_router, no_binding] {
        stage.publish(&[queue.0], &["x"]).expect("published");
        take(&mut stage, queue, 1);
        stage.call(reject(queue, (1, 0, 0))).expect("refused");
    }
    stage.crash();
    assert_eq!((ready(&mut stage, no_router), ready(&mut stage, no_binding)), (0, 0));
}

#[test]
fn dead_letters_that_come_from_the_disk_are_waited_for() {
    let mut stage = Stage::new();
    let options = QueueOptions { message_ttl: Some(Millis(60_000)), ..dead_to("", Some("grave")) };
    let source = stage.queue("source", options);
    let grave = stage.queue("grave", QueueOptions::default());
    let large = "x".repeat(50_000);
    for _ in 0..60 {
        stage.publish(&[source.0], &[&large]).expect("published");
    }
    stage.crash();
    assert_eq!(ready(&mut stage, source), 60);
    stage.clock.pass(100_000_000);
    for _ in 0..20 {
        stage.run();
    }
    assert_eq!((ready(&mut stage, source), ready(&mut stage, grave)), (0, 60));
}
