//! Which layer a change is for.

use super::Names;
use crate::Name;
use crate::catalog::Layer;
use crate::change::{Action, Bind, Change, DeclareQueue, DeleteQueue, Elsewhere, Target};
use crate::entry::{Destination, Found};
use crate::outcome::{Refusal, Thing};
use crate::snapshot::Snapshot;

impl Names {
    /// Says which layer `change` is for, and fills in what that layer has to know of the other.
    ///
    /// A thing that exists is changed where it is; a new queue is local if it is exclusive or not
    /// durable, a new router if it is not durable, a binding if either end is.
    ///
    /// # Errors
    /// Refuses what the layer alone could not: a namespace that is not there, a topic named like a
    /// local queue, deleting a router that the other layer binds from.
    pub fn place(&self, change: &mut Change) -> Result<Layer, Refusal> {
        let namespace = Name::clone(&change.namespace);
        match &mut change.action {
            Action::DeclareNamespace
            | Action::DeleteNamespace
            | Action::PutUser(_)
            | Action::DeleteUser { .. } => return Ok(Layer::Shared),
            Action::RemoveClient(_)
            | Action::RemoveNode(_)
            | Action::Forget(_)
            | Action::AdoptPolicies(_) => return Ok(Layer::Local),
            Action::PutParameter { parameter, .. } | Action::DeleteParameter(parameter)
                if parameter.component.is_none() =>
            {
                return Ok(Layer::Shared);
            }
            _ if !self.has_namespace(&namespace) => {
                return Err(Refusal::NotFound { what: Thing::Namespace, name: namespace });
            }
            Action::DeclareTopic(topic) => {
                if self.local_has_name(&namespace, &topic.name) {
                    let name = Name::clone(&topic.name);
                    return Err(Refusal::KindClash { name, current: Thing::Queue });
                }
            }
            Action::DeclareQueue(queue) => return self.place_queue(&namespace, queue),
            Action::DeclareRouter(router) => {
                let known = self.router(&namespace, &router.name).is_some();
                if self.local_has_router(&namespace, &router.name) || (!router.durable && !known) {
                    return Ok(Layer::Local);
                }
            }
            Action::DeleteQueue(DeleteQueue { name, only, .. }) => {
                let local = match only {
                    Some(subscription) => Layer::of(subscription.0) == Layer::Local,
                    None => self.local_has_name(&namespace, name),
                };
                if local {
                    return Ok(Layer::Local);
                }
            }
            Action::DeleteRouter { name, if_unused } => {
                return self.place_delete_router(&namespace, name, *if_unused);
            }
            Action::Bind(bind) | Action::Unbind(bind) => {
                return Ok(self.place_binding(&namespace, bind));
            }
            Action::DeleteTopic { .. }
            | Action::AddPartitions { .. }
            | Action::AlterConfig { .. }
            | Action::DeclareSubscription { .. }
            | Action::DeleteSubscription { .. }
            | Action::Permit { .. }
            | Action::Forbid { .. }
            | Action::PermitKeys { .. }
            | Action::ForbidKeys { .. }
            | Action::Describe(_)
            | Action::PutPolicy { .. }
            | Action::DeletePolicy { .. }
            | Action::PutLimit { .. }
            | Action::DeleteLimit(_)
            | Action::PutParameter { .. }
            | Action::DeleteParameter(_) => {}
        }
        Ok(Layer::Shared)
    }

    fn place_queue(&self, namespace: &Name, queue: &DeclareQueue) -> Result<Layer, Refusal> {
        let temporary = queue.exclusive.is_some() || !queue.durable;
        let known = self.find(namespace, &queue.name).is_some();
        if !known {
            self.check_queue_room(namespace, &queue.name)?;
        }
        match self.local_has_name(namespace, &queue.name) || (temporary && !known) {
            true => Ok(Layer::Local),
            false => Ok(Layer::Shared),
        }
    }

    fn place_delete_router(
        &self,
        namespace: &Name,
        name: &Name,
        if_unused: bool,
    ) -> Result<Layer, Refusal> {
        if self.local_has_router(namespace, name) {
            return Ok(Layer::Local);
        }
        if if_unused && self.bindings_from(namespace, name).next().is_some() {
            return Err(Refusal::InUse { what: Thing::Router, name: Name::clone(name) });
        }
        Ok(Layer::Shared)
    }

    fn place_binding(&self, namespace: &Name, bind: &mut Bind) -> Layer {
        bind.elsewhere = Elsewhere::default();
        let local_source = self.local_has_router(namespace, &bind.source);
        let local_destination = match &bind.destination {
            Destination::Queue(name) => self.local_has_name(namespace, name),
            Destination::Router(name) => self.local_has_router(namespace, name),
        };
        if !local_source && !local_destination {
            return Layer::Shared;
        }
        if !local_source {
            let source = self.router(namespace, &bind.source);
            bind.elsewhere.source = source.map(|router| (router.id, router.kind));
        }
        if !local_destination {
            bind.elsewhere.destination = target_in(&self.shared, namespace, &bind.destination);
        }
        Layer::Local
    }

    /// Refuses a queue that is one too many for the namespace.
    fn check_queue_room(&self, namespace: &str, name: &Name) -> Result<(), Refusal> {
        let Some(shared) = self.shared.scope(namespace) else { return Ok(()) };
        let local = self.local.scope(namespace).map_or(0, |scope| scope.names.len());
        shared.check_queue_room(name, shared.names.len() + local)
    }

    fn local_has_name(&self, namespace: &str, name: &str) -> bool {
        self.local.scope(namespace).is_some_and(|scope| scope.names.contains_key(name))
    }

    fn local_has_router(&self, namespace: &str, name: &str) -> bool {
        self.local.scope(namespace).is_some_and(|scope| scope.routers.contains_key(name))
    }
}

/// What `destination` is in `layer`.
pub(crate) fn target_in(
    layer: &Snapshot,
    namespace: &str,
    destination: &Destination,
) -> Option<Target> {
    let scope = layer.scope(namespace)?;
    match destination {
        Destination::Queue(name) => scope.names.get(name).map(|found| match found {
            Found::Queue(queue) => Target::Queue(queue.log),
            Found::Topic(topic) => Target::Topic(topic.id),
        }),
        Destination::Router(name) => scope.routers.get(name).map(|found| Target::Router(found.id)),
    }
}
