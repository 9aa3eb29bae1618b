//! Messages that recur: when each is due, and the frames with what follows.
//!
//! What a [`Rota`] has is due next and in no frame. Whatever goes into one leaves it, and comes back with what the
//! shard says when the frame is applied.

use super::upkeep::Due;
use super::{Seat, Worker, no_log};
use crate::MemoryPool;
use crate::api::{
    LATE_MAX, Missed, Once, RECURRENCE, RECURRENCE_BYTES_MAX, RECURRENCE_DUE,
    RECURRENCE_NAME_BYTES_MAX, RECURRENCES_MAX, Recur, RecurStep, Recurred, Recurrence,
    RecurrenceEntry, Recurrences, Reply,
};
use crate::command::{self, Command, Fire, Recurs};
use crate::envelope::Envelope;
use crate::levels::{Levels, priority_of};
use crate::shard::Effect;
use catalog::Name;
use ledger::TimerId;
use record::batch::Builder;
use record::{Malformed, tail};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use types::{ClientId, Error, Kind, LogId, LogRef, Millis, ShardId, Token};

/// What recurs and is listed under one log is fired so often in one turn.
const FIRE_PER_TURN: usize = 256;
/// With more than this of its shard on the way to the disk it waits.
const UNDER_WAY_MAX: usize = 1 << 20;
/// How soon it looks again when it has to wait.
const LOOK_AGAIN: Millis = Millis(100);
/// A listing gives so many bytes of messages at most, or one.
const LIST_BYTES_MAX: usize = 1 << 20;

/// What recurs next, of all that is listed under one log.
#[derive(Debug, Default)]
pub(crate) struct Rota {
    dues: BTreeSet<(Millis, Name)>,
    by_name: BTreeMap<Name, Millis>,
    timer: Option<(Millis, TimerId)>,
}

impl Rota {
    /// The timer that is armed for it.
    pub(super) fn timer(&self) -> Option<TimerId> {
        self.timer.map(|(_, timer)| timer)
    }
}

impl Rota {
    /// It is due then; `None`: not now.
    fn set(&mut self, name: &Name, due: Option<Millis>) {
        if let Some(was) = self.by_name.remove(name) {
            self.dues.remove(&(was, Name::clone(name)));
        }
        if let Some(due) = due {
            self.by_name.insert(Name::clone(name), due);
            self.dues.insert((due, Name::clone(name)));
        }
    }

    /// Takes what is due now, if something is.
    fn take_due(&mut self, now: Millis) -> Option<Name> {
        let name =
            self.dues.first().filter(|(due, _)| *due <= now).map(|(_, name)| name.clone())?;
        self.set(&name, None);
        Some(name)
    }
}

impl Worker {
    /// Makes, ends, stops or continues a recurrence.
    pub(super) fn recur(&mut self, client: ClientId, token: Token, op: Recur) {
        let Recur { home, name, step } = op;
        let asked = self.checked_step(home, &name, step).and_then(|step| {
            let Some(seat) = self.seats.get_mut(&home.shard) else { return Err(no_log()) };
            let command = Command::Recur { home: home.log, name: Name::clone(&name), step };
            seat.client_command(command, (client, token))
        });
        match asked {
            // Nothing is decided any more for what it was.
            Ok(()) => self.set_due(home, &name, None),
            Err(error) => self.clients.reply(client, token, Err(error)),
        }
    }

