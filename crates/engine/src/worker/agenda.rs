//! What of a log's schedule is due next, as its leader keeps it in memory.
//!
//! Only the nearest entries are here, in a bounded number. The rest, however many and however far
//! off, is in the index of the schedule and is walked through, some entries a turn, when the nearest
//! ones run low.

use super::Worker;
use super::nearest::{Nearest, Seen, Turn};
use super::upkeep::Due;
use crate::api::{Reply, Schedule as ScheduleOp, Scheduled, ScheduledEntry, Unschedule};
use crate::command::{Activation, Command};
use crate::draft::{Awaits, DESTS_MAX};
use crate::envelope::Envelope;
use crate::index::Run;
use crate::levels::Levels;
use crate::shard::Schedule;
use journal::Dest;
use ledger::TimerId;
use types::{ClientId, Error, Kind, LogId, LogRef, Millis, Offset, ShardId, Token};

/// Entries that a listing looks at in one turn.
const LIST_LOOK_MAX: usize = 16 << 10;
/// Entries that one turn proposes to activate.
const ACTIVATE_PER_TURN: usize = 1024;
/// Entries of a schedule that are proposed and not applied, at most.
const PROPOSED_MAX: usize = 4 * ACTIVATE_PER_TURN;
/// Entries that a listing gives at most.
const LIST_MAX: u32 = 1024;
/// Settled entries leave the index when there is one for so many that wait.
const WAITING_PER_SETTLED: u64 = 8;

/// The nearest entries of one schedule.
#[derive(Debug)]
pub(crate) struct Agenda {
    /// Every entry that waits and was not proposed.
    near: Nearest,
    /// Proposed to be activated, and not applied.
    proposed: usize,
    /// Settled since the index was last swept.
    settled: u64,
    timer: Option<(Millis, TimerId)>,
}

impl Agenda {
    /// Of a schedule with `waiting` entries that nobody has looked at.
    pub(crate) fn new(near_max: usize, waiting: u64) -> Agenda {
        let near = Nearest::new(near_max, waiting > 0);
        Agenda { near, proposed: 0, settled: 0, timer: None }
    }

    /// Looks at the next entries beyond the horizon.
    fn walk(&mut self, schedule: &Schedule, runs: impl Iterator<Item = Run>) {
        self.near.walk(runs.map(|run| Seen {
            next: run.end(),
            turn: schedule.waits(run.first).then_some((run.appended, run.first)),
        }));
    }

    fn take_due(&mut self, now: Millis) -> Vec<Activation> {
        let early = if io::planted("timer-early") { Millis(500) } else { Millis(0) };
        let room = ACTIVATE_PER_TURN.min(PROPOSED_MAX.saturating_sub(self.proposed));
        let mut due = Vec::new();
        while due.len() < room
            && let Some((when, offset)) = self.near.pop_due(now.plus(early))
        {
            due.push(Activation { offset, due: when });
        }
        self.proposed += due.len();
        due
    }

    /// When there is something to do next, if nothing else happens.
    fn next_due(&self) -> Option<Millis> {
        let first = self.near.first().map(|(due, _)| due);
        first.filter(|_| self.proposed < PROPOSED_MAX)
    }
}

impl Worker {
    /// Puts records into the schedules of their logs.
    pub(super) fn schedule(&mut self, client: ClientId, token: Token, op: &ScheduleOp) {
        let append = &op.append;
        let Some(seat) = self.seats.get_mut(&append.to[0].shard) else { return };
        let count = match super::checked(seat, append) {
            Ok(stamp) => crate::draft::count_of(&append.payload).map(|count| (stamp, count)),
            Err(error) => Err(error),
        };
        let placed = count.and_then(|(stamp, count)| {
            let dests = count.saturating_mul(append.to.len());
            if count == 0 || dests > DESTS_MAX {
                let message = "too many scheduled records at once";
                return Err(Error::new(Kind::TooLarge, message));
            }
            let time = seat.time(self.now);
            let levels = seat.levels_of(append)?;
            let bytes = levels.as_ref().map_or(0, |_| count * Levels::one(0).bytes_max());
            seat.make_room(dests, bytes);
            let first = seat.draft.schedule(append, op.due, time, stamp);
            for (span, level) in
                levels.iter().flat_map(|it| it.spans(Offset(0), u32::try_from(count).unwrap_or(0)))
            {
                for record in span.offsets() {
                    let record = usize::try_from(record.0).unwrap_or_default();
                    seat.rank_at(first + record * append.to.len(), level);
                }
            }
            Ok(first)
        });
        match placed {
            Ok(dest) => seat.draft.wait(client, token, Awaits::Append { dest, delta: 0 }),
            Err(error) => self.clients.reply(client, token, Err(error)),
        }
    }

