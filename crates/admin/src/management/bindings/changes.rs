//! Binding and unbinding.

use super::key::quoted;
use super::{Ends, Key};
use crate::Admin;
use crate::management::asker::Asker;
use crate::management::given::Given;
use crate::management::refused::Refused;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::catalog::{Action, Bind, Elsewhere};

/// `POST /api/bindings/VHOST/e/EXCHANGE/q/QUEUE`, `…/e/EXCHANGE`; the answer says where it is then.
pub(in crate::management) async fn post(
    State(admin): State<Admin>,
    Path(ends): Path<Ends>,
    asker: Asker,
    body: Bytes,
) -> Result<Response, Refused> {
    asker.enter(&admin.engine().names(), &ends.vhost)?;
    let given = Given::read(&body)?;
    let bind = Bind {
        source: ends.source().into(),
        destination: ends.destination()?,
        key: given.text("routing_key")?.into(),
        arguments: given.object("arguments")?.arguments()?,
        by: None,
        elsewhere: Elsewhere::default(),
    };
    let key = Key::of(&bind.key, &bind.arguments).to_string();
    admin.change_as(&asker, &ends.vhost, Action::Bind(bind)).await?;
    let location = format!("{}/{}", quoted(&ends.destination), location(&key));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// `DELETE /api/bindings/VHOST/e/EXCHANGE/q/QUEUE/KEY`, `…/e/EXCHANGE/KEY`
pub(in crate::management) async fn delete(
    State(admin): State<Admin>,
    Path(ends): Path<Ends>,
    asker: Asker,
) -> Result<StatusCode, Refused> {
    let names = admin.engine().names();
    asker.enter(&names, &ends.vhost)?;
    let (key, arguments) = ends.find(&names)?;
    let bind = Bind {
        source: ends.source().into(),
        destination: ends.destination()?,
        key,
        arguments,
        by: None,
        elsewhere: Elsewhere::default(),
    };
    admin.change_as(&asker, &ends.vhost, Action::Unbind(bind)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A key in a path: encoded once more, but for the `~` that is not a routing key's.
fn location(key: &str) -> String {
    match key.split_once('~') {
        Some((routing_key, hash)) => format!("{}~{hash}", quoted(routing_key)),
        None => quoted(key),
    }
}
