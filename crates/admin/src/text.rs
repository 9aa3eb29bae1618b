//! Bytes in JSON: a string where they are UTF-8, else `{"base64": "…"}`.

use crate::base64;
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes as the API shows and takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Bytes);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    base64: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "wants a string or {\"base64\": string}")]
enum Spelled {
    Plain(String),
    Encoded(Encoded),
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Encoded { base64: base64::encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        match Spelled::deserialize(deserializer)? {
            Spelled::Plain(text) => Ok(Text(text.into())),
            Spelled::Encoded(Encoded { base64 }) => base64::decode(&base64)
                .map(|bytes| Text(bytes.into()))
                .ok_or_else(|| D::Error::custom("this is not base64")),
        }
    }
}

#[cfg(test)]
mod tests;
