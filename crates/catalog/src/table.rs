//! The bindings of one router, indexed for routing.

use crate::Name;
use crate::entry::{Binding, Destination, RouterId, RouterKind};
use crate::headers;
use crate::snapshot::Inbound;
use crate::trie::{Trie, has_wildcard};
use crate::value::{Arguments, Headers};
use imbl::OrdMap;
use std::sync::Arc;

/// The bindings whose source is one router.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) source_id: RouterId,
    pub(crate) source_kind: RouterKind,
    /// All bindings, by key.
    by_key: OrdMap<Name, Targets>,
    /// Of a topic router: those whose pattern has wildcards.
    patterns: Trie,
}

/// The bindings of one key, at least one.
#[derive(Clone, Debug)]
pub(crate) enum Targets {
    One(Part, Arc<Binding>),
    Many(OrdMap<Part, Arc<Binding>>),
}

/// What tells bindings of one source and key apart: destination and arguments.
type Part = (Destination, Arc<[u8]>);

/// Bytes that are equal when the arguments are, whatever their order; empty for none.
pub(crate) fn arguments_identity(arguments: &Arguments) -> Arc<[u8]> {
    if arguments.is_empty() {
        return Arc::from([]);
    }
    let mut sorted: Vec<_> = arguments.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    postcard::to_allocvec(&sorted).expect("plain values can be written to memory").into()
}

impl Table {
    pub(crate) fn new(source_id: RouterId, source_kind: RouterKind) -> Table {
        Table { source_id, source_kind, by_key: OrdMap::new(), patterns: Trie::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Adds a binding that is not there; `at` is its identity.
    pub(crate) fn insert(&mut self, at: &Inbound, binding: Arc<Binding>) {
        let part = (at.destination.clone(), Arc::clone(&at.arguments));
        let targets = match self.by_key.remove(&at.key) {
            None => Targets::One(part, binding),
            Some(Targets::One(other_part, other)) => {
                Targets::Many([(other_part, other), (part, binding)].into_iter().collect())
            }
            Some(Targets::Many(mut all)) => {
                all.insert(part, binding);
                Targets::Many(all)
            }
        };
        self.set(&at.key, Some(targets));
    }

    /// Takes the binding with identity `at` away, if it is there.
    pub(crate) fn remove(&mut self, at: &Inbound) {
        let part = (at.destination.clone(), Arc::clone(&at.arguments));
        let left = match self.by_key.remove(&at.key) {
            None => return,
            Some(Targets::One(only, binding)) => {
                (only != part).then_some(Targets::One(only, binding))
            }
            Some(Targets::Many(mut all)) => {
                all.remove(&part);
                (!all.is_empty()).then_some(Targets::Many(all))
            }
        };
        self.set(&at.key, left);
    }

    /// All bindings, by key and destination.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.by_key.values().flat_map(Targets::iter)
    }

    /// Calls `visit` with each binding that matches `key` (or `headers`).
    pub(crate) fn visit<'a>(
        &'a self,
        key: &str,
        headers: &dyn Headers,
        mut visit: impl FnMut(&'a Arc<Binding>),
    ) {
        match self.source_kind {
            RouterKind::Fanout => self.iter().for_each(visit),
            RouterKind::Headers => self
                .iter()
                .filter(|binding| headers::matches(&binding.arguments, headers))
                .for_each(visit),
            RouterKind::Direct => {
                if let Some(targets) = self.by_key.get(key) {
                    targets.iter().for_each(visit);
                }
            }
            RouterKind::Topic => {
                if let Some(targets) = self.by_key.get(key) {
                    targets.iter().for_each(&mut visit);
                }
                self.patterns.visit(key, |targets| targets.iter().for_each(&mut visit));
            }
            // These choose among the bindings of both layers: see `hashing`.
            RouterKind::ConsistentHash | RouterKind::ModulusHash => {}
        }
    }

    fn set(&mut self, key: &Name, targets: Option<Targets>) {
        if self.source_kind == RouterKind::Topic && has_wildcard(key) {
            self.patterns.set(key, targets.clone());
        }
        if let Some(targets) = targets {
            self.by_key.insert(Name::clone(key), targets);
        }
    }
}

impl Targets {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Binding>> {
        let (one, many) = match self {
            Targets::One(_, binding) => (Some(binding), None),
            Targets::Many(all) => (None, Some(all.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}
