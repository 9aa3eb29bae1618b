//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs: those of topics; the broker's own are
//! shown, and set where it is started.

use super::topics::{change, fault, only_topic, outcome};
use super::{NAMESPACE, find_stream};
use crate::codec::messages::configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResponse, AlterConfigsResult,
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource,
    IncrementalAlterConfigsResponse, IncrementalAlterConfigsResult,
};
use crate::errors::ErrorCode;
use crate::session::{Step, Turn};
use crate::topic_config::{self, Alteration, TOPIC_CONFIGS, TopicConfig};
use crate::wire::Options;
use engine::Names;
use engine::api::Op;
use engine::catalog::{Action, Config, ConfigChange, Name};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;

const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

const TYPE_BOOL: i8 = 1;
const TYPE_STRING: i8 = 2;
const TYPE_INT: i8 = 3;
const TYPE_LONG: i8 = 5;

/// A code and a sentence.
type Fault = (ErrorCode, String);

/// One configuration of a topic as it holds now.
pub(super) struct Valued {
    pub(super) config: &'static TopicConfig,
    pub(super) value: String,
    pub(super) source: i8,
}

/// Every configuration of a topic that has `set` some.
pub(super) fn values(
    set: &BTreeMap<String, String>,
    options: &Options,
) -> impl Iterator<Item = Valued> {
    TOPIC_CONFIGS.iter().map(|config| match set.get(config.name) {
        Some(value) => Valued { config, value: value.clone(), source: SOURCE_TOPIC },
        None => unset(config, options),
    })
}

/// What holds for a topic that does not set it: the broker's own value or the default.
fn unset(config: &'static TopicConfig, options: &Options) -> Valued {
    let broker = options.message_bytes_max.to_string();
    match config.name == "max.message.bytes" && broker != config.default {
        true => Valued { config, value: broker, source: SOURCE_STATIC_BROKER },
        false => Valued { config, value: config.default.to_owned(), source: SOURCE_DEFAULT },
    }
}

pub(super) fn describe(turn: &Turn<'_, '_>, request: &DescribeConfigsRequest) -> Step {
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let described = match resource.resource_type {
                RESOURCE_TOPIC => topic(turn, resource, request.include_synonyms),
                RESOURCE_BROKER => broker(turn, resource),
                other => Err(unsupported(other)),
            };
            let (configs, (error_code, message)) = match described {
                Ok(configs) => (configs, (ErrorCode::NONE, None)),
                Err((code, why)) => (Vec::new(), (code, Some(why))),
            };
            DescribeConfigsResult {
                error_code,
                error_message: message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                configs,
            }
        })
        .collect();
    turn.answer(&DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() })
}

fn wanted(resource: &DescribeConfigsResource, name: &str) -> bool {
    match &resource.configuration_keys {
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| key == name),
        _ => true,
    }
}

fn topic(
    turn: &Turn<'_, '_>,
    resource: &DescribeConfigsResource,
    synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Fault> {
    let name = &resource.resource_name;
    let stream = find_stream(&turn.cx.names(), name, Uuid::nil(), false)
        .map_err(|code| (code, "This server does not host this topic-partition.".to_owned()))?;
    let of_queue = Config(BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]));
    let (config, read_only) = match &stream.config {
        Some(config) => (&**config, false),
        // A queue keeps what is not settled, for however long that is.
        None => (&of_queue, true),
    };
    let shown = values(&config.0, turn.options).filter(|value| wanted(resource, value.config.name));
    Ok(shown
        .map(|value| DescribeConfigsResourceResult {
            name: value.config.name.to_owned(),
            read_only,
            config_source: value.source,
            synonyms: if synonyms { origins(&value, turn.options) } else { Vec::new() },
            config_type: value.config.type_number(),
            value: Some(value.value),
            ..DescribeConfigsResourceResult::default()
        })
        .collect())
}

