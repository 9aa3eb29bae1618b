//! A frame in the making: what a shard's next entry will append and change, and who waits for it.
//!
//! Record tails bound for one set of destinations are packed into one batch, as long as that keeps
//! each log's order: a set's open batch is closed for a log as soon as another batch of the frame
//! goes there.

mod asked;
mod by_level;

pub(crate) use asked::Ids;

use crate::api::{Append, Expecting, Once, Payload, Removed, Told, Within};
use crate::command::{self, Command};
use crate::envelope::Envelope;
use crate::id_list::IdList;
use crate::id_table::Hashed;
use crate::key_list::KeyList;
use crate::levels::Levels;
use crate::shard::{Keys, Schedule};
use asked::Asked;
use by_level::ByLevel;
use bytes::Bytes;
use journal::{AppliedBase, Dest, FrameDraft, FrameKind};
use record::batch::{self, Builder, Header};
use record::tails::Tails;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{ClientId, Error, Kind, LogId, LogRef, Millis, ShardId, Token};

/// A batch of this size is closed: what one reader of it costs stays bounded, and it travels whole.
pub(crate) const BATCH_BYTES: usize = 128 << 10;
/// The same where keys are indexed: who reads the records of a key reads a batch for each.
pub(crate) const SMALL_BATCH_BYTES: usize = 8 << 10;

/// Who waits for a frame, and for what in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) client: ClientId,
    pub(crate) token: Token,
    pub(crate) awaits: Awaits,
}

/// Most destinations of one frame, and so most batches: both are counted in 16 bits.
pub(crate) const DESTS_MAX: usize = 8 << 10;
/// What a destination takes in a round at most, with its batch in parts.
const DEST_BYTES: usize = 256;
/// What a base offset takes in a round.
const BASE_BYTES: usize = 18;

/// What a frame may have, so that a round can hold it: commands in one half of the round; tables of
/// destinations and batches, and of base offsets, in the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameRoom {
    pub(crate) command_bytes: usize,
    pub(crate) dests: usize,
    pub(crate) bases: usize,
}

impl FrameRoom {
    pub(crate) fn of_round(round_bytes_max: u32) -> FrameRoom {
        let part = round_bytes_max.next_power_of_two() as usize / 4;
        FrameRoom {
            command_bytes: 2 * part,
            dests: (2 * part / DEST_BYTES).min(DESTS_MAX),
            bases: part / 4 / BASE_BYTES,
        }
    }
}

/// What a reply is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Awaits {
    /// The append to destination `dest`, whose record is `delta` into its batch.
    Append { dest: usize, delta: u32 },
    /// The effect of a command of the frame.
    Command(usize),
    /// The start of a log after a trim.
    Trim { log: LogId },
    /// That a purge of so many messages is applied.
    Purged(u64),
    /// That a move of so many messages is applied.
    Moved(u64),
    /// That so many messages are taken out.
    Removed(Removed),
    /// Only that the frame is applied.
    Frame,
}

/// A frame in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    room: FrameRoom,
    pub(crate) commands: Vec<Command>,
    pub(crate) pending: Vec<Pending>,
    batches: Vec<Packing>,
    dests: Vec<Target>,
    open: BTreeMap<Arc<[LogRef]>, usize>,
    latest: BTreeMap<LogId, usize>,
    by_level: ByLevel,
    asked: Asked,
    bytes: usize,
    command_bytes: usize,
    urgent: bool,
}

#[derive(Debug)]
enum Packing {
    Whole(Bytes),
    Open(Builder),
}

/// What a destination is asked before it takes a batch.
#[derive(Clone, Copy, Debug)]
enum Condition {
    Once(Once),
    Expecting(Expecting),
}

#[derive(Clone, Copy, Debug)]
struct Target {
    log: LogId,
    batch: usize,
    envelope: Envelope,
}

/// A frame that was handed to the journal, with what its apply needs.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) index: u64,
    pub(crate) time: Millis,
    pub(crate) commands: Vec<Command>,
    pub(crate) dests: Vec<Dest>,
    pub(crate) headers: Vec<Header>,
    pub(crate) batches: Vec<Bytes>,
    pub(crate) pending: Vec<Pending>,
    /// Of all messages that have one.
    pub(crate) ids: Ids,
    /// About what it takes on the disk.
    pub(crate) bytes: usize,
}

/// Names the frame that a draft becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) shard: ShardId,
    pub(crate) term: u32,
    pub(crate) index: u64,
    pub(crate) time: Millis,
}

