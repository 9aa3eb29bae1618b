//! What is scheduled for a queue or topic, as JSON: listed and cancelled.

use crate::Admin;
use crate::failure::{Failure, parse};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::catalog::NAMESPACE_DEFAULT;
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Kind, Offset};

/// Most entries that are cancelled at once.
const CANCELLED_MAX: usize = 10_000;

/// Which part of which schedule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    partition: u32,
    #[serde(default)]
    from: i64,
    #[serde(default = "hundred")]
    count: u32,
}

/// What to cancel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancelled {
    ids: Vec<Offset>,
}

/// `GET /v1/queues/NAME/scheduled`, `GET /v1/topics/NAME/scheduled`
pub(crate) async fn list(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, Failure> {
    let local = admin.local.within(&part.namespace);
    let range = (Offset(part.from), part.count);
    let listing = local.scheduled(&name, part.partition, range).await?;
    let entries: Vec<Value> = listing
        .entries
        .iter()
        .map(|entry| json!({"id": entry.offset, "due_ms": entry.due}))
        .collect();
    Ok(Json(json!({"scheduled": entries, "next": listing.next, "total": listing.total})))
}

/// `DELETE /v1/queues/NAME/scheduled/ID`, `DELETE /v1/topics/NAME/scheduled/ID`
pub(crate) async fn cancel(
    State(admin): State<Admin>,
    Path((name, id)): Path<(String, i64)>,
    Query(part): Query<Part>,
) -> Result<StatusCode, Failure> {
    let local = admin.local.within(&part.namespace);
    match local.unschedule(&name, part.partition, vec![Offset(id)]).await?.is_empty() {
        true => {
            let why = format!("nothing with id {id} waits in the schedule of '{name}'");
            Err(Failure::new(Kind::NotFound, why))
        }
        false => Ok(StatusCode::NO_CONTENT),
    }
}

/// `POST /v1/queues/NAME/scheduled/cancel`, `POST /v1/topics/NAME/scheduled/cancel`
pub(crate) async fn cancel_many(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let Cancelled { ids } = parse(&body)?;
    if ids.len() > CANCELLED_MAX {
        let why = format!("at most {CANCELLED_MAX} ids are cancelled at once");
        return Err(Failure::new(Kind::TooLarge, why));
    }
    let local = admin.local.within(&part.namespace);
    let cancelled = local.unschedule(&name, part.partition, ids).await?;
    Ok(Json(json!({"cancelled": cancelled})))
}

fn default_namespace() -> String {
    NAMESPACE_DEFAULT.to_owned()
}

fn hundred() -> u32 {
    100
}
