//! The catalog as it is stored: what was declared, in order of names; indexes are built anew.

use super::{Catalog, Layer, Next, Unreadable};
use crate::access::User;
use crate::change::Description;
use crate::entry::{Binding, Found, QueueOptions, Router};
use crate::policy::PolicySet;
use crate::sharing::Sharing;
use crate::snapshot::{Limit, Parameters, Scope, Snapshot};
use crate::value::Value;
use crate::{Name, naming};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use types::ShardId;

#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    layer: Layer,
    shards: Vec<ShardId>,
    next: Next,
    version: u64,
    group_slots: Arc<[ShardId]>,
    /// Those that queues have, each once.
    options: Vec<Arc<QueueOptions>>,
    namespaces: Vec<StoredScope>,
    users: Vec<Arc<User>>,
    parameters: Vec<((Name, Name), Arc<Value>)>,
}

#[derive(Serialize, Deserialize)]
struct StoredScope {
    name: Name,
    entries: Vec<StoredEntry>,
    routers: Vec<Arc<Router>>,
    bindings: Vec<Arc<Binding>>,
    description: Option<Arc<Description>>,
    policies: Arc<PolicySet>,
    limits: BTreeMap<Limit, i64>,
    parameters: Vec<((Name, Name), Arc<Value>)>,
}

#[derive(Serialize, Deserialize)]
enum StoredEntry {
    Topic(Arc<crate::Topic>),
    /// With the places of its own options and of those it has under policies.
    Queue(Arc<crate::Queue>, u32, u32),
}

/// Gives each of the options a place.
#[derive(Default)]
struct Places {
    options: Vec<Arc<QueueOptions>>,
    by_options: BTreeMap<Arc<QueueOptions>, u32>,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stored catalog contradicts itself")
    }
}

impl std::error::Error for Unreadable {}

impl Serialize for Catalog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut places = Places::default();
        let namespaces = self.names.namespaces.iter().map(|(name, scope)| StoredScope {
            name: Name::clone(name),
            entries: scope.names.values().map(|found| places.entry(found)).collect(),
            routers: scope.routers.values().cloned().collect(),
            bindings: scope.inbound.values().cloned().collect(),
            description: scope.description.clone(),
            policies: Arc::clone(&scope.policies),
            limits: scope.limits.clone(),
            parameters: listed(&scope.parameters),
        });
        let namespaces = namespaces.collect();
        let stored = Stored {
            layer: self.layer,
            shards: self.shards.clone(),
            next: self.next,
            version: self.names.version,
            group_slots: Arc::clone(&self.names.group_slots),
            options: places.options,
            namespaces,
            users: self.names.users.values().cloned().collect(),
            parameters: listed(&self.names.parameters),
        };
        stored.serialize(serializer)
    }
}

impl TryFrom<Stored> for Catalog {
    type Error = Unreadable;

    fn try_from(stored: Stored) -> Result<Catalog, Unreadable> {
        let numbers = stored.layer.first()..=stored.layer.end();
        let Next { log, subscription, router } = stored.next;
        if stored.shards.is_empty()
            || stored.group_slots.len() != crate::GROUP_SLOTS
            || ![log, subscription, router].iter().all(|next| numbers.contains(next))
        {
            return Err(Unreadable);
        }
        let mut catalog = Catalog {
            layer: stored.layer,
            names: Snapshot::new(&stored.shards),
            next: stored.next,
            logs_by_shard: stored.shards.iter().map(|shard| (*shard, 0)).collect(),
            owned: BTreeMap::new(),
            sharing: Sharing::default(),
            shards: stored.shards,
        };
        catalog.names.group_slots = stored.group_slots;
        let shared = |options| catalog.sharing.share(options);
        let options: Vec<_> = stored.options.iter().map(shared).collect();
        for scope in stored.namespaces {
            catalog.restore(scope, &options)?;
        }
        for user in stored.users {
            if catalog.names.users.insert(Name::clone(&user.name), user).is_some() {
                return Err(Unreadable);
            }
        }
        catalog.names.parameters = stored.parameters.into_iter().collect();
        catalog.names.version = stored.version;
        Ok(catalog)
    }
}

