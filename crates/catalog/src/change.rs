//! What can be asked of the catalog: each change is a plain value that names its namespace.

use crate::access::{PasswordHash, Permission, TopicPermission};
use crate::entry::{
    Destination, NodeId, Owner, QueueKind, QueueOptions, RouterId, RouterKind, RouterOptions,
    TopicId,
};
use crate::outcome::Deleted;
use crate::policy::{Policy, PolicySet};
use crate::snapshot::Limit;
use crate::value::{Arguments, Value};
use crate::{Config, Name};
use serde::{Deserialize, Serialize};
use types::{ClientId, LogRef, SubscriptionId};

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// In which namespace.
    pub namespace: Name,
    /// What to do there.
    pub action: Action,
}

/// What to do in a namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Creates the namespace with its predeclared routers. Outcome: `Declared`.
    DeclareNamespace,
    /// Deletes the namespace and everything in it. Outcome: `Deleted`.
    DeleteNamespace,
    /// Creates a topic, or finds it. Outcome: `Topic`.
    DeclareTopic(DeclareTopic),
    /// Deletes a topic and its subscriptions. Outcome: `Deleted`.
    DeleteTopic {
        /// Which.
        name: Name,
    },
    /// Gives a topic more logs. Outcome: `Topic`.
    AddPartitions {
        /// Which.
        name: Name,
        /// How many it has afterwards; more than now.
        total: u32,
    },
    /// Changes a topic's configuration. Outcome: `Topic`.
    AlterConfig {
        /// Which.
        name: Name,
        /// How.
        change: ConfigChange,
    },
    /// Creates or joins a topic's named subscription, from the earliest record.
    /// Outcome: `Subscription`.
    DeclareSubscription {
        /// Over which topic.
        topic: Name,
        /// Its name.
        name: Name,
    },
    /// Deletes a topic's named subscription. Outcome: `Deleted`.
    DeleteSubscription {
        /// Over which topic.
        topic: Name,
        /// Its name.
        name: Name,
    },
    /// Creates a queue, or finds it and compares. On a topic, without arguments, it creates or joins
    /// the topic's subscription `queue`. Outcome: `Queue` or `Subscription`.
    DeclareQueue(DeclareQueue),
    /// Deletes a queue and its bindings; on a topic, its subscription `queue`. Outcome: `Deleted`.
    DeleteQueue(DeleteQueue),
    /// Creates a router, or finds it and compares. Outcome: `Declared`.
    DeclareRouter(DeclareRouter),
    /// Deletes a router and its bindings. Outcome: `Deleted`.
    DeleteRouter {
        /// Which.
        name: Name,
        /// Refuse (`InUse`) while it has bindings as a source.
        if_unused: bool,
    },
    /// Binds; binding what is bound changes nothing. Outcome: `Declared`.
    Bind(Bind),
    /// Unbinds; unbinding what is not bound changes nothing. Outcome: `Unbound`.
    Unbind(Bind),
    /// A connection ended: drops what was exclusive to it, in every namespace. Outcome: `Deleted`.
    RemoveClient(Owner),
    /// A node ended or began anew: drops what was exclusive to its connections. Outcome: `Deleted`.
    RemoveNode(NodeId),
    /// Things of the other layer are gone: drops bindings to and from them, and everything in their
    /// namespaces. To be sent to the local layer with what each change of the shared one deleted.
    /// Outcome: `Deleted`.
    Forget(Deleted),
    /// Creates a user without permissions, or gives one another password and other tags.
    /// Outcome: `Declared`.
    PutUser(PutUser),
    /// Deletes a user. Outcome: `Deleted`.
    DeleteUser {
        /// Whom.
        name: Name,
    },
    /// Lets a user into the namespace and says what the user may do there. Outcome: `Declared`.
    Permit {
        /// Whom.
        user: Name,
        /// What.
        permission: Permission,
    },
    /// Keeps a user out of the namespace. Outcome: `Deleted`.
    Forbid {
        /// Whom.
        user: Name,
    },
    /// Says which routing keys a user may use with a topic router of the namespace, which need not
    /// be there. Outcome: `Declared`.
    PermitKeys {
        /// Who.
        user: Name,
        /// With which router.
        router: Name,
        /// Which keys.
        permission: TopicPermission,
    },
    /// Lets a user use any routing key again. Outcome: `Deleted`.
    ForbidKeys {
        /// Who.
        user: Name,
        /// With which router; none: with every router of the namespace.
        router: Option<Name>,
    },
    /// Says what the namespace is for. Outcome: `Declared`.
    Describe(Description),
    /// Makes a policy, or another one in its place. Outcome: `Governed`.
    PutPolicy {
        /// It is one of the operator's.
        operator: bool,
        /// The policy.
        policy: Box<Policy>,
    },
    /// Deletes a policy. Outcome: `Governed`.
    DeletePolicy {
        /// It is one of the operator's.
        operator: bool,
        /// Which.
        name: Name,
    },
    /// The policies of the shared layer: to be sent to the local one when they have changed.
    /// Outcome: `Declared`.
    AdoptPolicies(Box<PolicySet>),
    /// Says how many of something the namespace may have; below zero: as many as they like.
    /// Outcome: `Declared`.
    PutLimit {
        /// Of what.
        limit: Limit,
        /// How many.
        most: i64,
    },
    /// Lets the namespace have as many as they like. Outcome: `Deleted`.
    DeleteLimit(Limit),
    /// Keeps a value for tools. Outcome: `Declared`.
    PutParameter {
        /// Under which name.
        parameter: Parameter,
        /// What.
        value: Value,
    },
    /// Forgets a value. Outcome: `Deleted`.
    DeleteParameter(Parameter),
}

