use super::client::{Broker, batch, batch_of, builder, produce_request, texts, values};
use crate::codec::messages::identity::{InitProducerIdRequest, InitProducerIdResponse};
use crate::codec::messages::metadata::{MetadataRequest, MetadataResponse};
use crate::codec::messages::offsets::{ListOffsetsRequest, ListOffsetsResponse};
use crate::codec::messages::produce::{ProduceRequest, ProduceResponse};
use crate::errors::ErrorCode;
use bytes::Bytes;
use record::batch::{Batches, Compression, Limits};
use types::Millis;

#[test]
fn what_is_produced_is_fetched() {
    let broker = Broker::new();
    let mut client = broker.client();
    let topic = client.metadata("events", true);
    assert_eq!((topic.error_code, topic.partitions.len()), (ErrorCode::NONE, 1));
    let first = client.produce("events", 0, batch(&["a", "b"]));
    let second = client.produce("events", 0, batch(&["c"]));
    assert_eq!((first.error_code, first.base_offset), (ErrorCode::NONE, 0));
    assert_eq!((second.error_code, second.base_offset), (ErrorCode::NONE, 2));
    assert_eq!(second.log_append_time_ms, -1);
    let fetched = client.fetch("events", 0, 0);
    assert_eq!(fetched.high_watermark, 3);
    let want: Vec<(i64, String)> = (0..).zip(["a", "b", "c"].map(str::to_owned)).collect();
    assert_eq!(values(&fetched), want);
}

#[test]
fn every_version_of_produce_is_answered() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let id = client.metadata("events", false).topic_id;
    for version in 3..=13 {
        let mut request = produce_request("events", 0, batch(&["x"]), 1);
        request.topic_data[0].topic_id = id;
        let response: ProduceResponse = client.ask(version, &request);
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, ErrorCode::NONE, "version {version}");
        assert_eq!(partition.base_offset, i64::from(version) - 3);
    }
}

#[test]
fn a_repeated_sequence_is_told_where_it_went_the_first_time() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let got: InitProducerIdResponse = client.ask(4, &InitProducerIdRequest::default());
    assert_eq!(got.error_code, ErrorCode::NONE);
    let id = got.producer_id;
    let again: InitProducerIdResponse = client.ask(4, &InitProducerIdRequest::default());
    assert_ne!(again.producer_id, id);
    let send = |client: &mut super::client::Client, epoch, sequence, values: &[&str]| {
        let partition = client.produce("events", 0, batch_of(id, epoch, sequence, values));
        (partition.error_code, partition.base_offset)
    };
    assert_eq!(send(&mut client, 0, 0, &["a", "b"]), (ErrorCode::NONE, 0));
    assert_eq!(send(&mut client, 0, 2, &["c"]), (ErrorCode::NONE, 2));
    assert_eq!(send(&mut client, 0, 0, &["a", "b"]), (ErrorCode::NONE, 0));
    assert_eq!(send(&mut client, 0, 9, &["z"]), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    assert_eq!(send(&mut client, 1, 0, &["d"]), (ErrorCode::NONE, 3));
    assert_eq!(send(&mut client, 0, 3, &["z"]), (ErrorCode::INVALID_PRODUCER_EPOCH, -1));
    assert_eq!(texts(&client.fetch("events", 0, 0)), ["a", "b", "c", "d"]);
}

#[test]
fn transactions_are_refused() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let request =
        InitProducerIdRequest { transactional_id: Some("t".to_owned()), ..Default::default() };
    let got: InitProducerIdResponse = client.ask(4, &request);
    assert_eq!(got.error_code, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    let mut request = produce_request("events", 0, batch(&["a"]), -1);
    request.transactional_id = Some("t".to_owned());
    let got: ProduceResponse = client.ask(9, &request);
    assert_eq!(
        got.responses[0].partition_responses[0].error_code,
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    );
}

/// A batch with other attributes and a checksum that holds.
fn with_attributes(batch: &Bytes, attributes: u16) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    let crc = record::batch::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