    fn checked_step(&self, home: LogRef, name: &Name, step: RecurStep) -> Result<Recurs, Error> {
        let seat = self.seats.get(&home.shard).ok_or_else(no_log)?;
        if !seat.shard.logs.contains_key(&home.log) {
            return Err(no_log());
        }
        let time = seat.time(self.now);
        let never = || Error::new(Kind::Invalid, "it would never be due");
        Ok(match step {
            RecurStep::Put(what) => {
                self.check_recurrence(seat, name, &what)?;
                let due = what.timetable.next_after(time, time)?.ok_or_else(never)?;
                Recurs::Put { what, made: time, due }
            }
            RecurStep::Cancel => Recurs::Cancel,
            RecurStep::Pause => Recurs::Pause,
            RecurStep::Resume => {
                let all = seat.shard.recurring.get(&home.log);
                let Some(known) = all.and_then(|all| all.get(name)) else {
                    // Apply says whether it is there by then.
                    return Ok(Recurs::Resume { version: 0, due: time });
                };
                let due = known.what.timetable.next_after(time, known.made)?;
                Recurs::Resume { version: known.version, due: due.ok_or_else(never)? }
            }
        })
    }

    fn check_recurrence(&self, seat: &Seat, name: &Name, what: &Recurrence) -> Result<(), Error> {
        let Recurrence { to, timetable, tail, count, .. } = what;
        timetable.check()?;
        if name.is_empty() || name.len() > RECURRENCE_NAME_BYTES_MAX {
            let why = format!("a name has 1 to {RECURRENCE_NAME_BYTES_MAX} bytes");
            return Err(Error::new(Kind::Invalid, why));
        }
        if *count == Some(0) {
            return Err(Error::new(Kind::Invalid, "a count is at least 1"));
        }
        if tail.len() > RECURRENCE_BYTES_MAX {
            let (bytes, most) = (tail.len(), RECURRENCE_BYTES_MAX);
            let why = format!("a message that recurs has at most {most} bytes, and not {bytes}");
            return Err(Error::new(Kind::TooLarge, why));
        }
        if tail::decode(tail).is_err() {
            return Err(Error::new(Kind::Invalid, "the message is no record"));
        }
        if !seat.shard.logs.contains_key(to) {
            return Err(no_log());
        }
        let memory = &self.ports.memory;
        if memory.used(MemoryPool::Recurrences) >= memory.budget(MemoryPool::Recurrences) {
            return Err(Error::new(Kind::Full, "messages that recur have no more memory"));
        }
        Ok(())
    }

    /// Lists what is listed under a log.
    pub(super) fn list_recurrences(&mut self, client: ClientId, token: Token, op: &Recurrences) {
        let Recurrences { home, from, count_max } = op;
        let seat = self.seats.get(&home.shard);
        let reply = match seat.filter(|seat| seat.shard.logs.contains_key(&home.log)) {
            None => Err(no_log()),
            Some(seat) => {
                let all = seat.shard.recurring.get(&home.log);
                let begin = from.as_ref().map_or(Bound::Unbounded, Bound::Included);
                let mut rest = all
                    .into_iter()
                    .flat_map(|all| all.range::<Name, _>((begin, Bound::Unbounded)))
                    .peekable();
                let (mut entries, mut bytes) = (Vec::new(), 0);
                while entries.len() < *count_max as usize
                    && bytes < LIST_BYTES_MAX
                    && let Some((name, known)) = rest.next()
                {
                    bytes += known.bytes();
                    entries.push(entry_of(name, known));
                }
                let next = rest.peek().map(|(name, _)| Name::clone(name));
                let total = all.map_or(0, |all| all.len() as u64);
                Ok(Reply::Recurrences { entries, next, total })
            }
        };
        self.clients.reply(client, token, reply);
    }

    /// What a frame did to a recurrence.
    pub(super) fn recurrence_applied(
        &mut self,
        shard: ShardId,
        effect: Effect,
        askers: &BTreeMap<usize, (ClientId, Token)>,
    ) {
        match effect {
            Effect::Recurred { command, home, name, result, now } => {
                self.fired(LogRef { shard, log: home }, &name);
                if let Some((client, token)) = askers.get(&command).copied() {
                    let entry = now.map(|now| Box::new(entry_of(&name, &now)));
                    self.clients.reply(client, token, answer(result, entry));
                }
            }
            Effect::Fired { home, name } => self.fired(LogRef { shard, log: home }, &name),
            _ => {}
        }
    }

