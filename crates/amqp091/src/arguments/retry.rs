//! The arguments by which messages that come back wait: RabbitMQ 4.3's, LavinMQ's multiplier, and a
//! jitter.

use super::{Arguments, EXPIRY_MS_MAX, find, not_integer, unacceptable};
use crate::errors::{Exception, Resource};
use record::properties::Value;

const TYPE: &str = "x-delayed-retry-type";
const MIN: &str = "x-delayed-retry-min";
const MAX: &str = "x-delayed-retry-max";
const MULTIPLIER: &str = "x-delayed-retry-multiplier";
const JITTER: &str = "x-delayed-retry-jitter";

/// How long messages wait that come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryArguments {
    /// `x-delayed-retry-type`, other than `disabled`.
    pub kind: RetryType,
    /// `x-delayed-retry-min`, in milliseconds; not 0.
    pub min_ms: i64,
    /// `x-delayed-retry-max`, in milliseconds; the least delay where it is not said, and ten years where
    /// a multiplier is.
    pub max_ms: i64,
    /// `x-delayed-retry-multiplier`: without it delays grow by the least one.
    pub multiplier: Option<u32>,
    /// `x-delayed-retry-jitter`, in percent.
    pub jitter: u8,
}

/// What `x-delayed-retry-type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryType {
    /// `all`.
    All,
    /// `failed`: those that count.
    Failed,
    /// `returned`: those that do not count.
    Returned,
}

/// What the arguments of a queue say; `None`: messages do not wait. A multiplier alone stands for `all`.
pub(super) fn parse(
    queue: Resource<'_>,
    arguments: &Arguments,
) -> Result<Option<RetryArguments>, Exception> {
    let number = |name: &str, least: i64, most: i64| {
        let Some(value) = find(arguments, name) else { return Ok(None) };
        let why = match value.as_i64() {
            Some(number) if number < 0 => format!("{{value_negative,{number}}}"),
            Some(number) if number < least => format!("{{value_zero,{number}}}"),
            Some(number) if number > most => format!("{{value_too_large,{number}}}"),
            Some(number) => return Ok(Some(number)),
            None => not_integer(value),
        };
        Err(queue.invalid_argument(name, &why))
    };
    let min = number(MIN, 1, EXPIRY_MS_MAX)?;
    let max = number(MAX, 1, EXPIRY_MS_MAX)?;
    let multiplier = number(MULTIPLIER, 1, u32::MAX.into())?;
    let multiplier = multiplier.and_then(|times| u32::try_from(times).ok());
    let jitter = number(JITTER, 0, 100)?.and_then(|percent| u8::try_from(percent).ok());
    let kind = match find(arguments, TYPE) {
        None => multiplier.map(|_| RetryType::All),
        Some(Value::String(text)) => match text.as_str() {
            "disabled" => None,
            "all" => Some(RetryType::All),
            "failed" => Some(RetryType::Failed),
            "returned" => Some(RetryType::Returned),
            _ => return Err(queue.invalid_argument(TYPE, "invalid_delayed_retry_type")),
        },
        Some(other) => return Err(queue.invalid_argument(TYPE, &unacceptable(other))),
    };
    if let (Some(min), Some(max)) = (min, max)
        && max < min
    {
        let why = format!("{{value_less_than_min,{max},{min}}}");
        return Err(queue.invalid_argument(MAX, &why));
    }
    let Some(kind) = kind else { return Ok(None) };
    let min_ms =
        min.ok_or_else(|| queue.invalid_argument(MIN, "required_by_delayed_retry_type"))?;
    let max_ms = max.unwrap_or(if multiplier.is_some() { EXPIRY_MS_MAX } else { min_ms });
    Ok(Some(RetryArguments { kind, min_ms, max_ms, multiplier, jitter: jitter.unwrap_or(0) }))
}
