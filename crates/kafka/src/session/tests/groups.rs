use super::client::{Broker, Client, batch};
use crate::codec::messages::group_admin::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, ListGroupsResponse,
};
use crate::codec::messages::membership::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, MemberIdentity, SyncGroupRequest, SyncGroupRequestAssignment,
    SyncGroupResponse,
};
use crate::codec::messages::offsets::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchRequestGroup,
    OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use crate::codec::messages::topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use crate::errors::ErrorCode;
use bytes::Bytes;

pub(crate) const GROUP: &str = "readers";

fn join_request(member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"),
        }],
        ..Default::default()
    }
}

/// Joins as a member that is told its id first; gives the request that waits.
fn begin_join(client: &mut Client) -> (i32, String) {
    let told: JoinGroupResponse = client.ask(7, &join_request(""));
    assert_eq!(told.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    assert!(told.member_id.starts_with("tester-"), "{}", told.member_id);
    (client.send(7, &join_request(&told.member_id)), told.member_id)
}

fn sync_request(
    joined: &JoinGroupResponse,
    assignments: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: assignments
            .iter()
            .map(|(member, assignment)| SyncGroupRequestAssignment {
                member_id: (*member).to_owned(),
                assignment: Bytes::from_static(assignment),
            })
            .collect(),
        ..Default::default()
    }
}

/// A group of one member that has its assignment.
fn alone(client: &mut Client) -> JoinGroupResponse {
    let (id, _) = begin_join(client);
    let joined: JoinGroupResponse = client.receive(7, id);
    assert_eq!(joined.error_code, ErrorCode::NONE);
    let sync = sync_request(&joined, &[(&joined.member_id, b"all")]);
    let synced: SyncGroupResponse = client.ask(5, &sync);
    assert_eq!((synced.error_code, &synced.assignment[..]), (ErrorCode::NONE, &b"all"[..]));
    joined
}

fn heartbeat(client: &mut Client, joined: &JoinGroupResponse) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    };
    let response: HeartbeatResponse = client.ask(4, &request);
    response.error_code
}

#[test]
fn two_members_share_a_group() {
    let broker = Broker::new();
    let (mut first, mut second) = (broker.client(), broker.client());
    let alone = alone(&mut first);
    assert_eq!(heartbeat(&mut first, &alone), ErrorCode::NONE);
    let (waiting, _) = begin_join(&mut second);
    while heartbeat(&mut first, &alone) == ErrorCode::NONE {}
    assert_eq!(heartbeat(&mut first, &alone), ErrorCode::REBALANCE_IN_PROGRESS);
    let leader: JoinGroupResponse = first.ask(7, &join_request(&alone.member_id));
    let follower: JoinGroupResponse = second.receive(7, waiting);
    assert_eq!(leader.leader, leader.member_id);
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(leader.generation_id, follower.generation_id);
    let waiting = second.send(5, &sync_request(&follower, &[]));
    let assignments: [(&str, &'static [u8]); 2] =
        [(&leader.member_id, b"one"), (&follower.member_id, b"two")];
    let synced: SyncGroupResponse = first.ask(5, &sync_request(&leader, &assignments));
    assert_eq!(&synced.assignment[..], b"one");
    let synced: SyncGroupResponse = second.receive(5, waiting);
    assert_eq!(&synced.assignment[..], b"two");
    let leave = LeaveGroupRequest {
        group_id: GROUP.to_owned(),
        members: vec![
            MemberIdentity { member_id: follower.member_id, ..Default::default() },
            MemberIdentity { member_id: "nobody".to_owned(), ..Default::default() },
        ],
        ..Default::default()
    };
    let left: LeaveGroupResponse = second.ask(5, &leave);
    let codes: Vec<ErrorCode> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID]);
}