    /// A recurrence is due next when its shard says.
    fn fired(&mut self, home: LogRef, name: &Name) {
        let seat = self.seats.get(&home.shard);
        let all = seat.and_then(|seat| seat.shard.recurring.get(&home.log));
        let due = all.and_then(|all| all.get(name)).and_then(|known| known.due);
        self.set_due(home, name, due);
    }

    /// Arms everything that recurs.
    pub(super) fn start_rotas(&mut self, shards: &[ShardId]) {
        let mut homes = Vec::new();
        for (shard, seat) in self.seats.iter_mut().filter(|(shard, _)| shards.contains(shard)) {
            for (log, all) in &seat.shard.recurring {
                let rota = seat.rotas.entry(*log).or_default();
                all.iter().for_each(|(name, known)| rota.set(name, known.due));
                homes.push(LogRef { shard: *shard, log: *log });
            }
        }
        homes.into_iter().for_each(|home| self.rearm_rota(home, None));
    }

    /// Fires what is due of what is listed under a log.
    pub(super) fn rota_due(&mut self, home: LogRef) {
        let Some(seat) = self.seats.get_mut(&home.shard) else { return };
        if let Some(rota) = seat.rotas.get_mut(&home.log) {
            rota.timer = None;
        }
        let mut later = None;
        for _ in 0..FIRE_PER_TURN {
            if self.blocked.is_some() || seat.under_way_bytes() > UNDER_WAY_MAX {
                later = Some(self.now.plus(LOOK_AGAIN));
                break;
            }
            let rota = seat.rotas.get_mut(&home.log);
            let Some(name) = rota.and_then(|rota| rota.take_due(self.now)) else { break };
            seat.fire(home.log, &name, self.now);
        }
        self.rearm_rota(home, later);
    }

    /// The log is gone, and what was listed under it.
    pub(super) fn drop_rota(&mut self, home: LogRef) {
        let Some(seat) = self.seats.get_mut(&home.shard) else { return };
        if let Some(Rota { timer: Some((_, timer)), .. }) = seat.rotas.remove(&home.log) {
            self.timers.cancel(timer);
        }
    }

    fn set_due(&mut self, home: LogRef, name: &Name, due: Option<Millis>) {
        let Some(seat) = self.seats.get_mut(&home.shard) else { return };
        if due.is_some() || seat.rotas.contains_key(&home.log) {
            seat.rotas.entry(home.log).or_default().set(name, due);
            self.rearm_rota(home, None);
        }
    }

    /// Sets the timer to what is due first, or to `later`.
    fn rearm_rota(&mut self, home: LogRef, later: Option<Millis>) {
        let Some(seat) = self.seats.get_mut(&home.shard) else { return };
        let Some(rota) = seat.rotas.get_mut(&home.log) else { return };
        let first = rota.dues.first().map(|(due, _)| *due);
        let next = first.map(|first| first.max(later.unwrap_or(first)));
        if next.is_some() && rota.timer.map(|(due, _)| due) == next {
            return;
        }
        if let Some((_, timer)) = rota.timer.take() {
            self.timers.cancel(timer);
        }
        rota.timer = next.map(|next| (next, self.timers.arm(next, Due::Rota(home))));
        if rota.by_name.is_empty() && !seat.shard.recurring.contains_key(&home.log) {
            seat.rotas.remove(&home.log);
        }
    }
}

