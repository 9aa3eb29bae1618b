//! Queues that hand out no faster than they are to, no more at once, and nothing while all fails.

use super::Stage;
use crate::api::{
    Append, Counts, Disposition, Event, Get, LeaseRange, Leave, Op, Payload, Reply, Settle, Source,
    Take,
};
use bytes::Bytes;
use catalog::{Breaker, Pace, QueueOptions, Rate, Serving};
use record::{tail, tails};
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

fn paced(stage: &mut Stage, pace: Pace) -> Queue {
    stage.queue(
        "paced",
        QueueOptions { serving: Serving { pace, ..Serving::default() }, ..QueueOptions::default() },
    )
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

fn settle(
    stage: &mut Stage,
    queue: Queue,
    (consumer, offset): (ConsumerId, Offset),
    disposition: Disposition,
) {
    let settle = Settle {
        consumer,
        source: Source::Subscription(queue.1),
        ranges: vec![LeaseRange { log: queue.0.log, first: offset, last: offset }],
        disposition,
    };
    stage.send(Op::Settle(settle));
}

/// What has come, written by the client at once.
fn come(stage: &mut Stage) -> Vec<(ConsumerId, Offset)> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    stage.events.extend(stage.client.outbox().take());
    stage.events.retain_mut(|event| match event {
        Event::Deliver { consumer, items } => {
            bytes += items.iter().map(crate::delivery_bytes).sum::<usize>();
            found.extend(items.drain(..).map(|item| (*consumer, item.offset)));
            false
        }
        _ => true,
    });
    if stage.client.outbox().written(bytes) {
        stage.client.resume();
    }
    found
}

fn unacked(stage: &mut Stage, queue: Queue) -> u64 {
    match stage.call(Op::Count(queue.1)) {
        Ok(Reply::Counts(Counts { unacked, .. })) => unacked,
        other => panic!("no counts: {other:?}"),
    }
}

#[test]
fn a_rate_is_kept_within_two_percent_over_a_minute() {
    for (consumers, per_second, burst) in [(1, 40, 1), (10, 40, 5), (10, 230, 1)] {
        let mut stage = Stage::new();
        let rate = Some(Rate { per_second, burst });
        let queue = paced(&mut stage, Pace { rate, ..Pace::default() });
        let wanted = i64::from(per_second) * 60;
        let values = vec!["value"; usize::try_from(wanted * 11 / 10).expect("few")];
        for some in values.chunks(2_000) {
            stage.publish(&[queue.0], some).expect("published");
        }
        let begin = io::Clock::now(&*stage.clock);
        (0..consumers).for_each(|consumer| take(&mut stage, queue, consumer, 100));
        let mut count = 0;
        while io::Clock::now(&*stage.clock).since(begin) < Millis(60_000) {
            for who in come(&mut stage) {
                count += 1;
                settle(&mut stage, queue, who, Disposition::Done);
            }
            stage.events.clear();
            stage.engine.run(1).expect("the disk works");
            stage.clock.pass(4_700);
        }
        let wrong = (count - wanted).abs() * 100;
        assert!(wrong <= 2 * wanted, "{count} at {per_second} a second for {consumers} consumers");
    }
}

#[test]
fn a_burst_comes_at_once_and_an_answer_of_nothing_comes_when_there_is_no_more() {
    let mut stage = Stage::new();
    let rate = Some(Rate { per_second: 1, burst: 3 });
    let queue = paced(&mut stage, Pace { rate, ..Pace::default() });
    stage.publish(&[queue.0], &["value"; 10]).expect("published");
    let get = |stage: &mut Stage| {
        let consumer = ConsumerId(9);
        let get = Get { consumer, subscription: queue.1, settle_on_delivery: true };
        matches!(stage.call(Op::Get(get)), Ok(Reply::Got(Some(_), _)))
    };
    assert_eq!([(); 5].map(|()| get(&mut stage)), [true, true, true, false, false]);
    stage.clock.pass(1_000_000);
    assert_eq!([(); 2].map(|()| get(&mut stage)), [true, false]);
    take(&mut stage, queue, 1, 0);
    stage.clock.pass(2_000_000);
    stage.run();
    assert_eq!(come(&mut stage).len(), 3 - 1, "what time brought since");
}

#[test]
fn no_more_is_in_flight_than_may_be_whoever_consumes() {
    let mut stage = Stage::new();
    let queue = paced(&mut stage, Pace { in_flight_max: Some(5), ..Pace::default() });
    (0..10).for_each(|consumer| take(&mut stage, queue, consumer, 3));
    stage.publish(&[queue.0], &["value"; 40]).expect("published");
    let consumer = ConsumerId(99);
    let get = Get { consumer, subscription: queue.1, settle_on_delivery: false };
    assert!(matches!(stage.call(Op::Get(get)), Ok(Reply::Got(None, _))));
    let mut held = come(&mut stage);
    let mut done = 0;
    while let Some(who) = held.pop() {
        assert_eq!(unacked(&mut stage, queue), 5.min(40 - done));
        settle(&mut stage, queue, who, Disposition::Done);
        done += 1;
        stage.run();
        held.extend(come(&mut stage));
    }
    assert_eq!(done, 40);
}

