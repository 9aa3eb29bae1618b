//! Queues: lists, one of them, and what is done with one.

mod changes;

use super::asker::Asker;
use super::listing::Listing;
use super::nodes::NODE;
use super::rates::Before;
use super::refused::Refused;
use super::{arguments, policies};
use crate::Admin;
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::Names;
use engine::api::{Extent, QueueStats};
use engine::catalog::{Found, Queue};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Error, LogRef, SubscriptionId};

pub(super) use changes::{QueueGiven, act, delete, not_locked, purge, put};

type Answer = Result<Json<Value>, Refused>;

/// A count of a queue, by its name here.
type Count = (&'static str, fn(&QueueStats) -> u64);

/// What a queue holds.
const DEPTHS: [Count; 3] = [
    ("messages", |it| it.counts.ready + it.counts.unacked + it.counts.delayed),
    ("messages_ready", |it| it.counts.ready),
    ("messages_unacknowledged", |it| it.counts.unacked),
];

/// What went through it. The engine does not tell a basic.get from a delivery.
const FLOWS: [Count; 4] = [
    ("publish", |it| it.tally.published),
    ("deliver", |it| it.tally.delivered),
    ("deliver_get", |it| it.tally.delivered),
    ("ack", |it| it.tally.acked),
];

/// The counts of every queue, now and before.
pub(super) struct Counted {
    stats: BTreeMap<SubscriptionId, QueueStats>,
    before: Before,
    extents: BTreeMap<LogRef, Extent>,
}

/// Sums over queues.
#[derive(Debug, Default)]
pub(super) struct Totals {
    depths: [(u64, f64); DEPTHS.len()],
    flows: [(u64, f64); FLOWS.len()],
    pub(super) consumers: u64,
    pub(super) queues: u64,
}

/// `GET /api/queues`
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    let vhosts = names.namespaces().filter(|vhost| asker.lists(vhost));
    let queues: Vec<(&str, &Arc<Queue>)> =
        vhosts.flat_map(|vhost| all(&names, vhost).map(|queue| (&**vhost, queue))).collect();
    let counted = Counted::gather(&admin, queues.iter().map(|(_, queue)| queue.log)).await?;
    listing
        .of(queues.into_iter().map(|(vhost, queue)| counted.shown(&names, vhost, queue)).collect())
}

/// `GET /api/queues/VHOST`
pub(super) async fn of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    let counted = Counted::gather(&admin, all(&names, &vhost).map(|queue| queue.log)).await?;
    listing.of(all(&names, &vhost).map(|queue| counted.shown(&names, &vhost, queue)).collect())
}

/// `GET /api/queues/VHOST/NAME`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path((vhost, name)): Path<(String, String)>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    let queue = find(&names, &vhost, &name)?;
    let counted = Counted::gather(&admin, [queue.log].into_iter()).await?;
    let mut shown = counted.shown(&names, &vhost, queue);
    if let Value::Object(fields) = &mut shown {
        let consumers = admin.consumers_of(&vhost, &name).await;
        fields.insert("consumer_details".to_owned(), consumers.into());
        let owner = queue.exclusive.and_then(|owner| admin.connection_name(owner.client));
        if let Some(owner) = owner {
            fields.insert("owner_pid_details".to_owned(), json!({"name": owner}));
        }
        fields.insert("incoming".to_owned(), json!([]));
        fields.insert("deliveries".to_owned(), json!([]));
    }
    Ok(listing.one(shown))
}

/// The queues of a virtual host.
pub(super) fn all<'a>(names: &'a Names, vhost: &str) -> impl Iterator<Item = &'a Arc<Queue>> {
    names.list(vhost, None).filter_map(|found| match found {
        Found::Queue(queue) => Some(queue),
        Found::Topic(_) => None,
    })
}

/// The queue `name`.
pub(super) fn find<'a>(
    names: &'a Names,
    vhost: &str,
    name: &str,
) -> Result<&'a Arc<Queue>, Refused> {
    match names.find(vhost, name) {
        Some(Found::Queue(queue)) => Ok(queue),
        Some(Found::Topic(_)) | None => Err(Refused::not_found()),
    }
}

