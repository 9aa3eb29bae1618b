//! One layer as its readers see it: persistent maps, so that a copy costs a few counters.

use crate::access::User;
use crate::change::Description;
use crate::entry::{Binding, Destination, Found, Router, TopicId};
use crate::table::Table;
use crate::{GROUP_SLOTS, Name};
use imbl::{OrdMap, OrdSet};
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
    pub(crate) group_slots: Arc<[ShardId]>,
    pub(crate) users: OrdMap<Name, Arc<User>>,
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
            group_slots: shards.iter().copied().cycle().take(GROUP_SLOTS).collect(),
            users: OrdMap::new(),
        }
    }

    /// Rises with every change of the layer.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.namespaces.get(namespace).map(Arc::as_ref)
    }
}

impl Scope {
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
