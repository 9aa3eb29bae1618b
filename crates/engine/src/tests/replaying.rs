//! What is settled and kept: delivered again, forgotten in time, and taken out by place.

use super::{Stage, append};
use crate::api::{
    Counts, Disposition, Extent, LeaseRange, Op, Remove, Removed, Reply, Rewind, Settle, Source,
    Stand, Standing, Take,
};
use catalog::{Config, DeadLetter, Keep, QueueOptions, Serving};
use std::sync::Arc;
use types::{ConsumerId, Error, Kind, LogRef, Millis, Offset, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

const HOUR: Millis = Millis(3_600_000);

fn keeping() -> QueueOptions {
    let keep = Keep { age: Some(HOUR), ..Keep::default() }.or_nothing();
    QueueOptions { keep, ..QueueOptions::default() }
}

fn take(stage: &mut Stage, from: SubscriptionRef, prefetch: u32) {
    let take = Take {
        consumer: ConsumerId(1),
        source: Source::Subscription(from),
        prefetch,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.call(Op::Take(take)).expect("the consumer is registered");
}

fn range(queue: Queue, (first, last): (i64, i64)) -> Vec<LeaseRange> {
    vec![LeaseRange { log: queue.0.log, first: Offset(first), last: Offset(last) }]
}

fn settle(stage: &mut Stage, queue: Queue, span: (i64, i64), disposition: Disposition) {
    let (ranges, source) = (range(queue, span), Source::Subscription(queue.1));
    let settle = Settle { consumer: ConsumerId(1), source, ranges, disposition };
    stage.call(Op::Settle(settle)).expect("settled");
}

fn rewind(stage: &mut Stage, (log, subscription): Queue, to: i64) -> Result<u64, Error> {
    let op = Rewind { subscription, log: log.log, to: Offset(to) };
    match stage.call(Op::Rewind(op))? {
        Reply::Rewound(count) => Ok(count),
        other => panic!("not rewound: {other:?}"),
    }
}

fn counts(stage: &mut Stage, of: Queue) -> Counts {
    match stage.call(Op::Count(of.1)) {
        Ok(Reply::Counts(counts)) => counts,
        other => panic!("not counts: {other:?}"),
    }
}

fn standing(stage: &mut Stage, of: Queue, span: (i64, i64)) -> Vec<Standing> {
    let op = Stand { subscription: of.1, ranges: range(of, span) };
    match stage.call(Op::Stand(op)) {
        Ok(Reply::Stood(stood)) => stood.into_iter().map(|it| it.standing).collect(),
        other => panic!("not told: {other:?}"),
    }
}

fn remove(stage: &mut Stage, of: Queue, span: (i64, i64)) -> Removed {
    let op = Remove { subscription: of.1, ranges: range(of, span) };
    match stage.call(Op::Remove(op)) {
        Ok(Reply::Removed(removed)) => removed,
        other => panic!("not removed: {other:?}"),
    }
}

fn extent(stage: &mut Stage, of: Queue) -> Extent {
    match stage.call(Op::Extent(vec![of.0])) {
        Ok(Reply::Extents(extents)) => extents[0].expect("the log is there"),
        other => panic!("no extent: {other:?}"),
    }
}

#[test]
fn what_was_settled_comes_again_in_order_and_marked() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", keeping());
    stage.publish(&[queue.0], &["a", "b", "c", "d", "e"]).expect("published");
    take(&mut stage, queue.1, 3);
    settle(&mut stage, queue, (0, 1), Disposition::Done);
    assert_eq!(stage.delivered(), ["a", "b", "c", "d", "e"]);
    let before = counts(&mut stage, queue);
    assert_eq!((before.unacked, before.kept), (3, 2));
    assert_eq!(rewind(&mut stage, queue, 0), Ok(2));
    let after = counts(&mut stage, queue);
    assert_eq!((after.ready, after.unacked, after.kept), (2, 3, 0), "what is held is not ready");
    settle(&mut stage, queue, (2, 4), Disposition::Done);
    assert_eq!(stage.delivered(), ["a!", "b!"]);
    settle(&mut stage, queue, (0, 1), Disposition::Done);
    assert_eq!(rewind(&mut stage, queue, 3), Ok(2));
    assert_eq!(stage.delivered(), ["d!", "e!"]);
}

#[test]
fn a_rewind_survives_a_crash_and_so_does_what_is_kept() {
    for cleanly in [false, true] {
        let mut stage = Stage::new();
        let queue = stage.queue("q", keeping());
        stage.publish(&[queue.0], &["a", "b", "c"]).expect("published");
        take(&mut stage, queue.1, 0);
        settle(&mut stage, queue, (0, 2), Disposition::Done);
        if cleanly {
            stage.reopen()
        } else {
            stage.crash()
        }
        assert_eq!(counts(&mut stage, queue).kept, 3);
        assert_eq!(rewind(&mut stage, queue, 1), Ok(2));
        if cleanly {
            stage.reopen()
        } else {
            stage.crash()
        }
        take(&mut stage, queue.1, 0);
        assert_eq!(stage.delivered(), ["b!", "c!"]);
    }
}

#[test]
fn attempts_begin_anew() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", QueueOptions { returns_max: Some(1), ..keeping() });
    stage.publish(&[queue.0], &["a"]).expect("published");
    take(&mut stage, queue.1, 0);
    settle(&mut stage, queue, (0, 0), Disposition::Returned);
    settle(&mut stage, queue, (0, 0), Disposition::Done);
    assert_eq!(stage.delivered(), ["a", "a!"]);
    rewind(&mut stage, queue, 0).expect("rewound");
    settle(&mut stage, queue, (0, 0), Disposition::Returned);
    assert_eq!(stage.delivered(), ["a!", "a!"], "it has not come back too often");
}

