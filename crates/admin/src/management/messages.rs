//! Publishing one message, and taking some out of a queue.

mod getting;
mod properties;

pub(super) use getting::get;

use super::asker::Asker;
use super::exchanges::named;
use super::given::Given;
use super::refused::Refused;
use crate::{Admin, Told, base64};
use axum::Json;
use axum::extract::{Path, State};
use bytes::Bytes;
use engine::Names;
use engine::api::{Append, Once, Op, Payload, Schedule};
use engine::catalog::{
    Arguments, Headers, IMPERSONATOR, Property, Publish, Routes, Unroutable, Value as Typed,
};
use properties::Posted;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use types::{LogRef, Millis, RECORD_BYTES_MAX, ShardId};

/// A message as exchanges ask for what it says.
struct Asked<'a> {
    posted: &'a Posted,
    waits: bool,
}

/// Where a message goes, and how it is known again where that counts.
struct Ways {
    now: Targets,
    later: Targets,
    once: Option<Once>,
}

/// Logs by their shard.
type Targets = BTreeMap<ShardId, Vec<LogRef>>;

impl Headers for Asked<'_> {
    fn header(&self, name: &str) -> Option<Cow<'_, Typed>> {
        self.posted.headers.header(name)
    }

    fn property(&self, property: Property) -> Option<Cow<'_, [u8]>> {
        property.of(&self.posted.properties())
    }

    fn waits(&self) -> bool {
        self.waits
    }
}

/// `POST /api/exchanges/VHOST/NAME/publish`
pub(super) async fn publish(
    State(admin): State<Admin>,
    Path((vhost, exchange)): Path<(String, String)>,
    asker: Asker,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let names = admin.engine().names();
    asker.enter(&names, &vhost)?;
    let given = Given::read(&body)?;
    given.need(&["routing_key", "properties", "payload", "payload_encoding"])?;
    let key = given.text("routing_key")?;
    let payload = payload(&given)?;
    let mut posted = Posted::read(&given.object("properties")?)?;
    may_claim(&asker, &posted)?;
    let at = (named(&exchange), &*key);
    let denied = names.permit_publish(&asker.user().name, &vhost, at);
    denied.map_err(|denied| closed((admin.dialect.denied)(denied)))?;
    let delay = (admin.dialect.delay)(&posted.headers);
    let Ways { now: to, later, once } = route(&admin, &names, (&vhost, delay), at, &mut posted)?;
    if to.is_empty() && later.is_empty() {
        return Ok(Json(json!({"routed": false})));
    }
    append(&admin, to, packed(&posted, at, &payload, once)?, None).await?;
    if let Some(delay) = delay.filter(|_| !later.is_empty()) {
        (admin.dialect.tell_delayed)(&mut posted.headers, delay);
        let due = admin.engine().now().plus(delay);
        append(&admin, later, packed(&posted, at, &payload, once)?, Some(due)).await?;
    }
    Ok(Json(json!({"routed": true})))
}

fn packed(
    posted: &Posted,
    at: (&str, &str),
    payload: &[u8],
    once: Option<Once>,
) -> Result<Payload, Refused> {
    let bytes = posted.packed(at, payload)?;
    if bytes.len() > RECORD_BYTES_MAX {
        let size = bytes.len();
        return Err(Refused::bad(format!("a message of {size} bytes is too large")));
    }
    let (bytes, expiring) = (Bytes::from(bytes), posted.expires());
    Ok(match once {
        Some(once) => Payload::once(bytes, expiring, once),
        None => Payload::Tails { bytes, expiring },
    })
}

/// What RabbitMQ says when a request of its own closes the channel.
fn closed(told: Told) -> Refused {
    Refused::bad(format!("{} {} - {}", told.code, told.name, told.text))
}

