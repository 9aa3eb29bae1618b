use super::joined;
use crate::apis::{self, ApiKey};
use crate::codec::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::codec::messages::fetch::{FetchResponse, FetchedPartition, FetchedTopic};
use crate::codec::messages::metadata::{MetadataRequest, MetadataResponse};
use crate::codec::messages::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use crate::codec::{
    Incoming, Records, Rows, SHARED_BYTES_MIN, decode, encode_request, encode_response, read_header,
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use proptest::prelude::*;

#[test]
fn request_headers_of_every_api_and_version_are_read_as_the_oracle_writes_them() {
    for api in apis::APIS {
        for version in api.versions() {
            for client in [None, Some("rdkafka")] {
                let mut bytes = BytesMut::new();
                theirs::RequestHeader::default()
                    .with_request_api_key(api.key as i16)
                    .with_request_api_version(version)
                    .with_correlation_id(7)
                    .with_client_id(client.map(StrBytes::from_static_str))
                    .encode(&mut bytes, if version >= api.flexible_from { 2 } else { 1 })
                    .unwrap();
                let frame = bytes.freeze();
                let Ok(Incoming::Request(header)) = read_header(&frame) else {
                    panic!("{} {version} is not read", api.name);
                };
                assert_eq!((header.api, header.version), (api, version));
                assert_eq!((header.correlation_id, header.client_id), (7, client));
                assert_eq!(header.body_at, frame.len());
            }
        }
    }
}

#[test]
fn an_unknown_api_or_version_ends_the_connection_except_for_api_versions() {
    for (key, version) in [(0, 2), (0, 14), (1, 3), (4, 0), (24, 0), (68, 0), (-1, 0), (999, 1)] {
        let frame = request_start(key, version);
        let read = read_header(&frame);
        assert!(
            matches!(read, Ok(Incoming::Unsupported { key: k, version: v }) if (k, v) == (key, version)),
            "{key} {version}: {read:?}"
        );
    }
    for version in [-1, 5, 99] {
        let frame = request_start(ApiKey::ApiVersions as i16, version);
        let read = read_header(&frame);
        assert!(matches!(read, Ok(Incoming::ApiVersionsTooNew { correlation_id: 9 })), "{read:?}");
    }
}

fn request_start(key: i16, version: i16) -> Bytes {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &9_i32.to_be_bytes()].concat().into()
}

#[test]
fn response_headers_are_flexible_with_their_bodies_but_never_for_api_versions() {
    for version in 0..=13 {
        let ours = joined(encode_response(5, version, &MetadataResponse::default()));
        let mut want = BytesMut::new();
        let header = theirs::MetadataResponse::header_version(version);
        theirs::ResponseHeader::default().with_correlation_id(5).encode(&mut want, header).unwrap();
        assert_eq!(&ours[4..4 + want.len()], &want[..], "version {version}");
        assert_eq!(length(&ours), ours.len() - 4);
        let body = ours.slice(4 + want.len()..);
        assert_eq!(decode(&body, 0, version), Ok(MetadataResponse::default()));
    }
    let ours = joined(encode_response(5, 3, &ApiVersionsResponse::default()));
    assert_eq!(&ours[..8], &[0, 0, 0, 12, 0, 0, 0, 5]);
    assert_eq!(decode(&ours, 8, 3), Ok(ApiVersionsResponse::default()));
}

#[test]
fn requests_come_back() {
    for version in 0..=13 {
        let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
        let frame = joined(encode_request(3, Some("me"), version, &request)).slice(4..);
        let Ok(Incoming::Request(header)) = read_header(&frame) else { panic!("not read") };
        assert_eq!((header.correlation_id, header.client_id), (3, Some("me")));
        assert_eq!(decode(&frame, header.body_at, version), Ok(request));
    }
    let frame = joined(encode_request(3, None, 0, &ApiVersionsRequest::default()));
    assert_eq!(&frame[..], &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 3, 0xff, 0xff]);
}