impl Draft {
    pub(crate) fn new(room: FrameRoom) -> Draft {
        Draft {
            room,
            commands: Vec::new(),
            pending: Vec::new(),
            batches: Vec::new(),
            dests: Vec::new(),
            open: BTreeMap::new(),
            latest: BTreeMap::new(),
            by_level: ByLevel::default(),
            asked: Asked::default(),
            bytes: 0,
            command_bytes: 0,
            urgent: false,
        }
    }

    /// Begins another one in its place.
    pub(crate) fn take(&mut self) -> Draft {
        let next = Draft::new(self.room);
        std::mem::replace(self, next)
    }

    /// What it may have at most.
    pub(crate) fn room(&self) -> FrameRoom {
        self.room
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.dests.is_empty() && self.pending.is_empty()
    }

    /// Somebody waits for it, or it appends: it should not wait for more.
    pub(crate) fn urgent(&self) -> bool {
        self.urgent || !self.dests.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether so many more destinations, and commands of so many bytes, can go into the frame.
    pub(crate) fn has_room(&self, dests: usize, command_bytes: usize) -> bool {
        self.dests.len() + dests <= self.room.dests
            && self.command_bytes + command_bytes <= self.room.command_bytes
    }

    /// Adds a command that nobody waits for; gives its place.
    pub(crate) fn command(&mut self, command: Command) -> usize {
        self.grow(32);
        self.commands.push(command);
        self.commands.len() - 1
    }

    /// A command takes so many bytes more.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.command_bytes += bytes;
    }

    /// Adds a command that should be written soon.
    pub(crate) fn command_now(&mut self, command: Command) -> usize {
        self.urgent = true;
        self.command(command)
    }

    /// Lets a client wait for this frame.
    pub(crate) fn wait(&mut self, client: ClientId, token: Token, awaits: Awaits) {
        if token != Token::NONE {
            self.urgent = true;
            self.pending.push(Pending { client, token, awaits });
        }
    }

    /// Adds an append. `stamp`: destinations want the leader's time in the batch; a batch that has
    /// `batch_bytes` is closed. Gives the first destination's place and the record's place in its batch.
    pub(crate) fn append(
        &mut self,
        append: &Append,
        (time, stamp): (Millis, bool),
        batch_bytes: usize,
    ) -> (usize, u32) {
        match &append.payload {
            Payload::Batch(bytes) => {
                let bytes = match stamp {
                    true => {
                        let mut stamped = bytes.to_vec();
                        batch::set_append_time(&mut stamped, time);
                        Bytes::from(stamped)
                    }
                    false => bytes.clone(),
                };
                self.bytes += bytes.len();
                let envelope = Envelope::default();
                (self.add_batch(&append.to, Packing::Whole(bytes), envelope), 0)
            }
            Payload::Tails { bytes, expiring } => {
                let packed = (bytes, *expiring, None);
                self.pack(&append.to, packed, (time, stamp), batch_bytes)
            }
            Payload::Once { bytes, expiring, ids, within } => {
                let first = self.dests.len();
                let mut tails = Tails::new(bytes);
                for id in ids {
                    let begin = tails.at();
                    tails.next();
                    let bytes = bytes.slice(begin..tails.at());
                    let condition = Condition::Once(Once { id: *id, within: *within });
                    self.append_if(&append.to, (&bytes, *expiring), condition, (time, stamp));
                }
                (first, 0)
            }
            Payload::Expecting { bytes, expiring, expected } => {
                let expecting = Expecting { expected: *expected, told: Told::default() };
                let condition = Condition::Expecting(expecting);
                (self.append_if(&append.to, (bytes, *expiring), condition, (time, stamp)), 0)
            }
        }
    }

    /// Adds messages with ids that every destination takes. Gives what [`Draft::append`] gives.
    pub(crate) fn append_new(
        &mut self,
        append: &Append,
        (time, stamp): (Millis, bool),
        batch_bytes: usize,
    ) -> (usize, u32) {
        match &append.payload {
            Payload::Once { bytes, expiring, ids, within } => {
                self.grow(IdList::bytes_of_count(ids.len()));
                let packed = (bytes, *expiring, Some(*within));
                let (dest, delta) = self.pack(&append.to, packed, (time, stamp), batch_bytes);
                self.asked.list(self.dests[dest].batch, *within, ids);
                (dest, delta)
            }
            _ => self.append(append, (time, stamp), batch_bytes),
        }
    }

    /// Adds tails to a batch of others; `ids`: they have some, and by which router they came then.
    fn pack(
        &mut self,
        to: &Arc<[LogRef]>,
        (bytes, expiring, ids): (&Bytes, bool, Option<Option<Within>>),
        (time, stamp): (Millis, bool),
        batch_bytes: usize,
    ) -> (usize, u32) {
        self.bytes += bytes.len();
        let (dest, packing) = self.open_batch(to, (time, expiring, ids), batch_bytes);
        let Packing::Open(builder) = packing else { return (dest, 0) };
        // An entry's own header is longer than what a record has before its tail.
        builder.reserve(bytes.len());
        let delta = builder.count();
        for entry in Tails::new(bytes) {
            let (timestamp, tail) = entry.expect("packed by record::tails");
            let timestamp = if stamp { time } else { timestamp.unwrap_or(time) };
            builder.push(timestamp, tail);
        }
        (dest, delta)
    }

