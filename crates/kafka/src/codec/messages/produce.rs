//! Produce: record batches in, their offsets out.

use super::super::schema::{schema, within};
use crate::codec::Records;
use crate::errors::ErrorCode;
use uuid::Uuid;

schema! {
    /// Request of Produce.
    message ProduceRequest key 0 [3..=13] flexible 9 {
        transactional_id: Option<String> [3+] nullable [3+],
        acks: i16 [0+],
        timeout_ms: i32 [0+],
        topic_data: Vec<ProduceTopic> [0+],
    }

    /// Each topic to produce to.
    part ProduceTopic {
        name: String [0-12],
        topic_id: Uuid [13+],
        partition_data: Vec<ProducePartition> [0+],
    }

    /// Each partition to produce to.
    part ProducePartition {
        index: i32 [0+],
        records: Option<Records> [0+] nullable [0+],
    }

    /// Response of Produce.
    message ProduceResponse key 0 [3..=13] flexible 9 {
        responses: Vec<ProducedTopic> [0+],
        throttle_time_ms: i32 [1+],
        node_endpoints: Vec<NodeEndpoint> [10+] tag 0,
    }

    /// Each produce response.
    part ProducedTopic {
        name: String [0-12],
        topic_id: Uuid [13+],
        partition_responses: Vec<ProducedPartition> [0+],
    }

    /// Where a current leader that the response names can be reached.
    part NodeEndpoint {
        node_id: i32 [10+],
        host: String [10+],
        port: i32 [10+],
        rack: Option<String> [10+] nullable [10+],
    }

    /// Each partition that we produced to within the topic.
    part ProducedPartition {
        index: i32 [0+],
        error_code: ErrorCode [0+],
        base_offset: i64 [0+],
        log_append_time_ms: i64 [2+] = -1,
        log_start_offset: i64 [5+] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [8+],
        error_message: Option<String> [8+] nullable [8+],
        current_leader: LeaderIdAndEpoch [10+] tag 0,
    }

    /// The batch indices of records that caused the batch to be dropped.
    part BatchIndexAndErrorMessage {
        batch_index: i32 [8+],
        batch_index_error_message: Option<String> [8+] nullable [8+],
    }

    /// The current leader of a partition.
    part LeaderIdAndEpoch {
        leader_id: i32 [10+] = -1,
        leader_epoch: i32 [10+] = -1,
    }
}
