//! From a publish address to logs.

use super::Names;
use crate::Name;
use crate::change::Target;
use crate::entry::{Binding, Dedup, Found, Hashed, Router, RouterId, RouterKind, Topic};
use crate::hashing;
use crate::value::Headers;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use types::LogRef;

/// What is to be routed.
#[derive(Clone, Copy)]
pub struct Publish<'a> {
    /// In which namespace.
    pub namespace: &'a str,
    /// The router it is published to; `""` is the default router.
    pub router: &'a str,
    /// Its routing keys: one, and those of its copies.
    pub keys: &'a [&'a str],
    /// Its headers, asked for only where a headers router is met.
    pub headers: &'a dyn Headers,
}

/// Where a publish goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// The logs of queues: sorted, without duplicates.
    pub logs: Vec<LogRef>,
    /// Topics, one of whose logs the caller chooses: by id, without duplicates.
    pub topics: Vec<Arc<Topic>>,
    /// A router that looks at headers was met: the routes hold for these headers only.
    pub by_headers: bool,
    /// A router that delays was met: they hold for what waits, or for what does not.
    pub by_waiting: bool,
    /// The router it was published to remembers ids of messages.
    pub within: Option<(RouterId, Dedup)>,
    /// Where it goes by routers that delay, when its time has come.
    pub later: Option<Box<Routes>>,
}

/// Why a publish cannot be routed at all. That it matches nothing is not a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// There is no such router.
    NoRouter,
    /// The router takes records from other routers only.
    Internal,
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("namespace", &self.namespace)
            .field("router", &self.router)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Routes {
    /// Whether the publish goes nowhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.topics.is_empty() && self.later.is_none()
    }

    fn clear(&mut self) {
        self.logs.clear();
        self.topics.clear();
        self.by_headers = false;
        self.by_waiting = false;
        self.later = None;
        self.within = None;
    }

    fn add(&mut self, found: &Found) {
        match found {
            Found::Queue(queue) => self.logs.push(queue.log),
            Found::Topic(topic) => self.topics.push(Arc::clone(topic)),
        }
    }

    fn finish(&mut self) {
        self.logs.sort_unstable();
        self.logs.dedup();
        self.topics.sort_unstable_by_key(|topic| topic.id);
        self.topics.dedup_by_key(|topic| topic.id);
    }
}

/// Routers still to be asked, each once.
#[derive(Default)]
struct Walk<'a> {
    routers: SmallVec<[&'a Router; 8]>,
    /// Their ids, sorted.
    seen: SmallVec<[RouterId; 8]>,
}

impl Names {
    /// Finds where `publish` goes and puts it into `routes`, whose old content goes.
    ///
    /// Follows bindings from router to router, each router once, and a router's alternate where none
    /// of its bindings matches. Where a router delays and the publish waits, what lies behind that
    /// router is for later; it waits once, however many such routers follow.
    ///
    /// # Errors
    /// The router is not there, or is internal; `routes` is empty then.
    pub fn route(&self, publish: &Publish<'_>, routes: &mut Routes) -> Result<(), Unroutable> {
        routes.clear();
        let first = self.router(publish.namespace, publish.router).ok_or(Unroutable::NoRouter)?;
        if first.internal {
            return Err(Unroutable::Internal);
        }
        self.route_from(first, publish, routes);
        routes.within = first.options.dedup.map(|dedup| (first.id, dedup));
        Ok(())
    }

    /// The same for what the broker itself publishes, which may go to an internal router too.
    /// Nowhere if there is no such router.
    pub fn route_inside(&self, publish: &Publish<'_>, routes: &mut Routes) {
        routes.clear();
        if let Some(first) = self.router(publish.namespace, publish.router) {
            self.route_from(first, publish, routes);
        }
    }

