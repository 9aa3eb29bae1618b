//! The answer to ApiVersions: the table of APIs, and what to say to a client that asks wrongly.
//!
//! No feature is finalised or supported (KIP-584): clients then keep to the classic group protocol
//! and to the first version of transactions.
//!
//! Source: KIP-35, KIP-511.

use crate::apis::{APIS, Api, ApiKey};
use crate::codec::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::errors::ErrorCode;

/// The version that the answer to `ApiVersionsTooNew` is encoded in.
pub const TOO_NEW_VERSION: i16 = 0;

/// First version in which a client tells its name.
const SOFTWARE_FROM: i16 = 3;

/// Answers a request of `version`: every API that is advertised, or INVALID_REQUEST for a client's name or version that
/// is not made of letters, digits, `-` and `.`.
pub fn api_versions(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let named = legal(&request.client_software_name) && legal(&request.client_software_version);
    if version >= SOFTWARE_FROM && !named {
        let error_code = ErrorCode::INVALID_REQUEST;
        return ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() };
    }
    ApiVersionsResponse {
        api_keys: APIS.iter().filter(|api| api.advertised()).map(range).collect(),
        ..ApiVersionsResponse::default()
    }
}

/// Answers a version that is not known here: which ones are, for the client to try again.
pub fn api_versions_too_new() -> ApiVersionsResponse {
    let this = APIS.iter().filter(|api| api.key == ApiKey::ApiVersions);
    ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: this.map(range).collect(),
        ..ApiVersionsResponse::default()
    }
}

fn range(api: &Api) -> ApiVersion {
    ApiVersion { api_key: api.key as i16, min_version: api.advertised_min, max_version: api.max }
}

fn legal(text: &str) -> bool {
    let alphanumeric = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    alphanumeric(text.bytes().next())
        && alphanumeric(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests;
