//! When something that recurs is due: expressions as cron has them in a time zone, and intervals.
//!
//! Nothing here knows the time of day; whoever asks says after when. What the zones' clocks do is compiled
//! in, so that every process of a release says the same.

mod timetable;

pub use timetable::{EXPRESSION_BYTES_MAX, INTERVAL_MIN, Rhythm, Timetable};
