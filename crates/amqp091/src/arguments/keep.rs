//! Our own arguments about what a queue keeps, and how that is found.

use super::{Arguments, find, flag, natural, span};
use crate::errors::{Exception, Resource};

/// How long a queue keeps what its consumers are done with, and how many bytes of it.
const AGE: &str = "x-keep-settled-age";
pub(super) const BYTES: &str = "x-keep-settled-bytes";

/// Argument of a stream that indexes its keys.
pub(super) const KEY_INDEX: &str = "x-key-index";

/// What a queue keeps of what its consumers are done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepArguments {
    /// `x-keep-settled-age`, in milliseconds; not 0.
    pub age_ms: Option<i64>,
    /// `x-keep-settled-bytes`; not 0.
    pub bytes: Option<i64>,
    /// `x-key-index` of a stream: the records of a key can be found.
    pub key_index: bool,
}

pub(super) fn parse(
    queue: Resource<'_>,
    arguments: &Arguments,
) -> Result<KeepArguments, Exception> {
    let age_ms = match find(arguments, AGE) {
        None => None,
        Some(value) => match span(value) {
            Some(span) => Some(span.0),
            None => return Err(queue.invalid_argument(AGE, "invalid_age")),
        },
    };
    let bytes = match find(arguments, BYTES) {
        None => None,
        Some(value) => Some(natural(value).map_err(|why| queue.invalid_argument(BYTES, &why))?),
    };
    Ok(KeepArguments { age_ms, bytes, key_index: flag(queue, arguments, KEY_INDEX)? })
}
