//! Making and deleting an exchange.

use super::{find, named};
use crate::Admin;
use crate::management::asker::Asker;
use crate::management::changing::refused;
use crate::management::given::Given;
use crate::management::refused::Refused;
use crate::management::users::done;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::catalog::{Action, DeclareRouter, RouterKind, RouterOptions};
use serde::Deserialize;

/// An exchange, and the virtual host it is in.
type Place = Path<(String, String)>;
type Done = Result<StatusCode, Refused>;

/// An exchange as a request gives it.
#[derive(Debug)]
pub(in crate::management) struct ExchangeGiven {
    pub(in crate::management) name: String,
    pub(in crate::management) given: Given,
}

/// When an exchange is to be deleted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::management) struct Only {
    #[serde(rename = "if-unused")]
    if_unused: Option<String>,
}

/// `PUT /api/exchanges/VHOST/NAME`
pub(in crate::management) async fn put(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    asker: Asker,
    body: Bytes,
) -> Done {
    asker.enter(&admin.engine().names(), &vhost)?;
    let given = Given::read(&body)?;
    let name = named(&name).to_owned();
    if name.is_empty() {
        return Err(Refused::access());
    }
    let declare = ExchangeGiven { name, given }.declaration(&admin, &vhost)?;
    Ok(done(&admin.change_as(&asker, &vhost, Action::DeclareRouter(declare)).await?))
}

/// `DELETE /api/exchanges/VHOST/NAME`
pub(in crate::management) async fn delete(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    Query(only): Query<Only>,
    asker: Asker,
) -> Done {
    let names = admin.engine().names();
    asker.enter(&names, &vhost)?;
    find(&names, &vhost, &name)?;
    let if_unused = only.if_unused.as_deref() == Some("true");
    let action = Action::DeleteRouter { name: named(&name).into(), if_unused };
    admin.change_as(&asker, &vhost, action).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl ExchangeGiven {
    /// What is to be declared.
    pub(in crate::management) fn declaration(
        self,
        admin: &Admin,
        vhost: &str,
    ) -> Result<DeclareRouter, Refused> {
        let ExchangeGiven { name, given } = self;
        let kind = match given.has("type") {
            true => given.text("type")?,
            false => "direct".to_owned(),
        };
        let declare = DeclareRouter {
            name: name.into(),
            kind: RouterKind::Direct,
            durable: given.flag("durable")?.unwrap_or(false),
            auto_delete: given.flag("auto_delete")?.unwrap_or(false),
            internal: given.flag("internal")?.unwrap_or(false),
            alternate: None,
            arguments: given.object("arguments")?.arguments()?,
            options: RouterOptions::default(),
        };
        (admin.dialect.router)(vhost, &kind, declare).map_err(refused)
    }
}
