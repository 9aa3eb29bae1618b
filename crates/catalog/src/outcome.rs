//! What a change came to, why it was refused, and what the data shards have to do about it.

use crate::entry::{Dedup, QueueOptions, TopicId};
use crate::value::Value;
use crate::{Name, TimestampType};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use types::{Error, Kind, LogRef, Millis, SubscriptionRef};

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A namespace, router, binding, user or permission is there.
    Declared {
        /// It was not before.
        created: bool,
    },
    /// A topic is there.
    Topic {
        /// Its id.
        id: TopicId,
        /// Its logs by partition.
        partitions: Arc<[LogRef]>,
        /// It was not there before.
        created: bool,
    },
    /// A queue is there.
    Queue {
        /// Its id.
        id: TopicId,
        /// Its log.
        log: LogRef,
        /// Its own subscription.
        subscription: SubscriptionRef,
        /// It was not there before.
        created: bool,
    },
    /// A topic's subscription is there.
    Subscription {
        /// The topic's id.
        topic: TopicId,
        /// The topic's logs by partition.
        partitions: Arc<[LogRef]>,
        /// The subscription.
        subscription: SubscriptionRef,
        /// It was not there before.
        created: bool,
    },
    /// The policies of a namespace have changed, and what is under them.
    Governed {
        /// Which namespace's.
        namespace: Name,
        /// A policy was not there before.
        created: bool,
    },
    /// Things are gone.
    Deleted(Deleted),
    /// A binding is not there.
    Unbound {
        /// It was before.
        removed: bool,
        /// What went with it.
        deleted: Deleted,
    },
}

/// What a change took away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Namespaces.
    pub namespaces: Vec<Name>,
    /// Queues and topics, by namespace and name.
    pub queues: Vec<(Name, Name)>,
    /// Routers, by namespace and name: the one named, and auto-delete ones that lost their last binding.
    pub routers: Vec<(Name, Name)>,
    /// Routers of the other layer that lost their last binding in this one, by namespace and name.
    /// One that is auto-delete is now to be deleted there, if unused.
    pub released: Vec<(Name, Name)>,
}

/// A kind of thing the catalog holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Thing {
    /// A namespace.
    Namespace,
    /// A topic.
    Topic,
    /// A queue.
    Queue,
    /// A topic's subscription.
    Subscription,
    /// A router.
    Router,
    /// A binding.
    Binding,
    /// A user.
    User,
    /// What a user may do; it has the user's name.
    Permission,
    /// A policy.
    Policy,
    /// A limit of a namespace.
    Limit,
    /// A value that is kept for tools.
    Parameter,
}

/// Why a change was refused; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such thing.
    NotFound {
        /// What kind of thing.
        what: Thing,
        /// Its name.
        name: Name,
    },
    /// It exists with another setting.
    Mismatch {
        /// What kind of thing.
        what: Thing,
        /// Its name.
        name: Name,
        /// The setting: `type`, `durable`, `auto_delete`, `internal` or an argument's name.
        field: String,
        /// What was asked for.
        declared: Setting,
        /// What it is.
        current: Setting,
    },
    /// It is exclusive to another connection, or not exclusive and was declared so.
    Exclusive {
        /// The queue.
        name: Name,
    },
    /// It still has bindings.
    InUse {
        /// What kind of thing.
        what: Thing,
        /// Its name.
        name: Name,
    },
    /// Its name is reserved, or it is predeclared.
    Reserved {
        /// What kind of thing.
        what: Thing,
        /// Its name.
        name: Name,
    },
    /// The name is empty, too long or has characters it may not have.
    IllegalName {
        /// What kind of thing.
        what: Thing,
        /// The name.
        name: Name,
    },
    /// The name is taken by a thing of another kind.
    KindClash {
        /// The name.
        name: Name,
        /// What has it.
        current: Thing,
    },
    /// The name differs from another topic's in `.` and `_` only.
    Collides {
        /// The name.
        name: Name,
        /// The other topic's.
        with: Name,
    },
    /// There are as many as there may be.
    TooMany {
        /// Of what.
        what: Thing,
        /// How many there may be.
        limit: u64,
    },
    /// The namespace has as many queues as it may.
    LimitReached {
        /// The queue that is one too many.
        name: Name,
        /// How many there may be.
        limit: u64,
    },
    /// The change contradicts itself or the thing it names.
    Invalid {
        /// What kind of thing.
        what: Thing,
        /// Its name.
        name: Name,
        /// One sentence; lower case, no full stop.
        why: String,
    },
}

/// A setting in a [`Refusal::Mismatch`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Setting {
    /// Not given.
    Absent,
    /// A flag.
    Flag(bool),
    /// A name.
    Text(String),
    /// An argument's value.
    Argument(Value),
}

