//! The state machine: changes in, outcomes and work for the data shards out.

mod bindings;
mod everything;
mod namespaces;
mod policies;
mod queues;
mod routers;
mod stored;
mod topics;
mod users;

#[cfg(test)]
mod tests;

use crate::Name;
use crate::change::{Action, Change};
use crate::entry::{Owner, QueueOptions, RouterId};
use crate::outcome::{LogChange, Outcome, Refusal, Thing};
use crate::sharing::Sharing;
use crate::snapshot::{FullName, Scope, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{LogId, LogRef, Millis, ShardId, SubscriptionId, SubscriptionRef};

/// First number that the local layer gives out.
const LOCAL_FROM: u32 = 1 << 31;
/// How many numbers a layer gives out. Those above are for the hidden logs that the engine has
/// beside the named ones.
const NUMBERS: u32 = 1 << 29;

/// Which of the two catalogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// Durable and for everybody; on shard 0.
    Shared,
    /// This node's, until it stops.
    Local,
}

/// Names, ids and placement of everything in one layer.
///
/// Serialises to the same bytes after the same changes; reading them back gives the same catalog.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "stored::Stored")]
pub struct Catalog {
    layer: Layer,
    shards: Vec<ShardId>,
    names: Snapshot,
    next: Next,
    /// How many logs each shard has.
    logs_by_shard: BTreeMap<ShardId, u32>,
    /// Exclusive queues by their connection, as namespace and name.
    owned: BTreeMap<Owner, BTreeSet<(Name, Name)>>,
    sharing: Sharing,
}

/// The next number of each kind; none is given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Next {
    log: u32,
    subscription: u32,
    router: u32,
}

/// Stored bytes that contradict themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Layer {
    /// The layer that gave out the id `number`: local ids are the upper half.
    pub(crate) fn of(number: u32) -> Layer {
        if number < LOCAL_FROM { Layer::Shared } else { Layer::Local }
    }

    fn first(self) -> u32 {
        match self {
            Layer::Shared => 0,
            Layer::Local => LOCAL_FROM,
        }
    }

    /// The number after the last one.
    fn end(self) -> u32 {
        self.first() + NUMBERS
    }
}

impl Catalog {
    /// A catalog that places logs on `shards`, of which there is at least one. The shared one has the
    /// namespace `/` and the user `guest`; the local one has nothing.
    #[must_use]
    pub fn new(layer: Layer, shards: &[ShardId]) -> Catalog {
        assert!(!shards.is_empty(), "logs have to be placed somewhere");
        let first = layer.first();
        let mut catalog = Catalog {
            layer,
            shards: shards.to_vec(),
            names: Snapshot::new(shards),
            next: Next { log: first, subscription: first, router: first },
            logs_by_shard: shards.iter().map(|shard| (*shard, 0)).collect(),
            owned: BTreeMap::new(),
            sharing: Sharing::default(),
        };
        if layer == Layer::Shared {
            catalog.create_namespace(&Name::from(crate::NAMESPACE_DEFAULT));
            catalog.create_guest();
        }
        catalog
    }

    /// Carries `change` out at `now`, or refuses it and changes nothing. Also gives what the data
    /// shards have to do about it, in order.
    pub fn apply(
        &mut self,
        change: &Change,
        now: Millis,
    ) -> (Result<Outcome, Refusal>, Vec<LogChange>) {
        let mut work = Vec::new();
        let outcome = self.carry_out(change, now, &mut work);
        (outcome, work)
    }

