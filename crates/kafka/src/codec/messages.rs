//! The messages, each declared as the fields its versions have.
//!
//! Source: clients/src/main/resources/common/message of Apache Kafka 4.1; names are those of the
//! schemas.

pub mod api_versions;
pub mod configs;
pub mod fetch;
pub mod group_admin;
pub mod identity;
pub mod membership;
pub mod metadata;
pub mod offsets;
pub mod produce;
pub mod topics;
