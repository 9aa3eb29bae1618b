//! The classic group protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! A join or sync is answered by the engine when the group is ready. Heartbeats are written nowhere.

use super::{NAMESPACE, group_failure};
use crate::codec::messages::membership::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    JoinGroupResponseMember, LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use crate::errors::ErrorCode;
use crate::session::{Answer, Step, Turn};
use engine::GroupName;
use engine::api::{Heartbeat, Op, Reply};
use engine::catalog::Name;
use engine::groups::{
    self, ClientLabel, Command, Generation, Join, JoinRules, Joined, LeavingMember, Protocol,
    Refusal, Sync,
};
use types::{INTERNAL_NAME_BYTES_MAX, Millis, ShardId};
use uuid::Builder;

/// First version with a rebalance timeout of its own.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// First version that takes an id before it joins (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// First version that allows a null for the protocol.
const NULL_PROTOCOL_FROM: i16 = 7;
/// First version whose leader may be told to assign nothing (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;
/// First version in which several members leave at once.
const LEAVE_MANY_FROM: i16 = 3;

/// `group.min.session.timeout.ms` and `group.max.session.timeout.ms` of Apache Kafka.
const SESSION_TIMEOUT_MS: std::ops::RangeInclusive<i32> = 6_000..=1_800_000;

/// Most members of one group.
const MEMBERS_MAX: u32 = 10_000;

/// What the namespace calls a group, and where it is coordinated.
pub(super) fn group(turn: &Turn<'_, '_>, id: &str) -> (ShardId, GroupName) {
    let shard = turn.cx.names().group_shard(NAMESPACE, id);
    (shard, GroupName { namespace: Name::from(NAMESPACE), group: Name::from(id) })
}

/// The operation that changes a group.
pub(super) fn command(turn: &Turn<'_, '_>, id: &str, command: Command) -> Op {
    let (shard, name) = group(turn, id);
    Op::Group { shard, name, command: Box::new(command) }
}

/// Refuses the ids that no group of members may have.
pub(super) fn check_id(id: &str) -> Result<(), ErrorCode> {
    match id.is_empty() || id.len() > INTERNAL_NAME_BYTES_MAX {
        true => Err(ErrorCode::INVALID_GROUP_ID),
        false => Ok(()),
    }
}

/// A group's refusal in the protocol's words.
pub(super) fn code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::UnknownMember => ErrorCode::UNKNOWN_MEMBER_ID,
        Refusal::IllegalGeneration => ErrorCode::ILLEGAL_GENERATION,
        Refusal::RebalanceInProgress => ErrorCode::REBALANCE_IN_PROGRESS,
        Refusal::InconsistentProtocol => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        Refusal::FencedInstance => ErrorCode::FENCED_INSTANCE_ID,
        Refusal::GroupFull => ErrorCode::GROUP_MAX_SIZE_REACHED,
        Refusal::GroupNotEmpty => ErrorCode::NON_EMPTY_GROUP,
        Refusal::GroupNotFound => ErrorCode::GROUP_ID_NOT_FOUND,
        Refusal::SubscribedToTopic => ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
        Refusal::MetadataTooLarge => ErrorCode::OFFSET_METADATA_TOO_LARGE,
        Refusal::InvalidSessionTimeout => ErrorCode::INVALID_SESSION_TIMEOUT,
        Refusal::TooLarge => ErrorCode::INVALID_REQUEST,
        Refusal::NoRoom => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    }
}

/// What a group said; the code where it refused or could not be asked.
pub(super) fn said(answer: Option<Answer>) -> Result<groups::Reply, ErrorCode> {
    match answer {
        Some(Ok(Reply::Group(reply))) => match *reply {
            groups::Reply::Refused(refusal) => Err(code(refusal)),
            reply => Ok(reply),
        },
        other => Err(group_failure(other.as_ref())),
    }
}

pub(super) fn join(
    turn: &mut Turn<'_, '_>,
    client_id: Option<&str>,
    request: JoinGroupRequest,
) -> Step {
    let version = turn.version();
    let checked = check_id(&request.group_id).and_then(|()| {
        match SESSION_TIMEOUT_MS.contains(&request.session_timeout_ms) {
            true => Ok(()),
            false => Err(ErrorCode::INVALID_SESSION_TIMEOUT),
        }
    });
    if let Err(code) = checked {
        return turn.answer(&refused_join(code, request.member_id, version));
    }
    let asked = request.member_id.clone();
    let group_id = request.group_id.clone();
    let join = join_of(turn, client_id, request);
    let op = command(turn, &group_id, Command::Join(join));
    Step::ask(vec![op], move |mut answers, turn| {
        let version = turn.version();
        let response = match said(answers.pop()) {
            Ok(groups::Reply::Joined(joined)) => joined_response(joined),
            Ok(groups::Reply::MemberIdRequired { member }) => {
                refused_join(ErrorCode::MEMBER_ID_REQUIRED, member, version)
            }
            Ok(_) => refused_join(ErrorCode::UNKNOWN_SERVER_ERROR, asked, version),
            Err(code) => refused_join(code, asked, version),
        };
        turn.answer(&response)
    })
}

