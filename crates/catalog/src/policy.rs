//! Policies: settings that queues and routers get by their names, without being declared again.
//!
//! Of the policies that match, the one of the highest priority counts, and beside it one of the operator's.
//! What a declaration asks for and what they say is combined as in RabbitMQ: of limits the lowest counts;
//! of the rest what the operator says, and what a policy says where the declaration says nothing.

use crate::Name;
use crate::access::Pattern;
use crate::entry::{DeadLetter, Keep, Overflow, Queue, QueueKind, QueueOptions, Router};
use crate::sharing::Sharing;
use crate::value::Arguments;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::Millis;

/// Settings for things whose names match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: Name,
    /// Which names match.
    pub pattern: Pattern,
    /// What of those it is for.
    pub applies_to: AppliesTo,
    /// The highest of those that match counts.
    pub priority: i64,
    /// As it was given: stored and echoed.
    pub definition: Arguments,
    /// What of the definition takes effect.
    pub settings: PolicySettings,
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppliesTo {
    /// Queues and routers.
    #[default]
    All,
    /// Queues of every kind.
    Queues,
    /// Queues of one kind.
    Kind(QueueKind),
    /// Routers.
    Routers,
}

/// What a policy says; each part may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySettings {
    /// See [`QueueOptions::message_ttl`].
    pub message_ttl: Option<Millis>,
    /// See [`QueueOptions::expires`].
    pub expires: Option<Millis>,
    /// See [`QueueOptions::max_len`].
    pub max_len: Option<u64>,
    /// See [`QueueOptions::max_bytes`].
    pub max_bytes: Option<u64>,
    /// See [`QueueOptions::keep`]; for streams.
    pub max_age: Option<Millis>,
    /// See [`QueueOptions::keep`]; for queues of other kinds.
    pub keep_age: Option<Millis>,
    /// The same.
    pub keep_bytes: Option<u64>,
    /// See [`QueueOptions::overflow`].
    pub overflow: Option<Overflow>,
    /// The router of [`QueueOptions::dead_letter`].
    pub dead_router: Option<Name>,
    /// The key of [`QueueOptions::dead_letter`].
    pub dead_key: Option<Name>,
    /// See [`QueueOptions::returns_max`]; for queues that count returns.
    pub returns_max: Option<u16>,
    /// See [`Router::alternate`].
    pub alternate: Option<Name>,
}

/// The policies of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicySet {
    /// By name.
    pub policies: BTreeMap<Name, Arc<Policy>>,
    /// The operator's, by name.
    pub operators: BTreeMap<Name, Arc<Policy>>,
}

/// Which policies something is under, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governed {
    /// The policy.
    pub policy: Option<Name>,
    /// The operator's.
    pub operator: Option<Name>,
}

impl AppliesTo {
    /// Whether it is for queues of a kind; `None`: for routers.
    fn covers(self, kind: Option<QueueKind>) -> bool {
        match (self, kind) {
            (AppliesTo::All, _) | (AppliesTo::Queues, Some(_)) | (AppliesTo::Routers, None) => true,
            (AppliesTo::Kind(one), Some(other)) => one == other,
            _ => false,
        }
    }
}

impl PolicySet {
    /// The policies of whichever sort.
    pub(crate) fn of_mut(&mut self, operator: bool) -> &mut BTreeMap<Name, Arc<Policy>> {
        if operator { &mut self.operators } else { &mut self.policies }
    }

    /// What the policies say of a queue of a kind, or of a router (`None`), and which they are.
    fn over(&self, name: &str, kind: Option<QueueKind>) -> (Governed, PolicySettings) {
        let chosen = |all: &BTreeMap<Name, Arc<Policy>>| {
            let matching = all
                .values()
                .filter(|policy| policy.applies_to.covers(kind) && policy.pattern.matches(name));
            matching.max_by_key(|policy| (policy.priority, Reverse(&policy.name))).map(Arc::clone)
        };
        let (policy, operator) = (chosen(&self.policies), chosen(&self.operators));
        let named = |policy: &Option<Arc<Policy>>| policy.as_ref().map(|it| Name::clone(&it.name));
        let governed = Governed { policy: named(&policy), operator: named(&operator) };
        let said = |policy: Option<Arc<Policy>>| {
            policy.map(|policy| policy.settings.clone()).unwrap_or_default()
        };
        (governed, said(policy).limited_by(&said(operator)))
    }

