//! Topics and partitions made and removed.

use super::super::schema::{schema, within};
use crate::errors::ErrorCode;
use uuid::Uuid;

schema! {
    /// Request of CreateTopics.
    message CreateTopicsRequest key 19 [2..=7] flexible 5 {
        topics: Vec<CreatableTopic> [0+],
        timeout_ms: i32 [0+] = 60000,
        validate_only: bool [1+],
    }

    /// The topics to create.
    part CreatableTopic {
        name: String [0+],
        num_partitions: i32 [0+],
        replication_factor: i16 [0+],
        assignments: Vec<CreatableReplicaAssignment> [0+],
        configs: Vec<CreatableTopicConfig> [0+],
    }

    /// The manual assignment of one partition.
    part CreatableReplicaAssignment {
        partition_index: i32 [0+],
        broker_ids: Vec<i32> [0+],
    }

    /// The custom topic configurations to set.
    part CreatableTopicConfig {
        name: String [0+],
        value: Option<String> [0+] nullable [0+],
    }

    /// Response of CreateTopics.
    message CreateTopicsResponse key 19 [2..=7] flexible 5 {
        throttle_time_ms: i32 [2+],
        topics: Vec<CreatableTopicResult> [0+],
    }

    /// Results for each topic we tried to create.
    part CreatableTopicResult {
        name: String [0+],
        topic_id: Uuid [7+],
        error_code: ErrorCode [0+],
        error_message: Option<String> [1+] nullable [0+],
        topic_config_error_code: ErrorCode [5+] tag 0,
        num_partitions: i32 [5+] = -1,
        replication_factor: i16 [5+] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5+] nullable [5+],
    }

    /// Configuration of the topic.
    part CreatableTopicConfigs {
        name: String [5+],
        value: Option<String> [5+] nullable [5+],
        read_only: bool [5+],
        config_source: i8 [5+] = -1,
        is_sensitive: bool [5+],
    }

    /// Request of DeleteTopics.
    message DeleteTopicsRequest key 20 [1..=6] flexible 4 {
        topics: Vec<DeleteTopicState> [6+],
        topic_names: Vec<String> [0-5],
        timeout_ms: i32 [0+],
    }

    /// The name or topic ID of the topic.
    part DeleteTopicState {
        name: Option<String> [6+] nullable [6+],
        topic_id: Uuid [6+],
    }

    /// Response of DeleteTopics.
    message DeleteTopicsResponse key 20 [1..=6] flexible 4 {
        throttle_time_ms: i32 [1+],
        responses: Vec<DeletableTopicResult> [0+],
    }

    /// The results for each topic we tried to delete.
    part DeletableTopicResult {
        name: Option<String> [0+] nullable [6+],
        topic_id: Uuid [6+],
        error_code: ErrorCode [0+],
        error_message: Option<String> [5+] nullable [5+],
    }

    /// Request of CreatePartitions.
    message CreatePartitionsRequest key 37 [0..=3] flexible 2 {
        topics: Vec<CreatePartitionsTopic> [0+],
        timeout_ms: i32 [0+],
        validate_only: bool [0+],
    }

    /// Each topic that we want to create new partitions inside.
    part CreatePartitionsTopic {
        name: String [0+],
        count: i32 [0+],
        assignments: Option<Vec<CreatePartitionsAssignment>> [0+] nullable [0+],
    }

    /// The new partition assignments.
    part CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0+],
    }

    /// Response of CreatePartitions.
    message CreatePartitionsResponse key 37 [0..=3] flexible 2 {
        throttle_time_ms: i32 [0+],
        results: Vec<CreatePartitionsTopicResult> [0+],
    }

    /// The partition creation results for each topic.
    part CreatePartitionsTopicResult {
        name: String [0+],
        error_code: ErrorCode [0+],
        error_message: Option<String> [0+] nullable [0+],
    }
}
