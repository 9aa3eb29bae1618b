//! The positions of a group, and what they take in memory.

use super::CommittedOffset;
use crate::OffsetKey;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::ops::Deref;

/// What a position takes in memory, its texts apart: its entry in a map whose nodes are two thirds
/// full, and what the allocator takes for the topic's name.
const POSITION_BYTES: usize = size_of::<(OffsetKey, CommittedOffset)>() * 3 / 2 + 16;

/// A map; reading it is reading a `BTreeMap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Positions {
    by_key: BTreeMap<OffsetKey, CommittedOffset>,
    #[serde(skip)]
    bytes: usize,
}

impl Positions {
    /// About what they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, key: OffsetKey, noted: CommittedOffset) {
        let (topic, metadata) = (key.topic.len(), noted.metadata.len());
        self.bytes += metadata;
        match self.by_key.insert(key, noted) {
            Some(older) => self.bytes -= older.metadata.len(),
            None => self.bytes += POSITION_BYTES + topic,
        }
    }

    pub(super) fn remove(&mut self, key: &OffsetKey) {
        if let Some(noted) = self.by_key.remove(key) {
            self.bytes -= bytes_of(key, &noted);
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&OffsetKey, &CommittedOffset) -> bool) {
        let bytes = &mut self.bytes;
        self.by_key.retain(|key, noted| {
            let stays = keep(key, noted);
            *bytes -= if stays { 0 } else { bytes_of(key, noted) };
            stays
        });
    }

    pub(super) fn clear(&mut self) {
        *self = Positions::default();
    }
}

impl Deref for Positions {
    type Target = BTreeMap<OffsetKey, CommittedOffset>;

    fn deref(&self) -> &Self::Target {
        &self.by_key
    }
}

impl<'de> Deserialize<'de> for Positions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Positions, D::Error> {
        let by_key = BTreeMap::deserialize(deserializer)?;
        let bytes = by_key.iter().map(|(key, noted)| bytes_of(key, noted)).sum();
        Ok(Positions { by_key, bytes })
    }
}

fn bytes_of(key: &OffsetKey, noted: &CommittedOffset) -> usize {
    POSITION_BYTES + key.topic.len() + noted.metadata.len()
}
