//! A topic's configuration: text by name, checked by whoever set it.

use record::batch::Compression;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Millis;

/// How long a topic keeps records unless told otherwise: seven days.
pub const RETENTION_MS_DEFAULT: Millis = Millis(7 * 24 * 3_600 * 1_000);

/// Largest batch a topic takes unless told otherwise, in bytes.
pub const MESSAGE_BYTES_MAX_DEFAULT: u32 = 1_048_588;

/// Names the configuration of a topic whose keys are indexed.
pub const KEY_INDEX: &str = "crossdock.key.index";

/// What was set on a topic, by name; what is not in it has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Config(pub BTreeMap<String, String>);

/// Whose clock a topic's timestamps come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    Create,
    /// The broker's, when it appended.
    Append,
}

impl Config {
    /// How long records are kept (`retention.ms`); `None`: for ever.
    #[must_use]
    pub fn retention_ms(&self) -> Option<Millis> {
        match self.number("retention.ms") {
            Some(span) if span < 0 => None,
            Some(span) => Some(Millis(span)),
            None => Some(RETENTION_MS_DEFAULT),
        }
    }

    /// How many bytes each log keeps (`retention.bytes`); `None`: no limit.
    #[must_use]
    pub fn retention_bytes(&self) -> Option<u64> {
        self.number("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok())
    }

    /// Largest batch (`max.message.bytes`), in bytes.
    #[must_use]
    pub fn message_bytes_max(&self) -> u32 {
        self.number("max.message.bytes")
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(MESSAGE_BYTES_MAX_DEFAULT)
    }

    /// Whose clock timestamps come from (`message.timestamp.type`).
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        match self.0.get("message.timestamp.type").map(String::as_str) {
            Some("LogAppendTime") => TimestampType::Append,
            _ => TimestampType::Create,
        }
    }

    /// How batches are compressed when they are stored (`compression.type`); `None`: as they came.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        match self.0.get("compression.type")?.as_str() {
            "uncompressed" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            "lz4" => Some(Compression::Lz4),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Whether the records of a key can be found ([`KEY_INDEX`]); a topic has it from its creation or never.
    #[must_use]
    pub fn key_index(&self) -> bool {
        self.0.get(KEY_INDEX).is_some_and(|text| text == "true")
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.trim().parse().ok()
    }
}
