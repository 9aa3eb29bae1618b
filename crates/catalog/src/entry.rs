//! What the catalog holds: topics, queues, routers and bindings.

use crate::change::Target;
use crate::policy::Governed;
use crate::snapshot::Inbound;
use crate::table::arguments_identity;
use crate::value::Arguments;
use crate::{Config, Name, Pace, Retry};
use record::properties::Properties;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use types::{ClientId, LogRef, Millis, SubscriptionRef};

/// What a router that delays is declared as.
const DELAYED_KIND: &str = "x-delayed-message";
/// What a router that tells duplicates is declared as.
const DEDUP_KIND: &str = "x-message-deduplication";

/// A topic's (or queue's) 128-bit id: random, and never the same again under the same name.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub [u8; 16]);

/// One process of the broker.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NodeId(pub u32);

/// A router, never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RouterId(pub u32);

/// A connection, told apart from those of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Its node.
    pub node: NodeId,
    /// Which connection there.
    pub client: ClientId,
}

/// A named set of logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name in its namespace.
    pub name: Name,
    /// Its id.
    pub id: TopicId,
    /// Its logs by partition, all on one shard.
    pub partitions: Arc<[LogRef]>,
    /// Its configuration.
    pub config: Arc<Config>,
    /// Its named subscriptions.
    pub subscriptions: BTreeMap<Name, SubscriptionRef>,
    /// When it was created.
    pub created: Millis,
}

/// One log and the subscription whose settling trims it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name in its namespace.
    pub name: Name,
    /// Its id.
    pub id: TopicId,
    /// Its log.
    pub log: LogRef,
    /// Its own subscription.
    pub subscription: SubscriptionRef,
    /// Survives a restart.
    pub durable: bool,
    /// The connection that has it to itself.
    pub exclusive: Option<Owner>,
    /// Deleted with its last consumer.
    pub auto_delete: bool,
    /// As they were given.
    pub arguments: Arguments,
    /// What takes effect of them.
    #[serde(skip, default = "QueueOptions::plain")]
    pub own: Arc<QueueOptions>,
    /// The same with what policies say.
    #[serde(skip, default = "QueueOptions::plain")]
    pub options: Arc<QueueOptions>,
    /// Which policies those are; `None`: none.
    pub governed: Option<Box<Governed>>,
    /// When it was created.
    pub created: Millis,
}

/// What of a queue's arguments takes effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueueOptions {
    /// How long a message may wait; `None`: for ever.
    pub message_ttl: Option<Millis>,
    /// How long the queue may be unused; `None`: for ever.
    pub expires: Option<Millis>,
    /// Most ready messages.
    pub max_len: Option<u64>,
    /// Most bytes of messages.
    pub max_bytes: Option<u64>,
    /// What becomes of more than that.
    pub overflow: Overflow,
    /// How its messages are handed out.
    pub serving: Serving,
    /// How often a message may come back; once more and it is taken out. `None`: without end.
    pub returns_max: Option<u16>,
    /// Where what is taken out goes; `None`: nowhere.
    pub dead_letter: Option<Arc<DeadLetter>>,
    /// How it knows messages that it had before, by their ids.
    pub dedup: Option<Dedup>,
    /// How much it keeps of what its consumers are done with; `None`: nothing. Of a stream, which keeps
    /// everything otherwise, how long it keeps that.
    pub keep: Option<Box<Keep>>,
    /// Which kind was asked for.
    pub kind: QueueKind,
    /// What nobody asked for, so that a policy may say it.
    pub unsaid: Unsaid,
}

/// How much is kept, so that it can be had again: with both limits, what is within both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Keep {
    /// Messages that are not older.
    pub age: Option<Millis>,
    /// So many bytes of the newest.
    pub bytes: Option<u64>,
    /// An index of the keys: the records of a key can be found. Of a stream only.
    pub key_index: bool,
}

