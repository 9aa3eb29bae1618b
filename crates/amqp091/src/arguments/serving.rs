//! Arguments that say which message is handed out next, when, and to whom.

use super::{
    Arguments, PaceArguments, RetryArguments, find, flag, natural, pace, retry, unacceptable,
};
use crate::errors::{Exception, Resource};
use record::properties::Value;

/// How messages are handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingArguments {
    /// `x-single-active-consumer`.
    pub single_active: bool,
    /// `x-max-priority`, or `x-priorities`, which every kind but a stream takes; 0: all messages are alike.
    pub priority_max: u8,
    /// `x-oldest-every`: of the messages handed out every so many is the oldest.
    pub oldest_every: Option<u32>,
    /// `x-order-key`: of each key one message at a time is handed out. The key is the record's, or the
    /// header or property of this name.
    pub order_key: Option<String>,
    /// `x-max-in-flight-per-key`: of each key so many messages at a time.
    pub key_in_flight_max: Option<u32>,
    /// `x-sessions`: each key of `x-order-key` is one consumer's while any of its messages is there.
    pub sessions: bool,
    /// `x-consume-rate` and what else holds deliveries back.
    pub pace: PaceArguments,
    /// `x-delayed-retry-type` and its kin.
    pub retry: Option<RetryArguments>,
}

pub(super) fn parse(
    queue: Resource<'_>,
    arguments: &Arguments,
) -> Result<ServingArguments, Exception> {
    Ok(ServingArguments {
        single_active: single_active(queue, arguments)?,
        priority_max: priority_max(queue, arguments)?,
        oldest_every: positive(queue, arguments, "x-oldest-every")?,
        order_key: order_key(queue, arguments)?,
        key_in_flight_max: positive(queue, arguments, "x-max-in-flight-per-key")?,
        sessions: sessions(queue, arguments)?,
        pace: pace::parse(queue, arguments)?,
        retry: retry::parse(queue, arguments)?,
    })
}

fn sessions(queue: Resource<'_>, arguments: &Arguments) -> Result<bool, Exception> {
    const NAME: &str = "x-sessions";
    let asked = flag(queue, arguments, NAME)?;
    if asked && find(arguments, "x-order-key").is_none() {
        return Err(queue.invalid_argument(NAME, "requires_x-order-key"));
    }
    Ok(asked)
}

fn single_active(queue: Resource<'_>, arguments: &Arguments) -> Result<bool, Exception> {
    const NAME: &str = "x-single-active-consumer";
    match find(arguments, NAME) {
        None => Ok(false),
        Some(Value::Bool(asked)) => Ok(*asked),
        Some(other) => Err(queue.invalid_argument(NAME, &unacceptable(other))),
    }
}

/// The highest priority. RabbitMQ has that of a classic queue only; any queue can have it here, under
/// another name.
fn priority_max(queue: Resource<'_>, arguments: &Arguments) -> Result<u8, Exception> {
    let mut highest = 0;
    for name in ["x-max-priority", "x-priorities"] {
        let Some(value) = find(arguments, name) else { continue };
        let number = natural(value).map_err(|why| queue.invalid_argument(name, &why))?;
        highest = u8::try_from(number).map_err(|_| {
            queue.invalid_argument(name, &format!("{{max_value_exceeded,{number}}}"))
        })?;
    }
    Ok(highest)
}

pub(super) fn positive(
    queue: Resource<'_>,
    arguments: &Arguments,
    name: &str,
) -> Result<Option<u32>, Exception> {
    let Some(value) = find(arguments, name) else { return Ok(None) };
    match natural(value) {
        Ok(0) => Err(queue.invalid_argument(name, "{value_zero,0}")),
        Ok(number) => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
        Err(why) => Err(queue.invalid_argument(name, &why)),
    }
}

fn order_key(queue: Resource<'_>, arguments: &Arguments) -> Result<Option<String>, Exception> {
    const NAME: &str = "x-order-key";
    match find(arguments, NAME) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(other) => Err(queue.invalid_argument(NAME, &unacceptable(other))),
    }
}
