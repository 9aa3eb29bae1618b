//! DescribeGroups, ListGroups, DeleteGroups: groups as an administrator sees them.

use super::groups::{check_id, command, said};
use super::{NAMESPACE, group_failure, topics};
use crate::codec::messages::group_admin::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DescribedGroup, DescribedGroupMember, ListGroupsRequest,
    ListGroupsResponse, ListedGroup,
};
use crate::errors::ErrorCode;
use crate::session::{Step, Turn};
use engine::api::{Op, Reply};
use engine::catalog::Name;
use engine::groups::{Command, GroupState, GroupView};
use std::collections::BTreeMap;
use types::ShardId;

/// First version that is told that there is no such group (KIP-1043); older ones see it dead.
const NOT_FOUND_FROM: i16 = 6;

/// The only type of group there is.
const TYPE_CLASSIC: &str = "classic";

fn state_name(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "Empty",
        GroupState::PreparingRebalance => "PreparingRebalance",
        GroupState::CompletingRebalance => "CompletingRebalance",
        GroupState::Stable => "Stable",
        GroupState::Dead => "Dead",
    }
}

pub(super) fn describe(turn: &mut Turn<'_, '_>, request: DescribeGroupsRequest) -> Step {
    let names = turn.cx.names();
    let mut shards: BTreeMap<ShardId, Vec<Name>> = BTreeMap::new();
    for id in &request.groups {
        shards.entry(names.group_shard(NAMESPACE, id)).or_default().push(Name::from(id.as_str()));
    }
    let ops = shards
        .into_iter()
        .map(|(shard, ids)| Op::Groups {
            shard,
            namespace: Name::from(NAMESPACE),
            names: Some(ids),
        })
        .collect();
    Step::ask(ops, move |answers, turn| {
        let mut views = BTreeMap::new();
        let mut failure = None;
        for answer in answers {
            match answer {
                Ok(Reply::Groups(groups)) => views.extend(groups),
                other => failure = Some(group_failure(Some(&other))),
            }
        }
        let version = turn.version();
        let groups = request
            .groups
            .into_iter()
            .map(|id| match (views.get(id.as_str()), failure) {
                (Some(view), _) => described(id, view),
                (None, Some(error_code)) => {
                    DescribedGroup { error_code, group_id: id, ..DescribedGroup::default() }
                }
                (None, None) => unknown(id, version),
            })
            .collect();
        turn.answer(&DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() })
    })
}

fn unknown(group_id: String, version: i16) -> DescribedGroup {
    let mut group = DescribedGroup { group_state: "Dead".to_owned(), ..DescribedGroup::default() };
    if version >= NOT_FOUND_FROM {
        group.error_code = ErrorCode::GROUP_ID_NOT_FOUND;
        group.error_message = Some(format!("Group {group_id} not found."));
    }
    group.group_id = group_id;
    group
}

fn described(group_id: String, view: &GroupView) -> DescribedGroup {
    let members = view
        .members
        .iter()
        .map(|member| DescribedGroupMember {
            member_id: member.member.clone(),
            group_instance_id: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: member.metadata.clone(),
            member_assignment: member.assignment.clone(),
        })
        .collect();
    DescribedGroup {
        group_id,
        group_state: state_name(view.state).to_owned(),
        protocol_type: view.protocol_type.clone(),
        protocol_data: view.protocol.clone(),
        members,
        ..DescribedGroup::default()
    }
}

pub(super) fn list(turn: &mut Turn<'_, '_>, request: ListGroupsRequest) -> Step {
    let ops = topics::group_shards(&turn.cx.names())
        .into_iter()
        .map(|shard| Op::Groups { shard, namespace: Name::from(NAMESPACE), names: None })
        .collect();
    Step::ask(ops, move |answers, turn| {
        let mut response = ListGroupsResponse::default();
        for answer in answers {
            match answer {
                Ok(Reply::Groups(groups)) => {
                    let listed = groups.into_iter().filter(|(_, view)| wanted(&request, view));
                    response.groups.extend(listed.map(|(id, view)| ListedGroup {
                        group_id: id.to_string(),
                        protocol_type: view.protocol_type,
                        group_state: state_name(view.state).to_owned(),
                        group_type: TYPE_CLASSIC.to_owned(),
                    }));
                }
                other => response.error_code = group_failure(Some(&other)),
            }
        }
        turn.answer(&response)
    })
}

/// Whether the filters let a group through; case does not count in them.
fn wanted(request: &ListGroupsRequest, view: &GroupView) -> bool {
    let passes = |filter: &[String], word: &str| {
        filter.is_empty() || filter.iter().any(|other| other.eq_ignore_ascii_case(word))
    };
    passes(&request.states_filter, state_name(view.state))
        && passes(&request.types_filter, TYPE_CLASSIC)
}

pub(super) fn delete(turn: &mut Turn<'_, '_>, request: DeleteGroupsRequest) -> Step {
    let (mut ops, mut results, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for group_id in request.groups_names {
        let error_code = check_id(&group_id).err().unwrap_or(ErrorCode::NONE);
        if error_code == ErrorCode::NONE {
            ops.push(command(turn, &group_id, Command::DeleteGroup));
            places.push(results.len());
        }
        results.push(DeletableGroupResult { group_id, error_code });
    }
    Step::ask(ops, move |answers, turn| {
        for (place, answer) in places.into_iter().zip(answers) {
            results[place].error_code = said(Some(answer)).err().unwrap_or(ErrorCode::NONE);
        }
        turn.answer(&DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() })
    })
}
