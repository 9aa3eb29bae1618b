//! Metadata and DescribeTopicPartitions: what there is, and who leads it.

use super::{LEADER_EPOCH, NAMESPACE, find_stream, topics, uuid_of};
use crate::codec::messages::metadata::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::errors::ErrorCode;
use crate::session::{Step, Turn};
use crate::topic_names::check_topic_name;
use engine::Names;
use engine::api::Reply;
use engine::catalog::Stream;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Most partitions that one DescribeTopicPartitions shows.
const PARTITION_LIMIT_MAX: i32 = 2_000;

/// What each name whose topic was to be created came to, if it was refused.
type Refused = BTreeMap<String, ErrorCode>;

pub(super) fn metadata(turn: &mut Turn<'_, '_>, request: MetadataRequest) -> Step {
    let wanted = match request.topics {
        // Version 0 has no null: there an empty list asks for everything.
        Some(topics) if topics.is_empty() && turn.version() == 0 => None,
        topics => topics,
    };
    let names = turn.cx.names();
    let may_create = turn.options.auto_create_topics && request.allow_auto_topic_creation;
    let missing: BTreeSet<&String> = wanted
        .iter()
        .flatten()
        .filter(|topic| topic.topic_id.is_nil())
        .filter_map(|topic| topic.name.as_ref())
        .filter(|name| may_create && names.stream(NAMESPACE, name).is_none())
        .filter(|name| check_topic_name(name).is_ok())
        .collect();
    let (mut ops, mut created, mut refused) = (Vec::new(), Vec::new(), Refused::new());
    for name in missing {
        let partitions = turn.options.partitions_default;
        match topics::declare(turn.cx, name, partitions, BTreeMap::new()) {
            Ok(op) => {
                ops.push(op);
                created.push(name.clone());
            }
            Err(refusal) => {
                refused.insert(name.clone(), topics::refused_auto(&refusal));
            }
        }
    }
    Step::ask(ops, move |answers, turn| {
        for (name, answer) in created.into_iter().zip(answers) {
            let code = match answer {
                Ok(Reply::Changed(result)) => match *result {
                    Ok(_) => continue,
                    Err(refusal) => topics::refused_auto(&refusal),
                },
                _ => ErrorCode::LEADER_NOT_AVAILABLE,
            };
            refused.insert(name, code);
        }
        answer(turn, wanted, &refused)
    })
}

fn answer(
    turn: &Turn<'_, '_>,
    wanted: Option<Vec<MetadataRequestTopic>>,
    refused: &Refused,
) -> Step {
    let names = turn.cx.names();
    let node = turn.options.node_id;
    let topics = match wanted {
        None => names.streams(NAMESPACE).map(|stream| shown(&stream, node)).collect(),
        Some(wanted) => wanted.into_iter().map(|topic| one(&names, topic, refused, node)).collect(),
    };
    let (host, port) = turn.address();
    turn.answer(&MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: node, host, port, rack: None }],
        cluster_id: Some(turn.options.cluster_id.clone()),
        controller_id: node,
        topics,
        ..MetadataResponse::default()
    })
}

fn one(
    names: &Names,
    wanted: MetadataRequestTopic,
    refused: &Refused,
    node: i32,
) -> MetadataResponseTopic {
    let by_id = !wanted.topic_id.is_nil();
    let name = wanted.name.as_deref().unwrap_or_default();
    let error_code = match find_stream(names, name, wanted.topic_id, by_id) {
        Ok(stream) => return shown(&stream, node),
        Err(code) if by_id => code,
        Err(_) if check_topic_name(name).is_err() => ErrorCode::INVALID_TOPIC_EXCEPTION,
        Err(code) => refused.get(name).copied().unwrap_or(code),
    };
    let name = if by_id { None } else { wanted.name };
    MetadataResponseTopic {
        error_code,
        name,
        topic_id: wanted.topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn shown(stream: &Stream, node: i32) -> MetadataResponseTopic {
    let partitions = (0..stream.partitions.len())
        .map(|partition| MetadataResponsePartition {
            error_code: ErrorCode::NONE,
            partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
            leader_id: node,
            leader_epoch: LEADER_EPOCH,
            replica_nodes: vec![node],
            isr_nodes: vec![node],
            offline_replicas: Vec::new(),
        })
        .collect();
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(stream.name.to_string()),
        topic_id: uuid_of(stream.id),
        partitions,
        ..MetadataResponseTopic::default()
    }
}

/// Topics in the order of their names, from the cursor on, at most as many partitions as asked for.
pub(super) fn describe_partitions(
    turn: &Turn<'_, '_>,
    request: &DescribeTopicPartitionsRequest,
) -> Step {
    let names = turn.cx.names();
    let mut wanted: BTreeMap<String, Option<Stream>> = match request.topics.is_empty() {
        true => {
            names.streams(NAMESPACE).map(|stream| (stream.name.to_string(), Some(stream))).collect()
        }
        false => request
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), names.stream(NAMESPACE, &topic.name)))
            .collect(),
    };
    let mut first = 0;
    if let Some(cursor) = &request.cursor {
        wanted = wanted.split_off(&cursor.topic_name);
        if wanted.contains_key(&cursor.topic_name) {
            first = usize::try_from(cursor.partition_index).unwrap_or_default();
        }
    }
    let limit = request.response_partition_limit.clamp(1, PARTITION_LIMIT_MAX);
    let mut left = usize::try_from(limit).unwrap_or_default();
    let mut response = DescribeTopicPartitionsResponse::default();
    for (name, stream) in wanted {
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: 0 });
            break;
        }
        let Some(stream) = stream else {
            response.topics.push(unknown(name));
            continue;
        };
        let end = stream.partitions.len().min(first.saturating_add(left));
        left -= end.saturating_sub(first);
        let rest = end < stream.partitions.len();
        response.topics.push(described(&stream, first..end, turn.options.node_id));
        first = 0;
        if rest {
            let partition_index = i32::try_from(end).unwrap_or(i32::MAX);
            response.next_cursor = Some(Cursor { topic_name: name, partition_index });
            break;
        }
    }
    turn.answer(&response)
}

fn unknown(name: String) -> DescribeTopicPartitionsResponseTopic {
    let error_code = match check_topic_name(&name) {
        Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code,
        name: Some(name),
        topic_id: Uuid::nil(),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn described(
    stream: &Stream,
    partitions: std::ops::Range<usize>,
    node: i32,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = partitions
        .map(|partition| DescribeTopicPartitionsResponsePartition {
            partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
            leader_id: node,
            leader_epoch: LEADER_EPOCH,
            replica_nodes: vec![node],
            isr_nodes: vec![node],
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..DescribeTopicPartitionsResponsePartition::default()
        })
        .collect();
    DescribeTopicPartitionsResponseTopic {
        name: Some(stream.name.to_string()),
        topic_id: uuid_of(stream.id),
        partitions,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
