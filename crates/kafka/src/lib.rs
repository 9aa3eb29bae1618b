//! The Kafka wire: codec, error table, and the session that answers requests by operations of the
//! engine.
//!
//! Invariants: nothing here reads a clock, a socket or a disk, and no byte from the network can
//! make a decoder panic, recurse or allocate more than a small multiple of its frame. An answer that
//! acknowledges is sent after the engine has said that what it acknowledges is durable.
//!
//! Deviations from Apache Kafka are in `docs/kafka.md`.
//!
//! Source: the Kafka protocol guide and the message schemas of Apache Kafka 4.1.

pub mod api_versions;
pub mod apis;
pub mod codec;
pub mod errors;
pub mod fetch_session;
pub mod topic_config;
pub mod topic_names;

mod requests;
mod session;
mod wire;

pub use wire::{KafkaWire, Options};
