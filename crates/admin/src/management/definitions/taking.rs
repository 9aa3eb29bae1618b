//! Taking a document of definitions.

use crate::Admin;
use crate::management::asker::{Administrator, Asker};
use crate::management::exchanges::ExchangeGiven;
use crate::management::given::Given;
use crate::management::queues::QueueGiven;
use crate::management::refused::Refused;
use crate::management::{parameters, permissions, policies, users, vhosts};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::catalog::{
    Action, Bind, Destination, Elsewhere, NAMESPACE_DEFAULT, Name, Outcome, Permission,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What RabbitMQ says of its own cluster, which is nothing to another broker.
const ABOUT_THE_CLUSTER: [&str; 3] = ["cluster_name", "internal_cluster_id", "cluster_tags"];

/// A document that is being taken.
struct Taking<'a> {
    admin: &'a Admin,
    asker: &'a Asker,
    /// All parts are in this virtual host and do not say so.
    within: Option<&'a str>,
}

/// `POST /api/definitions`
pub(in crate::management) async fn import(
    State(admin): State<Admin>,
    Administrator(asker): Administrator,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let document = document(&body)?;
    let taking = Taking { admin: &admin, asker: &asker, within: None };
    for user in document.list("users")? {
        taking.user(user).await?;
    }
    for vhost in document.list("vhosts")? {
        taking.vhost(vhost).await?;
    }
    for permission in document.list("permissions")? {
        taking.permission(permission).await?;
    }
    for permission in document.list("topic_permissions")? {
        taking.key_permission(permission).await?;
    }
    for parameter in document.list("global_parameters")? {
        taking.global_parameter(&parameter).await?;
    }
    taking.things(&document).await
}

/// `POST /api/definitions/VHOST`
pub(in crate::management) async fn import_of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Administrator(asker): Administrator,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    if !admin.engine().names().has_namespace(&vhost) {
        return Err(Refused::missing("vhost_not_found"));
    }
    let taking = Taking { admin: &admin, asker: &asker, within: Some(&vhost) };
    taking.things(&document(&body)?).await
}

/// Reads a document.
fn document(body: &[u8]) -> Result<Given, Refused> {
    Given::read(body)
}

