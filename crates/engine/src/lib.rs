//! The door to everything that is stored: operations in, replies and deliveries out.
//!
//! Front ends speak to this crate only. It orders writes (one frame per shard and turn), applies
//! what is durable, and hands out deliveries; it knows no protocol's types, no socket and no async.
//!
//! A frame's way: [`draft`] packs what clients ask into a frame; the [`disk`] thread writes and
//! syncs it with others; the [`worker`] applies it to its [`shard`] and answers.

pub mod api;
mod cache;
mod catch_up;
mod command;
mod disk;
mod draft;
mod envelope;
mod handle;
mod id_list;
mod id_table;
mod index;
mod keeper;
mod key_list;
mod levels;
mod mailbox;
mod memory;
mod metrics;
mod open;
mod outbox;
mod presence;
mod pressure;
mod replicas;
pub mod replication;
mod scrub;
mod shard;
mod stepped;
mod worker;

pub use calendar;
pub use catalog::{self, Names};
pub use command::GroupName;
pub use groups;
pub use handle::{Client, Handle};
pub use keeper::UnzipSizes;
pub use mailbox::Mailbox;
pub use memory::{Account, MEMORY_LIMIT_MIN, Memory, MemoryPool, POOLS};
pub use metrics::{Metrics, SYNC_BUCKETS_US};
pub use open::{Engine, EngineError, Options, PRODUCER_IDLE, Sizes};
pub use outbox::{Outbox, Wake};
pub use presence::{Place, Presence};
pub use replication::Replication;
pub use stepped::{Part, Stepped};
pub use worker::{Tally, delivery_bytes};

#[cfg(test)]
mod tests;

use catalog::Layer;
use command::Unreadable;
use types::ShardId;

/// The shard whose catalog is a layer of names.
#[must_use]
pub fn shard_of(layer: Layer) -> ShardId {
    match layer {
        Layer::Shared => ShardId(0),
        Layer::Local => ShardId::LOCAL,
    }
}

/// The worker that runs a shard.
fn worker_number(shard: ShardId, workers: usize) -> usize {
    if shard == ShardId::LOCAL { 0 } else { usize::from(shard.0) % workers }
}
