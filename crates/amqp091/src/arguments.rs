//! The x-arguments of declarations and consumers: which work, which are refused, which are inert.
//!
//! An argument that works is checked for type and range. One that asks for something not built is
//! refused with 406 and its name, never ignored, unless it asks for what happens anyway. All others
//! change nothing here, or are nobody's: they are stored, echoed and compared.

mod keep;
mod pace;
mod retry;
mod serving;
#[cfg(test)]
mod tests;

use crate::codec::Table;
use crate::errors::{Code, Exception, Resource};
use crate::message;
use engine::catalog::{Dedup, Hashed, Property, Remembered};
use record::properties::Value;
use types::Millis;

pub use keep::KeepArguments;
pub use pace::PaceArguments;
pub use retry::{RetryArguments, RetryType};
pub use serving::ServingArguments;

/// Arguments in the order given.
pub type Arguments = [(String, Value)];

/// Longest time that RabbitMQ takes: ten years, in milliseconds.
const EXPIRY_MS_MAX: i64 = 315_360_000_000;

/// What RabbitMQ 4 takes for a quorum queue that sets no limit.
const DELIVERY_LIMIT_DEFAULT: i64 = 20;

/// Arguments of a stream that change nothing here.
const SEGMENT: &str = "x-stream-max-segment-size-bytes";
const FILTER: &str = "x-stream-filter-size-bytes";

/// What `x-queue-type` says. All are the same queue here; the word is echoed and compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueKind {
    /// `classic`, or not said.
    #[default]
    Classic,
    /// `quorum`.
    Quorum,
    /// `stream`.
    Stream,
}

/// What `x-overflow` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// `drop-head`.
    #[default]
    DropHead,
    /// `reject-publish`.
    RejectPublish,
    /// `reject-publish-dlx`.
    RejectPublishDlx,
}

/// The queue arguments that work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueArguments {
    /// `x-queue-type`.
    pub kind: QueueKind,
    /// `x-message-ttl`, in milliseconds.
    pub message_ttl_ms: Option<i64>,
    /// `x-expires`: the queue goes after as long without use, in milliseconds; not 0.
    pub expires_ms: Option<i64>,
    /// `x-max-length`, in messages.
    pub length_max: Option<i64>,
    /// `x-max-length-bytes`, of message bodies.
    pub length_bytes_max: Option<i64>,
    /// `x-max-age` of a stream, in milliseconds.
    pub age_ms_max: Option<i64>,
    /// `x-keep-settled-age` and `x-keep-settled-bytes`, and of a stream `x-key-index`.
    pub keep: KeepArguments,
    /// `x-overflow`.
    pub overflow: Overflow,
    /// `x-single-active-consumer` and what else says how messages are handed out.
    pub serving: ServingArguments,
    /// `x-message-deduplication`: a message whose id is in the queue is not taken again.
    pub is_deduplicating: bool,
    /// `x-delivery-limit`: how often a message may come back; 20 for a quorum queue that does not say.
    pub returns_max: Option<i64>,
    /// `x-dead-letter-exchange` and `x-dead-letter-routing-key`.
    pub dead_letter: Option<(String, Option<String>)>,
}

/// Where a stream consumer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStart {
    /// `first`.
    First,
    /// `last`: at the last batch.
    Last,
    /// `next`: after what is there.
    Next,
    /// At an offset.
    Offset(i64),
    /// At a time, in milliseconds.
    Time(i64),
    /// So long ago.
    Ago(Millis),
}

/// The consumer arguments that work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumeArguments {
    /// `x-stream-offset`.
    pub start: Option<StreamStart>,
    /// `x-priority`: higher is served first.
    pub priority: i32,
    /// `x-max-sessions`: so many sessions at once at most; 0: without limit.
    pub sessions_max: u32,
}

/// Decodes an argument table of a method.
pub fn decode(table: Table<'_>) -> Result<Vec<(String, Value)>, Exception> {
    if table.is_empty() {
        return Ok(Vec::new());
    }
    match table.decode() {
        Ok(fields) => Ok(fields.list),
        Err(malformed) => {
            Err(Exception::new(Code::SyntaxError, format!("arguments table: {malformed}")))
        }
    }
}

