//! What follows when a frame is where it was to be: its effects, answers and deliveries.

use super::{Input, Seat, Worker};
use crate::api::{Appended, Reply, Verdict};
use crate::cache;
use crate::command::Activation;
use crate::draft::{Awaits, Pending, Sealed};
use crate::envelope::Envelope;
use crate::index::{self, PageKey, Run};
use crate::metrics::{self, Metrics};
use crate::shard::{Effect, Entry, Keys, Schedule};
use catalog::LogChange;
use journal::{AppliedBase, Dest, FrameKind, Location, Placed, REJECTED, ScannedFrame};
use record::batch::Header;
use std::collections::{BTreeMap, BTreeSet};
use types::{
    ClientId, Error, Kind, LogId, Millis, Offset, ShardId, SubscriptionId, SubscriptionRef, Token,
};

/// What is due within this time is kept in memory for whoever reads it then.
const SOON: Millis = Millis(60_000);

/// The appends of a turn.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Where something went, and whether it may have a time to live; not twice in a row.
    logs: Vec<(ShardId, LogId, bool)>,
    since: Option<Millis>,
}

impl Arrivals {
    fn note(&mut self, shard: ShardId, sealed: &Sealed) {
        for Dest { log, envelope, .. } in &sealed.dests {
            self.add(shard, (*log, !envelope.is_empty()), sealed.time);
        }
    }

    /// Notes an append beside those of a frame's batches.
    pub(super) fn add(&mut self, shard: ShardId, (log, timed): (LogId, bool), time: Millis) {
        let arrival = (shard, log, timed);
        if self.logs.last() != Some(&arrival) {
            self.logs.push(arrival);
        }
        self.since = self.since.into_iter().chain([time]).min();
    }

    /// Whether what was appended at `time` came in this turn.
    pub(super) fn include(&self, time: Millis) -> bool {
        self.since.is_some_and(|since| time >= since)
    }
}

/// A frame's appends: what each destination said.
type Bases = Vec<(Verdict, Offset)>;

impl Worker {
    /// A frame of one of this worker's shards is on the disk (or written, where that is enough).
    pub(super) fn placed(&mut self, placed: Placed) {
        match placed.kind {
            FrameKind::Relocate => self.relocated(&placed),
            _ if self.is_replica && placed.shard != ShardId::LOCAL => self.replica_placed(&placed),
            FrameKind::Entry => self.entry_placed(placed),
            kind => debug_assert!(!kind.is_replicas(), "there is one replica of each shard"),
        }
    }

    pub(super) fn entry_placed(&mut self, placed: Placed) {
        let shard = placed.shard;
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(sealed) = seat.in_flight.pop_front() else { return };
        seat.in_flight_bytes -= sealed.bytes;
        assert_eq!(sealed.index, placed.index, "frames are placed in the order they were sealed");
        let mut effects = Vec::new();
        seat.shard.apply(
            Entry {
                index: sealed.index,
                time: sealed.time,
                commands: &sealed.commands,
                dests: &sealed.dests,
                headers: &sealed.headers,
            },
            &mut effects,
        );
        seat.position = placed.position;
        let was_starting = std::mem::take(&mut seat.starting);
        seat.dying.go_on();
        seat.leased(placed.index);
        seat.bounds.applied(placed.index);
        let far = far_off(&sealed, self.now);
        let shared = sealed.dests.len() > sealed.batches.len();
        for (at, location) in placed.batches.iter().enumerate() {
            if !far.contains(&at) {
                self.store.cache.add(cache::key(location), sealed.batches[at].clone(), shared);
            }
        }
        self.effects(shard, &sealed, &placed.batches, effects);
        if was_starting {
            self.started(shard);
        }
    }

