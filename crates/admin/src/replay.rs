//! Messages that consumers were done with, delivered again.

use crate::Admin;
use crate::failure::{Failure, parse};
use crate::names::Scope;
use axum::Json;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use frontend::RewindTo;
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Kind, Millis, Offset};

/// From where on: one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    #[serde(default)]
    from: Option<First>,
    #[serde(default)]
    time_ms: Option<i64>,
    #[serde(default)]
    offset: Option<i64>,
    /// Of a topic; with `offset`.
    #[serde(default)]
    partition: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum First {
    First,
}

/// `POST /v1/queues/NAME/rewind`, `POST /v1/topics/NAME/rewind`
pub(crate) async fn rewind(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let Back { from, time_ms, offset, partition } = parse(&body)?;
    let to = match (from, time_ms, offset, partition) {
        (Some(First::First), None, None, None) => RewindTo::First,
        (None, Some(time), None, None) => RewindTo::Since(Millis(time)),
        (None, None, Some(offset), partition) => {
            RewindTo::Offset(partition.unwrap_or(0), Offset(offset))
        }
        _ => {
            let why = "one of: from (\"first\"), time_ms, offset (with partition of a topic)";
            return Err(Failure::new(Kind::Invalid, why));
        }
    };
    let again = admin.local.within(&scope.namespace).rewind(&name, to).await?;
    let again = again
        .into_iter()
        .map(|it| json!({"partition": it.partition, "offset": it.from, "messages": it.messages}));
    Ok(Json(json!({"rewound": again.collect::<Vec<Value>>()})))
}
