use super::client::{Broker, Client, batch, fetch_request, texts, values};
use crate::codec::messages::fetch::{FetchRequest, FetchResponse};
use crate::codec::messages::offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::errors::ErrorCode;
use engine::api::{Append, Op, Payload, Settle, Source};
use engine::catalog::{Action, DeclareQueue, DeleteQueue, QueueOptions};
use std::sync::Arc;
use types::{ConsumerId, Offset};

#[test]
fn every_version_of_fetch_is_answered() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    client.produce("events", 0, batch(&["a", "b"]));
    let id = client.metadata("events", false).topic_id;
    for version in 4..=18 {
        let mut request = fetch_request(&[("events", 0, 0)]);
        request.topics[0].topic_id = id;
        let response: FetchResponse = client.ask(version, &request);
        let partition = &response.responses[0].partitions[0];
        assert_eq!(texts(partition), ["a", "b"], "version {version}");
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (2, 2));
    }
}

#[test]
fn an_offset_within_a_batch_gives_the_whole_batch() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    client.produce("events", 0, batch(&["a", "b", "c"]));
    client.produce("events", 0, batch(&["d"]));
    let got = values(&client.fetch("events", 0, 1));
    assert_eq!(got.first(), Some(&(0, "a".to_owned())));
    assert_eq!(got.last(), Some(&(3, "d".to_owned())));
    assert_eq!(values(&client.fetch("events", 0, 3)), [(3, "d".to_owned())]);
    let end = client.fetch("events", 0, 4);
    assert_eq!((end.error_code, texts(&end).len()), (ErrorCode::NONE, 0));
}

#[test]
fn what_cannot_be_read_says_why() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    client.produce("events", 0, batch(&["a"]));
    assert_eq!(client.fetch("events", 0, 2).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("events", 0, -1).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("events", 1, 0).error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(client.fetch("nowhere", 0, 0).error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let unknown: FetchResponse = client.ask(13, &fetch_request(&[("", 0, 0)]));
    assert_eq!(unknown.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    let mut epoch = fetch_request(&[("events", 0, 0)]);
    epoch.topics[0].partitions[0].current_leader_epoch = 3;
    let response: FetchResponse = client.ask(11, &epoch);
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_LEADER_EPOCH);
}

/// A fetch that waits, of one partition of each topic.
fn waiting(wanted: &[(&str, i32, i64)]) -> FetchRequest {
    FetchRequest { max_wait_ms: 60_000, ..fetch_request(wanted) }
}

#[test]
fn a_fetch_waits_for_a_record() {
    let broker = Broker::new();
    let (mut reader, mut writer) = (broker.client(), broker.client());
    writer.create("events", 1, &[]);
    let id = reader.send(11, &waiting(&[("events", 0, 0)]));
    assert!(!reader.has_answer());
    writer.produce("events", 0, batch(&["a"]));
    let response: FetchResponse = reader.receive(11, id);
    assert_eq!(texts(&response.responses[0].partitions[0]), ["a"]);
}

#[test]
fn the_first_shard_with_a_record_ends_the_wait_on_the_others() {
    let broker = Broker::new();
    let (mut reader, mut writer) = (broker.client(), broker.client());
    // Topics are placed on the shards in turn.
    let topics = ["one", "two", "three", "four"];
    for topic in topics {
        writer.create(topic, 1, &[]);
    }
    let id = reader.send(11, &waiting(&topics.map(|topic| (topic, 0, 0))));
    assert!(!reader.has_answer());
    writer.produce("three", 0, batch(&["a"]));
    let response: FetchResponse = reader.receive(11, id);
    let counts: Vec<usize> =
        response.responses.iter().map(|topic| texts(&topic.partitions[0]).len()).collect();
    assert_eq!(counts, [0, 0, 1, 0]);
}

#[test]
fn a_waiting_fetch_is_answered_when_the_broker_stops() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let id = client.send(11, &waiting(&[("events", 0, 0)]));
    assert!(!client.has_answer());
    client.drain();
    let response: FetchResponse = client.receive(11, id);
    assert_eq!(texts(&response.responses[0].partitions[0]).len(), 0);
    client.wait_closed();
}

