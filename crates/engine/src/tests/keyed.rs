//! Records by their key, and appends that expect something.

use super::Stage;
use crate::Part;
use crate::api::{
    Append, Expected, KeyHash, Keyed, Op, Payload, Read, ReadFrom, ReadKey, Reply, Schedule,
    Transaction, Trim, Verdict,
};
use crate::open::READERS;
use bytes::Bytes;
use catalog::{Action, Config, ConfigChange, KEY_INDEX, Keep, QueueKind, QueueOptions, Refusal};
use record::batch::{Builder, Compression};
use record::{tail, tails};
use std::collections::BTreeMap;
use types::{Error, Kind, LogRef, Millis, Offset};

fn indexed() -> Config {
    Config(BTreeMap::from([(KEY_INDEX.to_owned(), "true".to_owned())]))
}

fn payload(key: &str, values: &[&str]) -> Bytes {
    let mut bytes = Vec::new();
    for value in values {
        let mut encoded = Vec::new();
        let key = Some(key.as_bytes()).filter(|key| !key.is_empty());
        tail::encode(&mut encoded, key, Some(value.as_bytes()), std::iter::empty());
        tails::push(&mut bytes, None, &encoded);
    }
    Bytes::from(bytes)
}

fn plain(log: LogRef, key: &str, value: &str) -> Op {
    let payload = Payload::Tails { bytes: payload(key, &[value]), expiring: false };
    Op::Append(Append { to: [log].into(), payload, waits: true })
}

fn expecting(log: LogRef, key: &str, values: &[&str], expected: Expected) -> Append {
    let bytes = payload(key, values);
    let payload = Payload::Expecting { bytes, expiring: false, expected };
    Append { to: [log].into(), payload, waits: true }
}

fn of_key(key: &str, last: Option<i64>) -> Expected {
    Expected { key: Some(KeyHash::of(key.as_bytes())), last: last.map(Offset) }
}

fn of_log(last: Option<i64>) -> Expected {
    Expected { key: None, last: last.map(Offset) }
}

fn verdict(reply: Result<Reply, Error>) -> (Verdict, i64) {
    match reply {
        Ok(Reply::Appended(appended)) => (appended.verdict, appended.base_offset.0),
        other => panic!("it is not an answer to an append: {other:?}"),
    }
}

fn try_append(stage: &mut Stage, log: LogRef, key: &str, last: Option<i64>) -> (Verdict, i64) {
    let append = expecting(log, key, &["event"], of_key(key, last));
    verdict(ask(stage, Op::Append(append)))
}

fn read(log: LogRef, key: &str) -> ReadKey {
    let key = Bytes::copy_from_slice(key.as_bytes());
    ReadKey { log, key, from: None, backward: false, count_max: 100, bytes_max: 1 << 20 }
}

fn keyed(reply: Result<Reply, Error>) -> (Vec<(i64, String)>, Option<i64>) {
    let Ok(Reply::Keyed(Keyed { records, next })) = reply else { panic!("{reply:?}") };
    let shown = records.iter().map(|record| {
        let view = tail::decode(&record.tail).expect("a stored tail");
        let value = view.value.unwrap_or_default();
        (record.offset.0, String::from_utf8_lossy(value).into_owned())
    });
    (shown.collect(), next.map(|next| next.0))
}

fn offsets(stage: &mut Stage, read: ReadKey) -> (Vec<i64>, Option<i64>) {
    let (records, next) = keyed(ask(stage, Op::ReadKey(read)));
    (records.into_iter().map(|(offset, _)| offset).collect(), next)
}

/// Asks, and waits until the disk has given what it takes: a load comes in a step.
fn ask(stage: &mut Stage, op: Op) -> Result<Reply, Error> {
    let token = stage.send(op);
    let answer = (0..20).find_map(|_| {
        stage.run();
        stage.answer(token)
    });
    answer.expect("the call is answered")
}

/// The key of the record at an offset: five keys, of which the first has most.
fn key_at(at: i64) -> String {
    format!("key-{}", if at % 3 == 0 { 0 } else { at % 5 })
}

fn offsets_of(key: &str, from: i64, end: i64) -> Vec<i64> {
    (from..end).filter(|at| key_at(*at) == key).collect()
}

/// A topic with so many records: many runs, of many pages.
fn filled(count: i64) -> (Stage, LogRef) {
    let mut stage = Stage::new();
    let log = stage.topic("events", 1, indexed())[0];
    for at in 0..count {
        stage.send(plain(log, &key_at(at), &at.to_string()));
        if at % 40 == 39 {
            stage.run();
        }
    }
    stage.run();
    stage.events.clear();
    (stage, log)
}

