//! Messages by a filter: deleted, moved, copied, and dead letters sent back.

use super::browse::ranges;
use super::publish::APPEND_BYTES;
use super::{Browsed, Filter, Local, Page, Stretch, unexpected};
use bytes::Bytes;
use engine::api::{Append, IfGone, LeaseRange, Move, Op, Payload, Remove, Reply};
use record::properties::{self, History};
use record::{tail, tails};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Error, Kind, LogRef, Offset, SubscriptionRef};

/// Messages that one operation moves, at most.
const MOVED_MAX: u64 = 64;

/// What became of messages that were looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// So many were deleted, moved or copied.
    pub done: u64,
    /// So many were with consumers, or left meanwhile, and stay.
    pub skipped: u64,
    /// So many have nowhere to go.
    pub homeless: u64,
    /// Where to go on; `None`: there is no more.
    pub next: Option<Offset>,
}

/// Where a dead letter goes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// The queue that it died in first.
    First,
    /// The queue that it died in last.
    Last,
    /// This queue or topic.
    At(String),
}

impl Local {
    /// Deletes messages, those that are settled and kept among them: none of them can be had again. What
    /// is with a consumer stays there.
    ///
    /// Fails as [`Local::browse`] does.
    pub async fn delete_messages(
        &self,
        name: &str,
        stretch: Stretch,
        filter: &Filter,
    ) -> Result<Carried, Error> {
        let (place, page) = self.chosen(name, stretch, filter).await?;
        let mut carried = Carried { next: page.next, ..Carried::default() };
        let offsets = offsets(&page.messages);
        if offsets.is_empty() {
            return Ok(carried);
        }
        let remove = Remove { subscription: place.1, ranges: ranges(place.0, &offsets) };
        match self.call(Op::Remove(remove)).await? {
            Reply::Removed(removed) => carried.done = removed.removed,
            other => return Err(unexpected(&other)),
        }
        carried.skipped = (offsets.len() as u64).saturating_sub(carried.done);
        Ok(carried)
    }

    /// Moves messages that are ready or wait to the end of another queue or topic: each is in one of
    /// them, and once, whatever ends the process meanwhile. What is with a consumer stays there.
    ///
    /// Fails as [`Local::browse`] does, and with `Invalid` when source and target are the same.
    pub async fn move_messages(
        &self,
        (name, to): (&str, &str),
        stretch: Stretch,
        filter: &Filter,
    ) -> Result<Carried, Error> {
        let target = self.target(name, to)?;
        let (place, page) = self.chosen(name, stretch, filter).await?;
        let mut carried = Carried { next: page.next, ..Carried::default() };
        for range in runs(place.0, page.messages.iter()) {
            carried.done += self.move_range(place, range, (target, false)).await?;
        }
        carried.skipped = (page.messages.len() as u64).saturating_sub(carried.done);
        Ok(carried)
    }

    /// Copies messages, whoever has them, to the end of another queue or topic: all of a call or none.
    ///
    /// Fails as [`Local::browse`] does, and with `Invalid` when source and target are the same.
    pub async fn copy_messages(
        &self,
        (name, to): (&str, &str),
        stretch: Stretch,
        filter: &Filter,
    ) -> Result<Carried, Error> {
        let target = self.target(name, to)?;
        let page = self.browse(name, stretch, filter).await?;
        let (mut bytes, mut expiring) = (Vec::new(), false);
        let mut carried = Carried { next: page.next, ..Carried::default() };
        for message in &page.messages {
            if !bytes.is_empty() && bytes.len() + message.tail.len() > APPEND_BYTES {
                carried.next = Some(message.received.place.offset);
                break;
            }
            carried.done += 1;
            let tail = &message.tail;
            let view = tail::decode(tail).map_err(|_| corrupt(message))?;
            expiring |= properties::decode(view.headers).properties.expiration.is_some();
            tails::push(&mut bytes, message.received.message.timestamp, tail);
        }
        if carried.done > 0 {
            let payload = Payload::Tails { bytes: Bytes::from(bytes), expiring };
            let append = Append { to: Arc::from([target]), payload, waits: true };
            super::publish::offset_of(self.caller.start(Op::Append(append))).await?;
        }
        Ok(carried)
    }