impl Taking<'_> {
    async fn user(&self, part: Given) -> Result<(), Refused> {
        let name = part.text("name")?;
        let put = read::<users::Given>(part)?.user(self.admin, &name)?;
        self.admin.change(NAMESPACE_DEFAULT, Action::PutUser(put)).await.map(drop)
    }

    async fn vhost(&self, part: Given) -> Result<(), Refused> {
        let name = part.text("name")?;
        let declared = self.admin.change(&name, Action::DeclareNamespace).await?;
        if declared == (Outcome::Declared { created: true }) {
            // Who makes a virtual host may do everything in it.
            let (user, permission) = (Name::clone(&self.asker.user().name), Permission::all());
            self.admin.change(&name, Action::Permit { user, permission }).await?;
        }
        let given: vhosts::Given = read(part)?;
        match given.says_nothing() {
            true => Ok(()),
            false => {
                let describe = Action::Describe(given.description()?);
                self.admin.change(&name, describe).await.map(drop)
            }
        }
    }

    async fn permission(&self, part: Given) -> Result<(), Refused> {
        let (vhost, user) = (self.vhost_of(&part)?, self.user_of(&part)?);
        let permission = read::<permissions::Given>(part)?.permission()?;
        self.admin.change(&vhost, Action::Permit { user, permission }).await.map(drop)
    }

    async fn key_permission(&self, part: Given) -> Result<(), Refused> {
        let (vhost, user) = (self.vhost_of(&part)?, self.user_of(&part)?);
        let given: permissions::GivenKeys = read(part)?;
        let permission = given.permission(&user, &vhost)?;
        let router = Name::from(given.exchange);
        let action = Action::PermitKeys { user, router, permission };
        self.admin.change(&vhost, action).await.map(drop)
    }

    async fn global_parameter(&self, part: &Given) -> Result<(), Refused> {
        let name = part.text("name")?;
        match ABOUT_THE_CLUSTER.contains(&name.as_str()) {
            true => Ok(()),
            false => {
                let place = (NAMESPACE_DEFAULT, None, name);
                parameters::set(self.admin, place, part).await.map(drop)
            }
        }
    }

    async fn parameter(&self, part: &Given) -> Result<(), Refused> {
        let vhost = self.vhost_of(part)?;
        let place = (&*vhost, Some(part.text("component")?), part.text("name")?);
        parameters::set(self.admin, place, part).await.map(drop)
    }

    async fn policy(&self, part: &Given) -> Result<(), Refused> {
        let (vhost, name) = (self.vhost_of(part)?, part.text("name")?);
        policies::set(self.admin, &vhost, (&name, false), part).await.map(drop)
    }

    /// What is in virtual hosts.
    async fn things(&self, document: &Given) -> Result<StatusCode, Refused> {
        for parameter in document.list("parameters")? {
            self.parameter(&parameter).await?;
        }
        for policy in document.list("policies")? {
            self.policy(&policy).await?;
        }
        for exchange in document.list("exchanges")? {
            self.exchange(exchange).await?;
        }
        for queue in document.list("queues")? {
            self.queue(queue).await?;
        }
        for binding in document.list("bindings")? {
            self.binding(binding).await?;
        }
        Ok(StatusCode::NO_CONTENT)
    }

    async fn exchange(&self, part: Given) -> Result<(), Refused> {
        let (vhost, name) = (self.vhost_of(&part)?, part.text("name")?);
        if self.admin.engine().names().router(&vhost, &name).is_some() {
            return Ok(());
        }
        let declare = ExchangeGiven { name, given: part }.declaration(self.admin, &vhost)?;
        self.admin.change(&vhost, Action::DeclareRouter(declare)).await.map(drop)
    }

    async fn queue(&self, part: Given) -> Result<(), Refused> {
        let (vhost, name) = (self.vhost_of(&part)?, part.text("name")?);
        if self.admin.engine().names().find(&vhost, &name).is_some() {
            return Ok(());
        }
        let mut declare = QueueGiven { name, given: part }.declaration(self.admin, &vhost)?;
        // A broker named it, if another one: such a name may be like ours.
        declare.server_named = true;
        self.admin.change(&vhost, Action::DeclareQueue(declare)).await.map(drop)
    }

    async fn binding(&self, part: Given) -> Result<(), Refused> {
        let vhost = self.vhost_of(&part)?;
        let destination = Name::from(part.text("destination")?);
        let bind = Bind {
            source: part.text("source")?.into(),
            destination: match part.text("destination_type")?.as_str() {
                "queue" => Destination::Queue(destination),
                "exchange" => Destination::Router(destination),
                other => return Err(Refused::bad(json!(["unknown_destination_type", other]))),
            },
            key: part.text("routing_key")?.into(),
            arguments: part.object("arguments")?.arguments()?,
            by: None,
            elsewhere: Elsewhere::default(),
        };
        self.admin.change(&vhost, Action::Bind(bind)).await.map(drop)
    }

    /// The virtual host of a part.
    fn vhost_of(&self, part: &Given) -> Result<String, Refused> {
        if let Some(vhost) = self.within {
            return Ok(vhost.to_owned());
        }
        let vhost = part.text("vhost")?;
        match self.admin.engine().names().has_namespace(&vhost) {
            true => Ok(vhost),
            false if vhost.is_empty() => Err(Refused::bad(json!(["no_such_vhost", "undefined"]))),
            false => Err(Refused::bad(json!(["no_such_vhost", vhost]))),
        }
    }

    fn user_of(&self, part: &Given) -> Result<Name, Refused> {
        let user = part.text("user")?;
        match self.admin.engine().names().user(&user) {
            Some(user) => Ok(Name::clone(&user.name)),
            None => Err(Refused::bad(json!(["no_such_user", user]))),
        }
    }
}

fn read<T: DeserializeOwned>(part: Given) -> Result<T, Refused> {
    serde_json::from_value(Value::Object(part.into_fields()))
        .map_err(|error| Refused::bad(error.to_string()))
}
