//! What of a log's schedule is due next, as its leader keeps it in memory.
//!
//! The nearest entries are at hand, in a bounded number ([`Agenda`]). Of the others, those that no index
//! file has yet are kept in the order of their due times by short lists, and the rest is in index files
//! in that order (`index/dues.rs`). When the nearest ones run low, the next ones are the least of all
//! lists and rows of pages: some a turn.

mod entries;

pub(crate) use entries::Agenda;

use super::Worker;
use super::store::Waiter;
use super::upkeep::Due;
use crate::api::{Reply, Schedule as ScheduleOp, Scheduled, ScheduledEntry, Unschedule};
use crate::command::{Activation, Command};
use crate::draft::{Awaits, DESTS_MAX};
use crate::index::{Look, PageKey, Run};
use crate::levels::Levels;
use crate::shard::Schedule;
use ledger::Span;
use std::collections::{BTreeMap, BTreeSet};
use types::{ClientId, Error, Kind, LogId, LogRef, Millis, Offset, ShardId, Token};

/// Entries that one turn proposes to activate.
const ACTIVATE_PER_TURN: usize = 1024;
/// Entries of a schedule that are proposed and not applied, at most.
const PROPOSED_MAX: usize = 4 * ACTIVATE_PER_TURN;
/// Entries that a listing gives at most.
const LIST_MAX: u32 = 1024;

/// Listings that wait for the disk.
#[derive(Debug, Default)]
pub(super) struct Listings {
    waiting: BTreeMap<u64, (ClientId, Token, Scheduled)>,
    last: u64,
}

