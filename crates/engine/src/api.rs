//! The operations, the whole list, and what comes back.
//!
//! An operation is a plain value: it names logs and subscriptions by id (a session looks ids up in
//! the [`Names`](crate::Names) snapshot), carries everything it needs, and could be sent to another
//! node as it is. A session sends [`Call`]s; the engine answers with [`Event`]s on the client's outbox.

mod keyed;
mod moving;
mod once;
mod read_batches;
mod recurring;
mod replay;
mod schedule;
mod sessions;

pub use catalog::MessageId;
pub use keyed::{Expected, KeyHash, Keyed, KeyedRecord, ReadKey};
pub(crate) use keyed::{Expecting, Told};
pub use moving::{IfGone, Move};
pub use once::{Once, Within};
pub use read_batches::{ReadBatch, ReadBatches};
pub use recurring::{
    LATE_MAX, Missed, RECURRENCE, RECURRENCE_BYTES_MAX, RECURRENCE_DUE, RECURRENCE_NAME_BYTES_MAX,
    RECURRENCES_MAX, Recur, RecurStep, Recurred, Recurrence, RecurrenceEntry, Recurrences,
};
pub use replay::{PLACES_MAX, Remove, Removed, Rewind, Stand, Standing, Stood};
pub use schedule::{Schedule, Scheduled, ScheduledEntry, Unschedule};
pub use sessions::{
    SESSION_KEY_BYTES_MAX, SESSIONS_MAX, STATE_BYTES_MAX, STATES_BYTES_MAX, Session, SessionSet,
    Sessions, SetSession,
};

use crate::command::GroupName;
use bytes::Bytes;
use catalog::{Change, Name, Outcome, Refusal};
use groups::{CommittedOffset, GroupView, OffsetKey};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use types::{
    ConsumerId, Error, LogId, LogRef, Millis, Offset, ShardId, SubscriptionId, SubscriptionRef,
    Token,
};

/// One operation of a client and the token its reply will carry.
#[derive(Clone, Debug)]
pub struct Call {
    /// `Token::NONE` asks for no reply.
    pub token: Token,
    /// What to do.
    pub op: Op,
}

