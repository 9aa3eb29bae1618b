//! Declarations and refusals in AMQP's words, for what else lets one declare: the management API.

use crate::arguments::{
    self, PaceArguments, QueueArguments, RetryArguments, RetryType, ServingArguments,
};
use crate::errors::{self, Code, Exception, Resource};
use crate::{message, policy};
use engine::Names;
use engine::api::Once;
use engine::catalog::{
    AppliesTo, Arguments, Breaker, DeadLetter, DeclareQueue, DeclareRouter, Dedup, Growth, Keep,
    Name, Overflow, Pace, PolicySettings, QueueKind, QueueOptions, Rate, Refusal, Remembered,
    Retry, RetryOn, RouterId, RouterKind, Serving, Setting, Thing, Unsaid,
};
use record::properties::Value;
use std::sync::Arc;
use types::Millis;

/// The argument that says of which type a queue is.
const QUEUE_TYPE: &str = "x-queue-type";

/// The exchange type that delays; how it routes is in an argument.
const DELAYED: &str = "x-delayed-message";

/// The exchange type that tells duplicates; it routes to all that is bound.
const DEDUPLICATING: &str = "x-message-deduplication";

/// Fills in what a queue is of whose type nothing is said, and what of its arguments takes effect; 406 if
/// the queue may not have them.
pub fn queue(
    names: &Names,
    vhost: &str,
    mut declare: DeclareQueue,
) -> Result<DeclareQueue, Exception> {
    let may_be_any = declare.durable && declare.exclusive.is_none() && !declare.auto_delete;
    let default = names.description(vhost).and_then(|given| given.queue_kind);
    if let Some(kind) = default.filter(|kind| may_be_any && *kind != QueueKind::Classic)
        && arguments::find(&declare.arguments, QUEUE_TYPE).is_none()
    {
        let kind = Value::String(kind.name().to_owned());
        declare.arguments.push((QUEUE_TYPE.to_owned(), kind));
    }
    declare.options = queue_options(vhost, &declare)?;
    Ok(declare)
}

/// What of a definition of a policy takes effect.
///
/// # Errors
/// Says what is wrong with it, in RabbitMQ's words.
pub fn policy(definition: &Arguments, operator: bool) -> Result<PolicySettings, String> {
    policy::settings(definition, operator)
}

/// What a policy can be for, by its name.
pub const APPLIES_TO: &[(&str, AppliesTo)] = &policy::APPLIES_TO;

/// What of a queue's arguments takes effect; 406 if the queue may not have them.
fn queue_options(vhost: &str, declare: &DeclareQueue) -> Result<QueueOptions, Exception> {
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
    let unsaid = |name| arguments::find(&declare.arguments, name).is_none();
    let unsaid = Unsaid { overflow: unsaid("x-overflow"), returns_max: unsaid("x-delivery-limit") };
    Ok(QueueOptions { unsaid, ..options(&parsed) })
}

/// Fills in what an exchange of type `kind` is, and what of its arguments takes effect; 503 if there
/// is no such type, 406 if its arguments are not what it takes.
pub fn router(
    vhost: &str,
    kind: &str,
    mut declare: DeclareRouter,
) -> Result<DeclareRouter, Exception> {
    let resource = Resource::exchange(&declare.name, vhost);
    declare.options.delays = kind == DELAYED;
    declare.kind = match kind {
        DELAYED => exchange_kind(arguments::delayed_type(&declare.arguments)?)?,
        DEDUPLICATING => {
            declare.options.dedup = Some(arguments::deduplicated(&declare.arguments)?);
            RouterKind::Fanout
        }
        other => exchange_kind(other)?,
    };
    if declare.kind == RouterKind::ConsistentHash {
        declare.options.hashed = arguments::hashed(resource, &declare.arguments)?;
    }
    declare.alternate =
        arguments::alternate_exchange(resource, &declare.arguments)?.map(Name::from);
    Ok(declare)
}

/// How long a message with these headers asks to wait at an exchange that delays, if it does.
pub fn delay(headers: &Arguments) -> Option<Millis> {
    message::delay_of(&headers.iter().find(|(name, _)| name == message::DELAY)?.1)
}

