//! CreateTopics, DeleteTopics, CreatePartitions.

mod create;

use super::{NAMESPACE, find_stream};
use crate::codec::messages::topics::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult, DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::errors::ErrorCode;
use crate::session::{Answer, Step, Turn};
use engine::GroupName;
use engine::api::{Op, Reply};
use engine::catalog::{
    Action, Change, Config, DeclareTopic, Found, Name, Names, Outcome, PARTITIONS_MAX, Refusal,
    Stream,
};
use engine::groups::Command;
use frontend::Cx;
use std::collections::{BTreeMap, BTreeSet};
use types::ShardId;
use uuid::Uuid;

pub(super) use create::create;

/// First version that names topics by id as well.
const DELETE_BY_ID_FROM: i16 = 6;

/// A code and a sentence.
type Fault = (ErrorCode, String);

/// The operation that makes a change of names.
pub(super) fn change(cx: &Cx<'_>, action: Action) -> Result<Op, Box<Refusal>> {
    let mut change = Change::new(NAMESPACE, action);
    let layer = cx.names().place(&mut change).map_err(Box::new)?;
    Ok(Op::Change { shard: engine::shard_of(layer), change: Box::new(change) })
}

/// The operation that creates a topic.
pub(super) fn declare(
    cx: &Cx<'_>,
    name: &str,
    partitions: u32,
    config: BTreeMap<String, String>,
) -> Result<Op, Box<Refusal>> {
    let (name, id) = (Name::from(name), cx.new_topic_id());
    let config = Config(config);
    change(cx, Action::DeclareTopic(DeclareTopic { name, id, partitions, config }))
}

/// What a change of names came to.
pub(super) fn outcome(answer: Answer) -> Result<Outcome, Fault> {
    match answer {
        Ok(Reply::Changed(result)) => result.map_err(|refusal| fault(&refusal)),
        Ok(_) => Err((ErrorCode::UNKNOWN_SERVER_ERROR, "no outcome".to_owned())),
        Err(error) => Err((crate::errors::topic_error(error.kind), error.message)),
    }
}

/// A refusal as a request for a topic sees it.
pub(super) fn fault(refusal: &Refusal) -> Fault {
    let code = match refusal {
        Refusal::NotFound { .. } => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Refusal::KindClash { .. } => ErrorCode::INVALID_REQUEST,
        Refusal::Mismatch { .. } => ErrorCode::TOPIC_ALREADY_EXISTS,
        Refusal::Collides { .. } | Refusal::IllegalName { .. } | Refusal::Reserved { .. } => {
            ErrorCode::INVALID_TOPIC_EXCEPTION
        }
        Refusal::TooMany { .. } => ErrorCode::INVALID_PARTITIONS,
        Refusal::Exclusive { .. } | Refusal::InUse { .. } | Refusal::LimitReached { .. } => {
            ErrorCode::POLICY_VIOLATION
        }
        Refusal::Invalid { .. } => ErrorCode::INVALID_REQUEST,
    };
    (code, refusal.to_string())
}

/// The code for a topic that Metadata was to create: none that clients would ask again for.
pub(super) fn refused_auto(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::TooMany { .. } => ErrorCode::INVALID_PARTITIONS,
        _ => ErrorCode::INVALID_TOPIC_EXCEPTION,
    }
}

/// The topic of a name; a queue is changed by the wires that declare queues.
pub(super) fn only_topic(names: &Names, name: &str) -> Result<Stream, Fault> {
    match names.find(NAMESPACE, name) {
        Some(Found::Topic(_)) => names
            .stream(NAMESPACE, name)
            .ok_or_else(|| (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new())),
        Some(Found::Queue(_)) if names.stream(NAMESPACE, name).is_some() => {
            let why = format!("'{name}' is a queue: it is not changed through Kafka");
            Err((ErrorCode::INVALID_REQUEST, why))
        }
        _ => {
            let why = "This server does not host this topic-partition.".to_owned();
            Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why))
        }
    }
}

pub(super) fn delete(turn: &mut Turn<'_, '_>, request: DeleteTopicsRequest) -> Step {
    let names = turn.cx.names();
    let by_state = turn.version() >= DELETE_BY_ID_FROM;
    let wanted: Vec<(Option<String>, Uuid)> = match by_state {
        true => request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)).collect(),
        false => request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil())).collect(),
    };
    let mut seen = BTreeSet::new();
    let (mut responses, mut ops, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (name, topic_id) in wanted {
        let mut response = DeletableTopicResult { name, topic_id, ..Default::default() };
        match to_delete(&names, response.name.as_deref(), topic_id) {
            Ok(stream) if !seen.insert(Name::clone(&stream.name)) => {
                response.error_code = ErrorCode::INVALID_REQUEST;
                response.error_message = Some("the topic is named twice".to_owned());
            }
            Ok(stream) => {
                response.name = Some(stream.name.to_string());
                response.topic_id = super::uuid_of(stream.id);
                match change(turn.cx, Action::DeleteTopic { name: stream.name }) {
                    Ok(op) => {
                        ops.push(op);
                        places.push(responses.len());
                    }
                    Err(refusal) => set_fault(&mut response, fault(&refusal)),
                }
            }
            Err(fault) => set_fault(&mut response, fault),
        }
        responses.push(response);
    }
    Step::ask(ops, move |answers, turn| {
        let mut gone = Vec::new();
        for (place, answer) in places.into_iter().zip(answers) {
            let response = &mut responses[place];
            match outcome(answer) {
                Ok(_) => gone.extend(response.name.clone()),
                Err(fault) => set_fault(response, fault),
            }
        }
        forget(turn, gone, DeleteTopicsResponse { responses, ..Default::default() })
    })
}