    /// Notes the id of a message that is about to be added; false if one of that id is here already.
    pub(crate) fn note_id(&mut self, id: Hashed) -> bool {
        self.asked.ids.add(id)
    }

    /// So many messages with ids are about to be noted, or some of them.
    pub(crate) fn reserve_ids(&mut self, more: usize) {
        self.asked.ids.reserve(more);
    }

    /// The ids of messages that are here.
    pub(crate) fn ids(&self) -> &Ids {
        &self.asked.ids
    }

    /// Adds tails as a batch by itself, which is appended where something is so.
    fn append_if(
        &mut self,
        to: &[LogRef],
        (bytes, expiring): (&Bytes, bool),
        condition: Condition,
        (time, stamp): (Millis, bool),
    ) -> usize {
        self.bytes += bytes.len();
        let mut builder = Builder::with_capacity(time, bytes.len());
        for entry in Tails::new(bytes) {
            let (timestamp, tail) = entry.expect("packed by record::tails");
            builder.push(if stamp { time } else { timestamp.unwrap_or(time) }, tail);
        }
        let envelope = Envelope { expiring, ..Envelope::default() };
        self.asked.put(self.batches.len(), condition);
        self.add_batch(to, Packing::Whole(builder.finish()), envelope)
    }

    /// Says what was found of a key that an append expects something of; `dest` is where that goes.
    pub(crate) fn tell(&mut self, dest: usize, told: Told) {
        let batch = self.dests[dest].batch;
        self.asked.tell(batch, told);
    }

    fn open_batch(
        &mut self,
        to: &Arc<[LogRef]>,
        (time, expiring, ids): (Millis, bool, Option<Option<Within>>),
        batch_bytes: usize,
    ) -> (usize, &mut Packing) {
        let envelope = Envelope { expiring, ..Envelope::default() };
        let open = self.open.get(to).copied().filter(|first| {
            let batch = self.dests[*first].batch;
            let room = match &self.batches[batch] {
                Packing::Open(builder) => builder.len() < batch_bytes,
                Packing::Whole(_) => false,
            };
            let latest = to.iter().all(|dest| self.latest.get(&dest.log) == Some(&batch));
            room && (latest || io::planted("unordered-packing"))
                && self.dests[*first].envelope == envelope
                && self.asked.within(batch) == ids
        });
        let first = match open {
            Some(first) => first,
            None => {
                let first = self.add_batch(to, Packing::Open(Builder::new(time)), envelope);
                self.open.insert(Arc::clone(to), first);
                first
            }
        };
        let batch = self.dests[first].batch;
        (first, &mut self.batches[batch])
    }

    /// Adds an append to be done at `due`: its records `together` share batches, unless each has an id.
    /// Gives the first destination's place.
    pub(crate) fn schedule(
        &mut self,
        append: &Append,
        due: Millis,
        (time, stamp): (Millis, bool),
        together: bool,
    ) -> usize {
        let (bytes, expiring, ids, within) = match &append.payload {
            Payload::Tails { bytes, expiring } => (bytes, expiring, &[][..], None),
            Payload::Once { bytes, expiring, ids, within } => (bytes, expiring, &ids[..], *within),
            Payload::Batch(_) | Payload::Expecting { .. } => return 0,
        };
        let to: Vec<LogRef> = append
            .to
            .iter()
            .map(|dest| LogRef { log: Schedule::id_of(dest.log), ..*dest })
            .collect();
        let envelope = Envelope { expiring: *expiring, due: Some(due), way: None };
        let first = self.dests.len();
        self.bytes += bytes.len();
        let together = together && ids.is_empty();
        let mut tails = Tails::new(bytes).enumerate().peekable();
        while let Some((at, entry)) = tails.next() {
            let (mut timestamp, mut tail) = entry.expect("packed by record::tails");
            let mut builder = Builder::with_capacity(time, tail.len());
            loop {
                builder.push(if stamp { time } else { timestamp.unwrap_or(time) }, tail);
                let has_room = together && builder.len() < SMALL_BATCH_BYTES;
                let Some((_, entry)) = tails.next_if(|_| has_room) else { break };
                (timestamp, tail) = entry.expect("packed by record::tails");
            }
            if let Some(id) = ids.get(at) {
                let once = Once { id: *id, within };
                self.asked.put(self.batches.len(), Condition::Once(once));
            }
            self.add_batch(&to, Packing::Whole(builder.finish()), envelope);
        }
        first
    }

