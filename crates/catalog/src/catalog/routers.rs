//! Routers.

use super::Catalog;
use super::queues::{Difference, differing_argument, differing_flag};
use crate::Name;
use crate::change::DeclareRouter;
use crate::entry::Router;
use crate::naming::{self, RESERVED_PREFIX};
use crate::outcome::{Deleted, Outcome, Refusal, Setting, Thing};
use crate::policy::Governed;
use std::sync::Arc;

impl Catalog {
    pub(super) fn declare_router(
        &mut self,
        namespace: &Name,
        declare: &DeclareRouter,
    ) -> Result<Outcome, Refusal> {
        let name = &declare.name;
        if name.is_empty() {
            return Err(reserved(name));
        }
        if let Some(router) = self.scope(namespace).and_then(|scope| scope.routers.get(name)) {
            compare(router, declare)?;
            return Ok(Outcome::Declared { created: false });
        }
        naming::check(Thing::Router, name)?;
        if name.starts_with(RESERVED_PREFIX) {
            return Err(reserved(name));
        }
        self.check_router_room(1)?;
        let mut router = Router {
            name: Name::clone(name),
            id: self.next_router(),
            kind: declare.kind,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            alternate: declare.alternate.clone(),
            own_alternate: declare.alternate.clone(),
            governed: Governed::default(),
            arguments: declare.arguments.clone(),
            options: declare.options.clone(),
        };
        let scope = self.scope_mut(namespace);
        scope.policies.govern_router(&mut router);
        scope.routers.insert(Name::clone(name), Arc::new(router));
        Ok(Outcome::Declared { created: true })
    }

    pub(super) fn delete_router(
        &mut self,
        namespace: &Name,
        name: &Name,
        if_unused: bool,
    ) -> Result<Outcome, Refusal> {
        if name.is_empty() || name.starts_with(RESERVED_PREFIX) {
            return Err(reserved(name));
        }
        let scope = self.scope(namespace);
        if !scope.is_some_and(|scope| scope.routers.contains_key(name)) {
            return Err(Refusal::NotFound { what: Thing::Router, name: Name::clone(name) });
        }
        if if_unused && scope.is_some_and(|scope| scope.tables.contains_key(name)) {
            return Err(Refusal::InUse { what: Thing::Router, name: Name::clone(name) });
        }
        let mut deleted = Deleted::default();
        self.scope_mut(namespace).routers.remove(name);
        deleted.routers.push((Name::clone(namespace), Name::clone(name)));
        self.drop_table(namespace, name);
        self.drop_bindings_to_router(namespace, name, &mut deleted);
        Ok(Outcome::Deleted(deleted))
    }

    /// Whether so many more routers can be numbered.
    pub(super) fn check_router_room(&self, count: usize) -> Result<(), Refusal> {
        let room = self.layer.end() - self.next.router;
        if usize::try_from(room).is_ok_and(|room| room < count) {
            let limit = u64::from(self.layer.end() - self.layer.first());
            return Err(Refusal::TooMany { what: Thing::Router, limit });
        }
        Ok(())
    }
}

/// Refuses a declaration that does not say what `router` is.
fn compare(router: &Router, declare: &DeclareRouter) -> Result<(), Refusal> {
    let (declared, current) = (declare.kind_name(), router.kind_name());
    let kind = (declared != current).then(|| difference("type", declared, current));
    let differing = kind
        .or_else(|| differing_flag("durable", declare.durable, router.durable))
        .or_else(|| differing_flag("auto_delete", declare.auto_delete, router.auto_delete))
        .or_else(|| differing_flag("internal", declare.internal, router.internal))
        .or_else(|| differing_argument(&declare.arguments, &router.arguments, |_| false))
        .or_else(|| {
            let text = |name: &Option<Name>| name.as_deref().unwrap_or_default().to_owned();
            (router.own_alternate != declare.alternate).then(|| {
                difference("alternate", &text(&declare.alternate), &text(&router.own_alternate))
            })
        });
    match differing {
        None => Ok(()),
        Some(difference) => Err(difference.refusal(Thing::Router, &router.name)),
    }
}

fn difference(field: &str, declared: &str, current: &str) -> Difference {
    Difference {
        field: field.to_owned(),
        declared: Setting::Text(declared.to_owned()),
        current: Setting::Text(current.to_owned()),
    }
}

fn reserved(name: &Name) -> Refusal {
    Refusal::Reserved { what: Thing::Router, name: Name::clone(name) }
}
