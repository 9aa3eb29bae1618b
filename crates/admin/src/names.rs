//! Queues and topics as JSON: lists, one of them, create and delete.

use crate::Admin;
use crate::failure::{Failure, parse};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::api::{Counts, Extent, QueueStats};
use engine::catalog::{Config, Found, KEY_INDEX, NAMESPACE_DEFAULT, PARTITIONS_MAX, Queue, Topic};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Kind, LogRef, SubscriptionId};

/// Which namespace a request is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scope {
    #[serde(default = "default_namespace")]
    pub(crate) namespace: String,
}

/// A topic to create.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTopic {
    #[serde(default = "one")]
    partitions: u32,
    #[serde(default)]
    config: BTreeMap<String, String>,
}

/// A queue to create: it is durable, and has nothing to choose yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQueue {}

type Stats = BTreeMap<SubscriptionId, QueueStats>;
type Extents = BTreeMap<LogRef, Extent>;
type Answer = Result<Json<Value>, Failure>;

/// `GET /health`
pub(crate) async fn health(State(admin): State<Admin>) -> Result<Json<Value>, Failure> {
    if *admin.stopping.borrow() {
        return Err(Failure::new(Kind::Unavailable, "the broker is stopping"));
    }
    Ok(Json(json!({"status": "ok"})))
}

/// `GET /v1/overview`
pub(crate) async fn overview(State(admin): State<Admin>) -> Json<Value> {
    let names = admin.engine().names();
    let (mut queues, mut topics) = (0, 0);
    for namespace in names.namespaces() {
        for found in names.list(namespace, None) {
            match found {
                Found::Queue(_) => queues += 1,
                Found::Topic(_) => topics += 1,
            }
        }
    }
    let wires: Vec<Value> = admin
        .wires
        .iter()
        .map(|wire| {
            json!({
                "name": wire.name,
                "addresses": wire.addresses,
                "connections": wire.counters.open(),
            })
        })
        .collect();
    let uptime = admin.engine().now().since(admin.about.started);
    Json(json!({
        "product": "crossdock",
        "version": admin.about.version,
        "data": admin.about.data,
        "uptime_ms": uptime.0,
        "queues": queues,
        "topics": topics,
        "wires": wires,
    }))
}

/// `GET /v1/queues`
pub(crate) async fn queues(State(admin): State<Admin>, Query(scope): Query<Scope>) -> Answer {
    let stats = admin.stats().await?;
    let names = admin.engine().names();
    let queues: Vec<Value> = names
        .list(&scope.namespace, None)
        .filter_map(|found| match found {
            Found::Queue(queue) => Some(queue_line(queue, &stats)),
            Found::Topic(_) => None,
        })
        .collect();
    Ok(Json(json!(queues)))
}

/// `GET /v1/topics`
pub(crate) async fn topics(State(admin): State<Admin>, Query(scope): Query<Scope>) -> Answer {
    let names = admin.engine().names();
    let topics: Vec<Arc<Topic>> = names
        .list(&scope.namespace, None)
        .filter_map(|found| match found {
            Found::Topic(topic) => Some(Arc::clone(topic)),
            Found::Queue(_) => None,
        })
        .collect();
    let logs: Vec<LogRef> =
        topics.iter().flat_map(|topic| topic.partitions.iter().copied()).collect();
    let extents = admin.extents(&logs).await?;
    let lines: Vec<Value> = topics.iter().map(|topic| topic_line(topic, &extents)).collect();
    Ok(Json(json!(lines)))
}

/// `GET /v1/queues/NAME`
pub(crate) async fn queue(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
) -> Answer {
    let Found::Queue(queue) = find(&admin, &scope, &name)? else {
        return Err(Failure::new(Kind::NotFound, format!("'{name}' is a topic, not a queue")));
    };
    let stats = admin.stats().await?;
    let extents = admin.extents(&[queue.log]).await?;
    let extent = extents.get(&queue.log).copied().unwrap_or_default();
    let mut shown = queue_line(&queue, &stats);
    let tally = stats.get(&queue.subscription.subscription).map(|it| it.tally).unwrap_or_default();
    let arguments: Vec<Value> =
        queue.arguments.iter().map(|(name, value)| json!([name, format!("{value:?}")])).collect();
    extend(
        &mut shown,
        json!({
            "id": format!("{:?}", queue.id),
            "kind": queue.options.kind.name(),
            "start_offset": extent.start,
            "end_offset": extent.end,
            "bytes": extent.bytes,
            "published": tally.published,
            "delivered": tally.delivered,
            "acked": tally.acked,
            "created_ms": queue.created,
            "arguments": arguments,
        }),
    );
    Ok(Json(shown))
}

