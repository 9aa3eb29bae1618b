//! Bindings, and what goes when the last one goes.

use super::Catalog;
use crate::Name;
use crate::change::Bind;
use crate::entry::{Binding, Destination, Found, RouterId, RouterKind};
use crate::hashing;
use crate::headers;
use crate::names::target_in;
use crate::outcome::{Deleted, LogChange, Outcome, Refusal, Thing};
use crate::snapshot::{Inbound, Scope};
use crate::table::{Table, arguments_identity};
use std::collections::VecDeque;
use std::sync::Arc;
use types::INTERNAL_NAME_BYTES_MAX;

impl Catalog {
    pub(super) fn bind(&mut self, namespace: &Name, bind: &Bind) -> Result<Outcome, Refusal> {
        let (source_id, source_kind) = self.check_bind(namespace, bind)?;
        let own = target_in(&self.names, namespace, &bind.destination);
        let target = own.or(bind.elsewhere.destination);
        let target = target.ok_or_else(|| not_found(&bind.destination))?;
        let at = identity(bind);
        let bound = self.scope(namespace).and_then(|scope| scope.inbound.get(&at));
        if bound.is_some_and(|it| it.source_id == source_id && it.target == target) {
            return Ok(Outcome::Declared { created: false });
        }
        let scope = self.scope_mut(namespace);
        scope.drop_stale(&bind.source, source_id);
        scope.remove_binding(&at);
        let binding = Arc::new(Binding {
            source: Name::clone(&at.source),
            destination: at.destination.clone(),
            key: Name::clone(&at.key),
            arguments: bind.arguments.clone(),
            source_id,
            source_kind,
            target,
            foreign: own.is_none(),
        });
        scope.insert_binding(at, binding);
        Ok(Outcome::Declared { created: true })
    }

    pub(super) fn unbind(&mut self, namespace: &Name, bind: &Bind) -> Result<Outcome, Refusal> {
        self.check_ends(namespace, bind)?;
        let at = identity(bind);
        let bound = self.scope(namespace).is_some_and(|scope| scope.inbound.contains_key(&at));
        let mut deleted = Deleted::default();
        if bound {
            self.drop_bindings(namespace, [at].into(), &mut deleted);
        }
        Ok(Outcome::Unbound { removed: bound, deleted })
    }

    /// Things of the other layer are gone: drops the bindings that lead to them or come from them,
    /// and what is in their namespaces.
    pub(super) fn forget(&mut self, gone: &Deleted, work: &mut Vec<LogChange>) -> Outcome {
        let mut deleted = Deleted::default();
        for namespace in &gone.namespaces {
            self.empty_namespace(namespace, &mut deleted, work);
        }
        for (namespace, name) in &gone.queues {
            let destination = Destination::Queue(Name::clone(name));
            self.drop_bindings_to(namespace, &destination, true, &mut deleted);
        }
        for (namespace, name) in &gone.routers {
            let own = |scope: &Scope| scope.routers.contains_key(name);
            if !self.scope(namespace).is_none_or(own) {
                self.drop_table(namespace, name);
            }
            let destination = Destination::Router(Name::clone(name));
            self.drop_bindings_to(namespace, &destination, true, &mut deleted);
        }
        Outcome::Deleted(deleted)
    }

    pub(super) fn drop_bindings_to_queue(
        &mut self,
        namespace: &Name,
        name: &Name,
        deleted: &mut Deleted,
    ) {
        self.drop_bindings_to(namespace, &Destination::Queue(Name::clone(name)), false, deleted);
    }

    pub(super) fn drop_bindings_to_router(
        &mut self,
        namespace: &Name,
        name: &Name,
        deleted: &mut Deleted,
    ) {
        self.drop_bindings_to(namespace, &Destination::Router(Name::clone(name)), false, deleted);
    }

    /// Drops all bindings of the router `name`, which is gone.
    pub(super) fn drop_table(&mut self, namespace: &Name, name: &Name) {
        self.scope_mut(namespace).drop_table(name);
    }

    fn drop_bindings_to(
        &mut self,
        namespace: &Name,
        destination: &Destination,
        foreign_only: bool,
        deleted: &mut Deleted,
    ) {
        let Some(scope) = self.scope(namespace) else { return };
        let pending: VecDeque<Inbound> = scope
            .bindings_to(destination)
            .filter(|(_, binding)| binding.foreign || !foreign_only)
            .map(|(at, _)| at.clone())
            .collect();
        if !pending.is_empty() {
            self.drop_bindings(namespace, pending, deleted);
        }
    }

