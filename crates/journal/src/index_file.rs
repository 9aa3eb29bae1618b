//! Index files: which log's records are where in a sealed segment.

use std::collections::BTreeMap;

use bytes::Bytes;
use types::{LogId, Millis, Offset};

use crate::location::Location;

/// The index of one sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    /// Number of the segment.
    pub segment: u32,
    /// The runs of each log, by first offset.
    pub logs: BTreeMap<LogId, Vec<Run>>,
    /// Live bytes of each log when the index was written; a hint.
    pub live_bytes: BTreeMap<LogId, u64>,
}

/// A batch of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset of its first record.
    pub first: Offset,
    /// Offsets it spans.
    pub count: u32,
    /// Where it is.
    pub location: Location,
    /// Largest timestamp in it, from its header.
    pub max_timestamp: Millis,
    /// When it was appended: the leader's time of its frame.
    pub append_time: Millis,
    /// The destination's envelope.
    pub envelope: Bytes,
}
