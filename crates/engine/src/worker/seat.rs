//! A shard and everything its leader keeps beside it in memory.

#[cfg(test)]
mod tests;

use super::agenda::Agenda;
use super::dead::Dying;
use super::grouping::Coordinator;
use super::keying::Keying;
use super::leasing::Leasing;
use super::moving::Sending;
use super::overflow::Bounds;
use super::queue::{Idle, Queue};
use super::recurring::Rota;
use super::replica::Replica;
use super::tailing::Tailer;
use super::window::{WideWindow, WindowId};
use crate::api::{Disposition, Settle};
use crate::command::{self, Command, PARKING_BYTES, RANGE_BYTES, Range};
use crate::draft::{Awaits, Draft, FrameRoom, Sealed, Stamp};
use crate::shard::Shard;
use bytes::Bytes;
use journal::{AppliedBase, FrameDraft, FrameKind, Position};
use ledger::{ConsumerKey, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use types::{ClientId, Error, Kind, LogId, Millis, ShardId, SubscriptionId, Token};

/// The term of a single node's shards; a cluster's are given by election.
pub(super) const TERM: u32 = 1;
/// A frame that only settles waits so long for company: nobody waits for it, and a round of its own
/// costs a write, a sync and four wake-ups.
const LAZY: Millis = Millis(20);
/// A draft of this size goes even while others are on their way.
const DRAFT_BYTES: usize = 256 << 10;
/// Most frames of a shard on their way to the disk.
const IN_FLIGHT_MAX: usize = 8;
/// A draft with this many commands is not held back.
const COMMANDS_MAX: usize = 16 << 10;
/// Largest command of a client, encoded, in bytes.
const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Full drafts that wait before clients' commands of any length are refused.
const FULL_MAX: usize = 8;
/// Ranges in one command, so that commands can be spread over frames.
const RANGES_PER_COMMAND: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shard: Shard,
    pub(crate) draft: Draft,
    /// Drafts as large as a frame can be, which go before it.
    pub(super) full: VecDeque<Draft>,
    pub(crate) in_flight: VecDeque<Sealed>,
    pub(crate) in_flight_bytes: usize,
    /// Those that are not idle; see `queue/idle.rs`.
    pub(crate) queues: BTreeMap<SubscriptionId, Box<Queue>>,
    pub(crate) idle: Idle,
    /// Queues that may have something to hand out.
    pub(crate) ready: BTreeSet<SubscriptionId>,
    /// The queue whose turn is next, if it is one of those.
    pub(crate) turn: SubscriptionId,
    pub(crate) windows: BTreeMap<WindowId, WideWindow>,
    pub(crate) tailers: BTreeMap<ConsumerKey, Tailer>,
    pub(crate) tailed: BTreeMap<LogId, BTreeSet<ConsumerKey>>,
    pub(crate) groups: Coordinator,
    /// Changes of names from elsewhere in frames on their way: frame, command, whom to tell.
    pub(crate) follows: VecDeque<(u64, usize, usize, u64)>,
    /// What is due next in the schedules of logs.
    pub(crate) agendas: BTreeMap<LogId, Agenda>,
    /// What recurs next, by the log it is listed under.
    pub(crate) rotas: BTreeMap<LogId, Rota>,
    /// What is under way with the indexes of keys.
    pub(crate) keying: BTreeMap<LogId, Keying>,
    /// How far the outboxes to other shards are sent.
    pub(crate) sending: BTreeMap<ShardId, Sending>,
    /// What is written down before it is handed out.
    pub(crate) leasing: Leasing,
    /// Some queue has levels.
    pub(crate) has_levels: bool,
    /// Queues that refuse what is too much.
    pub(crate) bounds: Bounds,
    /// Queues with dead letters that are not written yet.
    pub(crate) dying: Dying,
    /// Logs with records settled out of order: their runs may be dead.
    pub(crate) scattered: BTreeSet<LogId>,
    /// Replay from here gives every frame that is not applied.
    pub(crate) position: Position,
    /// Base offsets that no frame has told which is applied.
    pub(crate) bases: Vec<AppliedBase>,
    /// So many of them are in frames on their way.
    bases_under_way: usize,
    /// The term it is led in.
    pub(super) term: u32,
    /// What is kept of it where it has several replicas.
    pub(super) replica: Option<Box<Replica>>,
    /// Its first frame is on its way, and nothing is handed out before.
    pub(crate) starting: bool,
    next_index: u64,
    lazy_since: Option<Millis>,
    settles: BTreeMap<SubscriptionId, usize>,
    /// What comes now goes into one frame, which has room for it.
    pub(super) atomic: bool,
    /// Bases go into a frame of their own when no other is to come.
    pub(crate) bases_wanted: bool,
}

