mod agree;
mod framing;
mod hostile;
mod primitives;

use super::sample::Sample;
use super::{Message, Writer};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// What every message can do in tests.
trait Subject: Message + Sample + fmt::Debug + Clone + PartialEq {}

impl<M: Message + Sample + fmt::Debug + Clone + PartialEq> Subject for M {}

fn joined(segments: Vec<Bytes>) -> Bytes {
    segments.iter().flat_map(|segment| segment.iter().copied()).collect::<BytesMut>().freeze()
}

/// The encoded body without header or length.
fn body<M: Message>(message: &M, version: i16) -> Bytes {
    let mut w = Writer::frame(version, version >= M::FLEXIBLE_FROM, 0);
    message.write(&mut w);
    joined(w.finish()).slice(4..)
}

/// Calls `$run::<Ours, Theirs>(…)` for the request and the response of every API.
macro_rules! for_every_api {
    ($run:ident: $($module:ident $test:ident $request:ident $response:ident;)*) => {
        $(mod $test {
            use crate::codec::messages::$module as ours;
            use kafka_protocol::messages as theirs;

            #[test]
            fn request() {
                super::$run::<ours::$request, theirs::$request>();
            }

            #[test]
            fn response() {
                super::$run::<ours::$response, theirs::$response>();
            }
        })*
    };
    ($run:ident) => {
        for_every_api! { $run:
            produce produce_ ProduceRequest ProduceResponse;
            fetch fetch_ FetchRequest FetchResponse;
            offsets list_offsets ListOffsetsRequest ListOffsetsResponse;
            metadata metadata_ MetadataRequest MetadataResponse;
            offsets offset_commit OffsetCommitRequest OffsetCommitResponse;
            offsets offset_fetch OffsetFetchRequest OffsetFetchResponse;
            membership find_coordinator FindCoordinatorRequest FindCoordinatorResponse;
            membership join_group JoinGroupRequest JoinGroupResponse;
            membership heartbeat HeartbeatRequest HeartbeatResponse;
            membership leave_group LeaveGroupRequest LeaveGroupResponse;
            membership sync_group SyncGroupRequest SyncGroupResponse;
            group_admin describe_groups DescribeGroupsRequest DescribeGroupsResponse;
            group_admin list_groups ListGroupsRequest ListGroupsResponse;
            identity sasl_handshake SaslHandshakeRequest SaslHandshakeResponse;
            api_versions api_versions_ ApiVersionsRequest ApiVersionsResponse;
            topics create_topics CreateTopicsRequest CreateTopicsResponse;
            topics delete_topics DeleteTopicsRequest DeleteTopicsResponse;
            offsets delete_records DeleteRecordsRequest DeleteRecordsResponse;
            identity init_producer_id InitProducerIdRequest InitProducerIdResponse;
            offsets offset_for_leader_epoch
                OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
            configs describe_configs DescribeConfigsRequest DescribeConfigsResponse;
            configs alter_configs AlterConfigsRequest AlterConfigsResponse;
            configs describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse;
            identity sasl_authenticate SaslAuthenticateRequest SaslAuthenticateResponse;
            topics create_partitions CreatePartitionsRequest CreatePartitionsResponse;
            group_admin delete_groups DeleteGroupsRequest DeleteGroupsResponse;
            configs incremental_alter_configs
                IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
            offsets offset_delete OffsetDeleteRequest OffsetDeleteResponse;
            metadata describe_cluster DescribeClusterRequest DescribeClusterResponse;
            metadata describe_topic_partitions
                DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
        }
    };
}

use for_every_api;