#[test]
fn what_is_not_a_good_batch_is_refused_and_not_appended() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[("max.message.bytes", "200")]);
    let good = batch(&["a"]);
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut old = good.to_vec();
    old[16] = 1;
    // The count says two records where there is one.
    let mut miscounted = good.to_vec();
    miscounted[26] = 1;
    miscounted[60] = 2;
    let miscounted = with_attributes(&Bytes::from(miscounted), 0);
    let bomb = bomb();
    let cases = [
        ("empty", Bytes::new(), ErrorCode::INVALID_RECORD),
        ("two batches", [good.clone(), good.clone()].concat().into(), ErrorCode::INVALID_RECORD),
        ("checksum", flipped.into(), ErrorCode::CORRUPT_MESSAGE),
        ("short", good.slice(..70), ErrorCode::CORRUPT_MESSAGE),
        ("magic 1", old.into(), ErrorCode::INVALID_RECORD),
        ("false count", miscounted, ErrorCode::INVALID_RECORD),
        ("transaction", with_attributes(&good, 0x10), ErrorCode::INVALID_TXN_STATE),
        ("control", with_attributes(&good, 0x30), ErrorCode::INVALID_RECORD),
        ("append time", with_attributes(&good, 0x08), ErrorCode::INVALID_TIMESTAMP),
        ("not gzip", with_attributes(&good, 0x01), ErrorCode::INVALID_RECORD),
        ("no such codec", with_attributes(&good, 0x07), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        ("no sequence", batch_of(5, 0, -1, &["a"]), ErrorCode::INVALID_RECORD),
        ("too large", batch(&[&"x".repeat(200)]), ErrorCode::MESSAGE_TOO_LARGE),
    ];
    for (what, batch, code) in cases {
        let partition = client.produce("events", 0, batch);
        assert_eq!(partition.error_code, code, "{what}");
        assert_eq!(partition.base_offset, -1, "{what}");
        assert!(partition.error_message.is_some(), "{what}");
    }
    client.create("large", 1, &[]);
    let partition = client.produce("large", 0, bomb);
    assert_eq!(partition.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(client.fetch("events", 0, 0).high_watermark, 0);
}

/// 80 MiB of one byte, which zstd makes a few kilobytes of.
fn bomb() -> Bytes {
    let mut builder = builder(0, &[]);
    let mut tail = Vec::new();
    let value = vec![b'x'; 80 << 20];
    record::tail::encode(&mut tail, None, Some(&value), [].into_iter());
    builder.push(Millis(0), &tail);
    builder.finish_compressed(Compression::Zstd)
}

#[test]
fn every_compression_passes_through() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let batch = builder(1_000, &["same", "same"]).finish_compressed(compression);
        let offset = client.produce("events", 0, batch.clone()).base_offset;
        let fetched = client.fetch("events", 0, offset);
        assert_eq!(texts(&fetched), ["same", "same"], "{compression:?}");
        let bytes = fetched.records.unwrap().into_bytes();
        assert_eq!(bytes[21..], batch[21..], "{compression:?}: checksummed bytes are kept");
    }
    let zstd = builder(0, &["a"]).finish_compressed(Compression::Zstd);
    let old: ProduceResponse = client.ask(6, &produce_request("events", 0, zstd, 1));
    assert_eq!(
        old.responses[0].partition_responses[0].error_code,
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    );
}

#[test]
fn a_topic_stores_batches_in_the_compression_it_is_set_to() {
    let broker = Broker::new();
    let mut client = broker.client();
    let all = [
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    for (topic, to) in all {
        client.create(topic, 1, &[("compression.type", topic)]);
        for (_, from) in all {
            let batch = builder(1_000, &["same", "same"]).finish_compressed(from);
            let partition = client.produce(topic, 0, batch);
            assert_eq!(partition.error_code, ErrorCode::NONE, "{from:?} to {to:?}");
        }
        let fetched = client.fetch(topic, 0, 0);
        assert_eq!(texts(&fetched), ["same"; 10], "{to:?}");
        let bytes = fetched.records.unwrap().into_bytes();
        let limits = Limits { batch_bytes_max: 1_000, record_count_max: 2 };
        let stored: Vec<_> = Batches::new(bytes, limits).map(Result::unwrap).collect();
        assert_eq!(stored.len(), 5);
        for (header, _) in stored {
            assert_eq!(header.compression(), Ok(to));
        }
    }
}

#[test]
fn a_batch_that_is_too_large_when_it_is_stored_is_refused() {
    let broker = Broker::new();
    let mut client = broker.client();
    let set = [("compression.type", "uncompressed"), ("max.message.bytes", "500")];
    client.create("events", 1, &set);
    let batch = builder(1_000, &[&"x".repeat(1_000)]).finish_compressed(Compression::Zstd);
    assert!(batch.len() < 500);
    let partition = client.produce("events", 0, batch);
    assert_eq!(partition.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(client.fetch("events", 0, 0).high_watermark, 0);
}

#[test]
fn without_acknowledgements_there_is_no_answer_but_an_append() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    client.send(9, &produce_request("events", 0, batch(&["a"]), 0));
    // The next answer is the next request's, and sees the append.
    let request = list_latest("events");
    let response: ListOffsetsResponse = client.ask(7, &request);
    assert_eq!(response.topics[0].partitions[0].offset, 1);
    client.send(9, &produce_request("nowhere", 0, batch(&["a"]), 0));
    client.wait_closed();
}

fn list_latest(topic: &str) -> ListOffsetsRequest {
    use crate::codec::messages::offsets::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] };
    ListOffsetsRequest { topics: vec![topic], ..Default::default() }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let produce = produce_request("events", 0, batch(&["a"]), -1);
    let ids: Vec<i32> = (0..200).map(|_| client.send(9, &produce)).collect();
    let last = client.send(7, &list_latest("events"));
    let metadata = client.send(12, &MetadataRequest::default());
    for (id, offset) in ids.into_iter().zip(0..) {
        let response: ProduceResponse = client.receive(9, id);
        assert_eq!(response.responses[0].partition_responses[0].base_offset, offset);
    }
    let response: ListOffsetsResponse = client.receive(7, last);
    assert_eq!(response.topics[0].partitions[0].offset, 200);
    let _: MetadataResponse = client.receive(12, metadata);
}

#[test]
fn append_time_is_told_and_stored() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let told = client.produce("events", 0, batch(&["a"])).log_append_time_ms;
    assert!(told > 1_600_000_000_000, "{told}");
    let bytes = client.fetch("events", 0, 0).records.unwrap().into_bytes();
    let header = record::batch::Header::decode(&bytes).unwrap();
    assert!(header.append_time());
    assert_eq!(header.max_timestamp, Millis(told));
}

#[test]
fn acks_that_do_not_exist_are_refused() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let request: ProduceRequest = produce_request("events", 0, batch(&["a"]), 2);
    let response: ProduceResponse = client.ask(9, &request);
    let code = response.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::INVALID_REQUIRED_ACKS);
}