impl Seat {
    pub(crate) fn new(shard: Shard, room: FrameRoom) -> Seat {
        Seat {
            next_index: shard.applied + 1,
            shard,
            draft: Draft::new(room),
            full: VecDeque::new(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            queues: BTreeMap::new(),
            idle: Idle::default(),
            ready: BTreeSet::new(),
            turn: SubscriptionId(0),
            windows: BTreeMap::new(),
            tailers: BTreeMap::new(),
            tailed: BTreeMap::new(),
            groups: Coordinator::default(),
            follows: VecDeque::new(),
            agendas: BTreeMap::new(),
            rotas: BTreeMap::new(),
            keying: BTreeMap::new(),
            sending: BTreeMap::new(),
            leasing: Leasing::default(),
            has_levels: false,
            bounds: Bounds::default(),
            dying: Dying::default(),
            scattered: BTreeSet::new(),
            position: Position::default(),
            bases: Vec::new(),
            bases_under_way: 0,
            term: TERM,
            replica: None,
            starting: false,
            lazy_since: None,
            settles: BTreeMap::new(),
            atomic: false,
            bases_wanted: false,
        }
    }

    /// What is on its way to the disk or waits to be, in bytes.
    pub(crate) fn under_way_bytes(&self) -> usize {
        let full = self.full.iter().map(Draft::bytes).sum::<usize>();
        self.in_flight_bytes + full + self.draft.bytes()
    }

    /// Something is on its way to the disk, or will be at the end of this turn.
    pub(crate) fn moves(&self) -> bool {
        let large = self.draft.bytes() >= DRAFT_BYTES || self.draft.commands.len() >= COMMANDS_MAX;
        !self.in_flight.is_empty() || !self.full.is_empty() || self.draft.urgent() || large
    }

    /// The next turn has something to do though nothing comes in.
    pub(crate) fn is_busy(&self) -> bool {
        !self.starting && !self.ready.is_empty() || self.dying.is_busy()
    }

    /// Nothing is on its way to the disk or waits to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.draft.is_empty() && self.full.is_empty() && self.in_flight.is_empty()
    }

    /// Begins the next frame if the one in the making has no room for so many more destinations, or
    /// for commands of so many bytes.
    pub(crate) fn make_room(&mut self, dests: usize, command_bytes: usize) {
        if self.atomic || self.draft.is_empty() || self.draft.has_room(dests, command_bytes) {
            return;
        }
        self.full.push_back(self.draft.take());
        self.settles.clear();
    }

    /// What comes now goes into another frame than what came before.
    pub(crate) fn begin_frame(&mut self) {
        if !self.atomic && !self.draft.is_empty() {
            self.full.push_back(self.draft.take());
            self.settles.clear();
        }
    }

    /// Has what comes until [`Seat::end_atomic`] go into one frame: so many destinations, levels that
    /// take so many bytes, and `settles`.
    ///
    /// Fails with `TooLarge` when no frame can hold it.
    pub(crate) fn begin_atomic(
        &mut self,
        (dests, level_bytes): (usize, usize),
        settles: &[Settle],
    ) -> Result<(), Error> {
        let bytes: u64 = settles.iter().map(bytes_of).fold(0, u64::saturating_add);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(level_bytes);
        let room = self.draft.room();
        if dests > room.dests || bytes > room.command_bytes {
            return Err(Error::new(
                Kind::TooLarge,
                "the transaction is larger than a frame can be",
            ));
        }
        self.make_room(dests, bytes);
        self.atomic = true;
        Ok(())
    }

    pub(crate) fn end_atomic(&mut self) {
        self.atomic = false;
    }

    /// Adds a command that nobody waits for.
    pub(crate) fn command(&mut self, command: Command) {
        let bytes = command::bytes_max(&command);
        self.make_room(0, bytes);
        self.draft.grow(bytes);
        self.draft.command(command);
    }

    /// Adds a command that should be written soon; gives its place in the frame in the making.
    pub(crate) fn command_now(&mut self, command: Command) -> usize {
        let bytes = command::bytes_max(&command);
        self.place(command, bytes)
    }

    fn place(&mut self, command: Command, bytes: usize) -> usize {
        self.make_room(0, bytes);
        self.draft.grow(bytes);
        self.draft.command_now(command)
    }

    /// Adds a command of any length that a client brings and waits for the effect of.
    ///
    /// Fails when the command is too large (`TooLarge`), or too many wait (`Throttled`).
    pub(crate) fn client_command(
        &mut self,
        command: Command,
        (client, token): (ClientId, Token),
    ) -> Result<(), Error> {
        let bytes = command::bytes_max(&command);
        if bytes > COMMAND_BYTES_MAX {
            return Err(Error::new(Kind::TooLarge, "the change is larger than a frame can be"));
        }
        if self.full.len() >= FULL_MAX {
            return Err(Error::new(Kind::Throttled, "too many large changes at once"));
        }
        let at = self.place(command, bytes);
        self.draft.wait(client, token, Awaits::Command(at));
        Ok(())
    }

