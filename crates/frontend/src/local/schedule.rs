//! Messages for later: scheduling, listing and cancelling them.

use super::publish::{APPEND_BYTES, offset_of, tail_of};
use super::{Local, unexpected};
use crate::caller::Pending;
use crate::message::partition_for;
use crate::{Message, Place};
use bytes::Bytes;
use engine::api::{Append, Op, Payload, Reply, Schedule, Scheduled, ScheduledEntry, Unschedule};
use record::tails;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use types::{Error, Kind, LogRef, Millis, Offset};

/// Most operations under way at once: one is as small as a message.
const OPERATIONS_MAX: usize = 256;

/// Most messages of one operation.
const TOGETHER_MAX: usize = 1_000;

/// A part of what is scheduled for one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order in which they were scheduled.
    pub entries: Vec<ScheduledEntry>,
    /// From where to go on; `None`: there are no more.
    pub next: Option<Offset>,
    /// How many there are in all.
    pub total: u64,
}

/// Messages that follow each other and are due together in one log.
struct Group {
    partition: u32,
    due: Millis,
    bytes: Vec<u8>,
    members: Vec<usize>,
}

impl Local {
    /// Schedules messages, each for its own time, and waits until all of it is durable; gives their
    /// places in the schedules of their logs, in the order given. What is past is as good as now.
    ///
    /// Fails as [`Local::publish`] does.
    pub async fn schedule(
        &self,
        to: &str,
        messages: &[(Message, Millis)],
    ) -> Result<Vec<Place>, Error> {
        let found = self.find(to)?;
        let logs = found.logs();
        let count = u32::try_from(logs.len()).unwrap_or(u32::MAX);
        let keyless = self.turn.fetch_add(1, Relaxed) % count.max(1);
        let mut places = vec![Place { partition: 0, offset: Offset(-1) }; messages.len()];
        let tails =
            messages.iter().map(|(message, _)| tail_of(message)).collect::<Result<Vec<_>, _>>()?;
        let mut group: Option<Group> = None;
        let mut under_way: VecDeque<(Vec<usize>, Pending)> = VecDeque::new();
        for (at, ((message, due), tail)) in messages.iter().zip(tails).enumerate() {
            let partition = message.key.as_deref().map_or(keyless, |key| partition_for(key, count));
            places[at].partition = partition;
            let ended = group.take_if(|group| {
                (group.partition, group.due) != (partition, *due)
                    || group.members.len() >= TOGETHER_MAX
                    || group.bytes.len() >= APPEND_BYTES
            });
            under_way.extend(ended.map(|group| self.send_later(group, logs)));
            if (under_way.len() >= OPERATIONS_MAX || self.caller.is_full())
                && let Some(first) = under_way.pop_front()
            {
                note(first, &mut places).await?;
            }
            let group = group.get_or_insert_with(|| Group {
                partition,
                due: *due,
                bytes: Vec::new(),
                members: Vec::new(),
            });
            tails::push(&mut group.bytes, message.timestamp, &tail);
            group.members.push(at);
        }
        under_way.extend(group.map(|group| self.send_later(group, logs)));
        for sent in under_way {
            note(sent, &mut places).await?;
        }
        Ok(places)
    }

    /// What is scheduled for a partition of a topic, or for a queue, whose partition is 0: at most
    /// `count_max` entries from offset `from` of its schedule on, and never more than 1,024.
    ///
    /// Fails with `NotFound`.
    pub async fn scheduled(
        &self,
        of: &str,
        partition: u32,
        (from, count_max): (Offset, u32),
    ) -> Result<Listing, Error> {
        let log = self.log(of, partition)?;
        match self.call(Op::Scheduled(Scheduled { log, from, count_max })).await? {
            Reply::Scheduled { entries, next, total } => Ok(Listing { entries, next, total }),
            other => Err(unexpected(&other)),
        }
    }

    /// Cancels what still waits of these offsets in the schedule of a partition; gives those that
    /// were cancelled, when that is durable.
    ///
    /// Fails with `NotFound` when there is no such queue, topic or partition.
    pub async fn unschedule(
        &self,
        of: &str,
        partition: u32,
        offsets: Vec<Offset>,
    ) -> Result<Vec<Offset>, Error> {
        let log = self.log(of, partition)?;
        match self.call(Op::Unschedule(Unschedule { log, offsets })).await? {
            Reply::Unscheduled(offsets) => Ok(offsets),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn log(&self, of: &str, partition: u32) -> Result<LogRef, Error> {
        let found = self.find(of)?;
        found.logs().get(partition as usize).copied().ok_or_else(|| {
            Error::new(Kind::NotFound, format!("'{of}' has no partition {partition}"))
        })
    }

    fn send_later(&self, group: Group, logs: &[LogRef]) -> (Vec<usize>, Pending) {
        let Group { partition, due, bytes, members } = group;
        let payload = Payload::Tails { bytes: Bytes::from(bytes), expiring: false };
        let append = Append { to: Arc::from([logs[partition as usize]]), payload, waits: true };
        (members, self.caller.start(Op::Schedule(Schedule { append, due })))
    }
}

async fn note(sent: (Vec<usize>, Pending), places: &mut [Place]) -> Result<(), Error> {
    let (members, pending) = sent;
    let first = offset_of(pending).await?;
    for (record, at) in (0..).zip(members) {
        places[at].offset = first.plus(record);
    }
    Ok(())
}
