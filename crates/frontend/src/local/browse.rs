//! Looking at messages without taking them.

use super::{Local, unexpected};
use crate::Received;
use bytes::Bytes;
use engine::api::{
    Delivery, LeaseRange, Op, PLACES_MAX, Read, ReadFrom, Reply, Stand, Standing, Stood,
};
use record::batch::{self, Header, Records};
use record::tail;
use types::{APPEND_BYTES_MAX, Error, Kind, LogRef, Millis, Offset, SubscriptionRef};

/// Messages that one look goes through, at most: whoever wants more goes on from where it ended.
const LOOK_MAX: usize = 8 << 10;

/// The same, in bytes as they are stored.
const LOOK_BYTES_MAX: usize = 8 << 20;

/// Bytes of one read.
const READ_BYTES: u32 = 1 << 20;

/// Longest text that is looked for in values, in bytes.
const NEEDLE_BYTES_MAX: usize = 1 << 10;

/// Which messages are wanted: those that are as all of it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Headers or properties, by their names, with these values as text.
    pub headers: Vec<(String, String)>,
    /// Their key.
    pub key: Option<Bytes>,
    /// Not older than that, by their timestamps.
    pub since: Option<Millis>,
    /// Older than that.
    pub before: Option<Millis>,
    /// Their value contains that.
    pub contains: Option<Bytes>,
    /// Where they stand; all that are there if none is named.
    pub states: Vec<State>,
}

/// Where a message stands with the competing consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can be handed out.
    Ready,
    /// It is with a consumer.
    Leased,
    /// It came back and waits for its time.
    Waiting,
    /// It is settled, and kept.
    Settled,
}

/// A message as it was found.
#[derive(Clone, Debug)]
pub struct Browsed {
    /// The message; `attempts` is how often it came back.
    pub received: Received,
    /// Where it stands; `None` in a topic that nobody consumes as a queue.
    pub state: Option<State>,
    /// Until when it waits.
    pub due: Option<Millis>,
    /// The record as it is stored.
    pub(super) tail: Bytes,
}

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order of their offsets.
    pub messages: Vec<Browsed>,
    /// Where to go on; `None`: there is no more.
    pub next: Option<Offset>,
}

/// What is looked through, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Of a topic; 0 for a queue.
    pub partition: u32,
    /// The first offset.
    pub from: Offset,
    /// The offset after the last one.
    pub end: Offset,
    /// Most messages wanted.
    pub count_max: usize,
}

/// A log that is looked through.
pub(super) struct Place {
    pub(super) log: LogRef,
    pub(super) subscription: Option<SubscriptionRef>,
}

impl Filter {
    /// Refuses what cannot be looked for.
    ///
    /// Fails with `TooLarge`.
    pub fn check(&self) -> Result<(), Error> {
        if self.contains.as_ref().is_some_and(|text| text.len() > NEEDLE_BYTES_MAX) {
            let why = format!("a text that is looked for has {NEEDLE_BYTES_MAX} bytes at most");
            return Err(Error::new(Kind::TooLarge, why));
        }
        Ok(())
    }

    /// Whether a record is wanted, wherever it stands.
    fn matches(&self, bytes: &[u8], timestamp: Millis) -> bool {
        if self.since.is_some_and(|since| timestamp < since)
            || self.before.is_some_and(|before| before <= timestamp)
        {
            return false;
        }
        let Ok(view) = tail::decode(bytes) else { return false };
        let has = |(name, value): &(String, String)| {
            view.headers
                .clone()
                .any(|(other, text)| other == name.as_bytes() && text == Some(value.as_bytes()))
        };
        let value = view.value.unwrap_or_default();
        self.key.as_ref().is_none_or(|key| view.key == Some(key))
            && self.headers.iter().all(has)
            && self.contains.as_ref().is_none_or(|text| contains(value, text))
    }

    fn takes(&self, state: Option<State>) -> bool {
        self.states.is_empty() || state.is_some_and(|state| self.states.contains(&state))
    }
}

impl State {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Leased => "leased",
            State::Waiting => "waiting",
            State::Settled => "settled",
        }
    }

    /// That of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<State> {
        let all = [State::Ready, State::Leased, State::Waiting, State::Settled];
        all.into_iter().find(|state| state.name() == name)
    }
}

