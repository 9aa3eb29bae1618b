use super::client::{Broker, Client, PORT, batch, texts};
use crate::codec::messages::configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResponse, AlterableConfig,
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse, IncrementalAlterableConfig,
};
use crate::codec::messages::metadata::{
    Cursor, DescribeClusterRequest, DescribeClusterResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, MetadataRequest, MetadataResponse,
};
use crate::codec::messages::offsets::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use crate::codec::messages::topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatePartitionsRequest,
    CreatePartitionsResponse, CreatePartitionsTopic, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::errors::ErrorCode;

fn topic(name: &str, partitions: i32, replication: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: replication,
        ..Default::default()
    }
}

fn create(client: &mut Client, topic: CreatableTopic) -> ErrorCode {
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let response: CreateTopicsResponse = client.ask(5, &request);
    let result = &response.topics[0];
    assert_eq!(result.error_message.is_some(), result.error_code != ErrorCode::NONE);
    result.error_code
}

#[test]
fn topics_are_created_as_asked_or_refused_with_the_reason() {
    let broker = Broker::new();
    let mut client = broker.client();
    let config = |name: &str, value: Option<&str>| CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        }],
        ..topic("configured", 1, 1)
    };
    let assigned = |partitions: &[i32], node: i32| CreatableTopic {
        assignments: partitions
            .iter()
            .map(|partition| CreatableReplicaAssignment {
                partition_index: *partition,
                broker_ids: vec![node],
            })
            .collect(),
        ..topic("assigned", -1, -1)
    };
    let cases = [
        (topic("plain", 3, 1), ErrorCode::NONE),
        (topic("default", -1, -1), ErrorCode::NONE),
        (topic("plain", 3, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("a/b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("none", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("many", 1_000_000, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("copies", 1, 3), ErrorCode::INVALID_REPLICATION_FACTOR),
        (assigned(&[0, 2], 0), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[0, 1], 7), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[1, 0], 0), ErrorCode::NONE),
        (config("retention.ms", Some("soon")), ErrorCode::INVALID_CONFIG),
        (config("retention.ms", None), ErrorCode::INVALID_CONFIG),
        (config("cleanup.policy", Some("compact")), ErrorCode::INVALID_CONFIG),
        (config("no.such.thing", Some("1")), ErrorCode::INVALID_CONFIG),
        (config("retention.ms", Some("1000000000")), ErrorCode::NONE),
        (topic("dotted.name", 1, 1), ErrorCode::NONE),
        (topic("dotted_name", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
    ];
    for (topic, code) in cases {
        assert_eq!(create(&mut client, topic.clone()), code, "{topic:?}");
    }
    assert_eq!(client.metadata("plain", false).partitions.len(), 3);
    assert_eq!(client.metadata("default", false).partitions.len(), 1);
    assert_eq!(client.metadata("assigned", false).partitions.len(), 2);
}

#[test]
fn a_creation_that_is_only_checked_creates_nothing() {
    let broker = Broker::new();
    let mut client = broker.client();
    let request = CreateTopicsRequest {
        topics: vec![topic("checked", 4, 1), topic("twice", 1, 1), topic("twice", 1, 1)],
        validate_only: true,
        ..Default::default()
    };
    let response: CreateTopicsResponse = client.ask(7, &request);
    let results: Vec<(ErrorCode, i32)> =
        response.topics.iter().map(|topic| (topic.error_code, topic.num_partitions)).collect();
    let twice = (ErrorCode::INVALID_REQUEST, -1);
    assert_eq!(results, [(ErrorCode::NONE, 4), twice, twice]);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(client.metadata("checked", false).error_code, unknown);
}

#[test]
fn topics_go_by_name_and_by_id() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("one", 1, &[]);
    client.create("two", 1, &[]);
    let topic_id = client.metadata("two", false).topic_id;
    let state =
        |name: Option<&str>, topic_id| DeleteTopicState { name: name.map(str::to_owned), topic_id };
    let topics = vec![
        state(Some("one"), Default::default()),
        state(None, topic_id),
        state(None, Default::default()),
    ];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    let response: DeleteTopicsResponse = client.ask(6, &request);
    let results: Vec<(Option<&str>, ErrorCode)> =
        response.responses.iter().map(|topic| (topic.name.as_deref(), topic.error_code)).collect();
    let missing = (None, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(results, [(Some("one"), ErrorCode::NONE), (Some("two"), ErrorCode::NONE), missing]);
    let all: MetadataResponse =
        client.ask(12, &MetadataRequest { topics: None, ..Default::default() });
    assert!(all.topics.is_empty());
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 2, &[]);
    let add = |client: &mut Client, count| {
        let topic = CreatePartitionsTopic { name: "events".to_owned(), count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
        let response: CreatePartitionsResponse = client.ask(3, &request);
        response.results[0].error_code
    };
    assert_eq!(add(&mut client, 5), ErrorCode::NONE);
    assert_eq!(add(&mut client, 5), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(add(&mut client, 1), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(client.produce("events", 4, batch(&["a"])).error_code, ErrorCode::NONE);
}

fn config_of(client: &mut Client, topic: &str, name: &str) -> (String, i8) {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 2,
            resource_name: topic.to_owned(),
            configuration_keys: Some(vec![name.to_owned()]),
        }],
        ..Default::default()
    };
    let response: DescribeConfigsResponse = client.ask(4, &request);
    let config = &response.results[0].configs[0];
    (config.value.clone().unwrap(), config.config_source)
}

#[test]
fn configurations_are_altered_and_shown() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let edit = |operation, name: &str, value: Option<&str>| IncrementalAlterableConfig {
        name: name.to_owned(),
        config_operation: operation,
        value: value.map(str::to_owned),
    };
    let alter = |client: &mut Client, configs| {
        let resource = IncrementalAlterConfigsResource {
            resource_type: 2,
            resource_name: "events".to_owned(),
            configs,
        };
        let request =
            IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let response: IncrementalAlterConfigsResponse = client.ask(1, &request);
        response.responses[0].error_code
    };
    let default = ("604800000".to_owned(), 5);
    assert_eq!(config_of(&mut client, "events", "retention.ms"), default);
    let steps = vec![edit(0, "retention.ms", Some("5000")), edit(0, "segment.ms", Some("7"))];
    assert_eq!(alter(&mut client, steps), ErrorCode::NONE);
    assert_eq!(config_of(&mut client, "events", "retention.ms"), ("5000".to_owned(), 1));
    assert_eq!(alter(&mut client, vec![edit(1, "retention.ms", None)]), ErrorCode::NONE);
    assert_eq!(config_of(&mut client, "events", "retention.ms"), default);
    assert_eq!(config_of(&mut client, "events", "segment.ms"), ("7".to_owned(), 1));
    let compact = vec![edit(0, "cleanup.policy", Some("compact"))];
    assert_eq!(alter(&mut client, compact), ErrorCode::INVALID_CONFIG);
    let resource = AlterConfigsResource {
        resource_type: 2,
        resource_name: "events".to_owned(),
        configs: vec![AlterableConfig {
            name: "retention.bytes".to_owned(),
            value: Some("77".to_owned()),
        }],
    };
    let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response: AlterConfigsResponse = client.ask(2, &request);
    assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
    assert_eq!(config_of(&mut client, "events", "retention.bytes"), ("77".to_owned(), 1));
    assert_eq!(config_of(&mut client, "events", "segment.ms").1, 5, "replaced as a whole");
}

