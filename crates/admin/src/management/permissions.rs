//! What users may do in virtual hosts, and with the keys of topic exchanges.

use super::asker::Administrator;
use super::change;
use super::refused::{Refused, parse};
use super::users::done;
use crate::Admin;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::Names;
use engine::catalog::{Action, Name, Pattern, Permission, TopicPermission, User};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a user may do, as a request gives it.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    configure: String,
    write: String,
    read: String,
}

/// Which keys a user may use, as a request gives it.
#[derive(Debug, Deserialize)]
pub(super) struct GivenKeys {
    pub(super) exchange: String,
    write: String,
    read: String,
}

type Answer = Result<Json<Value>, Refused>;
type Done = Result<StatusCode, Refused>;
/// A virtual host and a user.
type Place = Path<(String, String)>;

/// `GET /api/permissions`
pub(super) async fn list(State(admin): State<Admin>, _asker: Administrator) -> Json<Value> {
    let names = admin.engine().names();
    Json(names.users().flat_map(|user| permissions(user)).collect())
}

/// `GET /api/users/NAME/permissions`
pub(super) async fn of_user(
    State(admin): State<Admin>,
    Path(user): Path<String>,
    _asker: Administrator,
) -> Answer {
    let names = admin.engine().names();
    Ok(Json(permissions(find(&names, &user)?).collect()))
}

/// `GET /api/vhosts/NAME/permissions`
pub(super) async fn of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    _asker: Administrator,
) -> Answer {
    let names = admin.engine().names();
    known(&names, &vhost)?;
    let all = names.users().filter_map(|user| {
        let permission = user.permissions.get(&*vhost)?;
        Some(shown(user, &vhost, permission))
    });
    Ok(Json(all.collect()))
}

/// `GET /api/permissions/VHOST/USER`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path((vhost, user)): Place,
    _asker: Administrator,
) -> Answer {
    let names = admin.engine().names();
    let user = find(&names, &user)?;
    let permission = user.permissions.get(&*vhost).ok_or_else(Refused::not_found)?;
    Ok(Json(shown(user, &vhost, permission)))
}

/// `PUT /api/permissions/VHOST/USER`
pub(super) async fn put(
    State(admin): State<Admin>,
    Path((vhost, user)): Place,
    _asker: Administrator,
    body: Bytes,
) -> Done {
    let permission = parse::<Given>(&body)?.permission()?;
    permitted_place(&admin.engine().names(), &vhost, &user)?;
    let action = Action::Permit { user: user.into(), permission };
    Ok(done(&change(&admin, &vhost, action).await?))
}