#[test]
fn an_append_is_refused_unless_the_last_record_of_its_key_is_as_expected() {
    let mut stage = Stage::new();
    let log = stage.topic("events", 1, indexed())[0];
    assert_eq!(try_append(&mut stage, log, "a", Some(0)), (Verdict::Unexpected, -1));
    assert_eq!(try_append(&mut stage, log, "a", None), (Verdict::Appended, 0));
    assert_eq!(try_append(&mut stage, log, "b", None), (Verdict::Appended, 1));
    assert_eq!(try_append(&mut stage, log, "a", None), (Verdict::Unexpected, 0));
    assert_eq!(try_append(&mut stage, log, "a", Some(1)), (Verdict::Unexpected, 0));
    let three = expecting(log, "a", &["x", "y", "z"], of_key("a", Some(0)));
    assert_eq!(verdict(stage.call(Op::Append(three))), (Verdict::Appended, 2));
    stage.call(plain(log, "a", "any")).expect("it is appended");
    for crashed in [false, true] {
        if crashed {
            stage.crash();
        } else {
            stage.reopen();
        }
        assert_eq!(try_append(&mut stage, log, "a", Some(4)), (Verdict::Unexpected, 5));
        assert_eq!(try_append(&mut stage, log, "b", None), (Verdict::Unexpected, 1));
    }
    let (records, next) = keyed(stage.call(Op::ReadKey(read(log, "a"))));
    let values: Vec<&str> = records.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!((values, next), (vec!["event", "x", "y", "z", "any"], None));
    assert_eq!(offsets(&mut stage, read(log, "nobody")), (vec![], None));
}

#[test]
fn appends_of_one_frame_are_decided_in_order() {
    let mut stage = Stage::new();
    let log = stage.topic("events", 1, indexed())[0];
    let tokens: Vec<_> = (0..4)
        .map(|_| stage.send(Op::Append(expecting(log, "a", &["one"], of_key("a", None)))))
        .collect();
    stage.run();
    let verdicts: Vec<_> =
        tokens.into_iter().map(|token| verdict(stage.answer(token).expect("answered"))).collect();
    assert_eq!(verdicts[0], (Verdict::Appended, 0));
    assert_eq!(verdicts[1..], [(Verdict::Unexpected, 0); 3]);
}

#[test]
fn an_append_can_expect_the_last_record_of_a_log_without_an_index() {
    let mut stage = Stage::new();
    let log = stage.topic("plain", 1, Config::default())[0];
    let mut attempt = |last| {
        let append = expecting(log, "", &["event"], of_log(last));
        verdict(stage.call(Op::Append(append)))
    };
    assert_eq!(attempt(Some(0)), (Verdict::Unexpected, -1));
    assert_eq!(attempt(None), (Verdict::Appended, 0));
    assert_eq!(attempt(None), (Verdict::Unexpected, 0));
    assert_eq!(attempt(Some(0)), (Verdict::Appended, 1));
    stage.call(Op::Trim(Trim { log, before: None })).expect("it is trimmed");
    let append = expecting(log, "", &["event"], of_log(None));
    assert_eq!(verdict(stage.call(Op::Append(append))), (Verdict::Appended, 2));
}

#[test]
fn records_of_a_key_are_found_in_runs_and_behind_them() {
    let (mut stage, log) = filled(400);
    for restarted in [false, true] {
        if restarted {
            stage.crash();
        }
        for number in 0..5 {
            let key = format!("key-{number}");
            let all = offsets_of(&key, 0, 400);
            let wanted = (all[..100.min(all.len())].to_vec(), all.get(100).copied());
            assert_eq!(offsets(&mut stage, read(log, &key)), wanted, "{key}");
            let last = *all.last().expect("every key has some");
            assert_eq!(try_append(&mut stage, log, &key, None), (Verdict::Unexpected, last));
            assert_eq!(try_append(&mut stage, log, &key, Some(2)), (Verdict::Unexpected, last));
        }
        assert_eq!(try_append(&mut stage, log, "none", Some(3)), (Verdict::Unexpected, -1));
    }
    stage.engine.audit().expect("what is counted is what is there");
}

#[test]
fn of_many_runs_few_are_made() {
    let (stage, _) = filled(3_000);
    let levels = stage.engine.key_levels();
    assert!(levels.contains(&2) && levels.is_sorted_by(|one, next| one >= next), "{levels:?}");
    assert!((levels.len() as i64) < 3_000 / 40 / 2, "{levels:?}");
    stage.engine.audit().expect("what is counted is what is there");
}

