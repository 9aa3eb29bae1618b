//! Both layers as the engine drives them, for tests.

use crate::change::{
    Action, Bind, Change, DeclareQueue, DeclareRouter, DeclareTopic, DeleteQueue, Elsewhere,
};
use crate::entry::{Destination, NodeId, Owner, QueueOptions, RouterKind, RouterOptions, TopicId};
use crate::names::{Names, Publish, Routes, Unroutable};
use crate::outcome::{Deleted, LogChange, Outcome, Refusal};
use crate::value::{Arguments, Value};
use crate::{Catalog, Config, Layer, Name};
use std::collections::BTreeMap;
use types::{ClientId, LogRef, Millis, ShardId};

/// Shared and local catalog, and how many ids were made up.
pub(crate) struct World {
    pub(crate) shared: Catalog,
    pub(crate) local: Catalog,
    ids: u128,
}

impl World {
    pub(crate) fn new() -> World {
        let shards = [ShardId(0), ShardId(1)];
        World {
            shared: Catalog::new(Layer::Shared, &shards),
            local: Catalog::new(Layer::Local, &[ShardId::LOCAL]),
            ids: 0,
        }
    }

    pub(crate) fn names(&self) -> Names {
        Names { shared: self.shared.snapshot(), local: self.local.snapshot() }
    }

    /// Carries an action of `/` out where it belongs, with what follows from it in the other layer.
    pub(crate) fn run(&mut self, action: Action) -> (Result<Outcome, Refusal>, Vec<LogChange>) {
        self.run_in("/", action)
    }

    pub(crate) fn run_in(
        &mut self,
        namespace: &str,
        action: Action,
    ) -> (Result<Outcome, Refusal>, Vec<LogChange>) {
        let mut change = Change::new(namespace, action);
        let layer = match self.names().place(&mut change) {
            Ok(layer) => layer,
            Err(refusal) => return (Err(refusal), Vec::new()),
        };
        let catalog = match layer {
            Layer::Shared => &mut self.shared,
            Layer::Local => &mut self.local,
        };
        let (outcome, work) = catalog.apply(&change, Millis(1));
        if let Ok(Outcome::Governed { namespace, .. }) = &outcome {
            let names = self.names();
            let policies = names.policies(namespace).expect("it is there").clone();
            let adopt = Action::AdoptPolicies(Box::new(policies));
            let adopt = Change::new(Name::clone(namespace), adopt);
            self.local.apply(&adopt, Millis(1)).0.expect("it is not refused");
        }
        if let Ok(Outcome::Deleted(deleted) | Outcome::Unbound { deleted, .. }) = &outcome {
            self.follow(layer, deleted.clone());
        }
        (outcome, work)
    }

    /// Runs an action that is not refused.
    pub(crate) fn ok(&mut self, action: Action) -> Outcome {
        self.run(action).0.expect("the test asks for what is allowed")
    }

    /// Runs an action that is refused, and checks that nothing has changed.
    pub(crate) fn refused(&mut self, action: Action) -> Refusal {
        let before = (bytes(&self.shared), bytes(&self.local));
        let (outcome, work) = self.run(action);
        assert_eq!(work, [], "a refusal makes no work");
        assert!(before == (bytes(&self.shared), bytes(&self.local)), "a refusal changes nothing");
        outcome.expect_err("the test asks for what is refused")
    }

    fn follow(&mut self, layer: Layer, deleted: Deleted) {
        if layer == Layer::Shared {
            self.local.apply(&Change::new("/", Action::Forget(deleted)), Millis(1)).0.unwrap();
            return;
        }
        for (namespace, name) in deleted.released {
            let auto = self.names().router(&namespace, &name).is_some_and(|it| it.auto_delete);
            if auto {
                let delete = Action::DeleteRouter { name, if_unused: true };
                let _in_use_or_gone = self.run_in(&namespace, delete);
            }
        }
    }

    pub(crate) fn id(&mut self) -> TopicId {
        self.ids += 1;
        TopicId(self.ids.to_be_bytes())
    }

    pub(crate) fn topic(&mut self, name: &str, partitions: u32) -> Action {
        let id = self.id();
        Action::DeclareTopic(DeclareTopic {
            name: name.into(),
            id,
            partitions,
            config: Config::default(),
        })
    }