/// What a client can ask of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Appends records to logs. Reply: [`Reply::Appended`].
    Append(Append),
    /// Appends and settles, all or nothing, on one shard. Reply: [`Reply::Done`].
    Transaction(Transaction),
    /// Appends records later. Reply: [`Reply::Appended`], its offset that of the first record in the
    /// schedule of the first destination.
    Schedule(Schedule),
    /// Cancels entries of a schedule. Reply: [`Reply::Unscheduled`].
    Unschedule(Unschedule),
    /// Lists a schedule. Reply: [`Reply::Scheduled`].
    Scheduled(Scheduled),
    /// Makes, ends, stops or continues a recurrence. Reply: [`Reply::Recurred`].
    Recur(Recur),
    /// Lists recurrences. Reply: [`Reply::Recurrences`].
    Recurrences(Recurrences),
    /// Moves leased messages to another log. Reply: [`Reply::Moved`], when it is certain.
    Move(Move),
    /// Has a subscription deliver again what it settled. Reply: [`Reply::Rewound`].
    Rewind(Rewind),
    /// Keeps a state for a session. Reply: [`Reply::SessionSet`], when it is durable.
    SetSession(SetSession),
    /// Shows sessions. Reply: [`Reply::Sessions`].
    Sessions(Sessions),
    /// Asks where messages stand. Reply: [`Reply::Stood`].
    Stand(Stand),
    /// Takes messages out by their offsets. Reply: [`Reply::Removed`].
    Remove(Remove),
    /// Reads batches by offset, waiting for bytes if asked to. Reply: [`Reply::Read`].
    Read(Read),
    /// Reads the records of a key. Reply: [`Reply::Keyed`].
    ReadKey(ReadKey),
    /// Looks an offset up. Reply: [`Reply::Found`].
    Find(Find),
    /// Moves the start of a log forward. Reply: [`Reply::Trimmed`].
    Trim(Trim),
    /// Gives the extent of logs. Reply: [`Reply::Extents`].
    Extent(Vec<LogRef>),
    /// Registers a consumer, whose deliveries come as [`Event::Deliver`]. Reply: [`Reply::Done`].
    Take(Take),
    /// Takes at most one ready message now. Reply: [`Reply::Got`].
    Get(Get),
    /// Ends a consumer. Reply: [`Reply::Done`].
    Leave(Leave),
    /// Changes the window a client's consumers share. Reply: [`Reply::Done`].
    Window(Window),
    /// Settles leases. Reply: [`Reply::Done`], when durable.
    Settle(Settle),
    /// Settles everything that is ready. Reply: [`Reply::Purged`].
    Purge(SubscriptionRef),
    /// Counts a subscription. Reply: [`Reply::Counts`].
    Count(SubscriptionRef),
    /// Counts as a use of a subscription that goes when it is not used. No reply.
    Touch(SubscriptionRef),
    /// Counts every subscription of a shard. Reply: [`Reply::Stats`].
    Stats {
        /// Which shard.
        shard: ShardId,
    },
    /// Changes what exists ([`Names::place`](crate::Names::place) says on which shard).
    /// Reply: [`Reply::Changed`], after the new names are published.
    Change {
        /// The shard of the layer it is for.
        shard: ShardId,
        /// The change.
        change: Box<Change>,
    },
    /// Changes a consumer group. Reply: [`Reply::Group`]; of a join or sync, when the group is ready.
    Group {
        /// Where the group is coordinated.
        shard: ShardId,
        /// Which group.
        name: GroupName,
        /// What to do.
        command: Box<groups::Command>,
    },
    /// A sign of life of a group's member. Reply: [`Reply::Group`].
    Heartbeat(Heartbeat),
    /// Shows groups. Reply: [`Reply::Groups`].
    Groups {
        /// Where they are coordinated.
        shard: ShardId,
        /// Their namespace.
        namespace: Name,
        /// These, or all.
        names: Option<Vec<Name>>,
    },
    /// Gives the positions a group has committed. Reply: [`Reply::Offsets`].
    Offsets {
        /// Where the group is coordinated.
        shard: ShardId,
        /// Which group.
        name: GroupName,
    },
    /// Hands out a producer id. Reply: [`Reply::Producer`].
    AllocateProducer,
    /// Ends the wait of an earlier [`Op::Read`] of this client: it is answered with what there is.
    Cancel {
        /// Where the read waits.
        shard: ShardId,
        /// The read's token.
        token: Token,
    },
}

/// Records for one or more logs; every destination takes all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Append {
    /// Destinations, sorted, without duplicates, at least one.
    pub to: Arc<[LogRef]>,
    /// What to append.
    pub payload: Payload,
    /// It waits while publishing is blocked; if not, it is refused then (`Throttled`).
    pub waits: bool,
}

/// The records of an append.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Payload {
    /// One validated RecordBatch v2 (magic, lengths and CRC checked), kept as it is.
    Batch(Bytes),
    /// Record tails, as [`record::tails`] packs them; the shard packs them into batches.
    Tails {
        /// At least one entry.
        bytes: Bytes,
        /// Some record has a time to live of its own (property `expiration`).
        expiring: bool,
    },
    /// Record tails, each to be appended where none of its id is remembered; the verdict is `Duplicate`
    /// where one is. Verdict and offset of the reply are those of the last one.
    Once {
        /// At least one entry.
        bytes: Bytes,
        /// Some record has a time to live of its own.
        expiring: bool,
        /// The id of each; records beyond them have none, and are appended.
        ids: Box<[MessageId]>,
        /// Whose memory counts beside that of the queues.
        within: Option<Within>,
    },
    /// Record tails for one log, all of which are appended if something is so, and else none; the
    /// verdict is `Unexpected` then. One that waits for the disk is ordered behind what its client
    /// sends meanwhile.
    Expecting {
        /// At least one entry.
        bytes: Bytes,
        /// Some record has a time to live of its own.
        expiring: bool,
        /// What has to be so.
        expected: Expected,
    },
}

impl Payload {
    /// One tail that is to be appended once.
    #[must_use]
    pub fn once(bytes: Bytes, expiring: bool, once: Once) -> Payload {
        Payload::Once { bytes, expiring, ids: Box::new([once.id]), within: once.within }
    }

    /// The batch, or the tails.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Payload::Batch(bytes)
            | Payload::Tails { bytes, .. }
            | Payload::Once { bytes, .. }
            | Payload::Expecting { bytes, .. } => bytes,
        }
    }
}