impl Seat {
    /// Puts what follows from a recurrence's time into the next frame: its message, and when it is due next.
    fn fire(&mut self, home: LogId, name: &Name, now: Millis) {
        let all = self.shard.recurring.get(&home);
        let Some(known) = all.and_then(|all| all.get(name)) else { return };
        let Some(due) = known.due else { return };
        let what = &known.what;
        let was_missed = now.since(due) > LATE_MAX;
        let after = if was_missed && what.missed != Missed::All { now } else { due };
        let next = match what.timetable.next_after(after, known.made) {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%home, name = &**name, %error, "a recurrence has stopped");
                return;
            }
        };
        let fires = !was_missed || what.missed != Missed::Skip;
        let is_last = fires && what.count.is_some_and(|count| known.fired + 1 >= count);
        let mut fire = Fire {
            home,
            name: Name::clone(name),
            version: known.version,
            due,
            next: next.filter(|_| !is_last),
            batch: None,
        };
        let forgets = io::planted("firing-forgotten") && due.0 % 4 == 1;
        let fires = fires && !forgets;
        let record = if fires { fired_tail(&what.tail, name, due) } else { Ok(Vec::new()) };
        let (to, id) = (LogRef { shard: self.shard.id, log: what.to }, what.id);
        match record {
            Ok(record) if fires => self.put_fired((to, record), id, &mut fire, now),
            Ok(_) => {}
            Err(error) => tracing::error!(%home, name = &**name, ?error, "it is no record"),
        }
        let has_room = fire.batch.is_some();
        let command = Command::Fire(Box::new(fire));
        match has_room {
            // Into the frame that has its message.
            true => {
                self.draft.grow(command::bytes_max(&command));
                self.draft.command_now(command);
            }
            false => drop(self.command_now(command)),
        }
    }

    /// Puts the message of a recurrence into the next frame, which has room for what it is fired with.
    fn put_fired(
        &mut self,
        (to, record): (LogRef, Vec<u8>),
        id: Option<crate::api::MessageId>,
        fire: &mut Fire,
        now: Millis,
    ) {
        let time = self.time(now);
        let key_bytes = self.key_bytes_of(to.log, 1);
        let level = if self.is_ranked(to.log) { priority_of(&record) } else { 0 };
        let levels = Levels::one(level);
        let fire_bytes = 64 + 2 * fire.name.len() + 64;
        self.make_room(1, fire_bytes + key_bytes + levels.bytes_max());
        self.draft.grow(key_bytes);
        let mut builder = Builder::with_capacity(time, record.len());
        builder.push(time, &record);
        let expiring = super::queue::expiration(&record).is_some();
        let envelope = Envelope { expiring, ..Envelope::default() };
        let dest = self.draft.put(to, builder.finish(), envelope);
        if let Some(id) = id {
            self.draft.once(dest, Once { id, within: None });
        }
        self.rank_at(dest, level);
        fire.batch = Some(self.draft.batch_of(dest));
    }
}

/// The record of a recurrence as it is for one of its times.
fn fired_tail(bytes: &[u8], name: &Name, due: Millis) -> Result<Vec<u8>, Malformed> {
    let view = tail::decode(bytes)?;
    let due = due.0.to_string();
    let own = [
        (RECURRENCE.as_bytes(), Some(name.as_bytes())),
        (RECURRENCE_DUE.as_bytes(), Some(due.as_bytes())),
    ];
    let headers = view.headers.filter(|(name, _)| own.iter().all(|(own, _)| own != name));
    let headers: Vec<(&[u8], Option<&[u8]>)> = headers.chain(own).collect();
    let mut record = Vec::with_capacity(bytes.len() + name.len() + 64);
    tail::encode(&mut record, view.key, view.value, headers.into_iter());
    Ok(record)
}

fn entry_of(name: &Name, known: &crate::shard::Recurring) -> RecurrenceEntry {
    RecurrenceEntry {
        name: Name::clone(name),
        what: known.what.clone(),
        due: known.due,
        fired: known.fired,
    }
}

fn answer(result: Recurred, entry: Option<Box<RecurrenceEntry>>) -> Result<Reply, Error> {
    match result {
        Recurred::Full => {
            let why = format!("there are {RECURRENCES_MAX} recurring messages already");
            Err(Error::new(Kind::Full, why))
        }
        Recurred::Unsure => {
            let why = "the recurring message became another one at the same moment";
            Err(Error::new(Kind::Throttled, why))
        }
        result => Ok(Reply::Recurred(result, entry)),
    }
}
