//! What is asked of every request before it is looked at.

use crate::failure::Failure;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use types::Kind;

/// Refuses what a browser sends on behalf of another page: without users, being able to connect
/// is the only right there is.
pub(crate) async fn no_foreign_page(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let why = "requests that a web page makes are refused";
        return Failure::new(Kind::Denied, why).into_response();
    }
    next.run(request).await
}

/// There is no such path.
pub(crate) async fn unknown(request: Request) -> Response {
    let why = format!("there is no {}; docs/admin.md lists the paths", request.uri().path());
    Failure::new(Kind::NotFound, why).into_response()
}

/// There is such a path, but not this method of it.
pub(crate) async fn wrong_method(method: Method) -> Response {
    let failure = Failure::new(Kind::Invalid, format!("{method} is not for this path"));
    let mut response = failure.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