/// How a message with these headers is known again where ids are remembered; `within`: the exchange
/// that does.
pub fn once(headers: &Arguments, within: Option<(RouterId, Dedup)>) -> Option<Once> {
    let header = |name: &str| arguments::find(headers, name).cloned();
    message::once_of(header, within)
}

/// Tells in the headers of a message that it has waited.
pub fn tell_delayed(headers: &mut Arguments, delay: Millis) {
    if let Some((_, value)) = headers.iter_mut().find(|(name, _)| name == message::DELAY) {
        *value = message::waited(delay);
    }
}

/// The exchange type of a name; 503 if there is none.
fn exchange_kind(name: &str) -> Result<RouterKind, Exception> {
    match name {
        "direct" => Ok(RouterKind::Direct),
        "fanout" => Ok(RouterKind::Fanout),
        "topic" => Ok(RouterKind::Topic),
        "headers" => Ok(RouterKind::Headers),
        "x-consistent-hash" => Ok(RouterKind::ConsistentHash),
        "x-modulus-hash" => Ok(RouterKind::ModulusHash),
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
        Refusal::LimitReached { name, limit } => {
            let text = format!(
                "cannot declare queue '{name}': queue limit in vhost '{vhost}' ({limit}) is reached"
            );
            Exception::new(Code::PreconditionFailed, text)
        }
        Refusal::Invalid { what: Thing::Binding, why, .. } => {
            Exception::new(Code::PreconditionFailed, why.clone())
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
        keep: keep(parsed),
        overflow: match parsed.overflow {
            arguments::Overflow::DropHead => Overflow::DropOldest,
            arguments::Overflow::RejectPublish => Overflow::Refuse,
            arguments::Overflow::RejectPublishDlx => Overflow::RefuseAsDead,
        },
        serving: serving(&parsed.serving),
        dedup: parsed
            .is_deduplicating
            .then_some(Dedup { remembered: Remembered::WhileHeld, count_max: u32::MAX }),
        // A count goes no further, and so no limit that is higher is ever passed.
        returns_max: parsed.returns_max.and_then(|most| u16::try_from(most).ok()),
        dead_letter: parsed.dead_letter.as_ref().map(|(exchange, key)| {
            let key = key.as_deref().map(Name::from);
            Arc::new(DeadLetter { router: Name::from(exchange.as_str()), key })
        }),
        kind: match parsed.kind {
            arguments::QueueKind::Classic => QueueKind::Classic,
            arguments::QueueKind::Quorum => QueueKind::Quorum,
            arguments::QueueKind::Stream => QueueKind::Stream,
        },
        unsaid: Unsaid::default(),
    }
}

/// What is kept: of a stream, everything up to an age, and an index of its keys.
fn keep(parsed: &QueueArguments) -> Option<Box<Keep>> {
    let age = parsed.age_ms_max.or(parsed.keep.age_ms);
    let bytes = parsed.keep.bytes.and_then(|bytes| u64::try_from(bytes).ok());
    Keep { age: age.map(Millis), bytes, key_index: parsed.keep.key_index }.or_nothing()
}

fn serving(parsed: &ServingArguments) -> Serving {
    Serving {
        single_active: parsed.single_active,
        priority_max: parsed.priority_max,
        oldest_every: parsed.oldest_every,
        order_key: parsed.order_key.as_deref().map(Name::from),
        key_in_flight_max: parsed.key_in_flight_max,
        sessions: parsed.sessions,
        retry: parsed.retry.map(retry),
        pace: pace(&parsed.pace),
    }
}

fn pace(parsed: &PaceArguments) -> Pace {
    Pace {
        rate: parsed.rate.map(rate),
        key_rate: parsed.key_rate.map(rate),
        in_flight_max: parsed.in_flight_max,
        breaker: parsed.breaker.map(|(failures, window, pause)| Breaker {
            failures,
            window: Millis(window),
            pause: Millis(pause),
        }),
    }
}

fn rate((per_second, burst): (u32, u32)) -> Rate {
    Rate { per_second, burst }
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
