//! The read side: names, ids and lists of both layers, the local one first.

mod place;
mod route;
#[cfg(test)]
mod tests;
mod users;

use crate::change::{Description, Target};
use crate::entry::{Binding, Destination, Found, Router, TopicId};
use crate::naming::visible_to_streams;
use crate::policy::PolicySet;
use crate::snapshot::{Inbound, Limit, Scope, Snapshot};
use crate::value::Value;
use crate::{Config, GROUP_SLOTS, Name};
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;
use types::{LogRef, ShardId, SubscriptionId};

pub(crate) use place::target_in;
pub use route::{Publish, Routes, Unroutable};

/// Everything that has a name, at one moment. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Names {
    /// What is durable and for everybody.
    pub shared: Snapshot,
    /// What lives on this node and until it stops.
    pub local: Snapshot,
}

/// What a stream reader sees of a topic, or of a queue as a topic with one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Its name.
    pub name: Name,
    /// Its id.
    pub id: TopicId,
    /// Its logs by partition.
    pub partitions: Arc<[LogRef]>,
    /// Its configuration; a queue has none.
    pub config: Option<Arc<Config>>,
}

impl Names {
    /// Rises with every change of either layer: what was resolved or routed at one version holds
    /// for as long as the version is the same.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.version + self.local.version
    }

    /// The topic or queue `name`.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<&Found> {
        self.scopes(namespace).find_map(|scope| scope.names.get(name))
    }

    /// The router `name`.
    #[must_use]
    pub fn router(&self, namespace: &str, name: &str) -> Option<&Arc<Router>> {
        self.scopes(namespace).find_map(|scope| scope.routers.get(name))
    }

    /// The namespace and the topic or queue that `subscription` belongs to.
    #[must_use]
    pub fn find_by_subscription(&self, subscription: SubscriptionId) -> Option<(&Name, &Found)> {
        [&self.local, &self.shared].into_iter().find_map(|layer| {
            let (namespace, name) = layer.subscriptions.get(&subscription)?.as_ref();
            Some((namespace, layer.scope(namespace)?.names.get(name)?))
        })
    }

    /// Whether one of these logs is a queue's that refuses what is too much.
    #[must_use]
    pub fn any_refuses(&self, logs: &[LogRef]) -> bool {
        let layers = [&self.local.refusing, &self.shared.refusing];
        let of = |log: &LogRef| layers.iter().any(|refusing| refusing.contains(&log.log));
        layers.iter().any(|refusing| !refusing.is_empty()) && logs.iter().any(of)
    }

    /// Whether one of these logs is a queue's that remembers ids of messages.
    #[must_use]
    pub fn any_remembers(&self, logs: &[LogRef]) -> bool {
        let layers = [&self.local.remembering, &self.shared.remembering];
        let of = |log: &LogRef| layers.iter().any(|remembering| remembering.contains(&log.log));
        layers.iter().any(|remembering| !remembering.is_empty()) && logs.iter().any(of)
    }

    /// The shard that holds the group `name`.
    #[must_use]
    pub fn group_shard(&self, namespace: &str, name: &str) -> ShardId {
        let slot = group_slot(namespace, name);
        self.shared.group_slots.get(slot).copied().unwrap_or_default()
    }

    /// Every shard that holds groups, some more than once.
    pub fn group_shards(&self) -> impl Iterator<Item = ShardId> {
        self.shared.group_slots.iter().copied()
    }

    /// Whether `namespace` exists.
    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.shared.namespaces.contains_key(namespace)
    }

    /// What people say of `namespace`, if anything.
    #[must_use]
    pub fn description(&self, namespace: &str) -> Option<&Description> {
        self.shared.scope(namespace)?.description.as_deref()
    }

    /// The policies of `namespace`.
    #[must_use]
    pub fn policies(&self, namespace: &str) -> Option<&PolicySet> {
        self.shared.scope(namespace).map(|scope| &*scope.policies)
    }

    /// A limit of `namespace`; `None`: there is none.
    #[must_use]
    pub fn limit(&self, namespace: &str, limit: Limit) -> Option<u64> {
        self.shared.scope(namespace)?.limit(limit)
    }

    /// The limits of `namespace` that were set.
    pub fn limits(&self, namespace: &str) -> impl Iterator<Item = (Limit, i64)> {
        let scope = self.shared.scope(namespace);
        scope.into_iter().flat_map(|scope| scope.limits.iter()).map(|(limit, most)| (*limit, *most))
    }

    /// Values that are kept for tools in `namespace`, by component and name.
    pub fn parameters(&self, namespace: &str) -> impl Iterator<Item = (&Name, &Name, &Value)> {
        let scope = self.shared.scope(namespace);
        let parameters = scope.into_iter().flat_map(|scope| scope.parameters.iter());
        parameters.map(|((component, name), value)| (component, name, &**value))
    }

    /// Values that are kept for tools and belong to no namespace.
    pub fn global_parameters(&self) -> impl Iterator<Item = (&Name, &Value)> {
        self.shared.parameters.iter().map(|((_, name), value)| (name, &**value))
    }

    /// All namespaces, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Name> {
        self.shared.namespaces.keys()
    }

    /// Topics and queues of `namespace` by name, those after `after`.
    pub fn list(&self, namespace: &str, after: Option<&str>) -> impl Iterator<Item = &Found> {
        let [local, shared] = self.both(namespace).map(|scope| {
            scope.into_iter().flat_map(move |scope| scope.names.range::<_, str>(beyond(after)))
        });
        merged(local, shared).map(|(_, found)| found)
    }

    /// Routers of `namespace` by name, the predeclared among them, those after `after`.
    pub fn routers(
        &self,
        namespace: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &Arc<Router>> {
        let [local, shared] = self.both(namespace).map(|scope| {
            scope.into_iter().flat_map(move |scope| scope.routers.range::<_, str>(beyond(after)))
        });
        merged(local, shared).map(|(_, router)| router)
    }

    /// Bindings of `namespace` by destination, then source and key; those after `after`. The default
    /// router's, one for each name, are not listed.
    pub fn bindings(
        &self,
        namespace: &str,
        after: Option<&Binding>,
    ) -> impl Iterator<Item = &Arc<Binding>> {
        let after = after.map(Binding::identity);
        let [local, shared] = self.both(namespace).map(|scope| {
            let after = after.clone();
            scope
                .into_iter()
                .flat_map(move |scope| scope.inbound.range::<_, Inbound>(beyond(after.as_ref())))
        });
        merged(local, shared)
            .map(|(_, binding)| binding)
            .filter(move |binding| self.holds(namespace, binding))
    }

    /// Bindings whose source is the router `name`.
    pub fn bindings_from(
        &self,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = &Arc<Binding>> {
        self.scopes(namespace)
            .filter_map(move |scope| scope.tables.get(name))
            .flat_map(|table| table.iter())
            .filter(move |binding| self.holds(namespace, binding))
    }

    /// Bindings that lead to `destination`.
    pub fn bindings_to<'a>(
        &'a self,
        namespace: &'a str,
        destination: &'a Destination,
    ) -> impl Iterator<Item = &'a Arc<Binding>> {
        self.scopes(namespace)
            .flat_map(move |scope| scope.bindings_to(destination))
            .map(|(_, binding)| binding)
            .filter(move |binding| self.holds(namespace, binding))
    }

    /// What stream readers see in `namespace`, by name: its topics and the queues that are durable,
    /// not exclusive and legally named.
    pub fn streams(&self, namespace: &str) -> impl Iterator<Item = Stream> {
        let scope = self.shared.scope(namespace);
        scope
            .into_iter()
            .flat_map(|scope| scope.names.values())
            .filter_map(move |found| Stream::of(namespace, found))
    }

    /// What stream readers see under `name`.
    #[must_use]
    pub fn stream(&self, namespace: &str, name: &str) -> Option<Stream> {
        Stream::of(namespace, self.shared.scope(namespace)?.names.get(name)?)
    }

    /// What stream readers see under `id`, and its namespace.
    #[must_use]
    pub fn stream_by_id(&self, id: TopicId) -> Option<(&Name, Stream)> {
        let (namespace, name) = self.shared.ids.get(&id)?.as_ref();
        Some((namespace, self.stream(namespace, name)?))
    }

    fn both(&self, namespace: &str) -> [Option<&Scope>; 2] {
        [self.local.scope(namespace), self.shared.scope(namespace)]
    }

    /// The namespace's scopes, the local one first.
    fn scopes(&self, namespace: &str) -> impl Iterator<Item = &Scope> {
        self.both(namespace).into_iter().flatten()
    }

    /// Whether both ends of `binding` are what they were when it was made: an end in the other
    /// layer may be gone, or gone and made anew.
    fn holds(&self, namespace: &str, binding: &Binding) -> bool {
        let source = self.router(namespace, &binding.source);
        source.is_some_and(|source| source.id == binding.source_id)
            && (!binding.foreign || self.leads(namespace, binding))
    }

    /// Whether the destination of `binding` is what it was when the binding was made.
    fn leads(&self, namespace: &str, binding: &Binding) -> bool {
        let name = binding.destination.name();
        match binding.target {
            Target::Router(id) => self.router(namespace, name).is_some_and(|found| found.id == id),
            Target::Queue(log) => {
                matches!(self.find(namespace, name), Some(Found::Queue(queue)) if queue.log == log)
            }
            Target::Topic(id) => self.find(namespace, name).is_some_and(|found| found.id() == id),
        }
    }
}