fn set_fault(response: &mut DeletableTopicResult, (code, why): Fault) {
    response.error_code = code;
    response.error_message = Some(why);
}

fn to_delete(names: &Names, name: Option<&str>, id: Uuid) -> Result<Stream, Fault> {
    match name {
        Some(_) if !id.is_nil() => {
            let why = "a topic is named or given by its id, not both".to_owned();
            Err((ErrorCode::INVALID_REQUEST, why))
        }
        Some(name) => only_topic(names, name),
        None => {
            let found = find_stream(names, "", id, true);
            let stream = found.map_err(|code| (code, code.name().to_owned()))?;
            only_topic(names, &stream.name)
        }
    }
}

/// Forgets what groups have committed for topics that are gone, before that is told: a topic made
/// anew under the name begins without positions.
fn forget(turn: &Turn<'_, '_>, gone: Vec<String>, response: DeleteTopicsResponse) -> Step {
    if gone.is_empty() {
        return turn.answer(&response);
    }
    let namespace = Name::from(NAMESPACE);
    let ops = group_shards(&turn.cx.names())
        .into_iter()
        .map(|shard| Op::Groups { shard, namespace: Name::clone(&namespace), names: None })
        .collect();
    Step::ask(ops, move |answers, turn| {
        let names = turn.cx.names();
        let mut ops = Vec::new();
        for answer in answers {
            let Ok(Reply::Groups(groups)) = answer else { continue };
            for (group, _) in groups {
                let shard = names.group_shard(NAMESPACE, &group);
                let name = GroupName { namespace: Name::clone(&namespace), group };
                ops.extend(gone.iter().map(|topic| Op::Group {
                    shard,
                    name: name.clone(),
                    command: Box::new(Command::ForgetTopic { topic: topic.clone() }),
                }));
            }
        }
        Step::ask(ops, move |_, turn| turn.answer(&response))
    })
}

/// Every shard that coordinates groups.
pub(super) fn group_shards(names: &Names) -> BTreeSet<ShardId> {
    names.group_shards().collect()
}

pub(super) fn add_partitions(turn: &mut Turn<'_, '_>, request: CreatePartitionsRequest) -> Step {
    let names = turn.cx.names();
    let mut seen = BTreeSet::new();
    let (mut results, mut ops, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for topic in request.topics {
        let checked = match seen.insert(topic.name.clone()) {
            true => partitions_to_add(&names, &topic, turn.options.node_id),
            false => Err((ErrorCode::INVALID_REQUEST, "the topic is named twice".to_owned())),
        };
        let placed = checked.and_then(|total| {
            let name = Name::from(topic.name.as_str());
            let op = change(turn.cx, Action::AddPartitions { name, total });
            op.map_err(|refusal| fault(&refusal))
        });
        let mut result = CreatePartitionsTopicResult { name: topic.name, ..Default::default() };
        match placed {
            Ok(op) if !request.validate_only => {
                ops.push(op);
                places.push(results.len());
            }
            Ok(_) => {}
            Err((code, why)) => {
                result.error_code = code;
                result.error_message = Some(why);
            }
        }
        results.push(result);
    }
    Step::ask(ops, move |answers, turn| {
        for (place, answer) in places.into_iter().zip(answers) {
            if let Err((code, why)) = outcome(answer) {
                results[place].error_code = code;
                results[place].error_message = Some(why);
            }
        }
        turn.answer(&CreatePartitionsResponse { results, ..Default::default() })
    })
}

/// How many partitions the topic is to have.
fn partitions_to_add(
    names: &Names,
    topic: &CreatePartitionsTopic,
    node: i32,
) -> Result<u32, Fault> {
    let stream = only_topic(names, &topic.name)?;
    let now = stream.partitions.len();
    let invalid = |why| Err((ErrorCode::INVALID_PARTITIONS, why));
    let total = match u32::try_from(topic.count) {
        Ok(total) if total > PARTITIONS_MAX => {
            return invalid(format!("a topic has at most {PARTITIONS_MAX} partitions"));
        }
        Ok(total) if total as usize > now => total,
        Ok(total) if total as usize == now => {
            return invalid(format!("Topic already has {now} partitions."));
        }
        _ => {
            return invalid(format!(
                "The topic {} currently has {now} partition(s); {} would not be an increase.",
                topic.name, topic.count
            ));
        }
    };
    if let Some(assignments) = &topic.assignments {
        let added = total as usize - now;
        let here = assignments.iter().all(|assignment| assignment.broker_ids == [node]);
        if assignments.len() != added || !here {
            let why = format!("each of the {added} new partitions goes to broker {node}");
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
    }
    Ok(total)
}
