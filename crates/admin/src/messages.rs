//! Publishing and consuming over HTTP.

mod acking;

use crate::events::{self, Expecting, Of};
use crate::failure::{Failure, parse};
use crate::names::Scope;
use crate::{Admin, Text};
pub(crate) use acking::Acking;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::api::StartAt;
use frontend::{Consumer, Message, Received};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use types::{Kind, Millis, Offset};

/// Most messages of one answer.
const COUNT_MAX: usize = 10_000;

/// An answer ends with the message that takes it beyond so many bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Longest wait for a message.
const WAIT_MS_MAX: u64 = 60_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    messages: Vec<Sent>,
    /// The last record is at this offset …
    #[serde(default)]
    expect_offset: Option<i64>,
    /// … or there is none …
    #[serde(default)]
    expect_absent: bool,
    /// … of the messages' key, or of their partition.
    #[serde(default)]
    expect_of: Option<Of>,
}

/// A message as it is given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    #[serde(default)]
    key: Option<Text>,
    #[serde(default)]
    value: Option<Text>,
    #[serde(default)]
    headers: SentHeaders,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    /// Append it at this time …
    #[serde(default)]
    due_ms: Option<i64>,
    /// … or so long from now.
    #[serde(default)]
    delay_ms: Option<u32>,
}

/// Headers as an object, or in order as pairs.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "headers want an object, or a list of [name, value]")]
enum SentHeaders {
    Named(BTreeMap<String, Option<Text>>),
    Pairs(Vec<(String, Option<Text>)>),
}

/// A message as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    partition: u32,
    offset: Offset,
    timestamp_ms: Option<Millis>,
    #[serde(skip_serializing_if = "is_false")]
    redelivered: bool,
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u16,
    key: Option<Text>,
    value: Option<Text>,
    headers: Vec<(&'a str, Option<Text>)>,
}

/// What to consume.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default = "one")]
    count: usize,
    #[serde(default)]
    wait_ms: u64,
    /// Settle them when they are written; otherwise they go back to the queue.
    #[serde(default = "yes")]
    ack: bool,
}

/// What to read by offset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    #[serde(default = "one")]
    count: usize,
    #[serde(default)]
    wait_ms: u64,
    #[serde(default)]
    from: Begin,
    /// Only these partitions, each from its offset.
    #[serde(default)]
    positions: BTreeMap<u32, i64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Begin {
    #[default]
    First,
    Last,
    Next,
}

impl Default for SentHeaders {
    fn default() -> SentHeaders {
        SentHeaders::Pairs(Vec::new())
    }
}

