//! The broker as Rust code of this process uses it: declare, publish, consume, settle.

mod browse;
mod carry;
mod consumer;
mod keyed;
mod publish;
mod recurring;
mod replay;
mod schedule;
mod sessions;

use crate::Caller;
use engine::Handle;
use engine::api::{Op, Reply};
use engine::catalog::{
    Action, Change, Config, DeclareQueue, DeclareTopic, DeleteQueue, Found, NAMESPACE_DEFAULT,
    Name, Outcome, QUEUE_SUBSCRIPTION, QueueOptions,
};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use types::{Error, Kind, SubscriptionRef};

pub use browse::{Browsed, Filter, Page, State, Stretch};
pub use carry::{Carried, Home};
pub use consumer::Consumer;
pub use keyed::{Expectation, History, KeyRange};
pub use recurring::{Recurring, RecurringEntry, RecurringPage};
pub use replay::{Again, RewindTo};
pub use schedule::Listing;

/// One user of the broker within its process; cheap to clone. Names are those of one namespace.
#[derive(Clone, Debug)]
pub struct Local {
    engine: Handle,
    caller: Arc<Caller>,
    namespace: Name,
    /// Where the next publish without a key goes.
    turn: Arc<AtomicU32>,
}

impl Local {
    /// A user of the default namespace, on the current tokio runtime.
    #[must_use]
    pub fn connect(engine: &Handle) -> Local {
        Local {
            engine: engine.clone(),
            caller: Arc::new(Caller::connect(engine)),
            namespace: Name::from(NAMESPACE_DEFAULT),
            turn: Arc::default(),
        }
    }

    /// The same in another namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Local {
        Local { namespace: Name::from(namespace), ..self.clone() }
    }

    /// The namespace of its names.
    #[must_use]
    pub fn namespace(&self) -> &Name {
        &self.namespace
    }

    /// The engine behind it.
    #[must_use]
    pub fn engine(&self) -> &Handle {
        &self.engine
    }

    /// Carries an operation out.
    ///
    /// Fails as the operation does.
    pub async fn call(&self, op: Op) -> Result<Reply, Error> {
        self.caller.call(op).await
    }

    /// Creates a durable queue, or finds it; true when it was not there.
    ///
    /// Fails when something else has the name.
    pub async fn declare_queue(&self, name: &str) -> Result<bool, Error> {
        let queue = DeclareQueue {
            name: Name::from(name),
            id: self.engine.new_topic_id(),
            durable: true,
            exclusive: None,
            auto_delete: false,
            server_named: false,
            arguments: Vec::new(),
            options: QueueOptions::default(),
        };
        self.declare(Action::DeclareQueue(queue)).await
    }

    /// Creates a topic, or finds it; true when it was not there.
    ///
    /// Fails when something else has the name, or the topic has another number of partitions.
    pub async fn declare_topic(
        &self,
        name: &str,
        partitions: u32,
        config: Config,
    ) -> Result<bool, Error> {
        if let Some(Found::Topic(topic)) = self.engine.names().find(&self.namespace, name) {
            let count = topic.partitions.len();
            return match count == partitions as usize {
                true => Ok(false),
                false => Err(Error::new(
                    Kind::Exists,
                    format!("topic '{name}' exists with {count} partitions"),
                )),
            };
        }
        let id = self.engine.new_topic_id();
        let topic = DeclareTopic { name: Name::from(name), id, partitions, config };
        self.declare(Action::DeclareTopic(topic)).await
    }

    /// Deletes a queue or a topic with everything in it.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let action = match self.find(name)? {
            Found::Topic(_) => Action::DeleteTopic { name: Name::from(name) },
            Found::Queue(_) => {
                let name = Name::from(name);
                Action::DeleteQueue(DeleteQueue { name, by: None, only: None })
            }
        };
        self.change(action).await.map(drop)
    }

    /// What `name` is now.
    ///
    /// Fails with `NotFound` when there is neither queue nor topic of that name.
    pub fn find(&self, name: &str) -> Result<Found, Error> {
        self.engine.names().find(&self.namespace, name).cloned().ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no queue or topic '{name}'"))
        })
    }

    /// The subscription that competing consumers of `name` share; a topic's is created, from its
    /// earliest record, when nobody has used it before.
    pub(crate) async fn subscription(&self, name: &str) -> Result<SubscriptionRef, Error> {
        let found = self.find(name)?;
        if let Some(subscription) = found.subscription() {
            return Ok(subscription);
        }
        let join = Action::DeclareSubscription {
            topic: Name::from(name),
            name: Name::from(QUEUE_SUBSCRIPTION),
        };
        match self.change(join).await? {
            Outcome::Subscription { subscription, .. } => Ok(subscription),
            other => Err(unexpected(&other)),
        }
    }

    async fn declare(&self, action: Action) -> Result<bool, Error> {
        match self.change(action).await? {
            Outcome::Topic { created, .. }
            | Outcome::Queue { created, .. }
            | Outcome::Subscription { created, .. } => Ok(created),
            other => Err(unexpected(&other)),
        }
    }

    async fn change(&self, action: Action) -> Result<Outcome, Error> {
        let mut change = Change::new(Name::clone(&self.namespace), action);
        let layer = self.engine.names().place(&mut change)?;
        let op = Op::Change { shard: engine::shard_of(layer), change: Box::new(change) };
        match self.call(op).await? {
            Reply::Changed(result) => Ok((*result)?),
            other => Err(unexpected(&other)),
        }
    }
}

/// A reply of the wrong kind: a bug, told instead of a panic.
pub(crate) fn unexpected(reply: &dyn std::fmt::Debug) -> Error {
    Error::new(Kind::Invalid, format!("the engine answered with {reply:?}"))
}
