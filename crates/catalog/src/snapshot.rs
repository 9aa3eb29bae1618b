//! One layer as its readers see it: persistent maps, so that a copy costs a few counters.

use crate::access::User;
use crate::change::Description;
use crate::entry::{Binding, Destination, Found, QueueOptions, Router, TopicId};
use crate::outcome::Refusal;
use crate::policy::PolicySet;
use crate::table::Table;
use crate::value::Value;
use crate::{GROUP_SLOTS, Name};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogId, ShardId, SubscriptionId};

/// One layer at one version. Cloning it is cheap and copies nothing.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) namespaces: OrdMap<Name, Arc<Scope>>,
    pub(crate) ids: OrdMap<TopicId, FullName>,
    pub(crate) subscriptions: OrdMap<SubscriptionId, FullName>,
    /// Logs of queues that refuse what is too much.
    pub(crate) refusing: OrdSet<LogId>,
    /// Logs of queues that remember ids of messages.
    pub(crate) remembering: OrdSet<LogId>,
    pub(crate) group_slots: Arc<[ShardId]>,
    pub(crate) users: OrdMap<Name, Arc<User>>,
    /// What tools keep here for everybody, by an empty component and name.
    pub(crate) parameters: Parameters,
}

/// Values by component and name.
pub(crate) type Parameters = OrdMap<(Name, Name), Arc<Value>>;

/// What a namespace may have only so many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// Queues.
    Queues,
    /// Connections that have entered it.
    Connections,
}

/// Namespace and name; shared, for every queue has it in two maps.
pub(crate) type FullName = Arc<(Name, Name)>;

/// What one namespace holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) names: OrdMap<Name, Found>,
    pub(crate) routers: OrdMap<Name, Arc<Router>>,
    /// Bindings by source router; a router without bindings has none.
    pub(crate) tables: OrdMap<Name, Arc<Table>>,
    /// Bindings by destination.
    pub(crate) inbound: OrdMap<Inbound, Arc<Binding>>,
    /// Topics by what their names may not share.
    pub(crate) topic_forms: OrdMap<String, Name>,
    pub(crate) description: Option<Arc<Description>>,
    /// In the local layer they are a copy of the shared ones.
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) limits: BTreeMap<Limit, i64>,
    /// What tools keep here.
    pub(crate) parameters: Parameters,
}

/// A binding's identity, by destination first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inbound {
    pub(crate) destination: Destination,
    pub(crate) source: Name,
    pub(crate) key: Name,
    /// See [`crate::table::arguments_identity`].
    pub(crate) arguments: Arc<[u8]>,
}

impl Snapshot {
    pub(crate) fn new(shards: &[ShardId]) -> Snapshot {
        Snapshot {
            version: 0,
            namespaces: OrdMap::new(),
            ids: OrdMap::new(),
            subscriptions: OrdMap::new(),
            refusing: OrdSet::new(),
            remembering: OrdSet::new(),
            group_slots: shards.iter().copied().cycle().take(GROUP_SLOTS).collect(),
            users: OrdMap::new(),
            parameters: OrdMap::new(),
        }
    }

    /// Rises with every change of the layer.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Notes what publishers have to know of the queue with this log.
    pub(crate) fn index_options(&mut self, log: LogId, options: &QueueOptions) {
        let sets = [
            (&mut self.refusing, options.refuses()),
            (&mut self.remembering, options.dedup.is_some()),
        ];
        for (set, belongs) in sets {
            match belongs {
                true => set.insert(log).is_some(),
                false => set.remove(&log).is_some(),
            };
        }
    }

    pub(crate) fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.namespaces.get(namespace).map(Arc::as_ref)
    }
}

impl Limit {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Limit::Queues => "max-queues",
            Limit::Connections => "max-connections",
        }
    }
}

impl Scope {
    /// A limit, unless it is none: below zero is.
    pub(crate) fn limit(&self, limit: Limit) -> Option<u64> {
        self.limits.get(&limit).and_then(|most| u64::try_from(*most).ok())
    }

    /// Refuses another queue beside `count` others.
    pub(crate) fn check_queue_room(&self, name: &Name, count: usize) -> Result<(), Refusal> {
        match self.limit(Limit::Queues) {
            Some(limit) if count as u64 >= limit => {
                Err(Refusal::LimitReached { name: Name::clone(name), limit })
            }
            _ => Ok(()),
        }
    }

    /// The bindings that lead to `destination`.
    pub(crate) fn bindings_to<'a>(
        &'a self,
        destination: &'a Destination,
    ) -> impl Iterator<Item = (&'a Inbound, &'a Arc<Binding>)> {
        let from = Inbound {
            destination: destination.clone(),
            source: Name::from(""),
            key: Name::from(""),
            arguments: Arc::from([]),
        };
        self.inbound.range(from..).take_while(move |(at, _)| at.destination == *destination)
    }
}