/// Which message is handed out next, when, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Serving {
    /// Of its consumers one at a time is served.
    pub single_active: bool,
    /// The highest priority of its messages; 0: all are alike.
    pub priority_max: u8,
    /// Of the messages handed out every so many is the oldest, whatever its priority; `None`: none.
    pub oldest_every: Option<u32>,
    /// Of each key one message at a time is handed out, in order. A message's key is that of its record,
    /// or the value of the header of this name.
    pub order_key: Option<Name>,
    /// Of each key so many messages at a time instead of one; where no key is named that of the record.
    pub key_in_flight_max: Option<u32>,
    /// Each key is a session: all its messages are one consumer's while any of them is there, and as many as it
    /// has room for are handed out.
    pub sessions: bool,
    /// How long a message waits that came back; `None`: not at all.
    pub retry: Option<Retry>,
    /// What holds deliveries back.
    pub pace: Pace,
}

impl Serving {
    /// Of each key so many messages are handed out at a time; `None`: keys do not matter.
    #[must_use]
    pub fn of_a_key(&self) -> Option<u32> {
        let one = if self.sessions { u32::MAX } else { 1 };
        self.key_in_flight_max.or(self.order_key.as_ref().map(|_| one))
    }
}

/// Which options have their default because nothing was said of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unsaid {
    /// [`QueueOptions::overflow`].
    pub overflow: bool,
    /// [`QueueOptions::returns_max`].
    pub returns_max: bool,
}

/// What tells a message from others: the first half of a SHA-256 of the id its publisher gave it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MessageId(pub [u8; 16]);

/// How ids of messages are remembered, so that none is taken twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dedup {
    /// How long.
    pub remembered: Remembered,
    /// How many; the oldest makes room.
    pub count_max: u32,
}

/// How long the id of a message is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Remembered {
    /// As long as the message is in the queue.
    WhileHeld,
    /// From its append on for a time, whatever becomes of it.
    For(Millis),
    /// As long as there is room.
    Always,
}

/// What a queue does with more messages than it may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Overflow {
    /// The oldest go.
    #[default]
    DropOldest,
    /// The new one is refused.
    Refuse,
    /// The new one is refused, and goes where dead letters go.
    RefuseAsDead,
}

/// Where a queue sends what was refused, has expired, or was taken out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The router, in the queue's namespace; it need not exist.
    pub router: Name,
    /// The routing key; `None`: those that the message was published with.
    pub key: Option<Name>,
}

/// The kind of queue that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QueueKind {
    /// Says nothing special.
    #[default]
    Classic,
    /// Wants replicas.
    Quorum,
    /// Settling removes nothing from it.
    Stream,
}

/// Rules from a publish address to queues, topics and routers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Its name in its namespace; `""` is the default router.
    pub name: Name,
    /// Its id.
    pub id: RouterId,
    /// How it routes.
    pub kind: RouterKind,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted with the last binding it is the source of.
    pub auto_delete: bool,
    /// Takes records from other routers only.
    pub internal: bool,
    /// Gets what matches no binding.
    pub alternate: Option<Name>,
    /// The alternate that was declared, whatever policies say.
    pub own_alternate: Option<Name>,
    /// Which policies it is under.
    pub governed: Governed,
    /// As they were given.
    pub arguments: Arguments,
    /// What takes effect of them.
    pub options: RouterOptions,
}

/// What of a router's arguments takes effect, beside its alternate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterOptions {
    /// What asks to wait reaches the router's destinations as much later.
    pub delays: bool,
    /// What a router that chooses by hash looks at.
    pub hashed: Hashed,
    /// How it knows messages that were published to it before, by their ids.
    pub dedup: Option<Dedup>,
}

/// What a router that chooses by hash looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hashed {
    /// The routing key.
    #[default]
    Key,
    /// A header.
    Header(Name),
    /// A property.
    Property(Property),
}

/// A property of a record that routers may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Property {
    /// What names the message.
    MessageId,
    /// What it answers, or belongs to.
    CorrelationId,
    /// When the publisher says it was made.
    Timestamp,
}

/// How a router chooses among its bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouterKind {
    /// Those whose key is the routing key.
    Direct,
    /// All.
    Fanout,
    /// Those whose pattern of words, `*` (one word) and `#` (any number) matches the routing key.
    Topic,
    /// Those whose arguments match the headers.
    Headers,
    /// One, by a hash, in proportion to the weights that are their keys; a change of the bindings
    /// moves no more of the hashes than it has to.
    ConsistentHash,
    /// One, by a hash, all alike.
    ModulusHash,
}

