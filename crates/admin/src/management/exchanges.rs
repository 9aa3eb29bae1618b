//! Exchanges: lists, one of them, and making and deleting one.

mod changes;

use super::asker::Asker;
use super::listing::Listing;
use super::refused::Refused;
use super::{arguments, policies};
use crate::Admin;
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::Names;
use engine::catalog::{DEFAULT_ROUTER, Router};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) use changes::{ExchangeGiven, delete, put};

type Answer = Result<Json<Value>, Refused>;

/// `GET /api/exchanges`
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    let vhosts = names.namespaces().filter(|vhost| asker.lists(vhost));
    listing.of(vhosts.flat_map(|vhost| within(&names, vhost)).collect())
}

/// `GET /api/exchanges/VHOST`
pub(super) async fn of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    listing.of(within(&names, &vhost).collect())
}

/// `GET /api/exchanges/VHOST/NAME`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path((vhost, name)): Path<(String, String)>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    let mut shown = shown(&names, &vhost, find(&names, &vhost, &name)?);
    if let Value::Object(fields) = &mut shown {
        fields.insert("incoming".to_owned(), json!([]));
        fields.insert("outgoing".to_owned(), json!([]));
    }
    Ok(listing.one(shown))
}

/// The name that a path means: the default exchange has none, which a path cannot say.
pub(super) fn named(in_path: &str) -> &str {
    if in_path == DEFAULT_ROUTER { "" } else { in_path }
}

/// The exchange that a path means.
pub(super) fn find<'a>(
    names: &'a Names,
    vhost: &str,
    in_path: &str,
) -> Result<&'a Arc<Router>, Refused> {
    names.router(vhost, named(in_path)).ok_or_else(Refused::not_found)
}

fn within<'a>(names: &'a Names, vhost: &'a str) -> impl Iterator<Item = Value> + 'a {
    names.routers(vhost, None).map(move |exchange| shown(names, vhost, exchange))
}

/// An exchange as lists have it.
fn shown(names: &Names, vhost: &str, exchange: &Router) -> Value {
    let mut shown = json!({
        "name": &*exchange.name,
        "vhost": vhost,
        "type": exchange.kind_name(),
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": arguments::shown(&exchange.arguments),
    });
    let governed = &exchange.governed;
    if let Value::Object(fields) = &mut shown
        && (governed.policy.is_some() || governed.operator.is_some())
    {
        fields.append(&mut policies::governing(names, vhost, Some(governed)));
    }
    shown
}
