//! Messages where they are: looked at, deleted, moved, copied.

use crate::failure::{Failure, parse};
use crate::messages::Shown;
use crate::names::Scope;
use crate::{Admin, Text};
use axum::Json;
use axum::extract::{Path, Query, State as Extension};
use bytes::Bytes;
use frontend::{Carried, Filter, Page, State, Stretch};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use types::{Kind, Millis, Offset};

/// Most messages of one answer.
const COUNT_MAX: usize = 10_000;

/// What an answer has unless told otherwise.
const COUNT: usize = 100;

/// In a query, what stands before the name of a header.
const HEADER: &str = "header.";

/// Which messages are wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    headers: BTreeMap<String, String>,
    message_id: Option<String>,
    correlation_id: Option<String>,
    key: Option<Text>,
    since_ms: Option<i64>,
    before_ms: Option<i64>,
    contains: Option<Text>,
    #[serde(default)]
    states: Vec<String>,
}

/// Which part of a log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
    #[serde(default)]
    filter: Wanted,
    #[serde(default)]
    partition: u32,
    from: Option<i64>,
    end: Option<i64>,
    /// This one alone.
    offset: Option<i64>,
    count: Option<usize>,
    /// Where to, of what is moved or copied.
    to: Option<String>,
}

impl Wanted {
    pub(crate) fn filter(self) -> Result<Filter, Failure> {
        let mut headers: Vec<(String, String)> = self.headers.into_iter().collect();
        headers.extend(self.message_id.map(|id| ("message-id".to_owned(), id)));
        headers.extend(self.correlation_id.map(|id| ("correlation-id".to_owned(), id)));
        let state = |name: &String| {
            let why = || format!("'{name}' is not ready, leased, waiting or settled");
            State::of_name(name).ok_or_else(|| Failure::new(Kind::Invalid, why()))
        };
        let filter = Filter {
            headers,
            key: self.key.map(|text| text.0),
            since: self.since_ms.map(Millis),
            before: self.before_ms.map(Millis),
            contains: self.contains.map(|text| text.0),
            states: self.states.iter().map(state).collect::<Result<_, _>>()?,
        };
        filter.check()?;
        Ok(filter)
    }
}

impl Chosen {
    /// The stretch and the filter; of what has no states, `states`.
    fn read(self, count: usize, states: &[State]) -> Result<(Stretch, Filter), Failure> {
        let (from, end) = match (self.offset, self.from, self.end) {
            (Some(offset), None, None) => (offset, offset.saturating_add(1)),
            (None, from, end) => (from.unwrap_or(0), end.unwrap_or(i64::MAX)),
            _ => return Err(Failure::new(Kind::Invalid, "offset, or from and end")),
        };
        let stretch = Stretch {
            partition: self.partition,
            from: Offset(from),
            end: Offset(end),
            count_max: self.count.unwrap_or(count).min(COUNT_MAX),
        };
        let mut filter = self.filter.filter()?;
        if filter.states.is_empty() {
            filter.states = states.to_vec();
        }
        Ok((stretch, filter))
    }

    fn target(&self) -> Result<String, Failure> {
        self.to.clone().ok_or_else(|| Failure::new(Kind::Invalid, "to says where to"))
    }
}

/// What a query says, and the namespace it is for.
fn of_query(pairs: Vec<(String, String)>) -> Result<(String, Chosen), Failure> {
    let mut chosen = Chosen::default();
    let mut namespace = engine::catalog::NAMESPACE_DEFAULT.to_owned();
    for (name, value) in pairs {
        let number = || {
            value.parse::<i64>().map_err(|_| {
                Failure::new(Kind::Invalid, format!("{name} is a number, not '{value}'"))
            })
        };
        let filter = &mut chosen.filter;
        match name.as_str() {
            "namespace" => namespace = value,
            "partition" => chosen.partition = u32::try_from(number()?).unwrap_or(u32::MAX),
            "from" => chosen.from = Some(number()?),
            "end" => chosen.end = Some(number()?),
            "offset" => chosen.offset = Some(number()?),
            "count" => chosen.count = Some(usize::try_from(number()?).unwrap_or(0)),
            "since_ms" => filter.since_ms = Some(number()?),
            "before_ms" => filter.before_ms = Some(number()?),
            "message_id" => filter.message_id = Some(value),
            "correlation_id" => filter.correlation_id = Some(value),
            "key" => filter.key = Some(Text(value.into())),
            "contains" => filter.contains = Some(Text(value.into())),
            "state" => filter.states.extend(value.split(',').map(str::to_owned)),
            other => match other.strip_prefix(HEADER) {
                Some(header) => {
                    filter.headers.insert(header.to_owned(), value);
                }
                None => {
                    let why = format!("'{other}' says nothing about messages");
                    return Err(Failure::new(Kind::Invalid, why));
                }
            },
        }
    }
    Ok((namespace, chosen))
}

/// `GET /v1/queues/NAME/messages`, `GET /v1/topics/NAME/messages`
pub(crate) async fn list(
    Extension(admin): Extension<Admin>,
    Path(name): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Failure> {
    let (namespace, chosen) = of_query(pairs)?;
    let (stretch, filter) = chosen.read(COUNT, &[])?;
    let page = admin.local.within(&namespace).browse(&name, stretch, &filter).await?;
    shown(&page).map(Json)
}

/// `POST /v1/queues/NAME/messages/delete`
pub(crate) async fn delete(
    Extension(admin): Extension<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let (stretch, filter) = parse::<Chosen>(&body)?.read(COUNT_MAX, &[])?;
    let local = admin.local.within(&scope.namespace);
    let carried = local.delete_messages(&name, stretch, &filter).await?;
    Ok(Json(told("deleted", carried)))
}

/// What can be moved, or is counted as what could not.
pub(crate) const MOVABLE: [State; 3] = [State::Ready, State::Waiting, State::Leased];

/// `POST /v1/queues/NAME/messages/move`
pub(crate) async fn move_on(
    Extension(admin): Extension<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let chosen: Chosen = parse(&body)?;
    let to = chosen.target()?;
    let (stretch, filter) = chosen.read(COUNT_MAX, &MOVABLE)?;
    let local = admin.local.within(&scope.namespace);
    let carried = local.move_messages((&name, &to), stretch, &filter).await?;
    Ok(Json(told("moved", carried)))
}

/// `POST /v1/queues/NAME/messages/copy`, `POST /v1/topics/NAME/messages/copy`
pub(crate) async fn copy(
    Extension(admin): Extension<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let chosen: Chosen = parse(&body)?;
    let to = chosen.target()?;
    let (stretch, filter) = chosen.read(COUNT_MAX, &[])?;
    let local = admin.local.within(&scope.namespace);
    let carried = local.copy_messages((&name, &to), stretch, &filter).await?;
    Ok(Json(json!({"copied": carried.done, "next": carried.next})))
}

fn told(done: &str, carried: Carried) -> Value {
    json!({done: carried.done, "skipped": carried.skipped, "next": carried.next})
}

fn shown(page: &Page) -> Result<Value, Failure> {
    let mut messages = Vec::new();
    for found in &page.messages {
        let message = serde_json::to_value(Shown::of(&found.received));
        let mut message =
            message.map_err(|error| Failure::new(Kind::Invalid, error.to_string()))?;
        message["state"] = json!(found.state.map(State::name));
        if let Some(due) = found.due {
            message["due_ms"] = json!(due);
        }
        messages.push(message);
    }
    Ok(json!({"messages": messages, "next": page.next}))
}