/// The name of a value that is kept for tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Whose, in the namespace; `None`: it is no component's and no namespace's.
    pub component: Option<Name>,
    /// Its name.
    pub name: Name,
}

/// What people say of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What it is for.
    pub text: String,
    /// Words to find it by.
    pub tags: Vec<Name>,
    /// Of which kind queues are that do not say so.
    pub queue_kind: Option<QueueKind>,
}

/// A user to create or to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutUser {
    /// The name.
    pub name: Name,
    /// How a password is known to be the user's.
    pub password: PasswordHash,
    /// What the user may manage.
    pub tags: Vec<Name>,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclareTopic {
    /// Its name.
    pub name: Name,
    /// Its id if it is created: random, chosen by whoever sends the change.
    pub id: TopicId,
    /// How many logs.
    pub partitions: u32,
    /// Its configuration, checked by the wire.
    pub config: Config,
}

/// How a configuration changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigChange {
    /// Sets (`Some`) or deletes (`None`) each named one, in order.
    Edit(Vec<(String, Option<String>)>),
    /// Replaces the whole.
    Replace(Config),
}

/// A queue to create or to compare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclareQueue {
    /// Its name.
    pub name: Name,
    /// Its id if it is created: random, chosen by whoever sends the change.
    pub id: TopicId,
    /// Survives a restart.
    pub durable: bool,
    /// Exclusive to this connection.
    pub exclusive: Option<Owner>,
    /// Deleted with its last consumer.
    pub auto_delete: bool,
    /// The broker chose the name, which may then begin with `amq.`.
    pub server_named: bool,
    /// As the client gave them: stored, echoed, compared.
    pub arguments: Arguments,
    /// What the wire understood of the arguments.
    pub options: QueueOptions,
}

/// A queue to delete. Whether it is unused or empty is for the engine to check before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteQueue {
    /// Its name.
    pub name: Name,
    /// Who asks; an exclusive queue is deleted by its owner only.
    pub by: Option<Owner>,
    /// Only if this is its subscription still, whoever asks: what an expiry that was decided a
    /// moment ago says, so that it does not hit the next queue of the name.
    pub only: Option<SubscriptionId>,
}

/// A router to create or to compare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclareRouter {
    /// Its name.
    pub name: Name,
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
    /// As the client gave them: stored, echoed, compared.
    pub arguments: Arguments,
    /// What the wire understood of the arguments.
    pub options: RouterOptions,
}

/// A binding to make or to take away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    /// The router that records come from.
    pub source: Name,
    /// Where they go.
    pub destination: Destination,
    /// Routing key or pattern.
    pub key: Name,
    /// As the client gave them; with source, destination and key they are the binding's identity.
    pub arguments: Arguments,
    /// Who asks; an exclusive queue is bound by its owner only.
    pub by: Option<Owner>,
    /// What the other layer holds of the two ends; `Names::place` fills it in.
    pub elsewhere: Elsewhere,
}

/// The ends of a binding that live in the other layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The source router.
    pub source: Option<(RouterId, RouterKind)>,
    /// The destination.
    pub destination: Option<Target>,
}

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A queue, by its log.
    Queue(LogRef),
    /// A topic.
    Topic(TopicId),
    /// A router.
    Router(RouterId),
}

impl DeclareRouter {
    /// The name of its kind, as it is declared.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        self.options.kind_name(self.kind)
    }
}

impl Change {
    /// A change of `namespace`.
    pub fn new(namespace: impl Into<Name>, action: Action) -> Change {
        Change { namespace: namespace.into(), action }
    }

    /// The change that ends `client` of `node`.
    #[must_use]
    pub fn remove_client(node: NodeId, client: ClientId) -> Change {
        Change::new(crate::NAMESPACE_DEFAULT, Action::RemoveClient(Owner { node, client }))
    }
}
