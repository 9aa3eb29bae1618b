//! The classic group protocol: coordinator, join, sync, heartbeat, leave.

use super::super::schema::{schema, within};
use crate::errors::ErrorCode;
use bytes::Bytes;

schema! {
    /// Request of FindCoordinator.
    message FindCoordinatorRequest key 10 [0..=6] flexible 3 {
        key: String [0-3],
        key_type: i8 [1+],
        coordinator_keys: Vec<String> [4+],
    }

    /// Response of FindCoordinator.
    message FindCoordinatorResponse key 10 [0..=6] flexible 3 {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0-3],
        error_message: Option<String> [1-3] nullable [1-3],
        node_id: i32 [0-3],
        host: String [0-3],
        port: i32 [0-3],
        coordinators: Vec<Coordinator> [4+],
    }

    /// Each coordinator result in the response.
    part Coordinator {
        key: String [4+],
        node_id: i32 [4+],
        host: String [4+],
        port: i32 [4+],
        error_code: ErrorCode [4+],
        error_message: Option<String> [4+] nullable [4+],
    }

    /// Request of JoinGroup.
    message JoinGroupRequest key 11 [0..=9] flexible 6 {
        group_id: String [0+],
        session_timeout_ms: i32 [0+],
        rebalance_timeout_ms: i32 [1+] = -1,
        member_id: String [0+],
        group_instance_id: Option<String> [5+] nullable [5+],
        protocol_type: String [0+],
        protocols: Vec<JoinGroupRequestProtocol> [0+],
        reason: Option<String> [8+] nullable [8+],
    }

    /// The list of protocols that the member supports.
    part JoinGroupRequestProtocol {
        name: String [0+],
        metadata: Bytes [0+],
    }

    /// Response of JoinGroup.
    message JoinGroupResponse key 11 [0..=9] flexible 6 {
        throttle_time_ms: i32 [2+],
        error_code: ErrorCode [0+],
        generation_id: i32 [0+] = -1,
        protocol_type: Option<String> [7+] nullable [7+],
        protocol_name: Option<String> [0+] nullable [7+],
        leader: String [0+],
        skip_assignment: bool [9+],
        member_id: String [0+],
        members: Vec<JoinGroupResponseMember> [0+],
    }

    /// Each member, told to the leader only.
    part JoinGroupResponseMember {
        member_id: String [0+],
        group_instance_id: Option<String> [5+] nullable [5+],
        metadata: Bytes [0+],
    }

    /// Request of SyncGroup.
    message SyncGroupRequest key 14 [0..=5] flexible 4 {
        group_id: String [0+],
        generation_id: i32 [0+],
        member_id: String [0+],
        group_instance_id: Option<String> [3+] nullable [3+],
        protocol_type: Option<String> [5+] nullable [5+],
        protocol_name: Option<String> [5+] nullable [5+],
        assignments: Vec<SyncGroupRequestAssignment> [0+],
    }

    /// Each assignment.
    part SyncGroupRequestAssignment {
        member_id: String [0+],
        assignment: Bytes [0+],
    }

    /// Response of SyncGroup.
    message SyncGroupResponse key 14 [0..=5] flexible 4 {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0+],
        protocol_type: Option<String> [5+] nullable [5+],
        protocol_name: Option<String> [5+] nullable [5+],
        assignment: Bytes [0+],
    }

    /// Request of Heartbeat.
    message HeartbeatRequest key 12 [0..=4] flexible 4 {
        group_id: String [0+],
        generation_id: i32 [0+],
        member_id: String [0+],
        group_instance_id: Option<String> [3+] nullable [3+],
    }

    /// Response of Heartbeat.
    message HeartbeatResponse key 12 [0..=4] flexible 4 {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0+],
    }

    /// Request of LeaveGroup.
    message LeaveGroupRequest key 13 [0..=5] flexible 4 {
        group_id: String [0+],
        member_id: String [0-2],
        members: Vec<MemberIdentity> [3+],
    }

    /// List of leaving member identities.
    part MemberIdentity {
        member_id: String [3+],
        group_instance_id: Option<String> [3+] nullable [3+],
        reason: Option<String> [5+] nullable [5+],
    }

    /// Response of LeaveGroup.
    message LeaveGroupResponse key 13 [0..=5] flexible 4 {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0+],
        members: Vec<MemberResponse> [3+],
    }

    /// List of leaving member responses.
    part MemberResponse {
        member_id: String [3+],
        group_instance_id: Option<String> [3+] nullable [3+],
        error_code: ErrorCode [3+],
    }
}
