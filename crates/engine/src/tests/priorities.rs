//! Queues with priorities: the highest first, then arrival, whatever way a message came.

use super::Stage;
use crate::api::{
    Append, Counts, Delivery, Disposition, Event, Get, IfGone, LeaseRange, Move, Op, Payload,
    Reply, Schedule, Settle, Source, Take, Transaction,
};
use bytes::Bytes;
use catalog::{DeadLetter, Overflow, QueueOptions, Serving};
use io::Clock as _;
use record::batch::Builder;
use record::{tail, tails};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

const CONSUMER: ConsumerId = ConsumerId(1);

fn options() -> QueueOptions {
    by(Serving { priority_max: 9, ..Serving::default() })
}

fn by(serving: Serving) -> QueueOptions {
    QueueOptions { serving, ..QueueOptions::default() }
}

fn ranked(stage: &mut Stage) -> Queue {
    stage.queue("ranked", options())
}

/// A record whose value is `name` and whose priority is its last digit, if it has one.
fn tail_of(name: &str, ttl: Option<&str>) -> Vec<u8> {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut headers: Vec<(&[u8], Option<&[u8]>)> = Vec::new();
    if !digits.is_empty() {
        headers.push((b"priority", Some(digits.as_bytes())));
    }
    headers.extend(ttl.map(|ttl| (&b"expiration"[..], Some(ttl.as_bytes()))));
    let mut out = Vec::new();
    tail::encode(&mut out, None, Some(name.as_bytes()), headers.into_iter());
    out
}

fn tails_of(names: &[&str], ttl: Option<&str>) -> Payload {
    let mut bytes = Vec::new();
    for name in names {
        tails::push(&mut bytes, None, &tail_of(name, ttl));
    }
    Payload::Tails { bytes: Bytes::from(bytes), expiring: ttl.is_some() }
}

fn append(to: &[Queue], names: &[&str], ttl: Option<&str>) -> Append {
    let to = to.iter().map(|queue| queue.0).collect();
    Append { to, payload: tails_of(names, ttl), waits: true }
}

fn publish(stage: &mut Stage, to: Queue, names: &[&str]) {
    stage.call(Op::Append(append(&[to], names, None))).expect("published");
}

/// A batch as a Kafka client sends it.
fn batch_of(names: &[&str]) -> Payload {
    let mut builder = Builder::new(Millis(0));
    names.iter().for_each(|name| builder.push(Millis(0), &tail_of(name, None)));
    Payload::Batch(builder.finish())
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

fn get(stage: &mut Stage, from: Queue, settle_on_delivery: bool) -> Option<Delivery> {
    let get = Get { consumer: CONSUMER, subscription: from.1, settle_on_delivery };
    match stage.call(Op::Get(get)) {
        Ok(Reply::Got(item, _)) => item,
        other => panic!("not got: {other:?}"),
    }
}

fn name_of(item: &Delivery) -> String {
    let view = tail::decode(&item.tail).expect("a stored tail");
    String::from_utf8_lossy(view.value.unwrap_or_default()).into_owned()
}

/// All that is ready, taken out one by one.
fn drain(stage: &mut Stage, from: Queue) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(item) = get(stage, from, true) {
        names.push(name_of(&item));
    }
    names
}

fn settle(stage: &mut Stage, queue: Queue, offsets: &[i64], disposition: Disposition) {
    let range = |offset: &i64| LeaseRange {
        log: queue.0.log,
        first: Offset(*offset),
        last: Offset(*offset),
    };
    let settle = Settle {
        consumer: CONSUMER,
        source: Source::Subscription(queue.1),
        ranges: offsets.iter().map(range).collect(),
        disposition,
    };
    stage.call(Op::Settle(settle)).expect("settled");
}

fn counts(stage: &mut Stage, queue: Queue) -> (u64, u64) {
    match stage.call(Op::Count(queue.1)) {
        Ok(Reply::Counts(Counts { ready, unacked, .. })) => (ready, unacked),
        other => panic!("no counts: {other:?}"),
    }
}

#[test]
fn the_highest_priority_comes_first_and_then_arrival() {
    let mut stage = Stage::new();
    let queue = ranked(&mut stage);
    publish(&mut stage, queue, &["a", "b5", "c9", "d5", "e1"]);
    publish(&mut stage, queue, &["f200", "g9", "h0"]);
    assert_eq!(counts(&mut stage, queue), (8, 0));
    take(&mut stage, queue, 0);
    // What is above the highest counts as that, and what has none as 0.
    assert_eq!(stage.delivered(), ["c9", "f200", "g9", "b5", "d5", "e1", "a", "h0"]);
    assert_eq!(counts(&mut stage, queue), (0, 8));
}

