//! Positions: ListOffsets, OffsetForLeaderEpoch, DeleteRecords, and what groups commit.

use super::super::schema::{schema, within};
use crate::errors::ErrorCode;

schema! {
    /// Request of ListOffsets.
    message ListOffsetsRequest key 2 [1..=10] flexible 6 {
        replica_id: i32 [0+],
        isolation_level: i8 [2+],
        topics: Vec<ListOffsetsTopic> [0+],
        timeout_ms: i32 [10+],
    }

    /// Each topic in the request.
    part ListOffsetsTopic {
        name: String [0+],
        partitions: Vec<ListOffsetsPartition> [0+],
    }

    /// Each partition in the request.
    part ListOffsetsPartition {
        partition_index: i32 [0+],
        current_leader_epoch: i32 [4+] = -1,
        timestamp: i64 [0+],
    }

    /// Response of ListOffsets.
    message ListOffsetsResponse key 2 [1..=10] flexible 6 {
        throttle_time_ms: i32 [2+],
        topics: Vec<ListOffsetsTopicResponse> [0+],
    }

    /// Each topic in the response.
    part ListOffsetsTopicResponse {
        name: String [0+],
        partitions: Vec<ListOffsetsPartitionResponse> [0+],
    }

    /// Each partition in the response.
    part ListOffsetsPartitionResponse {
        partition_index: i32 [0+],
        error_code: ErrorCode [0+],
        timestamp: i64 [1+] = -1,
        offset: i64 [1+] = -1,
        leader_epoch: i32 [4+] = -1,
    }

    /// Request of OffsetForLeaderEpoch.
    message OffsetForLeaderEpochRequest key 23 [2..=4] flexible 4 {
        replica_id: i32 [3+] = -2,
        topics: Vec<OffsetForLeaderTopic> [0+],
    }

    /// Each topic to get offsets for.
    part OffsetForLeaderTopic {
        topic: String [0+],
        partitions: Vec<OffsetForLeaderPartition> [0+],
    }

    /// Each partition to get offsets for.
    part OffsetForLeaderPartition {
        partition: i32 [0+],
        current_leader_epoch: i32 [2+] = -1,
        leader_epoch: i32 [0+],
    }

    /// Response of OffsetForLeaderEpoch.
    message OffsetForLeaderEpochResponse key 23 [2..=4] flexible 4 {
        throttle_time_ms: i32 [2+],
        topics: Vec<OffsetForLeaderTopicResult> [0+],
    }

    /// Each topic we fetched offsets for.
    part OffsetForLeaderTopicResult {
        topic: String [0+],
        partitions: Vec<LeaderEpochEndOffset> [0+],
    }

    /// Each partition in the topic we fetched offsets for.
    part LeaderEpochEndOffset {
        error_code: ErrorCode [0+],
        partition: i32 [0+],
        leader_epoch: i32 [1+] = -1,
        end_offset: i64 [0+] = -1,
    }

    /// Request of DeleteRecords.
    message DeleteRecordsRequest key 21 [0..=2] flexible 2 {
        topics: Vec<DeleteRecordsTopic> [0+],
        timeout_ms: i32 [0+],
    }

    /// Each topic that we want to delete records from.
    part DeleteRecordsTopic {
        name: String [0+],
        partitions: Vec<DeleteRecordsPartition> [0+],
    }

    /// Each partition that we want to delete records from.
    part DeleteRecordsPartition {
        partition_index: i32 [0+],
        offset: i64 [0+],
    }

    /// Response of DeleteRecords.
    message DeleteRecordsResponse key 21 [0..=2] flexible 2 {
        throttle_time_ms: i32 [0+],
        topics: Vec<DeleteRecordsTopicResult> [0+],
    }

    /// Each topic that we wanted to delete records from.
    part DeleteRecordsTopicResult {
        name: String [0+],
        partitions: Vec<DeleteRecordsPartitionResult> [0+],
    }

    /// Each partition that we wanted to delete records from.
    part DeleteRecordsPartitionResult {
        partition_index: i32 [0+],
        low_watermark: i64 [0+],
        error_code: ErrorCode [0+],
    }

    /// Request of OffsetCommit.
    message OffsetCommitRequest key 8 [2..=9] flexible 8 {
        group_id: String [0+],
        generation_id_or_member_epoch: i32 [1+] = -1,
        member_id: String [1+],
        group_instance_id: Option<String> [7+] nullable [7+],
        retention_time_ms: i64 [2-4] = -1,
        topics: Vec<OffsetCommitRequestTopic> [0+],
    }

    /// The topics to commit offsets for.
    part OffsetCommitRequestTopic {
        name: String [0+],
        partitions: Vec<OffsetCommitRequestPartition> [0+],
    }

    /// Each partition to commit offsets for.
    part OffsetCommitRequestPartition {
        partition_index: i32 [0+],
        committed_offset: i64 [0+],
        committed_leader_epoch: i32 [6+] = -1,
        committed_metadata: Option<String> [0+] nullable [0+],
    }

    /// Response of OffsetCommit.
    message OffsetCommitResponse key 8 [2..=9] flexible 8 {
        throttle_time_ms: i32 [3+],
        topics: Vec<OffsetCommitResponseTopic> [0+],
    }

    /// The responses for each topic.
    part OffsetCommitResponseTopic {
        name: String [0+],
        partitions: Vec<OffsetCommitResponsePartition> [0+],
    }

    /// The responses for each partition in the topic.
    part OffsetCommitResponsePartition {
        partition_index: i32 [0+],
        error_code: ErrorCode [0+],
    }

    /// Request of OffsetFetch.
    message OffsetFetchRequest key 9 [1..=9] flexible 6 {
        group_id: String [0-7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [0-7] nullable [2-7],
        groups: Vec<OffsetFetchRequestGroup> [8+],
        require_stable: bool [7+],
    }

    /// Each topic we would like to fetch offsets for, or null to fetch offsets for all topics.
    part OffsetFetchRequestTopic {
        name: String [0-7],
        partition_indexes: Vec<i32> [0-7],
    }

    /// Each group we would like to fetch offsets for.
    part OffsetFetchRequestGroup {
        group_id: String [8+],
        member_id: Option<String> [9+] nullable [9+],
        member_epoch: i32 [9+] = -1,
        topics: Option<Vec<OffsetFetchRequestTopics>> [8+] nullable [8+],
    }

    /// Each topic we would like to fetch offsets for, or null to fetch offsets for all topics.
    part OffsetFetchRequestTopics {
        name: String [8+],
        partition_indexes: Vec<i32> [8+],
    }

    /// Response of OffsetFetch.
    message OffsetFetchResponse key 9 [1..=9] flexible 6 {
        throttle_time_ms: i32 [3+],
        topics: Vec<OffsetFetchResponseTopic> [0-7],
        error_code: ErrorCode [2-7],
        groups: Vec<OffsetFetchResponseGroup> [8+],
    }

    /// The responses per topic.
    part OffsetFetchResponseTopic {
        name: String [0-7],
        partitions: Vec<OffsetFetchResponsePartition> [0-7],
    }

    /// The responses per group id.
    part OffsetFetchResponseGroup {
        group_id: String [8+],
        topics: Vec<OffsetFetchResponseTopics> [8+],
        error_code: ErrorCode [8+],
    }

    /// The responses per partition.
    part OffsetFetchResponsePartition {
        partition_index: i32 [0-7],
        committed_offset: i64 [0-7],
        committed_leader_epoch: i32 [5-7] = -1,
        metadata: Option<String> [0-7] nullable [0-7],
        error_code: ErrorCode [0-7],
    }

    /// The responses per topic.
    part OffsetFetchResponseTopics {
        name: String [8+],
        partitions: Vec<OffsetFetchResponsePartitions> [8+],
    }

    /// The responses per partition.
    part OffsetFetchResponsePartitions {
        partition_index: i32 [8+],
        committed_offset: i64 [8+],
        committed_leader_epoch: i32 [8+] = -1,
        metadata: Option<String> [8+] nullable [8+],
        error_code: ErrorCode [8+],
    }

    /// Request of OffsetDelete.
    message OffsetDeleteRequest key 47 [0..=0] flexible none {
        group_id: String [0+],
        topics: Vec<OffsetDeleteRequestTopic> [0+],
    }

    /// The topics to delete offsets for.
    part OffsetDeleteRequestTopic {
        name: String [0+],
        partitions: Vec<OffsetDeleteRequestPartition> [0+],
    }

    /// Each partition to delete offsets for.
    part OffsetDeleteRequestPartition {
        partition_index: i32 [0+],
    }

    /// Response of OffsetDelete.
    message OffsetDeleteResponse key 47 [0..=0] flexible none {
        error_code: ErrorCode [0+],
        throttle_time_ms: i32 [0+],
        topics: Vec<OffsetDeleteResponseTopic> [0+],
    }

    /// The responses for each topic.
    part OffsetDeleteResponseTopic {
        name: String [0+],
        partitions: Vec<OffsetDeleteResponsePartition> [0+],
    }

    /// The responses for each partition in the topic.
    part OffsetDeleteResponsePartition {
        partition_index: i32 [0+],
        error_code: ErrorCode [0+],
    }
}
