//! RabbitMQ's management API under `/api`, in its shapes, for tools that speak it.
//!
//! Who may ask what goes by tags and permissions as in RabbitMQ (`docs/management.md`). Source:
//! rabbitmq-server 3.10, the management plugin's API reference and what it answers.

mod arguments;
mod asker;
mod bindings;
mod changing;
mod connections;
mod definitions;
mod exchanges;
mod given;
mod health;
mod listing;
mod messages;
mod nodes;
mod parameters;
mod permissions;
mod policies;
mod queues;
mod rates;
mod refused;
mod rest;
mod users;
mod vhosts;

use crate::Admin;
use axum::Router;
use axum::routing::{delete, get, post, put};
use engine::api::{Op, Reply};
use engine::catalog::{Action, Change, Outcome, Refusal};
use refused::Refused;
use types::{Error, Kind};

pub(crate) use rates::Rates;

/// The paths, all of them below `/api`.
pub(crate) fn router() -> Router<Admin> {
    Router::new()
        .route("/api/whoami", get(users::whoami))
        .route("/api/users", get(users::list))
        .route("/api/users/", get(users::list))
        .route("/api/users/without-permissions", get(users::without_permissions))
        .route("/api/users/bulk-delete", post(users::bulk_delete))
        .route("/api/users/{user}", get(users::one).put(users::put).delete(users::delete))
        .route("/api/users/{user}/permissions", get(permissions::of_user))
        .route("/api/users/{user}/topic-permissions", get(permissions::keys_of_user))
        .route("/api/vhosts", get(vhosts::list))
        .route("/api/vhosts/{vhost}", get(vhosts::one).put(vhosts::put).delete(vhosts::delete))
        .route("/api/vhosts/{vhost}/permissions", get(permissions::of_vhost))
        .route("/api/vhosts/{vhost}/topic-permissions", get(permissions::keys_of_vhost))
        .route("/api/permissions", get(permissions::list))
        .route(
            "/api/permissions/{vhost}/{user}",
            get(permissions::one).put(permissions::put).delete(permissions::delete),
        )
        .route("/api/topic-permissions", get(permissions::keys))
        .route(
            "/api/topic-permissions/{vhost}/{user}",
            get(permissions::keys_of).put(permissions::put_keys).delete(permissions::delete_keys),
        )
        .route(
            "/api/topic-permissions/{vhost}/{user}/{exchange}",
            get(permissions::key).delete(permissions::delete_key),
        )
        .merge(things())
        .merge(settings())
        .merge(of_clients())
        .merge(checks())
        .merge(always())
        .route("/api", get(refused::no_path))
        .route("/api/{*rest}", axum::routing::any(refused::no_path))
        .method_not_allowed_fallback(refused::wrong_method)
}

/// Who is connected.
fn of_clients() -> Router<Admin> {
    Router::new()
        .route("/api/connections", get(connections::list))
        .route("/api/connections/{name}", get(connections::one).delete(connections::end))
        .route("/api/connections/{name}/channels", get(connections::channels_of))
        .route(
            "/api/connections/username/{user}",
            get(connections::of_user).delete(connections::end_of_user),
        )
        .route("/api/channels", get(connections::channels))
        .route("/api/channels/{name}", get(connections::channel))
        .route("/api/consumers", get(connections::consumers))
        .route("/api/consumers/{vhost}", get(connections::consumers_of_vhost))
        .route("/api/vhosts/{vhost}/connections", get(connections::of_vhost))
        .route("/api/vhosts/{vhost}/channels", get(connections::channels_of_vhost))
}

/// What things are given by their names, and what is kept for tools.
fn settings() -> Router<Admin> {
    Router::new()
        .route("/api/policies", get(policies::list))
        .route("/api/policies/{vhost}", get(policies::of_vhost))
        .route(
            "/api/policies/{vhost}/{name}",
            get(policies::one).put(policies::put).delete(policies::delete),
        )
        .route("/api/operator-policies", get(policies::operators_list))
        .route("/api/operator-policies/{vhost}", get(policies::operators_of_vhost))
        .route(
            "/api/operator-policies/{vhost}/{name}",
            get(policies::operators_one)
                .put(policies::operators_put)
                .delete(policies::operators_delete),
        )
        .route("/api/vhost-limits", get(parameters::limits))
        .route("/api/vhost-limits/{vhost}", get(parameters::limits_of))
        .route(
            "/api/vhost-limits/{vhost}/{name}",
            put(parameters::put_limit).delete(parameters::delete_limit),
        )
        .route("/api/parameters", get(parameters::list))
        .route("/api/parameters/{component}", get(parameters::of_component))
        .route("/api/parameters/{component}/{vhost}", get(parameters::of_vhost))
        .route(
            "/api/parameters/{component}/{vhost}/{name}",
            get(parameters::one).put(parameters::put).delete(parameters::delete),
        )
        .route("/api/global-parameters", get(parameters::global))
        .route(
            "/api/global-parameters/{name}",
            get(parameters::global_one)
                .put(parameters::global_put)
                .delete(parameters::global_delete),
        )
}

