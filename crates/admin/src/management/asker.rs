//! Who asks, and what tags let a user see and change.

use super::refused::Refused;
use crate::{Admin, base64};
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use engine::Names;
use engine::catalog::{ADMINISTRATOR, GUEST, User};
use std::net::SocketAddr;
use std::sync::Arc;

/// Tags that let a user into the API at all, each with those that include it.
const MANAGEMENT: &[&str] = &["management", "policymaker", "monitoring", ADMINISTRATOR];
const POLICYMAKER: &[&str] = &["policymaker", ADMINISTRATOR];
const MONITORING: &[&str] = &["monitoring", ADMINISTRATOR];

/// What RabbitMQ says of a virtual host that somebody may not enter.
const NOT_YOURS: &str = "User not authorised to access virtual host";

/// A user who has logged in and may use the API.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    user: Arc<User>,
}

/// An asker who may see and change everything.
#[derive(Clone, Debug)]
pub(super) struct Administrator(pub(super) Asker);

/// An asker who may see and set policies and parameters.
#[derive(Clone, Debug)]
pub(super) struct Policymaker(pub(super) Asker);

/// An asker who may see how the broker does.
#[derive(Clone, Debug)]
pub(super) struct Monitor;

impl Asker {
    pub(super) fn user(&self) -> &User {
        &self.user
    }

    pub(super) fn administrates(&self) -> bool {
        self.user.has_tag(ADMINISTRATOR)
    }

    /// Whether the asker sees things of every virtual host.
    pub(super) fn monitors(&self) -> bool {
        self.has_any(MONITORING)
    }

    /// Whether the asker sees things of `vhost`.
    pub(super) fn sees(&self, vhost: &str) -> bool {
        self.monitors() || self.user.permissions.contains_key(vhost)
    }

    /// Whether lists of all virtual hosts have those of `vhost` in them.
    pub(super) fn lists(&self, vhost: &str) -> bool {
        self.administrates() || self.user.permissions.contains_key(vhost)
    }

    /// Checks that there is a `vhost` and that the asker sees it.
    pub(super) fn see(&self, names: &Names, vhost: &str) -> Result<(), Refused> {
        match names.has_namespace(vhost) {
            true if self.sees(vhost) => Ok(()),
            true => Err(Refused::not_authorised(NOT_YOURS)),
            false => Err(Refused::not_found()),
        }
    }

    /// Checks that there is a `vhost` and that the asker may enter it, whatever the tags.
    pub(super) fn enter(&self, names: &Names, vhost: &str) -> Result<(), Refused> {
        match names.has_namespace(vhost) {
            true if self.user.permissions.contains_key(vhost) => Ok(()),
            true => Err(Refused::not_authorised(NOT_YOURS)),
            false => Err(Refused::missing("vhost_not_found")),
        }
    }

    fn has_any(&self, tags: &[&str]) -> bool {
        tags.iter().any(|tag| self.user.has_tag(tag))
    }
}

impl FromRequestParts<Admin> for Asker {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Asker, Refused> {
        let refused = || Refused::not_authorised("Login failed");
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (name, password) = header.and_then(credentials).ok_or_else(refused)?;
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let local = address.is_some_and(|it| it.0.ip().to_canonical().is_loopback());
        let names: Arc<Names> = admin.engine().names();
        let logged_in = names.log_in(&name, &password, local);
        admin.logins.count(logged_in.is_ok());
        let user = logged_in.map_err(|why| {
            tracing::info!(user = %name, %why, "management login refused");
            match !local && name == GUEST {
                true => Refused::not_authorised("User can only log in via localhost"),
                false => refused(),
            }
        })?;
        let asker = Asker { user: Arc::clone(user) };
        match asker.has_any(MANAGEMENT) {
            true => Ok(asker),
            false => Err(Refused::not_authorised("Not management user")),
        }
    }
}

impl FromRequestParts<Admin> for Administrator {
    type Rejection = Refused;

    async fn from_request_parts(
        parts: &mut Parts,
        admin: &Admin,
    ) -> Result<Administrator, Refused> {
        let asker = Asker::from_request_parts(parts, admin).await?;
        match asker.administrates() {
            true => Ok(Administrator(asker)),
            false => Err(Refused::not_authorised("Not administrator user")),
        }
    }
}

impl FromRequestParts<Admin> for Policymaker {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Policymaker, Refused> {
        let asker = Asker::from_request_parts(parts, admin).await?;
        match asker.has_any(POLICYMAKER) {
            true => Ok(Policymaker(asker)),
            false => Err(Refused::not_authorised("User not authorised to access object")),
        }
    }
}

impl FromRequestParts<Admin> for Monitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Monitor, Refused> {
        match Asker::from_request_parts(parts, admin).await?.monitors() {
            true => Ok(Monitor),
            false => Err(Refused::not_authorised("Not monitor user")),
        }
    }
}

/// Name and password of a header `Basic …`.
fn credentials(header: &str) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::decode(encoded.trim())?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((name, decoded[colon + 1..].to_vec()))
}