    /// Moves dead letters back to where they came from, with the address that they had there. Those of
    /// which the queue is not there any more stay.
    ///
    /// Fails as [`Local::browse`] does, and with `NotFound` when the queue of [`Home::At`] is not there.
    pub async fn redrive(
        &self,
        (name, home): (&str, &Home),
        stretch: Stretch,
        filter: &Filter,
    ) -> Result<Carried, Error> {
        let given = match home {
            Home::At(to) => Some(self.target(name, to)?),
            Home::First | Home::Last => None,
        };
        let (place, page) = self.chosen(name, stretch, filter).await?;
        let mut carried = Carried { next: page.next, ..Carried::default() };
        let mut homes: BTreeMap<LogRef, Vec<&Browsed>> = BTreeMap::new();
        for message in &page.messages {
            let target = given.or_else(|| self.home_of(message, home)).filter(|to| *to != place.0);
            match target {
                Some(to) => homes.entry(to).or_default().push(message),
                None => carried.homeless += 1,
            }
        }
        let mut asked = 0;
        for (to, messages) in homes {
            asked += messages.len() as u64;
            for range in runs(place.0, messages.into_iter()) {
                carried.done += self.move_range(place, range, (to, true)).await?;
            }
        }
        carried.skipped = asked.saturating_sub(carried.done);
        Ok(carried)
    }

    /// The queue that a dead letter came from.
    fn home_of(&self, message: &Browsed, home: &Home) -> Option<LogRef> {
        let view = tail::decode(&message.tail).ok()?;
        let History { first, deaths, .. } = properties::decode(view.headers).history()?;
        let queue = match home {
            Home::Last => deaths.into_iter().next()?.place.queue,
            _ => first.queue,
        };
        Some(*self.find(&queue).ok()?.logs().first()?)
    }

    async fn chosen(
        &self,
        name: &str,
        stretch: Stretch,
        filter: &Filter,
    ) -> Result<((LogRef, SubscriptionRef), Page), Error> {
        let place = self.place(name, stretch.partition)?;
        let Some(subscription) = place.subscription else {
            let why = format!("nobody consumes topic '{name}' as a queue");
            return Err(Error::new(Kind::NotFound, why));
        };
        Ok(((place.log, subscription), self.browse(name, stretch, filter).await?))
    }

    fn target(&self, name: &str, to: &str) -> Result<LogRef, Error> {
        if name == to {
            return Err(Error::new(Kind::Invalid, "source and target are the same"));
        }
        match self.find(to)?.logs() {
            [log] => Ok(*log),
            logs => {
                let why = format!("'{to}' has {} partitions, a target has one", logs.len());
                Err(Error::new(Kind::Invalid, why))
            }
        }
    }

    /// How many of a range were moved: all that nobody holds.
    async fn move_range(
        &self,
        (_, source): (LogRef, SubscriptionRef),
        range: LeaseRange,
        (to, restores): (LogRef, bool),
    ) -> Result<u64, Error> {
        let mut moved = 0;
        // What is not in memory is moved in more than one go.
        while moved < range.offsets() {
            let op = Move {
                consumer: None,
                source,
                range,
                to,
                stamp: Vec::new(),
                moves_max: None,
                restores,
                gone: IfGone::Keep,
            };
            match self.call(Op::Move(op)).await? {
                Reply::Moved(0) => break,
                Reply::Moved(count) => moved += count,
                other => return Err(unexpected(&other)),
            }
        }
        Ok(moved)
    }
}

/// Neighbours as ranges that one operation moves.
fn runs<'a>(log: LogRef, messages: impl Iterator<Item = &'a Browsed>) -> Vec<LeaseRange> {
    let mut runs: Vec<LeaseRange> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let offset = message.received.place.offset;
        let more = message.tail.len();
        match runs.last_mut() {
            Some(run)
                if run.last.next() == offset
                    && run.offsets() < MOVED_MAX
                    && bytes + more <= APPEND_BYTES =>
            {
                run.last = offset;
                bytes += more;
            }
            _ => {
                runs.push(LeaseRange { log: log.log, first: offset, last: offset });
                bytes = more;
            }
        }
    }
    runs
}

fn offsets(messages: &[Browsed]) -> Vec<Offset> {
    messages.iter().map(|message| message.received.place.offset).collect()
}

fn corrupt(message: &Browsed) -> Error {
    let offset = message.received.place.offset;
    Error::new(Kind::Corrupt, format!("the record at offset {offset} is corrupt"))
}
