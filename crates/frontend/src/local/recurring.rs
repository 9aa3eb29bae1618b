//! Messages that recur: making, stopping, listing and ending them.

use super::publish::tail_of;
use super::{Local, unexpected};
use crate::message::partition_for;
use crate::{Message, Received};
use bytes::Bytes;
use engine::api::{
    Delivery, MessageId, Missed, Op, Recur, RecurStep, Recurred, Recurrence, RecurrenceEntry,
    Recurrences, Reply,
};
use engine::calendar::Timetable;
use engine::catalog::{Found, Name};
use types::{Error, Kind, Millis, Offset};

/// A message that recurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurring {
    /// The message; its timestamp is that of its append.
    pub message: Message,
    /// When it is due.
    pub timetable: Timetable,
    /// What becomes of times at which the broker was not there.
    pub missed: Missed,
    /// It ends after so many.
    pub count: Option<u64>,
    /// Its id, for a queue that tells duplicates.
    pub id: Option<MessageId>,
}

/// A message that recurs, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecurringEntry {
    /// Its name.
    pub name: Name,
    /// Which partition it goes to; 0 for a queue.
    pub partition: u32,
    /// What it is.
    pub what: Recurring,
    /// When it is due next; `None`: it is stopped.
    pub due: Option<Millis>,
    /// How many messages it has had.
    pub fired: u64,
}

/// Some of what recurs for a queue or topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecurringPage {
    /// In the order of their names.
    pub entries: Vec<RecurringEntry>,
    /// From where to go on; `None`: there are no more.
    pub next: Option<Name>,
    /// How many there are in all.
    pub total: u64,
}

impl Local {
    /// Has a message recur in a queue or topic, under a name; one of that name that is there and not the
    /// same ends. What has no key goes to the first partition. Gives it as it is, when that is durable.
    ///
    /// Fails with `NotFound`, `TooLarge`, `Full`, and `Invalid` where the timetable says nothing.
    pub async fn put_recurring(
        &self,
        of: &str,
        name: &str,
        what: &Recurring,
    ) -> Result<(Recurred, RecurringEntry), Error> {
        let found = self.find(of)?;
        let logs = found.logs();
        let count = u32::try_from(logs.len()).unwrap_or(u32::MAX);
        let partition = what.message.key.as_deref().map_or(0, |key| partition_for(key, count));
        let recurrence = Recurrence {
            to: logs[partition as usize].log,
            timetable: what.timetable.clone(),
            missed: what.missed,
            count: what.count,
            id: what.id,
            tail: Bytes::from(tail_of(&what.message)?),
        };
        let step = RecurStep::Put(Box::new(recurrence));
        match self.recur(&found, of, name, step).await? {
            (recurred, Some(entry)) => Ok((recurred, entry)),
            (recurred, None) => Err(unexpected(&recurred)),
        }
    }

    /// Ends, stops or continues what recurs under a name. Gives it as it is, if it is still there.
    ///
    /// Fails with `NotFound`.
    pub async fn step_recurring(
        &self,
        of: &str,
        name: &str,
        step: RecurStep,
    ) -> Result<Option<RecurringEntry>, Error> {
        let found = self.find(of)?;
        Ok(self.recur(&found, of, name, step).await?.1)
    }

    /// What recurs for a queue or topic, from a name on.
    ///
    /// Fails with `NotFound`.
    pub async fn recurring(
        &self,
        of: &str,
        from: Option<&str>,
        count_max: u32,
    ) -> Result<RecurringPage, Error> {
        let found = self.find(of)?;
        let home = found.logs()[0];
        let op = Recurrences { home, from: from.map(Name::from), count_max };
        match self.call(Op::Recurrences(op)).await? {
            Reply::Recurrences { entries, next, total } => {
                let entries = entries.into_iter().map(|entry| entry_of(&found, entry));
                Ok(RecurringPage { entries: entries.collect::<Result<_, _>>()?, next, total })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn recur(
        &self,
        found: &Found,
        of: &str,
        name: &str,
        step: RecurStep,
    ) -> Result<(Recurred, Option<RecurringEntry>), Error> {
        let home = found.logs()[0];
        let op = Recur { home, name: Name::from(name), step };
        match self.call(Op::Recur(op)).await? {
            Reply::Recurred(Recurred::Absent, _) => {
                let why = format!("nothing recurs for '{of}' under the name '{name}'");
                Err(Error::new(Kind::NotFound, why))
            }
            Reply::Recurred(recurred, entry) => {
                let entry = entry.map(|entry| entry_of(found, *entry)).transpose()?;
                Ok((recurred, entry))
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn entry_of(found: &Found, entry: RecurrenceEntry) -> Result<RecurringEntry, Error> {
    let RecurrenceEntry { name, what, due, fired } = entry;
    let at = found.logs().iter().position(|log| log.log == what.to).unwrap_or(0);
    let partition = u32::try_from(at).unwrap_or(0);
    let delivery = Delivery {
        log: what.to,
        offset: Offset(0),
        attempts: 0,
        redelivered: false,
        timestamp: Millis(0),
        tail: what.tail,
    };
    let message = Message { timestamp: None, ..Received::read(delivery, partition)?.message };
    let Recurrence { timetable, missed, count, id, .. } = Recurrence { tail: Bytes::new(), ..what };
    let what = Recurring { message, timetable, missed, count, id };
    Ok(RecurringEntry { name, partition, what, due, fired })
}
