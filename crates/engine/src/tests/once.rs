//! Messages that are appended once, however often they come.

use super::Stage;
use crate::MemoryPool;
use crate::api::{
    Append, Counts, Get, MessageId, Once, Op, Payload, Read, ReadFrom, Reply, Schedule, Settle,
    Source, Take, Transaction, Verdict, Within,
};
use crate::api::{Disposition, LeaseRange};
use crate::shard::ID_BYTES;
use bytes::Bytes;
use catalog::{Dedup, QueueOptions, Remembered, RouterId};
use record::{tail, tails};
use types::{ConsumerId, Error, Kind, LogRef, Millis, Offset, SubscriptionRef, Token};

const WINDOW: Millis = Millis(60_000);

fn remembering(remembered: Remembered) -> QueueOptions {
    let dedup = Some(Dedup { remembered, count_max: u32::MAX });
    QueueOptions { dedup, ..QueueOptions::default() }
}

fn once(id: &str) -> Once {
    Once { id: MessageId::of(id.as_bytes()), within: None }
}

fn payload(once: Once) -> Payload {
    Payload::once(values(&["value"]), false, once)
}

fn values(values: &[&str]) -> Bytes {
    let mut bytes = Vec::new();
    for value in values {
        let mut encoded = Vec::new();
        tail::encode(&mut encoded, None, Some(value.as_bytes()), std::iter::empty());
        tails::push(&mut bytes, None, &encoded);
    }
    Bytes::from(bytes)
}

/// Appends messages whose ids are their values.
fn append_all(to: &[LogRef], ids: &[&str], within: Option<Within>) -> Op {
    let bytes = values(ids);
    let ids = ids.iter().map(|id| MessageId::of(id.as_bytes())).collect();
    let payload = Payload::Once { bytes, expiring: false, ids, within };
    Op::Append(Append { to: to.into(), payload, waits: true })
}

/// What a queue delivers, redelivered or not.
fn consumed(stage: &mut Stage, subscription: SubscriptionRef) -> Vec<String> {
    let take = Take {
        consumer: ConsumerId(9),
        source: Source::Subscription(subscription),
        prefetch: 0,
        window: None,
        settle_on_delivery: true,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.call(Op::Take(take)).expect("it is a consumer");
    stage.run();
    let delivered = stage.delivered().into_iter();
    delivered.map(|value| value.trim_end_matches('!').to_owned()).collect()
}

fn append(to: &[LogRef], once: Once) -> Op {
    Op::Append(Append { to: to.into(), payload: payload(once), waits: true })
}

fn verdict(reply: Result<Reply, Error>) -> (Verdict, Offset) {
    match reply {
        Ok(Reply::Appended(appended)) => (appended.verdict, appended.base_offset),
        other => panic!("it is not an answer to an append: {other:?}"),
    }
}

fn ready(stage: &mut Stage, subscription: SubscriptionRef) -> u64 {
    match stage.call(Op::Count(subscription)) {
        Ok(Reply::Counts(Counts { ready, .. })) => ready,
        other => panic!("it was not counted: {other:?}"),
    }
}

fn settle_first(stage: &mut Stage, (log, subscription): (LogRef, SubscriptionRef)) {
    let consumer = ConsumerId(1);
    let got = stage.call(Op::Get(Get { consumer, subscription, settle_on_delivery: false }));
    let Ok(Reply::Got(Some(delivery), _)) = got else { panic!("{got:?}") };
    let range = LeaseRange { log: log.log, first: delivery.offset, last: delivery.offset };
    let (source, disposition) = (Source::Subscription(subscription), Disposition::Done);
    let settle = Settle { consumer, source, ranges: vec![range], disposition };
    stage.call(Op::Settle(settle)).expect("it is settled");
}

#[test]
fn a_duplicate_within_the_window_is_dropped_over_crashes_and_checkpoints() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", remembering(Remembered::For(WINDOW)));
    let appended = stage.call(append(&[log], once("a")));
    assert_eq!(verdict(appended), (Verdict::Appended, Offset(0)));
    settle_first(&mut stage, (log, subscription));
    for crashed in [false, true] {
        if crashed {
            stage.crash();
        } else {
            stage.reopen();
        }
        let again = stage.call(append(&[log], once("a")));
        assert_eq!(verdict(again), (Verdict::Duplicate, Offset(0)));
        let other = stage.call(append(&[log], once(if crashed { "b" } else { "c" })));
        assert_eq!(verdict(other).0, Verdict::Appended);
    }
    assert_eq!(ready(&mut stage, subscription), 2);
    stage.clock.pass(WINDOW.0 as u64 * 1_000);
    assert_eq!(verdict(stage.call(append(&[log], once("a")))), (Verdict::Appended, Offset(3)));
}

