//! What tools ask for that is always the same here, logins, and whether a virtual host is alive.

use super::asker::{Asker, Monitor};
use super::nodes::NODE;
use super::refused::Refused;
use super::{messages, queues};
use crate::Admin;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::{Value, json};

/// The queue that is declared, published to and taken from to see whether a virtual host is alive.
const ALIVENESS: &str = "aliveness-test";

/// Features of RabbitMQ that its releases turn on one by one, and that tools ask for.
const FEATURES: [&str; 9] = [
    "classic_mirrored_queue_version",
    "drop_unroutable_metric",
    "empty_basic_get_metric",
    "implicit_default_bindings",
    "maintenance_mode_status",
    "quorum_queue",
    "stream_queue",
    "user_limits",
    "virtual_host_metadata",
];

/// A list of what is not built, or of what there is none of.
pub(super) async fn none(_asker: Asker) -> Json<Value> {
    Json(json!([]))
}

/// `GET /api/feature-flags`
pub(super) async fn features(_asker: Asker) -> Json<Value> {
    let flag = |name| {
        json!({
            "name": name,
            "desc": "",
            "doc_url": "",
            "state": "enabled",
            "stability": "stable",
            "provided_by": "rabbit",
        })
    };
    Json(FEATURES.map(flag).into_iter().collect())
}

/// `GET /api/auth`: logins are by name and password.
pub(super) async fn auth() -> Json<Value> {
    Json(json!({"enable_uaa": false, "uaa_client_id": "", "uaa_location": ""}))
}

/// `GET /api/auth/attempts/NODE`
pub(super) async fn attempts(
    State(admin): State<Admin>,
    Path(node): Path<String>,
    _monitor: Monitor,
) -> Result<Json<Value>, Refused> {
    if node != NODE {
        return Err(Refused::not_found());
    }
    let of = |protocol: &str, (succeeded, failed): (u64, u64)| {
        json!({
            "protocol": protocol,
            "auth_attempts": succeeded + failed,
            "auth_attempts_failed": failed,
            "auth_attempts_succeeded": succeeded,
        })
    };
    let wires = admin.wires.iter().filter(|wire| wire.name == "amqp");
    let wires = wires.map(|wire| of("amqp091", wire.counters.logins()));
    Ok(Json(wires.chain([of("http", admin.logins.counts())]).collect()))
}

/// `POST /api/rebalance/queues`: one node has them all.
pub(super) async fn rebalance(_monitor: Monitor) -> StatusCode {
    StatusCode::NO_CONTENT
}

/// `GET /api/aliveness-test/VHOST`
pub(super) async fn alive(
    state: State<Admin>,
    Path(vhost): Path<String>,
    asker: Asker,
) -> Result<Json<Value>, Refused> {
    let names = state.engine().names();
    asker.see(&names, &vhost)?;
    let queue = || Path((vhost.clone(), ALIVENESS.to_owned()));
    if queues::find(&names, &vhost, ALIVENESS).is_err() {
        queues::put(state.clone(), queue(), asker.clone(), Bytes::new()).await?;
    }
    let message = json!({
        "properties": {},
        "routing_key": ALIVENESS,
        "payload": "test_message",
        "payload_encoding": "string",
    });
    let exchange = Path((vhost.clone(), "amq.default".to_owned()));
    let body = message.to_string().into();
    let Json(_routed) = messages::publish(state.clone(), exchange, asker.clone(), body).await?;
    queues::purge(state, queue(), asker).await?;
    Ok(Json(json!({"status": "ok"})))
}