    /// Drops `pending`, then auto-delete routers that have no binding left, then the bindings that
    /// lead to those, and so on.
    fn drop_bindings(
        &mut self,
        namespace: &Name,
        mut pending: VecDeque<Inbound>,
        deleted: &mut Deleted,
    ) {
        let scope = self.scope_mut(namespace);
        while let Some(at) = pending.pop_front() {
            if !scope.remove_binding(&at) {
                continue;
            }
            let source = (Name::clone(namespace), Name::clone(&at.source));
            match scope.routers.get(&at.source) {
                None => deleted.released.push(source),
                Some(router) if router.auto_delete => {
                    scope.routers.remove(&at.source);
                    let destination = Destination::Router(at.source);
                    pending.extend(scope.bindings_to(&destination).map(|(at, _)| at.clone()));
                    deleted.routers.push(source);
                }
                Some(_) => {}
            }
        }
    }

    /// Checks all of a binding but that its destination exists; gives its source.
    fn check_bind(&self, namespace: &Name, bind: &Bind) -> Result<(RouterId, RouterKind), Refusal> {
        self.check_ends(namespace, bind)?;
        let router = self.scope(namespace).and_then(|scope| scope.routers.get(&bind.source));
        let source = router.map(|router| (router.id, router.kind)).or(bind.elsewhere.source);
        let (id, kind) = source.ok_or_else(|| Refusal::NotFound {
            what: Thing::Router,
            name: Name::clone(&bind.source),
        })?;
        if bind.key.len() > INTERNAL_NAME_BYTES_MAX {
            let why = format!("a key has at most {INTERNAL_NAME_BYTES_MAX} bytes");
            let name = Name::clone(&bind.source);
            return Err(Refusal::Invalid { what: Thing::Binding, name, why });
        }
        if kind == RouterKind::Headers {
            headers::check(&bind.source, &bind.arguments)?;
        }
        if kind == RouterKind::ConsistentHash {
            hashing::check(&bind.source, &bind.key)?;
        }
        Ok((id, kind))
    }

    /// Refuses the default router as an end, and another connection's exclusive queue.
    fn check_ends(&self, namespace: &Name, bind: &Bind) -> Result<(), Refusal> {
        let default = match &bind.destination {
            Destination::Router(name) => name.is_empty() || bind.source.is_empty(),
            Destination::Queue(_) => bind.source.is_empty(),
        };
        if default {
            return Err(Refusal::Reserved { what: Thing::Router, name: Name::from("") });
        }
        if let Destination::Queue(name) = &bind.destination
            && let Some(Found::Queue(queue)) =
                self.scope(namespace).and_then(|scope| scope.names.get(name))
            && queue.exclusive.is_some()
            && queue.exclusive != bind.by
        {
            return Err(Refusal::Exclusive { name: Name::clone(name) });
        }
        Ok(())
    }
}

impl Scope {
    pub(super) fn insert_binding(&mut self, at: Inbound, binding: Arc<Binding>) {
        let source = Name::clone(&binding.source);
        let new = || Arc::new(Table::new(binding.source_id, binding.source_kind));
        let table = self.tables.entry(source).or_insert_with(new);
        Arc::make_mut(table).insert(&at, Arc::clone(&binding));
        self.inbound.insert(at, binding);
    }

    /// Takes the binding `at` away. True when it was the last of its source.
    fn remove_binding(&mut self, at: &Inbound) -> bool {
        if self.inbound.remove(at).is_none() {
            return false;
        }
        let Some(table) = self.tables.get_mut(&at.source) else { return false };
        let table = Arc::make_mut(table);
        table.remove(at);
        let last = table.is_empty();
        if last {
            self.tables.remove(&at.source);
        }
        last
    }

    fn drop_table(&mut self, source: &Name) {
        if let Some(table) = self.tables.remove(source) {
            for binding in table.iter() {
                self.inbound.remove(&binding.identity());
            }
        }
    }

    /// Drops the bindings of an earlier router of the name `source`, of the other layer.
    fn drop_stale(&mut self, source: &Name, id: RouterId) {
        if self.tables.get(source).is_some_and(|table| table.source_id != id) {
            self.drop_table(source);
        }
    }
}

fn identity(bind: &Bind) -> Inbound {
    Inbound {
        destination: bind.destination.clone(),
        source: Name::clone(&bind.source),
        key: Name::clone(&bind.key),
        arguments: arguments_identity(&bind.arguments),
    }
}

fn not_found(destination: &Destination) -> Refusal {
    let (what, name) = match destination {
        Destination::Queue(name) => (Thing::Queue, name),
        Destination::Router(name) => (Thing::Router, name),
    };
    Refusal::NotFound { what, name: Name::clone(name) }
}
