//! CreateTopics.

use super::{Fault, declare, outcome};
use crate::codec::messages::topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use crate::errors::ErrorCode;
use crate::requests::{NAMESPACE, configs, uuid_of};
use crate::session::{Step, Turn};
use crate::topic_config;
use crate::topic_names::check_topic_name;
use crate::wire::Options;
use engine::Names;
use engine::catalog::{Outcome, PARTITIONS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// What stands for "the broker's default".
const DEFAULT: i32 = -1;

/// Copies of each partition that there are.
const REPLICATION: i16 = 1;

/// A topic that may be created: how many partitions, and its configuration.
type Checked = (u32, BTreeMap<String, String>);

pub(in crate::requests) fn create(turn: &mut Turn<'_, '_>, request: CreateTopicsRequest) -> Step {
    let names = turn.cx.names();
    let twice = named_twice(&request.topics);
    let (mut topics, mut ops, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for topic in request.topics {
        let checked = match twice.contains(&topic.name) {
            true => Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned())),
            false => check(&topic, &names, turn.options),
        };
        let mut result =
            CreatableTopicResult { name: topic.name, ..CreatableTopicResult::default() };
        match checked {
            Err(fault) => refuse(&mut result, fault),
            Ok((partitions, config)) => {
                describe(&mut result, partitions, &config, turn.options);
                match declare(turn.cx, &result.name, partitions, config) {
                    Err(refusal) => refuse(&mut result, super::fault(&refusal)),
                    Ok(op) if !request.validate_only => {
                        ops.push(op);
                        places.push(topics.len());
                    }
                    Ok(_) => {}
                }
            }
        }
        topics.push(result);
    }
    Step::ask(ops, move |answers, turn| {
        for (place, answer) in places.into_iter().zip(answers) {
            let result: &mut CreatableTopicResult = &mut topics[place];
            match outcome(answer) {
                Ok(Outcome::Topic { id, created: true, .. }) => result.topic_id = uuid_of(id),
                Ok(_) => {
                    let fault = exists(&result.name);
                    refuse(result, fault);
                }
                Err(fault) => refuse(result, fault),
            }
        }
        turn.answer(&CreateTopicsResponse { topics, ..CreateTopicsResponse::default() })
    })
}

fn named_twice(topics: &[CreatableTopic]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let again = topics.iter().filter(|topic| !seen.insert(&topic.name));
    again.map(|topic| topic.name.clone()).collect()
}

fn refuse(result: &mut CreatableTopicResult, (code, why): Fault) {
    result.error_code = code;
    result.error_message = Some(why);
    result.num_partitions = -1;
    result.replication_factor = -1;
    result.configs = None;
}

fn exists(name: &str) -> Fault {
    (ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists."))
}

fn check(topic: &CreatableTopic, names: &Names, options: &Options) -> Result<Checked, Fault> {
    check_topic_name(&topic.name).map_err(|why| (ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
    if names.find(NAMESPACE, &topic.name).is_some() {
        return Err(exists(&topic.name));
    }
    let partitions = match topic.assignments.is_empty() {
        true => count(topic, options)?,
        false => assigned(topic, options.node_id)?,
    };
    let mut config = BTreeMap::new();
    for set in &topic.configs {
        let value = topic_config::check(&set.name, set.value.as_deref())
            .map_err(|refusal| (refusal.code, refusal.message))?;
        config.insert(set.name.clone(), value);
    }
    Ok((partitions, config))
}

fn count(topic: &CreatableTopic, options: &Options) -> Result<u32, Fault> {
    if topic.replication_factor != REPLICATION && i32::from(topic.replication_factor) != DEFAULT {
        let why = format!(
            "Unable to replicate the partition {} time(s): there is 1 broker.",
            topic.replication_factor
        );
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, why));
    }
    let partitions = match topic.num_partitions {
        DEFAULT => options.partitions_default,
        number => u32::try_from(number).unwrap_or(0),
    };
    if partitions == 0 {
        let why = "Number of partitions was set to an invalid non-positive value.".to_owned();
        return Err((ErrorCode::INVALID_PARTITIONS, why));
    }
    if partitions > PARTITIONS_MAX {
        let why = format!("a topic has at most {PARTITIONS_MAX} partitions");
        return Err((ErrorCode::INVALID_PARTITIONS, why));
    }
    Ok(partitions)
}

/// Partitions that the client places itself: all of them here.
fn assigned(topic: &CreatableTopic, node: i32) -> Result<u32, Fault> {
    if topic.num_partitions != DEFAULT || i32::from(topic.replication_factor) != DEFAULT {
        let why = "with an assignment, partitions and replication factor must be -1".to_owned();
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    let indexes: BTreeSet<i32> =
        topic.assignments.iter().map(|assignment| assignment.partition_index).collect();
    let last = i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX) - 1;
    let dense = indexes.len() == topic.assignments.len()
        && indexes.first() == Some(&0)
        && indexes.last() == Some(&last);
    let here = |assignment: &CreatableReplicaAssignment| assignment.broker_ids == [node];
    if !dense || !topic.assignments.iter().all(here) {
        let why = format!("partitions are numbered from 0 and go to broker {node}");
        return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    }
    match u32::try_from(topic.assignments.len()) {
        Ok(partitions) if partitions <= PARTITIONS_MAX => Ok(partitions),
        _ => {
            let why = format!("a topic has at most {PARTITIONS_MAX} partitions");
            Err((ErrorCode::INVALID_PARTITIONS, why))
        }
    }
}

fn describe(
    result: &mut CreatableTopicResult,
    partitions: u32,
    set: &BTreeMap<String, String>,
    options: &Options,
) {
    result.num_partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    result.replication_factor = REPLICATION;
    let configs = configs::values(set, options).map(|value| CreatableTopicConfigs {
        name: value.config.name.to_owned(),
        config_source: value.source,
        value: Some(value.value),
        read_only: false,
        is_sensitive: false,
    });
    result.configs = Some(configs.collect());
}
