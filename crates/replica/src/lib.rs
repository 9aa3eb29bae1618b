//! Replicas of a shard: consensus on its frames, by openraft, with the engine's journal as its log.
//!
//! The only code that knows openraft. A [`Node`] is what an engine has for a
//! [`Replicator`](engine::replication::Replicator); it runs on a tokio runtime, and owns no file.

mod frame;
mod journal;
mod links;
mod log;
mod machine;
mod node;
mod standing;
mod storage;
mod types;
mod wire;

pub use crate::frame::Unstorable;
pub use crate::journal::{Journal, Sizes};
pub use crate::links::{Connect, Connecting, Stream};
pub use crate::node::{Node, NotGrown, Options};
pub use crate::storage::ShardLog;
pub use crate::types::{Frame, Types};
pub use crate::wire::{NoPacket, PACKET_BYTES_MAX};

#[cfg(test)]
mod tests;
