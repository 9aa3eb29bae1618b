//! Where a message was dead-lettered, as RabbitMQ tells it in headers.
//!
//! Source: rabbitmq.com/docs/dlx, "Effects on Messages".

use crate::codec::table;
use record::properties::{Death, History, Place, Reason, Value};

const DEATHS: &str = "x-death";

/// Names of the headers for the first death and for the last one: its reason, queue and exchange.
const FIRST: [&str; 3] = ["x-first-death-reason", "x-first-death-queue", "x-first-death-exchange"];
const LAST: [&str; 3] = ["x-last-death-reason", "x-last-death-queue", "x-last-death-exchange"];

/// Whether a header of this name is the broker's once a message was dead-lettered.
pub(super) fn tells(name: &[u8]) -> bool {
    let ours = std::iter::once(&DEATHS).chain(&FIRST).chain(&LAST);
    ours.into_iter().any(|ours| ours.as_bytes() == name)
}

/// Appends the headers.
pub(super) fn push(out: &mut Vec<u8>, history: &History) {
    let deaths = history.deaths.iter().map(|death| Value::Table(told(death))).collect();
    table::push_field(out, DEATHS, &Value::Array(deaths));
    push_place(out, FIRST, &history.first);
    if let Some(last) = history.deaths.first() {
        let exchange = history.last_exchange.clone();
        push_place(out, LAST, &Place { exchange, ..last.place.clone() });
    }
}

fn push_place(out: &mut Vec<u8>, names: [&str; 3], place: &Place) {
    let values = [reason(place.reason), &place.queue, &place.exchange];
    for (name, value) in names.into_iter().zip(values) {
        table::push_field(out, name, &Value::String(value.to_owned()));
    }
}

fn told(death: &Death) -> Vec<(String, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let expiration = death.expiration.as_deref().map(|ttl| ("original-expiration", text(ttl)));
    let count = i64::try_from(death.count).unwrap_or(i64::MAX);
    let rest = [
        ("count", Value::I64(count)),
        ("reason", text(reason(death.place.reason))),
        ("queue", text(&death.place.queue)),
        ("time", Value::Timestamp(death.time)),
        ("exchange", text(&death.place.exchange)),
        ("routing-keys", Value::Array(death.keys.iter().map(|key| text(key)).collect())),
    ];
    let named = expiration.into_iter().chain(rest);
    named.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Rejected => "rejected",
        Reason::Expired => "expired",
        Reason::Length => "maxlen",
        Reason::Deliveries => "delivery_limit",
    }
}
