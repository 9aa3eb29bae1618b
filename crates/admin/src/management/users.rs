//! Users.

use super::asker::{Administrator, Asker};
use super::change;
use super::refused::{Refused, parse};
use crate::{Admin, base64};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::catalog::{
    Action, HashAlgorithm, NAMESPACE_DEFAULT, Name, Outcome, PasswordHash, PutUser, User,
};
use frontend::Whom;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the definitions of RabbitMQ call the hash algorithms.
const ALGORITHMS: [(&str, HashAlgorithm); 2] = [
    ("rabbit_password_hashing_sha256", HashAlgorithm::Sha256),
    ("rabbit_password_hashing_sha512", HashAlgorithm::Sha512),
];

/// A user as a request gives it. Without a password or its hash, the user cannot log in.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    password: Option<String>,
    password_hash: Option<String>,
    hashing_algorithm: Option<String>,
    tags: Option<Tags>,
}

/// Tags as old releases give them, in one text, and as new ones do.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Tags {
    Text(String),
    List(Vec<String>),
}

/// `POST /api/users/bulk-delete`
#[derive(Debug, Deserialize)]
struct Several {
    users: Vec<String>,
}

/// `GET /api/whoami`
pub(super) async fn whoami(asker: Asker) -> Json<Value> {
    Json(json!({"name": &*asker.user().name, "tags": tags(asker.user())}))
}

/// `GET /api/users`
pub(super) async fn list(State(admin): State<Admin>, _asker: Administrator) -> Json<Value> {
    Json(admin.engine().names().users().map(|user| shown(user)).collect())
}

/// `GET /api/users/without-permissions`
pub(super) async fn without_permissions(
    State(admin): State<Admin>,
    _asker: Administrator,
) -> Json<Value> {
    let names = admin.engine().names();
    let users = names.users().filter(|user| user.permissions.is_empty());
    Json(users.map(|user| shown(user)).collect())
}

/// `GET /api/users/NAME`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    _asker: Administrator,
) -> Result<Json<Value>, Refused> {
    let names = admin.engine().names();
    names.user(&name).map(|user| Json(shown(user))).ok_or_else(Refused::not_found)
}

/// `PUT /api/users/NAME`
pub(super) async fn put(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    _asker: Administrator,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let put = parse::<Given>(&body)?.user(&admin, &name)?;
    Ok(done(&change(&admin, NAMESPACE_DEFAULT, Action::PutUser(put)).await?))
}

/// `DELETE /api/users/NAME`
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    _asker: Administrator,
) -> Result<StatusCode, Refused> {
    delete_one(&admin, name.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/users/bulk-delete`
pub(super) async fn bulk_delete(
    State(admin): State<Admin>,
    _asker: Administrator,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    for name in parse::<Several>(&body)?.users {
        if admin.engine().names().user(&name).is_some() {
            delete_one(&admin, name.into()).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a user and ends the user's connections.
async fn delete_one(admin: &Admin, name: Name) -> Result<(), Refused> {
    let action = Action::DeleteUser { name: Name::clone(&name) };
    change(admin, NAMESPACE_DEFAULT, action).await?;
    let why = format!("user '{name}' is deleted");
    admin.dismiss(&Whom::User(name), &why);
    Ok(())
}

/// The status of something that was put.
pub(super) fn done(outcome: &Outcome) -> StatusCode {
    match outcome {
        Outcome::Declared { created: true }
        | Outcome::Governed { created: true, .. }
        | Outcome::Queue { created: true, .. } => StatusCode::CREATED,
        _ => StatusCode::NO_CONTENT,
    }
}

/// A user as definitions have it.
pub(super) fn shown(user: &User) -> Value {
    let algorithm = user.password.algorithm();
    let word = ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map(|(word, _)| *word);
    json!({
        "name": &*user.name,
        "password_hash": base64::encode(user.password.salted()),
        "hashing_algorithm": word,
        "tags": tags(user),
        "limits": {},
    })
}

fn tags(user: &User) -> Vec<&str> {
    user.tags.iter().map(|tag| &**tag).collect()
}

impl Given {
    /// The user to put.
    pub(super) fn user(self, admin: &Admin, name: &str) -> Result<PutUser, Refused> {
        let password = match (self.password, self.password_hash) {
            (Some(_), Some(_)) => {
                return Err(Refused::bad("both_password_and_password_hash_are_provided"));
            }
            (Some(password), None) => {
                let salt = (admin.engine().random() as u32).to_le_bytes();
                PasswordHash::new(HashAlgorithm::default(), &password, salt)
            }
            (None, Some(hash)) => stored(&hash, self.hashing_algorithm.as_deref())?,
            (None, None) => PasswordHash::none(),
        };
        let tags = match self.tags {
            None => return Err(Refused::bad("tags_not_present")),
            Some(Tags::Text(text)) => text.split(',').map(str::trim).map(Name::from).collect(),
            Some(Tags::List(list)) => list.into_iter().map(Name::from).collect::<Vec<_>>(),
        };
        let tags = tags.into_iter().filter(|tag| !tag.is_empty()).collect();
        Ok(PutUser { name: name.into(), password, tags })
    }
}

/// The hash that was made elsewhere.
fn stored(hash: &str, algorithm: Option<&str>) -> Result<PasswordHash, Refused> {
    let algorithm = match algorithm {
        None => HashAlgorithm::default(),
        Some(given) => {
            let known = ALGORITHMS.iter().find(|(word, _)| *word == given);
            let unknown = || Refused::bad(format!("the hashing algorithm {given} is not known"));
            known.map(|(_, algorithm)| *algorithm).ok_or_else(unknown)?
        }
    };
    let salted = base64::decode(hash);
    let salted = salted.ok_or_else(|| Refused::bad("password_hash is not base64"))?;
    Ok(match salted.is_empty() {
        true => PasswordHash::none(),
        false => PasswordHash::stored(algorithm, &salted),
    })
}