/// Appends and settles that happen together or not at all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transaction {
    /// The shard of everything in it.
    pub shard: ShardId,
    /// What to append, in order.
    pub appends: Vec<Append>,
    /// What to settle.
    pub settles: Vec<Settle>,
}

/// A read of one or more logs of one shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Read {
    /// Which logs, from where.
    pub logs: Vec<ReadFrom>,
    /// Stop after this many bytes in all; the first batch is given however large it is.
    pub bytes_max: u32,
    /// Wait until this many bytes are there, or a log fails …
    pub bytes_min: u32,
    /// … or this long.
    pub wait: Millis,
}

/// Where to read one log.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReadFrom {
    /// Which log.
    pub log: LogRef,
    /// First offset wanted.
    pub offset: Offset,
    /// Stop after this many bytes of this log.
    pub bytes_max: u32,
}

/// What one log of a [`Read`] gave.
#[derive(Clone, Debug)]
pub struct ReadLog {
    /// Which log.
    pub log: LogRef,
    /// The batches, or why there are none.
    pub batches: Result<ReadBatches, Error>,
    /// First and next offset of the log when it was read.
    pub extent: Extent,
}

/// First retained and next offset of a log, and how much it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// First offset that can be read.
    pub start: Offset,
    /// Offset the next record will get.
    pub end: Offset,
    /// Bytes of the retained batches.
    pub bytes: u64,
}

/// A look-up of an offset.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Find {
    /// In which log.
    pub log: LogRef,
    /// What to look for.
    pub target: FindTarget,
}

/// What to look for in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FindTarget {
    /// The first retained offset.
    Earliest,
    /// The next offset.
    Latest,
    /// The first record whose timestamp is this or later.
    Since(Millis),
    /// The record with the largest timestamp.
    MaxTimestamp,
}

/// Moves the start of a log.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Trim {
    /// Which log.
    pub log: LogRef,
    /// The new start; `None`: the end. Beyond the end is `Invalid`.
    pub before: Option<Offset>,
}

/// A standing consumer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Take {
    /// The client's name for this consumer; deliveries carry it.
    pub consumer: ConsumerId,
    /// What it consumes.
    pub source: Source,
    /// Most unsettled messages at once; 0 is no limit.
    pub prefetch: u32,
    /// Shares a window with the client's other consumers of the same number (see [`Window`]).
    pub window: Option<u32>,
    /// Settle each message as it is handed out.
    pub settle_on_delivery: bool,
    /// Refuse other consumers; refused (`InUse`) while there are any.
    pub exclusive: bool,
    /// Higher is served first.
    pub priority: i32,
    /// Of a queue whose keys are sessions so many at once at most; 0 is no limit.
    pub sessions_max: u32,
}

/// What a consumer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Competes with the other consumers of a subscription.
    Subscription(SubscriptionRef),
    /// Reads a log on its own from a place; settling only frees its window.
    Log {
        /// Which log.
        log: LogRef,
        /// From where.
        from: StartAt,
    },
}

/// Where a consumer of a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartAt {
    /// The first retained record.
    First,
    /// The last batch.
    Last,
    /// Only what comes from now on.
    Next,
    /// This offset, or the first one retained after it.
    Offset(Offset),
    /// The first record whose timestamp is this or later.
    Since(Millis),
}

/// Takes one message now, or none. The lease belongs to `consumer`, which needs no [`Take`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Get {
    /// The client's name for who holds the lease.
    pub consumer: ConsumerId,
    /// From which subscription.
    pub subscription: SubscriptionRef,
    /// Settle it as it is handed out.
    pub settle_on_delivery: bool,
}

/// Ends a consumer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leave {
    /// Whose.
    pub consumer: ConsumerId,
    /// What it consumed.
    pub source: Source,
    /// Return its unsettled messages now; otherwise they stay leased until settled or the client goes.
    pub release: bool,
}

/// Sets the window that consumers of one number share (all on one shard).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Which shard's consumers.
    pub shard: ShardId,
    /// The number.
    pub window: u32,
    /// Most unsettled messages of all of them; 0 is no limit.
    pub prefetch: u32,
    /// Consumers of the client on this shard that share it from now on, beside those that do; what
    /// they hold counts.
    pub binds: Vec<(SubscriptionId, ConsumerId)>,
}

