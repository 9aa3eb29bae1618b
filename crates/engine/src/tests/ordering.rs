//! Queues that hand out one message of a key at a time.

use super::Stage;
use crate::api::{
    Append, Counts, Delivery, Disposition, Event, Get, LeaseRange, Leave, Op, Payload, Reply,
    Settle, Source, Take,
};
use bytes::Bytes;
use catalog::{DeadLetter, QueueOptions, Serving};
use record::batch::Builder;
use record::{tail, tails};
use std::sync::Arc;
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef, Token};

type Queue = (LogRef, SubscriptionRef);

fn options() -> QueueOptions {
    by(serving("customer"))
}

fn serving(key: &str) -> Serving {
    Serving { order_key: Some(key.into()), ..Serving::default() }
}

fn by(serving: Serving) -> QueueOptions {
    QueueOptions { serving, ..QueueOptions::default() }
}

/// A record whose value is its name: `a1` is the first of the customer `a`; `-` has none. What follows a
/// colon is its priority.
fn tail_of(name: &str) -> Vec<u8> {
    let (name, priority) = name.split_once(':').unwrap_or((name, "0"));
    let customer = name.split_at(1).0;
    let mut headers: Vec<(&[u8], Option<&[u8]>)> = vec![(b"priority", Some(priority.as_bytes()))];
    if customer != "-" {
        headers.push((b"customer", Some(customer.as_bytes())));
    }
    let mut out = Vec::new();
    tail::encode(&mut out, None, Some(name.as_bytes()), headers.into_iter());
    out
}

fn publish(stage: &mut Stage, to: Queue, names: &[&str]) {
    let mut bytes = Vec::new();
    names.iter().for_each(|name| tails::push(&mut bytes, None, &tail_of(name)));
    let payload = Payload::Tails { bytes: Bytes::from(bytes), expiring: false };
    stage.call(Op::Append(Append { to: [to.0].into(), payload, waits: true })).expect("published");
}