impl Local {
    /// Looks through messages of a queue or topic without taking them: from `stretch.from` on, as many as
    /// fit one look. There may be none on a page that is not the last.
    ///
    /// Fails with `NotFound`, and with `TooLarge` for a filter that [`Filter::check`] refuses.
    pub async fn browse(
        &self,
        name: &str,
        stretch: Stretch,
        filter: &Filter,
    ) -> Result<Page, Error> {
        filter.check()?;
        let place = self.place(name, stretch.partition)?;
        let mut page = Page::default();
        let (mut at, mut looked, mut bytes) = (stretch.from, 0, 0);
        while at < stretch.end {
            if page.messages.len() >= stretch.count_max
                || looked >= LOOK_MAX
                || bytes >= LOOK_BYTES_MAX
            {
                page.next = Some(at);
                break;
            }
            let room = stretch.count_max - page.messages.len();
            let found = self.look(&place, (at, stretch.end), room, filter).await?;
            let Some((deliveries, next)) = found else { break };
            looked += usize::try_from(next.0.saturating_sub(at.0)).unwrap_or(usize::MAX);
            bytes += READ_BYTES as usize;
            at = next;
            self.add(&mut page, &place, stretch.partition, (deliveries, filter)).await?;
        }
        Ok(page)
    }

    pub(super) fn place(&self, name: &str, partition: u32) -> Result<Place, Error> {
        let log = self.log(name, partition)?;
        Ok(Place { log, subscription: self.find(name)?.subscription() })
    }

    /// What one read gives of what is wanted, whatever its state, and where to go on; `None` at the end.
    async fn look(
        &self,
        place: &Place,
        (from, end): (Offset, Offset),
        room: usize,
        filter: &Filter,
    ) -> Result<Option<(Vec<Delivery>, Offset)>, Error> {
        let logs = vec![ReadFrom { log: place.log, offset: from, bytes_max: READ_BYTES }];
        let read = Read { logs, bytes_max: READ_BYTES, bytes_min: 0, wait: Millis(0) };
        let Reply::Read(mut logs) = self.call(Op::Read(read)).await? else {
            return Err(Error::new(Kind::Unavailable, "a read was answered with something else"));
        };
        let Some(read) = logs.pop() else { return Ok(None) };
        let batches = match read.batches {
            Ok(batches) => batches,
            // The start has moved on.
            Err(_) if from < read.extent.start => {
                return Ok(Some((Vec::new(), read.extent.start)));
            }
            Err(_) if read.extent.end <= from => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut found, mut next) = (Vec::new(), from);
        for stored in batches.iter() {
            let corrupt = |_| {
                let why = format!("the batch at offset {} is corrupt", stored.base_offset);
                Error::new(Kind::Corrupt, why)
            };
            let header = Header::decode(&stored.bytes).map_err(corrupt)?;
            let body = batch::decompress(&header, &stored.bytes, APPEND_BYTES_MAX);
            let body = body.map_err(corrupt)?;
            for record in Records::new(&header, &body) {
                let record = record.map_err(corrupt)?;
                let offset = stored.base_offset.plus(record.offset_delta);
                if offset < next {
                    continue;
                }
                if offset >= end || found.len() >= room.min(PLACES_MAX as usize) {
                    return Ok(Some((found, offset)));
                }
                next = offset.next();
                let timestamp = header.timestamp_of(record.timestamp_delta);
                if filter.matches(record.tail, timestamp) {
                    found.push(Delivery {
                        log: place.log.log,
                        offset,
                        attempts: 0,
                        redelivered: false,
                        timestamp,
                        tail: body.slice_ref(record.tail),
                    });
                }
            }
        }
        Ok((from < next).then_some((found, next)))
    }