impl Counted {
    /// Counts everything; `logs`: of which the bytes are wanted.
    pub(super) async fn gather(
        admin: &Admin,
        logs: impl Iterator<Item = LogRef>,
    ) -> Result<Counted, Error> {
        let logs: Vec<LogRef> = logs.collect();
        let stats = admin.stats().await?;
        let before = admin.rates.note(admin.engine().now(), &stats);
        Ok(Counted { stats, before, extents: admin.extents(&logs).await? })
    }

    /// A queue as lists have it.
    fn shown(&self, names: &Names, vhost: &str, queue: &Queue) -> Value {
        let mut fields = described(vhost, queue);
        fields.append(&mut policies::governing(names, vhost, queue.governed.as_deref()));
        let bytes = self.extents.get(&queue.log).map_or(0, |extent| extent.bytes);
        fields.insert("message_bytes".to_owned(), bytes.into());
        let Some(stats) = self.stats.get(&queue.subscription.subscription) else {
            return Value::Object(fields);
        };
        fields.insert("consumers".to_owned(), stats.counts.consumers.into());
        if queue.options.serving.retry.is_some() {
            fields.insert("messages_delayed".to_owned(), stats.counts.delayed.into());
        }
        for (name, count) in DEPTHS {
            push(&mut fields, name, (count(stats), self.before.rate(stats, count)));
        }
        if FLOWS.iter().any(|(_, count)| count(stats) > 0) {
            let mut flows = Map::new();
            for (name, count) in FLOWS {
                push(&mut flows, name, (count(stats), self.before.rate(stats, count)));
            }
            fields.insert("message_stats".to_owned(), Value::Object(flows));
        }
        Value::Object(fields)
    }

    /// Sums over the queues of a virtual host.
    pub(super) fn totals(&self, names: &Names, vhost: &str) -> Totals {
        let mut totals = Totals::default();
        for queue in all(names, vhost) {
            totals.queues += 1;
            let Some(stats) = self.stats.get(&queue.subscription.subscription) else { continue };
            totals.consumers += stats.counts.consumers;
            for (sum, (_, count)) in totals.depths.iter_mut().zip(DEPTHS) {
                add(sum, (count(stats), self.before.rate(stats, count)));
            }
            for (sum, (_, count)) in totals.flows.iter_mut().zip(FLOWS) {
                add(sum, (count(stats), self.before.rate(stats, count)));
            }
        }
        totals
    }
}

impl Totals {
    pub(super) fn add(&mut self, other: &Totals) {
        self.consumers += other.consumers;
        self.queues += other.queues;
        for (sum, more) in self.depths.iter_mut().zip(other.depths) {
            add(sum, more);
        }
        for (sum, more) in self.flows.iter_mut().zip(other.flows) {
            add(sum, more);
        }
    }

    /// What the queues hold.
    pub(super) fn depths(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for ((name, _), sum) in DEPTHS.iter().zip(self.depths) {
            push(&mut fields, name, sum);
        }
        fields
    }

    /// What went through them.
    pub(super) fn flows(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for ((name, _), sum) in FLOWS.iter().zip(self.flows) {
            push(&mut fields, name, sum);
        }
        fields
    }
}

/// What of a queue does not change while it is there, and what only RabbitMQ's queues have.
fn described(vhost: &str, queue: &Queue) -> Map<String, Value> {
    let fields = json!({
        "name": &*queue.name,
        "vhost": vhost,
        "type": queue.options.kind.name(),
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.exclusive.is_some(),
        "arguments": arguments::shown(&queue.arguments),
        "node": NODE,
        "state": "running",
        "exclusive_consumer_tag": null,
        "single_active_consumer_tag": null,
        "head_message_timestamp": null,
        "recoverable_slaves": null,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A count and how fast it rises.
fn push(fields: &mut Map<String, Value>, name: &str, (count, rate): (u64, f64)) {
    fields.insert(name.to_owned(), count.into());
    fields.insert(format!("{name}_details"), json!({"rate": rate}));
}

fn add(sum: &mut (u64, f64), (count, rate): (u64, f64)) {
    sum.0 += count;
    sum.1 += rate;
}