#[test]
fn of_many_at_once_those_that_are_known_are_dropped_and_the_others_stay_in_order() {
    for crashed in [false, true] {
        let mut stage = Stage::new();
        let (log, subscription) = stage.queue("q", remembering(Remembered::For(WINDOW)));
        let reply = stage.call(append_all(&[log], &["a", "b", "a", "c"], None));
        assert_eq!(verdict(reply), (Verdict::Appended, Offset(2)));
        if crashed {
            stage.crash();
        }
        let reply = stage.call(append_all(&[log], &["d", "b", "e", "f", "a"], None));
        assert_eq!(verdict(reply), (Verdict::Duplicate, Offset(0)));
        let reply = stage.call(append_all(&[log], &["f", "e", "g"], None));
        assert_eq!(verdict(reply), (Verdict::Appended, Offset(6)));
        assert_eq!(consumed(&mut stage, subscription), ["a", "b", "c", "d", "e", "f", "g"]);
    }
}

#[test]
fn a_message_is_dropped_when_one_of_its_id_is_still_on_its_way_to_the_disk() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", remembering(Remembered::For(WINDOW)));
    let sent: Vec<Token> = (0..3)
        .map(|_| {
            let token = stage.send(append_all(&[log], &["a", "b"], None));
            stage.engine.run(1).expect("the disk works");
            token
        })
        .collect();
    let twice = stage.send(append_all(&[log], &["c", "a", "b", "c"], None));
    stage.run();
    let mut answered = |token: Token| verdict(stage.answer(token).expect("it is answered")).0;
    assert_eq!(answered(sent[0]), Verdict::Appended);
    assert_eq!([sent[1], sent[2], twice].map(&mut answered), [Verdict::Duplicate; 3]);
    assert_eq!(consumed(&mut stage, subscription), ["a", "b", "c"]);
}

#[test]
fn many_at_once_are_one_batch_and_those_of_another_router_are_another() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", remembering(Remembered::WhileHeld));
    let dedup = Dedup { remembered: Remembered::Always, count_max: 9 };
    let router = Some((RouterId(1), dedup));
    let mut all = Vec::new();
    for (ids, within) in [(["a", "b"], None), (["c", "d"], None), (["e", "f"], router)] {
        all.push(stage.send(append_all(&[log], &ids, within)));
    }
    stage.run();
    let answers = all.iter().map(|token| stage.answer(*token).expect("it is answered"));
    let answers: Vec<(Verdict, Offset)> = answers.map(verdict).collect();
    assert_eq!(answers, [1, 3, 5].map(|last| (Verdict::Appended, Offset(last))));
    let from = ReadFrom { log, offset: Offset(0), bytes_max: 1 << 20 };
    let wait = Millis(0);
    let read = Read { logs: vec![from], bytes_max: 1 << 20, bytes_min: 0, wait };
    let Ok(Reply::Read(read)) = stage.call(Op::Read(read)) else { panic!("it is not read") };
    let batches = read[0].batches.as_ref().expect("they are there").iter();
    assert_eq!(batches.map(|batch| batch.base_offset.0).collect::<Vec<_>>(), [0, 4]);
    stage.crash();
    assert_eq!(verdict(stage.call(append_all(&[log], &["e"], None))).0, Verdict::Duplicate);
    assert_eq!(consumed(&mut stage, subscription).len(), 6);
    assert_eq!(verdict(stage.call(append_all(&[log], &["e"], None))).0, Verdict::Appended);
    assert_eq!(verdict(stage.call(append_all(&[log], &["e"], router))).0, Verdict::Duplicate);
}

#[test]
fn each_of_many_goes_where_it_is_new_and_has_its_id() {
    let mut stage = Stage::new();
    let (one, of_one) = stage.queue("one", remembering(Remembered::For(WINDOW)));
    let (two, of_two) = stage.queue("two", remembering(Remembered::For(WINDOW)));
    let (any, of_any) = stage.queue("any", QueueOptions::default());
    stage.call(append_all(&[one], &["b"], None)).expect("it is appended");
    stage.call(append_all(&[one, two, any], &["a", "b", "c"], None)).expect("it is appended");
    assert_eq!(consumed(&mut stage, of_one), ["b", "a", "c"]);
    assert_eq!(consumed(&mut stage, of_two), ["a", "b", "c"]);
    assert_eq!(consumed(&mut stage, of_any), ["a", "b", "c"]);
    let Op::Append(mut append) = append_all(&[one], &["x", "y"], None) else { return };
    if let Payload::Once { ids, .. } = &mut append.payload {
        *ids = Box::new([ids[0]]);
    }
    match stage.call(Op::Append(append)) {
        Err(Error { kind: Kind::Invalid, .. }) => {}
        other => panic!("it is not refused: {other:?}"),
    }
}

#[test]
fn a_transaction_takes_each_of_many_once() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", remembering(Remembered::For(WINDOW)));
    let appends = [["a", "b"], ["b", "c"]].map(|ids| match append_all(&[log], &ids, None) {
        Op::Append(append) => append,
        other => panic!("{other:?}"),
    });
    let transaction =
        Transaction { shard: log.shard, appends: appends.to_vec(), settles: Vec::new() };
    stage.call(Op::Transaction(transaction)).expect("it is done");
    stage.call(append_all(&[log], &["c", "d", "a"], None)).expect("it is answered");
    assert_eq!(consumed(&mut stage, subscription), ["a", "b", "c", "d"]);
}