/// `GET /v1/topics/NAME`
pub(crate) async fn topic(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
) -> Answer {
    let Found::Topic(topic) = find(&admin, &scope, &name)? else {
        return Err(Failure::new(Kind::NotFound, format!("'{name}' is a queue, not a topic")));
    };
    let extents = admin.extents(&topic.partitions).await?;
    let stats = admin.stats().await?;
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|log| {
            let extent = extents.get(log).copied().unwrap_or_default();
            let (start, end) = (extent.start, extent.end);
            json!({"start_offset": start, "end_offset": end, "bytes": extent.bytes})
        })
        .collect();
    let subscriptions: Vec<Value> = topic
        .subscriptions
        .iter()
        .map(|(name, subscription)| {
            let mut shown = counts(stats.get(&subscription.subscription).map(|it| it.counts));
            extend(&mut shown, json!({"name": &**name}));
            shown
        })
        .collect();
    Ok(Json(json!({
        "name": &*topic.name,
        "id": format!("{:?}", topic.id),
        "created_ms": topic.created,
        "config": topic.config.0,
        "partitions": partitions,
        "subscriptions": subscriptions,
    })))
}

/// `PUT /v1/queues/NAME`
pub(crate) async fn create_queue(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let NewQueue {} = parse(&body)?;
    let created = admin.local.within(&scope.namespace).declare_queue(&name).await?;
    Ok(made(created))
}

/// `PUT /v1/topics/NAME`
pub(crate) async fn create_topic(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let NewTopic { partitions, config } = parse(&body)?;
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        let why = format!("a topic has 1 to {PARTITIONS_MAX} partitions, not {partitions}");
        return Err(Failure::new(Kind::Invalid, why));
    }
    if let Some(unknown) = config.keys().find(|name| !EFFECTIVE.contains(&name.as_str())) {
        let why = format!("the configuration '{unknown}' has no effect here; known: {EFFECTIVE:?}");
        return Err(Failure::new(Kind::Invalid, why));
    }
    if let Some(value) = config.get(KEY_INDEX).filter(|it| *it != "true" && *it != "false") {
        let why = format!("{KEY_INDEX} is true or false, not '{value}'");
        return Err(Failure::new(Kind::Invalid, why));
    }
    let local = admin.local.within(&scope.namespace);
    let created = local.declare_topic(&name, partitions, Config(config)).await?;
    Ok(made(created))
}

/// `DELETE /v1/queues/NAME`
pub(crate) async fn delete_queue(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
) -> Result<StatusCode, Failure> {
    match find(&admin, &scope, &name)? {
        Found::Queue(_) => delete(&admin, &scope, &name).await,
        Found::Topic(_) => {
            Err(Failure::new(Kind::NotFound, format!("'{name}' is a topic, not a queue")))
        }
    }
}

/// `DELETE /v1/topics/NAME`
pub(crate) async fn delete_topic(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
) -> Result<StatusCode, Failure> {
    match find(&admin, &scope, &name)? {
        Found::Topic(_) => delete(&admin, &scope, &name).await,
        Found::Queue(_) => {
            Err(Failure::new(Kind::NotFound, format!("'{name}' is a queue, not a topic")))
        }
    }
}

/// Topic configurations that can be given at creation here.
const EFFECTIVE: &[&str] =
    &["retention.ms", "retention.bytes", "max.message.bytes", "message.timestamp.type", KEY_INDEX];

fn default_namespace() -> String {
    NAMESPACE_DEFAULT.to_owned()
}

fn one() -> u32 {
    1
}

fn find(admin: &Admin, scope: &Scope, name: &str) -> Result<Found, Failure> {
    Ok(admin.local.within(&scope.namespace).find(name)?)
}

async fn delete(admin: &Admin, scope: &Scope, name: &str) -> Result<StatusCode, Failure> {
    admin.local.within(&scope.namespace).delete(name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn made(created: bool) -> (StatusCode, Json<Value>) {
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    (status, Json(json!({"created": created})))
}

fn queue_line(queue: &Queue, stats: &Stats) -> Value {
    let counted = stats.get(&queue.subscription.subscription).map(|it| it.counts);
    let mut shown = counts(counted);
    extend(
        &mut shown,
        json!({
            "name": &*queue.name,
            "shard": queue.log.shard.0,
            "durable": queue.durable,
            "exclusive": queue.exclusive.is_some(),
            "auto_delete": queue.auto_delete,
        }),
    );
    shown
}

fn topic_line(topic: &Topic, extents: &Extents) -> Value {
    let of = |log: &LogRef| extents.get(log).copied().unwrap_or_default();
    let messages: i64 =
        topic.partitions.iter().map(of).map(|extent| extent.end.0 - extent.start.0).sum();
    let bytes: u64 = topic.partitions.iter().map(of).map(|extent| extent.bytes).sum();
    json!({
        "name": &*topic.name,
        "partitions": topic.partitions.len(),
        "messages": messages,
        "bytes": bytes,
    })
}

fn counts(counts: Option<Counts>) -> Value {
    let Counts { ready, unacked, delayed, kept, consumers } = counts.unwrap_or_default();
    json!({
        "messages": ready + unacked + delayed,
        "ready": ready,
        "unacked": unacked,
        "delayed": delayed,
        "kept": kept,
        "consumers": consumers,
    })
}

/// Adds the fields of `more` to `shown`.
fn extend(shown: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (shown, more) {
        fields.extend(more);
    }
}
