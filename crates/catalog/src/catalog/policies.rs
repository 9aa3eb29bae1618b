//! Policies, limits and parameters of namespaces.

use super::Catalog;
use crate::Name;
use crate::change::Parameter;
use crate::entry::{Found, Queue, Router};
use crate::outcome::{Deleted, LogChange, LogConfig, Outcome, Refusal, SubscriptionOptions, Thing};
use crate::policy::{Policy, PolicySet};
use crate::snapshot::Limit;
use crate::value::Value;
use std::sync::Arc;

impl Catalog {
    pub(super) fn put_policy(
        &mut self,
        namespace: &Name,
        (operator, policy): (bool, &Policy),
        work: &mut Vec<LogChange>,
    ) -> Outcome {
        let mut set = self.policies_of(namespace);
        let policy = Arc::new(policy.clone());
        let before = set.of_mut(operator).insert(Name::clone(&policy.name), policy);
        self.adopt_policies(namespace, &set, work);
        Outcome::Governed { namespace: Name::clone(namespace), created: before.is_none() }
    }

    pub(super) fn delete_policy(
        &mut self,
        namespace: &Name,
        (operator, name): (bool, &Name),
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let mut set = self.policies_of(namespace);
        if set.of_mut(operator).remove(name).is_none() {
            return Err(Refusal::NotFound { what: Thing::Policy, name: Name::clone(name) });
        }
        self.adopt_policies(namespace, &set, work);
        Ok(Outcome::Governed { namespace: Name::clone(namespace), created: false })
    }

    /// From now on these are the namespace's policies: everything in it is as they say.
    pub(super) fn adopt_policies(
        &mut self,
        namespace: &Name,
        set: &PolicySet,
        work: &mut Vec<LogChange>,
    ) -> Outcome {
        let scope = self.scope_mut(namespace);
        scope.policies = Arc::new(set.clone());
        let mut sharing = std::mem::take(&mut self.sharing);
        let scope = self.scope_mut(namespace);
        let mut queues: Vec<Queue> = Vec::new();
        for found in scope.names.values() {
            let Found::Queue(queue) = found else { continue };
            let mut governed = Queue::clone(queue);
            if set.govern_queue(&mut governed, &mut sharing) {
                work.extend(altered(queue, &governed));
                queues.push(governed);
            }
        }
        let mut routers: Vec<Router> = Vec::new();
        for router in scope.routers.values() {
            let mut governed = Router::clone(router);
            if set.govern_router(&mut governed) {
                routers.push(governed);
            }
        }
        for router in routers {
            scope.routers.insert(Name::clone(&router.name), Arc::new(router));
        }
        for queue in &queues {
            let found = Found::Queue(Arc::new(queue.clone()));
            scope.names.insert(Name::clone(&queue.name), found);
        }
        self.sharing = sharing;
        for queue in queues {
            self.names.index_options(queue.log.log, &queue.options);
        }
        Outcome::Declared { created: false }
    }

    /// An empty local layer takes over the policies of the shared one.
    pub fn begin_under(&mut self, shared: &Catalog) {
        for (namespace, scope) in &shared.names.namespaces {
            if *scope.policies != PolicySet::default() {
                self.scope_mut(namespace).policies = Arc::clone(&scope.policies);
            }
        }
    }

    pub(super) fn policies_of(&self, namespace: &Name) -> PolicySet {
        self.scope(namespace).map(|scope| PolicySet::clone(&scope.policies)).unwrap_or_default()
    }

    pub(super) fn put_limit(&mut self, namespace: &Name, limit: Limit, value: i64) -> Outcome {
        let before = self.scope_mut(namespace).limits.insert(limit, value);
        Outcome::Declared { created: before.is_none() }
    }

    pub(super) fn delete_limit(
        &mut self,
        namespace: &Name,
        limit: Limit,
    ) -> Result<Outcome, Refusal> {
        if !self.scope(namespace).is_some_and(|scope| scope.limits.contains_key(&limit)) {
            let name = Name::from(limit.name());
            return Err(Refusal::NotFound { what: Thing::Limit, name });
        }
        self.scope_mut(namespace).limits.remove(&limit);
        Ok(Outcome::Deleted(Deleted::default()))
    }

    /// Sets or deletes a parameter: of everything, or of a component in a namespace.
    pub(super) fn set_parameter(
        &mut self,
        namespace: &Name,
        parameter: &Parameter,
        value: Option<&Value>,
    ) -> Result<Outcome, Refusal> {
        let Parameter { component, name } = parameter;
        let key = (component.clone().unwrap_or_else(|| "".into()), Name::clone(name));
        let known = match component {
            None => self.names.parameters.contains_key(&key),
            Some(_) => self.scope(namespace).is_some_and(|it| it.parameters.contains_key(&key)),
        };
        if !known && value.is_none() {
            return Err(Refusal::NotFound { what: Thing::Parameter, name: Name::clone(name) });
        }
        let parameters = match component {
            None => {
                self.names.version += 1;
                &mut self.names.parameters
            }
            Some(_) => &mut self.scope_mut(namespace).parameters,
        };
        match value {
            Some(value) => {
                parameters.insert(key, Arc::new(value.clone()));
                Ok(Outcome::Declared { created: !known })
            }
            None => {
                parameters.remove(&key);
                Ok(Outcome::Deleted(Deleted::default()))
            }
        }
    }
}

/// What the data shards have to do when a queue becomes another one.
fn altered(before: &Queue, after: &Queue) -> Vec<LogChange> {
    let mut work = Vec::new();
    let config = LogConfig::of_queue(&after.options);
    if config != LogConfig::of_queue(&before.options) {
        work.push(LogChange::AlterLog { log: after.log, config });
    }
    let options = SubscriptionOptions::of_queue(&after.options);
    if options != SubscriptionOptions::of_queue(&before.options) {
        let subscription = after.subscription;
        work.push(LogChange::AlterSubscription { subscription, options });
    }
    work
}