fn payload(given: &Given) -> Result<Vec<u8>, Refused> {
    let text = given.text("payload")?;
    match given.text("payload_encoding")?.as_str() {
        "string" => Ok(text.into_bytes()),
        "base64" => base64::decode(&text).ok_or_else(|| Refused::bad(json!(["not_base64", text]))),
        other => Err(Refused::bad(json!(["unsupported_encoding", other]))),
    }
}

/// The property `user_id` names who publishes, or anybody where the user may speak for others.
fn may_claim(asker: &Asker, posted: &Posted) -> Result<(), Refused> {
    let (claimed, user) = (posted.user_id(), &*asker.user().name);
    match claimed.is_none_or(|claimed| claimed == user) || asker.user().has_tag(IMPERSONATOR) {
        true => Ok(()),
        false => Err(Refused::bad(format!(
            "406 PRECONDITION_FAILED - user_id property set to '{}' but authenticated user was \
             '{user}'",
            claimed.unwrap_or_default()
        ))),
    }
}

/// Where a message goes, now and when it has waited. Its headers lose those that are not delivered.
fn route(
    admin: &Admin,
    names: &Names,
    (vhost, delay): (&str, Option<Millis>),
    (exchange, key): (&str, &str),
    posted: &mut Posted,
) -> Result<Ways, Refused> {
    let copies = copies(&mut posted.headers)?;
    let keys: Vec<&str> = [key].into_iter().chain(copies.iter().map(String::as_str)).collect();
    let mut routes = Routes::default();
    let asked = Asked { posted, waits: delay.is_some() };
    let publish = Publish { namespace: vhost, router: exchange, keys: &keys, headers: &asked };
    names.route(&publish, &mut routes).map_err(|why| {
        let what = format!("exchange '{exchange}' in vhost '{vhost}'");
        Refused::bad(match why {
            Unroutable::NoRouter => format!("404 NOT_FOUND - no {what}"),
            Unroutable::Internal => {
                format!("403 ACCESS_REFUSED - cannot publish to internal {what}")
            }
        })
    })?;
    let turn = admin.engine().random() as usize;
    let later = routes.later.take().unwrap_or_default();
    let is_remembered = routes.within.is_some()
        || names.any_remembers(&routes.logs)
        || names.any_remembers(&later.logs);
    let once = (admin.dialect.once)(&posted.headers, routes.within).filter(|_| is_remembered);
    Ok(Ways { now: targets(&routes, turn), later: targets(&later, turn), once })
}

/// The logs of routes by shard, with one of each topic.
fn targets(routes: &Routes, turn: usize) -> Targets {
    let chosen = routes.topics.iter().filter_map(|topic| {
        let count = topic.partitions.len();
        topic.partitions.get(turn.checked_rem(count)?).copied()
    });
    let mut to = Targets::new();
    for log in routes.logs.iter().copied().chain(chosen) {
        to.entry(log.shard).or_default().push(log);
    }
    to
}

/// The routing keys of the headers CC and BCC; the latter is taken out.
fn copies(headers: &mut Arguments) -> Result<Vec<String>, Refused> {
    let mut keys = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| name == "CC" || name == "BCC") {
        let refused = || {
            let why = format!("{{unacceptable_type_in_header,\"{name}\"}}");
            Refused::bad(format!("406 PRECONDITION_FAILED - invalid message: {why}"))
        };
        let Typed::Array(values) = value else { return Err(refused()) };
        for value in values {
            keys.push(value.as_str().ok_or_else(refused)?.to_owned());
        }
    }
    headers.retain(|(name, _)| name != "BCC");
    Ok(keys)
}

async fn append(
    admin: &Admin,
    to: Targets,
    payload: Payload,
    due: Option<Millis>,
) -> Result<(), Refused> {
    for mut logs in to.into_values() {
        logs.sort_unstable();
        logs.dedup();
        let append = Append { to: logs.into(), payload: payload.clone(), waits: false };
        let op = match due {
            None => Op::Append(append),
            Some(due) => Op::Schedule(Schedule { append, due }),
        };
        admin.local.call(op).await?;
    }
    Ok(())
}