    /// Its frames must be on the disk before anyone hears of them.
    pub(crate) fn synced(&self) -> bool {
        self.shard.id != ShardId::LOCAL
    }

    /// Replay is over: the next frame follows the last one applied, and lies at `end` or later.
    pub(crate) fn caught_up(&mut self, end: Position) {
        self.position = end;
        self.next_index = self.shard.applied + 1;
    }

    /// What is kept in memory of a shard that is not led here any more, or not yet: its state, and what
    /// concerns the journal.
    pub(super) fn without_leader(self) -> Seat {
        let Seat { shard, draft, position, bases, replica, scattered, idle, .. } = self;
        let room = draft.room();
        let seat = Seat::new(shard, room);
        Seat { position, bases, replica, scattered, idle: idle.tallies_only(), ..seat }
    }

    /// Begins to be led, in a term: the next frame follows the last one applied.
    pub(super) fn begin_term(&mut self, term: u32) {
        self.term = term;
        self.next_index = self.shard.applied + 1;
    }

    /// So many entries that are nobody's frames come before the frames that are on their way.
    pub(super) fn shift(&mut self, by: u64) {
        self.next_index += by;
        self.in_flight.iter_mut().for_each(|sealed| sealed.index += by);
        self.follows.iter_mut().for_each(|(index, ..)| *index += by);
        self.bounds.shift(by);
        let logs = self.queues.values_mut().flat_map(|queue| &mut queue.logs);
        logs.for_each(|log| log.shift_leases(by));
    }

    /// Index of the frame in the making.
    pub(crate) fn next_index(&self) -> u64 {
        self.next_index + self.full.len() as u64
    }

    /// The time its next frame is stamped with.
    pub(crate) fn time(&self, now: Millis) -> Millis {
        now.max(self.shard.time).max(self.in_flight.back().map_or(Millis(0), |frame| frame.time))
    }

    /// Puts spans of a log into a settle command of the next frame, together with others of the
    /// subscription.
    pub(crate) fn settle(&mut self, subscription: SubscriptionId, log: LogId, spans: &[Span]) {
        for span in spans {
            self.make_room(0, 64 + RANGE_BYTES);
            let at = *self.settles.entry(subscription).or_insert_with(|| {
                self.draft.command(Command::Settle { subscription, ranges: Vec::new() })
            });
            let Some(Command::Settle { ranges, .. }) = self.draft.commands.get_mut(at) else {
                return;
            };
            match ranges.last_mut() {
                Some(last) if last.log == log && last.last.next() == span.first => {
                    last.last = Range::of(log, *span).last;
                }
                _ => {
                    ranges.push(Range::of(log, *span));
                    self.draft.grow(RANGE_BYTES);
                }
            }
        }
    }

    /// What is settled from now on goes into another command than what was before.
    pub(super) fn settle_anew(&mut self) {
        self.settles.clear();
    }

    /// Puts a span of a log into a lease command of the next frame; gives that frame's index.
    pub(crate) fn lease(&mut self, subscription: SubscriptionId, log: LogId, span: Span) -> u64 {
        self.make_room(0, 64 + RANGE_BYTES);
        let range = Range::of(log, span);
        let leased = !io::planted("lease-forgotten");
        match self.draft.commands.last_mut() {
            Some(Command::Lease { subscription: of, ranges }) if *of == subscription => {
                ranges.extend(leased.then_some(range));
            }
            _ => {
                let ranges = leased.then_some(range).into_iter().collect();
                self.draft.command_now(Command::Lease { subscription, ranges });
            }
        }
        self.draft.grow(RANGE_BYTES);
        self.next_index()
    }

    /// Puts spans of a log into a return command of the next frame. What came back too often dies.
    pub(crate) fn give_back(
        &mut self,
        subscription: SubscriptionId,
        log: LogId,
        spans: &[Span],
        counted: bool,
    ) {
        self.return_spans(subscription, log, spans, counted);
        if counted && !spans.is_empty() {
            self.take_out_overdue(subscription, log, spans);
        }
    }

    /// Puts spans of a log into return commands of the next frame.
    pub(super) fn return_spans(
        &mut self,
        subscription: SubscriptionId,
        log: LogId,
        spans: &[Span],
        counted: bool,
    ) {
        let ranges_max =
            RANGES_PER_COMMAND.min(self.draft.room().command_bytes / (2 * RANGE_BYTES));
        for spans in spans.chunks(ranges_max) {
            let ranges = spans.iter().map(|span| Range::of(log, *span)).collect();
            if !io::planted("lost-return") {
                self.command(Command::Return { subscription, ranges, counted });
            }
        }
    }

