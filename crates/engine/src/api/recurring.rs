//! Operations on messages that recur.

use super::MessageId;
use bytes::Bytes;
use calendar::Timetable;
use catalog::Name;
use serde::{Deserialize, Serialize};
use types::{LogId, LogRef, Millis};

/// Longest name of a recurrence, in bytes.
pub const RECURRENCE_NAME_BYTES_MAX: usize = 255;
/// Largest message of a recurrence, in bytes.
pub const RECURRENCE_BYTES_MAX: usize = 64 << 10;
/// Most recurrences of one queue or topic.
pub const RECURRENCES_MAX: usize = 1_000;
/// A recurrence that is later than this was missed.
pub const LATE_MAX: Millis = Millis(10_000);
/// The header of a message of a recurrence with the recurrence's name.
pub const RECURRENCE: &str = "x-recurrence";
/// The header with the time for which the message was due, in milliseconds since 1970.
pub const RECURRENCE_DUE: &str = "x-recurrence-due";

/// A message that is appended to a log again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    /// Which log.
    pub to: LogId,
    /// When.
    pub timetable: Timetable,
    /// What becomes of times at which the broker was not there, or publishing was blocked.
    pub missed: Missed,
    /// It ends after so many messages.
    pub count: Option<u64>,
    /// The id of all of its messages, for a queue that tells duplicates.
    pub id: Option<MessageId>,
    /// The record's tail.
    pub tail: Bytes,
}

/// What becomes of times that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missed {
    /// One message for all of them.
    #[default]
    Once,
    /// No message.
    Skip,
    /// A message for each of them.
    All,
}

/// Makes, ends, stops or continues a recurrence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recur {
    /// The log it is listed under: a queue's, or a topic's first.
    pub home: LogRef,
    /// Its name there.
    pub name: Name,
    /// What to do.
    pub step: RecurStep,
}

/// What to do with a recurrence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RecurStep {
    /// Makes it, or has it be another one; one that is the same goes on as it does.
    Put(Box<Recurrence>),
    /// Ends it.
    Cancel,
    /// Stops it.
    Pause,
    /// Has one that was stopped go on; nothing was missed meanwhile.
    Resume,
}

/// What a [`Recur`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurred {
    /// It is there, and was not.
    Made,
    /// It is as asked, and was not, or not there any more.
    Changed,
    /// It was as asked already.
    Unchanged,
    /// There is none.
    Absent,
    /// There are too many.
    Full,
    /// It became another one at the same moment.
    Unsure,
}

/// Lists recurrences in the order of their names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recurrences {
    /// The log they are listed under.
    pub home: LogRef,
    /// From this name on.
    pub from: Option<Name>,
    /// Most entries wanted; there may be fewer, with more to come.
    pub count_max: u32,
}

/// A recurrence as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecurrenceEntry {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub what: Recurrence,
    /// When it is due next; `None`: it is stopped.
    pub due: Option<Millis>,
    /// How many messages it has had.
    pub fired: u64,
}
