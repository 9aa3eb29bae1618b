//! What there is: Metadata, DescribeTopicPartitions (KIP-966), DescribeCluster (KIP-700).

use super::super::schema::{schema, within};
use crate::errors::ErrorCode;
use uuid::Uuid;

schema! {
    /// Request of Metadata.
    message MetadataRequest key 3 [0..=13] flexible 9 {
        topics: Option<Vec<MetadataRequestTopic>> [0+] nullable [1+],
        allow_auto_topic_creation: bool [4+] = true,
        include_cluster_authorized_operations: bool [8-10],
        include_topic_authorized_operations: bool [8+],
    }

    /// The topics to fetch metadata for.
    part MetadataRequestTopic {
        topic_id: Uuid [10+],
        name: Option<String> [0+] nullable [10+],
    }

    /// Response of Metadata.
    message MetadataResponse key 3 [0..=13] flexible 9 {
        throttle_time_ms: i32 [3+],
        brokers: Vec<MetadataResponseBroker> [0+],
        cluster_id: Option<String> [2+] nullable [2+],
        controller_id: i32 [1+] = -1,
        topics: Vec<MetadataResponseTopic> [0+],
        cluster_authorized_operations: i32 [8-10] = i32::MIN,
        error_code: ErrorCode [13+],
    }

    /// A list of brokers present in the cluster.
    part MetadataResponseBroker {
        node_id: i32 [0+],
        host: String [0+],
        port: i32 [0+],
        rack: Option<String> [1+] nullable [1+],
    }

    /// Each topic in the response.
    part MetadataResponseTopic {
        error_code: ErrorCode [0+],
        name: Option<String> [0+] nullable [12+],
        topic_id: Uuid [10+],
        is_internal: bool [1+],
        partitions: Vec<MetadataResponsePartition> [0+],
        topic_authorized_operations: i32 [8+] = i32::MIN,
    }

    /// Each partition in the topic.
    part MetadataResponsePartition {
        error_code: ErrorCode [0+],
        partition_index: i32 [0+],
        leader_id: i32 [0+],
        leader_epoch: i32 [7+] = -1,
        replica_nodes: Vec<i32> [0+],
        isr_nodes: Vec<i32> [0+],
        offline_replicas: Vec<i32> [5+],
    }

    /// Request of DescribeTopicPartitions.
    message DescribeTopicPartitionsRequest key 75 [0..=0] flexible 0 {
        topics: Vec<TopicRequest> [0+],
        response_partition_limit: i32 [0+] = 2000,
        cursor: Option<Cursor> [0+] nullable [0+],
    }

    /// The topics to fetch details for.
    part TopicRequest {
        name: String [0+],
    }

    /// The first topic and partition index to fetch details for.
    part Cursor {
        topic_name: String [0+],
        partition_index: i32 [0+],
    }

    /// Response of DescribeTopicPartitions.
    message DescribeTopicPartitionsResponse key 75 [0..=0] flexible 0 {
        throttle_time_ms: i32 [0+],
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0+],
        next_cursor: Option<Cursor> [0+] nullable [0+],
    }

    /// Each topic in the response.
    part DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode [0+],
        name: Option<String> [0+] nullable [0+],
        topic_id: Uuid [0+],
        is_internal: bool [0+],
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0+],
        topic_authorized_operations: i32 [0+] = i32::MIN,
    }

    /// Each partition in the topic.
    part DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode [0+],
        partition_index: i32 [0+],
        leader_id: i32 [0+],
        leader_epoch: i32 [0+] = -1,
        replica_nodes: Vec<i32> [0+],
        isr_nodes: Vec<i32> [0+],
        eligible_leader_replicas: Option<Vec<i32>> [0+] nullable [0+],
        last_known_elr: Option<Vec<i32>> [0+] nullable [0+],
        offline_replicas: Vec<i32> [0+],
    }

    /// Request of DescribeCluster.
    message DescribeClusterRequest key 60 [0..=2] flexible 0 {
        include_cluster_authorized_operations: bool [0+],
        endpoint_type: i8 [1+] = 1,
        include_fenced_brokers: bool [2+],
    }

    /// Response of DescribeCluster.
    message DescribeClusterResponse key 60 [0..=2] flexible 0 {
        throttle_time_ms: i32 [0+],
        error_code: ErrorCode [0+],
        error_message: Option<String> [0+] nullable [0+],
        endpoint_type: i8 [1+] = 1,
        cluster_id: String [0+],
        controller_id: i32 [0+] = -1,
        brokers: Vec<DescribeClusterBroker> [0+],
        cluster_authorized_operations: i32 [0+] = i32::MIN,
    }

    /// Each broker in the response.
    part DescribeClusterBroker {
        broker_id: i32 [0+],
        host: String [0+],
        port: i32 [0+],
        rack: Option<String> [0+] nullable [0+],
        is_fenced: bool [2+],
    }
}
