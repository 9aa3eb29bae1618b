//! The broker as a whole and as the one node that it is.

use super::asker::{Asker, Monitor};
use super::listing::Listing;
use super::queues::{Counted, Totals};
use super::refused::Refused;
use crate::Admin;
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::POOLS;
use engine::catalog::RouterKind;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

/// The name of the only node.
pub(super) const NODE: &str = "crossdock@localhost";

/// The name of the cluster that it is.
const CLUSTER: &str = "crossdock";

/// The release of RabbitMQ whose shapes these are: tools compare it with what they need.
pub(super) const RABBITMQ_VERSION: &str = "3.10.8";

/// `GET /api/overview`
pub(super) async fn overview(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Result<Json<Value>, Refused> {
    let names = admin.engine().names();
    let counted = Counted::gather(&admin, std::iter::empty()).await?;
    let (mut totals, mut exchanges) = (Totals::default(), 0);
    for vhost in names.namespaces().filter(|vhost| asker.lists(vhost)) {
        totals.add(&counted.totals(&names, vhost));
        exchanges += names.routers(vhost, None).count();
    }
    let open: usize = admin.wires.iter().map(|wire| wire.counters.open()).sum();
    let channels: usize =
        admin.reports().await.iter().map(|report| report.session.channels.len()).sum();
    let mut shown = json!({
        "management_version": RABBITMQ_VERSION,
        "rabbitmq_version": RABBITMQ_VERSION,
        "product_name": "Crossdock",
        "product_version": admin.about.version,
        "cluster_name": CLUSTER,
        "node": NODE,
        "rates_mode": "basic",
        "disable_stats": false,
        "enable_queue_totals": false,
        "exchange_types": exchange_types(),
        "message_stats": totals.flows(),
        "queue_totals": totals.depths(),
        "object_totals": {
            "channels": channels,
            "connections": open,
            "consumers": totals.consumers,
            "exchanges": exchanges,
            "queues": totals.queues,
        },
        "statistics_db_event_queue": 0,
    });
    if asker.monitors() {
        shown["listeners"] = admin.listening().map(listener).collect();
        shown["contexts"] = json!([]);
    }
    Ok(listing.one(shown))
}

/// `GET /api/cluster-name`
pub(super) async fn cluster_name(_asker: Asker) -> Json<Value> {
    Json(json!({"name": CLUSTER}))
}

/// `GET /api/nodes`
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    _monitor: Monitor,
) -> Result<Json<Value>, Refused> {
    listing.of(vec![node(&admin)])
}

/// `GET /api/nodes/NAME`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(listing): Query<Listing>,
    _monitor: Monitor,
) -> Result<Json<Value>, Refused> {
    match name == NODE {
        true => Ok(listing.one(node(&admin))),
        false => Err(Refused::not_found()),
    }
}

fn listener((protocol, address): (&str, SocketAddr)) -> Value {
    json!({
        "node": NODE,
        "protocol": protocol,
        "ip_address": address.ip().to_string(),
        "port": address.port(),
    })
}

/// Whether publishing is blocked because the disk is nearly full.
pub(super) fn disk_alarm(admin: &Admin) -> bool {
    admin.engine().metrics().space.blocked.load(Relaxed) > 0
}

fn exchange_types() -> Value {
    let kinds = [RouterKind::Direct, RouterKind::Fanout, RouterKind::Headers, RouterKind::Topic];
    let specified = kinds.map(|kind| {
        let name = kind.name();
        (name, format!("AMQP {name} exchange, as per the AMQP specification"))
    });
    let further = [
        ("x-consistent-hash", "Consistent Hashing Exchange"),
        ("x-delayed-message", "Delayed Message Exchange."),
        ("x-message-deduplication", "Message Deduplication Exchange."),
        ("x-modulus-hash", "Modulus Hashing Exchange"),
    ];
    specified
        .into_iter()
        .chain(further.map(|(name, text)| (name, text.to_owned())))
        .map(|(name, text)| json!({"name": name, "description": text, "enabled": true}))
        .collect()
}

fn node(admin: &Admin) -> Value {
    let engine = admin.engine();
    let memory = engine.memory();
    let used: usize = POOLS.iter().map(|(pool, _)| memory.used(*pool)).sum();
    let open: usize = admin.wires.iter().map(|wire| wire.counters.open()).sum();
    let space = &engine.metrics().space;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "name": NODE,
        "type": "disc",
        "running": true,
        "os_pid": std::process::id().to_string(),
        "uptime": engine.now().since(admin.about.started).0,
        "processors": processors,
        "run_queue": 0,
        "partitions": [],
        "mem_used": used,
        "mem_limit": memory.limit(),
        "mem_alarm": false,
        "disk_free": space.free_bytes.load(Relaxed),
        "disk_free_alarm": disk_alarm(admin),
        "sockets_used": open,
        "rates_mode": "basic",
        "exchange_types": exchange_types(),
        "auth_mechanisms": [
            {"name": "PLAIN", "description": "SASL PLAIN authentication mechanism", "enabled": true},
            {"name": "AMQPLAIN", "description": "QPid AMQPLAIN mechanism", "enabled": true},
        ],
        "applications": [
            {"name": "crossdock", "description": "Crossdock", "version": admin.about.version},
        ],
        "contexts": [],
        "log_files": [],
        "db_dir": admin.about.data,
        "config_files": [],
        "enabled_plugins": [],
        "cluster_links": [],
    })
}