    /// A durable queue.
    pub(crate) fn queue(&mut self, name: &str) -> DeclareQueue {
        DeclareQueue {
            name: name.into(),
            id: self.id(),
            durable: true,
            exclusive: None,
            auto_delete: false,
            server_named: false,
            arguments: Vec::new(),
            options: QueueOptions::default(),
        }
    }

    pub(crate) fn declare_queue(&mut self, name: &str) -> LogRef {
        let queue = self.queue(name);
        match self.ok(Action::DeclareQueue(queue)) {
            Outcome::Queue { log, .. } => log,
            other => panic!("{other:?}"),
        }
    }

    /// A queue exclusive to `client`.
    pub(crate) fn exclusive(&mut self, name: &str, client: u64) -> DeclareQueue {
        DeclareQueue { durable: false, exclusive: Some(owner(client)), ..self.queue(name) }
    }

    pub(crate) fn bind(&mut self, source: &str, to: Destination, key: &str) -> Outcome {
        self.ok(Action::Bind(binding(source, to, key)))
    }

    pub(crate) fn declare_router(&mut self, name: &str, kind: RouterKind) {
        self.ok(Action::DeclareRouter(router(name, kind)));
    }

    pub(crate) fn route(&self, router: &str, key: &str) -> Result<Vec<LogRef>, Unroutable> {
        self.routes(router, &[key], &[]).map(|routes| routes.logs)
    }

    pub(crate) fn routes(
        &self,
        router: &str,
        keys: &[&str],
        headers: &[(String, Value)],
    ) -> Result<Routes, Unroutable> {
        let mut routes = Routes::default();
        let headers = &Listed { list: headers, waits: false };
        self.names().route(&Publish { namespace: "/", router, keys, headers }, &mut routes)?;
        Ok(routes)
    }

    /// Where what waits, or does not, goes from a router.
    pub(crate) fn routes_of(&self, router: &str, waits: bool) -> Routes {
        let mut routes = Routes::default();
        let headers = &Listed { list: &[], waits };
        let publish = Publish { namespace: "/", router, keys: &["k"], headers };
        self.names().route(&publish, &mut routes).expect("the router is there");
        routes
    }
}

struct Listed<'a> {
    list: &'a [(String, Value)],
    waits: bool,
}

impl crate::Headers for Listed<'_> {
    fn header(&self, name: &str) -> Option<std::borrow::Cow<'_, Value>> {
        self.list.header(name)
    }

    fn waits(&self) -> bool {
        self.waits
    }
}

pub(crate) fn owner(client: u64) -> Owner {
    Owner { node: NodeId(7), client: ClientId(client) }
}

/// A durable router.
pub(crate) fn router(name: &str, kind: RouterKind) -> DeclareRouter {
    DeclareRouter {
        name: name.into(),
        kind,
        durable: true,
        auto_delete: false,
        internal: false,
        alternate: None,
        arguments: Vec::new(),
        options: RouterOptions::default(),
    }
}

pub(crate) fn binding(source: &str, destination: Destination, key: &str) -> Bind {
    Bind {
        source: source.into(),
        destination,
        key: key.into(),
        arguments: Vec::new(),
        by: None,
        elsewhere: Elsewhere::default(),
    }
}

pub(crate) fn to_queue(name: &str) -> Destination {
    Destination::Queue(name.into())
}

pub(crate) fn to_router(name: &str) -> Destination {
    Destination::Router(name.into())
}

pub(crate) fn delete_queue(name: &str, by: Option<Owner>) -> Action {
    Action::DeleteQueue(DeleteQueue { name: name.into(), by, only: None })
}

pub(crate) fn delete_router(name: &str, if_unused: bool) -> Action {
    Action::DeleteRouter { name: name.into(), if_unused }
}

pub(crate) fn arguments(values: &[(&str, Value)]) -> Arguments {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub(crate) fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

pub(crate) fn config(values: &[(&str, &str)]) -> Config {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config(values.collect::<BTreeMap<_, _>>())
}

pub(crate) fn bytes(catalog: &Catalog) -> Vec<u8> {
    postcard::to_allocvec(catalog).unwrap()
}

pub(crate) fn name(value: &str) -> Name {
    Name::from(value)
}