    /// Takes entries out of a schedule, if they still wait then.
    pub(super) fn unschedule(&mut self, client: ClientId, token: Token, op: Unschedule) {
        let Some(seat) = self.seats.get_mut(&op.log.shard) else { return };
        let mut offsets = op.offsets;
        offsets.sort_unstable();
        offsets.dedup();
        let command = Command::Unschedule { log: op.log.log, offsets };
        let asked = match seat.shard.logs.contains_key(&op.log.log) {
            true => seat.client_command(command, (client, token)),
            false => Err(super::no_log()),
        };
        if let Err(error) = asked {
            self.clients.reply(client, token, Err(error));
        }
    }

    /// Lists a schedule, by the order in which its entries were made.
    pub(super) fn scheduled(&self, op: &Scheduled) -> Result<Reply, Error> {
        let seat = self.seats.get(&op.log.shard).ok_or_else(super::no_log)?;
        if !seat.shard.logs.contains_key(&op.log.log) {
            return Err(super::no_log());
        }
        let empty = Schedule::default();
        let schedule = seat.shard.schedules.get(&op.log.log).unwrap_or(&empty);
        let index = self.store.index.log(Schedule::id_of(op.log.log));
        let runs = index.into_iter().flat_map(|index| index.in_memory(op.from));
        let mut next = None;
        let mut entries = Vec::new();
        for (looked_at, run) in runs.enumerate() {
            if entries.len() >= op.count_max.min(LIST_MAX) as usize || looked_at >= LIST_LOOK_MAX {
                next = Some(run.first);
                break;
            }
            if schedule.waits(run.first) {
                entries.push(ScheduledEntry { offset: run.first, due: run.appended });
            }
        }
        Ok(Reply::Scheduled { entries, next, total: schedule.count() })
    }

    /// Has every schedule looked through, from the beginning.
    pub(super) fn start_agendas(&mut self) {
        let near_max = self.schedule_near_max;
        for (shard, seat) in &mut self.seats {
            for (log, schedule) in &seat.shard.schedules {
                seat.agendas.insert(*log, Agenda::new(near_max, schedule.count()));
                if !io::planted("schedule-forgotten") {
                    self.agendas_low.insert((*shard, *log));
                }
            }
        }
    }

    /// An entry of a schedule is on the disk.
    pub(super) fn scheduled_entry(&mut self, shard: ShardId, log: LogId, turn: Turn) {
        let near_max = self.schedule_near_max;
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        seat.agendas.entry(log).or_insert_with(|| Agenda::new(near_max, 0)).near.add(turn);
        self.rearm_agenda(shard, log);
    }

