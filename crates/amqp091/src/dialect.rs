//! Declarations and refusals in AMQP's words, for what else lets one declare: the management API.

use crate::arguments::{self, PaceArguments, QueueArguments, RetryArguments, RetryType};
use crate::errors::{self, Code, Exception, Resource};
use engine::catalog::{
    Breaker, DeadLetter, DeclareQueue, DeclareRouter, Growth, Name, Overflow, Pace, QueueKind,
    QueueOptions, Rate, Refusal, Retry, RetryOn, RouterKind, Setting, Thing,
};
use std::sync::Arc;
use types::Millis;

/// What of a queue's arguments takes effect; 406 if the queue may not have them.
pub fn queue_options(vhost: &str, declare: &DeclareQueue) -> Result<QueueOptions, Exception> {
    let resource = Resource::queue(&declare.name, vhost);
    let parsed = QueueArguments::parse(resource, &declare.arguments)?;
    if parsed.kind != arguments::QueueKind::Classic {
        let wrong = [
            (!declare.durable, "non-durable"),
            (declare.exclusive.is_some(), "exclusive-owner"),
            (declare.auto_delete, "auto-delete"),
        ];
        if let Some((_, property)) = wrong.iter().find(|(wrong, _)| *wrong) {
            let text = format!("invalid property '{property}' for {resource}");
            return Err(Exception::new(Code::PreconditionFailed, text));
        }
    }
    Ok(options(&parsed))
}

/// The alternate exchange that the arguments name.
pub fn alternate(vhost: &str, declare: &DeclareRouter) -> Result<Option<Name>, Exception> {
    let resource = Resource::exchange(&declare.name, vhost);
    Ok(arguments::alternate_exchange(resource, &declare.arguments)?.map(Name::from))
}

/// The exchange type of a name; 503 if there is none.
pub fn exchange_kind(name: &str) -> Result<RouterKind, Exception> {
    match name {
        "direct" => Ok(RouterKind::Direct),
        "fanout" => Ok(RouterKind::Fanout),
        "topic" => Ok(RouterKind::Topic),
        "headers" => Ok(RouterKind::Headers),
        other => Err(errors::unknown_exchange_type(other)),
    }
}

/// The exception for a refused change; `deletes`: it was to delete something.
pub fn refusal(vhost: &str, refusal: &Refusal, deletes: bool) -> Exception {
    match refusal {
        Refusal::NotFound { what: Thing::Namespace, name } => errors::vhost_not_found(name),
        Refusal::NotFound { what, name } => resource(*what, name, vhost).not_found(),
        Refusal::Mismatch { what, name, field, declared, current } => {
            let (declared, current) = (spelled(declared), spelled(current));
            resource(*what, name, vhost).inequivalent(field, &declared, &current)
        }
        Refusal::Exclusive { name } => Resource::queue(name, vhost).locked(),
        Refusal::InUse { what, name } => resource(*what, name, vhost).in_use(),
        Refusal::Reserved { what: Thing::Router, name } if name.is_empty() => {
            errors::default_exchange()
        }
        Refusal::Reserved { what, name } if deletes => resource(*what, name, vhost).system(),
        Refusal::Reserved { what, name } => resource(*what, name, vhost).reserved_prefix(),
        Refusal::KindClash { name, .. } => {
            let text = format!(
                "'{name}' in vhost '{vhost}' is a topic: declare it without arguments and not \
                 exclusive to join its subscription"
            );
            Exception::new(Code::PreconditionFailed, text)
        }
        Refusal::IllegalName { .. }
        | Refusal::Collides { .. }
        | Refusal::TooMany { .. }
        | Refusal::Invalid { .. } => Exception::new(Code::PreconditionFailed, refusal.to_string()),
    }
}

fn options(parsed: &QueueArguments) -> QueueOptions {
    let natural = |value: i64| u64::try_from(value).unwrap_or_default();
    QueueOptions {
        message_ttl: parsed.message_ttl_ms.map(Millis),
        expires: parsed.expires_ms.map(Millis),
        max_len: parsed.length_max.map(natural),
        max_bytes: parsed.length_bytes_max.map(natural),
        overflow: match parsed.overflow {
            arguments::Overflow::DropHead => Overflow::DropOldest,
            arguments::Overflow::RejectPublish => Overflow::Refuse,
            arguments::Overflow::RejectPublishDlx => Overflow::RefuseAsDead,
        },
        single_active: parsed.single_active,
        priority_max: parsed.priority_max,
        oldest_every: parsed.oldest_every,
        order_key: parsed.order_key.as_deref().map(Name::from),
        // A count goes no further, and so no limit that is higher is ever passed.
        returns_max: parsed.returns_max.and_then(|most| u16::try_from(most).ok()),
        retry: parsed.retry.map(retry),
        pace: pace(&parsed.pace),
        dead_letter: parsed.dead_letter.as_ref().map(|(exchange, key)| {
            let key = key.as_deref().map(Name::from);
            Arc::new(DeadLetter { router: Name::from(exchange.as_str()), key })
        }),
        kind: match parsed.kind {
            arguments::QueueKind::Classic => QueueKind::Classic,
            arguments::QueueKind::Quorum => QueueKind::Quorum,
            arguments::QueueKind::Stream => QueueKind::Stream,
        },
    }
}

fn pace(parsed: &PaceArguments) -> Pace {
    Pace {
        rate: parsed.rate.map(|(per_second, burst)| Rate { per_second, burst }),
        in_flight_max: parsed.in_flight_max,
        breaker: parsed.breaker.map(|(failures, window, pause)| Breaker {
            failures,
            window: Millis(window),
            pause: Millis(pause),
        }),
    }
}

fn retry(parsed: RetryArguments) -> Retry {
    Retry {
        on: match parsed.kind {
            RetryType::All => RetryOn::All,
            RetryType::Failed => RetryOn::Failed,
            RetryType::Returned => RetryOn::Released,
        },
        min: Millis(parsed.min_ms),
        max: Millis(parsed.max_ms),
        growth: parsed.multiplier.map_or(Growth::Linear, Growth::Times),
        jitter: parsed.jitter,
    }
}

fn resource<'a>(what: Thing, name: &'a str, vhost: &'a str) -> Resource<'a> {
    match what {
        Thing::Router => Resource::exchange(name, vhost),
        _ => Resource::queue(name, vhost),
    }
}

fn spelled(setting: &Setting) -> String {
    match setting {
        Setting::Absent => arguments::described(None),
        Setting::Argument(value) => arguments::described(Some(value)),
        Setting::Flag(flag) => format!("'{flag}'"),
        Setting::Text(text) => format!("'{text}'"),
    }
}