#[test]
fn a_session_tells_only_what_is_new() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("one", 1, &[]);
    client.create("two", 1, &[]);
    client.produce("one", 0, batch(&["a"]));
    let mut request = fetch_request(&[("one", 0, 0), ("two", 0, 0)]);
    request.session_epoch = 0;
    let first: FetchResponse = client.ask(12, &request);
    assert_ne!(first.session_id, 0);
    assert_eq!(first.responses.len(), 2);
    let next = |epoch, wanted: &[(&str, i32, i64)]| FetchRequest {
        session_id: first.session_id,
        session_epoch: epoch,
        ..fetch_request(wanted)
    };
    let second: FetchResponse = client.ask(12, &next(1, &[("one", 0, 1)]));
    assert_eq!((second.session_id, second.responses.len()), (first.session_id, 0));
    client.produce("two", 0, batch(&["b"]));
    let third: FetchResponse = client.ask(12, &next(2, &[]));
    assert_eq!(third.responses.len(), 1);
    assert_eq!(third.responses[0].topic, "two");
    let wrong: FetchResponse = client.ask(12, &next(7, &[]));
    assert_eq!(wrong.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let mut elsewhere = next(1, &[]);
    elsewhere.session_id ^= 1;
    let unknown: FetchResponse = client.ask(12, &elsewhere);
    assert_eq!(unknown.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn bytes_are_bounded_but_for_the_first_batch() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 2, &[]);
    let value = "x".repeat(10_000);
    for partition in [0, 1] {
        for _ in 0..3 {
            client.produce("events", partition, batch(&[&value]));
        }
    }
    let fetch = |client: &mut Client, partition_bytes, bytes| {
        let mut request = fetch_request(&[("events", 0, 0), ("events", 1, 0)]);
        request.max_bytes = bytes;
        for topic in &mut request.topics {
            topic.partitions[0].partition_max_bytes = partition_bytes;
        }
        let response: FetchResponse = client.ask(11, &request);
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| texts(partition).len()).collect::<Vec<_>>()
    };
    assert_eq!(fetch(&mut client, 1, 1), [1, 0]);
    assert_eq!(fetch(&mut client, 25_000, 1 << 20), [2, 2]);
    assert_eq!(fetch(&mut client, 1 << 20, 45_000), [3, 1]);
}

fn list(client: &mut Client, version: i16, timestamp: i64) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: "events".to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
    let mut response: ListOffsetsResponse = client.ask(version, &request);
    response.topics.remove(0).partitions.remove(0)
}

#[test]
fn offsets_are_listed_by_name_and_by_time() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let none = list(&mut client, 7, -3);
    assert_eq!((none.error_code, none.offset, none.timestamp), (ErrorCode::NONE, -1, -1));
    client.produce("events", 0, super::client::builder(2_000, &["a", "b"]).finish());
    client.produce("events", 0, super::client::builder(1_000, &["c"]).finish());
    for (timestamp, version, offset, found) in [
        (-1, 7, 3, -1),
        (-2, 7, 0, -1),
        (-3, 7, 1, 2_001),
        (-4, 8, 0, -1),
        (-5, 9, -1, -1),
        (0, 7, 0, 2_000),
        (2_001, 7, 1, 2_001),
        (2_002, 7, -1, -1),
    ] {
        let got = list(&mut client, version, timestamp);
        let want = (ErrorCode::NONE, offset, found);
        assert_eq!((got.error_code, got.offset, got.timestamp), want, "timestamp {timestamp}");
    }
    for (timestamp, version) in [(-3, 6), (-4, 7), (-5, 8), (-9, 10)] {
        let code = list(&mut client, version, timestamp).error_code;
        assert_eq!(code, ErrorCode::UNSUPPORTED_VERSION, "timestamp {timestamp}");
    }
}

#[test]
fn the_only_leader_epoch_ends_at_the_end_of_the_log() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    client.produce("events", 0, batch(&["a", "b"]));
    let partitions =
        [0, 1].map(|leader_epoch| OffsetForLeaderPartition { leader_epoch, ..Default::default() });
    let topic = OffsetForLeaderTopic { topic: "events".to_owned(), partitions: partitions.into() };
    let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
    let response: OffsetForLeaderEpochResponse = client.ask(4, &request);
    let ends: Vec<(i32, i64)> = response.topics[0]
        .partitions
        .iter()
        .map(|partition| (partition.leader_epoch, partition.end_offset))
        .collect();
    assert_eq!(ends, [(0, 2), (-1, -1)]);
}