    /// Adds those that are there, and in a state that is wanted.
    async fn add(
        &self,
        page: &mut Page,
        place: &Place,
        partition: u32,
        (deliveries, filter): (Vec<Delivery>, &Filter),
    ) -> Result<(), Error> {
        let offsets: Vec<Offset> = deliveries.iter().map(|it| it.offset).collect();
        let stood = match place.subscription {
            Some(subscription) if !offsets.is_empty() => {
                self.stand(subscription, ranges(place.log, &offsets)).await?
            }
            _ => Vec::new(),
        };
        for (at, delivery) in deliveries.into_iter().enumerate() {
            let (state, due) = match stood.get(at).map(|stood| stood.standing) {
                None => (None, None),
                Some(Standing::Ready) => (Some(State::Ready), None),
                Some(Standing::Leased) => (Some(State::Leased), None),
                Some(Standing::Waiting(due)) => (Some(State::Waiting), Some(due)),
                Some(Standing::Kept) => (Some(State::Settled), None),
                Some(Standing::Leaving | Standing::Gone) => continue,
            };
            if filter.takes(state) {
                let attempts = stood.get(at).map_or(0, |stood| stood.returns);
                let tail = delivery.tail.clone();
                let received = Received::read(Delivery { attempts, ..delivery }, partition)?;
                page.messages.push(Browsed { received, state, due, tail });
            }
        }
        Ok(())
    }

    async fn stand(
        &self,
        subscription: SubscriptionRef,
        ranges: Vec<LeaseRange>,
    ) -> Result<Vec<Stood>, Error> {
        match self.call(Op::Stand(Stand { subscription, ranges })).await? {
            Reply::Stood(stood) => Ok(stood),
            other => Err(unexpected(&other)),
        }
    }
}

/// Ascending offsets as ranges.
pub(super) fn ranges(log: LogRef, offsets: &[Offset]) -> Vec<LeaseRange> {
    let mut ranges: Vec<LeaseRange> = Vec::new();
    for offset in offsets.iter().copied() {
        match ranges.last_mut() {
            Some(range) if range.last.next() == offset => range.last = offset,
            _ => ranges.push(LeaseRange { log: log.log, first: offset, last: offset }),
        }
    }
    ranges
}

fn contains(value: &[u8], text: &[u8]) -> bool {
    text.is_empty() || value.windows(text.len()).any(|part| part == text)
}

#[cfg(test)]
mod tests {
    use super::{Filter, contains, ranges};
    use record::tail;
    use types::{LogId, LogRef, Millis, Offset, ShardId};

    #[test]
    fn all_that_a_filter_says_has_to_hold() {
        let mut bytes = Vec::new();
        let headers = [(&b"message-id"[..], Some(&b"7"[..])), (b"colour", Some(b"red"))];
        tail::encode(&mut bytes, Some(b"key"), Some(b"some value"), headers.into_iter());
        let holds = |filter: Filter| filter.matches(&bytes, Millis(5));
        let header = |name: &str, value: &str| Filter {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..Filter::default()
        };
        assert!(holds(Filter::default()));
        assert!(holds(header("message-id", "7")) && holds(header("colour", "red")));
        assert!(!holds(header("colour", "blue")) && !holds(header("size", "red")));
        let both = [("message-id", "7"), ("colour", "blue")];
        let headers = both.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert!(!holds(Filter { headers, ..Filter::default() }));
        assert!(holds(Filter { key: Some("key".into()), ..Filter::default() }));
        assert!(!holds(Filter { key: Some("ke".into()), ..Filter::default() }));
        assert!(holds(Filter { contains: Some("me va".into()), ..Filter::default() }));
        assert!(!holds(Filter { contains: Some("mee".into()), ..Filter::default() }));
        assert!(holds(Filter { since: Some(Millis(5)), ..Filter::default() }));
        assert!(!holds(Filter { since: Some(Millis(6)), ..Filter::default() }));
        assert!(!holds(Filter { before: Some(Millis(5)), ..Filter::default() }));
    }

    #[test]
    fn a_text_is_found_wherever_it_is() {
        assert!(contains(b"abc", b"") && contains(b"abc", b"abc") && contains(b"abc", b"c"));
        assert!(!contains(b"abc", b"abcd") && !contains(b"", b"a"));
    }

    #[test]
    fn neighbours_are_one_range() {
        let log = LogRef { shard: ShardId(0), log: LogId(1) };
        let found = ranges(log, &[Offset(1), Offset(2), Offset(4)]);
        let spans: Vec<(i64, i64)> = found.iter().map(|it| (it.first.0, it.last.0)).collect();
        assert_eq!(spans, [(1, 2), (4, 4)]);
    }
}
