//! What is refused, as RabbitMQ tells it: a status and `{"error": …, "reason": …}`.

use axum::Json;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::catalog::BadPattern;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use types::{Error, Kind};

/// What asks a browser for a name and a password.
const CHALLENGE: &str = "Basic realm=\"RabbitMQ Management\"";

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    status: StatusCode,
    error: &'static str,
    reason: Value,
}

impl Refused {
    /// The body or the path is not right.
    pub(super) fn bad(reason: impl Into<Value>) -> Refused {
        Refused { status: StatusCode::BAD_REQUEST, error: "bad_request", reason: reason.into() }
    }

    /// The thing is not there.
    pub(super) fn not_found() -> Refused {
        let status = StatusCode::NOT_FOUND;
        Refused { status, error: "Object Not Found", reason: "Not Found".into() }
    }

    /// There is no such page.
    pub(super) fn page(error: &'static str, reason: String) -> Refused {
        Refused { status: StatusCode::BAD_REQUEST, error, reason: reason.into() }
    }

    /// What a request names is not there.
    pub(super) fn missing(reason: impl Into<Value>) -> Refused {
        Refused { status: StatusCode::NOT_FOUND, error: "not_found", reason: reason.into() }
    }

    /// Who asks is not known, or may not.
    pub(super) fn not_authorised(reason: impl Into<Value>) -> Refused {
        let (status, error) = (StatusCode::UNAUTHORIZED, "not_authorised");
        Refused { status, error, reason: reason.into() }
    }

    /// The user does not have a right.
    pub(super) fn access() -> Refused {
        Refused::not_authorised("Access refused.")
    }

    fn of_method(method: &Method) -> Refused {
        let reason = format!("{method} is not for this path").into();
        Refused { status: StatusCode::METHOD_NOT_ALLOWED, error: "Method Not Allowed", reason }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        let reason = Value::from(error.message);
        let (status, error) = match error.kind {
            Kind::NotFound => return Refused::not_found(),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable"),
            Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error"),
            Kind::Throttled | Kind::NotLeader => {
                (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable")
            }
            Kind::Exists
            | Kind::Denied
            | Kind::InUse
            | Kind::Invalid
            | Kind::TooLarge
            | Kind::Full => {
                return Refused::bad(reason);
            }
        };
        Refused { status, error, reason }
    }
}

impl From<BadPattern> for Refused {
    fn from(bad: BadPattern) -> Refused {
        Refused::bad(bad.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused { status, error, reason } = self;
        let body = Json(json!({"error": error, "reason": reason}));
        match status {
            StatusCode::UNAUTHORIZED => {
                (status, [(header::WWW_AUTHENTICATE, CHALLENGE)], body).into_response()
            }
            _ => (status, body).into_response(),
        }
    }
}

/// There is no such path.
pub(super) async fn no_path() -> Refused {
    Refused::not_found()
}

/// There is such a path, but not this method of it.
pub(super) async fn wrong_method(method: Method) -> Refused {
    Refused::of_method(&method)
}

/// Reads a request's body; none at all is an object without fields.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let value: Value =
        serde_json::from_slice(body).map_err(|_| Refused::bad("Failed to decode JSON"))?;
    if !value.is_object() {
        return Err(Refused::bad("Failed to decode JSON"));
    }
    serde_json::from_value(value).map_err(|error| Refused::bad(error.to_string()))
}