    /// Has a queue be as the policies say. False when it is already.
    pub(crate) fn govern_queue(&self, queue: &mut Queue, sharing: &mut Sharing) -> bool {
        let (governed, settings) = self.over(&queue.name, Some(queue.own.kind));
        let governed = (governed != Governed::default()).then(|| Box::new(governed));
        let options = sharing.share(&Arc::new(queue.own.under(&settings)));
        let changes = options != queue.options || governed != queue.governed;
        queue.options = options;
        queue.governed = governed;
        changes
    }

    /// Has a router be as the policies say. False when it is already.
    pub(crate) fn govern_router(&self, router: &mut Router) -> bool {
        let (governed, settings) = self.over(&router.name, None);
        let alternate = router.own_alternate.clone().or(settings.alternate);
        let changes = alternate != router.alternate || governed != router.governed;
        router.alternate = alternate;
        router.governed = governed;
        changes
    }
}

impl PolicySettings {
    /// With what an operator says: of limits the lower counts, else the operator.
    fn limited_by(self, operator: &PolicySettings) -> PolicySettings {
        let other = operator.clone();
        PolicySettings {
            message_ttl: least(self.message_ttl, other.message_ttl),
            expires: least(self.expires, other.expires),
            max_len: least(self.max_len, other.max_len),
            max_bytes: least(self.max_bytes, other.max_bytes),
            max_age: least(self.max_age, other.max_age),
            keep_age: other.keep_age.or(self.keep_age),
            keep_bytes: other.keep_bytes.or(self.keep_bytes),
            overflow: other.overflow.or(self.overflow),
            dead_router: other.dead_router.or(self.dead_router),
            dead_key: other.dead_key.or(self.dead_key),
            returns_max: least(self.returns_max, other.returns_max),
            alternate: other.alternate.or(self.alternate),
        }
    }
}

impl QueueOptions {
    /// With what policies say: of limits the lower counts, else what was declared.
    fn under(&self, settings: &PolicySettings) -> QueueOptions {
        let own = self.dead_letter.as_deref();
        let own_keep = self.keep.as_deref().copied().unwrap_or_default();
        let router = own.map(|to| Name::clone(&to.router)).or_else(|| settings.dead_router.clone());
        let key = own.and_then(|to| to.key.clone()).or_else(|| settings.dead_key.clone());
        let returns_max = match (self.kind, settings.returns_max) {
            (QueueKind::Quorum, Some(most)) if self.unsaid.returns_max => Some(most),
            (QueueKind::Quorum, most) => least(self.returns_max, most),
            _ => self.returns_max,
        };
        QueueOptions {
            message_ttl: least(self.message_ttl, settings.message_ttl),
            expires: least(self.expires, settings.expires),
            max_len: least(self.max_len, settings.max_len),
            max_bytes: least(self.max_bytes, settings.max_bytes),
            keep: Keep {
                age: match self.kind {
                    QueueKind::Stream => least(own_keep.age, settings.max_age),
                    _ => own_keep.age.or(settings.keep_age),
                },
                bytes: own_keep.bytes.or(settings.keep_bytes),
                key_index: own_keep.key_index,
            }
            .or_nothing(),
            overflow: match settings.overflow.filter(|_| self.unsaid.overflow) {
                // Of what a quorum queue refuses there are no dead letters.
                Some(Overflow::RefuseAsDead) if self.kind == QueueKind::Quorum => {
                    Overflow::DropOldest
                }
                Some(overflow) => overflow,
                None => self.overflow,
            },
            dead_letter: match (router, own) {
                (Some(router), Some(to)) if to.router == router && to.key == key => {
                    self.dead_letter.clone()
                }
                (Some(router), _) => Some(Arc::new(DeadLetter { router, key })),
                (None, _) => None,
            },
            returns_max,
            ..self.clone()
        }
    }
}

/// The lower of two limits, either of which may be none.
fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}