/// Settles leases of one consumer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settle {
    /// Who holds them.
    pub consumer: ConsumerId,
    /// Of what.
    pub source: Source,
    /// Which offsets, as inclusive ranges per log, ascending.
    pub ranges: Vec<LeaseRange>,
    /// What becomes of them.
    pub disposition: Disposition,
}

/// Consecutive leases of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRange {
    /// Which log.
    pub log: LogId,
    /// First offset.
    pub first: Offset,
    /// Last offset, inclusive.
    pub last: Offset,
}

impl LeaseRange {
    /// How many offsets it spans.
    #[must_use]
    pub fn offsets(&self) -> u64 {
        u64::try_from(self.last.0.saturating_sub(self.first.0).saturating_add(1)).unwrap_or(0)
    }
}

/// What becomes of a settled lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disposition {
    /// Processed.
    Done,
    /// Refused by the consumer: gone, or a dead letter where the queue sends those somewhere.
    Rejected,
    /// Failed: back to the queue at its place, marked redelivered, and counted.
    Returned,
    /// Not processed: back to the queue as well, and not counted.
    Released,
}

/// A sign of life of a group's member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Where the group is coordinated.
    pub shard: ShardId,
    /// Which group.
    pub name: GroupName,
    /// The generation the member believes in.
    pub generation: groups::Generation,
    /// The member.
    pub member: String,
    /// Its static identity.
    pub instance: Option<String>,
}

/// Something for a client.
#[derive(Debug)]
pub enum Event {
    /// The answer to a call.
    Reply {
        /// The call's token.
        token: Token,
        /// What it gave.
        result: Result<Reply, Error>,
    },
    /// Messages for a consumer.
    Deliver {
        /// Which of the client's consumers.
        consumer: ConsumerId,
        /// In order.
        items: Vec<Delivery>,
    },
    /// A consumer ended because what it consumed is gone.
    ConsumerGone {
        /// Which of the client's consumers.
        consumer: ConsumerId,
    },
    /// Publishing is blocked (disk or memory), or unblocked.
    Blocked(Option<&'static str>),
}

/// One message handed out.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Which log it lies in.
    pub log: LogId,
    /// Where; with the log it names the lease.
    pub offset: Offset,
    /// Earlier deliveries that were returned.
    pub attempts: u16,
    /// It was, or may have been, handed out before.
    pub redelivered: bool,
    /// The record's timestamp.
    pub timestamp: Millis,
    /// The record's tail: key, value and headers, as [`record::tail::decode`] reads it.
    pub tail: Bytes,
}

/// What an operation gave.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Done, and durable if it changed anything durable.
    Done,
    /// Appended and durable.
    Appended(Appended),
    /// How many messages were moved: those that were still held.
    Moved(u64),
    /// How many messages are to be delivered again.
    Rewound(u64),
    /// What keeping a state came to.
    SessionSet(SessionSet),
    /// Sessions, and the key of the next one; `None`: there are no more.
    Sessions(Vec<Session>, Option<Bytes>),
    /// In the order asked.
    Stood(Vec<Stood>),
    /// How many messages were taken out.
    Removed(Removed),
    /// The entries that were cancelled; the others had been activated or cancelled before.
    Unscheduled(Vec<Offset>),
    /// A part of a schedule.
    Scheduled {
        /// In the order of their offsets.
        entries: Vec<ScheduledEntry>,
        /// Where to go on; `None`: there are no more.
        next: Option<Offset>,
        /// How many there are in all.
        total: u64,
    },
    /// What a recurrence is now, if it is there.
    Recurred(Recurred, Option<Box<RecurrenceEntry>>),
    /// Some recurrences.
    Recurrences {
        /// In the order of their names.
        entries: Vec<RecurrenceEntry>,
        /// Where to go on; `None`: there are no more.
        next: Option<Name>,
        /// How many there are in all.
        total: u64,
    },
    /// Batches read.
    Read(Vec<ReadLog>),
    /// Records of a key.
    Keyed(Keyed),
    /// An offset found; `None`: no such record.
    Found(Option<Found>),
    /// The log's start now.
    Trimmed(Offset),
    /// In the order asked; `None`: no such log.
    Extents(Vec<Option<Extent>>),
    /// A message, if there was one, and how many are ready behind it.
    Got(Option<Delivery>, u64),
    /// How many messages were purged.
    Purged(u64),
    /// A subscription's counts.
    Counts(Counts),
    /// Every subscription of a shard.
    Stats(Vec<QueueStats>),
    /// What a change of names came to.
    Changed(Box<Result<Outcome, Refusal>>),
    /// What a group said.
    Group(Box<groups::Reply>),
    /// Groups, by name; those that do not exist are left out.
    Groups(Vec<(Name, GroupView)>),
    /// Committed positions; `None`: no such group.
    Offsets(Option<Vec<(OffsetKey, CommittedOffset)>>),
    /// A producer id nobody had before.
    Producer(i64),
}

