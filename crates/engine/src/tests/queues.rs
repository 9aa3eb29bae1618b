//! Queues: who gets what, what settling does, and what is left after a crash.

use super::{Stage, append};
use crate::Tally;
use crate::api::{
    Counts, Disposition, Event, Get, LeaseRange, Leave, Op, Reply, Settle, Source, Take,
};
use catalog::QueueOptions;
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef};

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

fn settle(
    stage: &mut Stage,
    (log, from): (LogRef, SubscriptionRef),
    (first, last): (i64, i64),
    disposition: Disposition,
) {
    let ranges = vec![LeaseRange { log: log.log, first: Offset(first), last: Offset(last) }];
    let source = Source::Subscription(from);
    let settle = Settle { consumer: ConsumerId(1), source, ranges, disposition };
    stage.call(Op::Settle(settle)).expect("settled");
}

fn counts(stage: &mut Stage, of: SubscriptionRef) -> Counts {
    match stage.call(Op::Count(of)) {
        Ok(Reply::Counts(counts)) => counts,
        other => panic!("not counts: {other:?}"),
    }
}

#[test]
fn published_messages_are_delivered_in_order_up_to_the_prefetch() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a", "b", "c"]).expect("published");
    take(&mut stage, queue, 2);
    assert_eq!(stage.delivered(), ["a", "b"]);
    settle(&mut stage, (log, queue), (0, 0), Disposition::Done);
    assert_eq!(stage.delivered(), ["c"]);
    let expected = Counts { unacked: 2, consumers: 1, ..Counts::default() };
    assert_eq!(counts(&mut stage, queue), expected);
}

#[test]
fn returned_messages_come_again_at_their_place_and_marked() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a", "b", "c"]).expect("published");
    take(&mut stage, queue, 2);
    assert_eq!(stage.delivered(), ["a", "b"]);
    settle(&mut stage, (log, queue), (0, 0), Disposition::Returned);
    assert_eq!(stage.delivered(), ["a!"]);
}

#[test]
fn acknowledged_messages_and_settles_survive_a_power_cut() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a", "b", "c", "d"]).expect("published");
    take(&mut stage, queue, 2);
    settle(&mut stage, (log, queue), (0, 0), Disposition::Done);
    stage.crash();
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), ["b!", "c!", "d!"]);
}

#[test]
fn a_client_that_goes_leaves_its_messages_to_the_next() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a", "b"]).expect("published");
    take(&mut stage, queue, 1);
    assert_eq!(stage.delivered(), ["a"]);
    stage.client = stage.engine.handle().connect(std::sync::Arc::new(|| {}));
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), ["a!", "b"]);
}

#[test]
fn a_get_takes_one_message_and_says_how_many_are_left() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a", "b", "c"]).expect("published");
    let get = Get { consumer: ConsumerId(9), subscription: queue, settle_on_delivery: true };
    match stage.call(Op::Get(get.clone())) {
        Ok(Reply::Got(Some(item), 2)) => assert_eq!(item.offset, Offset(0)),
        other => panic!("not the first message: {other:?}"),
    }
    stage.crash();
    match stage.call(Op::Get(get)) {
        Ok(Reply::Got(Some(item), 1)) => assert_eq!(item.offset, Offset(1)),
        other => panic!("not the second message: {other:?}"),
    }
}

#[test]
fn one_append_reaches_every_destination() {
    let mut stage = Stage::with_shards(3);
    let (first, one) = stage.queue("q1", QueueOptions::default());
    let (second, two) = stage.queue("q2", QueueOptions::default());
    assert_ne!(first.shard, second.shard, "queues are shared out over the shards");
    stage.publish(&[first], &["a"]).expect("published");
    stage.publish(&[second], &["a"]).expect("published");
    take(&mut stage, one, 0);
    assert_eq!(stage.delivered(), ["a"]);
    take(&mut stage, two, 0);
    assert_eq!(stage.delivered(), ["a"]);
}

#[test]
fn a_queue_longer_than_it_may_be_drops_its_oldest() {
    let mut stage = Stage::new();
    let options = QueueOptions { max_len: Some(2), ..QueueOptions::default() };
    let (log, queue) = stage.queue("q", options);
    stage.publish(&[log], &["a", "b", "c", "d"]).expect("published");
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), ["c", "d"]);
}

#[test]
fn a_queue_larger_than_it_may_be_drops_its_oldest() {
    let mut stage = Stage::new();
    let options = QueueOptions { max_bytes: Some(5), ..QueueOptions::default() };
    let (log, queue) = stage.queue("q", options);
    stage.publish(&[log], &["aa", "bb", "cc"]).expect("published");
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), ["bb", "cc"]);
}

#[test]
fn messages_expire_after_the_queues_or_their_own_time() {
    let mut stage = Stage::new();
    let options = QueueOptions { message_ttl: Some(Millis(1_000)), ..QueueOptions::default() };
    let (log, queue) = stage.queue("q", options);
    stage.call(append(&[log], &["own"], Some("100"))).expect("published");
    stage.publish(&[log], &["queues"]).expect("published");
    assert_eq!(counts(&mut stage, queue).ready, 2);
    stage.clock.pass(500_000);
    stage.run();
    assert_eq!(counts(&mut stage, queue).ready, 1);
    stage.clock.pass(600_000);
    stage.run();
    assert_eq!(counts(&mut stage, queue).ready, 0);
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), Vec::<String>::new());
}