#[test]
fn what_comes_together_lies_by_level_where_all_who_read_it_have_levels() {
    let mut stage = Stage::new();
    let (queue, plain) = (ranked(&mut stage), stage.queue("plain", QueueOptions::default()));
    for (to, names) in [
        (vec![queue], ["a1", "b2", "c1"]),
        (vec![queue, plain], ["d2", "e1", "f2"]),
        (vec![queue], ["g1", "h", "i2"]),
    ] {
        stage.send(Op::Append(append(&to, &names, None)));
    }
    stage.run();
    take(&mut stage, queue, 0);
    stage.run();
    let events = std::mem::take(&mut stage.events).into_iter();
    let items = events.flat_map(|event| match event {
        Event::Deliver { items, .. } => items,
        _ => Vec::new(),
    });
    let came: Vec<(String, i64)> = items.map(|item| (name_of(&item), item.offset.0)).collect();
    let wanted = ["b2", "d2", "f2", "i2", "a1", "c1", "e1", "g1", "h"];
    let wanted = wanted.into_iter().map(str::to_owned).zip([2, 3, 5, 8, 0, 1, 4, 6, 7]);
    assert_eq!(came, wanted.collect::<Vec<_>>());
    assert_eq!(drain(&mut stage, plain), ["d2", "e1", "f2"]);
}