    fn effects(
        &mut self,
        shard: ShardId,
        sealed: &Sealed,
        locations: &[Location],
        effects: Vec<Effect>,
    ) {
        let askers = askers(sealed);
        let asker = |command: usize| askers.get(&command).copied();
        let mut bases: Bases = vec![(Verdict::Gone, Offset(0)); sealed.dests.len()];
        let (mut changed, mut ways) = (Vec::new(), Vec::new());
        let mut follow: BTreeMap<usize, Vec<LogChange>> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Appended { dest, verdict, base } => {
                    bases[dest] = (verdict, base);
                    self.appended((shard, sealed.index), sealed, locations, (dest, verdict, base));
                    let Dest { log, envelope, .. } = &sealed.dests[dest];
                    let way = Envelope::decode(envelope).way;
                    ways.extend(way.map(|way| (way, verdict, *log)));
                }
                Effect::Settled { subscription, log, span } => {
                    self.settled(shard, subscription, (log, span), false);
                }
                Effect::Withdrawn { subscription, log, span } => {
                    self.settled(shard, subscription, (log, span), true);
                }
                Effect::SettledForgotten { log, span } => {
                    self.settled_forgotten(shard, log, span);
                }
                Effect::Rewound { command, subscription, log, rewound } => {
                    let of = SubscriptionRef { shard, subscription };
                    self.rewound(of, log, (&rewound, asker(command)));
                }
                Effect::Forgotten { subscription, log, span } => {
                    self.forgotten(shard, subscription, log, span);
                }
                Effect::Trimmed { log, start } => self.trimmed(shard, log, start),
                Effect::Changed { command, result } => changed.push((command, result)),
                Effect::Follow { command, change } => {
                    follow.entry(command).or_default().push(change);
                }
                Effect::Followed(change) => self.log_changed(&change),
                Effect::Group { command, name, reply, effects } => {
                    self.group_applied(shard, asker(command), &name, (reply, effects));
                }
                Effect::Producer { command, id } => {
                    self.tell(asker(command), Reply::Producer(id));
                }
                Effect::Activated { log, proposed, moved } => {
                    self.activated(shard, (log, &proposed), &moved, sealed.time);
                }
                Effect::Parked { subscription, log, entries } => {
                    self.parked(shard, (subscription, log), &entries);
                }
                Effect::KeyRun { log, first, end } => self.key_run_put(shard, log, (first, end)),
                Effect::NamesFollowed { upto } => self.tell_names_followed(shard, upto),
                effect => self.told(shard, effect, &askers),
            }
        }
        // An outbox is sent when the index has all that the frame put into it.
        for (way, verdict, log) in ways {
            self.on_its_way(shard, way, verdict, log);
        }
        for (command, result) in changed {
            let follow = follow.remove(&command).unwrap_or_default();
            self.changed(shard, asker(command), result, follow);
        }
        self.tell_followed(shard, sealed.index);
        if self.is_replica && shard == ShardId(0) {
            self.give_names();
        }
        self.arrived.note(shard, sealed);
        for pending in &sealed.pending {
            self.answer(shard, sealed, &bases, *pending);
        }
    }

    /// What a command did that somebody asked for, or time did.
    fn told(
        &mut self,
        shard: ShardId,
        effect: Effect,
        askers: &BTreeMap<usize, (ClientId, Token)>,
    ) {
        let asker = |command: usize| askers.get(&command).copied();
        match effect {
            Effect::SessionSet { command, set } => {
                self.tell(asker(command), Reply::SessionSet(set));
            }
            Effect::Unscheduled { command, log, offsets } => {
                self.unscheduled(shard, log, &offsets);
                self.tell(asker(command), Reply::Unscheduled(offsets));
            }
            other => self.recurrence_applied(shard, other, askers),
        }
    }

    /// Answers who asked for a command, if somebody did.
    fn tell(&mut self, asker: Option<(ClientId, Token)>, reply: Reply) {
        if let Some((client, token)) = asker {
            self.clients.reply(client, token, Ok(reply));
        }
    }

    fn answer(&mut self, shard: ShardId, sealed: &Sealed, bases: &Bases, pending: Pending) {
        let Some(seat) = self.seats.get(&shard) else { return };
        let start = |log| seat.shard.logs.get(&log).map_or(Offset(0), |log| log.start);
        let reply = match pending.awaits {
            Awaits::Append { dest, delta } => {
                let (verdict, base) = bases[dest];
                if verdict == Verdict::Unsure {
                    let why = "what the append expects has to be looked up once more";
                    let error = Error::new(Kind::Unavailable, why);
                    return self.clients.reply(pending.client, pending.token, Err(error));
                }
                Reply::Appended(Appended {
                    verdict,
                    base_offset: base.plus(delta),
                    time: sealed.time,
                    start: start(sealed.dests[dest].log),
                })
            }
            Awaits::Trim { log } => Reply::Trimmed(start(log)),
            Awaits::Purged(count) => Reply::Purged(count),
            Awaits::Moved(count) => Reply::Moved(count),
            Awaits::Removed(removed) => Reply::Removed(removed),
            Awaits::Frame => Reply::Done,
            Awaits::Command(_) => return,
        };
        self.clients.reply(pending.client, pending.token, Ok(reply));
    }

    fn appended(
        &mut self,
        (shard, index): (ShardId, u64),
        sealed: &Sealed,
        locations: &[Location],
        (at, verdict, base): (usize, Verdict, Offset),
    ) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let dest = &sealed.dests[at];
        note_base(seat, index, at, verdict, base);
        if verdict != Verdict::Appended {
            return;
        }
        let batch = usize::from(dest.batch);
        let run = run_of(dest, &sealed.headers[batch], base, sealed.time, &locations[batch]);
        self.store.index.insert(dest.log, run, &locations[batch]);
        if let Some(log) = Keys::log_of(dest.log) {
            return self.key_page_placed(shard, log, base);
        }
        if let Some(log) = Schedule::log_of(dest.log) {
            return self.scheduled_entry(shard, log, run);
        }
        self.wake_readers(shard, dest.log);
        let lengths = self.store.cache.get(cache::key(&locations[batch]));
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        for id in seat.shard.readers(dest.log) {
            let Some(queue) = seat.queues.get_mut(id) else { continue };
            queue.tally.published += u64::from(dest.records);
            if queue.options.max_bytes.is_some()
                && let (Some(log), Some(batch)) = (queue.log_mut(dest.log), lengths.as_ref())
            {
                log.add_lengths(base, batch.value_lengths());
            }
        }
        self.log_touched(shard, dest.log);
        self.keys_grew(shard, dest.log);
    }

    /// After consumers had their chance at what arrived this turn: limits, and times to live.
    pub(super) fn look_at_arrivals(&mut self) {
        for (shard, log, timed) in std::mem::take(&mut self.arrived).logs {
            self.limit_and_arm(shard, log, timed);
        }
    }

    fn limit_and_arm(&mut self, shard: ShardId, log: LogId, may_expire: bool) {
        let Some(seat) = self.seats.get(&shard) else { return };
        let concerned: Vec<SubscriptionId> = seat
            .shard
            .readers(log)
            .iter()
            .filter(|id| {
                seat.queues.get(id).is_some_and(|queue| {
                    let options = &queue.options;
                    let timed = options.message_ttl.is_some() || may_expire;
                    options.max_len.is_some()
                        || options.max_bytes.is_some()
                        || timed && queue.timer.is_none_or(|(due, _)| due > self.now)
                })
            })
            .copied()
            .collect();
        for id in concerned {
            self.limit_length(shard, id);
            let subscription = SubscriptionRef { shard, subscription: id };
            match may_expire {
                true => self.rearm(subscription),
                false => self.arm(subscription),
            }
        }
    }

    fn settled(
        &mut self,
        shard: ShardId,
        subscription: SubscriptionId,
        (log, span): (LogId, ledger::Span),
        withdrawn: bool,
    ) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        if let Some((ledger, _)) = super::queue::ledger_of(&seat.shard, subscription, log)
            && match ledger.keeps_settled() {
                true => withdrawn || ledger.floor() < ledger.kept_from(),
                false => ledger.settled_above_floor() > 0,
            }
        {
            self.store.index.mark_stale(log, span.first, span.end);
            seat.scattered.insert(log);
        }
        let Some(queue) = seat.queues.get_mut(&subscription) else { return };
        if queue.consumers.is_empty() {
            seat.idle.maybe.insert(subscription);
        }
        if (queue.options.max_bytes.is_some() || queue.delays())
            && let Some(log) = queue.log_mut(log)
        {
            log.forget_lengths(span);
            log.forget_terms(span);
        }
    }

    fn trimmed(&mut self, shard: ShardId, log: LogId, start: Offset) {
        let index = &mut self.store.index;
        let inside = match Schedule::log_of(log) {
            Some(_) if !io::planted("settled-entry-dropped") => index.trim_pages(log, start),
            _ => index.trim(log, start),
        };
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        if inside {
            seat.scattered.insert(log);
        }
        if let Some(keying) = seat.keying.get_mut(&log) {
            keying.gives_up = true;
        }
    }

    fn forgotten(
        &mut self,
        shard: ShardId,
        subscription: SubscriptionId,
        log: LogId,
        span: ledger::Span,
    ) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(queue) = seat.queues.get_mut(&subscription) else { return };
        let Some((ledger, _)) = super::queue::ledger_of(&seat.shard, subscription, log) else {
            return;
        };
        if let Some(log) = queue.log_mut(log) {
            log.dispatch.forget(ledger, span);
            log.forget_lengths(span);
            log.forget_terms(span);
        }
        seat.ready.insert(subscription);
        seat.idle.maybe.insert(subscription);
    }

    /// Something was appended to a log, or it is gone: whoever waits for it has a look.
    pub(super) fn log_touched(&mut self, shard: ShardId, log: LogId) {
        self.reads_touched.extend(self.reads.of_log(log));
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        if let Some(keys) = seat.tailed.get(&log) {
            self.tails_ready.extend(keys.iter().map(|key| (shard, *key)));
        }
        if let Some(known) = seat.shard.logs.get(&log) {
            let awake = known.subscriptions.iter().filter(|id| seat.queues.contains_key(id));
            seat.ready.extend(awake);
        }
    }

    /// Tells the workers whose changes of names this frame followed.
    fn tell_followed(&mut self, shard: ShardId, index: u64) {
        while let Some(seat) = self.seats.get_mut(&shard)
            && let Some((at, _, from, ticket)) = seat.follows.front().copied()
            && at <= index
        {
            seat.follows.pop_front();
            match from == self.number {
                true => self.followed(ticket),
                false => self.ports.mailboxes[from].push(Input::Followed { ticket }),
            }
        }
    }

    /// Applies a frame found in the journal at the start. Nobody waits and nothing is handed out.
    ///
    /// True when it was an entry not applied yet. Fails when a command cannot be read.
    pub(crate) fn replay(&mut self, frame: &ScannedFrame) -> Result<bool, crate::Unreadable> {
        let Some(seat) = self.seats.get_mut(&frame.shard) else { return Ok(false) };
        if frame.kind != FrameKind::Relocate {
            seat.bases_told(&frame.applied);
        }
        match frame.kind {
            FrameKind::Entry if frame.index > seat.shard.applied => {
                // Only where the store is to be salvaged; the journal refuses otherwise.
                let lost = frame.index - seat.shard.applied - 1;
                if lost > 0 {
                    tell_lost(&self.ports.metrics, frame, lost);
                    seat.shard.pass_over(lost);
                }
            }
            FrameKind::Relocate => {
                self.replay_relocate(frame);
                return Ok(false);
            }
            _ => return Ok(false),
        }
        let commands = crate::command::decode(&frame.commands)?;
        let headers: Vec<Header> = frame
            .batches
            .iter()
            .map(|batch| Header::decode(&batch.header).map_err(|_| crate::Unreadable))
            .collect::<Result<_, _>>()?;
        let mut effects = Vec::new();
        seat.shard.apply(
            Entry {
                index: frame.index,
                time: frame.leader_ts,
                commands: &commands,
                dests: &frame.dests,
                headers: &headers,
            },
            &mut effects,
        );
        seat.position = frame.position;
        for effect in effects {
            match effect {
                Effect::Appended { dest: at, verdict, base } => {
                    note_base(seat, frame.index, at, verdict, base);
                    let dest = &frame.dests[at];
                    let batch = usize::from(dest.batch);
                    let location = &frame.batches[batch].location;
                    if verdict == Verdict::Appended
                        && !self.store.index.is_indexed(dest.log, location)
                    {
                        let run = run_of(dest, &headers[batch], base, frame.leader_ts, location);
                        self.store.index.insert(dest.log, run, location);
                    }
                }
                Effect::Activated { log, moved, .. } => {
                    let time = frame.leader_ts;
                    let moved = moved.into_iter().map(|(entry, base)| (log, entry, (base, time)));
                    self.unreferred.extend(moved);
                }
                // The pages of schedules are not known yet, and what is in memory may be looked for.
                Effect::Trimmed { log, .. } if Schedule::log_of(log).is_some() => {}
                Effect::Trimmed { log, start } => {
                    self.store.index.trim(log, start);
                }
                Effect::Followed(LogChange::DropLog(log)) => {
                    self.store.losses.forget(log.log);
                    let hidden = [Schedule::id_of(log.log), Keys::id_of(log.log)];
                    [log.log].into_iter().chain(hidden).for_each(|id| self.store.index.remove(id));
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// Has logs refer to what the frames that were replayed have activated; `read` reads a page. What
    /// was activated long ago may be gone: its segment was given back, for nobody needed it any more.
    ///
    /// Fails with the first error of `read`.
    pub(crate) fn refer_replayed<E>(
        &mut self,
        mut read: impl FnMut(LogId, PageKey) -> Result<Vec<Run>, E>,
    ) -> Result<(), E> {
        for (log, Activation { offset, due, .. }, to) in std::mem::take(&mut self.unreferred) {
            let id = Schedule::id_of(log);
            let in_memory =
                self.store.index.log(id).and_then(|runs| {
                    runs.in_memory(offset).next().filter(|run| run.first == offset)
                });
            let run = match in_memory {
                Some(run) => Some(run),
                None => self.store.index.dues.find(id, (due, offset), &mut read)?,
            };
            if let Some(run) = run {
                self.store.refer(log, run, to);
            }
        }
        Ok(())
    }
}

/// The batches of a frame that nobody reads soon: they are only scheduled, for later.
fn far_off(sealed: &Sealed, now: Millis) -> BTreeSet<usize> {
    let mut far = BTreeSet::new();
    for dest in sealed.dests.iter().filter(|dest| Schedule::log_of(dest.log).is_some()) {
        let due = Envelope::decode(&dest.envelope).due;
        if due.is_some_and(|due| due > now.plus(SOON)) {
            far.insert(usize::from(dest.batch));
        }
    }
    far
}

/// Who waits for the effect of which command.
fn askers(sealed: &Sealed) -> BTreeMap<usize, (ClientId, Token)> {
    let pending = sealed.pending.iter();
    let asker = |pending: &Pending| match pending.awaits {
        Awaits::Command(at) => Some((at, (pending.client, pending.token))),
        _ => None,
    };
    pending.filter_map(asker).collect()
}

/// So many frames before this one are not there.
fn tell_lost(metrics: &Metrics, frame: &ScannedFrame, lost: u64) {
    let (shard, last) = (frame.shard, frame.index - 1);
    tracing::error!(%shard, lost, last, "frames with their commands are lost");
    metrics::add(&metrics.damage.lost_frames, lost);
}

pub(super) fn note_base(seat: &mut Seat, index: u64, dest: usize, verdict: Verdict, base: Offset) {
    let base = if verdict == Verdict::Appended { base } else { REJECTED };
    let dest = u16::try_from(dest).expect("a frame has few destinations");
    seat.bases.push(AppliedBase { index, dest, base });
}

pub(super) fn run_of(
    dest: &Dest,
    header: &Header,
    base: Offset,
    appended: Millis,
    at: &Location,
) -> Run {
    let Envelope { expiring, due, .. } = Envelope::decode(&dest.envelope);
    Run {
        first: base,
        max_timestamp: header.max_timestamp,
        // What waits in a schedule counts as appended when it is due: nothing else is kept of that.
        appended: due.unwrap_or(appended),
        count: dest.records,
        at: index::place(at),
        expiring,
        referred: false,
    }
}
