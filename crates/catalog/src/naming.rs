//! What names may look like.

use crate::entry::Queue;
use crate::outcome::{Refusal, Thing};
use crate::{NAMESPACE_DEFAULT, Name};
use types::INTERNAL_NAME_BYTES_MAX;

/// Names that begin so are the broker's own.
pub(crate) const RESERVED_PREFIX: &str = "amq.";

/// Longest name that stream protocols can carry, in bytes.
const STREAM_NAME_BYTES_MAX: usize = 249;

/// Whether stream protocols can carry `name`: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
///
/// Source: Apache Kafka, `Topic.validate`.
#[must_use]
pub fn legal_for_streams(name: &str) -> bool {
    (1..=STREAM_NAME_BYTES_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether stream readers of the default namespace see `queue` as a topic with one partition.
#[must_use]
pub fn visible_to_streams(namespace: &str, queue: &Queue) -> bool {
    queue.durable
        && queue.exclusive.is_none()
        && namespace == NAMESPACE_DEFAULT
        && legal_for_streams(&queue.name)
}

/// Checks a name of anything but a topic.
pub(crate) fn check(what: Thing, name: &Name) -> Result<(), Refusal> {
    let legal = !name.is_empty() && name.len() <= INTERNAL_NAME_BYTES_MAX && !name.contains('\0');
    if legal { Ok(()) } else { Err(Refusal::IllegalName { what, name: Name::clone(name) }) }
}

/// Checks a topic's name.
pub(crate) fn check_topic(name: &Name) -> Result<(), Refusal> {
    if legal_for_streams(name) {
        Ok(())
    } else {
        Err(Refusal::IllegalName { what: Thing::Topic, name: Name::clone(name) })
    }
}

/// What two topics' names may not share: metrics of stream clients write `.` as `_`.
///
/// Source: Apache Kafka, `Topic.hasCollision`.
pub(crate) fn collision_form(name: &str) -> String {
    name.replace('.', "_")
}