    fn route_from<'a>(&'a self, first: &'a Router, publish: &Publish<'_>, routes: &mut Routes) {
        let mut walk = Walk::default();
        walk.add(first);
        let mut delaying = Walk::default();
        self.follow_all(walk, publish, routes, Some(&mut delaying));
        if !delaying.routers.is_empty() {
            let mut later = Routes::default();
            self.follow_all(delaying, publish, &mut later, None);
            routes.by_headers |= later.by_headers;
            routes.later = (!later.is_empty()).then(|| Box::new(later));
        }
    }

    /// Asks routers and those they lead to; those that delay what waits are put into `delaying`, if
    /// that is still to be looked for.
    fn follow_all<'a>(
        &'a self,
        mut walk: Walk<'a>,
        publish: &Publish<'_>,
        routes: &mut Routes,
        mut delaying: Option<&mut Walk<'a>>,
    ) {
        let mut next = 0;
        while let Some(&router) = walk.routers.get(next) {
            next += 1;
            if router.options.delays
                && let Some(delaying) = &mut delaying
            {
                routes.by_waiting = true;
                if publish.headers.waits() {
                    delaying.add(router);
                    continue;
                }
            }
            if !self.route_at(router, publish, &mut walk, routes)
                && let Some(alternate) = &router.alternate
                && let Some(router) = self.router(publish.namespace, alternate)
            {
                walk.add(router);
            }
        }
        routes.finish();
    }

    /// Follows the bindings of one router. False when none matches.
    fn route_at<'a>(
        &'a self,
        router: &'a Router,
        publish: &Publish<'_>,
        walk: &mut Walk<'a>,
        routes: &mut Routes,
    ) -> bool {
        let mut matched = false;
        if router.name.is_empty() {
            for key in publish.keys {
                if let Some(found) = self.find(publish.namespace, key) {
                    routes.add(found);
                    matched = true;
                }
            }
            return matched;
        }
        routes.by_headers |= router.kind == RouterKind::Headers;
        if hashing::chooses(router.kind) {
            routes.by_headers |= router.options.hashed != Hashed::Key;
            let chosen = self.chosen_by_hash(router, publish);
            return chosen
                .is_some_and(|binding| self.follow(publish.namespace, binding, walk, routes));
        }
        for scope in self.scopes(publish.namespace) {
            let Some(table) = scope.tables.get(&router.name) else { continue };
            if table.source_id != router.id {
                continue;
            }
            for key in publish.keys {
                table.visit(key, publish.headers, |binding| {
                    matched |= self.follow(publish.namespace, binding, walk, routes);
                });
            }
        }
        matched
    }

    /// The one binding that a router chooses by hash.
    fn chosen_by_hash(&self, router: &Router, publish: &Publish<'_>) -> Option<&Arc<Binding>> {
        let hash = hashing::hash_of(&router.options.hashed, publish.keys, publish.headers);
        let tables = self.scopes(publish.namespace).filter_map(|it| it.tables.get(&router.name));
        let bindings = tables
            .filter(|table| table.source_id == router.id)
            .flat_map(|table| table.iter())
            .filter(|binding| !binding.foreign || self.leads(publish.namespace, binding));
        hashing::choose(router.kind, hash, bindings)
    }

    /// Goes where `binding` leads. False when that is gone.
    fn follow<'a>(
        &'a self,
        namespace: &str,
        binding: &Binding,
        walk: &mut Walk<'a>,
        routes: &mut Routes,
    ) -> bool {
        if binding.foreign && !self.leads(namespace, binding) {
            return false;
        }
        let name: &Name = binding.destination.name();
        match binding.target {
            Target::Queue(log) => routes.logs.push(log),
            Target::Topic(_) => match self.find(namespace, name) {
                Some(found) => routes.add(found),
                None => return false,
            },
            Target::Router(_) => match self.router(namespace, name) {
                Some(router) => walk.add(router),
                None => return false,
            },
        }
        true
    }
}

impl<'a> Walk<'a> {
    fn add(&mut self, router: &'a Router) {
        if let Err(place) = self.seen.binary_search(&router.id) {
            self.seen.insert(place, router.id);
            self.routers.push(router);
        }
    }
}
