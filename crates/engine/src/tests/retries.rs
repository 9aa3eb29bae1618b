//! What comes back waits, where its queue says so, over every end of the process.

use super::Stage;
use crate::api::{
    Append, Counts, Disposition, Event, LeaseRange, Leave, Op, Payload, Reply, Settle, Source, Take,
};
use bytes::Bytes;
use catalog::{DeadLetter, Growth, QueueOptions, Retry, RetryOn, Serving};
use record::{tail, tails};
use std::sync::Arc;
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

const CONSUMER: ConsumerId = ConsumerId(1);

const POLICY: Retry = Retry {
    on: RetryOn::All,
    min: Millis(1_000),
    max: Millis(2_500),
    growth: Growth::Linear,
    jitter: 0,
};

fn options(retry: Retry, returns_max: Option<u16>) -> QueueOptions {
    let letter = DeadLetter { router: "".into(), key: Some("grave".into()) };
    QueueOptions {
        serving: Serving { retry: Some(retry), ..Serving::default() },
        returns_max,
        dead_letter: Some(Arc::new(letter)),
        ..QueueOptions::default()
    }
}

/// Both queues, and a consumer of the first.
fn queues(stage: &mut Stage, options: QueueOptions) -> (Queue, Queue) {
    let both = (stage.queue("tried", options), stage.queue("grave", QueueOptions::default()));
    take(stage, both.0);
    both
}

