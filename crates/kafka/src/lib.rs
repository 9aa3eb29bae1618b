//! The Kafka wire.