#[test]
fn deliveries_stop_when_many_failed_and_go_on_when_one_that_is_tried_is_done() {
    let mut stage = Stage::new();
    let breaker = Breaker { failures: 3, window: Millis(10_000), pause: Millis(5_000) };
    let queue = paced(&mut stage, Pace { breaker: Some(breaker), ..Pace::default() });
    stage.publish(&[queue.0], &["value"; 10]).expect("published");
    take(&mut stage, queue, 1, 1);
    let one = |stage: &mut Stage, disposition| {
        stage.run();
        let came = come(stage);
        if let [who] = came[..] {
            settle(stage, queue, who, disposition);
        }
        came.len()
    };
    for _ in 0..3 {
        assert_eq!(one(&mut stage, Disposition::Rejected), 1);
    }
    assert_eq!(one(&mut stage, Disposition::Done), 0);
    stage.clock.pass(4_900_000);
    assert_eq!(one(&mut stage, Disposition::Done), 0);
    stage.clock.pass(100_000);
    assert_eq!(one(&mut stage, Disposition::Returned), 1);
    assert_eq!(one(&mut stage, Disposition::Done), 0, "the one that was tried failed");
    stage.clock.pass(5_000_000);
    stage.run();
    assert_eq!(come(&mut stage).len(), 1);
    // Who had the one that was tried goes: that is a failure.
    let (consumer, source) = (ConsumerId(1), Source::Subscription(queue.1));
    stage.call(Op::Leave(Leave { consumer, source, release: true })).expect("left");
    take(&mut stage, queue, 2, 4);
    stage.run();
    assert_eq!(come(&mut stage).len(), 0);
    stage.clock.pass(5_000_000);
    stage.run();
    let tried = come(&mut stage);
    assert_eq!(tried.len(), 1, "one of the four that would fit");
    settle(&mut stage, queue, tried[0], Disposition::Done);
    stage.run();
    assert_eq!(come(&mut stage).len(), 4);
}

/// A queue in the order of its records' keys, with a rate for each.
fn paced_by_key(stage: &mut Stage, key_rate: Rate, at_once: Option<u32>) -> Queue {
    let pace = Pace { key_rate: Some(key_rate), ..Pace::default() };
    let serving = Serving {
        pace,
        order_key: Some("".into()),
        key_in_flight_max: at_once,
        ..Serving::default()
    };
    stage.queue("keys", QueueOptions { serving, ..QueueOptions::default() })
}

/// Publishes so many messages, with the keys in turn.
fn publish_keys(stage: &mut Stage, to: Queue, keys: &[&str], count: usize) {
    let mut bytes = Vec::new();
    for key in keys.iter().cycle().take(count) {
        let mut encoded = Vec::new();
        tail::encode(&mut encoded, Some(key.as_bytes()), Some(b"value"), std::iter::empty());
        tails::push(&mut bytes, None, &encoded);
    }
    let payload = Payload::Tails { bytes: Bytes::from(bytes), expiring: false };
    stage.call(Op::Append(Append { to: [to.0].into(), payload, waits: true })).expect("published");
}

#[test]
fn each_key_has_its_rate_within_two_percent_over_a_minute_whoever_consumes() {
    for (consumers, per_second, at_once) in [(1, 20, None), (10, 20, Some(50)), (3, 130, Some(3))] {
        let mut stage = Stage::new();
        let queue = paced_by_key(&mut stage, Rate { per_second, burst: 1 }, at_once);
        let wanted = i64::from(per_second) * 60;
        let total = usize::try_from(wanted * 2 * 11 / 10).expect("few");
        for _ in 0..total.div_ceil(1_000) {
            publish_keys(&mut stage, queue, &["a", "b"], 1_000);
        }
        let begin = io::Clock::now(&*stage.clock);
        (0..consumers).for_each(|consumer| take(&mut stage, queue, consumer, 100));
        let mut counts = [0, 0];
        while io::Clock::now(&*stage.clock).since(begin) < Millis(60_000) {
            for who in come(&mut stage) {
                counts[usize::try_from(who.1.0 % 2).expect("even or odd")] += 1;
                settle(&mut stage, queue, who, Disposition::Done);
            }
            stage.events.clear();
            stage.engine.run(1).expect("the disk works");
            stage.clock.pass(4_700);
        }
        for count in counts {
            let wrong = (count - wanted).abs() * 100;
            assert!(wrong <= 2 * wanted, "{count} at {per_second} a second, {consumers} consumers");
        }
    }
}

#[test]
fn a_key_that_has_had_its_burst_waits_and_the_others_do_not() {
    let mut stage = Stage::new();
    let queue = paced_by_key(&mut stage, Rate { per_second: 1, burst: 2 }, Some(10));
    publish_keys(&mut stage, queue, &["a", "a", "a", "b"], 8);
    let get = |stage: &mut Stage| {
        let consumer = ConsumerId(9);
        let get = Get { consumer, subscription: queue.1, settle_on_delivery: true };
        match stage.call(Op::Get(get)) {
            Ok(Reply::Got(item, _)) => item.map(|item| item.offset.0),
            other => panic!("no answer to a get: {other:?}"),
        }
    };
    let first: Vec<Option<i64>> = (0..5).map(|_| get(&mut stage)).collect();
    assert_eq!(first, [Some(0), Some(1), Some(3), Some(7), None]);
    take(&mut stage, queue, 1, 0);
    assert_eq!(come(&mut stage), []);
    stage.clock.pass(1_000_000);
    stage.run();
    stage.run();
    assert_eq!(come(&mut stage), [(ConsumerId(1), Offset(2))], "its time has it looked at");
    publish_keys(&mut stage, queue, &["c", "c", "c"], 3);
    assert_eq!(come(&mut stage), [8, 9].map(|at| (ConsumerId(1), Offset(at))));
    stage.reopen();
    take(&mut stage, queue, 1, 0);
    stage.run();
    let came: Vec<i64> = come(&mut stage).iter().map(|(_, offset)| offset.0).collect();
    assert_eq!(came, [2, 4, 8, 9], "a process begins with full buckets");
}
