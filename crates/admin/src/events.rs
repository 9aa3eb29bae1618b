//! The events of a key as JSON, and publishing that expects something.

use crate::failure::Failure;
use crate::messages::Shown;
use crate::{Admin, base64};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::catalog::NAMESPACE_DEFAULT;
use frontend::{Expectation, History, KeyRange, Message, Place};
use serde::{Deserialize, Serialize};
use serde_json::json;
use types::{Kind, Offset};

/// Most bytes of events in one answer, and one event more.
const ANSWER_BYTES_MAX: u32 = 4 << 20;

/// What a publish expects, as it says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expecting {
    offset: Option<i64>,
    absent: bool,
    of: Option<Of>,
}

/// Whose last record is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Of {
    Key,
    Partition,
}

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_base64: Option<String>,
    #[serde(default)]
    from: Option<i64>,
    #[serde(default = "hundred")]
    count: u32,
    #[serde(default)]
    order: Order,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Oldest,
    Newest,
}

#[derive(Serialize)]
struct Events<'a> {
    events: Vec<Shown<'a>>,
    next: Option<Offset>,
}

impl Expecting {
    pub(crate) fn of(offset: Option<i64>, absent: bool, of: Option<Of>) -> Expecting {
        Expecting { offset, absent, of }
    }

    /// What is expected, if anything is; `has_keys`: of a key unless it says otherwise.
    pub(crate) fn expectation(&self, has_keys: bool) -> Result<Option<Expectation>, Failure> {
        let invalid = |why| Err(Failure::new(Kind::Invalid, why));
        let last = match (self.offset, self.absent) {
            (Some(_), true) => {
                return invalid("a publish has expect_offset or expect_absent, not both");
            }
            (Some(offset), false) if offset < 0 => {
                return invalid("an expect_offset is not negative");
            }
            (Some(offset), false) => Some(Offset(offset)),
            (None, true) => None,
            (None, false) if self.of.is_some() => {
                return invalid("expect_of needs expect_offset or expect_absent");
            }
            (None, false) => return Ok(None),
        };
        let of_key = self.of.map_or(has_keys, |of| of == Of::Key);
        Ok(Some(Expectation { of_key, last }))
    }
}

/// Publishes if what is expected is so; the places, or 409 with the offset of the last record.
pub(crate) async fn publish(
    admin: &Admin,
    (namespace, name): (&str, &str),
    messages: &[Message],
    expectation: Expectation,
) -> Result<Result<Vec<Place>, Response>, Failure> {
    let local = admin.local.within(namespace);
    let published = local.publish_expecting(name, messages, expectation).await?;
    Ok(published.map_err(|last| {
        let expected = expectation.last;
        let shown = |offset: Option<Offset>| offset.map_or("none".to_owned(), |it| it.to_string());
        let message = format!("expected {}, the last is {}", shown(expected), shown(last));
        let error = json!({"kind": "unexpected", "message": message});
        (StatusCode::CONFLICT, Json(json!({"error": error, "last": last}))).into_response()
    }))
}

/// `GET /v1/queues/NAME/events`, `GET /v1/topics/NAME/events`
pub(crate) async fn events(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let invalid = |why| Failure::new(Kind::Invalid, why);
    let key = match (wanted.key, wanted.key_base64) {
        (Some(key), None) => Bytes::from(key),
        (None, Some(key)) => {
            let key = base64::decode(&key).ok_or_else(|| invalid("key_base64 is not base64"))?;
            Bytes::from(key)
        }
        _ => return Err(invalid("events are of a key, or a key_base64")),
    };
    let range = KeyRange {
        key,
        from: wanted.from.map(Offset),
        backward: wanted.order == Order::Newest,
        count: wanted.count,
        bytes: ANSWER_BYTES_MAX,
    };
    let local = admin.local.within(&wanted.namespace);
    let History { messages, next } = local.history(&name, range).await?;
    let events = messages.iter().map(Shown::of).collect();
    Ok(Json(Events { events, next }).into_response())
}

fn default_namespace() -> String {
    NAMESPACE_DEFAULT.to_owned()
}

fn hundred() -> u32 {
    100
}
