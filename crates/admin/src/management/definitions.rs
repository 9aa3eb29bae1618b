//! Everything that is defined, as one document: given, and taken from this broker or a RabbitMQ.
//!
//! What is there already stays as it is, as in RabbitMQ; only users, permissions and descriptions of
//! virtual hosts become what the document says.

mod taking;

pub(super) use taking::{import, import_of_vhost};

use super::asker::Administrator;
use super::bindings::kind_of;
use super::nodes::RABBITMQ_VERSION;
use super::refused::Refused;
use super::{arguments, parameters, permissions, policies, queues, users, vhosts};
use crate::Admin;
use axum::Json;
use axum::extract::{Path, State};
use engine::Names;
use engine::catalog::{Binding, Destination, Found, Queue, Router};
use serde_json::{Value, json};

/// What begins the names of exchanges that every virtual host has.
const PREDECLARED: &str = "amq.";

/// `GET /api/definitions`
pub(super) async fn export(State(admin): State<Admin>, _asker: Administrator) -> Json<Value> {
    let names = admin.engine().names();
    let vhosts = || names.namespaces();
    Json(json!({
        "rabbit_version": RABBITMQ_VERSION,
        "rabbitmq_version": RABBITMQ_VERSION,
        "product_name": "Crossdock",
        "product_version": admin.about.version,
        "users": names.users().map(|user| users::shown(user)).collect::<Vec<_>>(),
        "vhosts": vhosts().map(|vhost| described(&names, vhost)).collect::<Vec<_>>(),
        "permissions":
            names.users().flat_map(|user| permissions::permissions(user)).collect::<Vec<_>>(),
        "topic_permissions":
            names.users().flat_map(|user| permissions::key_permissions(user)).collect::<Vec<_>>(),
        "parameters": parameters_of(&admin, &names),
        "global_parameters": parameters::globals(&names),
        "policies":
            vhosts().flat_map(|it| policies::within(&admin, &names, it, true)).collect::<Vec<_>>(),
        "queues": vhosts().flat_map(|it| queues_of(&names, it, true)).collect::<Vec<_>>(),
        "exchanges": vhosts().flat_map(|it| exchanges_of(&names, it, true)).collect::<Vec<_>>(),
        "bindings": vhosts().flat_map(|it| bindings_of(&names, it, true)).collect::<Vec<_>>(),
    }))
}

/// `GET /api/definitions/VHOST`
pub(super) async fn export_of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    _asker: Administrator,
) -> Result<Json<Value>, Refused> {
    let names = admin.engine().names();
    if !names.has_namespace(&vhost) {
        return Err(Refused::bad("vhost_not_found"));
    }
    Ok(Json(json!({
        "rabbit_version": RABBITMQ_VERSION,
        "parameters": parameters::within(&admin, &names, &vhost, false),
        "policies": policies::within(&admin, &names, &vhost, false),
        "queues": queues_of(&names, &vhost, false).collect::<Vec<_>>(),
        "exchanges": exchanges_of(&names, &vhost, false).collect::<Vec<_>>(),
        "bindings": bindings_of(&names, &vhost, false).collect::<Vec<_>>(),
    })))
}

/// Parameters, and the operator's policies, which RabbitMQ keeps as such.
fn parameters_of(admin: &Admin, names: &Names) -> Vec<Value> {
    names.namespaces().flat_map(|vhost| parameters::within(admin, names, vhost, true)).collect()
}

fn described(names: &Names, vhost: &str) -> Value {
    match names.description(vhost) {
        None => json!({"name": vhost}),
        Some(given) => {
            let tags: Vec<&str> = given.tags.iter().map(|tag| &**tag).collect();
            let metadata = vhosts::metadata(&given.text, &tags, given.queue_kind);
            json!({"name": vhost, "description": given.text, "tags": tags, "metadata": metadata})
        }
    }
}

/// A part of the document, which says its virtual host where there is more than one.
fn part(vhost: &str, told: bool, mut fields: Value) -> Value {
    if told {
        fields["vhost"] = vhost.into();
    }
    fields
}

/// The queues that are no connection's own.
fn queues_of<'a>(names: &'a Names, vhost: &'a str, told: bool) -> impl Iterator<Item = Value> {
    let defined = queues::all(names, vhost).filter(|queue| queue.exclusive.is_none());
    defined.map(move |queue| part(vhost, told, queue_part(queue)))
}

fn queue_part(queue: &Queue) -> Value {
    json!({
        "name": &*queue.name,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "arguments": arguments::shown(&queue.arguments),
    })
}

/// The exchanges that not every virtual host has.
fn exchanges_of<'a>(names: &'a Names, vhost: &'a str, told: bool) -> impl Iterator<Item = Value> {
    let own = |it: &Router| !it.name.is_empty() && !it.name.starts_with(PREDECLARED);
    let defined = names.routers(vhost, None).filter(move |exchange| own(exchange));
    defined.map(move |exchange| part(vhost, told, exchange_part(exchange)))
}

fn exchange_part(exchange: &Router) -> Value {
    json!({
        "name": &*exchange.name,
        "type": exchange.kind_name(),
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": arguments::shown(&exchange.arguments),
    })
}

/// The bindings of what is in the document.
fn bindings_of<'a>(names: &'a Names, vhost: &'a str, told: bool) -> impl Iterator<Item = Value> {
    let defined = names.bindings(vhost, None).filter(move |it| leads_to_defined(names, vhost, it));
    defined.map(move |binding| part(vhost, told, binding_part(binding)))
}

fn leads_to_defined(names: &Names, vhost: &str, binding: &Binding) -> bool {
    match &binding.destination {
        Destination::Router(_) => true,
        Destination::Queue(name) => {
            let found = names.find(vhost, name);
            matches!(found, Some(Found::Queue(queue)) if queue.exclusive.is_none())
        }
    }
}

fn binding_part(binding: &Binding) -> Value {
    json!({
        "source": &*binding.source,
        "destination": &**binding.destination.name(),
        "destination_type": kind_of(&binding.destination),
        "routing_key": &*binding.key,
        "arguments": arguments::shown(&binding.arguments),
    })
}
