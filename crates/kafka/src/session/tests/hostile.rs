use super::client::{Broker, batch, produce_request};
use crate::codec::encode_request;
use crate::codec::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::codec::messages::identity::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::errors::ErrorCode;
use proptest::prelude::*;

#[test]
fn what_cannot_be_a_request_ends_the_connection() {
    let broker = Broker::new();
    let cases: [(&str, &[u8]); 7] = [
        ("a negative length", &[0xff, 0xff, 0xff, 0xff]),
        ("a length too short", &[0, 0, 0, 7, 0, 18, 0, 0, 0, 0, 0]),
        ("a length too long", &[0x10, 0, 0, 0, 0, 3]),
        ("a produce too long", &[0x10, 0, 0, 0, 0, 0]),
        ("an unknown api", &[0, 0, 0, 10, 0, 99, 0, 0, 0, 0, 0, 1, 0, 0]),
        ("an unknown version", &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0, 0]),
        ("a body that ends early", &[0, 0, 0, 12, 0, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]),
    ];
    for (what, bytes) in cases {
        let mut client = broker.client();
        client.send_bytes(bytes);
        assert!(client.closed(), "{what}");
    }
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let request = produce_request("events", 0, batch(&["a"]), -1);
    for byte in encode_request(77, None, 9, &request).concat() {
        client.send_bytes(&[byte]);
    }
    let response: crate::codec::messages::produce::ProduceResponse = client.receive(9, 77);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
}

#[test]
fn versions_are_told_also_to_a_client_of_the_future() {
    let broker = Broker::new();
    let mut client = broker.client();
    let request = ApiVersionsRequest {
        client_software_name: "tester".to_owned(),
        client_software_version: "1".to_owned(),
    };
    let response: ApiVersionsResponse = client.ask(3, &request);
    assert!(response.api_keys.len() > 20);
    // Version 9 of ApiVersions: answered with version 0.
    client.send_bytes(&[0, 0, 0, 11, 0, 18, 0, 9, 0, 0, 0, 5, 0xff, 0xff, 0]);
    let response: ApiVersionsResponse = client.receive(0, 5);
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
}

#[test]
fn authentication_is_refused() {
    let broker = Broker::new();
    let mut client = broker.client();
    let request = SaslHandshakeRequest { mechanism: "PLAIN".to_owned() };
    let response: SaslHandshakeResponse = client.ask(1, &request);
    assert_eq!(response.error_code, ErrorCode::ILLEGAL_SASL_STATE);
}

#[test]
fn random_requests_do_no_harm() {
    let broker = Broker::new();
    let keys: Vec<i16> = crate::apis::APIS.iter().map(|api| api.key as i16).collect();
    let request = (0..keys.len(), 0i16..=18, prop::collection::vec(any::<u8>(), 0..200));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&prop::collection::vec(request, 1..8), |requests| {
            let mut client = broker.client();
            for (key, version, body) in requests {
                let length = i32::try_from(body.len()).unwrap() + 10;
                let mut frame = length.to_be_bytes().to_vec();
                frame.extend(keys[key].to_be_bytes());
                frame.extend(version.to_be_bytes());
                frame.extend([0, 0, 0, 1, 0, 0]);
                frame.extend(body);
                client.send_bytes(&frame);
            }
            client.has_answer();
            Ok(())
        })
        .unwrap();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    assert_eq!(client.produce("events", 0, batch(&["a"])).error_code, ErrorCode::NONE);
}

#[test]
fn changes_larger_than_a_frame_are_refused_and_do_no_harm() {
    use super::groups::{GROUP, committed};
    use crate::codec::messages::offsets::{
        OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        OffsetCommitResponse,
    };
    use crate::codec::messages::topics::{
        CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
    };
    let broker = Broker::new();
    let mut client = broker.client();
    let long = CreatableTopicConfig {
        name: "follower.replication.throttled.replicas".to_owned(),
        value: Some("x".repeat(7 << 20)),
    };
    let topic = CreatableTopic {
        name: "long".to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![long],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let response: CreateTopicsResponse = client.ask(5, &request);
    assert_eq!(response.topics[0].error_code, ErrorCode::MESSAGE_TOO_LARGE);
    client.create("wide", 600, &[]);
    let commit = |partitions| {
        let partition = |partition_index| OffsetCommitRequestPartition {
            partition_index,
            committed_offset: 9,
            committed_metadata: Some("x".repeat(4096)),
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: "wide".to_owned(),
            partitions: (0..partitions).map(partition).collect(),
        };
        OffsetCommitRequest {
            group_id: GROUP.to_owned(),
            topics: vec![topic],
            ..Default::default()
        }
    };
    let response: OffsetCommitResponse = client.ask(8, &commit(600));
    let refused = ErrorCode::OFFSET_METADATA_TOO_LARGE;
    assert_eq!(response.topics[0].partitions[0].error_code, refused);
    // Each is small enough, and all of them at once are not.
    let ids: Vec<i32> = (0..8).map(|_| client.send(8, &commit(200))).collect();
    for id in ids {
        let response: OffsetCommitResponse = client.receive(8, id);
        let code = response.topics[0].partitions[0].error_code;
        assert!(
            [ErrorCode::NONE, ErrorCode::COORDINATOR_NOT_AVAILABLE].contains(&code),
            "{code:?}"
        );
    }
    assert_eq!(committed(&mut client, "wide").0, 9);
}
