//! Messages that recur, as JSON: made, stopped, listed and ended.

use crate::failure::{Failure, parse};
use crate::messages::Sent;
use crate::names::Scope;
use crate::{Admin, Text};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::api::{MessageId, Missed, RecurStep, Recurred};
use engine::calendar::{Rhythm, Timetable};
use engine::catalog::NAMESPACE_DEFAULT;
use frontend::{Message, Recurring, RecurringEntry};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Kind, Millis};

/// Most entries of one answer.
const COUNT_MAX: u32 = 1_000;

/// The zone of an expression that names none.
const UTC: &str = "UTC";

/// The header with what tells a message from others, as it is for AMQP.
const ID: &str = "x-deduplication-header";

/// What is to recur.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    cron: Option<String>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    every_ms: Option<i64>,
    #[serde(default)]
    start_ms: Option<i64>,
    #[serde(default)]
    end_ms: Option<i64>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    missed: Late,
    message: Sent,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Late {
    #[default]
    Once,
    Skip,
    All,
}

/// Which part of what recurs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default = "hundred")]
    count: u32,
}

/// `PUT /v1/queues/NAME/recurring/ID`, `PUT /v1/topics/NAME/recurring/ID`
pub(crate) async fn put(
    State(admin): State<Admin>,
    Path((queue, name)): Path<(String, String)>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let what = parse::<Wanted>(&body)?.recurring()?;
    let local = admin.local.within(&scope.namespace);
    let (recurred, entry) = local.put_recurring(&queue, &name, &what).await?;
    let status = match recurred {
        Recurred::Made => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(shown(&entry, true))))
}

/// `GET /v1/queues/NAME/recurring`, `GET /v1/topics/NAME/recurring`
pub(crate) async fn list(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, Failure> {
    let local = admin.local.within(&part.namespace);
    let count = part.count.min(COUNT_MAX);
    let page = local.recurring(&queue, part.from.as_deref(), count).await?;
    let entries: Vec<Value> = page.entries.iter().map(|entry| shown(entry, false)).collect();
    Ok(Json(json!({"recurring": entries, "next": page.next, "total": page.total})))
}

/// `GET /v1/queues/NAME/recurring/ID`, `GET /v1/topics/NAME/recurring/ID`
pub(crate) async fn one(
    State(admin): State<Admin>,
    Path((queue, name)): Path<(String, String)>,
    Query(scope): Query<Scope>,
) -> Result<Json<Value>, Failure> {
    let local = admin.local.within(&scope.namespace);
    let page = local.recurring(&queue, Some(&name), 1).await?;
    match page.entries.first().filter(|entry| *entry.name == *name) {
        Some(entry) => Ok(Json(shown(entry, true))),
        None => {
            let why = format!("nothing recurs for '{queue}' under the name '{name}'");
            Err(Failure::new(Kind::NotFound, why))
        }
    }
}

/// `DELETE /v1/queues/NAME/recurring/ID`, `DELETE /v1/topics/NAME/recurring/ID`
pub(crate) async fn cancel(
    State(admin): State<Admin>,
    Path((queue, name)): Path<(String, String)>,
    Query(scope): Query<Scope>,
) -> Result<StatusCode, Failure> {
    let local = admin.local.within(&scope.namespace);
    local.step_recurring(&queue, &name, RecurStep::Cancel).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/queues/NAME/recurring/ID/pause`, `POST /v1/topics/NAME/recurring/ID/pause`
pub(crate) async fn pause(
    state: State<Admin>,
    path: Path<(String, String)>,
    scope: Query<Scope>,
) -> Result<Json<Value>, Failure> {
    step(state, path, scope, RecurStep::Pause).await
}

/// `POST /v1/queues/NAME/recurring/ID/resume`, `POST /v1/topics/NAME/recurring/ID/resume`
pub(crate) async fn resume(
    state: State<Admin>,
    path: Path<(String, String)>,
    scope: Query<Scope>,
) -> Result<Json<Value>, Failure> {
    step(state, path, scope, RecurStep::Resume).await
}

async fn step(
    State(admin): State<Admin>,
    Path((queue, name)): Path<(String, String)>,
    Query(scope): Query<Scope>,
    step: RecurStep,
) -> Result<Json<Value>, Failure> {
    let local = admin.local.within(&scope.namespace);
    let entry = local.step_recurring(&queue, &name, step).await?;
    Ok(Json(entry.map_or(Value::Null, |entry| shown(&entry, true))))
}

impl Wanted {
    fn recurring(self) -> Result<Recurring, Failure> {
        let invalid = |why: &str| Failure::new(Kind::Invalid, why);
        let rhythm = match (self.cron, self.every_ms, self.time_zone) {
            (Some(expression), None, zone) => {
                let zone = zone.unwrap_or_else(|| UTC.to_owned());
                Rhythm::Cron { expression, zone }
            }
            (None, Some(every), None) => Rhythm::Every(Millis(every)),
            (None, Some(_), Some(_)) => return Err(invalid("a time_zone belongs to cron")),
            _ => return Err(invalid("a message recurs by cron or by every_ms, and not by both")),
        };
        if self.message.has_time() {
            let why = "a message that recurs has no timestamp_ms, due_ms or delay_ms";
            return Err(invalid(why));
        }
        let message = Message::from(self.message);
        let id = message.headers.iter().find(|(name, _)| name == ID);
        let id = id.and_then(|(_, value)| value.as_deref());
        Ok(Recurring {
            // As AMQP's session has it for a text, so that either tells the other's.
            id: id.map(|id| MessageId::of(&[b"S", id].concat())),
            message,
            timetable: Timetable {
                rhythm,
                start: self.start_ms.map(Millis),
                end: self.end_ms.map(Millis),
            },
            missed: match self.missed {
                Late::Once => Missed::Once,
                Late::Skip => Missed::Skip,
                Late::All => Missed::All,
            },
            count: self.count,
        })
    }
}

fn shown(entry: &RecurringEntry, with_message: bool) -> Value {
    let RecurringEntry { name, partition, what, due, fired } = entry;
    let mut shown = json!({
        "name": name,
        "partition": partition,
        "missed": match what.missed {
            Missed::Once => "once",
            Missed::Skip => "skip",
            Missed::All => "all",
        },
        "paused": due.is_none(),
        "next_due_ms": due,
        "fired": fired,
    });
    match &what.timetable.rhythm {
        Rhythm::Cron { expression, zone } => {
            shown["cron"] = json!(expression);
            shown["time_zone"] = json!(zone);
        }
        Rhythm::Every(every) => shown["every_ms"] = json!(every),
    }
    let limits = [
        ("start_ms", what.timetable.start.map(|start| json!(start))),
        ("end_ms", what.timetable.end.map(|end| json!(end))),
        ("count", what.count.map(|count| json!(count))),
    ];
    for (field, value) in limits {
        if let Some(value) = value {
            shown[field] = value;
        }
    }
    if with_message {
        let Message { key, value, headers, .. } = &what.message;
        let text = |bytes: &Option<Bytes>| bytes.clone().map(Text);
        let headers: Vec<(&str, Option<Text>)> =
            headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
        shown["message"] = json!({"key": text(key), "value": text(value), "headers": headers});
    }
    shown
}

fn default_namespace() -> String {
    NAMESPACE_DEFAULT.to_owned()
}

fn hundred() -> u32 {
    100
}