/// The value of an argument; the first, should its name repeat.
pub fn find<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a Value> {
    arguments.iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

impl QueueArguments {
    /// Checks the arguments of a queue.declare.
    pub fn parse(queue: Resource<'_>, arguments: &Arguments) -> Result<QueueArguments, Exception> {
        let number = |name: &str| match find(arguments, name) {
            None => Ok(None),
            Some(value) => {
                natural(value).map(Some).map_err(|why| queue.invalid_argument(name, &why))
            }
        };
        let expiry = |name: &str| match number(name)? {
            Some(span) if span > EXPIRY_MS_MAX => {
                Err(queue.invalid_argument(name, &format!("{{value_too_large,{span}}}")))
            }
            span => Ok(span),
        };
        let parsed = QueueArguments {
            kind: kind(queue, arguments)?,
            message_ttl_ms: expiry("x-message-ttl")?,
            expires_ms: expiry("x-expires")?,
            length_max: number("x-max-length")?,
            length_bytes_max: number("x-max-length-bytes")?,
            age_ms_max: max_age(queue, arguments)?,
            keep: keep::parse(queue, arguments)?,
            overflow: overflow(queue, arguments)?,
            serving: serving::parse(queue, arguments)?,
            is_deduplicating: flag(queue, arguments, "x-message-deduplication")?,
            returns_max: delivery_limit(queue, arguments)?,
            dead_letter: dead_letter(queue, arguments)?,
        };
        fits_kind(queue, parsed.kind, arguments)?;
        for name in [SEGMENT, FILTER] {
            number(name)?;
        }
        for (name, zero) in [("x-expires", parsed.expires_ms), (keep::BYTES, parsed.keep.bytes)] {
            if zero == Some(0) {
                return Err(queue.invalid_argument(name, "{value_zero,0}"));
            }
        }
        Ok(parsed)
    }
}

impl ConsumeArguments {
    /// Checks the arguments of a basic.consume.
    pub fn parse(
        queue: Resource<'_>,
        arguments: &Arguments,
    ) -> Result<ConsumeArguments, Exception> {
        let priority = match find(arguments, "x-priority") {
            None => 0,
            Some(value) => {
                let number = value
                    .as_i64()
                    .ok_or_else(|| queue.invalid_argument("x-priority", &not_integer(value)))?;
                number.clamp(i32::MIN.into(), i32::MAX.into()) as i32
            }
        };
        let start = match find(arguments, "x-stream-offset") {
            None => None,
            Some(value) => Some(stream_start(value).ok_or_else(|| {
                let why = format!("{{invalid_stream_offset_arg,{}}}", spelled(value));
                queue.invalid_argument("x-stream-offset", &why)
            })?),
        };
        let sessions_max = serving::positive(queue, arguments, "x-max-sessions")?.unwrap_or(0);
        Ok(ConsumeArguments { start, priority, sessions_max })
    }
}

/// The alternate exchange of an exchange.declare, if it names one.
pub fn alternate_exchange<'a>(
    exchange: Resource<'_>,
    arguments: &'a Arguments,
) -> Result<Option<&'a str>, Exception> {
    const NAME: &str = "alternate-exchange";
    match find(arguments, NAME) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(other) => Err(wrong_type(exchange, NAME, other)),
    }
}

/// How an exchange that delays routes; 406 unless it says so.
pub fn delayed_type(arguments: &Arguments) -> Result<&str, Exception> {
    match find(arguments, "x-delayed-type") {
        Some(Value::String(kind)) if kind != "x-delayed-message" => Ok(kind),
        _ => {
            let text = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
            Err(Exception::new(Code::PreconditionFailed, text))
        }
    }
}

/// What an exchange that tells duplicates remembers.
pub fn deduplicated(arguments: &Arguments) -> Result<Dedup, Exception> {
    let refused = |text: &str| Exception::new(Code::PreconditionFailed, text);
    let wanted = "'x-cache-size' must be an integer greater than 0";
    let size = find(arguments, "x-cache-size").and_then(message::milliseconds);
    let size = size.ok_or_else(|| refused(&format!("Missing or invalid argument, {wanted}")))?;
    let remembered = match find(arguments, message::TTL) {
        None => Remembered::Always,
        Some(ttl) => Remembered::For(message::milliseconds(ttl).ok_or_else(|| {
            refused("Invalid argument, 'x-cache-ttl' must be an integer greater than 0")
        })?),
    };
    match find(arguments, "x-cache-persistence") {
        None => {}
        Some(Value::String(text)) if text == "disk" || text == "memory" => {}
        Some(_) => {
            let text = "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'";
            return Err(refused(text));
        }
    }
    Ok(Dedup { remembered, count_max: u32::try_from(size.0).unwrap_or(u32::MAX) })
}