#[test]
fn a_backlog_larger_than_the_cache_is_read_once_whatever_levels_it_has() {
    let mut stage = Stage::roomy();
    stage.memory_limit = 64 << 20;
    stage.crash();
    let queue = ranked(&mut stage);
    let value = "x".repeat(30 << 10);
    let names: Vec<String> = (0..8).map(|at| format!("{value}{}", at % 4)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    (0..60).for_each(|_| publish(&mut stage, queue, &names));
    stage.crash();
    let mut came = 0;
    while get(&mut stage, queue, true).is_some() {
        came += 1;
    }
    let read = stage.engine.handle().metrics().cold_reads.load(Ordering::Relaxed);
    assert_eq!(came, 480);
    assert!(read < 2 * 240, "240 batches have two messages of one level each: {read} reads");
}

#[test]
fn a_start_has_the_priorities_without_the_records() {
    for checkpoint in [false, true] {
        let mut stage = Stage::new();
        let queue = ranked(&mut stage);
        publish(&mut stage, queue, &["a", "b5", "c9"]);
        assert_eq!(get(&mut stage, queue, true).map(|item| name_of(&item)).as_deref(), Some("c9"));
        publish(&mut stage, queue, &["d7", "e5", "f"]);
        if checkpoint {
            stage.engine.checkpoint();
            stage.run();
        }
        let live = stage.engine.state();
        stage.reopen();
        assert_eq!(stage.engine.state(), live);
        publish(&mut stage, queue, &["g6"]);
        assert_eq!(drain(&mut stage, queue), ["d7", "g6", "b5", "e5", "a", "f"]);
    }
}

#[test]
fn what_comes_back_has_its_place_again() {
    let mut stage = Stage::new();
    let queue = ranked(&mut stage);
    publish(&mut stage, queue, &["a5", "b5", "c5", "d1"]);
    for name in ["a5", "b5"] {
        let item = get(&mut stage, queue, false).expect("it is there");
        assert_eq!(name_of(&item), name);
    }
    publish(&mut stage, queue, &["e9"]);
    settle(&mut stage, queue, &[1, 0], Disposition::Returned);
    assert_eq!(drain(&mut stage, queue), ["e9", "a5", "b5", "c5", "d1"]);
}

#[test]
fn batches_of_other_clients_have_priorities_too() {
    let mut stage = Stage::roomy();
    let queue = ranked(&mut stage);
    let many: Vec<String> = (0..400).map(|at| format!("m{}", at % 10)).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let append = Append { to: [queue.0].into(), payload: batch_of(&names), waits: true };
    stage.call(Op::Append(append)).expect("published");
    assert_eq!(counts(&mut stage, queue), (400, 0));
    stage.reopen();
    take(&mut stage, queue, 0);
    let wanted: Vec<String> = (0..400).map(|at| format!("m{}!", 9 - at / 40)).collect();
    assert_eq!(stage.delivered(), wanted);
}

#[test]
fn a_batch_in_parts_has_priorities() {
    let mut stage = Stage::new();
    let queue = ranked(&mut stage);
    publish(&mut stage, queue, &["first"]);
    let mut builder = Builder::new(Millis(0));
    for name in ["a1", "b3"] {
        let mut out = Vec::new();
        let headers: (&[u8], Option<&[u8]>) = (b"priority", Some(&name.as_bytes()[1..]));
        let value = format!("{name}{}", "x".repeat(70 << 10));
        tail::encode(&mut out, None, Some(value.as_bytes()), [headers].into_iter());
        builder.push(Millis(0), &out);
    }
    let payload = Payload::Batch(builder.finish());
    stage
        .call(Op::Append(Append { to: [queue.0].into(), payload, waits: true }))
        .expect("in parts");
    stage.reopen();
    let came: Vec<String> =
        drain(&mut stage, queue).iter().map(|name| name[..2].to_owned()).collect();
    assert_eq!(came, ["b3", "a1", "fi"]);
}

#[test]
fn transactions_and_several_queues_at_once_have_priorities() {
    let mut stage = Stage::new();
    let queue = ranked(&mut stage);
    let low = stage.queue("low", by(Serving { priority_max: 2, ..Serving::default() }));
    let plain = stage.queue("plain", QueueOptions::default());
    let all = [plain, low, queue];
    stage.call(Op::Append(append(&all, &["a1", "b2"], None))).expect("published");
    let transaction = Transaction {
        shard: queue.0.shard,
        appends: vec![append(&all, &["c9"], None), append(&all, &["d3"], None)],
        settles: Vec::new(),
    };
    stage.call(Op::Transaction(transaction)).expect("published");
    stage.reopen();
    assert_eq!(drain(&mut stage, queue), ["c9", "d3", "b2", "a1"]);
    assert_eq!(drain(&mut stage, low), ["b2", "c9", "d3", "a1"]);
    assert_eq!(drain(&mut stage, plain), ["a1", "b2", "c9", "d3"]);
}

#[test]
fn what_was_scheduled_has_its_priority_when_it_comes() {
    for reopens in [false, true] {
        let mut stage = Stage::new();
        let queue = ranked(&mut stage);
        let due = stage.clock.now().plus(Millis(5_000));
        let append = append(&[queue], &["a1", "b", "c9"], None);
        stage.call(Op::Schedule(Schedule { append, due })).expect("scheduled");
        publish(&mut stage, queue, &["d5"]);
        if reopens {
            stage.reopen();
        }
        stage.clock.pass(6_000_000);
        stage.run();
        stage.run();
        assert_eq!(drain(&mut stage, queue), ["c9", "d5", "a1", "b"], "{reopens}");
    }
}

#[test]
fn what_is_moved_has_its_priority_where_it_arrives() {
    let mut stage = Stage::with_shards(2);
    let plain = stage.queue("plain", QueueOptions::default());
    let queues = [stage.queue("one", options()), stage.queue("two", options())];
    for queue in queues {
        let at = counts_total(&mut stage, plain);
        publish(&mut stage, plain, &["a", "b7"]);
        publish(&mut stage, queue, &["c5"]);
        for _ in 0..2 {
            get(&mut stage, plain, false).expect("it is there");
        }
        for offset in [at, at + 1] {
            let range =
                LeaseRange { log: plain.0.log, first: Offset(offset), last: Offset(offset) };
            let op = Move {
                consumer: Some(CONSUMER),
                source: plain.1,
                range,
                to: queue.0,
                gone: IfGone::Keep,
                stamp: Vec::new(),
                moves_max: Some(9),
                restores: false,
            };
            stage.call(Op::Move(op)).expect("moved");
        }
        stage.run();
        assert_eq!(drain(&mut stage, queue), ["b7", "c5", "a"]);
    }
}

/// After the last offset of a queue that had nothing but what was moved.
fn counts_total(stage: &mut Stage, queue: Queue) -> i64 {
    match stage.call(Op::Extent(vec![queue.0])) {
        Ok(Reply::Extents(extents)) => extents[0].expect("it is there").end.0,
        other => panic!("no extent: {other:?}"),
    }
}

#[test]
fn too_much_goes_from_the_head() {
    let mut stage = Stage::new();
    let letter = DeadLetter { router: "".into(), key: Some("grave".into()) };
    let grave = stage.queue("grave", options());
    let limited =
        QueueOptions { max_len: Some(2), dead_letter: Some(Arc::new(letter)), ..options() };
    let queue = stage.queue("limited", limited);
    for name in ["a1", "b5", "c3", "d"] {
        publish(&mut stage, queue, &[name]);
    }
    assert_eq!(drain(&mut stage, queue), ["a1", "d"]);
    assert_eq!(drain(&mut stage, grave), ["b5", "c3"], "a dead letter has its priority still");
    let refusing = QueueOptions { max_len: Some(1), overflow: Overflow::Refuse, ..options() };
    let queue = stage.queue("refusing", refusing);
    publish(&mut stage, queue, &["a1"]);
    assert!(stage.call(Op::Append(append(&[queue], &["b9"], None))).is_err());
    assert_eq!(drain(&mut stage, queue), ["a1"]);
}

#[test]
fn each_priority_expires_by_itself() {
    let mut stage = Stage::new();
    let letter = DeadLetter { router: "".into(), key: Some("grave".into()) };
    let grave = stage.queue("grave", options());
    let queue =
        stage.queue("expiring", QueueOptions { dead_letter: Some(Arc::new(letter)), ..options() });
    publish(&mut stage, queue, &["a9"]);
    stage.call(Op::Append(append(&[queue], &["b1", "c"], Some("1000")))).expect("published");
    stage.clock.pass(2_000_000);
    stage.run();
    // It is not at the head of the queue, and goes nevertheless.
    assert_eq!(counts(&mut stage, queue), (1, 0));
    assert_eq!(drain(&mut stage, grave), ["b1", "c"]);
    assert_eq!(drain(&mut stage, queue), ["a9"]);
}

#[test]
fn a_purge_takes_all_and_a_trimmed_log_counts_right() {
    let mut stage = Stage::new();
    let queue = ranked(&mut stage);
    publish(&mut stage, queue, &["a1", "b5", "c", "d5"]);
    let held = get(&mut stage, queue, false).expect("it is there");
    assert_eq!(name_of(&held), "b5");
    match stage.call(Op::Purge(queue.1)) {
        Ok(Reply::Purged(3)) => {}
        other => panic!("not purged: {other:?}"),
    }
    assert_eq!(counts(&mut stage, queue), (0, 1));
    publish(&mut stage, queue, &["e3"]);
    settle(&mut stage, queue, &[1], Disposition::Returned);
    assert_eq!(drain(&mut stage, queue), ["b5", "e3"]);
    stage.run();
    assert_eq!(stage.engine.awake(), 0, "nothing of it is kept in memory");
}

#[test]
fn the_oldest_has_a_turn_now_and_then() {
    let mut stage = Stage::new();
    let fair = by(Serving { oldest_every: Some(3), ..options().serving });
    let queue = stage.queue("fair", fair);
    publish(&mut stage, queue, &["a", "b", "c1", "d9", "e9", "f9", "g9"]);
    assert_eq!(drain(&mut stage, queue), ["d9", "e9", "a", "f9", "g9", "b", "c1"]);
    publish(&mut stage, queue, &["a", "b", "c1", "d9", "e9", "f9", "g9"]);
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered().len(), 7);
}

