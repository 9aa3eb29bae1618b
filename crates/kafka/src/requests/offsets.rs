//! OffsetCommit, OffsetFetch, OffsetDelete: positions that groups keep.

use super::groups::{check_id, code, command, group, said};
use super::{find_stream, group_failure, partition_log};
use crate::codec::messages::offsets::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic, OffsetFetchRequest,
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::errors::ErrorCode;
use crate::session::{Answer, Step, Turn};
use engine::api::{Op, Reply};
use engine::groups::{
    self, Command, Commit, CommittedOffset, Generation, OffsetKey, OffsetToCommit,
};
use std::collections::BTreeMap;
use types::INTERNAL_NAME_BYTES_MAX;
use uuid::Uuid;

/// First version that asks for several groups.
const MANY_FROM: i16 = 8;

/// What stands for "nothing committed" and for "not known".
const NONE: i64 = -1;

/// Where a partition stands in a response that is being filled.
type Place = (usize, usize);

/// Positions may be kept under the empty id, by consumers that are members of nothing.
fn check_id_of_positions(id: &str) -> Result<(), ErrorCode> {
    match id.len() > INTERNAL_NAME_BYTES_MAX {
        true => Err(ErrorCode::INVALID_GROUP_ID),
        false => Ok(()),
    }
}

pub(super) fn commit(turn: &mut Turn<'_, '_>, request: OffsetCommitRequest) -> Step {
    let names = turn.cx.names();
    let checked = check_id_of_positions(&request.group_id);
    let (mut topics, mut offsets, mut places) = (Vec::new(), Vec::new(), Vec::<Place>::new());
    for topic in request.topics {
        let stream = find_stream(&names, &topic.name, Uuid::nil(), false);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let partition_index = wanted.partition_index;
            let found = checked.and_then(|()| {
                partition_log(stream.as_ref().map_err(|code| *code)?, partition_index)
            });
            let error_code = match found {
                Ok(_) => {
                    offsets.push(OffsetToCommit {
                        key: OffsetKey { topic: topic.name.clone(), partition: partition_index },
                        offset: wanted.committed_offset,
                        leader_epoch: wanted.committed_leader_epoch,
                        metadata: wanted.committed_metadata.unwrap_or_default(),
                    });
                    places.push((topics.len(), partitions.len()));
                    ErrorCode::NONE
                }
                Err(code) => code,
            };
            partitions.push(OffsetCommitResponsePartition { partition_index, error_code });
        }
        topics.push(OffsetCommitResponseTopic { name: topic.name, partitions });
    }
    let commit = Commit {
        member: request.member_id,
        instance: request.group_instance_id,
        generation: Generation(request.generation_id_or_member_epoch),
        metadata_bytes_max: turn.options.offset_metadata_bytes_max,
        offsets,
    };
    let ops = match places.is_empty() {
        true => Vec::new(),
        false => vec![command(turn, &request.group_id, Command::Commit(commit))],
    };
    let mut response = OffsetCommitResponse { topics, ..OffsetCommitResponse::default() };
    Step::ask(ops, move |mut answers, turn| {
        let codes = match answers.is_empty() {
            true => Vec::new(),
            false => committed(answers.pop(), places.len()),
        };
        for ((topic, partition), error_code) in places.into_iter().zip(codes) {
            response.topics[topic].partitions[partition].error_code = error_code;
        }
        turn.answer(&response)
    })
}

fn committed(answer: Option<Answer>, count: usize) -> Vec<ErrorCode> {
    match said(answer) {
        Ok(groups::Reply::Committed(results) | groups::Reply::OffsetsDeleted(results)) => results
            .into_iter()
            .map(|result| result.map_or_else(code, |()| ErrorCode::NONE))
            .collect(),
        Ok(_) => vec![ErrorCode::UNKNOWN_SERVER_ERROR; count],
        Err(code) => vec![code; count],
    }
}

/// What one group was asked for, in the words of the newer versions.
type Wanted = OffsetFetchRequestGroup;