fn declare(broker: &Broker, name: &str) {
    broker.change(Action::DeclareQueue(DeclareQueue {
        name: name.into(),
        id: broker.engine().handle().new_topic_id(),
        durable: true,
        exclusive: None,
        auto_delete: false,
        server_named: false,
        arguments: Default::default(),
        options: QueueOptions::default(),
    }));
}

#[test]
fn a_queue_is_a_topic_of_what_it_retains() {
    let broker = Broker::new();
    let mut client = broker.client();
    declare(&broker, "jobs");
    assert_eq!(client.metadata("jobs", false).partitions.len(), 1);
    for value in ["a", "b", "c"] {
        let partition = client.produce("jobs", 0, batch(&[value]));
        assert_eq!(partition.error_code, ErrorCode::NONE);
    }
    assert_eq!(texts(&client.fetch("jobs", 0, 0)), ["a", "b", "c"]);
    // The queue's consumers settle the first two: they are holes now, and not out of range.
    settle(&broker, "jobs", 2);
    let fetched = client.fetch("jobs", 0, 0);
    assert_eq!(
        (fetched.error_code, values(&fetched)),
        (ErrorCode::NONE, vec![(2, "c".to_owned())])
    );
    assert_eq!(fetched.high_watermark, 3);
    // What Kafka reads stays for the queue's consumers.
    assert_eq!(texts(&client.fetch("jobs", 0, 2)), ["c"]);
    assert_eq!(client.metadata("jobs", true).partitions.len(), 1);
}

/// Takes and settles the first messages of a queue.
fn settle(broker: &Broker, name: &str, count: usize) {
    let names = broker.engine().handle().names();
    let subscription = names.find("/", name).unwrap().subscription().unwrap();
    let source = Source::Subscription(subscription);
    for _ in 0..count {
        let get =
            engine::api::Get { consumer: ConsumerId(1), subscription, settle_on_delivery: true };
        let engine::api::Reply::Got(Some(_), _) = broker.do_op(Op::Get(get)) else {
            panic!("the queue is empty");
        };
    }
    // Answered when what came before it is durable.
    let none = Settle {
        consumer: ConsumerId(1),
        source,
        ranges: Vec::new(),
        disposition: engine::api::Disposition::Done,
    };
    broker.do_op(Op::Settle(none));
}

#[test]
fn an_exclusive_name_is_not_seen_and_not_taken() {
    let broker = Broker::new();
    let mut client = broker.client();
    let declare = DeclareQueue {
        name: "mine".into(),
        id: broker.engine().handle().new_topic_id(),
        durable: false,
        exclusive: None,
        auto_delete: false,
        server_named: false,
        arguments: Default::default(),
        options: QueueOptions::default(),
    };
    broker.change(Action::DeclareQueue(declare));
    let unseen = client.metadata("mine", false);
    assert_eq!(unseen.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let taken = client.metadata("mine", true);
    assert_eq!(taken.error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    let delete = DeleteQueue { name: "mine".into(), by: None, only: None };
    broker.change(Action::DeleteQueue(delete));
    assert_eq!(client.metadata("mine", true).error_code, ErrorCode::NONE);
}

#[test]
fn records_of_other_wires_are_fetched() {
    let broker = Broker::new();
    let mut client = broker.client();
    declare(&broker, "jobs");
    let mut tail = Vec::new();
    record::tail::encode(&mut tail, None, Some(b"hello"), [].into_iter());
    let mut tails = Vec::new();
    record::tails::push(&mut tails, None, &tail);
    let names = broker.engine().handle().names();
    let to = Arc::from(names.find("/", "jobs").unwrap().logs());
    let payload = Payload::Tails { bytes: tails.into(), expiring: false };
    broker.do_op(Op::Append(Append { to, payload, waits: true }));
    assert_eq!(values(&client.fetch("jobs", 0, 0)), [(0, "hello".to_owned())]);
    assert_eq!(Offset(1).0, client.fetch("jobs", 0, 1).high_watermark);
}
