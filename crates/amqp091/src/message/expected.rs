//! The header by which a message is taken only if a record is the last one.

use super::{KAFKA_KEY, bad_headers};
use crate::codec::Content;
use crate::codec::method::BASIC_PUBLISH;
use crate::errors::{Code, Exception};
use engine::api::{Expected, KeyHash};
use record::properties::Value;
use types::Offset;

/// Header with the offset of the last record, of the message's key or, where it has none, of the log;
/// -1: there is none.
pub(super) const EXPECT: &str = "x-expect-offset";

/// What a message expects that has the header; 406 unless that is an offset.
pub(crate) fn expected(content: &Content<'_>) -> Result<Expected, Exception> {
    let fields = content.headers.unwrap_or_default().decode();
    let list = fields.map_err(|malformed| bad_headers(&malformed))?.list;
    let find = |wanted: &str| list.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let offset = find(EXPECT).and_then(Value::as_i64).filter(|offset| *offset >= -1);
    let offset = offset.ok_or_else(|| {
        let text = format!("Invalid header, '{EXPECT}' must be an offset, or -1");
        Exception::new(Code::PreconditionFailed, text).in_method(BASIC_PUBLISH)
    })?;
    let key = match find(KAFKA_KEY) {
        Some(Value::String(text)) => Some(KeyHash::of(text.as_bytes())),
        Some(Value::Bytes(bytes)) => Some(KeyHash::of(bytes)),
        _ => None,
    };
    Ok(Expected { key, last: (offset >= 0).then_some(Offset(offset)) })
}
