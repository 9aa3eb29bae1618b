//! Consumers of streams that want some messages only.
//!
//! Source: RabbitMQ's stream filtering. There the broker passes over whole chunks in which nothing may
//! match, and the client has to look again; here each message is looked at.

use crate::arguments::{Arguments, find, unacceptable};
use crate::errors::{Exception, Resource};
use engine::api::{Disposition, LeaseRange, Op, Settle, Source};
use record::properties::{self, Value};
use record::tail;
use types::{ConsumerId, LogId, Offset};

/// Header with what a message is found by.
const VALUE: &[u8] = b"x-stream-filter-value";

/// Most values that a consumer may want.
const VALUES_MAX: usize = 256;

/// What a consumer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamFilter {
    /// Messages with one of these.
    values: Vec<String>,
    /// Those that have none, too.
    unfiltered: bool,
}

/// Messages that a consumer does not want: they leave its window at once.
#[derive(Debug, Default)]
pub(super) struct PassedOver(Vec<LeaseRange>);

impl StreamFilter {
    /// Reads the arguments of a basic.consume; none if they want everything.
    pub(super) fn parse(
        queue: Resource<'_>,
        arguments: &Arguments,
    ) -> Result<Option<StreamFilter>, Exception> {
        const FILTER: &str = "x-stream-filter";
        const UNFILTERED: &str = "x-stream-match-unfiltered";
        let unfiltered = match find(arguments, UNFILTERED) {
            None => false,
            Some(Value::Bool(asked)) => *asked,
            Some(other) => return Err(queue.invalid_argument(UNFILTERED, &unacceptable(other))),
        };
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            other => Err(queue.invalid_argument(FILTER, &unacceptable(other))),
        };
        let values = match find(arguments, FILTER) {
            None => return Ok(None),
            Some(Value::Array(values)) if values.len() > VALUES_MAX => {
                return Err(queue.invalid_argument(FILTER, "too_many_values"));
            }
            Some(Value::Array(values)) => values.iter().map(text).collect::<Result<_, _>>()?,
            Some(value) => vec![text(value)?],
        };
        Ok(Some(StreamFilter { values, unfiltered }))
    }

    /// Whether the consumer wants a message.
    pub(super) fn wants(&self, message: &[u8]) -> bool {
        // What is malformed is told of where it is written.
        let Ok(view) = tail::decode(message) else { return true };
        let decoded = properties::decode(view.headers);
        let found = decoded.user().find(|header| header.name == VALUE);
        match found.map(|header| header.value()) {
            None | Some(Value::Null) => self.unfiltered,
            Some(Value::String(text)) => self.values.contains(&text),
            Some(other) => {
                let number = other.as_i64().map(|number| number.to_string());
                number.is_some_and(|number| self.values.contains(&number))
            }
        }
    }
}

impl PassedOver {
    pub(super) fn add(&mut self, log: LogId, offset: Offset) {
        match self.0.last_mut() {
            Some(range) if range.log == log && range.last.next() == offset => range.last = offset,
            _ => self.0.push(LeaseRange { log, first: offset, last: offset }),
        }
    }

    /// What tells the engine, if there is anything.
    pub(super) fn settle(self, consumer: ConsumerId, source: Source) -> Option<Op> {
        let (ranges, disposition) = (self.0, Disposition::Done);
        let any = !ranges.is_empty();
        any.then(|| Op::Settle(Settle { consumer, source, ranges, disposition }))
    }
}