/// `DELETE /api/permissions/VHOST/USER`
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path((vhost, user)): Place,
    _asker: Administrator,
) -> Done {
    change(&admin, &vhost, Action::Forbid { user: user.into() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/topic-permissions`
pub(super) async fn keys(State(admin): State<Admin>, _asker: Administrator) -> Json<Value> {
    let names = admin.engine().names();
    Json(names.users().flat_map(|user| key_permissions(user)).collect())
}

/// `GET /api/users/NAME/topic-permissions`
pub(super) async fn keys_of_user(
    State(admin): State<Admin>,
    Path(user): Path<String>,
    _asker: Administrator,
) -> Answer {
    let names = admin.engine().names();
    Ok(Json(key_permissions(find(&names, &user)?).collect()))
}

/// `GET /api/vhosts/NAME/topic-permissions`
pub(super) async fn keys_of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    _asker: Administrator,
) -> Answer {
    let names = admin.engine().names();
    known(&names, &vhost)?;
    let all = names.users().flat_map(|user| keys_within(user, &vhost));
    Ok(Json(all.collect()))
}

/// `GET /api/topic-permissions/VHOST/USER`
pub(super) async fn keys_of(
    State(admin): State<Admin>,
    Path((vhost, user)): Place,
    _asker: Administrator,
) -> Answer {
    let names = admin.engine().names();
    let found: Vec<Value> = keys_within(find(&names, &user)?, &vhost).collect();
    match found.is_empty() {
        true => Err(Refused::not_found()),
        false => Ok(Json(found.into())),
    }
}

/// `GET /api/topic-permissions/VHOST/USER/EXCHANGE`
pub(super) async fn key(
    State(admin): State<Admin>,
    Path((vhost, user, exchange)): Path<(String, String, String)>,
    _asker: Administrator,
) -> Answer {
    let names = admin.engine().names();
    let user = find(&names, &user)?;
    let at = (Name::from(vhost), Name::from(exchange));
    let permission = user.topic_permissions.get(&at).ok_or_else(Refused::not_found)?;
    Ok(Json(shown_keys(user, &at, permission)))
}

/// `PUT /api/topic-permissions/VHOST/USER`
pub(super) async fn put_keys(
    State(admin): State<Admin>,
    Path((vhost, user)): Place,
    _asker: Administrator,
    body: Bytes,
) -> Done {
    let given: GivenKeys = parse(&body)?;
    permitted_place(&admin.engine().names(), &vhost, &user)?;
    let permission = given.permission(&user, &vhost)?;
    let router = Name::from(given.exchange);
    let action = Action::PermitKeys { user: user.into(), router, permission };
    Ok(done(&change(&admin, &vhost, action).await?))
}

/// `DELETE /api/topic-permissions/VHOST/USER`
pub(super) async fn delete_keys(
    State(admin): State<Admin>,
    Path((vhost, user)): Place,
    _asker: Administrator,
) -> Done {
    change(&admin, &vhost, Action::ForbidKeys { user: user.into(), router: None }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/topic-permissions/VHOST/USER/EXCHANGE`
pub(super) async fn delete_key(
    State(admin): State<Admin>,
    Path((vhost, user, exchange)): Path<(String, String, String)>,
    _asker: Administrator,
) -> Done {
    let router = Some(Name::from(exchange));
    change(&admin, &vhost, Action::ForbidKeys { user: user.into(), router }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a user may do, one line for each virtual host.
pub(super) fn permissions(user: &User) -> impl Iterator<Item = Value> {
    user.permissions.iter().map(|(vhost, permission)| shown(user, vhost, permission))
}

/// Which keys a user may use, one line for each exchange.
pub(super) fn key_permissions(user: &User) -> impl Iterator<Item = Value> {
    user.topic_permissions.iter().map(|(at, permission)| shown_keys(user, at, permission))
}

fn keys_within(user: &User, vhost: &str) -> impl Iterator<Item = Value> {
    let within = user.topic_permissions.iter().filter(move |((space, _), _)| **space == *vhost);
    within.map(|(at, permission)| shown_keys(user, at, permission))
}

fn shown(user: &User, vhost: &str, permission: &Permission) -> Value {
    json!({
        "user": &*user.name,
        "vhost": vhost,
        "configure": &**permission.configure.text(),
        "write": &**permission.write.text(),
        "read": &**permission.read.text(),
    })
}

fn shown_keys(user: &User, at: &(Name, Name), permission: &TopicPermission) -> Value {
    json!({
        "user": &*user.name,
        "vhost": &*at.0,
        "exchange": &*at.1,
        "write": &**permission.write.text(),
        "read": &**permission.read.text(),
    })
}

fn find<'a>(names: &'a Names, user: &str) -> Result<&'a Arc<User>, Refused> {
    names.user(user).ok_or_else(Refused::not_found)
}

fn known(names: &Names, vhost: &str) -> Result<(), Refused> {
    names.has_namespace(vhost).then_some(()).ok_or_else(Refused::not_found)
}

/// A permission is for a user and a virtual host that are there.
fn permitted_place(names: &Names, vhost: &str, user: &str) -> Result<(), Refused> {
    known(names, vhost)?;
    match names.user(user) {
        Some(_) => Ok(()),
        None => Err(Refused::bad("no_such_user")),
    }
}

impl Given {
    pub(super) fn permission(&self) -> Result<Permission, Refused> {
        Ok(Permission {
            configure: Pattern::new(&self.configure)?,
            write: Pattern::new(&self.write)?,
            read: Pattern::new(&self.read)?,
        })
    }
}

impl GivenKeys {
    pub(super) fn permission(&self, user: &str, vhost: &str) -> Result<TopicPermission, Refused> {
        Ok(TopicPermission {
            write: Pattern::for_user(&self.write, user, vhost)?,
            read: Pattern::for_user(&self.read, user, vhost)?,
        })
    }
}