#[test]
fn produced_records_share_the_memory_of_their_frame() {
    let records = Some(Records::whole(Bytes::from_static(b"record bytes")));
    let partition = ProducePartition { index: 0, records };
    let topic = ProduceTopic { partition_data: vec![partition], ..ProduceTopic::default() };
    let request = ProduceRequest { topic_data: vec![topic], ..ProduceRequest::default() };
    for version in 3..=13 {
        let frame = super::body(&request, version);
        let read: ProduceRequest = decode(&frame, 0, version).unwrap();
        let partition = read.topic_data[0].partition_data[0].clone();
        let records = partition.records.unwrap().into_bytes();
        assert_eq!(records, b"record bytes"[..]);
        assert!(frame.as_ptr_range().contains(&records.as_ptr()));
    }
}

fn length(frame: &[u8]) -> usize {
    u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize
}

fn fetched(batches: &[usize], partitions: usize) -> FetchResponse {
    let mut records = Records::default();
    for (at, bytes) in batches.iter().enumerate() {
        records.push_batch([at as u8; 21], Bytes::from(vec![at as u8; *bytes]));
    }
    let partition = FetchedPartition { records: Some(records), ..FetchedPartition::default() };
    let topic = FetchedTopic { partitions: vec![partition; partitions], ..FetchedTopic::default() };
    FetchResponse { responses: vec![topic], ..FetchResponse::default() }
}

#[test]
fn large_batches_are_segments_of_their_own_and_small_ones_are_copied() {
    let response = fetched(&[SHARED_BYTES_MIN, 3, 5_000], 1);
    let segments = encode_response(1, 12, &response);
    let lengths: Vec<usize> = segments.iter().map(Bytes::len).collect();
    assert_eq!((lengths.len(), lengths[1], lengths[3]), (5, SHARED_BYTES_MIN, 5_000));
    assert_eq!(lengths[2], 21 + 3 + 21);
    assert_eq!(length(&segments[0]), lengths.iter().sum::<usize>() - 4);
}

#[test]
fn batches_of_a_row_get_their_offsets_and_large_ones_are_not_copied() {
    let batch = |size: usize| {
        let mut tail = Vec::new();
        record::tail::encode(&mut tail, None, Some(&vec![7; size]), [].into_iter());
        let mut builder = record::batch::Builder::new(types::Millis(1));
        (0..3).for_each(|_| builder.push(types::Millis(1), &tail));
        builder.finish()
    };
    let batches = [100, 5_000, 10, 4_000, 2_000].map(batch);
    let row = Bytes::from(batches.concat());
    let mut rows = Rows::new(6);
    rows.push(types::Offset(40), &row);
    rows.push(types::Offset(100), &batches[0]);
    // What is not whole is left out.
    rows.push(types::Offset(103), &batches[0].slice(..60));
    let records = rows.finish();
    let bytes = records.clone().into_bytes();
    assert_eq!((records.len(), bytes.len()), (row.len() + batches[0].len(), records.len()));
    let limits = record::batch::Limits { batch_bytes_max: 1 << 20, record_count_max: 9 };
    let found: Vec<(i64, i32)> = record::batch::Batches::new(bytes, limits)
        .map(|batch| batch.unwrap().0)
        .map(|header| (header.base_offset.0, header.leader_epoch))
        .collect();
    assert_eq!(found, [40, 43, 46, 49, 52, 100].map(|offset| (offset, 6)));
    let partition = FetchedPartition { records: Some(records), ..FetchedPartition::default() };
    let topic = FetchedTopic { partitions: vec![partition], ..FetchedTopic::default() };
    let response = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
    let segments = encode_response(1, 12, &response);
    let shared = segments.iter().filter(|one| row.as_ptr_range().contains(&one.as_ptr()));
    assert_eq!(shared.count(), 2);
}

proptest! {
    #[test]
    fn a_fetch_response_in_segments_is_what_the_oracle_writes(
        batches in prop::collection::vec(0_usize..3_000, 0..5),
        partitions in 0_usize..4,
        version in 4_i16..=18,
    ) {
        let response = fetched(&batches, partitions);
        let ours = joined(encode_response(1, version, &response));
        prop_assert_eq!(length(&ours), ours.len() - 4);
        let header_bytes = if version >= 12 { 9 } else { 8 };
        let mut body = ours.slice(header_bytes..);
        let theirs = <theirs::FetchResponse as kafka_protocol::protocol::Decodable>::decode(&mut body, version)
            .unwrap();
        prop_assert!(body.is_empty());
        let mut again = BytesMut::new();
        theirs.encode(&mut again, version).unwrap();
        prop_assert_eq!(&again[..], &ours[header_bytes..]);
    }
}