impl Catalog {
    fn restore(
        &mut self,
        stored: StoredScope,
        options: &[Arc<QueueOptions>],
    ) -> Result<(), Unreadable> {
        let mut scope = Scope {
            description: stored.description,
            policies: stored.policies,
            limits: stored.limits,
            parameters: stored.parameters.into_iter().collect(),
            ..Scope::default()
        };
        for entry in stored.entries {
            let found = entry.found(options)?;
            self.index(&stored.name, &found)?;
            if let Found::Topic(topic) = &found {
                let form = naming::collision_form(&topic.name);
                scope.topic_forms.insert(form, Name::clone(&topic.name));
            }
            if scope.names.insert(Name::clone(found.name()), found).is_some() {
                return Err(Unreadable);
            }
        }
        for router in stored.routers {
            scope.routers.insert(Name::clone(&router.name), router);
        }
        for binding in stored.bindings {
            scope.insert_binding(binding.identity(), binding);
        }
        if self.names.namespaces.insert(stored.name, Arc::new(scope)).is_some() {
            return Err(Unreadable);
        }
        Ok(())
    }

    /// Enters one topic or queue into the indexes that go over all namespaces.
    fn index(&mut self, namespace: &Name, found: &Found) -> Result<(), Unreadable> {
        let full_name = Arc::new((Name::clone(namespace), Name::clone(found.name())));
        for log in found.logs() {
            if !(self.layer.first()..self.next.log).contains(&log.log.0) {
                return Err(Unreadable);
            }
            *self.logs_by_shard.entry(log.shard).or_default() += 1;
        }
        let subscriptions = match found {
            Found::Topic(topic) => topic.subscriptions.values().copied().collect(),
            Found::Queue(queue) => vec![queue.subscription],
        };
        for subscription in subscriptions {
            self.names.subscriptions.insert(subscription.subscription, Arc::clone(&full_name));
        }
        if let Found::Queue(queue) = found {
            self.names.index_options(queue.log.log, &queue.options);
        }
        if let Found::Queue(queue) = found
            && let Some(owner) = queue.exclusive
        {
            self.owned.entry(owner).or_default().insert((*full_name).clone());
        }
        if self.names.ids.insert(found.id(), full_name).is_some() {
            return Err(Unreadable);
        }
        Ok(())
    }
}

fn listed(parameters: &Parameters) -> Vec<((Name, Name), Arc<Value>)> {
    parameters.iter().map(|(key, value)| (key.clone(), Arc::clone(value))).collect()
}

impl Places {
    fn entry(&mut self, found: &Found) -> StoredEntry {
        match found {
            Found::Topic(topic) => StoredEntry::Topic(Arc::clone(topic)),
            Found::Queue(queue) => {
                let (own, options) = (self.place(&queue.own), self.place(&queue.options));
                StoredEntry::Queue(Arc::clone(queue), own, options)
            }
        }
    }

    fn place(&mut self, options: &Arc<QueueOptions>) -> u32 {
        if let Some(place) = self.by_options.get(options) {
            return *place;
        }
        let place = self.options.len() as u32;
        self.options.push(Arc::clone(options));
        self.by_options.insert(Arc::clone(options), place);
        place
    }
}

impl StoredEntry {
    /// Fails where it has options that are not among those stored.
    fn found(self, options: &[Arc<QueueOptions>]) -> Result<Found, Unreadable> {
        let at = |place: u32| options.get(place as usize).map(Arc::clone).ok_or(Unreadable);
        match self {
            StoredEntry::Topic(topic) => Ok(Found::Topic(topic)),
            StoredEntry::Queue(mut queue, own, options) => {
                let stored = Arc::make_mut(&mut queue);
                (stored.own, stored.options) = (at(own)?, at(options)?);
                Ok(Found::Queue(queue))
            }
        }
    }
}
