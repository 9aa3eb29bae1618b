//! Health checks: 200 with `{"status": "ok"}`, or 503 with the reason.

use super::asker::Asker;
use super::nodes::{NODE, disk_alarm};
use super::refused::Refused;
use crate::Admin;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

/// What `certificate-expiration` counts in.
const UNITS: [&str; 4] = ["days", "weeks", "months", "years"];

type Checked = Result<(StatusCode, Json<Value>), Refused>;

/// `GET /api/health/checks/alarms`, `…/local-alarms`
pub(super) async fn alarms(State(admin): State<Admin>, _asker: Asker) -> Checked {
    match disk_alarm(&admin) {
        false => ok(json!({})),
        true => failed(json!({
            "reason": "There are alarms in effect in the cluster",
            "alarms": [{"node": NODE, "resource": "disk"}],
        })),
    }
}

/// `GET /api/health/checks/virtual-hosts`, `…/certificate-expiration`: what cannot be wrong here.
pub(super) async fn fine(_asker: Asker) -> Checked {
    ok(json!({}))
}

/// `GET /api/health/checks/node-is-quorum-critical`, `…/node-is-mirror-sync-critical`
pub(super) async fn alone(_asker: Asker) -> Checked {
    ok(json!({"reason": "single node cluster"}))
}

/// `GET /api/health/checks/certificate-expiration/COUNT/UNIT`: there are no certificates.
pub(super) async fn certificates(
    Path((count, unit)): Path<(String, String)>,
    _asker: Asker,
) -> Checked {
    if count.parse::<u32>().is_err() {
        return Err(Refused::bad("Invalid expiration value."));
    }
    if !UNITS.contains(&unit.as_str()) {
        let known = UNITS.join(", ");
        return Err(Refused::bad(format!("Time unit not recognised. Supported units: {known}.")));
    }
    ok(json!({}))
}

/// `GET /api/health/checks/port-listener/PORT`
pub(super) async fn port(
    State(admin): State<Admin>,
    Path(port): Path<String>,
    _asker: Asker,
) -> Checked {
    let port: u16 = port.parse().map_err(|_| Refused::bad("Invalid port"))?;
    let ports: Vec<u16> = admin.listening().map(|(_, address)| address.port()).collect();
    match ports.contains(&port) {
        true => ok(json!({"port": port})),
        false => failed(
            json!({"reason": "No active listener", "missing": port, "ports": distinct(ports)}),
        ),
    }
}

/// `GET /api/health/checks/protocol-listener/PROTOCOL`
pub(super) async fn protocol(
    State(admin): State<Admin>,
    Path(protocol): Path<String>,
    _asker: Asker,
) -> Checked {
    let protocols: Vec<&str> = admin.listening().map(|(protocol, _)| protocol).collect();
    let wanted = match protocol.as_str() {
        "amqp091" | "amqp0.9.1" | "amqp0-9-1" => "amqp",
        other => other,
    };
    match protocols.contains(&wanted) {
        true => ok(json!({"protocol": wanted})),
        false => failed(json!({
            "reason": "No active listener",
            "missing": wanted,
            "protocols": distinct(protocols),
        })),
    }
}

fn ok(fields: Value) -> Checked {
    Ok((StatusCode::OK, told("ok", fields)))
}

fn failed(fields: Value) -> Checked {
    Ok((StatusCode::SERVICE_UNAVAILABLE, told("failed", fields)))
}

fn told(status: &str, mut fields: Value) -> Json<Value> {
    fields["status"] = status.into();
    Json(fields)
}

fn distinct<T: PartialEq>(mut listed: Vec<T>) -> Vec<T> {
    listed.dedup();
    listed
}