pub(super) fn fetch(turn: &mut Turn<'_, '_>, request: OffsetFetchRequest) -> Step {
    let many = turn.version() >= MANY_FROM;
    let wanted: Vec<Wanted> = match many {
        true => request.groups,
        false => vec![Wanted {
            group_id: request.group_id,
            topics: request.topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|topic| OffsetFetchRequestTopics {
                        name: topic.name,
                        partition_indexes: topic.partition_indexes,
                    })
                    .collect()
            }),
            ..Wanted::default()
        }],
    };
    let ops = wanted
        .iter()
        .map(|wanted| {
            let (shard, name) = group(turn, &wanted.group_id);
            Op::Offsets { shard, name }
        })
        .collect();
    Step::ask(ops, move |answers, turn| {
        let mut groups: Vec<OffsetFetchResponseGroup> = wanted
            .into_iter()
            .zip(answers)
            .map(|(wanted, answer)| positions(wanted, answer))
            .collect();
        if many {
            return turn.answer(&OffsetFetchResponse { groups, ..OffsetFetchResponse::default() });
        }
        let group = groups.pop().unwrap_or_default();
        turn.answer(&OffsetFetchResponse {
            error_code: group.error_code,
            topics: group.topics.into_iter().map(older).collect(),
            ..OffsetFetchResponse::default()
        })
    })
}

fn positions(wanted: Wanted, answer: Answer) -> OffsetFetchResponseGroup {
    let group_id = wanted.group_id;
    let known: BTreeMap<OffsetKey, CommittedOffset> = match answer {
        Ok(Reply::Offsets(offsets)) => offsets.unwrap_or_default().into_iter().collect(),
        other => {
            let error_code = group_failure(Some(&other));
            return OffsetFetchResponseGroup { group_id, error_code, topics: Vec::new() };
        }
    };
    let topics = match wanted.topics {
        Some(topics) => topics
            .into_iter()
            .map(|topic| {
                let mut key = OffsetKey { topic: topic.name, partition: 0 };
                let partitions = topic
                    .partition_indexes
                    .into_iter()
                    .map(|partition| {
                        key.partition = partition;
                        position(partition, known.get(&key))
                    })
                    .collect();
                OffsetFetchResponseTopics { name: key.topic, partitions }
            })
            .collect(),
        None => every(known),
    };
    OffsetFetchResponseGroup { group_id, topics, error_code: ErrorCode::NONE }
}

fn every(known: BTreeMap<OffsetKey, CommittedOffset>) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    for (key, offset) in known {
        if topics.last().is_none_or(|topic| topic.name != key.topic) {
            topics.push(OffsetFetchResponseTopics { name: key.topic, partitions: Vec::new() });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(position(key.partition, Some(&offset)));
        }
    }
    topics
}

fn position(
    partition_index: i32,
    offset: Option<&CommittedOffset>,
) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: offset.map_or(NONE, |offset| offset.offset),
        committed_leader_epoch: offset.map_or(-1, |offset| offset.leader_epoch),
        metadata: Some(offset.map(|offset| offset.metadata.clone()).unwrap_or_default()),
        error_code: ErrorCode::NONE,
    }
}

fn older(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic
        .partitions
        .into_iter()
        .map(|partition| OffsetFetchResponsePartition {
            partition_index: partition.partition_index,
            committed_offset: partition.committed_offset,
            committed_leader_epoch: partition.committed_leader_epoch,
            metadata: partition.metadata,
            error_code: partition.error_code,
        })
        .collect();
    OffsetFetchResponseTopic { name: topic.name, partitions }
}

pub(super) fn delete(turn: &mut Turn<'_, '_>, request: OffsetDeleteRequest) -> Step {
    if let Err(error_code) = check_id(&request.group_id) {
        return turn
            .answer(&OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() });
    }
    let names = turn.cx.names();
    let (mut topics, mut keys, mut places) = (Vec::new(), Vec::new(), Vec::<Place>::new());
    for topic in request.topics {
        let stream = find_stream(&names, &topic.name, Uuid::nil(), false);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let partition_index = wanted.partition_index;
            let stream = stream.as_ref().map_err(|code| *code);
            let found = stream.and_then(|stream| partition_log(stream, partition_index));
            if found.is_ok() {
                keys.push(OffsetKey { topic: topic.name.clone(), partition: partition_index });
                places.push((topics.len(), partitions.len()));
            }
            let error_code = found.err().unwrap_or(ErrorCode::NONE);
            partitions.push(OffsetDeleteResponsePartition { partition_index, error_code });
        }
        topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
    }
    let mut response = OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() };
    let op = command(turn, &request.group_id, Command::DeleteOffsets { keys });
    Step::ask(vec![op], move |mut answers, turn| {
        match said(answers.pop()) {
            Ok(groups::Reply::OffsetsDeleted(results)) => {
                for ((topic, partition), result) in places.into_iter().zip(results) {
                    let error_code = result.map_or_else(code, |()| ErrorCode::NONE);
                    response.topics[topic].partitions[partition].error_code = error_code;
                }
            }
            Ok(_) => response.error_code = ErrorCode::UNKNOWN_SERVER_ERROR,
            Err(error_code) => {
                response.error_code = error_code;
                response.topics.clear();
            }
        }
        turn.answer(&response)
    })
}
