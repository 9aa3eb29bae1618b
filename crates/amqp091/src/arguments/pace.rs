//! Our own arguments that hold deliveries of a queue back.

use super::{Arguments, EXPIRY_MS_MAX, find, not_integer};
use crate::errors::{Exception, Resource};

/// Most messages a second that can be asked for.
const RATE_MAX: i64 = 1_000_000;

/// Most failures that a circuit breaker counts.
const FAILURES_MAX: i64 = 10_000;

const RATE: &str = "x-consume-rate";
const BURST: &str = "x-consume-burst";
const KEY_RATE: &str = "x-consume-rate-per-key";
const KEY_BURST: &str = "x-consume-burst-per-key";
const ORDER_KEY: &str = "x-order-key";
const IN_FLIGHT: &str = "x-max-in-flight";
const FAILURES: &str = "x-breaker-failures";
const WINDOW: &str = "x-breaker-window";
const PAUSE: &str = "x-breaker-pause";

/// What holds deliveries back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PaceArguments {
    /// `x-consume-rate`, in messages a second, and `x-consume-burst`, in messages: a tenth of a second's
    /// where it is not said, and at least one.
    pub rate: Option<(u32, u32)>,
    /// `x-consume-rate-per-key` and `x-consume-burst-per-key`, the same for each key of `x-order-key`.
    pub key_rate: Option<(u32, u32)>,
    /// `x-max-in-flight`: most messages that are with consumers.
    pub in_flight_max: Option<u32>,
    /// `x-breaker-failures`, `x-breaker-window` and `x-breaker-pause`, both in milliseconds.
    pub breaker: Option<(u32, i64, i64)>,
}

/// What the arguments of a queue say.
pub(super) fn parse(
    queue: Resource<'_>,
    arguments: &Arguments,
) -> Result<PaceArguments, Exception> {
    let number = |name: &str, most: i64| {
        let Some(value) = find(arguments, name) else { return Ok(None) };
        let why = match value.as_i64() {
            Some(0) => "{value_zero,0}".to_owned(),
            Some(number) if number < 0 => format!("{{value_negative,{number}}}"),
            Some(number) if number > most => format!("{{value_too_large,{number}}}"),
            Some(number) => return Ok(Some(number)),
            None => not_integer(value),
        };
        Err(queue.invalid_argument(name, &why))
    };
    let small = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let (rate, burst) = (number(RATE, RATE_MAX)?, number(BURST, RATE_MAX)?);
    let (key_rate, key_burst) = (number(KEY_RATE, RATE_MAX)?, number(KEY_BURST, RATE_MAX)?);
    let in_flight_max = number(IN_FLIGHT, u32::MAX.into())?.map(small);
    let failures = number(FAILURES, FAILURES_MAX)?;
    let (window, pause) = (number(WINDOW, EXPIRY_MS_MAX)?, number(PAUSE, EXPIRY_MS_MAX)?);
    let needs =
        |name: &str, other: &str| queue.invalid_argument(name, &format!("requires_{other}"));
    if burst.is_some() && rate.is_none() {
        return Err(needs(BURST, RATE));
    }
    if key_burst.is_some() && key_rate.is_none() {
        return Err(needs(KEY_BURST, KEY_RATE));
    }
    if key_rate.is_some() && find(arguments, ORDER_KEY).is_none() {
        return Err(needs(KEY_RATE, ORDER_KEY));
    }
    let breaker = match (failures, window, pause) {
        (Some(failures), Some(window), Some(pause)) => Some((small(failures), window, pause)),
        (None, None, None) => None,
        (None, Some(_), _) => return Err(needs(WINDOW, FAILURES)),
        (None, _, _) => return Err(needs(PAUSE, FAILURES)),
        (Some(_), None, _) => return Err(needs(FAILURES, WINDOW)),
        (Some(_), _, None) => return Err(needs(FAILURES, PAUSE)),
    };
    let with_burst = |rate: Option<i64>, burst: Option<i64>| {
        rate.map(|rate| (small(rate), small(burst.unwrap_or((rate / 10).max(1)))))
    };
    let (rate, key_rate) = (with_burst(rate, burst), with_burst(key_rate, key_burst));
    Ok(PaceArguments { rate, key_rate, in_flight_max, breaker })
}