/// What a data shard has to do after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogChange {
    /// Create an empty log.
    CreateLog {
        /// Which and where.
        log: LogRef,
        /// How it behaves.
        config: LogConfig,
    },
    /// Change how a log behaves.
    AlterLog {
        /// Which.
        log: LogRef,
        /// How it behaves from now on.
        config: LogConfig,
    },
    /// Drop a log and its records.
    DropLog(LogRef),
    /// Create a subscription, from the earliest record of each log.
    CreateSubscription {
        /// Which and where.
        subscription: SubscriptionRef,
        /// Over these logs, by partition; all on its shard.
        over: Vec<LogRef>,
        /// How it behaves.
        options: SubscriptionOptions,
    },
    /// Let a subscription see more logs.
    ExtendSubscription {
        /// Which.
        subscription: SubscriptionRef,
        /// The further ones.
        over: Vec<LogRef>,
    },
    /// Change how a subscription behaves.
    AlterSubscription {
        /// Which.
        subscription: SubscriptionRef,
        /// How it behaves from now on.
        options: SubscriptionOptions,
    },
    /// Drop a subscription and its ledgers.
    DropSubscription(SubscriptionRef),
}

/// How a log behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// What its primary subscription has settled may go, and nothing else: at once, or, if there is a limit,
    /// when it is beyond that.
    pub trim_settled: bool,
    /// Records older than this may go; `None`: no limit.
    pub retention_ms: Option<Millis>,
    /// Records beyond this many bytes may go, oldest first; `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// Largest batch a stream producer may append, in bytes; `None`: the broker's limit.
    pub message_bytes_max: Option<u32>,
    /// Whose clock its timestamps come from.
    pub timestamp_type: TimestampType,
    /// The highest level that a record has by its priority; 0: all are alike.
    pub level_max: u8,
    /// How ids of messages are remembered.
    pub dedup: Option<Dedup>,
    /// The records of a key can be found; from its first record on or never.
    pub key_index: bool,
}

/// How a subscription behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionOptions {
    /// It is a queue's own: its settling trims the log.
    pub primary: bool,
    /// The queue's options; the default for a topic's subscription.
    pub queue: Arc<QueueOptions>,
}

impl LogChange {
    /// The shard it is for.
    #[must_use]
    pub fn shard(&self) -> types::ShardId {
        match self {
            LogChange::CreateLog { log, .. }
            | LogChange::AlterLog { log, .. }
            | LogChange::DropLog(log) => log.shard,
            LogChange::CreateSubscription { subscription, .. }
            | LogChange::ExtendSubscription { subscription, .. }
            | LogChange::AlterSubscription { subscription, .. }
            | LogChange::DropSubscription(subscription) => subscription.shard,
        }
    }
}

impl Refusal {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Refusal::NotFound { .. } => Kind::NotFound,
            Refusal::Mismatch { .. } | Refusal::KindClash { .. } | Refusal::Collides { .. } => {
                Kind::Exists
            }
            Refusal::Exclusive { .. } | Refusal::InUse { .. } => Kind::InUse,
            Refusal::Reserved { .. } => Kind::Denied,
            Refusal::IllegalName { .. } | Refusal::Invalid { .. } => Kind::Invalid,
            Refusal::TooMany { .. } | Refusal::LimitReached { .. } => Kind::TooLarge,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::new(refusal.kind(), refusal.to_string())
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Thing::Namespace => "namespace",
            Thing::Topic => "topic",
            Thing::Queue => "queue",
            Thing::Subscription => "subscription",
            Thing::Router => "router",
            Thing::Binding => "binding",
            Thing::User => "user",
            Thing::Permission => "permission of user",
            Thing::Policy => "policy",
            Thing::Limit => "limit",
            Thing::Parameter => "parameter",
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Absent => f.write_str("none"),
            Setting::Flag(flag) => write!(f, "'{flag}'"),
            Setting::Text(text) => write!(f, "'{text}'"),
            Setting::Argument(value) => write!(f, "{value:?}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotFound { what, name } => write!(f, "there is no {what} '{name}'"),
            Refusal::Mismatch { what, name, field, declared, current } => write!(
                f,
                "{what} '{name}' exists with another '{field}': declared {declared}, current {current}"
            ),
            Refusal::Exclusive { name } => {
                write!(f, "queue '{name}' is exclusive to another connection")
            }
            Refusal::InUse { what, name } => write!(f, "{what} '{name}' is in use"),
            Refusal::Reserved { what, name } => write!(f, "{what} name '{name}' is reserved"),
            Refusal::IllegalName { what, name } => write!(f, "{what} name '{name}' is not legal"),
            Refusal::KindClash { name, current } => write!(f, "'{name}' is a {current}"),
            Refusal::Collides { name, with } => {
                write!(f, "topic '{name}' collides with existing topic '{with}'")
            }
            Refusal::TooMany { what, limit } => write!(f, "more than {limit} of {what}"),
            Refusal::LimitReached { name, limit } => {
                write!(f, "queue '{name}' is one more than the {limit} that the namespace may have")
            }
            Refusal::Invalid { what, name, why } => write!(f, "{what} '{name}': {why}"),
        }
    }
}
