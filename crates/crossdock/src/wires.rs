//! The wires there are: one row each, and nothing else to do for a new one.

use crate::options::Address;
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
    /// Whether its protocol tells clients where to connect.
    pub(crate) advertises: bool,
    /// Makes it.
    pub(crate) make: fn(&Context) -> Arc<dyn Wire>,
}

/// What a wire is made from.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Where its clients are told to come back; none: where they came by.
    pub(crate) advertise: Option<Address>,
    /// Create topics that clients ask for.
    pub(crate) auto_create_topics: bool,
    /// Partitions of a topic that is created without a number.
    pub(crate) default_partitions: u32,
    /// Largest message, in bytes; none: what is usual on the wire.
    pub(crate) message_bytes_max: Option<u32>,
    /// Largest message there is memory for, in bytes.
    pub(crate) memory_bytes_max: usize,
}

/// Every wire.
pub(crate) const WIRES: &[Row] = &[
    Row { name: "kafka", port: 9_092, advertises: true, make: kafka },
    Row { name: "amqp", port: 5_672, advertises: false, make: amqp },
];

fn kafka(context: &Context) -> Arc<dyn Wire> {
    let usual = kafka::Options::default();
    let bytes_max = context.message_bytes_max.unwrap_or(usual.message_bytes_max);
    Arc::new(kafka::KafkaWire::new(kafka::Options {
        advertised: context.advertise.clone().map(|it| (it.host, it.port)),
        auto_create_topics: context.auto_create_topics,
        partitions_default: context.default_partitions,
        message_bytes_max: bytes_max
            .min(u32::try_from(context.memory_bytes_max).unwrap_or(u32::MAX)),
        ..usual
    }))
}

fn amqp(context: &Context) -> Arc<dyn Wire> {
    let usual = amqp091::Options::default();
    let bytes_max = context.message_bytes_max.map_or(usual.body_bytes_max, u64::from);
    Arc::new(amqp091::Amqp::new(amqp091::Options {
        body_bytes_max: bytes_max.min(context.memory_bytes_max as u64),
        ..usual
    }))
}

/// What can be listened on, with its usual port.
pub(crate) fn listenable() -> impl Iterator<Item = (&'static str, u16)> {
    WIRES.iter().map(|row| (row.name, row.port)).chain([(ADMIN, ADMIN_PORT)])
}

/// The names of what can be listened on.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    listenable().map(|(name, _)| name)
}
