//! Fetch: record batches out (KIP-227 sessions, KIP-516 topic ids).

use super::super::schema::{schema, within};
use crate::codec::Records;
use crate::errors::ErrorCode;
use uuid::Uuid;

schema! {
    /// Request of Fetch.
    message FetchRequest key 1 [4..=18] flexible 12 {
        cluster_id: Option<String> [12+] nullable [12+] tag 0,
        replica_id: i32 [0-14] = -1,
        replica_state: ReplicaState [15+] tag 1,
        max_wait_ms: i32 [0+],
        min_bytes: i32 [0+],
        max_bytes: i32 [3+] = i32::MAX,
        isolation_level: i8 [4+],
        session_id: i32 [7+],
        session_epoch: i32 [7+] = -1,
        topics: Vec<FetchTopic> [0+],
        forgotten_topics_data: Vec<ForgottenTopic> [7+],
        rack_id: String [11+],
    }

    /// The follower that fetches.
    part ReplicaState {
        replica_id: i32 [15+] = -1,
        replica_epoch: i64 [15+] = -1,
    }

    /// The topics to fetch.
    part FetchTopic {
        topic: String [0-12],
        topic_id: Uuid [13+],
        partitions: Vec<FetchPartition> [0+],
    }

    /// In an incremental fetch request, the partitions to remove.
    part ForgottenTopic {
        topic: String [7-12],
        topic_id: Uuid [13+],
        partitions: Vec<i32> [7+],
    }

    /// The partitions to fetch.
    part FetchPartition {
        partition: i32 [0+],
        current_leader_epoch: i32 [9+] = -1,
        fetch_offset: i64 [0+],
        last_fetched_epoch: i32 [12+] = -1,
        log_start_offset: i64 [5+] = -1,
        partition_max_bytes: i32 [0+],
        replica_directory_id: Uuid [17+] tag 0,
        high_watermark: i64 [18+] tag 1 = i64::MAX,
    }

    /// Response of Fetch.
    message FetchResponse key 1 [4..=18] flexible 12 {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [7+],
        session_id: i32 [7+],
        responses: Vec<FetchedTopic> [0+],
        node_endpoints: Vec<NodeEndpoint> [16+] tag 0,
    }

    /// The response topics.
    part FetchedTopic {
        topic: String [0-12],
        topic_id: Uuid [13+],
        partitions: Vec<FetchedPartition> [0+],
    }

    /// Where a current leader that the response names can be reached.
    part NodeEndpoint {
        node_id: i32 [16+],
        host: String [16+],
        port: i32 [16+],
        rack: Option<String> [16+] nullable [16+],
    }

    /// The topic partitions.
    part FetchedPartition {
        partition_index: i32 [0+],
        error_code: ErrorCode [0+],
        high_watermark: i64 [0+],
        last_stable_offset: i64 [4+] = -1,
        log_start_offset: i64 [5+] = -1,
        diverging_epoch: EpochEndOffset [12+] tag 0,
        current_leader: LeaderIdAndEpoch [12+] tag 1,
        snapshot_id: SnapshotId [12+] tag 2,
        aborted_transactions: Option<Vec<AbortedTransaction>> [4+] nullable [4+],
        preferred_read_replica: i32 [11+] = -1,
        records: Option<Records> [0+] nullable [0+],
    }

    /// The largest epoch, and its end offset, after which the logs differ.
    part EpochEndOffset {
        epoch: i32 [12+] = -1,
        end_offset: i64 [12+] = -1,
    }

    /// The current leader of a partition.
    part LeaderIdAndEpoch {
        leader_id: i32 [12+] = -1,
        leader_epoch: i32 [12+] = -1,
    }

    /// The snapshot to fetch instead of a truncated log.
    part SnapshotId {
        end_offset: i64 [0+] = -1,
        epoch: i32 [0+] = -1,
    }

    /// The aborted transactions.
    part AbortedTransaction {
        producer_id: i64 [4+],
        first_offset: i64 [4+],
    }
}
