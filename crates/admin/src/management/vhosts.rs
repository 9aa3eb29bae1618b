//! Virtual hosts.

use super::asker::{Administrator, Asker};
use super::change;
use super::listing::Listing;
use super::nodes::NODE;
use super::queues::Counted;
use super::refused::{Refused, parse};
use super::users::{Tags, done};
use crate::Admin;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::Names;
use engine::catalog::{Action, Description, NAMESPACE_DEFAULT, Name, Permission, QueueKind};
use frontend::Whom;
use serde::Deserialize;
use serde_json::{Value, json};

/// What RabbitMQ says of the one virtual host that it makes itself.
const DEFAULT: &str = "Default virtual host";

/// A virtual host as a request gives it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Given {
    description: Option<String>,
    tags: Option<Tags>,
    #[serde(alias = "defaultqueuetype")]
    default_queue_type: Option<String>,
}

/// `GET /api/vhosts`
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Result<Json<Value>, Refused> {
    let names = admin.engine().names();
    let counted = Counted::gather(&admin, std::iter::empty()).await?;
    let seen = names.namespaces().filter(|vhost| asker.sees(vhost));
    listing.of(seen.map(|vhost| shown(&names, vhost, &counted)).collect())
}

/// `GET /api/vhosts/NAME`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Result<Json<Value>, Refused> {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    let counted = Counted::gather(&admin, std::iter::empty()).await?;
    Ok(listing.one(shown(&names, &vhost, &counted)))
}

/// `PUT /api/vhosts/NAME`: who creates one may do everything in it.
pub(super) async fn put(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Administrator(asker): Administrator,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let given: Given = parse(&body)?;
    let described = if given.says_nothing() { None } else { Some(given.description()?) };
    let created = change(&admin, &vhost, Action::DeclareNamespace).await?;
    let status = done(&created);
    if let Some(description) = described {
        change(&admin, &vhost, Action::Describe(description)).await?;
    }
    if status == StatusCode::CREATED {
        let user = Name::clone(&asker.user().name);
        let permission = Permission::all();
        change(&admin, &vhost, Action::Permit { user, permission }).await?;
    }
    Ok(status)
}

/// `DELETE /api/vhosts/NAME`
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    _asker: Administrator,
) -> Result<StatusCode, Refused> {
    change(&admin, &vhost, Action::DeleteNamespace).await?;
    let why = format!("vhost '{vhost}' is deleted");
    admin.dismiss(&Whom::Namespace(vhost.into()), &why);
    Ok(StatusCode::NO_CONTENT)
}

/// A virtual host as lists have it, with what its queues hold.
fn shown(names: &Names, vhost: &str, counted: &Counted) -> Value {
    let given = names.description(vhost);
    let text = match given {
        Some(given) => given.text.as_str(),
        None if vhost == NAMESPACE_DEFAULT => DEFAULT,
        None => "",
    };
    let tags: Vec<&str> =
        given.map(|given| given.tags.iter().map(|tag| &**tag).collect()).unwrap_or_default();
    let kind = given.and_then(|given| given.queue_kind);
    let totals = counted.totals(names, vhost);
    let mut fields = totals.depths();
    let described = json!({
        "name": vhost,
        "description": text,
        "tags": tags,
        "metadata": metadata(text, &tags, kind),
        "default_queue_type": kind.map_or(QueueKind::Classic, |kind| kind).name(),
        "tracing": false,
        "cluster_state": {NODE: "running"},
        "message_stats": totals.flows(),
    });
    if let Value::Object(described) = described {
        fields.extend(described);
    }
    Value::Object(fields)
}

/// What of a description RabbitMQ tells apart from the rest.
pub(super) fn metadata(text: &str, tags: &[&str], kind: Option<QueueKind>) -> Value {
    let mut metadata = json!({"description": text, "tags": tags});
    if let Some(kind) = kind {
        metadata["default_queue_type"] = kind.name().into();
    }
    metadata
}

impl Given {
    /// Whether it says nothing but that the virtual host is there.
    pub(super) fn says_nothing(&self) -> bool {
        self.description.is_none() && self.tags.is_none() && self.default_queue_type.is_none()
    }

    pub(super) fn description(self) -> Result<Description, Refused> {
        let kinds = [QueueKind::Classic, QueueKind::Quorum, QueueKind::Stream];
        let of_name = |name: String| match kinds.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => Ok(kind),
            None => Err(Refused::bad(format!("invalid queue type: {name}"))),
        };
        let named = self.default_queue_type.filter(|it| !it.is_empty() && it != "undefined");
        let queue_kind = named.map(of_name).transpose()?;
        let tags: Vec<Name> = match self.tags {
            None => Vec::new(),
            Some(Tags::Text(text)) => text.split(',').map(str::trim).map(Name::from).collect(),
            Some(Tags::List(list)) => list.into_iter().map(Name::from).collect(),
        };
        let tags = tags.into_iter().filter(|tag| !tag.is_empty()).collect();
        Ok(Description { text: self.description.unwrap_or_default(), tags, queue_kind })
    }
}