/// `POST /v1/queues/NAME/publish`, `POST /v1/topics/NAME/publish`
pub(crate) async fn publish(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<Response, Failure> {
    let batch: Batch = parse(&body)?;
    drop(body);
    let has_keys = batch.messages.iter().any(|sent| sent.key.is_some());
    let expecting = Expecting::of(batch.expect_offset, batch.expect_absent, batch.expect_of);
    let expectation = expecting.expectation(has_keys)?;
    let now = admin.engine().now();
    let (mut messages, mut later, mut order) = (Vec::new(), Vec::new(), Vec::new());
    for sent in batch.messages {
        let due = match (sent.due_ms, sent.delay_ms) {
            (Some(_), Some(_)) => {
                let why = "a message has due_ms or delay_ms, not both";
                return Err(Failure::new(Kind::Invalid, why));
            }
            (Some(due), None) => Some(Millis(due)),
            (None, delay) => delay.map(|delay| now.plus(Millis(delay.into()))),
        };
        let message = Message::from(sent);
        if message.timestamp.is_some_and(|time| time.0 < 0) {
            return Err(Failure::new(Kind::Invalid, "a timestamp_ms is not negative"));
        }
        order.push(due.is_some());
        match due {
            Some(due) => later.push((message, due)),
            None => messages.push(message),
        }
    }
    let local = admin.local.within(&scope.namespace);
    let places = match expectation {
        Some(_) if !later.is_empty() => {
            let why = "what is published later can expect nothing";
            return Err(Failure::new(Kind::Invalid, why));
        }
        Some(expectation) => {
            let to = (&*scope.namespace, &*name);
            match events::publish(&admin, to, &messages, expectation).await? {
                Ok(places) => places,
                Err(conflict) => return Ok(conflict),
            }
        }
        None => local.publish(&name, &messages).await?,
    };
    let mut places = places.into_iter();
    let mut scheduled = match later.is_empty() {
        true => Vec::new().into_iter(),
        false => local.schedule(&name, &later).await?.into_iter(),
    };
    let places = order.into_iter().filter_map(|is_later| match is_later {
        true => scheduled
            .next()
            .map(|place| json!({"partition": place.partition, "scheduled": place.offset})),
        false => {
            places.next().map(|place| json!({"partition": place.partition, "offset": place.offset}))
        }
    });
    Ok(Json(json!({"published": places.collect::<Vec<Value>>()})).into_response())
}

/// `POST /v1/queues/NAME/consume`, `POST /v1/topics/NAME/consume`
pub(crate) async fn consume(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<Response, Failure> {
    let Wanted { count, wait_ms, ack } = parse(&body)?;
    let count = count.min(COUNT_MAX);
    let local = admin.local.within(&scope.namespace);
    let prefetch = u32::try_from(count).unwrap_or(u32::MAX);
    let mut consumer = local.consume(&name, prefetch).await?;
    let taken = gather(&admin, &mut consumer, count, wait_ms).await?;
    let lines = lines(&taken)?;
    let body = match ack && !taken.is_empty() {
        true => Body::new(Acking::new(lines, async move { consumer.ack(&taken).await })),
        false => Body::from(lines),
    };
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// `POST /v1/queues/NAME/read`, `POST /v1/topics/NAME/read`
pub(crate) async fn read(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<Response, Failure> {
    let Reading { count, wait_ms, from, positions } = parse(&body)?;
    let local = admin.local.within(&scope.namespace);
    let count_of = local.find(&name)?.logs().len();
    let start = match from {
        Begin::First => StartAt::First,
        Begin::Last => StartAt::Last,
        Begin::Next => StartAt::Next,
    };
    let starts: Vec<(u32, StartAt)> = match positions.is_empty() {
        true => (0..u32::try_from(count_of).unwrap_or(u32::MAX)).map(|at| (at, start)).collect(),
        false => {
            positions.into_iter().map(|(at, from)| (at, StartAt::Offset(Offset(from)))).collect()
        }
    };
    let mut consumer = local.read(&name, &starts).await?;
    let taken = gather(&admin, &mut consumer, count.min(COUNT_MAX), wait_ms).await?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines(&taken)?).into_response())
}

/// Messages, until there are enough, none comes for a while, or the broker is stopping.
async fn gather(
    admin: &Admin,
    consumer: &mut Consumer,
    count: usize,
    wait_ms: u64,
) -> Result<Vec<Received>, Failure> {
    let wait = Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
    tokio::select! {
        taken = consumer.take(count, ANSWER_BYTES_MAX, wait) => Ok(taken?),
        () = admin.stopped() => {
            Err(Failure::new(Kind::Unavailable, "the broker is stopping"))
        }
    }
}

/// One line of JSON for each message.
fn lines(taken: &[Received]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    for received in taken {
        let written = serde_json::to_writer(&mut out, &Shown::of(received));
        written.map_err(|error| Failure::new(Kind::Invalid, error.to_string()))?;
        out.push(b'\n');
    }
    Ok(out)
}

impl<'a> Shown<'a> {
    pub(crate) fn of(received: &'a Received) -> Shown<'a> {
        let Received { place, message, attempts, redelivered, .. } = received;
        let text = |bytes: &Option<Bytes>| bytes.clone().map(Text);
        Shown {
            partition: place.partition,
            offset: place.offset,
            timestamp_ms: message.timestamp,
            redelivered: *redelivered,
            attempts: *attempts,
            key: text(&message.key),
            value: text(&message.value),
            headers: message.headers.iter().map(|(n, value)| (n.as_str(), text(value))).collect(),
        }
    }
}

impl Sent {
    /// It says when it is from, or when it is to be appended.
    pub(crate) fn has_time(&self) -> bool {
        self.timestamp_ms.or(self.due_ms).is_some() || self.delay_ms.is_some()
    }
}

impl From<Sent> for Message {
    fn from(sent: Sent) -> Message {
        let own = |(name, value): (String, Option<Text>)| (name, value.map(|text| text.0));
        Message {
            key: sent.key.map(|text| text.0),
            value: sent.value.map(|text| text.0),
            headers: match sent.headers {
                SentHeaders::Named(named) => named.into_iter().map(own).collect(),
                SentHeaders::Pairs(pairs) => pairs.into_iter().map(own).collect(),
            },
            timestamp: sent.timestamp_ms.map(Millis),
        }
    }
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(count: &u16) -> bool {
    *count == 0
}
