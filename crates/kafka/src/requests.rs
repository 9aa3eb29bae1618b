//! The requests: each is decoded, carried out by operations of the engine, and answered.

mod address;
mod configs;
mod fetch;
mod group_admin;
mod groups;
mod metadata;
mod offsets;
mod positions;
mod produce;
mod topics;

use crate::apis::ApiKey;
use crate::codec::messages::identity::{
    InitProducerIdRequest, InitProducerIdResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use crate::codec::messages::metadata as metadata_messages;
use crate::codec::messages::{
    api_versions::ApiVersionsRequest, configs as configs_messages, fetch::FetchRequest,
    group_admin as group_messages, membership, offsets as offset_messages, produce::ProduceRequest,
    topics as topic_messages,
};
use crate::codec::{Malformed, RequestHeader, decode};
use crate::errors::{self, ErrorCode};
use crate::session::{Answer, Step, Turn};
use bytes::Bytes;
use engine::api::{Op, Reply};
use engine::catalog::{NAMESPACE_DEFAULT, Names, Stream, TopicId};
use types::LogRef;
use uuid::Uuid;

/// The namespace that Kafka clients live in.
const NAMESPACE: &str = NAMESPACE_DEFAULT;

/// The only leader epoch there is so far.
const LEADER_EPOCH: i32 = 0;

/// Begins a request whose body starts at `header.body_at` of `frame`.
#[expect(clippy::too_many_lines, reason = "one line for each kind of request")]
pub(crate) fn begin(
    turn: &mut Turn<'_, '_>,
    frame: &Bytes,
    header: &RequestHeader<'_>,
) -> Result<Step, Malformed> {
    let (at, version) = (header.body_at, header.version);
    macro_rules! body {
        ($message:ty) => {
            decode::<$message>(frame, at, version)?
        };
    }
    let step = match header.api.key {
        ApiKey::Produce => produce::produce(turn, body!(ProduceRequest)),
        ApiKey::Fetch => fetch::fetch(turn, &body!(FetchRequest)),
        ApiKey::ListOffsets => {
            positions::list_offsets(turn, body!(offset_messages::ListOffsetsRequest))
        }
        ApiKey::OffsetForLeaderEpoch => {
            positions::epoch_ends(turn, body!(offset_messages::OffsetForLeaderEpochRequest))
        }
        ApiKey::DeleteRecords => {
            positions::delete_records(turn, body!(offset_messages::DeleteRecordsRequest))
        }
        ApiKey::Metadata => metadata::metadata(turn, body!(metadata_messages::MetadataRequest)),
        ApiKey::DescribeTopicPartitions => metadata::describe_partitions(
            turn,
            &body!(metadata_messages::DescribeTopicPartitionsRequest),
        ),
        ApiKey::DescribeCluster => {
            address::describe_cluster(turn, &body!(metadata_messages::DescribeClusterRequest))
        }
        ApiKey::FindCoordinator => {
            address::find_coordinator(turn, body!(membership::FindCoordinatorRequest))
        }
        ApiKey::JoinGroup => {
            groups::join(turn, header.client_id, body!(membership::JoinGroupRequest))
        }
        ApiKey::SyncGroup => groups::sync(turn, body!(membership::SyncGroupRequest)),
        ApiKey::Heartbeat => groups::heartbeat(turn, body!(membership::HeartbeatRequest)),
        ApiKey::LeaveGroup => groups::leave(turn, body!(membership::LeaveGroupRequest)),
        ApiKey::OffsetCommit => offsets::commit(turn, body!(offset_messages::OffsetCommitRequest)),
        ApiKey::OffsetFetch => offsets::fetch(turn, body!(offset_messages::OffsetFetchRequest)),
        ApiKey::OffsetDelete => offsets::delete(turn, body!(offset_messages::OffsetDeleteRequest)),
        ApiKey::DescribeGroups => {
            group_admin::describe(turn, body!(group_messages::DescribeGroupsRequest))
        }
        ApiKey::ListGroups => group_admin::list(turn, body!(group_messages::ListGroupsRequest)),
        ApiKey::DeleteGroups => {
            group_admin::delete(turn, body!(group_messages::DeleteGroupsRequest))
        }
        ApiKey::CreateTopics => topics::create(turn, body!(topic_messages::CreateTopicsRequest)),
        ApiKey::DeleteTopics => topics::delete(turn, body!(topic_messages::DeleteTopicsRequest)),
        ApiKey::CreatePartitions => {
            topics::add_partitions(turn, body!(topic_messages::CreatePartitionsRequest))
        }
        ApiKey::DescribeConfigs => {
            configs::describe(turn, &body!(configs_messages::DescribeConfigsRequest))
        }
        ApiKey::AlterConfigs => {
            configs::replace(turn, body!(configs_messages::AlterConfigsRequest))
        }
        ApiKey::IncrementalAlterConfigs => {
            configs::alter(turn, body!(configs_messages::IncrementalAlterConfigsRequest))
        }
        ApiKey::DescribeLogDirs => {
            positions::log_dirs(turn, &body!(configs_messages::DescribeLogDirsRequest))
        }
        ApiKey::InitProducerId => init_producer_id(turn, &body!(InitProducerIdRequest)),
        ApiKey::ApiVersions => {
            let request = body!(ApiVersionsRequest);
            turn.answer(&crate::api_versions::api_versions(&request, version))
        }
        ApiKey::SaslHandshake => turn.answer(&SaslHandshakeResponse {
            error_code: ErrorCode::ILLEGAL_SASL_STATE,
            ..SaslHandshakeResponse::default()
        }),
        ApiKey::SaslAuthenticate => turn.answer(&SaslAuthenticateResponse {
            error_code: ErrorCode::ILLEGAL_SASL_STATE,
            error_message: Some("this listener takes no authentication".to_owned()),
            ..SaslAuthenticateResponse::default()
        }),
    };
    Ok(step)
}

/// Without transactions: their ids are refused with an error that clients do not retry.
fn init_producer_id(turn: &mut Turn<'_, '_>, request: &InitProducerIdRequest) -> Step {
    if request.transactional_id.is_some() {
        return turn.answer(&InitProducerIdResponse {
            error_code: ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            ..InitProducerIdResponse::default()
        });
    }
    Step::ask(vec![Op::AllocateProducer], |mut answers, turn| {
        let response = match answers.pop() {
            Some(Ok(Reply::Producer(producer_id))) => {
                InitProducerIdResponse { producer_id, ..InitProducerIdResponse::default() }
            }
            other => InitProducerIdResponse {
                error_code: group_failure(other.as_ref()),
                ..InitProducerIdResponse::default()
            },
        };
        turn.answer(&response)
    })
}

/// What stream readers see under a name or, where a request speaks of ids, under an id.
fn find_stream(names: &Names, name: &str, id: Uuid, by_id: bool) -> Result<Stream, ErrorCode> {
    if !by_id {
        let found = names.stream(NAMESPACE, name);
        return found.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    match names.stream_by_id(TopicId(id.into_bytes())) {
        Some((namespace, stream)) if &**namespace == NAMESPACE => Ok(stream),
        _ => Err(ErrorCode::UNKNOWN_TOPIC_ID),
    }
}

/// The log of a partition.
fn partition_log(stream: &Stream, partition: i32) -> Result<LogRef, ErrorCode> {
    usize::try_from(partition)
        .ok()
        .and_then(|partition| stream.partitions.get(partition).copied())
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

/// Refuses an epoch that no leader has had.
fn check_epoch(current_leader_epoch: i32) -> Result<(), ErrorCode> {
    if current_leader_epoch > LEADER_EPOCH {
        return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
    }
    Ok(())
}

/// The code of an operation on a log that did not give what was asked for.
fn log_failure(answer: Option<&Answer>) -> ErrorCode {
    match answer {
        Some(Err(error)) => errors::topic_error(error.kind),
        _ => ErrorCode::UNKNOWN_SERVER_ERROR,
    }
}

/// The code of an operation on a group that did not give what was asked for.
fn group_failure(answer: Option<&Answer>) -> ErrorCode {
    match answer {
        Some(Err(error)) => errors::group_error(error.kind),
        _ => ErrorCode::UNKNOWN_SERVER_ERROR,
    }
}

fn uuid_of(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.0)
}
