//! What exists and where: namespaces, topics, queues, subscriptions, routers and bindings, and how a
//! publish finds its logs; who may log in, and what they may do.
//!
//! [`Catalog`] is a pure state machine: [`Catalog::apply`] takes a [`Change`] and the time, and gives
//! an outcome and what the data shards have to do. There are two of them: the shared one, durable,
//! on shard 0, and the local one, on [`types::ShardId::LOCAL`], for what is exclusive or not durable.
//! [`Names`] is the read side of both: cheap to clone, published by pointer swap; it resolves names,
//! routes, and says which layer a change is for ([`Names::place`]).
//!
//! Nothing here knows a protocol, a clock, a disk or random numbers; equal changes give equal bytes.

mod access;
mod catalog;
mod change;
mod config;
mod entry;
mod hashing;
mod headers;
mod names;
mod naming;
mod outcome;
mod pace;
mod partition;
mod policy;
mod retry;
mod sharing;
mod snapshot;
mod table;
mod trie;
mod value;
#[cfg(test)]
mod world;

pub use access::{
    ADMINISTRATOR, BadPattern, DEFAULT_ROUTER, Demand, Denied, DeniedThing, GUEST, Guarded,
    HashAlgorithm, IMPERSONATOR, LoginRefused, PasswordHash, Pattern, Permission, Right,
    TopicPermission, User,
};
pub use catalog::{Catalog, Layer, Unreadable};
pub use change::{
    Action, Bind, Change, ConfigChange, DeclareQueue, DeclareRouter, DeclareTopic, DeleteQueue,
    Description, Elsewhere, Parameter, PutUser, Target,
};
pub use config::{
    Config, KEY_INDEX, MESSAGE_BYTES_MAX_DEFAULT, RETENTION_MS_DEFAULT, TimestampType,
};
pub use entry::{
    Binding, DeadLetter, Dedup, Destination, Found, Hashed, Keep, MessageId, NodeId, Overflow,
    Owner, Property, Queue, QueueKind, QueueOptions, Remembered, Router, RouterId, RouterKind,
    RouterOptions, Serving, Topic, TopicId, Unsaid,
};
pub use names::{Names, Publish, Routes, Stream, Unroutable, group_slot};
pub use naming::{legal_for_streams, visible_to_streams};
pub use outcome::{
    Deleted, LogChange, LogConfig, Outcome, Refusal, Setting, SubscriptionOptions, Thing,
};
pub use pace::{Breaker, Pace, Rate};
pub use policy::{AppliesTo, Governed, Policy, PolicySet, PolicySettings};
pub use retry::{Growth, Retry, RetryOn};
pub use snapshot::{Limit, Snapshot};
pub use value::{Arguments, Headers, Value};

/// A name in the catalog: UTF-8, at most [`types::INTERNAL_NAME_BYTES_MAX`] bytes.
pub type Name = std::sync::Arc<str>;

/// The namespace that always exists.
pub const NAMESPACE_DEFAULT: &str = "/";

/// The subscription of a topic that queue consumers share.
pub const QUEUE_SUBSCRIPTION: &str = "queue";

/// Most logs of one topic.
pub const PARTITIONS_MAX: u32 = 10_000;

/// Numbers of groups by which groups are placed on shards.
pub const GROUP_SLOTS: usize = 64;
