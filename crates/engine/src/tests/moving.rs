//! A moved message is in one place, and once, whatever ends the process on the way.

use super::Stage;
use crate::api::{Delivery, Event, IfGone, LeaseRange, Move, Op, Reply, Source, Take};
use bytes::Bytes;
use catalog::{Action, DeleteQueue, QueueOptions};
use record::tail;
use types::{ConsumerId, Error, LogRef, Offset, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

/// Two queues, on one shard or on two.
fn queues(shards: u16) -> (Stage, Queue, Queue) {
    let mut stage = Stage::with_shards(shards);
    let source = stage.queue("source", QueueOptions::default());
    let target = stage.queue("target", QueueOptions::default());
    assert_eq!(source.0.shard == target.0.shard, shards == 1);
    (stage, source, target)
}

fn take(stage: &mut Stage, from: SubscriptionRef, consumer: u32) {
    let take = Take {
        consumer: ConsumerId(consumer),
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

fn moving(source: Queue, (first, last): (i64, i64), to: LogRef) -> Move {
    let range = LeaseRange { log: source.0.log, first: Offset(first), last: Offset(last) };
    Move {
        consumer: Some(ConsumerId(1)),
        source: source.1,
        range,
        to,
        stamp: vec![(Bytes::from("why"), Some(Bytes::from("refused")))],
        moves_max: Some(3),
        restores: false,
        gone: IfGone::Keep,
    }
}

fn moved(result: Result<Reply, Error>) -> u64 {
    match result {
        Ok(Reply::Moved(count)) => count,
        other => panic!("not moved: {other:?}"),
    }
}

/// What a queue gives to a new consumer.
fn content(stage: &mut Stage, of: Queue, consumer: u32) -> Vec<Delivery> {
    take(stage, of.1, consumer);
    let mut found = Vec::new();
    stage.events.retain_mut(|event| match event {
        Event::Deliver { items, .. } => {
            found.append(items);
            false
        }
        _ => true,
    });
    found.retain(|item| item.log == of.0.log);
    found
}

fn values(items: &[Delivery]) -> Vec<String> {
    let value = |item: &Delivery| {
        let view = tail::decode(&item.tail).expect("a stored tail");
        String::from_utf8_lossy(view.value.unwrap_or_default()).into_owned()
    };
    items.iter().map(value).collect()
}

fn headers(item: &Delivery) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let view = tail::decode(&item.tail).expect("a stored tail");
    view.headers.map(|(name, value)| (text(name), text(value.unwrap_or_default()))).collect()
}

#[test]
fn a_moved_message_is_at_its_target_with_its_headers_and_nowhere_else() {
    for shards in [1, 2] {
        let (mut stage, source, target) = queues(shards);
        stage.publish(&[source.0], &["a", "b", "c"]).expect("published");
        take(&mut stage, source.1, 1);
        let op = moving(source, (0, 1), target.0);
        assert_eq!(moved(stage.call(Op::Move(op.clone()))), 2);
        assert_eq!(moved(stage.call(Op::Move(op))), 0, "nobody holds them any more");
        stage.run();
        stage.crash();
        assert_eq!(values(&content(&mut stage, source, 1)), ["c"]);
        let there = content(&mut stage, target, 2);
        assert_eq!(values(&there), ["a", "b"]);
        let stamps = [("why", "refused"), ("moves", "1")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(headers(&there[0]), stamps);
        let live = stage.engine.state();
        stage.reopen();
        assert_eq!(stage.engine.state(), live);
    }
}

#[test]
fn all_of_a_move_arrive_without_a_restart() {
    let (mut stage, source, target) = queues(2);
    stage.publish(&[source.0], &["a", "b", "c"]).expect("published");
    take(&mut stage, source.1, 1);
    assert_eq!(moved(stage.call(Op::Move(moving(source, (0, 2), target.0)))), 3);
    stage.run();
    assert_eq!(values(&content(&mut stage, target, 2)), ["a", "b", "c"]);
}

#[test]
fn a_power_cut_at_any_call_leaves_a_moved_message_in_one_place() {
    let mut places = std::collections::BTreeMap::new();
    for cut in 0..30 {
        let (mut stage, source, target) = queues(2);
        stage.publish(&[source.0], &["a"]).expect("published");
        take(&mut stage, source.1, 1);
        stage.disk.crash_at(stage.disk.calls() + cut);
        let token = stage.send(Op::Move(moving(source, (0, 0), target.0)));
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
        let here = content(&mut stage, source, 1).len();
        let there = content(&mut stage, target, 2).len();
        assert_eq!(here + there, 1, "cut at call {cut}: {here} here, {there} there");
        assert!(!answered || there == 1, "cut at call {cut}: it was said to be moved");
        *places.entry((answered, there)).or_insert(0) += 1;
    }
    assert!(places.len() > 1, "every cut came at the same moment: {places:?}");
}

#[test]
fn what_goes_in_circles_is_refused_and_stays_held() {
    for shards in [1, 2] {
        let (mut stage, source, target) = queues(shards);
        stage.publish(&[source.0], &["a"]).expect("published");
        take(&mut stage, source.1, 1);
        take(&mut stage, target.1, 1);
        let (mut from, mut to) = (source, target);
        for step in 0..3 {
            assert_eq!(moved(stage.call(Op::Move(moving(from, (step / 2, step / 2), to.0)))), 1);
            stage.run();
            (from, to) = (to, from);
        }
        let refused = stage.call(Op::Move(moving(from, (1, 1), to.0)));
        assert!(refused.is_err(), "{refused:?}");
        let Ok(Reply::Counts(counts)) = stage.call(Op::Count(from.1)) else { panic!("no counts") };
        assert_eq!(counts.unacked, 1);
    }
}

#[test]
fn a_message_for_a_target_that_is_gone_is_kept_or_dropped_as_asked() {
    for (shards, gone) in
        [(1, IfGone::Keep), (1, IfGone::Drop), (2, IfGone::Keep), (2, IfGone::Drop)]
    {
        let (mut stage, source, target) = queues(shards);
        stage.publish(&[source.0], &["a"]).expect("published");
        take(&mut stage, source.1, 1);
        let delete = DeleteQueue { name: "target".into(), by: None, only: None };
        stage.change(Action::DeleteQueue(delete)).expect("deleted");
        let result = stage.call(Op::Move(Move { gone, ..moving(source, (0, 0), target.0) }));
        assert_eq!(result.is_err(), (shards, gone) == (1, IfGone::Keep), "{result:?}");
        stage.run();
        stage.crash();
        let left = values(&content(&mut stage, source, 1));
        let kept: &[&str] = if gone == IfGone::Keep { &["a"] } else { &[] };
        assert_eq!(left, kept, "{shards} shards, {gone:?}");
    }
}

#[test]
fn what_nobody_holds_is_moved_and_what_a_consumer_has_is_not() {
    for shards in [1, 2] {
        let (mut stage, source, target) = queues(shards);
        stage.publish(&[source.0], &["a", "b", "c"]).expect("published");
        let get = crate::api::Get {
            consumer: ConsumerId(1),
            subscription: source.1,
            settle_on_delivery: false,
        };
        stage.call(Op::Get(get)).expect("got");
        let free = Move {
            consumer: None,
            stamp: Vec::new(),
            moves_max: None,
            ..moving(source, (0, 2), target.0)
        };
        assert_eq!(moved(stage.call(Op::Move(free.clone()))), 2);
        assert_eq!(moved(stage.call(Op::Move(free))), 0, "they are not there any more");
        stage.crash();
        let found = content(&mut stage, target, 7);
        assert_eq!(values(&found), ["b", "c"]);
        assert!(found.iter().all(|item| headers(item).is_empty()), "nothing is added to them");
        assert_eq!(values(&content(&mut stage, source, 8)), ["a"]);
    }
}