#[test]
fn the_cold_batches_of_a_key_are_read_by_all_readers_at_once() {
    let mut stage = Stage::roomy();
    let log = stage.topic("events", 1, indexed())[0];
    for at in 0..40 {
        stage.call(plain(log, "key", &at.to_string())).expect("appended");
    }
    stage.reopen();
    let token = stage.send(Op::ReadKey(read(log, "key")));
    let mut loads = Vec::new();
    let answer = (0..200).find_map(|_| {
        stage.engine.step(Part::Worker(0)).expect("the disk works");
        stage.events.extend(stage.client.outbox().take());
        loads.push(stage.engine.loads());
        (0..100).for_each(|_| stage.engine.step(Part::Load).expect("the disk works"));
        stage.answer(token)
    });
    let (records, next) = keyed(answer.expect("the call is answered"));
    assert_eq!((records.len(), next), (40, None));
    assert!(loads.contains(&READERS), "{loads:?}");
    assert!(loads.iter().all(|count| *count <= READERS), "{loads:?}");
}

#[test]
fn a_key_is_read_in_parts_from_either_end() {
    let (mut stage, log) = filled(300);
    let all = offsets_of("key-0", 0, 300);
    for backward in [false, true] {
        let mut wanted = all.clone();
        if backward {
            wanted.reverse();
        }
        let (mut got, mut from) = (Vec::new(), None);
        loop {
            let part = ReadKey { from, backward, count_max: 7, ..read(log, "key-0") };
            let (offsets, next) = offsets(&mut stage, part);
            assert_eq!(offsets.len(), 7.min(wanted.len() - got.len()));
            got.extend(offsets);
            from = next.map(Offset);
            if from.is_none() {
                break;
            }
        }
        assert_eq!(got, wanted, "backward: {backward}");
    }
    let within = ReadKey { from: Some(Offset(101)), ..read(log, "key-0") };
    assert_eq!(offsets(&mut stage, within).0, offsets_of("key-0", 101, 300));
    let small = ReadKey { bytes_max: 1, ..read(log, "key-0") };
    assert_eq!(offsets(&mut stage, small), (all[..1].to_vec(), Some(all[1])));
}

#[test]
fn what_retention_took_is_not_there() {
    let (mut stage, log) = filled(200);
    let trim = |stage: &mut Stage, before| {
        stage.call(Op::Trim(Trim { log, before: Some(Offset(before)) })).expect("it is trimmed");
    };
    trim(&mut stage, 150);
    assert_eq!(offsets(&mut stage, read(log, "key-1")).0, offsets_of("key-1", 150, 200));
    trim(&mut stage, 200);
    for restarted in [false, true] {
        if restarted {
            stage.reopen();
        }
        assert_eq!(offsets(&mut stage, read(log, "key-1")), (vec![], None));
        assert_eq!(try_append(&mut stage, log, "key-1", Some(199)), (Verdict::Unexpected, -1));
    }
    assert_eq!(try_append(&mut stage, log, "key-1", None), (Verdict::Appended, 200));
    stage.engine.audit().expect("what is counted is what is there");
}

#[test]
fn a_stream_indexes_its_keys_and_its_end_takes_the_index_along() {
    let mut stage = Stage::new();
    let options = QueueOptions {
        kind: QueueKind::Stream,
        keep: Keep { key_index: true, ..Keep::default() }.or_nothing(),
        ..QueueOptions::default()
    };
    let (log, _) = stage.queue("stream", options);
    for at in 0..60 {
        stage.send(plain(log, &key_at(at), "value"));
    }
    stage.run();
    assert_eq!(offsets(&mut stage, read(log, "key-4")).0, offsets_of("key-4", 0, 60));
    let deleted = catalog::DeleteQueue { name: "stream".into(), by: None, only: None };
    stage.change(Action::DeleteQueue(deleted)).expect("it is deleted");
    let gone = stage.call(Op::ReadKey(read(log, "key-4"))).expect_err("it is gone");
    assert_eq!(gone.kind, Kind::NotFound);
    stage.engine.audit().expect("what is counted is what is there");
}