#[test]
fn a_message_that_may_not_wait_reaches_a_consumer_that_does() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue, 0);
    stage.call(append(&[log], &["now"], Some("0"))).expect("published");
    assert_eq!(stage.delivered(), ["now"]);
    let source = Source::Subscription(queue);
    let leave = Leave { consumer: ConsumerId(1), source, release: true };
    settle(&mut stage, (log, queue), (0, 0), Disposition::Done);
    stage.call(Op::Leave(leave)).expect("left");
    stage.call(append(&[log], &["never"], Some("0"))).expect("published");
    stage.run();
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), Vec::<String>::new());
}

#[test]
fn an_unused_queue_goes_when_its_time_has_come() {
    let mut stage = Stage::new();
    let options = QueueOptions { expires: Some(Millis(1_000)), ..QueueOptions::default() };
    let (_, queue) = stage.queue("q", options);
    take(&mut stage, queue, 0);
    stage.clock.pass(5_000_000);
    stage.run();
    assert!(stage.engine.handle().names().find("/", "q").is_some(), "it is consumed");
    let source = Source::Subscription(queue);
    let leave = Leave { consumer: ConsumerId(1), source, release: true };
    stage.call(Op::Leave(leave)).expect("left");
    stage.clock.pass(1_100_000);
    stage.run();
    stage.run();
    assert!(stage.engine.handle().names().find("/", "q").is_none(), "nobody used it");
}

#[test]
fn consumers_of_a_deleted_queue_are_told() {
    let mut stage = Stage::new();
    let (_, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue, 0);
    let delete = catalog::DeleteQueue { name: "q".into(), by: None, only: None };
    stage.change(catalog::Action::DeleteQueue(delete)).expect("deleted");
    let gone = stage.events.iter().any(
        |event| matches!(event, Event::ConsumerGone { consumer } if *consumer == ConsumerId(1)),
    );
    assert!(gone);
}

#[test]
fn state_after_replay_is_byte_equal_to_the_state_before() {
    let mut stage = Stage::with_shards(2);
    let (log, queue) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a", "b", "c", "d"]).expect("published");
    take(&mut stage, queue, 3);
    settle(&mut stage, (log, queue), (1, 1), Disposition::Done);
    settle(&mut stage, (log, queue), (2, 2), Disposition::Returned);
    let live = stage.engine.state();
    stage.reopen();
    assert_eq!(stage.engine.state(), live, "from the frames alone");
    stage.engine.checkpoint();
    stage.run();
    let live = stage.engine.state();
    stage.reopen();
    assert_eq!(stage.engine.state(), live, "from a checkpoint and the frames since");
}

#[test]
fn a_destination_that_is_gone_does_not_keep_a_message_from_the_others() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let gone = LogRef { log: types::LogId(log.log.0 + 1), ..log };
    stage.publish(&[log, gone], &["a"]).expect("published where it can be");
    assert!(stage.publish(&[gone], &["b"]).is_err());
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), ["a"]);
    let live = stage.engine.state();
    stage.reopen();
    assert_eq!(stage.engine.state(), live, "replay skips it too");
}

#[test]
fn an_idle_queue_has_no_entry_and_keeps_its_tally() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("used", QueueOptions::default());
    stage.queue("unused", QueueOptions::default());
    assert_eq!(stage.engine.awake(), 0, "nothing was published yet");
    stage.publish(&[log], &["a", "b"]).expect("published");
    assert_eq!(stage.engine.awake(), 1, "what holds something is awake");
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), ["a", "b"]);
    settle(&mut stage, (log, queue), (0, 1), Disposition::Done);
    assert_eq!(stage.engine.awake(), 1, "it has a consumer");
    let leave =
        Leave { consumer: ConsumerId(1), source: Source::Subscription(queue), release: true };
    stage.call(Op::Leave(leave)).expect("the consumer leaves");
    assert_eq!(stage.engine.awake(), 0);
    assert_eq!(counts(&mut stage, queue), Counts::default());
    let tallies = |stage: &mut Stage| match stage.call(Op::Stats { shard: queue.shard }) {
        Ok(Reply::Stats(stats)) => stats.iter().map(|one| one.tally).collect::<Vec<_>>(),
        other => panic!("not stats: {other:?}"),
    };
    let tally = Tally { published: 2, delivered: 2, acked: 2 };
    assert_eq!(tallies(&mut stage), [tally, Tally::default()]);
    stage.publish(&[log], &["c"]).expect("published");
    take(&mut stage, queue, 0);
    assert_eq!(stage.delivered(), ["c"], "it goes on where it was");
    assert_eq!(tallies(&mut stage)[0], Tally { published: 3, delivered: 3, acked: 2 });
}

#[test]
fn a_queue_that_expires_is_not_idle_and_still_expires_after_a_restart() {
    let mut stage = Stage::new();
    let options = QueueOptions { expires: Some(Millis(10_000)), ..QueueOptions::default() };
    let (_, queue) = stage.queue("q", options);
    stage.crash();
    assert_eq!(stage.engine.awake(), 1, "it remembers when it was used");
    stage.clock.pass(11_000_000);
    stage.run();
    let gone = stage.call(Op::Count(queue)).map_err(|error| error.kind).err();
    assert_eq!(gone, Some(types::Kind::NotFound));
}
