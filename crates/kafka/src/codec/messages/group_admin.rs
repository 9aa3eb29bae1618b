//! Groups as an administrator sees them.

use super::super::schema::{schema, within};
use crate::errors::ErrorCode;
use bytes::Bytes;

schema! {
    /// Request of DescribeGroups.
    message DescribeGroupsRequest key 15 [0..=6] flexible 5 {
        groups: Vec<String> [0+],
        include_authorized_operations: bool [3+],
    }

    /// Response of DescribeGroups.
    message DescribeGroupsResponse key 15 [0..=6] flexible 5 {
        throttle_time_ms: i32 [1+],
        groups: Vec<DescribedGroup> [0+],
    }

    /// Each described group.
    part DescribedGroup {
        error_code: ErrorCode [0+],
        error_message: Option<String> [6+] nullable [6+],
        group_id: String [0+],
        group_state: String [0+],
        protocol_type: String [0+],
        protocol_data: String [0+],
        members: Vec<DescribedGroupMember> [0+],
        authorized_operations: i32 [3+] = i32::MIN,
    }

    /// The group members.
    part DescribedGroupMember {
        member_id: String [0+],
        group_instance_id: Option<String> [4+] nullable [4+],
        client_id: String [0+],
        client_host: String [0+],
        member_metadata: Bytes [0+],
        member_assignment: Bytes [0+],
    }

    /// Request of ListGroups.
    message ListGroupsRequest key 16 [0..=5] flexible 3 {
        states_filter: Vec<String> [4+],
        types_filter: Vec<String> [5+],
    }

    /// Response of ListGroups.
    message ListGroupsResponse key 16 [0..=5] flexible 3 {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0+],
        groups: Vec<ListedGroup> [0+],
    }

    /// Each group in the response.
    part ListedGroup {
        group_id: String [0+],
        protocol_type: String [0+],
        group_state: String [4+],
        group_type: String [5+],
    }

    /// Request of DeleteGroups.
    message DeleteGroupsRequest key 42 [0..=2] flexible 2 {
        groups_names: Vec<String> [0+],
    }

    /// Response of DeleteGroups.
    message DeleteGroupsResponse key 42 [0..=2] flexible 2 {
        throttle_time_ms: i32 [0+],
        results: Vec<DeletableGroupResult> [0+],
    }

    /// The deletion results.
    part DeletableGroupResult {
        group_id: String [0+],
        error_code: ErrorCode [0+],
    }
}