/// What a consistent-hash exchange looks at.
pub fn hashed(exchange: Resource<'_>, arguments: &Arguments) -> Result<Hashed, Exception> {
    let text = |name| match find(arguments, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(wrong_type(exchange, name, other)),
    };
    match (text("hash-header")?, text("hash-property")?) {
        (None, None) => Ok(Hashed::Key),
        (Some(header), None) => Ok(Hashed::Header(header.into())),
        (None, Some("message_id")) => Ok(Hashed::Property(Property::MessageId)),
        (None, Some("correlation_id")) => Ok(Hashed::Property(Property::CorrelationId)),
        (None, Some("timestamp")) => Ok(Hashed::Property(Property::Timestamp)),
        (None, Some(other)) => {
            let text = format!("Unsupported property: {other}");
            Err(Exception::new(Code::PreconditionFailed, text))
        }
        (Some(_), Some(_)) => {
            let text = "hash-header and hash-property are mutually exclusive";
            Err(Exception::new(Code::PreconditionFailed, text))
        }
    }
}

/// 406 if the arguments of a second declaration say something else than the stored ones.
///
/// Integers are equal by value whatever their widths, and `x-queue-type` is `classic` where not said.
pub fn check_equivalent(
    resource: Resource<'_>,
    stored: &Arguments,
    received: &Arguments,
) -> Result<(), Exception> {
    for (name, _) in stored.iter().chain(received) {
        let (current, new) = (find(stored, name), find(received, name));
        if !same(name, current, new) {
            let (current, new) = (described(current), described(new));
            return Err(resource.inequivalent(name, &new, &current));
        }
    }
    Ok(())
}

/// 406 if a property of a second declaration differs from the stored one.
pub fn check_property<T: PartialEq + std::fmt::Display>(
    resource: Resource<'_>,
    name: &str,
    stored: T,
    received: T,
) -> Result<(), Exception> {
    if stored == received {
        return Ok(());
    }
    Err(resource.inequivalent(name, &format!("'{received}'"), &format!("'{stored}'")))
}

/// A time as RabbitMQ spells it: a number and `Y`, `M`, `D`, `h`, `m` or `s`.
pub(crate) fn age(text: &str) -> Option<Millis> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "Y" => 365 * 86_400,
        "M" => 30 * 86_400,
        "D" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
    number.checked_mul(seconds * 1_000).map(Millis)
}

/// A time above 0: a number of milliseconds, or as [`age`] has it.
pub(crate) fn span(value: &Value) -> Option<Millis> {
    let span = match value {
        Value::String(text) => age(text),
        other => other.as_i64().map(Millis),
    };
    span.filter(|span| span.0 > 0)
}

/// How long a stream keeps its messages.
fn max_age(queue: Resource<'_>, arguments: &Arguments) -> Result<Option<i64>, Exception> {
    const NAME: &str = "x-max-age";
    match find(arguments, NAME) {
        None => Ok(None),
        Some(Value::String(text)) => match age(text) {
            Some(span) => Ok(Some(span.0)),
            None => Err(queue.invalid_argument(NAME, "invalid_max_age")),
        },
        Some(other) => Err(queue.invalid_argument(NAME, &unacceptable(other))),
    }
}

/// True or false, or its text.
fn flag(queue: Resource<'_>, arguments: &Arguments, name: &str) -> Result<bool, Exception> {
    match find(arguments, name) {
        None => Ok(false),
        Some(Value::Bool(asked)) => Ok(*asked),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(queue.invalid_argument(name, &unacceptable(other))),
    }
}

