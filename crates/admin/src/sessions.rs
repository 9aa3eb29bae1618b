//! Sessions of queues as JSON: listed, and what is kept for them read, replaced and taken away.

use crate::failure::{Failure, parse};
use crate::{Admin, Text, base64};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::api::Session;
use engine::catalog::NAMESPACE_DEFAULT;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use types::{ClientId, ConsumerId, Kind};

/// Which sessions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    from_base64: Option<String>,
    #[serde(default = "hundred")]
    count: u32,
}

/// How a key in a path is to be read, and what is expected.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct One {
    #[serde(default = "default_namespace")]
    namespace: String,
    /// `base64`, or nothing.
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    expect_version: Option<u64>,
}

/// A state, as a request has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    state: Text,
    #[serde(default)]
    expect_version: Option<u64>,
}

/// Consumers and their tags, by connection and number.
type Tags = BTreeMap<(ClientId, ConsumerId), String>;

/// `GET /v1/queues/NAME/sessions`
pub(crate) async fn list(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, Failure> {
    let from = match part.from_base64 {
        Some(text) => decoded(&text)?,
        None => Bytes::from(part.from),
    };
    let local = admin.local.within(&part.namespace);
    let (sessions, next) = local.sessions(&name, from, part.count).await?;
    let tags = tags(&admin, &sessions).await;
    let shown: Vec<Value> = sessions.iter().map(|session| shown(&admin, session, &tags)).collect();
    Ok(Json(json!({"sessions": shown, "next": next.map(Text)})))
}

/// `GET /v1/queues/NAME/sessions/KEY`
pub(crate) async fn one(
    State(admin): State<Admin>,
    Path((name, key)): Path<(String, String)>,
    Query(one): Query<One>,
) -> Result<Json<Value>, Failure> {
    let local = admin.local.within(&one.namespace);
    let session = local.session(&name, key_of(key, one.key.as_deref())?).await?;
    let tags = tags(&admin, std::slice::from_ref(&session)).await;
    let mut value = shown(&admin, &session, &tags);
    value["state"] = json!(session.state.map(Text));
    Ok(Json(value))
}

/// `PUT /v1/queues/NAME/sessions/KEY`
pub(crate) async fn put(
    State(admin): State<Admin>,
    Path((name, key)): Path<(String, String)>,
    Query(one): Query<One>,
    body: Bytes,
) -> Result<Response, Failure> {
    let New { state, expect_version } = parse(&body)?;
    let expected = expect_version.or(one.expect_version);
    let key = key_of(key, one.key.as_deref())?;
    let local = admin.local.within(&one.namespace);
    let set = local.set_session(&name, key, (expected, Some(state.0))).await?;
    Ok(match set {
        Ok(version) => Json(json!({"version": version})).into_response(),
        Err(version) => unexpected(expected, version),
    })
}

/// `DELETE /v1/queues/NAME/sessions/KEY`
pub(crate) async fn delete(
    State(admin): State<Admin>,
    Path((name, key)): Path<(String, String)>,
    Query(one): Query<One>,
) -> Result<Response, Failure> {
    let key = key_of(key, one.key.as_deref())?;
    let local = admin.local.within(&one.namespace);
    let set = local.set_session(&name, key, (one.expect_version, None)).await?;
    Ok(match set {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(version) => unexpected(one.expect_version, version),
    })
}

fn shown(admin: &Admin, session: &Session, tags: &Tags) -> Value {
    let consumer = session.owner.map(|owner| {
        let tag = tags.get(&(owner.client, owner.consumer));
        json!({"connection": admin.connection_name(owner.client), "tag": tag})
    });
    json!({
        "key": Text(session.key.clone()),
        "consumer": consumer,
        "in_flight": session.in_flight,
        "waiting": session.waiting,
        "version": session.version,
        "state_bytes": session.state_bytes,
    })
}

/// The tags of the consumers that have sessions.
async fn tags(admin: &Admin, sessions: &[Session]) -> Tags {
    if sessions.iter().all(|session| session.owner.is_none()) {
        return Tags::new();
    }
    let reports = admin.reports().await;
    let all = reports.into_iter().flat_map(|report| {
        let client = report.peer.client;
        let consumers = report.session.channels.into_iter().flat_map(|channel| channel.consumers);
        consumers.map(move |it| ((client, it.consumer), it.tag))
    });
    all.collect()
}

fn unexpected(expected: Option<u64>, there: u64) -> Response {
    let message = format!("expected version {}, there is {there}", expected.unwrap_or_default());
    let error = json!({"kind": "unexpected", "message": message});
    (StatusCode::CONFLICT, Json(json!({"error": error, "version": there}))).into_response()
}

fn key_of(text: String, encoding: Option<&str>) -> Result<Bytes, Failure> {
    match encoding {
        None => Ok(Bytes::from(text)),
        Some("base64") => decoded(&text),
        Some(_) => Err(Failure::new(Kind::Invalid, "key is base64, or left out")),
    }
}

fn decoded(text: &str) -> Result<Bytes, Failure> {
    let bytes = base64::decode(text);
    bytes.map(Bytes::from).ok_or_else(|| Failure::new(Kind::Invalid, "a key is not base64"))
}

fn default_namespace() -> String {
    NAMESPACE_DEFAULT.to_owned()
}

fn hundred() -> u32 {
    100
}