fn take(stage: &mut Stage, from: Queue) {
    let take = Take {
        consumer: CONSUMER,
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

fn settle(stage: &mut Stage, queue: Queue, offset: i64, disposition: Disposition) {
    let (first, last) = (Offset(offset), Offset(offset));
    let settle = Settle {
        consumer: CONSUMER,
        source: Source::Subscription(queue.1),
        ranges: vec![LeaseRange { log: queue.0.log, first, last }],
        disposition,
    };
    stage.call(Op::Settle(settle)).expect("settled");
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

fn counts(stage: &mut Stage, queue: Queue) -> (u64, u64, u64) {
    match stage.call(Op::Count(queue.1)) {
        Ok(Reply::Counts(Counts { ready, unacked, delayed, .. })) => (ready, unacked, delayed),
        other => panic!("no counts: {other:?}"),
    }
}

/// Lets time pass until something comes, 10 ms at a time; gives how long it took since `from`.
fn wait(stage: &mut Stage, from: Millis) -> (i64, Vec<(i64, u16)>) {
    for _ in 0..1_000 {
        let come = come(stage);
        if !come.is_empty() {
            return (now(stage).since(from).0, come);
        }
        stage.clock.pass(10_000);
        stage.engine.run(2).expect("the disk works");
        stage.events.extend(stage.client.outbox().take());
    }
    panic!("nothing comes");
}

fn now(stage: &Stage) -> Millis {
    io::Clock::now(&*stage.clock)
}

/// Whether a delay is the one that was to be, and not a moment less.
fn is_about(found: i64, wanted: i64) -> bool {
    (wanted..wanted + 100).contains(&found)
}

#[test]
fn what_failed_waits_longer_each_time_and_is_a_dead_letter_in_the_end() {
    let mut stage = Stage::new();
    let (tried, grave) = queues(&mut stage, options(POLICY, Some(4)));
    stage.publish(&[tried.0], &["a", "b"]).expect("published");
    assert_eq!(come(&mut stage), [(0, 0), (1, 0)]);
    settle(&mut stage, tried, 1, Disposition::Done);
    for (failures, delay) in [(1, 1_000), (2, 2_000), (3, 2_500), (4, 2_500)] {
        let from = now(&stage);
        settle(&mut stage, tried, 0, Disposition::Returned);
        assert_eq!(counts(&mut stage, tried), (0, 0, 1));
        let (found, come) = wait(&mut stage, from);
        assert_eq!(come, [(0, failures)]);
        assert!(is_about(found, delay), "{found} ms instead of {delay}");
    }
    settle(&mut stage, tried, 0, Disposition::Returned);
    stage.run();
    assert_eq!((counts(&mut stage, tried), counts(&mut stage, grave)), ((0, 0, 0), (1, 0, 0)));
}

#[test]
fn others_go_on_while_one_waits_and_it_keeps_its_place() {
    let mut stage = Stage::new();
    let (tried, _) = queues(&mut stage, options(POLICY, None));
    stage.publish(&[tried.0], &["a"]).expect("published");
    assert_eq!(come(&mut stage), [(0, 0)]);
    settle(&mut stage, tried, 0, Disposition::Returned);
    stage.publish(&[tried.0], &["b"]).expect("published");
    assert_eq!(come(&mut stage), [(1, 0)]);
    let leave = |stage: &mut Stage, release| {
        let source = Source::Subscription(tried.1);
        stage.call(Op::Leave(Leave { consumer: CONSUMER, source, release })).expect("left");
    };
    settle(&mut stage, tried, 1, Disposition::Done);
    leave(&mut stage, true);
    stage.clock.pass(2_000_000);
    stage.run();
    stage.publish(&[tried.0], &["c"]).expect("published");
    take(&mut stage, tried);
    assert_eq!(come(&mut stage), [(0, 1), (2, 0)], "it comes before what is younger");
    // What a consumer leaves behind failed with it.
    leave(&mut stage, true);
    take(&mut stage, tried);
    assert_eq!((come(&mut stage), counts(&mut stage, tried)), (vec![], (0, 0, 2)));
}

#[test]
fn only_what_the_policy_is_for_waits_and_what_is_released_does_not_count() {
    for on in [RetryOn::All, RetryOn::Failed, RetryOn::Released] {
        let mut stage = Stage::new();
        let (tried, _) = queues(&mut stage, options(Retry { on, ..POLICY }, Some(1)));
        stage.publish(&[tried.0], &["a", "b"]).expect("published");
        assert_eq!(come(&mut stage), [(0, 0), (1, 0)]);
        settle(&mut stage, tried, 0, Disposition::Returned);
        settle(&mut stage, tried, 1, Disposition::Released);
        let mut at_once = come(&mut stage);
        let (waits, goes): (Vec<_>, Vec<_>) = match on {
            RetryOn::All => (vec![(0, 1), (1, 0)], vec![]),
            RetryOn::Failed => (vec![(0, 1)], vec![(1, 0)]),
            RetryOn::Released => (vec![(1, 0)], vec![(0, 1)]),
        };
        assert_eq!(at_once, goes, "{on:?}");
        stage.clock.pass(1_000_000);
        stage.run();
        at_once = come(&mut stage);
        at_once.sort_unstable();
        assert_eq!(at_once, waits, "{on:?}");
    }
}

#[test]
fn due_times_survive_whatever_ends_the_process() {
    for power in [false, true] {
        let mut stage = Stage::new();
        let (tried, _) = queues(&mut stage, options(POLICY, None));
        let values: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        stage.publish(&[tried.0], &values).expect("published");
        assert_eq!(come(&mut stage).len(), 100);
        // More than the leader keeps in memory, each with a time of its own.
        let mut dues = Vec::new();
        for offset in (0..100).rev() {
            let from = now(&stage);
            settle(&mut stage, tried, offset, Disposition::Returned);
            dues.push((from.0 + 1_000, now(&stage).0 + 1_000, offset));
            if dues.len() == 20 {
                break;
            }
        }
        let state = stage.engine.state();
        match power {
            true => stage.crash(),
            false => stage.reopen(),
        }
        assert_eq!(stage.engine.state(), state);
        assert_eq!(counts(&mut stage, tried), (80, 0, 20));
        take(&mut stage, tried);
        assert_eq!(come(&mut stage).len(), 80);
        for (first, last, offset) in dues {
            let (_, come) = wait(&mut stage, Millis(0));
            let at = now(&stage).0;
            assert_eq!(come, [(offset, 1)]);
            assert!(first <= at && at <= last + 100, "{at} is not from {first} to {last}");
        }
        assert_eq!(counts(&mut stage, tried), (0, 100, 0));
    }
}

#[test]
fn what_was_with_a_consumer_at_a_crash_waits_where_deliveries_are_written_down() {
    let mut stage = Stage::new();
    let (tried, grave) = queues(&mut stage, options(POLICY, Some(1)));
    stage.publish(&[tried.0], &["a"]).expect("published");
    assert_eq!(come(&mut stage), [(0, 0)]);
    stage.crash();
    let from = now(&stage);
    take(&mut stage, tried);
    assert_eq!(counts(&mut stage, tried), (0, 0, 1));
    let (found, come) = wait(&mut stage, from);
    assert_eq!(come, [(0, 1)]);
    assert!(is_about(found, 1_000), "{found} ms");
    stage.crash();
    stage.run();
    assert_eq!((counts(&mut stage, tried), counts(&mut stage, grave)), ((0, 0, 0), (1, 0, 0)));
}

#[test]
fn what_was_due_while_nothing_ran_comes_with_what_was_with_a_consumer() {
    let mut stage = Stage::new();
    let (tried, _) = queues(&mut stage, options(POLICY, Some(5)));
    stage.publish(&[tried.0], &["a", "b"]).expect("published");
    settle(&mut stage, tried, 0, Disposition::Returned);
    stage.clock.pass(3_000_000);
    stage.crash();
    take(&mut stage, tried);
    let (_, first) = wait(&mut stage, Millis(0));
    assert_eq!(first, [(0, 1)]);
    let (_, second) = wait(&mut stage, Millis(0));
    assert_eq!(second, [(1, 1)]);
    assert_eq!(counts(&mut stage, tried), (0, 2, 0));
}

#[test]
fn what_waits_expires_in_its_time_is_purged_and_counts_as_length() {
    let mut stage = Stage::new();
    let mut limited = options(POLICY, None);
    (limited.message_ttl, limited.max_len) = (Some(Millis(600)), Some(2));
    let (tried, grave) = queues(&mut stage, limited);
    stage.publish(&[tried.0], &["a"]).expect("published");
    let from = now(&stage);
    settle(&mut stage, tried, 0, Disposition::Returned);
    while counts(&mut stage, grave).0 == 0 {
        assert!(now(&stage).since(from).0 < 700, "it has not expired");
    }
    assert_eq!(counts(&mut stage, tried), (0, 0, 0));
    let source = Source::Subscription(tried.1);
    stage.publish(&[tried.0], &["b", "c"]).expect("published");
    settle(&mut stage, tried, 1, Disposition::Returned);
    stage.call(Op::Leave(Leave { consumer: CONSUMER, source, release: true })).expect("left");
    assert_eq!(counts(&mut stage, tried), (0, 0, 2));
    stage.publish(&[tried.0], &["d"]).expect("published");
    assert_eq!(counts(&mut stage, tried), (0, 0, 2), "one too many");
    match stage.call(Op::Purge(tried.1)) {
        Ok(Reply::Purged(2)) => {}
        other => panic!("not purged: {other:?}"),
    }
    let log = stage.engine.state();
    stage.reopen();
    assert_eq!((stage.engine.state(), counts(&mut stage, tried)), (log, (0, 0, 0)));
}

#[test]
fn a_message_says_itself_how_it_is_tried_again() {
    let mut stage = Stage::new();
    let (tried, grave) = queues(&mut stage, options(POLICY, None));
    let headers: [&[(&str, &str)]; 4] = [
        &[("x-delayed-retry-min", "300"), ("x-delayed-retry-max", "100000")],
        &[("x-delayed-retry-type", "disabled")],
        &[("x-delivery-limit", "0")],
        &[("x-delayed-retry-min", "soon"), ("x-delayed-retry-type", "often")],
    ];
    let mut bytes = Vec::new();
    for said in headers {
        let mut encoded = Vec::new();
        let said: Vec<(&[u8], Option<&[u8]>)> =
            said.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
        tail::encode(&mut encoded, None, Some(b"value"), said.into_iter());
        tails::push(&mut bytes, None, &encoded);
    }
    let payload = Payload::Tails { bytes: Bytes::from(bytes), expiring: false };
    let append = Append { to: [tried.0].into(), payload, waits: true };
    stage.call(Op::Append(append)).expect("published");
    assert_eq!(come(&mut stage).len(), 4);
    let from = now(&stage);
    (0..4).for_each(|offset| settle(&mut stage, tried, offset, Disposition::Returned));
    assert_eq!(come(&mut stage), [(1, 1)], "it does not wait");
    assert_eq!(counts(&mut stage, grave), (1, 0, 0), "it may not come back");
    let (found, first) = wait(&mut stage, from);
    assert_eq!(first, [(0, 1)]);
    assert!(is_about(found, 300), "{found} ms");
    let (found, second) = wait(&mut stage, from);
    assert_eq!(second, [(3, 1)]);
    assert!((1_000..1_300).contains(&found), "{found} ms");
}

#[test]
fn chance_spreads_what_came_back_together() {
    let mut stage = Stage::new();
    let (tried, _) = queues(&mut stage, options(Retry { jitter: 100, ..POLICY }, None));
    let values = ["value"; 50];
    stage.publish(&[tried.0], &values).expect("published");
    let from = now(&stage);
    let (first, last) = (Offset(0), Offset(49));
    let ranges = vec![LeaseRange { log: tried.0.log, first, last }];
    let source = Source::Subscription(tried.1);
    let disposition = Disposition::Returned;
    let settle = Settle { consumer: CONSUMER, source, ranges, disposition };
    come(&mut stage);
    stage.call(Op::Settle(settle)).expect("settled");
    let mut delays = Vec::new();
    while delays.len() < 50 {
        let (found, come) = wait(&mut stage, from);
        delays.extend(come.iter().map(|_| found));
    }
    let early = delays.iter().filter(|delay| **delay < 1_500).count();
    assert!((10..=40).contains(&early), "{delays:?}");
    assert!(delays.iter().all(|delay| (1_000..2_100).contains(delay)), "{delays:?}");
}