/// Whether the broker is well.
fn checks() -> Router<Admin> {
    Router::new()
        .route("/api/health/checks/alarms", get(health::alarms))
        .route("/api/health/checks/local-alarms", get(health::alarms))
        .route("/api/health/checks/virtual-hosts", get(health::fine))
        .route("/api/health/checks/port-listener/{port}", get(health::port))
        .route("/api/health/checks/protocol-listener/{protocol}", get(health::protocol))
        .route("/api/health/checks/node-is-quorum-critical", get(health::alone))
        .route("/api/health/checks/node-is-mirror-sync-critical", get(health::alone))
        .route(
            "/api/health/checks/certificate-expiration/{count}/{unit}",
            get(health::certificates),
        )
        .route("/api/healthchecks/node", get(health::alarms))
        .route("/api/healthchecks/node/{node}", get(health::alarms))
        .route("/api/aliveness-test/{vhost}", get(rest::alive))
}

/// What is the same whoever asks when.
fn always() -> Router<Admin> {
    let lists = [
        "/api/extensions",
        "/api/user-limits",
        "/api/user-limits/{user}",
        "/api/auth/attempts/{node}/source",
    ];
    let empty = lists.into_iter().fold(Router::new(), |all, path| all.route(path, get(rest::none)));
    empty
        .route("/api/feature-flags", get(rest::features))
        .route("/api/auth", get(rest::auth))
        .route("/api/auth/attempts/{node}", get(rest::attempts))
        .route("/api/rebalance/queues", post(rest::rebalance))
}

/// What is in virtual hosts, and the broker itself.
fn things() -> Router<Admin> {
    Router::new()
        .route("/api/definitions", get(definitions::export).post(definitions::import))
        .route(
            "/api/definitions/{vhost}",
            get(definitions::export_of_vhost).post(definitions::import_of_vhost),
        )
        .route("/api/overview", get(nodes::overview))
        .route("/api/cluster-name", get(nodes::cluster_name))
        .route("/api/nodes", get(nodes::list))
        .route("/api/nodes/{node}", get(nodes::one))
        .route("/api/queues", get(queues::list))
        .route("/api/queues/{vhost}", get(queues::of_vhost))
        .route(
            "/api/queues/{vhost}/{queue}",
            get(queues::one).put(queues::put).delete(queues::delete),
        )
        .route("/api/queues/{vhost}/{queue}/contents", delete(queues::purge))
        .route("/api/queues/{vhost}/{queue}/get", post(messages::get))
        .route("/api/queues/{vhost}/{queue}/actions", post(queues::act))
        .route("/api/queues/{vhost}/{queue}/bindings", get(bindings::of_queue))
        .route("/api/exchanges", get(exchanges::list))
        .route("/api/exchanges/{vhost}", get(exchanges::of_vhost))
        .route(
            "/api/exchanges/{vhost}/{exchange}",
            get(exchanges::one).put(exchanges::put).delete(exchanges::delete),
        )
        .route("/api/exchanges/{vhost}/{exchange}/publish", post(messages::publish))
        .route("/api/exchanges/{vhost}/{exchange}/bindings/source", get(bindings::of_source))
        .route("/api/exchanges/{vhost}/{exchange}/bindings/destination", get(bindings::of_exchange))
        .route("/api/bindings", get(bindings::list))
        .route("/api/bindings/{vhost}", get(bindings::of_vhost))
        .route(
            "/api/bindings/{vhost}/e/{source}/{kind}/{destination}",
            get(bindings::between).post(bindings::post),
        )
        .route(
            "/api/bindings/{vhost}/e/{source}/{kind}/{destination}/{key}",
            get(bindings::one).delete(bindings::delete),
        )
}

/// Carries a change of names out, whoever asks.
async fn change(admin: &Admin, vhost: &str, action: Action) -> Result<Outcome, Refused> {
    let mut change = Change::new(vhost, action);
    let layer = admin.engine().names().place(&mut change).map_err(of_refusal)?;
    let op = Op::Change { shard: engine::shard_of(layer), change: Box::new(change) };
    match admin.local.call(op).await? {
        Reply::Changed(changed) => changed.map_err(of_refusal),
        other => Err(Error::new(Kind::Invalid, format!("the engine answered {other:?}")).into()),
    }
}

fn of_refusal(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::NotFound { .. } => Refused::not_found(),
        refusal => Refused::from(Error::from(refusal)),
    }
}
