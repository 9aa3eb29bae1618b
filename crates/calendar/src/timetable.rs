//! A timetable, and what is next on it.

use croner::parser::{CronParser, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use types::{Error, Kind, Millis};

/// Longest cron expression, and longest name of a time zone, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 256;

/// Shortest interval.
pub const INTERVAL_MIN: Millis = Millis(1_000);

/// Longest interval: some thousand years.
const INTERVAL_MAX: Millis = Millis(100_000_000_000_000);

/// When something is due, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timetable {
    /// How it recurs.
    pub rhythm: Rhythm,
    /// Not before; intervals count from here.
    pub start: Option<Millis>,
    /// Not after.
    pub end: Option<Millis>,
}

/// How something recurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rhythm {
    /// As a cron expression says, of five fields, of six with seconds in front, or `@hourly` and its kin.
    ///
    /// Where a clock is put forward, a time of day that is left out is due at the moment after the gap; where it is
    /// put back, a time of day is due once, the first time, and what recurs by the hour, minute or second goes on
    /// through both.
    Cron {
        /// The expression.
        expression: String,
        /// The time zone whose clock it is about, by its name in the IANA database.
        zone: String,
    },
    /// Each time so long after the last.
    Every(Millis),
}

impl Timetable {
    /// Fails with `Invalid` when nothing could ever be said of it, and why.
    pub fn check(&self) -> Result<(), Error> {
        match &self.rhythm {
            Rhythm::Every(interval) if *interval < INTERVAL_MIN || *interval > INTERVAL_MAX => {
                let least = INTERVAL_MIN.0;
                Err(invalid(format!("an interval is at least {least} ms, and not {interval} ms")))
            }
            Rhythm::Every(_) => Ok(()),
            Rhythm::Cron { expression, zone } => cron(expression, zone).map(drop),
        }
    }

    /// When it is due first after `after`; `None`: not any more. What has no start begins at `made`.
    ///
    /// Fails as [`Timetable::check`] does.
    pub fn next_after(&self, after: Millis, made: Millis) -> Result<Option<Millis>, Error> {
        let start = self.start.unwrap_or(made);
        let next = match &self.rhythm {
            Rhythm::Every(interval) => {
                self.check()?;
                // What was made without a start is not due at the moment it was made.
                let past = after.since(start).0;
                match past < 0 {
                    true => Some(start),
                    false => {
                        let steps = past / interval.0 + 1;
                        let span = steps.checked_mul(interval.0);
                        span.and_then(|span| start.0.checked_add(span)).map(Millis)
                    }
                }
            }
            Rhythm::Cron { expression, zone } => {
                let (cron, zone) = cron(expression, zone)?;
                // The moment of the start itself may be one.
                let after = after.max(Millis(start.0.saturating_sub(1)));
                let Ok(after) = Timestamp::from_millisecond(after.0) else { return Ok(None) };
                let next = cron.find_next_occurrence(&Zoned::new(after, zone), false);
                next.ok().map(|next| Millis(next.timestamp().as_millisecond()))
            }
        };
        Ok(next.filter(|next| self.end.is_none_or(|end| *next <= end)))
    }
}

fn cron(expression: &str, zone: &str) -> Result<(croner::Cron, TimeZone), Error> {
    if expression.len() > EXPRESSION_BYTES_MAX || zone.len() > EXPRESSION_BYTES_MAX {
        return Err(invalid(format!("a cron expression has at most {EXPRESSION_BYTES_MAX} bytes")));
    }
    let parser = CronParser::builder().year(Year::Disallowed).build();
    let cron = parser.parse(expression).map_err(|error| {
        let why = error.to_string();
        let why = why.trim_end_matches('.');
        invalid(format!("'{expression}' is no cron expression: {why}"))
    })?;
    let zone = TimeZone::get(zone).map_err(|_| {
        invalid(format!("there is no time zone '{zone}'; its name is one as Europe/Berlin or UTC"))
    })?;
    Ok((cron, zone))
}

fn invalid(why: String) -> Error {
    Error::new(Kind::Invalid, why)
}

#[cfg(test)]
mod tests;