#[test]
fn a_message_is_known_while_the_queue_holds_it() {
    let mut stage = Stage::new();
    let queue = stage.queue("q", remembering(Remembered::WhileHeld));
    let (log, subscription) = queue;
    for (id, wanted) in [("a", Verdict::Appended), ("b", Verdict::Appended)] {
        assert_eq!(verdict(stage.call(append(&[log], once(id)))).0, wanted);
    }
    stage.clock.pass(1 << 50);
    assert_eq!(verdict(stage.call(append(&[log], once("a")))), (Verdict::Duplicate, Offset(0)));
    settle_first(&mut stage, queue);
    stage.crash();
    assert_eq!(verdict(stage.call(append(&[log], once("b")))), (Verdict::Duplicate, Offset(1)));
    assert_eq!(verdict(stage.call(append(&[log], once("a")))), (Verdict::Appended, Offset(2)));
    assert_eq!(ready(&mut stage, subscription), 2);
}

#[test]
fn each_queue_decides_for_itself_and_one_that_remembers_nothing_takes_all() {
    let mut stage = Stage::new();
    let (one, of_one) = stage.queue("one", remembering(Remembered::For(WINDOW)));
    let (two, of_two) = stage.queue("two", remembering(Remembered::For(WINDOW)));
    let (any, of_any) = stage.queue("any", QueueOptions::default());
    stage.call(append(&[one], once("a"))).expect("it is appended");
    for _ in 0..2 {
        stage.call(append(&[one, two, any], once("a"))).expect("it is appended");
    }
    let counts = [of_one, of_two, of_any].map(|of| ready(&mut stage, of));
    assert_eq!(counts, [1, 1, 2]);
}

#[test]
fn a_router_remembers_in_each_log_and_only_what_comes_by_it() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    let by = |router: u32, count_max: u32| {
        let dedup = Dedup { remembered: Remembered::Always, count_max };
        Once { within: Some((RouterId(router), dedup)), ..once("a") }
    };
    assert_eq!(verdict(stage.call(append(&[log], by(1, 9)))).0, Verdict::Appended);
    stage.crash();
    assert_eq!(verdict(stage.call(append(&[log], by(1, 9)))).0, Verdict::Duplicate);
    assert_eq!(verdict(stage.call(append(&[log], by(2, 9)))).0, Verdict::Appended);
    assert_eq!(verdict(stage.call(append(&[log], once("a")))).0, Verdict::Appended);
    assert_eq!(ready(&mut stage, subscription), 3);
}

#[test]
fn a_message_that_waits_is_remembered_from_when_it_was_published() {
    let mut stage = Stage::new();
    let (log, subscription) = stage.queue("q", remembering(Remembered::For(WINDOW)));
    let due = Millis(1_700_000_000_000 + 20_000);
    for wanted in [Verdict::Appended, Verdict::Duplicate] {
        let append = Append { to: [log].into(), payload: payload(once("a")), waits: true };
        let scheduled = stage.call(Op::Schedule(Schedule { append, due }));
        assert_eq!(verdict(scheduled).0, wanted);
    }
    assert_eq!(verdict(stage.call(append(&[log], once("a")))).0, Verdict::Duplicate);
    stage.clock.pass(30_000_000);
    stage.run();
    assert_eq!(ready(&mut stage, subscription), 1);
}

#[test]
fn ids_are_counted_and_forgotten_when_their_time_is_over() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", remembering(Remembered::For(WINDOW)));
    for id in ["a", "b", "a"] {
        stage.call(append(&[log], once(id))).expect("it is answered");
    }
    let used = |stage: &Stage| stage.engine.handle().memory().used(MemoryPool::Ids);
    assert_eq!(used(&stage), 2 * ID_BYTES);
    stage.crash();
    stage.run();
    assert_eq!(used(&stage), 2 * ID_BYTES);
    stage.clock.pass(WINDOW.0 as u64 * 1_000);
    stage.publish(&[log], &["the time of the shard is a frame's"]).expect("it is appended");
    stage.clock.pass(120_000_000);
    stage.run();
    stage.run();
    assert_eq!(used(&stage), 0);
}

#[test]
fn a_message_is_refused_rather_than_an_id_forgotten_when_there_is_no_room() {
    let mut stage = Stage::with_memory(128 << 20);
    let (log, subscription) = stage.queue("q", remembering(Remembered::For(WINDOW)));
    let budget = stage.engine.handle().memory().budget(MemoryPool::Ids);
    for at in 0..budget / ID_BYTES + 1 {
        stage.send(append(&[log], once(&at.to_string())));
        if at % 2_000 == 0 {
            stage.run();
            stage.events.clear();
        }
    }
    stage.run();
    let held = ready(&mut stage, subscription);
    match stage.call(append(&[log], once("one more"))) {
        Err(Error { kind: Kind::Throttled, .. }) => {}
        other => panic!("it is not refused: {other:?}"),
    }
    assert_eq!(ready(&mut stage, subscription), held);
    stage.publish(&[log], &["without an id"]).expect("it is appended");
}
