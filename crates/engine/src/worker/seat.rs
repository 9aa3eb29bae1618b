//! A shard and everything its leader keeps beside it in memory.

use super::grouping::Coordinator;
use super::queue::Queue;
use super::tailing::Tailer;
use super::window::{WideWindow, WindowId};
use crate::command::{Command, Range};
use crate::draft::{Awaits, Draft, Sealed, Stamp};
use crate::shard::Shard;
use journal::{AppliedBase, FrameDraft, Position};
use ledger::{ConsumerKey, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use types::{ClientId, LogId, Millis, ShardId, SubscriptionId, Token};

/// The term of a single node's shards; a cluster's are given by election.
const TERM: u32 = 1;
/// A frame that only settles waits so long for company.
const LAZY: Millis = Millis(5);
/// A draft of this size goes even while others are on their way.
const DRAFT_BYTES: usize = 256 << 10;
/// Most frames of a shard on their way to the disk.
const IN_FLIGHT_MAX: usize = 8;
/// A draft with this many commands is not held back.
const COMMANDS_MAX: usize = 16 << 10;

#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shard: Shard,
    pub(crate) draft: Draft,
    pub(crate) in_flight: VecDeque<Sealed>,
    pub(crate) queues: BTreeMap<SubscriptionId, Queue>,
    /// Queues that may have something to hand out.
    pub(crate) ready: BTreeSet<SubscriptionId>,
    pub(crate) windows: BTreeMap<WindowId, WideWindow>,
    pub(crate) tailers: BTreeMap<ConsumerKey, Tailer>,
    pub(crate) tailed: BTreeMap<LogId, BTreeSet<ConsumerKey>>,
    /// Subscriptions that dispatch a log.
    pub(crate) subscribed: BTreeMap<LogId, BTreeSet<SubscriptionId>>,
    pub(crate) groups: Coordinator,
    /// Changes of names from elsewhere in frames on their way: frame, command, whom to tell.
    pub(crate) follows: VecDeque<(u64, usize, usize, u64)>,
    /// Queues to look at for expiry, and when.
    pub(crate) timers: BTreeSet<(Millis, SubscriptionId)>,
    /// Logs with records settled out of order: their runs may be dead.
    pub(crate) scattered: BTreeSet<LogId>,
    /// Replay from here gives every frame that is not applied.
    pub(crate) position: Position,
    /// Base offsets given since the last frame was sealed.
    pub(crate) bases: Vec<AppliedBase>,
    /// Its first frame is on its way, and nothing is handed out before.
    pub(crate) starting: bool,
    next_index: u64,
    lazy_since: Option<Millis>,
    settles: BTreeMap<SubscriptionId, usize>,
}

impl Seat {
    pub(crate) fn new(shard: Shard) -> Seat {
        Seat {
            next_index: shard.applied + 1,
            shard,
            draft: Draft::default(),
            in_flight: VecDeque::new(),
            queues: BTreeMap::new(),
            ready: BTreeSet::new(),
            windows: BTreeMap::new(),
            tailers: BTreeMap::new(),
            tailed: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            groups: Coordinator::default(),
            follows: VecDeque::new(),
            timers: BTreeSet::new(),
            scattered: BTreeSet::new(),
            position: Position::default(),
            bases: Vec::new(),
            starting: false,
            lazy_since: None,
            settles: BTreeMap::new(),
        }
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

    /// Index of the frame in the making.
    pub(crate) fn next_index(&self) -> u64 {
        self.next_index
    }

    /// The time its next frame is stamped with.
    pub(crate) fn time(&self, now: Millis) -> Millis {
        now.max(self.shard.time).max(self.in_flight.back().map_or(Millis(0), |frame| frame.time))
    }

    /// Puts spans of a log into a settle command of the next frame, together with others of the
    /// subscription.
    pub(crate) fn settle(&mut self, subscription: SubscriptionId, log: LogId, spans: &[Span]) {
        if spans.is_empty() {
            return;
        }
        let at = *self.settles.entry(subscription).or_insert_with(|| {
            self.draft.command(Command::Settle { subscription, ranges: Vec::new() })
        });
        let Some(Command::Settle { ranges, .. }) = self.draft.commands.get_mut(at) else { return };
        for span in spans {
            match ranges.last_mut() {
                Some(last) if last.log == log && last.last.next() == span.first => {
                    last.last = Range::of(log, *span).last;
                }
                _ => ranges.push(Range::of(log, *span)),
            }
        }
    }

    /// Puts spans of a log into a return command of the next frame.
    pub(crate) fn give_back(
        &mut self,
        subscription: SubscriptionId,
        log: LogId,
        spans: &[Span],
        counted: bool,
    ) {
        if !spans.is_empty() && !io::planted("lost-return") {
            let ranges = spans.iter().map(|span| Range::of(log, *span)).collect();
            self.draft.command(Command::Return { subscription, ranges, counted });
        }
    }

    /// Lets a client wait until everything before this is applied.
    pub(crate) fn wait_frame(&mut self, client: ClientId, token: Token) {
        self.draft.wait(client, token, Awaits::Frame);
    }

    /// Whether the draft has to go now.
    fn due(&mut self, now: Millis) -> bool {
        if self.draft.is_empty() {
            return false;
        }
        let large = self.draft.bytes() >= DRAFT_BYTES || self.draft.commands.len() >= COMMANDS_MAX;
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return false;
        }
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

    /// Seals the draft if it is time (or `force`): the frame for the journal.
    pub(crate) fn seal(&mut self, now: Millis, force: bool) -> Option<FrameDraft> {
        if !self.due(now) && (!force || self.draft.is_empty()) {
            return None;
        }
        self.lazy_since = None;
        self.settles.clear();
        let stamp = Stamp {
            shard: self.shard.id,
            term: TERM,
            index: self.next_index,
            time: self.time(now),
        };
        self.next_index += 1;
        let draft = std::mem::take(&mut self.draft);
        let bases = std::mem::take(&mut self.bases);
        let (frame, sealed) = draft.seal(stamp, bases, self.synced());
        self.in_flight.push_back(sealed);
        Some(frame)
    }
}
