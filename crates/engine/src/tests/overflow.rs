//! Queues that refuse what is too much.

use super::{Stage, append};
use crate::api::{Counts, Op, Reply, Transaction};
use catalog::{DeadLetter, Overflow, QueueOptions};
use std::sync::Arc;
use types::{Kind, LogRef, ShardId, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

fn limited(max_len: u64) -> QueueOptions {
    let overflow = Overflow::Refuse;
    QueueOptions { max_len: Some(max_len), overflow, ..QueueOptions::default() }
}

fn ready(stage: &mut Stage, queue: Queue) -> u64 {
    match stage.call(Op::Count(queue.1)) {
        Ok(Reply::Counts(Counts { ready, .. })) => ready,
        other => panic!("no counts: {other:?}"),
    }
}

fn is_full(result: Result<Reply, types::Error>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind, Kind::Full);
            true
        }
    }
}

#[test]
fn what_is_too_much_is_refused_until_there_is_room() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", limited(2));
    assert!(is_full(stage.publish(&[queue.0], &["a", "b", "c"])), "an append goes in whole");
    for wanted in [false, false, true] {
        assert_eq!(is_full(stage.publish(&[queue.0], &["a"])), wanted);
    }
    assert_eq!(ready(&mut stage, queue), 2);
    stage.crash();
    assert_eq!(ready(&mut stage, queue), 2, "after a start as before");
    assert!(is_full(stage.publish(&[queue.0], &["b"])));
    stage.call(Op::Purge(queue.1)).expect("purged");
    assert!(!is_full(stage.publish(&[queue.0], &["b"])));
}

#[test]
fn what_is_on_its_way_counts() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", limited(3));
    let tokens: Vec<_> = (0..5).map(|_| stage.send(append(&[queue.0], &["a"], None))).collect();
    stage.run();
    let refused: Vec<bool> =
        tokens.into_iter().map(|token| is_full(stage.answer(token).expect("answered"))).collect();
    assert_eq!(refused, [false, false, false, true, true]);
    assert_eq!(ready(&mut stage, queue), 3);
}

#[test]
fn the_other_queues_keep_what_one_refuses() {
    let mut stage = Stage::new();
    let full = stage.queue("full", limited(0));
    let other = stage.queue("other", QueueOptions::default());
    assert!(is_full(stage.publish(&[full.0, other.0], &["a"])));
    assert_eq!((ready(&mut stage, full), ready(&mut stage, other)), (0, 1));
}

#[test]
fn bytes_are_limited_too_and_a_smaller_one_still_fits() {
    let mut stage = Stage::new();
    let overflow = Overflow::Refuse;
    let options = QueueOptions { max_bytes: Some(5), overflow, ..QueueOptions::default() };
    let queue = stage.queue("q", options);
    for (value, wanted) in [("aaa", false), ("bbb", true), ("cc", false), ("", false)] {
        assert_eq!(is_full(stage.publish(&[queue.0], &[value])), wanted, "{value}");
    }
    assert_eq!(ready(&mut stage, queue), 3);
}

#[test]
fn what_is_refused_can_go_on_as_a_dead_letter() {
    for shards in [1, 2] {
        let mut stage = Stage::with_shards(shards);
        let letter = DeadLetter { router: "".into(), key: Some("grave".into()) };
        let options = QueueOptions {
            overflow: Overflow::RefuseAsDead,
            dead_letter: Some(Arc::new(letter)),
            ..limited(1)
        };
        let queue = stage.queue("q", options);
        let grave = stage.queue("grave", QueueOptions::default());
        stage.publish(&[queue.0], &["a"]).expect("published");
        assert!(is_full(stage.publish(&[queue.0], &["b"])));
        stage.run();
        assert_eq!((ready(&mut stage, queue), ready(&mut stage, grave)), (1, 1));
        stage.crash();
        assert_eq!((ready(&mut stage, queue), ready(&mut stage, grave)), (1, 1));
    }
}

#[test]
fn a_transaction_is_refused_as_a_whole() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", limited(1));
    let other = stage.queue("other", QueueOptions::default());
    let appends = |count: usize| -> Vec<_> {
        let op = |log| match append(&[log], &["a"], None) {
            Op::Append(append) => append,
            _ => unreachable!(),
        };
        std::iter::repeat_n(queue.0, count).chain([other.0]).map(op).collect()
    };
    let mut commit = |count| {
        let shard: ShardId = queue.0.shard;
        let transaction = Transaction { shard, appends: appends(count), settles: Vec::new() };
        is_full(stage.call(Op::Transaction(transaction)))
    };
    assert_eq!([commit(2), commit(1), commit(1)], [true, false, true]);
    assert_eq!((ready(&mut stage, queue), ready(&mut stage, other)), (1, 1));
}