impl Worker {
    /// Puts records into the schedules of their logs.
    pub(super) fn schedule(&mut self, client: ClientId, token: Token, op: &ScheduleOp) {
        let append = &op.append;
        let Some(seat) = self.seats.get_mut(&append.to[0].shard) else { return };
        let indexed = append.to.iter().any(|dest| seat.shard.keys.contains_key(&dest.log));
        let count = match super::appending::checked(seat, append) {
            Ok(_) if indexed => Err(Error::new(
                Kind::Invalid,
                "a log that indexes its keys takes nothing that is to be appended later",
            )),
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
            // What is cancelled of a batch has an offset in the log all the same, and is settled there.
            let is_queue =
                |to: &LogRef| seat.shard.logs.get(&to.log).is_some_and(|log| log.options.interest);
            let together = levels.is_none() && append.to.iter().all(is_queue);
            let first = seat.draft.schedule(append, op.due, (time, stamp), together);
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
    pub(super) fn scheduled(&mut self, client: ClientId, token: Token, op: Scheduled) {
        match self.look_at_schedule(&op) {
            Ok(Ok(reply)) => self.clients.reply(client, token, Ok(reply)),
            Ok(Err(page)) => {
                self.listings.last += 1;
                let id = self.listings.last;
                self.listings.waiting.insert(id, (client, token, op));
                let log = Schedule::id_of(op.log.log);
                self.store.load_page(log, page, Waiter::Listing { id });
            }
            Err(error) => self.clients.reply(client, token, Err(error)),
        }
    }

    /// What a listing waited for has come from the disk.
    pub(super) fn listing_loaded(&mut self, id: u64) {
        if let Some((client, token, op)) = self.listings.waiting.remove(&id) {
            self.scheduled(client, token, op);
        }
    }

    /// The page if one has to be read before there is anything to list.
    fn look_at_schedule(&self, op: &Scheduled) -> Result<Result<Reply, PageKey>, Error> {
        let seat = self.seats.get(&op.log.shard).ok_or_else(super::no_log)?;
        if !seat.shard.logs.contains_key(&op.log.log) {
            return Err(super::no_log());
        }
        let empty = Schedule::default();
        let schedule = seat.shard.schedules.get(&op.log.log).unwrap_or(&empty);
        let index = self.store.index.log(Schedule::id_of(op.log.log));
        let count_max = op.count_max.min(LIST_MAX) as usize;
        let (mut entries, mut from) = (Vec::new(), op.from);
        let mut next = None;
        while let Some(offset) = schedule.ledger.next_unsettled(from, schedule.end) {
            if entries.len() >= count_max {
                next = Some(offset);
                break;
            }
            from = offset.next();
            match index.map_or(Look::None, |index| index.at(offset)) {
                Look::Run(run) => entries.push(ScheduledEntry { offset, due: run.appended }),
                Look::None => {}
                Look::Page(page) if entries.is_empty() => return Ok(Err(page)),
                Look::Page(_) => {
                    next = Some(offset);
                    break;
                }
            }
        }
        Ok(Ok(Reply::Scheduled { entries, next, total: schedule.count() }))
    }

    /// Has every schedule looked through, from the beginning.
    pub(super) fn start_agendas(&mut self, shards: &[ShardId]) {
        let near_max = self.schedule_near_max;
        let index = &mut self.store.index;
        index.dues.forget_heads();
        for (shard, seat) in self.seats.iter_mut().filter(|(shard, _)| shards.contains(shard)) {
            for (log, schedule) in &seat.shard.schedules {
                let id = Schedule::id_of(*log);
                let mut agenda = Agenda::new(near_max, schedule.count() > 0);
                let stored: BTreeSet<u32> =
                    index.dues.of(id).iter().map(|row| row.segment).collect();
                let runs = index.log(id).into_iter().flat_map(|index| index.in_memory(Offset(0)));
                for run in runs.filter(|run| schedule.any_waits(run.first, run.end())) {
                    if !stored.contains(&run.at.segment) {
                        agenda.add(run);
                    }
                }
                seat.agendas.insert(*log, agenda);
                if !io::planted("schedule-forgotten") {
                    self.agendas_low.insert((*shard, *log));
                }
            }
        }
    }

    /// An entry of a schedule is on the disk.
    pub(super) fn scheduled_entry(&mut self, shard: ShardId, log: LogId, run: Run) {
        let near_max = self.schedule_near_max;
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        seat.agendas.entry(log).or_insert_with(|| Agenda::new(near_max, false)).add(run);
        self.rearm_agenda(shard, log);
    }

    /// An entry of a schedule was copied forward.
    pub(super) fn moved_entry(&mut self, log: LogId, run: Run) {
        let agenda = self.seats.values_mut().find_map(|seat| seat.agendas.get_mut(&log));
        if let Some(agenda) = agenda {
            agenda.moved(run);
        }
    }

    /// Proposes to activate what is due in a schedule.
    pub(super) fn look_at_agenda(&mut self, shard: ShardId, log: LogId) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(agenda) = seat.agendas.get_mut(&log) else { return };
        let Some(schedule) = seat.shard.schedules.get(&log) else { return };
        let entries = agenda.take_due(schedule, self.now);
        if !entries.is_empty() {
            seat.command_now(Command::Activate { log, entries });
        }
        self.rearm_agenda(shard, log);
    }

    /// Looks for what is due next in the schedules whose nearest entries run low.
    pub(super) fn walk_agendas(&mut self) {
        for (shard, log) in std::mem::take(&mut self.agendas_low) {
            let Some(seat) = self.seats.get_mut(&shard) else { continue };
            let Some(agenda) = seat.agendas.get_mut(&log) else { continue };
            let Some(schedule) = seat.shard.schedules.get(&log) else { continue };
            let id = Schedule::id_of(log);
            let (rows, runs) = self.store.index.rows_of(id);
            let unread = agenda.refill(schedule, rows, runs);
            agenda.loading = unread.len();
            for page in unread {
                self.store.load_page(id, page, Waiter::Agenda(LogRef { shard, log }));
            }
            self.rearm_agenda(shard, log);
        }
    }

    /// A page of what is due has come from the disk.
    pub(super) fn agenda_loaded(&mut self, log: LogRef) {
        let seat = self.seats.get_mut(&log.shard);
        if let Some(agenda) = seat.and_then(|seat| seat.agendas.get_mut(&log.log)) {
            agenda.loading = agenda.loading.saturating_sub(1);
            self.rearm_agenda(log.shard, log.log);
        }
    }

    /// Sets the timer of a schedule to its first entry, and has it looked through if that runs low.
    fn rearm_agenda(&mut self, shard: ShardId, log: LogId) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(agenda) = seat.agendas.get_mut(&log) else { return };
        if agenda.is_low() {
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
        (log, proposed): (LogId, &[Activation]),
        moved: &[(Activation, Offset)],
        time: Millis,
    ) {
        self.wake_readers(shard, log);
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let mut runs = Vec::with_capacity(moved.len());
        if let Some(agenda) = seat.agendas.get_mut(&log) {
            for (entry, base) in moved {
                let run = agenda.proposed.remove(&entry.offset);
                runs.extend(run.map(|run| self.store.refer(log, run, (*base, time))));
            }
            if runs.len() < proposed.len() {
                for entry in proposed {
                    agenda.proposed.remove(&entry.offset);
                }
            }
        }
        for run in &runs {
            self.arrived.add(shard, (log, run.expiring), time);
        }
        for id in seat.shard.readers(log) {
            let Some(queue) = seat.queues.get_mut(id) else { continue };
            queue.tally.published += runs.iter().map(|run| u64::from(run.count)).sum::<u64>();
            if queue.options.max_bytes.is_some()
                && let Some(log) = queue.log_mut(log)
            {
                for run in &runs {
                    let each = run.at.len / run.count.max(1);
                    log.add_lengths(run.first, (0..run.count).map(|_| each));
                }
            }
        }
        self.log_touched(shard, log);
        let spans = proposed.iter().map(|entry| Span::run(entry.offset, entry.count));
        self.settled_entries(shard, log, spans);
        self.rearm_agenda(shard, log);
    }

    /// Entries of a schedule were cancelled.
    pub(super) fn unscheduled(&mut self, shard: ShardId, log: LogId, offsets: &[Offset]) {
        self.settled_entries(shard, log, offsets.iter().copied().map(Span::one));
    }

    /// Of pages that have settled entries more counts as live than is.
    fn settled_entries(&mut self, shard: ShardId, log: LogId, spans: impl Iterator<Item = Span>) {
        let id = Schedule::id_of(log);
        let mut marked = false;
        for span in spans {
            marked |= self.store.index.mark_stale(id, span.first, span.end);
        }
        if let Some(seat) = self.seats.get_mut(&shard).filter(|_| marked) {
            seat.scattered.insert(id);
        }
    }

    /// The log is gone, and its schedule with it.
    pub(super) fn drop_agenda(&mut self, log: LogRef) {
        self.store.index.remove(Schedule::id_of(log.log));
        let Some(seat) = self.seats.get_mut(&log.shard) else { return };
        if let Some(Agenda { timer: Some((_, timer)), .. }) = seat.agendas.remove(&log.log) {
            self.timers.cancel(timer);
        }
    }

    /// Takes entries out of memory that were settled two checkpoints ago, some a turn: from then on no
    /// replay looks for them.
    pub(super) fn sweep_schedules(&mut self) {
        let Some((shard, log)) = self.agendas_swept.pop_first() else { return };
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(agenda) = seat.agendas.get_mut(&log) else { return };
        let (Some(from), Some(settled)) = (agenda.sweep.take(), agenda.cuts.front()) else {
            return;
        };
        let dead = |run: &Run| settled.next_unsettled(run.first, run.end()).is_none();
        let (id, look_at_max) = (Schedule::id_of(log), self.schedule_near_max);
        agenda.sweep = self.store.index.sweep_from(id, from, look_at_max, dead);
        if agenda.sweep.is_some() {
            self.agendas_swept.insert((shard, log));
            return;
        }
        let runs = self.store.index.log(id);
        let first = |offset| Some(runs?.in_memory(offset).next()?.first);
        agenda.forget_settled(|offset| first(offset) == Some(offset));
    }

    /// Notes what was settled in schedules when a checkpoint is cut.
    pub(super) fn cut_schedules(&mut self) {
        for (shard, seat) in &mut self.seats {
            for (log, agenda) in &mut seat.agendas {
                if let Some(schedule) = seat.shard.schedules.get(log) {
                    agenda.cut(&schedule.ledger);
                }
                if agenda.sweep.is_some() {
                    self.agendas_swept.insert((*shard, *log));
                }
            }
        }
    }

    /// Counts what schedules take in memory.
    pub(super) fn count_schedules(&mut self) {
        let mut bytes = self.store.index.dues.bytes();
        for seat in self.seats.values() {
            for (log, agenda) in &seat.agendas {
                bytes += agenda.bytes() + self.store.index.packed_bytes(Schedule::id_of(*log));
            }
        }
        self.schedule_bytes = bytes;
    }
}