fn join_of(turn: &Turn<'_, '_>, client_id: Option<&str>, request: JoinGroupRequest) -> Join {
    let version = turn.version();
    let client_id = client_id.unwrap_or_default();
    let prefix = request.group_instance_id.as_deref().unwrap_or(client_id);
    let session_timeout = Millis(i64::from(request.session_timeout_ms));
    let rebalance_timeout = match version >= REBALANCE_TIMEOUT_FROM {
        true => Millis(i64::from(request.rebalance_timeout_ms.max(0))),
        false => session_timeout,
    };
    Join {
        member: request.member_id,
        new_member: format!("{prefix}-{}", unique(turn)),
        client: ClientLabel {
            id: client_id.to_owned(),
            host: format!("/{}", turn.cx.peer().address.ip().to_canonical()),
        },
        session_timeout,
        rebalance_timeout,
        protocol_type: request.protocol_type,
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| Protocol { name: protocol.name, metadata: protocol.metadata })
            .collect(),
        rules: JoinRules {
            require_known_member: version >= MEMBER_ID_REQUIRED_FROM
                && request.group_instance_id.is_none(),
            can_skip_assignment: version >= SKIP_ASSIGNMENT_FROM,
            members_max: MEMBERS_MAX,
            initial_delay: turn.options.group_initial_delay,
        },
        instance: request.group_instance_id,
    }
}

fn unique(turn: &Turn<'_, '_>) -> uuid::Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&turn.cx.random().to_le_bytes());
    bytes[8..].copy_from_slice(&turn.cx.random().to_le_bytes());
    Builder::from_random_bytes(bytes).into_uuid()
}

fn refused_join(error_code: ErrorCode, member_id: String, version: i16) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code,
        member_id,
        protocol_name: (version < NULL_PROTOCOL_FROM).then(String::new),
        ..JoinGroupResponse::default()
    }
}

fn joined_response(joined: Joined) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: ErrorCode::NONE,
        generation_id: joined.generation.0,
        protocol_type: joined.protocol_type,
        protocol_name: joined.protocol,
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member,
        members: joined
            .members
            .into_iter()
            .map(|member| JoinGroupResponseMember {
                member_id: member.member,
                group_instance_id: member.instance,
                metadata: member.metadata,
            })
            .collect(),
        ..JoinGroupResponse::default()
    }
}

pub(super) fn sync(turn: &mut Turn<'_, '_>, request: SyncGroupRequest) -> Step {
    if let Err(error_code) = check_id(&request.group_id) {
        return turn.answer(&SyncGroupResponse { error_code, ..SyncGroupResponse::default() });
    }
    let sync = Sync {
        member: request.member_id,
        instance: request.group_instance_id,
        generation: Generation(request.generation_id),
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: request
            .assignments
            .into_iter()
            .map(|assignment| (assignment.member_id, assignment.assignment))
            .collect(),
    };
    let op = command(turn, &request.group_id, Command::Sync(sync));
    Step::ask(vec![op], |mut answers, turn| {
        let response = match said(answers.pop()) {
            Ok(groups::Reply::Synced(synced)) => SyncGroupResponse {
                protocol_type: synced.protocol_type,
                protocol_name: synced.protocol,
                assignment: synced.assignment,
                ..SyncGroupResponse::default()
            },
            Ok(_) => SyncGroupResponse {
                error_code: ErrorCode::UNKNOWN_SERVER_ERROR,
                ..SyncGroupResponse::default()
            },
            Err(error_code) => SyncGroupResponse { error_code, ..SyncGroupResponse::default() },
        };
        turn.answer(&response)
    })
}

pub(super) fn heartbeat(turn: &mut Turn<'_, '_>, request: HeartbeatRequest) -> Step {
    if let Err(error_code) = check_id(&request.group_id) {
        return turn.answer(&HeartbeatResponse { error_code, ..HeartbeatResponse::default() });
    }
    let (shard, name) = group(turn, &request.group_id);
    let op = Op::Heartbeat(Heartbeat {
        shard,
        name,
        generation: Generation(request.generation_id),
        member: request.member_id,
        instance: request.group_instance_id,
    });
    Step::ask(vec![op], |mut answers, turn| {
        let error_code = said(answers.pop()).err().unwrap_or(ErrorCode::NONE);
        turn.answer(&HeartbeatResponse { error_code, ..HeartbeatResponse::default() })
    })
}

pub(super) fn leave(turn: &mut Turn<'_, '_>, request: LeaveGroupRequest) -> Step {
    let many = turn.version() >= LEAVE_MANY_FROM;
    if let Err(error_code) = check_id(&request.group_id) {
        return turn.answer(&LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() });
    }
    let identities = match many {
        true => request.members,
        false => vec![MemberIdentity { member_id: request.member_id, ..Default::default() }],
    };
    let members = identities
        .iter()
        .map(|identity| LeavingMember {
            member: identity.member_id.clone(),
            instance: identity.group_instance_id.clone(),
        })
        .collect();
    let op = command(turn, &request.group_id, Command::Leave { members });
    Step::ask(vec![op], move |mut answers, turn| {
        let results = match said(answers.pop()) {
            Ok(groups::Reply::Left(results)) => results,
            Ok(_) => Vec::new(),
            Err(error_code) => {
                return turn
                    .answer(&LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() });
            }
        };
        let mut codes =
            results.into_iter().map(|result| result.map_or_else(code, |()| ErrorCode::NONE));
        let mut response = LeaveGroupResponse::default();
        if many {
            response.members = identities
                .into_iter()
                .zip(codes)
                .map(|(identity, error_code)| MemberResponse {
                    member_id: identity.member_id,
                    group_instance_id: identity.group_instance_id,
                    error_code,
                })
                .collect();
        } else {
            response.error_code = codes.next().unwrap_or(ErrorCode::NONE);
        }
        turn.answer(&response)
    })
}
