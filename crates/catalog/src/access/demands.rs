//! Which rights a change of names needs.

use super::{Demand, Guarded};
use crate::change::{Action, Bind, Change, DeclareRouter};
use crate::entry::{Destination, RouterKind};
use crate::names::Names;
use smallvec::{SmallVec, smallvec};

/// The rights that `change` needs, in the order they are asked. Of users and namespaces, which no
/// permission covers, none: whoever lets a client change those looks at tags.
pub(crate) fn demands<'a>(change: &'a Change, names: &Names) -> SmallVec<[Demand<'a>; 3]> {
    match &change.action {
        Action::DeclareQueue(queue) => smallvec![Demand::configure(Guarded::Queue(&queue.name))],
        Action::DeleteQueue(queue) => smallvec![Demand::configure(Guarded::Queue(&queue.name))],
        Action::DeclareTopic(topic) => smallvec![Demand::configure(Guarded::Queue(&topic.name))],
        Action::DeleteTopic { name }
        | Action::AddPartitions { name, .. }
        | Action::AlterConfig { name, .. }
        | Action::DeclareSubscription { topic: name, .. }
        | Action::DeleteSubscription { topic: name, .. } => {
            smallvec![Demand::configure(Guarded::Queue(name))]
        }
        Action::DeclareRouter(router) => {
            let known = names.router(&change.namespace, &router.name).is_some();
            of_router(router, known)
        }
        Action::DeleteRouter { name, .. } => smallvec![Demand::configure(Guarded::Router(name))],
        Action::Bind(bind) | Action::Unbind(bind) => of_binding(&change.namespace, bind, names),
        Action::DeclareNamespace
        | Action::DeleteNamespace
        | Action::RemoveClient(_)
        | Action::RemoveNode(_)
        | Action::Forget(_)
        | Action::PutUser(_)
        | Action::DeleteUser { .. }
        | Action::Permit { .. }
        | Action::Forbid { .. }
        | Action::PermitKeys { .. }
        | Action::ForbidKeys { .. }
        | Action::Describe(_)
        | Action::PutPolicy { .. }
        | Action::DeletePolicy { .. }
        | Action::AdoptPolicies(_)
        | Action::PutLimit { .. }
        | Action::DeleteLimit(_)
        | Action::PutParameter { .. }
        | Action::DeleteParameter(_) => SmallVec::new(),
    }
}

/// A new router with an alternate passes on what was published to it.
fn of_router(router: &DeclareRouter, known: bool) -> SmallVec<[Demand<'_>; 3]> {
    let mut demands = smallvec![Demand::configure(Guarded::Router(&router.name))];
    if let Some(alternate) = router.alternate.as_deref().filter(|_| !known) {
        demands.push(Demand::read(Guarded::Router(&router.name)));
        demands.push(Demand::write(Guarded::Router(alternate)));
    }
    demands
}

fn of_binding<'a>(namespace: &str, bind: &'a Bind, names: &Names) -> SmallVec<[Demand<'a>; 3]> {
    let destination = match &bind.destination {
        Destination::Queue(name) => Guarded::Queue(name),
        Destination::Router(name) => Guarded::Router(name),
    };
    let source = Guarded::Router(&bind.source);
    let mut demands = smallvec![Demand::write(destination), Demand::read(source)];
    let router = names.router(namespace, &bind.source);
    if router.is_some_and(|router| router.kind == RouterKind::Topic) {
        demands.push(Demand::read(Guarded::Key { router: &bind.source, key: &bind.key }));
    }
    demands
}