#[test]
fn what_the_queue_took_out_does_not_come_again() {
    let mut stage = Stage::new();
    let dead = stage.queue("dead", QueueOptions::default());
    let letter = DeadLetter { router: "".into(), key: Some("dead".into()) };
    let options = QueueOptions { dead_letter: Some(Arc::new(letter)), ..keeping() };
    let queue = stage.queue("q", options);
    stage.publish(&[queue.0], &["done", "refused", "purged"]).expect("published");
    take(&mut stage, queue.1, 2);
    settle(&mut stage, queue, (1, 1), Disposition::Rejected);
    settle(&mut stage, queue, (0, 0), Disposition::Done);
    settle(&mut stage, queue, (2, 2), Disposition::Released);
    let leave = crate::api::Leave {
        consumer: ConsumerId(1),
        source: Source::Subscription(queue.1),
        release: true,
    };
    stage.call(Op::Leave(leave)).expect("left");
    stage.call(Op::Purge(queue.1)).expect("purged");
    stage.delivered();
    assert_eq!(counts(&mut stage, dead).ready, 1);
    assert_eq!(rewind(&mut stage, queue, 0), Ok(1));
    take(&mut stage, queue.1, 0);
    assert_eq!(stage.delivered(), ["done!"]);
    stage.crash();
    assert_eq!(counts(&mut stage, dead).ready, 1);
}

#[test]
fn a_queue_that_keeps_nothing_refuses_and_trims_at_once() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", QueueOptions::default());
    stage.publish(&[queue.0], &["a"]).expect("published");
    take(&mut stage, queue.1, 0);
    settle(&mut stage, queue, (0, 0), Disposition::Done);
    assert_eq!(rewind(&mut stage, queue, 0).map_err(|why| why.kind), Err(Kind::Invalid));
    assert_eq!(extent(&mut stage, queue).start, Offset(1));
}

#[test]
fn a_topic_is_delivered_again_from_what_it_retains() {
    let mut stage = Stage::new();
    let log = stage.topic("t", 1, Config::default())[0];
    let declare = catalog::Action::DeclareSubscription {
        topic: "t".into(),
        name: catalog::QUEUE_SUBSCRIPTION.into(),
    };
    stage.change(declare).expect("subscribed");
    let names = stage.engine.handle().names();
    let found = names.find("/", "t").and_then(|found| found.subscription());
    let topic = (log, found.expect("a subscription"));
    stage.publish(&[log], &["a", "b", "c"]).expect("published");
    take(&mut stage, topic.1, 0);
    settle(&mut stage, topic, (0, 2), Disposition::Done);
    assert_eq!(stage.delivered(), ["a", "b", "c"]);
    assert_eq!(rewind(&mut stage, topic, 1), Ok(2));
    assert_eq!(stage.delivered(), ["b!", "c!"]);
}

#[test]
fn what_is_too_old_is_forgotten_and_what_is_not_settled_stays() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", keeping());
    stage.publish(&[queue.0], &["a"]).expect("published");
    stage.publish(&[queue.0], &["b"]).expect("published");
    take(&mut stage, queue.1, 0);
    settle(&mut stage, queue, (1, 1), Disposition::Done);
    stage.clock.pass(1_000 * 1_000 * 3_000);
    stage.publish(&[queue.0], &["c"]).expect("published");
    settle(&mut stage, queue, (2, 2), Disposition::Done);
    stage.run();
    assert_eq!(counts(&mut stage, queue).kept, 2);
    stage.clock.pass(1_000 * 1_000 * 1_000);
    stage.run();
    assert_eq!(counts(&mut stage, queue).kept, 1, "b is over an hour old");
    assert_eq!(extent(&mut stage, queue).start, Offset(0), "a is not settled");
    stage.delivered();
    assert_eq!(rewind(&mut stage, queue, 0), Ok(1));
    settle(&mut stage, queue, (0, 0), Disposition::Done);
    assert_eq!(stage.delivered(), ["c!"]);
    stage.run();
    assert_eq!(extent(&mut stage, queue).start, Offset(2));
}