#[test]
fn one_active_consumer_and_a_limit_of_returns_go_with_priorities() {
    let mut stage = Stage::new();
    let letter = DeadLetter { router: "".into(), key: Some("grave".into()) };
    let grave = stage.queue("grave", QueueOptions::default());
    let limited = QueueOptions {
        returns_max: Some(1),
        dead_letter: Some(Arc::new(letter)),
        ..by(Serving { single_active: true, ..options().serving })
    };
    let queue = stage.queue("limited", limited);
    publish(&mut stage, queue, &["a1", "b5", "c5"]);
    take(&mut stage, queue, 1);
    assert_eq!(stage.delivered(), ["b5"]);
    settle(&mut stage, queue, &[1], Disposition::Returned);
    assert_eq!(stage.delivered(), ["b5!"]);
    stage.crash();
    take(&mut stage, queue, 2);
    assert_eq!(stage.delivered(), ["c5!", "a1!"], "the crash was once too often for the other");
    assert_eq!(drain(&mut stage, grave), ["b5"]);
}

#[test]
fn a_backlog_that_comes_from_the_disk_is_in_order() {
    let mut stage = Stage::new();
    let queue = ranked(&mut stage);
    let value = "x".repeat(3 << 10);
    for at in 0..400 {
        let name = format!("{value}{}", at % 4);
        publish(&mut stage, queue, &[&name]);
    }
    stage.crash();
    let mut last = 3;
    let (mut offsets, mut came) = (Vec::new(), 0);
    while let Some(item) = get(&mut stage, queue, true) {
        let level: i64 = name_of(&item)[3 << 10..].parse().expect("a level");
        assert!(level <= last, "{level} after {last}");
        if level < last {
            offsets.clear();
        }
        assert!(offsets.last() < Some(&item.offset));
        offsets.push(item.offset);
        (last, came) = (level, came + 1);
    }
    assert_eq!((last, came), (0, 400));
}

#[test]
fn deliveries_in_flight_of_other_priorities_stay_put_when_the_log_is_trimmed() {
    let mut stage = Stage::new();
    let queue = ranked(&mut stage);
    ["a", "b5", "c9", "d5"].iter().for_each(|name| publish(&mut stage, queue, &[name]));
    take(&mut stage, queue, 2);
    assert_eq!(stage.delivered(), ["c9", "b5"]);
    let events = stage.events.iter().filter(|event| matches!(event, Event::Deliver { .. }));
    assert_eq!(events.count(), 0);
    settle(&mut stage, queue, &[2], Disposition::Done);
    assert_eq!(stage.delivered(), ["d5"]);
    settle(&mut stage, queue, &[1, 3], Disposition::Done);
    assert_eq!(stage.delivered(), ["a"]);
    assert_eq!(counts(&mut stage, queue), (0, 1));
}
