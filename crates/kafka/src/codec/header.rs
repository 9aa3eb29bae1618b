//! Request and response headers.
//!
//! Source: RequestHeader.json and ResponseHeader.json; KIP-482 for version 2 and 1 of them;
//! KIP-511 for ApiVersions, whose response header stays at version 0 so that every client can
//! read it.

use super::{Malformed, Message, Reader, Wire, Writer};
use crate::apis::{self, Api, ApiKey};
use bytes::Bytes;

/// Key, version and correlation id: in every version of the header, known API or not.
const FIXED_BYTES: usize = 8;

/// A request's header, read by version 1 or 2.
#[derive(Clone, Copy, Debug)]
pub struct RequestHeader<'a> {
    /// The API and how it is encoded.
    pub api: &'static Api,
    /// Version of the body, within the versions of `api`.
    pub version: i16,
    /// Goes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
    /// Where the body starts in the frame.
    pub body_at: usize,
}

/// What the first bytes of a frame ask for.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// An API and version that can be decoded.
    Request(RequestHeader<'a>),
    /// ApiVersions of a version not known here: the answer is a version 0 body with
    /// UNSUPPORTED_VERSION (KIP-511).
    ApiVersionsTooNew {
        /// Goes back in the response.
        correlation_id: i32,
    },
    /// Nothing can be answered: the connection ends, as it does with Apache Kafka.
    Unsupported {
        /// The API asked for.
        key: i16,
        /// The version asked for.
        version: i16,
    },
}

/// Reads the header of `frame`, which is one request without its four length bytes.
///
/// Nothing is copied. Fails with `Malformed` when the frame ends within the header.
pub fn read_header(frame: &Bytes) -> Result<Incoming<'_>, Malformed> {
    let mut r = Reader::new(frame, 0, 0, false);
    let (key, version, correlation_id) = (r.i16()?, r.i16()?, r.i32()?);
    debug_assert_eq!(r.at(), FIXED_BYTES);
    let Some(api) = apis::find(key) else { return Ok(Incoming::Unsupported { key, version }) };
    if !api.versions().contains(&version) {
        return Ok(match api.key {
            ApiKey::ApiVersions => Incoming::ApiVersionsTooNew { correlation_id },
            _ => Incoming::Unsupported { key, version },
        });
    }
    let client_id = match r.string_length()? {
        Some(length) => Some(r.text(length)?),
        None => None,
    };
    if version >= api.flexible_from {
        r.set_flexible(true);
        r.skip_tags()?;
    }
    let body_at = r.at();
    Ok(Incoming::Request(RequestHeader { api, version, correlation_id, client_id, body_at }))
}

/// One response frame, length included, as the segments to send in order.
///
/// `version`: that of the request. Large records are shared, the rest is one segment.
pub fn encode_response<M: Message>(correlation_id: i32, version: i16, body: &M) -> Vec<Bytes> {
    let flexible = version >= M::FLEXIBLE_FROM;
    let mut w = Writer::frame(version, flexible, 124);
    w.i32(correlation_id);
    if flexible && M::KEY != ApiKey::ApiVersions as i16 {
        w.tags(&[]);
    }
    body.write(&mut w);
    w.finish()
}

/// One request frame, length included: the other direction, for tests and tools.
pub fn encode_request<M: Message>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    body: &M,
) -> Vec<Bytes> {
    let flexible = version >= M::FLEXIBLE_FROM;
    let mut w = Writer::frame(version, false, 124);
    w.i16(M::KEY);
    w.i16(version);
    w.i32(correlation_id);
    client_id.map(str::to_owned).write(&mut w);
    w.set_flexible(flexible);
    if flexible {
        w.tags(&[]);
    }
    body.write(&mut w);
    w.finish()
}