#[test]
fn no_more_is_kept_than_so_many_bytes() {
    let mut stage = Stage::new();
    let keep = Keep { bytes: Some(2_000), ..Keep::default() }.or_nothing();
    let queue = stage.queue("q", QueueOptions { keep, ..QueueOptions::default() });
    let text = "x".repeat(300);
    for _ in 0..30 {
        stage.publish(&[queue.0], &[&text]).expect("published");
    }
    take(&mut stage, queue.1, 0);
    settle(&mut stage, queue, (0, 19), Disposition::Done);
    stage.clock.pass(2_000 * 1_000);
    stage.run();
    let kept = counts(&mut stage, queue).kept;
    assert!((4..=6).contains(&kept), "{kept}");
    let extent = extent(&mut stage, queue);
    assert_eq!(extent.start.0, 20 - i64::try_from(kept).expect("few"));
}

#[test]
fn a_queue_that_keeps_no_more_lets_go_of_everything() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", QueueOptions::default());
    let policy = |keep: Option<Millis>| {
        let settings = catalog::PolicySettings { keep_age: keep, ..Default::default() };
        let policy = catalog::Policy {
            name: "p".into(),
            pattern: catalog::Pattern::new("q").expect("a pattern"),
            applies_to: catalog::AppliesTo::Queues,
            priority: 0,
            definition: Vec::new(),
            settings,
        };
        catalog::Action::PutPolicy { operator: false, policy: Box::new(policy) }
    };
    stage.publish(&[queue.0], &["a", "b", "c"]).expect("published");
    take(&mut stage, queue.1, 0);
    settle(&mut stage, queue, (0, 0), Disposition::Done);
    stage.change(policy(Some(HOUR))).expect("set");
    settle(&mut stage, queue, (1, 1), Disposition::Done);
    let first = counts(&mut stage, queue);
    assert_eq!((first.kept, first.unacked), (1, 1), "what was settled before is gone");
    stage.change(policy(None)).expect("set");
    assert_eq!(counts(&mut stage, queue).kept, 0);
    assert_eq!(extent(&mut stage, queue).start, Offset(2));
    assert_eq!(rewind(&mut stage, queue, 0).map_err(|why| why.kind), Err(Kind::Invalid));
}

#[test]
fn priorities_and_keys_hold_for_what_comes_again() {
    let mut stage = Stage::new();
    let serving = Serving { priority_max: 5, ..Serving::default() };
    let queue = stage.queue("q", QueueOptions { serving, ..keeping() });
    for (value, priority) in [("low", "1"), ("high", "5"), ("mid", "3")] {
        let mut encoded = Vec::new();
        let headers = [(&b"priority"[..], Some(priority.as_bytes()))];
        record::tail::encode(&mut encoded, None, Some(value.as_bytes()), headers.into_iter());
        let mut bytes = Vec::new();
        record::tails::push(&mut bytes, None, &encoded);
        let Op::Append(mut op) = append(&[queue.0], &[], None) else { unreachable!() };
        op.payload = crate::api::Payload::Tails { bytes: bytes.into(), expiring: false };
        stage.call(Op::Append(op)).expect("published");
    }
    take(&mut stage, queue.1, 0);
    assert_eq!(stage.delivered(), ["high", "mid", "low"]);
    settle(&mut stage, queue, (0, 2), Disposition::Done);
    stage.crash();
    rewind(&mut stage, queue, 0).expect("rewound");
    take(&mut stage, queue.1, 0);
    assert_eq!(stage.delivered(), ["high!", "mid!", "low!"]);
}

#[test]
fn it_is_told_where_messages_stand_and_they_are_taken_out_there() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", keeping());
    stage.publish(&[queue.0], &["a", "b", "c", "d"]).expect("published");
    take(&mut stage, queue.1, 1);
    settle(&mut stage, queue, (0, 0), Disposition::Done);
    let wanted =
        [Standing::Kept, Standing::Leased, Standing::Ready, Standing::Ready, Standing::Gone];
    assert_eq!(standing(&mut stage, queue, (0, 4)), wanted);
    assert_eq!(remove(&mut stage, queue, (0, 2)), Removed { removed: 2, leased: 1 });
    let wanted = [Standing::Gone, Standing::Leased, Standing::Gone, Standing::Ready];
    assert_eq!(standing(&mut stage, queue, (0, 3)), wanted);
    settle(&mut stage, queue, (1, 1), Disposition::Done);
    assert_eq!(stage.delivered(), ["a", "b", "d"]);
    assert_eq!(rewind(&mut stage, queue, 0), Ok(1));
    stage.crash();
    take(&mut stage, queue.1, 0);
    assert_eq!(stage.delivered(), ["b!", "d!"]);
}