#[test]
fn the_broker_shows_its_configuration_and_keeps_it() {
    let broker = Broker::new();
    let mut client = broker.client();
    let resource = |name: &str, resource_type| DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource("0", 4), resource("9", 4), resource("x", 77), resource("x", 2)],
        ..Default::default()
    };
    let response: DescribeConfigsResponse = client.ask(1, &request);
    let codes: Vec<ErrorCode> = response.results.iter().map(|result| result.error_code).collect();
    let (invalid, unknown) = (ErrorCode::INVALID_REQUEST, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(codes, [ErrorCode::NONE, invalid, invalid, unknown]);
    assert!(response.results[0].configs.iter().all(|config| config.read_only));
    let shown = |name: &str| {
        let mut configs = response.results[0].configs.iter();
        configs.find(|config| config.name == name).and_then(|config| config.value.clone())
    };
    assert_eq!(shown("advertised.listeners"), Some(format!("PLAINTEXT://127.0.0.1:{PORT}")));
    assert_eq!(shown("connections.max.idle.ms"), Some("600000".to_owned()));
    let resource = AlterConfigsResource {
        resource_type: 4,
        resource_name: "0".to_owned(),
        configs: Vec::new(),
    };
    let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response: AlterConfigsResponse = client.ask(2, &request);
    assert_eq!(response.responses[0].error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn the_brokers_largest_message_holds_for_topics_that_set_none() {
    let mut broker = Broker::new();
    broker.options.message_bytes_max = 300;
    let mut client = broker.client();
    client.create("usual", 1, &[]);
    client.create("own", 1, &[("max.message.bytes", "2000")]);
    assert_eq!(config_of(&mut client, "usual", "max.message.bytes"), ("300".to_owned(), 4));
    assert_eq!(config_of(&mut client, "own", "max.message.bytes"), ("2000".to_owned(), 1));
    let large = "x".repeat(400);
    let refused = client.produce("usual", 0, batch(&[&large]));
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    let taken = client.produce("own", 0, batch(&[&large]));
    assert_eq!(taken.error_code, ErrorCode::NONE);
}

#[test]
fn records_are_deleted_from_the_start() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    for value in ["a", "b", "c", "d"] {
        client.produce("events", 0, batch(&[value]));
    }
    let delete = |client: &mut Client, offset| {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
        let topic = DeleteRecordsTopic { name: "events".to_owned(), partitions };
        let request = DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
        let response: DeleteRecordsResponse = client.ask(2, &request);
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    };
    assert_eq!(delete(&mut client, 2), (ErrorCode::NONE, 2));
    assert_eq!(client.fetch("events", 0, 0).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(texts(&client.fetch("events", 0, 2)), ["c", "d"]);
    assert_eq!(delete(&mut client, 9), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut client, -1), (ErrorCode::NONE, 4));
}

#[test]
fn the_cluster_is_this_broker() {
    let broker = Broker::new();
    let mut client = broker.client();
    let response: DescribeClusterResponse = client.ask(2, &DescribeClusterRequest::default());
    assert_eq!((&*response.cluster_id, response.controller_id), ("crossdock", 0));
    let node = &response.brokers[0];
    assert_eq!((&*node.host, node.port), ("127.0.0.1", i32::from(PORT)));
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let response: DescribeClusterResponse = client.ask(2, &controllers);
    assert_eq!(response.error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE);
}

#[test]
fn an_advertised_address_is_told_instead() {
    let mut broker = Broker::new();
    broker.options.advertised = Some(("broker.example".to_owned(), 19_092));
    let mut client = broker.client();
    let response: MetadataResponse = client.ask(9, &MetadataRequest::default());
    let node = &response.brokers[0];
    assert_eq!((&*node.host, node.port), ("broker.example", 19_092));
}

#[test]
fn metadata_creates_only_where_both_sides_agree() {
    let mut broker = Broker::new();
    let mut client = broker.client();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(client.metadata("events", false).error_code, unknown);
    assert_eq!(client.metadata("a b", true).error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    broker.options.auto_create_topics = false;
    assert_eq!(broker.client().metadata("events", true).error_code, unknown);
    assert_eq!(client.metadata("events", true).error_code, ErrorCode::NONE);
}

#[test]
fn every_version_of_metadata_is_answered() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 2, &[]);
    for version in 0..=13 {
        let request = MetadataRequest {
            topics: (version > 0).then(Vec::new).or(Some(Vec::new())),
            ..Default::default()
        };
        let response: MetadataResponse = client.ask(version, &request);
        assert_eq!(response.brokers.len(), 1, "version {version}");
        assert_eq!(response.topics.len(), usize::from(version == 0), "version {version}");
    }
}

