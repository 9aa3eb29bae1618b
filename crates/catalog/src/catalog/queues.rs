//! Queues.

use super::Catalog;
use crate::change::{DeclareQueue, DeleteQueue};
use crate::entry::{Found, Overflow, Queue, QueueKind, QueueOptions, TopicId};
use crate::headers::same;
use crate::naming::{self, RESERVED_PREFIX};
use crate::outcome::{
    Deleted, LogChange, LogConfig, Outcome, Refusal, Setting, SubscriptionOptions, Thing,
};
use crate::value::{Arguments, Value};
use crate::{Name, QUEUE_SUBSCRIPTION, TimestampType};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use types::Millis;

/// The argument that says which kind a queue is: compared by what it means, as it has a default.
const QUEUE_TYPE: &str = "x-queue-type";

impl LogConfig {
    pub(super) fn of_queue(options: &QueueOptions) -> LogConfig {
        let stream = options.kind == QueueKind::Stream;
        let keep = options.keep.as_deref().copied().unwrap_or_default();
        LogConfig {
            trim_settled: !stream,
            retention_ms: keep.age,
            retention_bytes: if stream { options.max_bytes } else { keep.bytes },
            message_bytes_max: None,
            timestamp_type: TimestampType::Create,
            level_max: if stream { 0 } else { options.serving.priority_max },
            dedup: options.dedup.filter(|_| !stream),
            key_index: stream && keep.key_index,
        }
    }
}

impl SubscriptionOptions {
    pub(super) fn of_queue(options: &Arc<QueueOptions>) -> SubscriptionOptions {
        SubscriptionOptions {
            primary: options.kind != QueueKind::Stream,
            queue: options.of_subscription(),
        }
    }
}

/// Those of a queue of which nothing was said.
static PLAIN: LazyLock<Arc<QueueOptions>> = LazyLock::new(Arc::default);

impl QueueOptions {
    /// Those of a queue of which nothing was said: one for all.
    #[must_use]
    pub fn plain() -> Arc<QueueOptions> {
        Arc::clone(&PLAIN)
    }

    /// Whether an append can be too much for it.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let is_limited = self.max_len.is_some() || self.max_bytes.is_some();
        is_limited && self.overflow != Overflow::DropOldest && self.kind != QueueKind::Stream
    }

    /// Those that its subscription sees to: a stream's log has its limits, not the subscription.
    #[must_use]
    pub fn of_subscription(self: &Arc<Self>) -> Arc<QueueOptions> {
        let QueueOptions { expires, kind, .. } = **self;
        match kind {
            QueueKind::Classic | QueueKind::Quorum => Arc::clone(self),
            QueueKind::Stream => {
                Arc::new(QueueOptions { expires, kind, ..QueueOptions::default() })
            }
        }
    }
}

impl Outcome {
    fn of_queue(queue: &Queue, created: bool) -> Outcome {
        let Queue { id, log, subscription, .. } = *queue;
        Outcome::Queue { id, log, subscription, created }
    }
}

impl Catalog {
    pub(super) fn declare_queue(
        &mut self,
        namespace: &Name,
        declare: &DeclareQueue,
        now: Millis,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let name = &declare.name;
        match self.scope(namespace).and_then(|scope| scope.names.get(name)) {
            Some(Found::Topic(_)) => return self.join_topic(namespace, declare, work),
            Some(Found::Queue(queue)) => {
                compare(queue, declare)?;
                return Ok(Outcome::of_queue(queue, false));
            }
            None => {}
        }
        naming::check(Thing::Queue, name)?;
        if name.starts_with(RESERVED_PREFIX) && !declare.server_named {
            return Err(Refusal::Reserved { what: Thing::Queue, name: Name::clone(name) });
        }
        if let Some(scope) = self.scope(namespace) {
            scope.check_queue_room(name, scope.names.len())?;
        }
        self.check_id(Thing::Queue, name, declare.id)?;
        self.check_room(1, 1)?;
        let shard = self.least_shard();
        let full_name = Arc::new((Name::clone(namespace), Name::clone(name)));
        let log = self.next_log(shard);
        let subscription = self.next_subscription(shard, Arc::clone(&full_name));
        let options = self.sharing.share(&Arc::new(declare.options.clone()));
        let mut queue = Queue {
            name: Name::clone(name),
            id: declare.id,
            log,
            subscription,
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            arguments: declare.arguments.clone(),
            own: Arc::clone(&options),
            options,
            governed: None,
            created: now,
        };
        if let Some(scope) = self.names.namespaces.get(namespace) {
            scope.policies.govern_queue(&mut queue, &mut self.sharing);
        }
        work.push(LogChange::CreateLog { log, config: LogConfig::of_queue(&queue.options) });
        work.push(LogChange::CreateSubscription {
            subscription,
            over: vec![log],
            options: SubscriptionOptions::of_queue(&queue.options),
        });
        self.names.index_options(log.log, &queue.options);
        let outcome = Outcome::of_queue(&queue, true);
        self.names.ids.insert(declare.id, Arc::clone(&full_name));
        if let Some(owner) = declare.exclusive {
            self.owned.entry(owner).or_default().insert((*full_name).clone());
        }
        self.scope_mut(namespace).names.insert(Name::clone(name), Found::Queue(Arc::new(queue)));
        Ok(outcome)
    }

