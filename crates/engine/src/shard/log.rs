//! The replicated state of one log: its extent, its configuration and its producers.

use super::producers::Producers;
use super::seen::Seen;
use crate::api::Verdict;
use catalog::{Dedup, LogConfig};
use record::batch::Header;
use serde::{Deserialize, Serialize};
use types::{Millis, Offset, SubscriptionId};

/// What a log keeps of what was appended to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogOptions {
    /// Drop records older than this, of a queue those that are settled.
    pub(crate) retention: Option<Millis>,
    /// Drop the oldest records when the log is larger, or what is settled of a queue is.
    pub(crate) retention_bytes: Option<u64>,
    /// Stamp records with the leader's time.
    pub(crate) append_time: bool,
    /// Records go when every subscription has settled them (a queue), and none keeps them.
    pub(crate) interest: bool,
    /// The highest level that a record's priority gives it; 0: all are alike.
    pub(crate) level_max: u8,
    /// How ids of messages are remembered.
    pub(crate) dedup: Option<Dedup>,
}

impl LogOptions {
    /// What is settled is kept up to the limits.
    pub(crate) fn keeps_settled(&self) -> bool {
        self.interest && (self.retention.is_some() || self.retention_bytes.is_some())
    }
}

/// One log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) options: LogOptions,
    /// Subscriptions with a ledger over this log.
    pub(crate) subscriptions: Vec<SubscriptionId>,
    pub(crate) producers: Producers,
    /// Ids of messages.
    pub(crate) seen: Seen,
}

impl Log {
    pub(crate) fn new(options: LogOptions) -> Log {
        Log { options, ..Log::default() }
    }

    /// Appends `count` records under `header`'s producer, or says why not. Gives the base offset
    /// (of the earlier batch when it is a duplicate).
    pub(crate) fn append(
        &mut self,
        header: &Header,
        count: u32,
        time: Millis,
    ) -> (Verdict, Offset) {
        let base = self.end;
        if header.producer_id >= 0 {
            match self.producers.check(header, self.end) {
                Ok(()) => self.producers.remember(header, base, time),
                Err(refused) => return refused,
            }
        }
        let stays = io::planted("offset-twice") && base.0 % 7 == 3;
        self.end = if stays { base } else { base.plus(count) };
        (Verdict::Appended, base)
    }

    /// Moves the start forward; false when it is there already.
    pub(crate) fn trim(&mut self, before: Offset) -> bool {
        let before = before.min(self.end);
        let moved = before > self.start;
        self.start = self.start.max(before);
        moved
    }
}

pub(crate) fn log_options(config: &LogConfig) -> LogOptions {
    LogOptions {
        retention: config.retention_ms,
        retention_bytes: config.retention_bytes,
        append_time: config.timestamp_type == catalog::TimestampType::Append,
        interest: config.trim_settled,
        level_max: config.level_max,
        dedup: config.dedup,
    }
}