#[test]
fn partitions_are_described_in_pages() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("a", 3, &[]);
    client.create("b", 2, &[]);
    let mut cursor: Option<Cursor> = None;
    let mut pages = Vec::new();
    loop {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 2,
            cursor,
            ..Default::default()
        };
        let response: DescribeTopicPartitionsResponse = client.ask(0, &request);
        let page: Vec<(String, Vec<i32>)> = response
            .topics
            .into_iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|p| p.partition_index).collect();
                (topic.name.unwrap(), partitions)
            })
            .collect();
        pages.push(page);
        cursor = response.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let (a, b) = ("a".to_owned(), "b".to_owned());
    let want = [
        vec![(a.clone(), vec![0, 1])],
        vec![(a, vec![2]), (b.clone(), vec![0])],
        vec![(b, vec![1])],
    ];
    assert_eq!(pages, want);
}

#[test]
fn the_store_tells_how_large_each_partition_is() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 2, &[]);
    let bytes = batch(&["a"]);
    client.produce("events", 1, bytes.clone());
    let request = DescribeLogDirsRequest { topics: None };
    let response: DescribeLogDirsResponse = client.ask(4, &request);
    let sizes: Vec<i64> =
        response.results[0].topics[0].partitions.iter().map(|p| p.partition_size).collect();
    assert_eq!(sizes, [0, i64::try_from(bytes.len()).unwrap()]);
}