    /// Proposes to activate what is due in a schedule.
    pub(super) fn look_at_agenda(&mut self, shard: ShardId, log: LogId) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(agenda) = seat.agendas.get_mut(&log) else { return };
        let entries = agenda.take_due(self.now);
        if !entries.is_empty() {
            seat.command_now(Command::Activate { log, entries });
        }
        self.rearm_agenda(shard, log);
    }

    /// Looks on through the schedules whose nearest entries run low.
    pub(super) fn walk_agendas(&mut self) {
        for (shard, log) in std::mem::take(&mut self.agendas_low) {
            let Some(seat) = self.seats.get_mut(&shard) else { continue };
            let Some(agenda) = seat.agendas.get_mut(&log) else { continue };
            let Some(schedule) = seat.shard.schedules.get(&log) else { continue };
            let from = agenda.near.walk_from().unwrap_or(schedule.ledger.floor());
            let index = self.store.index.log(Schedule::id_of(log));
            let runs = index.into_iter().flat_map(|index| index.in_memory(from));
            agenda.walk(schedule, runs);
            self.rearm_agenda(shard, log);
        }
    }

    /// Sets the timer of a schedule to its first entry, and has it looked through if that runs low.
    fn rearm_agenda(&mut self, shard: ShardId, log: LogId) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(agenda) = seat.agendas.get_mut(&log) else { return };
        if agenda.near.is_low() {
            self.agendas_low.insert((shard, log));
        }
        let next = agenda.next_due();
        if agenda.timer.map(|(due, _)| due) == next {
            return;
        }
        if let Some((_, timer)) = agenda.timer.take() {
            self.timers.cancel(timer);
        }
        let due = Due::Schedule(LogRef { shard, log });
        agenda.timer = next.map(|next| (next, self.timers.arm(next, due)));
    }

    pub(super) fn agenda_due(&mut self, log: LogRef) {
        let seat = self.seats.get_mut(&log.shard);
        if let Some(agenda) = seat.and_then(|seat| seat.agendas.get_mut(&log.log)) {
            agenda.timer = None;
            self.look_at_agenda(log.shard, log.log);
        }
    }

    /// Entries of a schedule were appended to its log: what it takes for whoever reads there.
    pub(super) fn activated(
        &mut self,
        shard: ShardId,
        (log, proposed): (LogId, usize),
        moved: &[(Offset, Offset)],
        time: Millis,
    ) {
        self.wake_readers(shard, log);
        for (from, base) in moved {
            let Some(run) = self.store.refer(log, (*from, *base), time) else { continue };
            self.arrived.add(shard, reference(log, &run), time);
            let Some(seat) = self.seats.get_mut(&shard) else { continue };
            for id in seat.shard.readers(log) {
                let Some(queue) = seat.queues.get_mut(id) else { continue };
                queue.tally.published += 1;
                if queue.options.max_bytes.is_some()
                    && let Some(log) = queue.log_mut(log)
                {
                    log.add_lengths(*base, std::iter::once(run.at.len));
                }
            }
        }
        self.log_touched(shard, log);
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        if let Some(agenda) = seat.agendas.get_mut(&log) {
            agenda.proposed = agenda.proposed.saturating_sub(proposed);
            agenda.settled += moved.len() as u64;
        }
        self.rearm_agenda(shard, log);
    }

    /// Entries of a schedule were cancelled.
    pub(super) fn unscheduled(&mut self, shard: ShardId, log: LogId, offsets: &[Offset]) {
        let index = self.store.index.log(Schedule::id_of(log));
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(agenda) = seat.agendas.get_mut(&log) else { return };
        for offset in offsets {
            let run = index.and_then(|index| index.in_memory(*offset).next());
            if let Some(run) = run.filter(|run| run.first == *offset) {
                agenda.near.remove((run.appended, *offset));
            }
        }
        agenda.settled += offsets.len() as u64;
        self.rearm_agenda(shard, log);
    }

    /// The log is gone, and its schedule with it.
    pub(super) fn drop_agenda(&mut self, log: LogRef) {
        self.store.index.remove(Schedule::id_of(log.log));
        let Some(seat) = self.seats.get_mut(&log.shard) else { return };
        if let Some(Agenda { timer: Some((_, timer)), .. }) = seat.agendas.remove(&log.log) {
            self.timers.cancel(timer);
        }
    }

    /// Takes settled entries out of the index, where they are many beside those that wait.
    pub(super) fn sweep_schedules(&mut self, every: bool) {
        for seat in self.seats.values_mut() {
            for (log, schedule) in &seat.shard.schedules {
                let agenda = seat.agendas.get_mut(log);
                let settled = agenda.as_ref().map_or(0, |agenda| agenda.settled);
                let many = settled > 0 && settled * WAITING_PER_SETTLED >= schedule.count();
                if !every && !many {
                    continue;
                }
                let id = Schedule::id_of(*log);
                self.store.index.sweep(id, usize::MAX, |run| !schedule.waits(run.first));
                if let Some(agenda) = agenda {
                    agenda.settled = 0;
                }
            }
        }
    }
}

/// An activated entry as a destination of the frame that activated it.
fn reference(log: LogId, run: &Run) -> Dest {
    let envelope = Envelope { expiring: run.expiring, ..Envelope::default() };
    Dest { log, batch: 0, records: run.count, envelope: envelope.encode() }
}