    pub(super) fn delete_queue(
        &mut self,
        namespace: &Name,
        delete: &DeleteQueue,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let name = &delete.name;
        let not_found = || Refusal::NotFound { what: Thing::Queue, name: Name::clone(name) };
        let found = self.scope(namespace).and_then(|scope| scope.names.get(name));
        let found = found.ok_or_else(not_found)?;
        let subscription = found.subscription().ok_or_else(not_found)?;
        if delete.only.is_some_and(|only| only != subscription.subscription) {
            return Err(not_found());
        }
        match found {
            Found::Topic(_) => {
                let subscription_name = Name::from(QUEUE_SUBSCRIPTION);
                return self.delete_subscription(namespace, name, &subscription_name, work);
            }
            Found::Queue(queue) => {
                let foreign = queue.exclusive.is_some() && queue.exclusive != delete.by;
                if foreign && delete.only.is_none() {
                    return Err(Refusal::Exclusive { name: Name::clone(name) });
                }
            }
        }
        let mut deleted = Deleted::default();
        self.remove_name(namespace, name, &mut deleted, work);
        Ok(Outcome::Deleted(deleted))
    }

    /// Refuses an id that another topic or queue has.
    pub(super) fn check_id(&self, what: Thing, name: &Name, id: TopicId) -> Result<(), Refusal> {
        if self.names.ids.contains_key(&id) {
            let why = format!("the id {id:?} is taken");
            return Err(Refusal::Invalid { what, name: Name::clone(name), why });
        }
        Ok(())
    }

    /// A queue declared on a topic: creates or joins the topic's subscription.
    fn join_topic(
        &mut self,
        namespace: &Name,
        declare: &DeclareQueue,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let name = Name::clone(&declare.name);
        if declare.exclusive.is_some() {
            return Err(Refusal::Exclusive { name });
        }
        if !declare.arguments.is_empty() {
            return Err(Refusal::KindClash { name, current: Thing::Topic });
        }
        self.declare_subscription(namespace, &name, &Name::from(QUEUE_SUBSCRIPTION), work)
    }
}

/// Refuses a declaration that does not say what `queue` is.
fn compare(queue: &Queue, declare: &DeclareQueue) -> Result<(), Refusal> {
    if queue.exclusive != declare.exclusive {
        return Err(Refusal::Exclusive { name: Name::clone(&queue.name) });
    }
    let same_kind = queue.options.kind == declare.options.kind;
    let differing = differing_flag("durable", declare.durable, queue.durable)
        .or_else(|| differing_flag("auto_delete", declare.auto_delete, queue.auto_delete))
        .or_else(|| {
            differing_argument(&declare.arguments, &queue.arguments, |name| {
                name == QUEUE_TYPE && same_kind
            })
        });
    match differing {
        None => Ok(()),
        Some(difference) => Err(difference.refusal(Thing::Queue, &queue.name)),
    }
}

/// A setting that is not as declared.
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) declared: Setting,
    pub(super) current: Setting,
}

impl Difference {
    pub(super) fn refusal(self, what: Thing, name: &Name) -> Refusal {
        let Difference { field, declared, current } = self;
        Refusal::Mismatch { what, name: Name::clone(name), field, declared, current }
    }
}

pub(super) fn differing_flag(field: &str, declared: bool, current: bool) -> Option<Difference> {
    (declared != current).then(|| Difference {
        field: field.to_owned(),
        declared: Setting::Flag(declared),
        current: Setting::Flag(current),
    })
}

/// The first argument by name that is not the same in both, except where `agreed`.
pub(super) fn differing_argument(
    declared: &Arguments,
    current: &Arguments,
    agreed: impl Fn(&str) -> bool,
) -> Option<Difference> {
    let names: BTreeSet<&String> = declared.iter().chain(current).map(|(name, _)| name).collect();
    let setting = |value: Option<&Value>| {
        value.map_or(Setting::Absent, |value| Setting::Argument(value.clone()))
    };
    names.into_iter().filter(|name| !agreed(name)).find_map(|name| {
        let (declared, current) = (lookup(declared, name), lookup(current, name));
        let agree = match (declared, current) {
            (Some(a), Some(b)) => same(a, b),
            _ => false,
        };
        (!agree).then(|| Difference {
            field: name.clone(),
            declared: setting(declared),
            current: setting(current),
        })
    })
}

fn lookup<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a Value> {
    arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}