/// Where an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// What the first destination said.
    pub verdict: Verdict,
    /// Offset of the first record in the first destination. The others follow it; where all destinations
    /// are read by queues with levels, those of its level do.
    pub base_offset: Offset,
    /// The leader's time of the append.
    pub time: Millis,
    /// First retained offset of the first destination.
    pub start: Offset,
}

/// What a log said to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Appended.
    Appended,
    /// A batch with this producer's sequence, or a message of this id, was appended before;
    /// `base_offset` is that one's.
    Duplicate,
    /// The producer's sequence does not follow its last one.
    OutOfOrderSequence,
    /// A newer epoch of the producer exists.
    StaleProducerEpoch,
    /// The destination is gone.
    Gone,
    /// What the append expected is not so; `base_offset` is that of the last record, -1 when there is
    /// none.
    Unexpected,
    /// Whether what it expected is so is not known any more: it has to be looked up once more.
    Unsure,
}

/// An offset with its record's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub offset: Offset,
    /// The record's timestamp; -1 for earliest and latest.
    pub timestamp: Millis,
}

/// A subscription's counts, and what went through it since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Which.
    pub subscription: SubscriptionRef,
    /// What it holds.
    pub counts: Counts,
    /// What went through it.
    pub tally: crate::Tally,
}

/// What a subscription holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that could be delivered now.
    pub ready: u64,
    /// Messages leased to consumers.
    pub unacked: u64,
    /// Messages that came back and wait for their time.
    pub delayed: u64,
    /// Messages that are settled and kept.
    pub kept: u64,
    /// Standing consumers.
    pub consumers: u64,
}

impl Op {
    /// The shard that carries this operation out. An append goes to each shard among its
    /// destinations: the front end splits it and gathers the replies.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        match self {
            Op::Append(append) => append.to[0].shard,
            Op::Transaction(transaction) => transaction.shard,
            Op::Schedule(schedule) => schedule.append.to[0].shard,
            Op::Unschedule(unschedule) => unschedule.log.shard,
            Op::Scheduled(scheduled) => scheduled.log.shard,
            Op::Recur(recur) => recur.home.shard,
            Op::Recurrences(recurrences) => recurrences.home.shard,
            Op::Move(moving) => moving.source.shard,
            Op::Rewind(rewind) => rewind.subscription.shard,
            Op::SetSession(set) => set.subscription.shard,
            Op::Sessions(sessions) => sessions.subscription.shard,
            Op::Stand(stand) => stand.subscription.shard,
            Op::Remove(remove) => remove.subscription.shard,
            Op::Read(read) => read.logs.first().map_or(ShardId(0), |from| from.log.shard),
            Op::ReadKey(read) => read.log.shard,
            Op::Find(find) => find.log.shard,
            Op::Trim(trim) => trim.log.shard,
            Op::Extent(logs) => logs.first().map_or(ShardId(0), |log| log.shard),
            Op::Take(take) => take.source.shard(),
            Op::Get(get) => get.subscription.shard,
            Op::Leave(leave) => leave.source.shard(),
            Op::Window(window) => window.shard,
            Op::Settle(settle) => settle.source.shard(),
            Op::Purge(subscription) | Op::Count(subscription) | Op::Touch(subscription) => {
                subscription.shard
            }
            Op::Stats { shard } => *shard,
            Op::Cancel { shard, .. }
            | Op::Change { shard, .. }
            | Op::Group { shard, .. }
            | Op::Groups { shard, .. }
            | Op::Offsets { shard, .. } => *shard,
            Op::Heartbeat(heartbeat) => heartbeat.shard,
            Op::AllocateProducer => ShardId(0),
        }
    }
}

impl Source {
    /// The shard that holds it.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        match self {
            Source::Subscription(subscription) => subscription.shard,
            Source::Log { log, .. } => log.shard,
        }
    }
}