impl Stream {
    fn of(namespace: &str, found: &Found) -> Option<Stream> {
        match found {
            Found::Topic(topic) => Some(Stream {
                name: Name::clone(&topic.name),
                id: topic.id,
                partitions: Arc::clone(&topic.partitions),
                config: Some(Arc::clone(&topic.config)),
            }),
            Found::Queue(queue) => visible_to_streams(namespace, queue).then(|| Stream {
                name: Name::clone(&queue.name),
                id: queue.id,
                partitions: Arc::from([queue.log]),
                config: None,
            }),
        }
    }
}

/// The slot a group is placed by: FNV-1a of namespace and name. Slots, not groups, move between
/// shards.
#[must_use]
pub fn group_slot(namespace: &str, name: &str) -> usize {
    let bytes = namespace.bytes().chain([0]).chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    usize::try_from((hash ^ (hash >> 32)) % GROUP_SLOTS as u64).unwrap_or_default()
}

/// Everything after `after`, or everything.
fn beyond<T: ?Sized>(after: Option<&T>) -> (Bound<&T>, Bound<&T>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// Two ordered lists as one; of equal keys the first list's.
fn merged<'a, K: Ord + 'a, V: 'a>(
    first: impl Iterator<Item = (&'a K, &'a V)>,
    second: impl Iterator<Item = (&'a K, &'a V)>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let mut first = first.peekable();
    let mut second = second.peekable();
    std::iter::from_fn(move || match (first.peek(), second.peek()) {
        (Some((a, _)), Some((b, _))) => match a.cmp(b) {
            Ordering::Less => first.next(),
            Ordering::Greater => second.next(),
            Ordering::Equal => {
                second.next();
                first.next()
            }
        },
        (Some(_), None) => first.next(),
        (None, _) => second.next(),
    })
}
