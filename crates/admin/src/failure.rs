//! Failures as HTTP tells them: a status and `{"error": {"kind": …, "message": …}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use types::{Error, Kind};

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) Error);

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure(Error::new(kind, message))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Error { kind, message } = self.0;
        let (status, word) = told(kind);
        (status, Json(json!({"error": {"kind": word, "message": message}}))).into_response()
    }
}

/// The status and the word of a kind.
fn told(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Kind::Exists => (StatusCode::CONFLICT, "exists"),
        Kind::Denied => (StatusCode::FORBIDDEN, "denied"),
        Kind::InUse => (StatusCode::CONFLICT, "in_use"),
        Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        Kind::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        Kind::Throttled => (StatusCode::TOO_MANY_REQUESTS, "throttled"),
        Kind::NotLeader => (StatusCode::MISDIRECTED_REQUEST, "not_leader"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt"),
    }
}

/// Reads a request's body; none at all is an object without fields.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Failure::new(Kind::Invalid, format!("the body is not right: {error}")))
}
