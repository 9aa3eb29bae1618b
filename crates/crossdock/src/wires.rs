//! The wires there are: one row each, and nothing else to do for a new one.

use crate::options::Address;
use engine::Handle;
use frontend::Wire;
use std::sync::Arc;

/// The HTTP side, which is no wire of its own kind but listens like one.
pub(crate) const ADMIN: &str = "admin";

/// Its usual port.
const ADMIN_PORT: u16 = 15_672;

/// A wire.
pub(crate) struct Row {
    /// Its name, as in `--listen NAME=…`.
    pub(crate) name: &'static str,
    /// Where its clients look for it.
    pub(crate) port: u16,
    /// Makes it.
    pub(crate) make: fn(&Context) -> Arc<dyn Wire>,
}

/// What a wire is made from.
#[expect(dead_code, reason = "the table has no wire yet that reads it")]
#[derive(Debug)]
pub(crate) struct Context {
    /// The engine behind it.
    pub(crate) engine: Handle,
    /// Where its clients are told to come back; none: where they came by.
    pub(crate) advertise: Option<Address>,
    /// Create topics that clients ask for.
    pub(crate) auto_create_topics: bool,
    /// Partitions of a topic that is created without a number.
    pub(crate) default_partitions: u32,
    /// Largest message that a queue takes, in bytes.
    pub(crate) message_bytes_max: u32,
}

/// Every wire.
pub(crate) const WIRES: &[Row] = &[];

/// What can be listened on, with its usual port.
pub(crate) fn listenable() -> impl Iterator<Item = (&'static str, u16)> {
    WIRES.iter().map(|row| (row.name, row.port)).chain([(ADMIN, ADMIN_PORT)])
}

/// The names of what can be listened on.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    listenable().map(|(name, _)| name)
}