    /// The layer as its readers see it now; cheap.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.names.clone()
    }

    fn carry_out(
        &mut self,
        change: &Change,
        now: Millis,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let space = &change.namespace;
        match &change.action {
            Action::DeclareNamespace => return self.declare_namespace(space),
            Action::DeleteNamespace => return self.delete_namespace(space, work),
            Action::RemoveClient(owner) => return Ok(self.remove_owners(*owner, *owner, work)),
            Action::RemoveNode(node) => {
                let (first, last) = Owner::all_of(*node);
                return Ok(self.remove_owners(first, last, work));
            }
            Action::Forget(deleted) => return Ok(self.forget(deleted, work)),
            Action::PutUser(user) => return self.put_user(user),
            Action::DeleteUser { name } => return self.delete_user(name),
            Action::PutParameter { parameter, value } if parameter.component.is_none() => {
                return self.set_parameter(space, parameter, Some(value));
            }
            Action::DeleteParameter(parameter) if parameter.component.is_none() => {
                return self.set_parameter(space, parameter, None);
            }
            _ => {}
        }
        if self.layer == Layer::Shared && self.names.scope(space).is_none() {
            return Err(Refusal::NotFound { what: Thing::Namespace, name: Name::clone(space) });
        }
        match &change.action {
            Action::DeclareTopic(topic) => self.declare_topic(space, topic, now, work),
            Action::DeleteTopic { name } => self.delete_topic(space, name, work),
            Action::AddPartitions { name, total } => self.add_partitions(space, name, *total, work),
            Action::AlterConfig { name, change } => self.alter_config(space, name, change, work),
            Action::DeclareSubscription { topic, name } => {
                self.declare_subscription(space, topic, name, work)
            }
            Action::DeleteSubscription { topic, name } => {
                self.delete_subscription(space, topic, name, work)
            }
            Action::DeclareQueue(queue) => self.declare_queue(space, queue, now, work),
            Action::DeleteQueue(queue) => self.delete_queue(space, queue, work),
            Action::DeclareRouter(router) => self.declare_router(space, router),
            Action::DeleteRouter { name, if_unused } => self.delete_router(space, name, *if_unused),
            Action::Bind(bind) => self.bind(space, bind),
            Action::Unbind(bind) => self.unbind(space, bind),
            Action::Permit { user, permission } => self.permit(space, user, permission),
            Action::Forbid { user } => self.forbid(space, user),
            Action::PermitKeys { user, router, permission } => {
                self.permit_keys((space, router), user, permission)
            }
            Action::ForbidKeys { user, router } => self.forbid_keys(space, user, router.as_ref()),
            Action::Describe(description) => Ok(self.describe(space, description)),
            Action::PutPolicy { operator, policy } => {
                Ok(self.put_policy(space, (*operator, policy), work))
            }
            Action::DeletePolicy { operator, name } => {
                self.delete_policy(space, (*operator, name), work)
            }
            Action::AdoptPolicies(set) => Ok(self.adopt_policies(space, set, work)),
            Action::PutLimit { limit, most } => Ok(self.put_limit(space, *limit, *most)),
            Action::DeleteLimit(limit) => self.delete_limit(space, *limit),
            Action::PutParameter { parameter, value } => {
                self.set_parameter(space, parameter, Some(value))
            }
            Action::DeleteParameter(parameter) => self.set_parameter(space, parameter, None),
            Action::DeclareNamespace
            | Action::DeleteNamespace
            | Action::RemoveClient(_)
            | Action::RemoveNode(_)
            | Action::Forget(_)
            | Action::PutUser(_)
            | Action::DeleteUser { .. } => Ok(Outcome::Declared { created: false }),
        }
    }

    fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.names.scope(namespace)
    }

    /// The namespace, to be changed: every change comes through here and raises the version.
    fn scope_mut(&mut self, namespace: &Name) -> &mut Scope {
        self.names.version += 1;
        Arc::make_mut(self.names.namespaces.entry(Name::clone(namespace)).or_default())
    }

    /// Whether so many more can be numbered.
    fn check_room(&self, logs: u32, subscriptions: u32) -> Result<(), Refusal> {
        let end = self.layer.end();
        let limit = u64::from(end - self.layer.first());
        if end.saturating_sub(self.next.log) < logs {
            return Err(Refusal::TooMany { what: Thing::Topic, limit });
        }
        if end.saturating_sub(self.next.subscription) < subscriptions {
            return Err(Refusal::TooMany { what: Thing::Subscription, limit });
        }
        Ok(())
    }

    /// The shard with the fewest logs.
    fn least_shard(&self) -> ShardId {
        let count = |shard: &ShardId| self.logs_by_shard.get(shard).copied().unwrap_or_default();
        self.shards.iter().copied().min_by_key(count).unwrap_or_default()
    }

    fn next_log(&mut self, shard: ShardId) -> LogRef {
        let log = LogId(self.next.log);
        self.next.log += 1;
        *self.logs_by_shard.entry(shard).or_default() += 1;
        LogRef { shard, log }
    }

    fn drop_log(&mut self, log: LogRef, work: &mut Vec<LogChange>) {
        self.names.index_options(log.log, &QueueOptions::default());
        if let Some(count) = self.logs_by_shard.get_mut(&log.shard) {
            *count = count.saturating_sub(1);
        }
        work.push(LogChange::DropLog(log));
    }

    /// Numbers a subscription and remembers whose it is.
    fn next_subscription(&mut self, shard: ShardId, owner: FullName) -> SubscriptionRef {
        let subscription = SubscriptionId(self.next.subscription);
        self.next.subscription += 1;
        self.names.subscriptions.insert(subscription, owner);
        SubscriptionRef { shard, subscription }
    }

    fn drop_subscription(&mut self, subscription: SubscriptionRef, work: &mut Vec<LogChange>) {
        self.names.subscriptions.remove(&subscription.subscription);
        work.push(LogChange::DropSubscription(subscription));
    }

    fn next_router(&mut self) -> RouterId {
        let router = RouterId(self.next.router);
        self.next.router += 1;
        router
    }
}