/// How often a message may come back of a quorum queue, or of one where it waits then; a negative limit is
/// none.
fn delivery_limit(queue: Resource<'_>, arguments: &Arguments) -> Result<Option<i64>, Exception> {
    const NAME: &str = "x-delivery-limit";
    let is_quorum = kind(queue, arguments)? == QueueKind::Quorum;
    let is_limited = is_quorum || retry::parse(queue, arguments)?.is_some();
    match find(arguments, NAME) {
        None => Ok(is_limited.then_some(DELIVERY_LIMIT_DEFAULT)),
        Some(value) => {
            let limit =
                value.as_i64().ok_or_else(|| queue.invalid_argument(NAME, &not_integer(value)))?;
            Ok((limit >= 0).then_some(limit))
        }
    }
}

/// Where dead letters go. Which strategy is asked for changes nothing.
fn dead_letter(
    queue: Resource<'_>,
    arguments: &Arguments,
) -> Result<Option<(String, Option<String>)>, Exception> {
    const EXCHANGE: &str = "x-dead-letter-exchange";
    const KEY: &str = "x-dead-letter-routing-key";
    const STRATEGY: &str = "x-dead-letter-strategy";
    let exchange = match find(arguments, EXCHANGE) {
        None => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(other) => return Err(wrong_type(queue, EXCHANGE, other)),
    };
    let key = match find(arguments, KEY) {
        None => None,
        Some(Value::String(_)) if exchange.is_none() => {
            return Err(queue.invalid_argument(KEY, "routing_key_but_no_dlx_defined"));
        }
        Some(Value::String(key)) => Some(key.clone()),
        Some(other) => return Err(queue.invalid_argument(KEY, &unacceptable(other))),
    };
    match find(arguments, STRATEGY) {
        None => {}
        Some(Value::String(text)) if text == "at-most-once" || text == "at-least-once" => {}
        Some(Value::String(_)) => {
            return Err(queue.invalid_argument(STRATEGY, "invalid_dlx_strategy"));
        }
        Some(other) => return Err(queue.invalid_argument(STRATEGY, &unacceptable(other))),
    }
    Ok(exchange.map(|exchange| (exchange, key)))
}

/// 406 for an argument that is another kind's.
fn fits_kind(queue: Resource<'_>, kind: QueueKind, given: &Arguments) -> Result<(), Exception> {
    let (others, module): (&[&str], &str) = match kind {
        // Where messages that come back wait, there is a limit to it.
        QueueKind::Classic if retry::parse(queue, given)?.is_some() => (
            &["x-dead-letter-strategy", "x-max-age", keep::KEY_INDEX, SEGMENT, FILTER],
            "rabbit_classic_queue",
        ),
        QueueKind::Classic => (
            &[
                "x-dead-letter-strategy",
                "x-delivery-limit",
                "x-max-age",
                keep::KEY_INDEX,
                SEGMENT,
                FILTER,
            ],
            "rabbit_classic_queue",
        ),
        QueueKind::Quorum => (
            &["x-max-priority", "x-max-age", keep::KEY_INDEX, SEGMENT, FILTER],
            "rabbit_quorum_queue",
        ),
        QueueKind::Stream => (
            &[
                "x-dead-letter-exchange",
                "x-dead-letter-routing-key",
                "x-dead-letter-strategy",
                "x-delivery-limit",
                "x-max-priority",
                "x-oldest-every",
                "x-order-key",
                "x-max-in-flight-per-key",
                "x-sessions",
                "x-delayed-retry-type",
                "x-delayed-retry-min",
                "x-delayed-retry-max",
                "x-delayed-retry-multiplier",
                "x-delayed-retry-jitter",
                "x-keep-settled-age",
                "x-keep-settled-bytes",
                "x-message-deduplication",
                "x-overflow",
                "x-priorities",
                "x-single-active-consumer",
                "x-consume-rate",
                "x-consume-burst",
                "x-consume-rate-per-key",
                "x-consume-burst-per-key",
                "x-max-in-flight",
                "x-breaker-failures",
                "x-breaker-window",
                "x-breaker-pause",
            ],
            "rabbit_stream_queue",
        ),
    };
    match others.iter().find(|name| find(given, name).is_some()) {
        None => Ok(()),
        Some(name) => {
            let text = format!("invalid arg '{name}' for {queue} of queue type {module}");
            Err(Exception::new(Code::PreconditionFailed, text))
        }
    }
}