#[test]
fn what_a_group_cannot_be_is_refused() {
    let broker = Broker::new();
    let mut client = broker.client();
    let mut nameless = join_request("");
    nameless.group_id.clear();
    let response: JoinGroupResponse = client.ask(5, &nameless);
    assert_eq!(response.error_code, ErrorCode::INVALID_GROUP_ID);
    let mut hasty = join_request("");
    hasty.session_timeout_ms = 10;
    let response: JoinGroupResponse = client.ask(5, &hasty);
    assert_eq!(response.error_code, ErrorCode::INVALID_SESSION_TIMEOUT);
    let response: JoinGroupResponse = client.ask(5, &join_request("ghost"));
    assert_eq!(response.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let ghost = JoinGroupResponse { member_id: "ghost".to_owned(), ..Default::default() };
    assert_eq!(heartbeat(&mut client, &ghost), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_old_member_joins_at_once() {
    let broker = Broker::new();
    let mut client = broker.client();
    let joined: JoinGroupResponse = client.ask(2, &join_request(""));
    assert_eq!(joined.error_code, ErrorCode::NONE);
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    let leave = LeaveGroupRequest {
        group_id: GROUP.to_owned(),
        member_id: joined.member_id,
        ..Default::default()
    };
    let left: LeaveGroupResponse = client.ask(1, &leave);
    assert_eq!(left.error_code, ErrorCode::NONE);
    let left: LeaveGroupResponse = client.ask(1, &leave);
    assert_eq!(left.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

fn commit_request(topic: &str, partition: i32, offset: i64, metadata: &str) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_metadata: Some(metadata.to_owned()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

/// Commits by a consumer that is no member.
pub(crate) fn commit(client: &mut Client, topic: &str, offset: i64, metadata: &str) -> ErrorCode {
    let response: OffsetCommitResponse = client.ask(7, &commit_request(topic, 0, offset, metadata));
    response.topics[0].partitions[0].error_code
}

pub(crate) fn committed(client: &mut Client, topic: &str) -> (i64, String) {
    let request = OffsetFetchRequest {
        group_id: GROUP.to_owned(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: topic.to_owned(),
            partition_indexes: vec![0],
        }]),
        ..Default::default()
    };
    let response: OffsetFetchResponse = client.ask(5, &request);
    let partition = &response.topics[0].partitions[0];
    (partition.committed_offset, partition.metadata.clone().unwrap())
}

#[test]
fn positions_are_kept_and_shown() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 2, &[]);
    assert_eq!(committed(&mut client, "events"), (-1, String::new()));
    assert_eq!(commit(&mut client, "events", 7, "note"), ErrorCode::NONE);
    assert_eq!(committed(&mut client, "events"), (7, "note".to_owned()));
    assert_eq!(commit(&mut client, "nowhere", 7, ""), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let long = "x".repeat(4097);
    assert_eq!(commit(&mut client, "events", 8, &long), ErrorCode::OFFSET_METADATA_TOO_LARGE);
    assert_eq!(committed(&mut client, "events").0, 7);
    let group = |topics| OffsetFetchRequestGroup {
        group_id: GROUP.to_owned(),
        topics,
        ..Default::default()
    };
    let one = OffsetFetchRequestTopics { name: "events".to_owned(), partition_indexes: vec![1, 0] };
    let request = OffsetFetchRequest {
        groups: vec![group(None), group(Some(vec![one]))],
        ..Default::default()
    };
    let response: OffsetFetchResponse = client.ask(9, &request);
    let offsets = |group: usize| -> Vec<(i32, i64)> {
        let partitions = &response.groups[group].topics[0].partitions;
        partitions.iter().map(|p| (p.partition_index, p.committed_offset)).collect()
    };
    assert_eq!((offsets(0), offsets(1)), (vec![(0, 7)], vec![(1, -1), (0, 7)]));
}

#[test]
fn a_commit_needs_the_present_generation() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let joined = alone(&mut client);
    let mut request = commit_request("events", 0, 5, "");
    request.member_id = joined.member_id.clone();
    request.generation_id_or_member_epoch = joined.generation_id;
    let code = |client: &mut Client, request: &OffsetCommitRequest| {
        let response: OffsetCommitResponse = client.ask(8, request);
        response.topics[0].partitions[0].error_code
    };
    assert_eq!(code(&mut client, &request), ErrorCode::NONE);
    request.generation_id_or_member_epoch += 1;
    assert_eq!(code(&mut client, &request), ErrorCode::ILLEGAL_GENERATION);
    request.member_id = "ghost".to_owned();
    assert_eq!(code(&mut client, &request), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_topic_takes_its_positions_along() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    client.create("other", 1, &[]);
    commit(&mut client, "events", 3, "");
    commit(&mut client, "other", 4, "");
    let request = DeleteTopicsRequest {
        topic_names: vec!["events".to_owned(), "nowhere".to_owned()],
        ..Default::default()
    };
    let response: DeleteTopicsResponse = client.ask(4, &request);
    let codes: Vec<ErrorCode> = response.responses.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    client.create("events", 1, &[]);
    assert_eq!(committed(&mut client, "events").0, -1);
    assert_eq!(committed(&mut client, "other").0, 4);
}

#[test]
fn positions_are_deleted_where_nobody_is_subscribed() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    let request = |topic: &str| OffsetDeleteRequest {
        group_id: GROUP.to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetDeleteRequestPartition::default()],
        }],
    };
    let none: OffsetDeleteResponse = client.ask(0, &request("events"));
    assert_eq!(none.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    commit(&mut client, "events", 3, "");
    let done: OffsetDeleteResponse = client.ask(0, &request("events"));
    assert_eq!(done.topics[0].partitions[0].error_code, ErrorCode::NONE);
    assert_eq!(committed(&mut client, "events").0, -1);
}