/// The end of a binding, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Destination {
    /// A queue, or a topic.
    Queue(Name),
    /// A router.
    Router(Name),
}

/// One rule of a router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// The router it belongs to.
    pub source: Name,
    /// Where it leads.
    pub destination: Destination,
    /// Routing key or pattern.
    pub key: Name,
    /// As they were given.
    pub arguments: Arguments,
    pub(crate) source_id: RouterId,
    pub(crate) source_kind: RouterKind,
    pub(crate) target: Target,
    /// The destination lives in the other layer, which may have lost it meanwhile.
    pub(crate) foreign: bool,
}

/// What a name of a namespace is.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A topic.
    Topic(Arc<Topic>),
    /// A queue.
    Queue(Arc<Queue>),
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl RouterKind {
    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RouterKind::Direct => "direct",
            RouterKind::Fanout => "fanout",
            RouterKind::Topic => "topic",
            RouterKind::Headers => "headers",
            RouterKind::ConsistentHash => "x-consistent-hash",
            RouterKind::ModulusHash => "x-modulus-hash",
        }
    }
}

impl Router {
    /// The name of its kind, as it is declared.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        self.options.kind_name(self.kind)
    }
}

impl MessageId {
    /// Of an id of any length.
    #[must_use]
    pub fn of(id: &[u8]) -> MessageId {
        MessageId::of_parts(&[id])
    }

    /// Of an id that is in parts.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> MessageId {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        let mut half = [0; 16];
        half.copy_from_slice(&hash.finalize()[..16]);
        MessageId(half)
    }
}

impl Property {
    /// Its text among the properties of a record.
    #[must_use]
    pub fn of<'a>(self, properties: &Properties<'a>) -> Option<Cow<'a, [u8]>> {
        match self {
            Property::MessageId => properties.message_id.map(Cow::Borrowed),
            Property::CorrelationId => properties.correlation_id.map(Cow::Borrowed),
            Property::Timestamp => {
                properties.timestamp.map(|time| Cow::Owned(time.0.to_string().into_bytes()))
            }
        }
    }
}

impl RouterOptions {
    /// The name of a router of these options, which route as `kind`.
    pub(crate) fn kind_name(&self, kind: RouterKind) -> &'static str {
        match self {
            RouterOptions { delays: true, .. } => DELAYED_KIND,
            RouterOptions { dedup: Some(_), .. } => DEDUP_KIND,
            _ => kind.name(),
        }
    }
}

impl Keep {
    /// As a queue has it.
    #[must_use]
    pub fn or_nothing(self) -> Option<Box<Keep>> {
        (self != Keep::default()).then(|| Box::new(self))
    }
}

impl QueueKind {
    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            QueueKind::Classic => "classic",
            QueueKind::Quorum => "quorum",
            QueueKind::Stream => "stream",
        }
    }
}

impl Destination {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Destination::Queue(name) | Destination::Router(name) => name,
        }
    }
}

impl Found {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Found::Topic(topic) => &topic.name,
            Found::Queue(queue) => &queue.name,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TopicId {
        match self {
            Found::Topic(topic) => topic.id,
            Found::Queue(queue) => queue.id,
        }
    }

    /// Its logs.
    #[must_use]
    pub fn logs(&self) -> &[LogRef] {
        match self {
            Found::Topic(topic) => &topic.partitions,
            Found::Queue(queue) => std::slice::from_ref(&queue.log),
        }
    }

    /// The subscription that its competing consumers share: a queue's own, a topic's `queue`.
    #[must_use]
    pub fn subscription(&self) -> Option<SubscriptionRef> {
        match self {
            Found::Topic(topic) => topic.subscriptions.get(crate::QUEUE_SUBSCRIPTION).copied(),
            Found::Queue(queue) => Some(queue.subscription),
        }
    }
}

impl Binding {
    pub(crate) fn identity(&self) -> Inbound {
        Inbound {
            destination: self.destination.clone(),
            source: Name::clone(&self.source),
            key: Name::clone(&self.key),
            arguments: arguments_identity(&self.arguments),
        }
    }
}