fn wrong_type(resource: Resource<'_>, name: &str, value: &Value) -> Exception {
    let text = format!("invalid type '{}' for arg '{name}' in {resource}", type_name(value));
    Exception::new(Code::PreconditionFailed, text)
}

fn kind(queue: Resource<'_>, arguments: &Arguments) -> Result<QueueKind, Exception> {
    const NAME: &str = "x-queue-type";
    match find(arguments, NAME) {
        None => Ok(QueueKind::Classic),
        Some(Value::String(text)) => match text.as_str() {
            "" | "classic" => Ok(QueueKind::Classic),
            "quorum" => Ok(QueueKind::Quorum),
            "stream" => Ok(QueueKind::Stream),
            other => {
                Err(queue.invalid_argument(NAME, &format!("\"unsupported queue type '{other}'\"")))
            }
        },
        Some(other) => Err(queue.invalid_argument(NAME, &unacceptable(other))),
    }
}

/// What becomes of more than a queue may hold. A quorum queue has no dead letters of what it refuses:
/// RabbitMQ takes that for the default, and logs it.
fn overflow(queue: Resource<'_>, arguments: &Arguments) -> Result<Overflow, Exception> {
    const NAME: &str = "x-overflow";
    let why = match find(arguments, NAME) {
        None => return Ok(Overflow::DropHead),
        Some(Value::String(text)) => match text.as_str() {
            "drop-head" => return Ok(Overflow::DropHead),
            "reject-publish" => return Ok(Overflow::RejectPublish),
            "reject-publish-dlx" => match kind(queue, arguments)? {
                QueueKind::Quorum => return Ok(Overflow::DropHead),
                _ => return Ok(Overflow::RejectPublishDlx),
            },
            _ => "invalid_overflow".to_owned(),
        },
        Some(other) => unacceptable(other),
    };
    Err(queue.invalid_argument(NAME, &why))
}

fn natural(value: &Value) -> Result<i64, String> {
    match value.as_i64() {
        Some(number) if number >= 0 => Ok(number),
        Some(number) => Err(format!("{{value_negative,{number}}}")),
        None => Err(not_integer(value)),
    }
}

fn stream_start(value: &Value) -> Option<StreamStart> {
    match value {
        Value::Timestamp(time) => Some(StreamStart::Time(time.0)),
        Value::String(text) => match text.as_str() {
            "first" => Some(StreamStart::First),
            "last" => Some(StreamStart::Last),
            "next" => Some(StreamStart::Next),
            span => age(span).map(StreamStart::Ago),
        },
        other => other.as_i64().filter(|&offset| offset >= 0).map(StreamStart::Offset),
    }
}

fn same(name: &str, current: Option<&Value>, new: Option<&Value>) -> bool {
    let classic = Value::String("classic".to_owned());
    let default = (name == "x-queue-type").then_some(&classic);
    match (current.or(default), new.or(default)) {
        (Some(current), Some(new)) => match (current.as_i64(), new.as_i64()) {
            (Some(current), Some(new)) => current == new,
            _ => current == new,
        },
        (None, None) => true,
        _ => false,
    }
}

fn not_integer(value: &Value) -> String {
    format!("\"expected integer, got {}\"", type_name(value))
}

pub(crate) fn unacceptable(value: &Value) -> String {
    format!("{{unacceptable_type,{}}}", type_name(value))
}

/// A value of an argument as texts of unequal arguments spell it.
pub(crate) fn described(value: Option<&Value>) -> String {
    match value {
        None => "none".to_owned(),
        Some(value) => {
            format!("the value '{}' of type '{}'", spelled(value), type_name(value))
        }
    }
}

fn spelled(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(set) => set.to_string(),
        other => match other.as_i64() {
            Some(number) => number.to_string(),
            None => format!("{other:?}"),
        },
    }
}

/// RabbitMQ's name of a field type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "void",
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::I16(_) => "short",
        Value::I32(_) => "signedint",
        Value::I64(_) => "long",
        Value::U8(_) => "unsignedbyte",
        Value::U16(_) => "unsignedshort",
        Value::U32(_) => "unsignedint",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Decimal { .. } => "decimal",
        Value::String(_) => "longstr",
        Value::Bytes(_) => "binary",
        Value::Timestamp(_) => "timestamp",
        Value::Array(_) => "array",
        Value::Table(_) => "table",
    }
}