    /// Base offsets that a frame has told, in the order they were given.
    pub(crate) fn bases_told(&mut self, told: &[AppliedBase]) {
        let Some(last) = told.last().map(|base| (base.index, base.dest)) else { return };
        let left = self.bases.partition_point(|base| (base.index, base.dest) <= last);
        self.bases.drain(..left);
        self.bases_under_way = self.bases_under_way.saturating_sub(left);
    }

    /// As many bases as a frame carries.
    fn take_bases(&mut self) -> Vec<AppliedBase> {
        self.bases.drain(..self.bases.len().min(self.draft.room().bases)).collect()
    }

    /// As many bases as a frame carries; they count as told when that frame is applied.
    fn show_bases(&mut self) -> Vec<AppliedBase> {
        let untold = self.bases.iter().skip(self.bases_under_way);
        let shown: Vec<AppliedBase> = untold.take(self.draft.room().bases).copied().collect();
        self.bases_under_way += shown.len();
        shown
    }

    /// A frame that tells base offsets and nothing else, when they are wanted and no frame is to come
    /// that could: whoever has lost an index file finds them there.
    pub(crate) fn witness(&mut self) -> Option<FrameDraft> {
        if !self.bases_wanted || !self.is_idle() || !self.synced() {
            return None;
        }
        let applied = self.take_bases();
        self.bases_under_way = 0;
        self.bases_wanted = !self.bases.is_empty();
        (!applied.is_empty()).then(|| FrameDraft {
            shard: self.shard.id,
            term: TERM,
            index: self.shard.applied,
            leader_ts: self.shard.time,
            kind: FrameKind::Witness,
            synced: true,
            dests: Vec::new(),
            applied,
            commands: Bytes::new(),
            batches: Vec::new(),
        })
    }

    /// Lets a client wait until everything before this is applied.
    pub(crate) fn wait_frame(&mut self, client: ClientId, token: Token) {
        self.draft.wait(client, token, Awaits::Frame);
    }

    /// Whether the draft has to go now.
    fn due(&mut self, now: Millis) -> bool {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return false;
        }
        if !self.full.is_empty() {
            return true;
        }
        if self.draft.is_empty() {
            return false;
        }
        let large = self.draft.bytes() >= DRAFT_BYTES || self.draft.commands.len() >= COMMANDS_MAX;
        if self.draft.urgent() || large {
            return self.in_flight.is_empty() || large;
        }
        let since = *self.lazy_since.get_or_insert(now);
        now.since(since) >= LAZY
    }

    /// When a lazy draft has to go, if one waits.
    pub(crate) fn due_at(&self) -> Option<Millis> {
        (!self.draft.is_empty()).then(|| self.lazy_since.map(|since| since.plus(LAZY))).flatten()
    }

    /// Seals the next draft if it is time (or `force`): the frame for the journal.
    pub(crate) fn seal(&mut self, now: Millis, force: bool) -> Option<FrameDraft> {
        let waits = !self.draft.is_empty() || !self.full.is_empty();
        if !(self.due(now) || force && waits) {
            return None;
        }
        let draft = self.full.pop_front().unwrap_or_else(|| {
            self.lazy_since = None;
            self.settles.clear();
            self.draft.take()
        });
        let stamp = Stamp {
            shard: self.shard.id,
            term: self.term,
            index: self.next_index,
            time: self.time(now),
        };
        self.next_index += 1;
        let bases = match self.replica.is_some() {
            true => self.show_bases(),
            false => self.take_bases(),
        };
        if io::planted("state-changed-outside-apply") && self.replica.is_some() {
            self.shard.change_outside_apply();
        }
        let (frame, sealed) = draft.seal(stamp, (bases, self.synced()), &self.shard.keys);
        self.in_flight_bytes += sealed.bytes;
        self.in_flight.push_back(sealed);
        Some(frame)
    }
}

/// Bytes that a settle may take in a frame, encoded.
fn bytes_of(settle: &Settle) -> u64 {
    let of = |offsets: u64| match settle.disposition {
        // Each of them may have a due time of its own.
        Disposition::Returned | Disposition::Released => {
            offsets.saturating_mul((RANGE_BYTES + PARKING_BYTES) as u64)
        }
        // Spans that a range comes to are apart: at least one offset between two is not settled.
        Disposition::Done | Disposition::Rejected => {
            offsets.div_ceil(2).saturating_mul(RANGE_BYTES as u64)
        }
    };
    settle.ranges.iter().map(|range| of(range.offsets())).fold(0, u64::saturating_add)
}
