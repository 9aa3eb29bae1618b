//! Namespaces, and the end of connections.

use super::{Catalog, Layer};
use crate::change::Description;
use crate::entry::{Found, NodeId, Owner, Router, RouterKind, RouterOptions};
use crate::outcome::{Deleted, LogChange, Outcome, Refusal, Thing};
use crate::policy::Governed;
use crate::{NAMESPACE_DEFAULT, Name, naming};
use std::sync::Arc;
use types::ClientId;

/// Routers that every namespace has.
const PREDECLARED: [(&str, RouterKind); 6] = [
    ("", RouterKind::Direct),
    ("amq.direct", RouterKind::Direct),
    ("amq.fanout", RouterKind::Fanout),
    ("amq.headers", RouterKind::Headers),
    ("amq.match", RouterKind::Headers),
    ("amq.topic", RouterKind::Topic),
];

impl Owner {
    /// The least and the greatest owner of `node`.
    pub(super) fn all_of(node: NodeId) -> (Owner, Owner) {
        (Owner { node, client: ClientId(0) }, Owner { node, client: ClientId(u64::MAX) })
    }
}

impl Catalog {
    pub(super) fn declare_namespace(&mut self, name: &Name) -> Result<Outcome, Refusal> {
        naming::check(Thing::Namespace, name)?;
        let created = self.layer == Layer::Shared && self.scope(name).is_none();
        if created {
            self.check_router_room(PREDECLARED.len())?;
            self.create_namespace(name);
        }
        Ok(Outcome::Declared { created })
    }

    pub(super) fn create_namespace(&mut self, namespace: &Name) {
        let routers = PREDECLARED.map(|(name, kind)| {
            let id = self.next_router();
            Router {
                name: Name::from(name),
                id,
                kind,
                durable: true,
                auto_delete: false,
                internal: false,
                alternate: None,
                own_alternate: None,
                governed: Governed::default(),
                arguments: Vec::new(),
                options: RouterOptions::default(),
            }
        });
        let scope = self.scope_mut(namespace);
        for router in routers {
            scope.routers.insert(Name::clone(&router.name), Arc::new(router));
        }
    }

    pub(super) fn describe(&mut self, namespace: &Name, description: &Description) -> Outcome {
        let description = Some(Arc::new(description.clone()));
        self.scope_mut(namespace).description = description;
        Outcome::Declared { created: false }
    }

    pub(super) fn delete_namespace(
        &mut self,
        namespace: &Name,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let what = Thing::Namespace;
        if &**namespace == NAMESPACE_DEFAULT {
            return Err(Refusal::Reserved { what, name: Name::clone(namespace) });
        }
        if self.scope(namespace).is_none() {
            return Err(Refusal::NotFound { what, name: Name::clone(namespace) });
        }
        let mut deleted = Deleted::default();
        self.empty_namespace(namespace, &mut deleted, work);
        Ok(Outcome::Deleted(deleted))
    }

    /// Takes the namespace away with everything in it, if it is there.
    pub(super) fn empty_namespace(
        &mut self,
        namespace: &Name,
        deleted: &mut Deleted,
        work: &mut Vec<LogChange>,
    ) {
        let Some(scope) = self.names.namespaces.remove(namespace) else { return };
        self.names.version += 1;
        self.forbid_all(namespace);
        for found in scope.names.values() {
            self.drop_contents(namespace, found, work);
            deleted.queues.push((Name::clone(namespace), Name::clone(found.name())));
        }
        let routers = scope.routers.keys();
        deleted.routers.extend(routers.map(|name| (Name::clone(namespace), Name::clone(name))));
        deleted.namespaces.push(Name::clone(namespace));
    }

    /// Deletes what is exclusive to the owners from `first` to `last`.
    pub(super) fn remove_owners(
        &mut self,
        first: Owner,
        last: Owner,
        work: &mut Vec<LogChange>,
    ) -> Outcome {
        let owners: Vec<Owner> = self.owned.range(first..=last).map(|(owner, _)| *owner).collect();
        let mut deleted = Deleted::default();
        for owner in owners {
            for (namespace, name) in self.owned.remove(&owner).unwrap_or_default() {
                self.remove_name(&namespace, &name, &mut deleted, work);
            }
        }
        Outcome::Deleted(deleted)
    }

    /// Takes the topic or queue `name` away, with its bindings.
    pub(super) fn remove_name(
        &mut self,
        namespace: &Name,
        name: &Name,
        deleted: &mut Deleted,
        work: &mut Vec<LogChange>,
    ) {
        let Some(found) = self.scope_mut(namespace).names.remove(name) else { return };
        self.drop_contents(namespace, &found, work);
        deleted.queues.push((Name::clone(namespace), Name::clone(name)));
        self.drop_bindings_to_queue(namespace, name, deleted);
    }

    /// Drops the subscriptions, logs and index entries of `found`, whose name is gone already.
    fn drop_contents(&mut self, namespace: &Name, found: &Found, work: &mut Vec<LogChange>) {
        self.names.ids.remove(&found.id());
        match found {
            Found::Topic(topic) => {
                for subscription in topic.subscriptions.values() {
                    self.drop_subscription(*subscription, work);
                }
                if self.scope(namespace).is_some() {
                    let form = naming::collision_form(&topic.name);
                    self.scope_mut(namespace).topic_forms.remove(&form);
                }
            }
            Found::Queue(queue) => {
                self.drop_subscription(queue.subscription, work);
                if let Some(owner) = queue.exclusive {
                    self.disown(owner, namespace, &queue.name);
                }
            }
        }
        for log in found.logs() {
            self.drop_log(*log, work);
        }
    }

    fn disown(&mut self, owner: Owner, namespace: &Name, name: &Name) {
        if let Some(names) = self.owned.get_mut(&owner) {
            names.remove(&(Name::clone(namespace), Name::clone(name)));
            if names.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }
}