fn take(stage: &mut Stage, from: Queue, consumer: u32, prefetch: u32) {
    let take = Take {
        consumer: ConsumerId(consumer),
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

/// What has come: whom to, and what.
fn came(stage: &mut Stage) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    stage.events.retain_mut(|event| match event {
        Event::Deliver { consumer, items } => {
            found.extend(items.drain(..).map(|item| (consumer.0, name_of(&item))));
            false
        }
        _ => true,
    });
    found
}

fn names(stage: &mut Stage) -> Vec<String> {
    came(stage).into_iter().map(|(_, name)| name).collect()
}

fn name_of(item: &Delivery) -> String {
    let view = tail::decode(&item.tail).expect("a stored tail");
    String::from_utf8_lossy(view.value.unwrap_or_default()).into_owned()
}

fn settle(stage: &mut Stage, queue: Queue, consumer: u32, offset: i64, how: Disposition) {
    let (first, last) = (Offset(offset), Offset(offset));
    let settle = Settle {
        consumer: ConsumerId(consumer),
        source: Source::Subscription(queue.1),
        ranges: vec![LeaseRange { log: queue.0.log, first, last }],
        disposition: how,
    };
    stage.call(Op::Settle(settle)).expect("settled");
}

fn get(stage: &mut Stage, from: Queue, settle_on_delivery: bool) -> Option<String> {
    let get = Get { consumer: ConsumerId(9), subscription: from.1, settle_on_delivery };
    match stage.call(Op::Get(get)) {
        Ok(Reply::Got(item, _)) => item.map(|item| name_of(&item)),
        other => panic!("not got: {other:?}"),
    }
}

fn counts(stage: &mut Stage, queue: Queue) -> (u64, u64) {
    match stage.call(Op::Count(queue.1)) {
        Ok(Reply::Counts(Counts { ready, unacked, .. })) => (ready, unacked),
        other => panic!("no counts: {other:?}"),
    }
}

#[test]
fn of_each_key_one_message_is_out_and_the_others_follow_in_order() {
    let mut stage = Stage::new();
    let queue = stage.queue("keyed", options());
    publish(&mut stage, queue, &["a1", "a2", "b1", "-1", "a3", "b2", "-2"]);
    take(&mut stage, queue, 1, 0);
    assert_eq!(names(&mut stage), ["a1", "b1", "-1", "-2"]);
    assert_eq!(counts(&mut stage, queue), (3, 4));
    settle(&mut stage, queue, 1, 2, Disposition::Done);
    assert_eq!(names(&mut stage), ["b2"]);
    settle(&mut stage, queue, 1, 0, Disposition::Done);
    assert_eq!(names(&mut stage), ["a2"]);
    publish(&mut stage, queue, &["b3", "c1"]);
    assert_eq!(names(&mut stage), ["c1"]);
    settle(&mut stage, queue, 1, 1, Disposition::Done);
    assert_eq!(names(&mut stage), ["a3"]);
}

#[test]
fn what_comes_back_comes_before_the_later_ones_of_its_key() {
    let mut stage = Stage::new();
    let queue = stage.queue("keyed", options());
    publish(&mut stage, queue, &["a1", "b1", "a2"]);
    take(&mut stage, queue, 1, 1);
    take(&mut stage, queue, 2, 1);
    assert_eq!(came(&mut stage), [(1, "a1".to_owned()), (2, "b1".to_owned())]);
    settle(&mut stage, queue, 1, 0, Disposition::Returned);
    assert_eq!(came(&mut stage), [(1, "a1".to_owned())]);
    settle(&mut stage, queue, 2, 1, Disposition::Done);
    assert_eq!(came(&mut stage), []);
    // What a consumer that ends had comes back, too.
    let source = Source::Subscription(queue.1);
    let leave = Leave { consumer: ConsumerId(1), source, release: true };
    stage.call(Op::Leave(leave)).expect("left");
    assert_eq!(came(&mut stage), [(2, "a1".to_owned())]);
    settle(&mut stage, queue, 2, 0, Disposition::Done);
    assert_eq!(came(&mut stage), [(2, "a2".to_owned())]);
}

#[test]
fn a_crash_keeps_the_order_of_keys() {
    let mut stage = Stage::new();
    let queue = stage.queue("keyed", options());
    publish(&mut stage, queue, &["a1", "a2", "b1", "a3"]);
    take(&mut stage, queue, 1, 0);
    settle(&mut stage, queue, 1, 0, Disposition::Done);
    assert_eq!(names(&mut stage), ["a1", "b1", "a2"]);
    stage.crash();
    take(&mut stage, queue, 1, 0);
    assert_eq!(names(&mut stage), ["a2", "b1"]);
    settle(&mut stage, queue, 1, 1, Disposition::Done);
    assert_eq!(names(&mut stage), ["a3"]);
}

#[test]
fn priorities_come_before_the_order_of_keys() {
    let mut stage = Stage::new();
    let queue = stage.queue("keyed", by(Serving { priority_max: 9, ..serving("customer") }));
    for name in ["a1", "b1:5", "a2:5", "a3:5", "a4"] {
        publish(&mut stage, queue, &[name]);
    }
    take(&mut stage, queue, 1, 0);
    assert_eq!(names(&mut stage), ["b1", "a2"]);
    publish(&mut stage, queue, &["a5:9"]);
    settle(&mut stage, queue, 1, 2, Disposition::Done);
    assert_eq!(names(&mut stage), ["a5"]);
    settle(&mut stage, queue, 1, 5, Disposition::Returned);
    assert_eq!(names(&mut stage), ["a5"]);
    for (offset, next) in [(5, "a3"), (3, "a1"), (0, "a4")] {
        settle(&mut stage, queue, 1, offset, Disposition::Done);
        assert_eq!(names(&mut stage), [next]);
    }
}

#[test]
fn a_key_goes_on_when_its_message_dies() {
    let mut stage = Stage::new();
    let letter = DeadLetter { router: "".into(), key: Some("grave".into()) };
    let grave = stage.queue("grave", QueueOptions::default());
    let limited = QueueOptions {
        returns_max: Some(0),
        dead_letter: Some(Arc::new(letter)),
        ..by(Serving { single_active: true, ..serving("customer") })
    };
    let queue = stage.queue("keyed", limited);
    publish(&mut stage, queue, &["a1", "a2", "a3"]);
    take(&mut stage, queue, 1, 0);
    assert_eq!(names(&mut stage), ["a1"]);
    settle(&mut stage, queue, 1, 0, Disposition::Returned);
    assert_eq!(names(&mut stage), ["a2"], "the other came back too often");
    settle(&mut stage, queue, 1, 1, Disposition::Rejected);
    assert_eq!(names(&mut stage), ["a3"]);
    assert_eq!(get(&mut stage, grave, true).as_deref(), Some("a1"));
    assert_eq!(get(&mut stage, grave, true).as_deref(), Some("a2"));
}

#[test]
fn what_waits_expires_is_purged_and_counts_for_limits() {
    let mut stage = Stage::new();
    let options = QueueOptions { message_ttl: Some(Millis(1_000)), max_len: Some(3), ..options() };
    let queue = stage.queue("keyed", options);
    publish(&mut stage, queue, &["a1"]);
    take(&mut stage, queue, 1, 0);
    assert_eq!(names(&mut stage), ["a1"]);
    publish(&mut stage, queue, &["a2", "a3", "a4", "a5"]);
    assert_eq!(counts(&mut stage, queue), (3, 1), "the oldest went, though it waited");
    stage.clock.pass(2_000_000);
    stage.run();
    assert_eq!(counts(&mut stage, queue), (0, 1));
    publish(&mut stage, queue, &["a6", "a7"]);
    match stage.call(Op::Purge(queue.1)) {
        Ok(Reply::Purged(2)) => {}
        other => panic!("not purged: {other:?}"),
    }
    publish(&mut stage, queue, &["a8"]);
    settle(&mut stage, queue, 1, 0, Disposition::Done);
    assert_eq!(names(&mut stage), ["a8"]);
}

#[test]
fn gets_wait_for_keys_that_come_from_the_disk() {
    let mut stage = Stage::new();
    let queue = stage.queue("keyed", options());
    let plain = stage.queue("plain", QueueOptions::default());
    publish(&mut stage, queue, &["a1", "a2", "b1"]);
    let value = "x".repeat(12 << 10);
    for _ in 0..120 {
        stage.publish(&[plain.0], &[&value]).expect("published");
    }
    stage.crash();
    let get =
        Op::Get(Get { consumer: ConsumerId(1), subscription: queue.1, settle_on_delivery: false });
    let asked: Vec<Token> = (0..3).map(|_| stage.send(get.clone())).collect();
    stage.run();
    let got: Vec<Option<String>> = asked
        .into_iter()
        .map(|token| match stage.answer(token) {
            Some(Ok(Reply::Got(item, _))) => item.map(|item| name_of(&item)),
            other => panic!("not got: {other:?}"),
        })
        .collect();
    assert_eq!(got, [Some("a1".to_owned()), Some("b1".to_owned()), None]);
}

#[test]
fn no_ack_holds_up_nothing() {
    let mut stage = Stage::new();
    let queue = stage.queue("keyed", options());
    publish(&mut stage, queue, &["a1", "a2", "b1"]);
    for name in ["a1", "a2", "b1"] {
        assert_eq!(get(&mut stage, queue, true).as_deref(), Some(name));
    }
    assert_eq!(get(&mut stage, queue, true), None);
}

#[test]
fn the_key_of_a_kafka_record_is_its_own() {
    let mut stage = Stage::new();
    let queue = stage.queue("keyed", by(serving("")));
    let mut builder = Builder::new(Millis(0));
    for (key, value) in [("k", "k1"), ("k", "k2"), ("l", "l1")] {
        let mut out = Vec::new();
        let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        tail::encode(&mut out, Some(key.as_bytes()), Some(value.as_bytes()), headers);
        builder.push(Millis(0), &out);
    }
    let payload = Payload::Batch(builder.finish());
    stage
        .call(Op::Append(Append { to: [queue.0].into(), payload, waits: true }))
        .expect("published");
    take(&mut stage, queue, 1, 0);
    assert_eq!(names(&mut stage), ["k1", "l1"]);
}

#[test]
fn a_backlog_of_one_key_does_not_hold_up_others() {
    let mut stage = Stage::new();
    let queue = stage.queue("keyed", options());
    for at in 0..40 {
        let some: Vec<String> = (0..50).map(|nth| format!("a{}", at * 50 + nth)).collect();
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        publish(&mut stage, queue, &some);
    }
    publish(&mut stage, queue, &["b1"]);
    take(&mut stage, queue, 1, 0);
    assert_eq!(names(&mut stage), ["a0", "b1"]);
    assert_eq!(counts(&mut stage, queue), (1_999, 2));
    for at in 0..5 {
        settle(&mut stage, queue, 1, at, Disposition::Done);
        assert_eq!(names(&mut stage), [format!("a{}", at + 1)]);
    }
}
