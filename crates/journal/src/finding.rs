//! Damage that was found, and where.

use std::fmt;

use types::{LogId, ShardId};

/// What is wrong at a place of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The first block of a segment; its rounds are read without it.
    Superblock,
    /// A round's header, and with it the round's frames.
    Round,
    /// A frame's header, destinations or commands.
    Frame,
    /// A record batch; the rest of its frame is intact.
    Batch,
    /// A round, or the segment it was in, is not there at all.
    Missing,
    /// A segment is gone or cut short, and its record batches with it. Checkpoints have what its
    /// commands did.
    Records,
    /// An index file; it was rebuilt from its segment.
    Index,
    /// Runs of a rebuilt index whose offsets no frame tells.
    UnknownOffsets,
    /// A checkpoint; the other one is used.
    Checkpoint,
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub what: Damage,
    /// The file.
    pub file: String,
    /// The segment it belongs to; `None` for a checkpoint.
    pub segment: Option<u32>,
    /// Byte in the file.
    pub byte: u64,
    /// The shard that wrote there, where that can be read.
    pub shard: Option<ShardId>,
    /// The logs whose records are lost there, where that can be read.
    pub logs: Vec<LogId>,
}

impl Damage {
    /// Whether acknowledged commands may be lost, so that the store opens only to be salvaged.
    pub fn is_fatal(self) -> bool {
        matches!(self, Damage::Round | Damage::Frame | Damage::Missing)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Damage::Superblock => "corrupt superblock",
            Damage::Round => "corrupt round",
            Damage::Frame => "corrupt frame",
            Damage::Batch => "corrupt record batch",
            Damage::Missing => "missing rounds",
            Damage::Records => "lost record batches",
            Damage::Index => "missing or corrupt index",
            Damage::UnknownOffsets => "runs of unknown offset",
            Damage::Checkpoint => "corrupt checkpoint",
        };
        write!(f, "{what} at byte {} of {}", self.byte, self.file)?;
        if let Some(shard) = self.shard {
            write!(f, ", shard {shard}")?;
        }
        for (i, log) in self.logs.iter().enumerate() {
            write!(f, "{} {log}", if i == 0 { ", log" } else { "," })?;
        }
        Ok(())
    }
}
