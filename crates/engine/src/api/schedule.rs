//! Operations on what is to be appended later.

use super::Append;
use serde::{Deserialize, Serialize};
use types::{LogRef, Millis, Offset};

/// Records that are appended to their logs when their time has come, not before and not twice,
/// whatever ends the process meanwhile.
///
/// Until then they are in no log that can be read; each has an offset in the schedule of each of its
/// logs, by which it can be cancelled. Entries that are due go by due time, then by that offset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// What to append, as tails.
    pub append: Append,
    /// When; what is past is as good as now.
    pub due: Millis,
}

/// Entries of a log's schedule to cancel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unschedule {
    /// The log they are scheduled for.
    pub log: LogRef,
    /// Their offsets in its schedule.
    pub offsets: Vec<Offset>,
}

/// Lists a log's schedule in the order in which its entries were made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Scheduled {
    /// The log they are scheduled for.
    pub log: LogRef,
    /// The first offset of the schedule to look at.
    pub from: Offset,
    /// Most entries wanted; there may be fewer, with more to come.
    pub count_max: u32,
}

/// An entry of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledEntry {
    /// Its offset in the schedule.
    pub offset: Offset,
    /// When it is due.
    pub due: Millis,
}