#[test]
fn groups_are_described_listed_and_deleted() {
    let broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 1, &[]);
    client.produce("events", 0, batch(&["a"]));
    let joined = alone(&mut client);
    let describe = DescribeGroupsRequest {
        groups: vec![GROUP.to_owned(), "nobody".to_owned()],
        ..Default::default()
    };
    let response: DescribeGroupsResponse = client.ask(6, &describe);
    let group = &response.groups[0];
    assert_eq!((&*group.group_state, &*group.protocol_data), ("Stable", "range"));
    assert_eq!(group.members[0].member_id, joined.member_id);
    assert_eq!(group.members[0].client_host, "/127.0.0.1");
    assert_eq!(&group.members[0].member_assignment[..], b"all");
    assert_eq!(response.groups[1].error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    let old: DescribeGroupsResponse = client.ask(4, &describe);
    let dead = &old.groups[1];
    assert_eq!((dead.error_code, &*dead.group_state), (ErrorCode::NONE, "Dead"));
    let list = |client: &mut Client, state: &str| -> Vec<String> {
        let request =
            ListGroupsRequest { states_filter: vec![state.to_owned()], ..Default::default() };
        let response: ListGroupsResponse = client.ask(5, &request);
        response.groups.into_iter().map(|group| group.group_id).collect()
    };
    assert_eq!(list(&mut client, "stable"), [GROUP]);
    assert!(list(&mut client, "Empty").is_empty());
    let delete = DeleteGroupsRequest {
        groups_names: vec![GROUP.to_owned(), "nobody".to_owned(), String::new()],
    };
    let codes = |client: &mut Client| -> Vec<ErrorCode> {
        let response: DeleteGroupsResponse = client.ask(2, &delete);
        response.results.iter().map(|result| result.error_code).collect()
    };
    let (missing, illegal) = (ErrorCode::GROUP_ID_NOT_FOUND, ErrorCode::INVALID_GROUP_ID);
    assert_eq!(codes(&mut client), [ErrorCode::NON_EMPTY_GROUP, missing, illegal]);
    let leave = LeaveGroupRequest {
        group_id: GROUP.to_owned(),
        member_id: joined.member_id,
        ..Default::default()
    };
    let _: LeaveGroupResponse = client.ask(1, &leave);
    assert_eq!(codes(&mut client), [ErrorCode::NONE, missing, illegal]);
}

#[test]
fn the_coordinator_is_this_broker_and_of_groups_only() {
    let broker = Broker::new();
    let mut client = broker.client();
    let request = FindCoordinatorRequest { key: GROUP.to_owned(), ..Default::default() };
    let found: FindCoordinatorResponse = client.ask(2, &request);
    assert_eq!((&*found.host, found.port), ("127.0.0.1", i32::from(super::client::PORT)));
    let request = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec!["t".to_owned()],
        ..Default::default()
    };
    let refused: FindCoordinatorResponse = client.ask(6, &request);
    assert_eq!(
        refused.coordinators[0].error_code,
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    );
}