#[test]
fn what_an_index_cannot_do_is_refused() {
    let mut stage = Stage::new();
    let plain_log = stage.topic("plain", 1, Config::default())[0];
    let log = stage.topic("events", 1, indexed())[0];
    let kind = |reply: Result<Reply, Error>| reply.expect_err("it is refused").kind;
    assert_eq!(kind(stage.call(Op::ReadKey(read(plain_log, "a")))), Kind::Invalid);
    let append = expecting(plain_log, "a", &["x"], of_key("a", None));
    assert_eq!(kind(stage.call(Op::Append(append))), Kind::Invalid);
    let append = expecting(log, "a", &["x"], of_key("a", None));
    let both = Append { to: [plain_log, log].into(), ..append.clone() };
    assert_eq!(kind(stage.call(Op::Append(both))), Kind::Invalid);
    let transaction =
        Transaction { shard: log.shard, appends: vec![append.clone()], settles: Vec::new() };
    assert_eq!(kind(stage.call(Op::Transaction(transaction))), Kind::Invalid);
    let Op::Append(later) = super::append(&[log], &["x"], None) else { panic!("an append") };
    for append in [append, later] {
        let schedule = Schedule { append, due: Millis(i64::MAX) };
        assert_eq!(kind(stage.call(Op::Schedule(schedule))), Kind::Invalid);
    }
    let edits = ConfigChange::Edit(vec![(KEY_INDEX.to_owned(), Some("true".to_owned()))]);
    let refused = stage.change(Action::AlterConfig { name: "plain".into(), change: edits });
    assert!(matches!(refused, Err(Refusal::Invalid { .. })), "{refused:?}");
}

#[test]
fn what_is_appended_at_once_lies_in_small_batches() {
    let mut stage = Stage::roomy();
    let log = stage.topic("events", 1, indexed())[0];
    let values: Vec<String> = (0..600).map(|at| format!("{at:0>100}")).collect();
    let mut bytes = Vec::new();
    for (value, at) in values.iter().zip(0..) {
        let mut encoded = Vec::new();
        let key = key_at(at);
        tail::encode(
            &mut encoded,
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            std::iter::empty(),
        );
        tails::push(&mut bytes, None, &encoded);
    }
    let payload = Payload::Tails { bytes: Bytes::from(bytes), expiring: false };
    let append = Append { to: [log].into(), payload, waits: true };
    assert_eq!(verdict(stage.call(Op::Append(append))), (Verdict::Appended, 0));
    let logs = vec![ReadFrom { log, offset: Offset(0), bytes_max: 1 << 20 }];
    let read_all = Read { logs, bytes_max: 1 << 20, bytes_min: 0, wait: Millis(0) };
    let Ok(Reply::Read(logs)) = stage.call(Op::Read(read_all)) else { panic!("it is read") };
    let batches = logs[0].batches.as_ref().expect("the log is there");
    assert_eq!(logs[0].extent.end, Offset(600));
    assert!(batches.iter().all(|batch| batch.bytes.len() < 10 << 10));
    for number in 0..5 {
        let key = format!("key-{number}");
        let all = ReadKey { count_max: 600, ..read(log, &key) };
        let (records, _) = keyed(ask(&mut stage, Op::ReadKey(all)));
        let wanted = offsets_of(&key, 0, 600).into_iter();
        assert!(records.into_iter().eq(wanted.map(|at| (at, format!("{at:0>100}")))));
    }
}

#[test]
fn the_keys_of_a_producers_batch_are_found() {
    let mut stage = Stage::new();
    let log = stage.topic("events", 1, indexed())[0];
    for compression in [Compression::None, Compression::Gzip] {
        let mut builder = Builder::new(Millis(5));
        for at in 0..20 {
            let mut encoded = Vec::new();
            let (key, value) = (key_at(at), at.to_string());
            let key = Some(key.as_bytes()).filter(|_| at % 4 != 3);
            tail::encode(&mut encoded, key, Some(value.as_bytes()), std::iter::empty());
            builder.push(Millis(5), &encoded);
        }
        let payload = Payload::Batch(builder.finish_compressed(compression));
        let append = Append { to: [log].into(), payload, waits: true };
        assert_eq!(verdict(stage.call(Op::Append(append))).0, Verdict::Appended);
    }
    let own = |at: &i64| at % 20 % 4 != 3 && key_at(at % 20) == "key-1";
    let wanted: Vec<i64> = (0..40).filter(own).collect();
    assert_eq!(offsets(&mut stage, read(log, "key-1")), (wanted, None));
}

#[test]
fn entries_go_to_the_disk_early_where_memory_is_short() {
    let levels = |limit| {
        let mut stage = Stage::with_memory(limit);
        let logs = stage.topic("events", 200, indexed());
        for at in 0..15 {
            for log in logs.iter() {
                stage.send(plain(*log, &key_at(at), "value"));
            }
            stage.run();
        }
        (0..10).for_each(|_| stage.run());
        for log in [logs[0], logs[199]] {
            assert_eq!(offsets(&mut stage, read(log, "key-4")).0, offsets_of("key-4", 0, 15));
        }
        stage.engine.key_levels().len()
    };
    assert_eq!(levels(1 << 30), 0);
    assert!(levels(6 << 20) > 0);
}