    /// Adds a batch for one log, with what its reference says; it is not joined to others. Gives the
    /// destination's place.
    pub(crate) fn put(&mut self, to: LogRef, batch: Bytes, envelope: Envelope) -> usize {
        self.bytes += batch.len();
        self.add_batch(&[to], Packing::Whole(batch), envelope)
    }

    /// The batch that goes to a destination, by its place in the frame.
    pub(crate) fn batch_of(&self, dest: usize) -> u16 {
        u16::try_from(self.dests[dest].batch).expect("a draft is flushed long before")
    }

    /// What goes to a destination is appended where none of its id is remembered.
    pub(crate) fn once(&mut self, dest: usize, once: Once) {
        self.asked.put(self.dests[dest].batch, Condition::Once(once));
    }

    /// Notes the levels of records that were just added: where they go first, and so many records are
    /// before them in their batch.
    pub(crate) fn rank(&mut self, dest: usize, before: u32, levels: &Levels) {
        let batch = self.dests[dest].batch;
        self.by_level.told.entry(batch).or_default().extend(before, levels);
        self.grow(levels.bytes_max());
    }

    fn add_batch(&mut self, to: &[LogRef], packing: Packing, envelope: Envelope) -> usize {
        let (first, batch) = (self.dests.len(), self.batches.len());
        self.batches.push(packing);
        self.by_level.close(to);
        for dest in to {
            self.dests.push(Target { log: dest.log, batch, envelope });
            self.latest.insert(dest.log, batch);
        }
        self.bytes += 96;
        first
    }

    /// Closes the draft: what goes to the journal, and what stays for the apply. `keys`: of the logs that
    /// index their keys.
    pub(crate) fn seal(
        mut self,
        stamp: Stamp,
        (applied, synced): (Vec<AppliedBase>, bool),
        keys: &BTreeMap<LogId, Box<Keys>>,
    ) -> (FrameDraft, Sealed) {
        self.commands.extend(self.by_level.told.into_iter().map(|(batch, levels)| {
            let batch = u16::try_from(batch).expect("a draft is flushed long before");
            Command::Rank { batch, levels }
        }));
        self.commands.extend(self.asked.take_commands());
        let batches: Vec<Bytes> = self
            .batches
            .into_iter()
            .map(|packing| match packing {
                Packing::Whole(bytes) => bytes,
                Packing::Open(builder) => builder.finish(),
            })
            .collect();
        let headers: Vec<Header> = batches
            .iter()
            .map(|bytes| Header::decode(bytes).expect("validated at the door or built here"))
            .collect();
        if !keys.is_empty() {
            let indexed = self.dests.iter().filter(|target| keys.contains_key(&target.log));
            let indexed: BTreeSet<usize> = indexed.map(|target| target.batch).collect();
            self.commands.extend(indexed.into_iter().map(|batch| Command::Keys {
                batch: u16::try_from(batch).expect("a draft is flushed long before"),
                keys: KeyList::of_batch(&batches[batch]),
            }));
        }
        let dests: Vec<Dest> = self
            .dests
            .iter()
            .map(|target| Dest {
                log: target.log,
                batch: u16::try_from(target.batch).expect("a draft is flushed long before"),
                records: headers[target.batch].last_offset_delta.saturating_add(1),
                envelope: self.asked.envelope(target.batch, target.envelope.encode()),
            })
            .collect();
        let frame = FrameDraft {
            shard: stamp.shard,
            term: stamp.term,
            index: stamp.index,
            leader_ts: stamp.time,
            kind: FrameKind::Entry,
            synced,
            dests: dests.clone(),
            applied,
            commands: Bytes::from(command::encode(&self.commands)),
            batches: batches.clone(),
        };
        let sealed = Sealed {
            index: stamp.index,
            time: stamp.time,
            commands: self.commands,
            dests,
            headers,
            batches,
            pending: self.pending,
            ids: self.asked.ids,
            bytes: self.bytes,
        };
        (frame, sealed)
    }
}

/// How many records an append that is scheduled has.
///
/// Fails with `Invalid` when it brings a batch: its records are one, and cannot be told apart.
pub(crate) fn count_of(payload: &Payload) -> Result<usize, Error> {
    match payload {
        Payload::Batch(_) => Err(Error::new(Kind::Invalid, "a batch cannot be scheduled")),
        Payload::Expecting { .. } => {
            Err(Error::new(Kind::Invalid, "what is appended later can expect nothing"))
        }
        Payload::Tails { bytes, .. } | Payload::Once { bytes, .. } => Ok(Tails::new(bytes).count()),
    }
}