/// Where a value comes from, and what would hold without it.
///
/// A topic's `max.message.bytes` is the broker's `message.max.bytes`; the others have one name.
fn origins(value: &Valued, options: &Options) -> Vec<DescribeConfigsSynonym> {
    let config = value.config;
    let of_broker =
        if config.name == "max.message.bytes" { "message.max.bytes" } else { config.name };
    let unset = unset(config, options);
    let broker =
        (unset.source == SOURCE_STATIC_BROKER).then_some((of_broker, unset.value, unset.source));
    let set =
        (value.source == SOURCE_TOPIC).then(|| (config.name, value.value.clone(), SOURCE_TOPIC));
    let default = Some((of_broker, config.default.to_owned(), SOURCE_DEFAULT));
    [set, broker, default]
        .into_iter()
        .flatten()
        .map(|(name, value, source)| DescribeConfigsSynonym {
            name: name.to_owned(),
            value: Some(value),
            source,
        })
        .collect()
}

fn broker(
    turn: &Turn<'_, '_>,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Fault> {
    let options = turn.options;
    let (host, port) = turn.address();
    let node = options.node_id.to_string();
    if !resource.resource_name.is_empty() && resource.resource_name != node {
        let why = format!("Unexpected broker id, expected {node} or empty string.");
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    let shown = [
        ("advertised.listeners", format!("PLAINTEXT://{host}:{port}"), TYPE_STRING),
        ("auto.create.topics.enable", options.auto_create_topics.to_string(), TYPE_BOOL),
        ("broker.id", node, TYPE_INT),
        ("connections.max.idle.ms", options.idle_max.0.to_string(), TYPE_LONG),
        ("default.replication.factor", "1".to_owned(), TYPE_INT),
        ("delete.topic.enable", "true".to_owned(), TYPE_BOOL),
        ("group.initial.rebalance.delay.ms", options.group_initial_delay.to_string(), TYPE_INT),
        ("log.dirs", options.log_dir.clone(), TYPE_STRING),
        ("message.max.bytes", options.message_bytes_max.to_string(), TYPE_INT),
        ("num.partitions", options.partitions_default.to_string(), TYPE_INT),
        ("offset.metadata.max.bytes", options.offset_metadata_bytes_max.to_string(), TYPE_INT),
    ];
    Ok(shown
        .into_iter()
        .filter(|(name, ..)| wanted(resource, name))
        .map(|(name, value, config_type)| DescribeConfigsResourceResult {
            name: name.to_owned(),
            value: Some(value),
            read_only: true,
            config_source: SOURCE_STATIC_BROKER,
            config_type,
            ..DescribeConfigsResourceResult::default()
        })
        .collect())
}

/// Replaces all that is set on each topic.
pub(super) fn replace(turn: &mut Turn<'_, '_>, request: AlterConfigsRequest) -> Step {
    let names = turn.cx.names();
    let keys: Vec<Key> = request.resources.iter().map(key_of_replaced).collect();
    let changes = request.resources.iter().map(|resource| {
        alterable(&names, resource.resource_type, &resource.resource_name)?;
        let mut config = BTreeMap::new();
        for set in &resource.configs {
            let value = topic_config::check(&set.name, set.value.as_deref())
                .map_err(|refusal| (refusal.code, refusal.message))?;
            config.insert(set.name.clone(), value);
        }
        Ok(ConfigChange::Replace(Config(config)))
    });
    let (ops, faults) = plan(turn, &keys, changes, request.validate_only);
    Step::ask(ops, move |answers, turn| {
        let responses = keys
            .into_iter()
            .zip(settled(faults, answers))
            .map(|((resource_type, resource_name), (error_code, error_message))| {
                AlterConfigsResult { error_code, error_message, resource_type, resource_name }
            })
            .collect();
        turn.answer(&AlterConfigsResponse { responses, ..AlterConfigsResponse::default() })
    })
}

/// Changes single ones of those set on each topic (KIP-339).
pub(super) fn alter(turn: &mut Turn<'_, '_>, request: IncrementalAlterConfigsRequest) -> Step {
    let names = turn.cx.names();
    let keys: Vec<Key> = request.resources.iter().map(key_of_altered).collect();
    let changes = request.resources.iter().map(|resource| edits(&names, resource));
    let (ops, faults) = plan(turn, &keys, changes, request.validate_only);
    Step::ask(ops, move |answers, turn| {
        let responses = keys
            .into_iter()
            .zip(settled(faults, answers))
            .map(|((resource_type, resource_name), (error_code, error_message))| {
                IncrementalAlterConfigsResult {
                    error_code,
                    error_message,
                    resource_type,
                    resource_name,
                }
            })
            .collect();
        turn.answer(&IncrementalAlterConfigsResponse {
            responses,
            ..IncrementalAlterConfigsResponse::default()
        })
    })
}

/// Type and name of a resource.
type Key = (i8, String);

fn key_of_replaced(resource: &AlterConfigsResource) -> Key {
    (resource.resource_type, resource.resource_name.clone())
}

fn key_of_altered(resource: &IncrementalAlterConfigsResource) -> Key {
    (resource.resource_type, resource.resource_name.clone())
}

/// The operations for the changes that are allowed; for each resource what forbids it, or that its
/// operation decides.
fn plan(
    turn: &Turn<'_, '_>,
    keys: &[Key],
    changes: impl Iterator<Item = Result<ConfigChange, Fault>>,
    validate_only: bool,
) -> (Vec<Op>, Vec<Option<Fault>>) {
    let mut seen = BTreeSet::new();
    let mut ops = Vec::new();
    let mut faults = Vec::with_capacity(keys.len());
    for (key, checked) in keys.iter().zip(changes) {
        let placed = match seen.insert(key) {
            false => Err((ErrorCode::INVALID_REQUEST, "the resource is named twice".to_owned())),
            true => checked.and_then(|edit| {
                let name = Name::from(key.1.as_str());
                let op = change(turn.cx, Action::AlterConfig { name, change: edit });
                op.map_err(|refusal| fault(&refusal))
            }),
        };
        match placed {
            Ok(op) if !validate_only => {
                ops.push(op);
                faults.push(None);
            }
            Ok(_) => faults.push(Some((ErrorCode::NONE, String::new()))),
            Err(fault) => faults.push(Some(fault)),
        }
    }
    (ops, faults)
}

fn settled(
    faults: Vec<Option<Fault>>,
    answers: Vec<crate::session::Answer>,
) -> impl Iterator<Item = (ErrorCode, Option<String>)> {
    let mut answers = answers.into_iter();
    faults.into_iter().map(move |known| {
        let fault = match known {
            Some(fault) => Some(fault),
            None => answers.next().and_then(|answer| outcome(answer).err()),
        };
        match fault {
            Some((ErrorCode::NONE, _)) | None => (ErrorCode::NONE, None),
            Some((code, why)) => (code, Some(why)),
        }
    })
}

fn alterable(names: &Names, resource_type: i8, name: &str) -> Result<(), Fault> {
    match resource_type {
        RESOURCE_TOPIC => only_topic(names, name).map(|_| ()),
        RESOURCE_BROKER => {
            let why = "the broker's configuration is set where it is started".to_owned();
            Err((ErrorCode::INVALID_REQUEST, why))
        }
        other => Err(unsupported(other)),
    }
}

fn unsupported(resource_type: i8) -> Fault {
    let why = format!("there are no configurations of resources of type {resource_type}");
    (ErrorCode::INVALID_REQUEST, why)
}

fn edits(names: &Names, resource: &IncrementalAlterConfigsResource) -> Result<ConfigChange, Fault> {
    alterable(names, resource.resource_type, &resource.resource_name)?;
    let stream = names.stream(NAMESPACE, &resource.resource_name);
    let config = stream.and_then(|stream| stream.config);
    let mut set = config.map(|config| config.0.clone()).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut edits = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        if !seen.insert(&config.name) {
            let why = format!("Error due to duplicate config keys: {}", config.name);
            return Err((ErrorCode::INVALID_REQUEST, why));
        }
        let step = Alteration::from_number(config.config_operation)
            .and_then(|how| topic_config::alter(&set, how, &config.name, config.value.as_deref()));
        let (name, value) = step.map_err(|refusal| (refusal.code, refusal.message))?;
        match &value {
            Some(value) => set.insert(name.clone(), value.clone()),
            None => set.remove(&name),
        };
        edits.push((name, value));
    }
    Ok(ConfigChange::Edit(edits))
}
