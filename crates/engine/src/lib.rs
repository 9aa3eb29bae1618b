//! The door to everything that is stored: operations in, replies and deliveries out.
//!
//! Front ends speak to this crate only. It orders writes (one frame per shard and turn), applies
//! what is durable, and hands out deliveries; it knows no protocol's types, no socket and no async.

pub mod api;
mod handle;
mod mailbox;
mod outbox;
mod worker;

pub use handle::{Client, Handle};
pub use mailbox::Mailbox;
pub use outbox::{Outbox, Wake};
