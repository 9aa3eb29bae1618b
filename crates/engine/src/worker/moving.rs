//! Messages on their way from one log to another.

use super::queue::ledger_of;
use super::store::{Found, Waiter};
use super::{Input, Worker};
use crate::api::{IfGone, LeaseRange, Move, Verdict};
use crate::command::Command;
use crate::draft::Awaits;
use crate::envelope::{Envelope, Way};
use crate::index::{Look, Run};
use crate::levels::{Levels, priority_of};
use crate::shard::{Outbound, Outbox};
use bytes::Bytes;
use ledger::{ConsumerKey, Span};
use record::batch::Builder;
use record::properties::{self, Address, Readdressed};
use record::{Malformed, tail};
use std::collections::BTreeSet;
use types::{ClientId, Error, Kind, LogId, LogRef, Millis, Offset, ShardId, Token};

/// Messages that are moved by one operation, at most.
const MOVE_MAX: u64 = 1024;
/// Entries of an outbox that are sent and not answered, at most.
const SENT_MAX: usize = 256;
/// Entries of an outbox; more is refused until they have gone.
pub(super) const OUTBOX_MAX: usize = 16 << 10;
/// The header that counts how often a record was moved.
const MOVES: &[u8] = b"moves";
const EXPIRATION: &[u8] = b"expiration";

/// An entry of an outbox on its way to its target.
#[derive(Debug)]
pub(crate) struct Arrival {
    outbox: LogId,
    offset: Offset,
    /// Everything before is done with.
    floor: Offset,
    to: LogRef,
    expiring: bool,
    batch: Bytes,
}

/// How far an outbox is sent.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    next: Offset,
    sent: usize,
    loading: bool,
    /// What was taken out in frames that may not be applied yet.
    taken_out: BTreeSet<Offset>,
    /// The first entry when that was looked at last, if it was sent.
    oldest: Option<Offset>,
}

/// A record to be moved.
struct Moving {
    offset: Offset,
    timestamp: Millis,
    tail: Vec<u8>,
    expiring: bool,
}

/// What looking for the records of a move gave.
enum Gathered {
    Here(Vec<Moving>),
    Cold,
}

impl Worker {
    pub(super) fn move_some(&mut self, client: ClientId, token: Token, op: Move) {
        self.wake(op.source);
        match self.gather(&op) {
            Ok(Gathered::Here(records)) => {
                if let Err(error) = self.move_gathered((client, token), &op, records) {
                    self.clients.reply(client, token, Err(error));
                }
            }
            Ok(Gathered::Cold) => {
                self.moves.insert(self.next_move, (client, token, op));
            }
            Err(error) => self.clients.reply(client, token, Err(error)),
        }
    }

    /// The disk answered for a move that waits.
    pub(super) fn move_loaded(&mut self, id: u64) {
        if let Some((client, token, op)) = self.moves.remove(&id) {
            self.move_some(client, token, op);
        }
    }

    /// The records of a move as they will be.
    fn gather(&mut self, op: &Move) -> Result<Gathered, Error> {
        if op.range.offsets() > MOVE_MAX {
            return Err(Error::new(Kind::TooLarge, "too many messages to move at once"));
        }
        let mut records = Vec::new();
        let LeaseRange { log, first, last } = op.range;
        for offset in Span::new(first, last.next()).offsets() {
            let run = match self.store.index.log(log).map_or(Look::None, |runs| runs.at(offset)) {
                Look::Run(run) => run,
                Look::None => continue,
                Look::Page(_) if !records.is_empty() => break,
                Look::Page(page) => {
                    self.next_move += 1;
                    self.store.load_page(log, page, Waiter::Move { id: self.next_move });
                    return Ok(Gathered::Cold);
                }
            };
            let batch = match self.store.find(log, &run) {
                Found::Here(batch) => batch,
                // What is in memory by now may not be any more when the rest is.
                Found::Cold if !records.is_empty() => break,
                Found::Cold => {
                    self.next_move += 1;
                    self.store.load_from(log, &run, Waiter::Move { id: self.next_move });
                    return Ok(Gathered::Cold);
                }
                Found::Lost(why) => return Err(Error::new(Kind::Corrupt, why)),
            };
            let delta = u32::try_from(offset.0 - run.first.0).unwrap_or(u32::MAX);
            if let Some((tail, timestamp)) = batch.record(delta) {
                let (tail, expiring) = stamped(&tail, op)?;
                records.push(Moving { offset, timestamp, tail, expiring });
            }
        }
        Ok(Gathered::Here(records))
    }

    fn move_gathered(
        &mut self,
        (client, token): (ClientId, Token),
        op: &Move,
        records: Vec<Moving>,
    ) -> Result<(), Error> {
        let key = op.consumer.map(|consumer| ConsumerKey { client, consumer });
        let (shard, id) = (op.source.shard, op.source.subscription);
        let seat = self.seats.get_mut(&shard).ok_or_else(super::queue::gone)?;
        let here = op.to.shard == shard;
        let there = !here || seat.shard.logs.contains_key(&op.to.log);
        if !there && op.gone == IfGone::Keep {
            return Err(super::no_log());
        }
        let waiting = seat.shard.outboxes.get(&op.to.shard).map_or(0, |it| it.entries.len());
        if !here && waiting > OUTBOX_MAX {
            return Err(Error::new(Kind::Throttled, "too many messages wait to be moved"));
        }
        let is_ranked = here && seat.is_ranked(op.to.log);
        let level_bytes = if is_ranked { records.len() * Levels::one(0).bytes_max() } else { 0 };
        let key_bytes = if here { records.len() * seat.key_bytes_of(op.to.log, 1) } else { 0 };
        seat.begin_atomic((records.len(), level_bytes + key_bytes), &[])?;
        seat.draft.grow(key_bytes);
        let time = seat.time(self.now);
        let queue = seat.queues.get_mut(&id);
        let ledger = ledger_of(&seat.shard, id, op.range.log);
        let log = queue.and_then(|queue| queue.log_mut(op.range.log));
        let (Some(log), Some((ledger, end))) = (log, ledger) else {
            seat.end_atomic();
            return Err(super::queue::gone());
        };
        let mut settled = Vec::new();
        for record in records {
            let before = settled.len();
            let one = Span::one(record.offset);
            match key {
                Some(key) => log.dispatch.settled(key, one, &mut settled),
                None if log.dispatch.take_at(ledger, end, record.offset)
                    || io::planted("moved-in-flight") =>
                {
                    settled.push(one);
                }
                None => {}
            }
            if settled.len() == before || !there {
                continue;
            }
            let way = Way::Out(Outbound {
                to: op.to.log,
                source: op.range.log,
                keep: op.gone == IfGone::Keep,
            });
            let mut builder = Builder::with_capacity(time, record.tail.len());
            builder.push(record.timestamp, &record.tail);
            let envelope = Envelope {
                expiring: record.expiring,
                way: (!here).then_some(way),
                ..Envelope::default()
            };
            let outbox = LogRef { shard, log: Outbox::id_of(shard, op.to.shard) };
            let to = if here { op.to } else { outbox };
            let dest = seat.draft.put(to, builder.finish(), envelope);
            match priority_of(&record.tail) {
                level if is_ranked && level > 0 => seat.draft.rank(dest, 0, &Levels::one(level)),
                _ => {}
            }
        }
        let moved = settled.iter().map(|span| span.len()).sum();
        seat.withdraw(id, op.range.log, &settled);
        seat.end_atomic();
        seat.draft.wait(client, token, Awaits::Moved(moved));
        seat.ready.insert(id);
        Ok(())
    }

    /// Has every outbox sent again, from its first entry.
    pub(super) fn start_outboxes(&mut self, shards: &[ShardId]) {
        let mut all = Vec::new();
        for (from, seat) in self.seats.iter().filter(|(from, _)| shards.contains(from)) {
            all.extend(seat.shard.outboxes.keys().map(|to| (*from, *to)));
        }
        for (from, to) in all {
            self.send_outbox(from, to);
        }
    }

    /// Sends what of an outbox was not sent, up to a bound.
    pub(super) fn send_outbox(&mut self, from: ShardId, to: ShardId) {
        if self.is_replica && !self.sends(from, to) {
            return;
        }
        let seat = match self.seats.get_mut(&from) {
            Some(seat) => seat,
            None => match self.followed.get_mut(&from) {
                Some(seat) => seat,
                None => return,
            },
        };
        let Some(outbox) = seat.shard.outboxes.get(&to) else { return };
        let sending = seat.sending.entry(to).or_default();
        let id = Outbox::id_of(from, to);
        while !sending.loading
            && sending.sent < SENT_MAX
            && let Some((offset, outbound)) = outbox.entries.range(sending.next..).next()
        {
            let run = self.store.index.log(id).and_then(|index| index.in_memory(*offset).next());
            let Some(run) = run.filter(|run| run.first == *offset) else {
                sending.next = offset.next();
                continue;
            };
            match self.store.find(id, &run) {
                Found::Here(batch) => {
                    let arrival = Arrival {
                        outbox: id,
                        offset: *offset,
                        floor: outbox.ledger.floor(),
                        to: LogRef { shard: to, log: outbound.to },
                        expiring: run.expiring,
                        batch: batch.bytes.clone(),
                    };
                    self.ports.worker_of(to).push(Input::Arrive(Box::new(arrival)));
                    sending.sent += 1;
                    if io::planted("outbox-settled-early") {
                        seat.draft.command_now(Command::Sent { to, offset: *offset });
                    }
                }
                Found::Cold => {
                    self.store.load_from(id, &run, Waiter::Outbox { from, to });
                    sending.loading = true;
                    return;
                }
                Found::Lost(why) => {
                    tracing::error!(%id, %offset, why, "a message on its way is lost");
                }
            }
            sending.next = offset.next();
        }
    }

    pub(super) fn outbox_loaded(&mut self, from: ShardId, to: ShardId) {
        let seat = match self.seats.get_mut(&from) {
            Some(seat) => Some(seat),
            None => self.followed.get_mut(&from),
        };
        if let Some(sending) = seat.and_then(|seat| seat.sending.get_mut(&to)) {
            sending.loading = false;
        }
        self.send_outbox(from, to);
    }

    /// Whether what a shard has for another one is sent from here: to where it is led, from every copy.
    fn sends(&self, from: ShardId, to: ShardId) -> bool {
        match to {
            ShardId::LOCAL => self.seats.contains_key(&from),
            _ if io::planted("sent-by-leader-only") => {
                self.served.contains(&to) && self.seats.contains_key(&from)
            }
            _ => self.served.contains(&to),
        }
    }

    /// This node leads a shard, or not any more: what others have for it is sent, or not.
    pub(super) fn serve(&mut self, to: ShardId, leads: bool) {
        match leads {
            true => self.served.insert(to),
            false => self.served.remove(&to),
        };
        let mut from = Vec::new();
        for seat in self.seats.values_mut().chain(self.followed.values_mut()) {
            if let Some(sending) = seat.sending.get_mut(&to) {
                (sending.next, sending.sent) = (Offset(0), 0);
            }
            from.push(seat.shard.id);
        }
        from.into_iter().for_each(|from| self.send_outbox(from, to));
    }

    /// Sends once more what was sent a while ago and is still there: a leader may have changed.
    pub(super) fn send_again(&mut self) {
        let mut again = Vec::new();
        for seat in self.seats.values_mut().chain(self.followed.values_mut()) {
            for (to, outbox) in &seat.shard.outboxes {
                let first = outbox.entries.keys().next().copied();
                let sending = seat.sending.entry(*to).or_default();
                let sent = first.filter(|first| *first < sending.next && !sending.loading);
                if sent.is_some() && sending.oldest == sent {
                    (sending.next, sending.sent) = (Offset(0), 0);
                    again.push((seat.shard.id, *to));
                }
                sending.oldest = sent;
            }
        }
        again.into_iter().for_each(|(from, to)| self.send_outbox(from, to));
    }

    /// A message from another shard's outbox.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { outbox, offset, floor, to, expiring, batch } = arrival;
        let Some(seat) = self.seats.get_mut(&to.shard) else { return };
        let way = Some(Way::In { outbox, offset, floor });
        let levels = seat.is_ranked(to.log).then(|| Levels::of_batch(&batch)).flatten();
        let key_bytes = seat.key_bytes_of(to.log, 1);
        seat.make_room(1, levels.as_ref().map_or(0, Levels::bytes_max) + key_bytes);
        seat.draft.grow(key_bytes);
        let dest = seat.draft.put(to, batch, Envelope { expiring, way, ..Envelope::default() });
        levels.iter().for_each(|levels| seat.draft.rank(dest, 0, levels));
    }

    /// A frame has what came from another shard's outbox, or that shard's own outbox has more.
    pub(super) fn on_its_way(&mut self, shard: ShardId, way: Way, verdict: Verdict, log: LogId) {
        match way {
            Way::In { outbox, offset, .. } => {
                if let Some((from, _)) = Outbox::shards_of(outbox) {
                    let arrived = Input::Arrived { outbox, offset, verdict };
                    self.ports.worker_of(from).push(arrived);
                }
            }
            Way::Out(_) => {
                if let Some((_, to)) = Outbox::shards_of(log) {
                    self.send_outbox(shard, to);
                }
            }
            Way::KeyPage => {}
        }
    }

    /// The other shard has an entry of an outbox, or has no such log.
    pub(super) fn arrived(&mut self, id: LogId, offset: Offset, verdict: Verdict) {
        let Some((from, to)) = Outbox::shards_of(id) else { return };
        if let Some(seat) = self.followed.get_mut(&from) {
            // Its leader sees that in its own copy.
            if let Some(sending) = seat.sending.get_mut(&to) {
                sending.sent = sending.sent.saturating_sub(1);
            }
            return self.send_outbox(from, to);
        }
        let Some(seat) = self.seats.get_mut(&from) else { return };
        let Some(outbox) = seat.shard.outboxes.get(&to) else { return };
        let sending = seat.sending.entry(to).or_default();
        sending.sent = sending.sent.saturating_sub(1);
        let outbound = outbox.entries.get(&offset).copied();
        if self.is_replica {
            // Several leaders of the other shard may have sent it.
            sending.taken_out.retain(|taken| outbox.entries.contains_key(taken));
            if outbound.is_none() || sending.taken_out.contains(&offset) {
                return self.send_outbox(from, to);
            }
        }
        let mut back: Option<(LogRef, Bytes, Run)> = None;
        if let Some(Outbound { source, keep: true, .. }) = outbound
            && verdict == Verdict::Gone
            && seat.shard.logs.contains_key(&source)
        {
            let run = self.store.index.log(id).and_then(|index| index.in_memory(offset).next());
            let Some(run) = run else { return };
            let Found::Here(batch) = self.store.find(id, &run) else {
                // It is sent once more, and is in memory then.
                sending.next = sending.next.min(offset);
                return self.send_outbox(from, to);
            };
            let source = LogRef { shard: from, log: source };
            back = Some((source, batch.bytes.clone(), run));
        }
        if seat.begin_atomic((1, Levels::one(0).bytes_max()), &[]).is_err() {
            return;
        }
        seat.draft.command_now(Command::Sent { to, offset });
        if self.is_replica {
            seat.sending.entry(to).or_default().taken_out.insert(offset);
        }
        if let Some((source, batch, run)) = back {
            let envelope = Envelope { expiring: run.expiring, ..Envelope::default() };
            let levels = seat.is_ranked(source.log).then(|| Levels::of_batch(&batch)).flatten();
            let dest = seat.draft.put(source, batch, envelope);
            levels.iter().for_each(|levels| seat.draft.rank(dest, 0, levels));
        }
        seat.end_atomic();
        self.send_outbox(from, to);
    }
}

/// The tail of a dead letter with the address that it had when it died last; `None` for a record that
/// never died.
fn restored(bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let view = tail::decode(bytes)?;
    let history = properties::decode(view.headers).history();
    let Some((history, death)) = history.as_ref().and_then(|it| Some((it, it.deaths.first()?)))
    else {
        return Ok(None);
    };
    let address = Address {
        exchange: Some(death.place.exchange.as_bytes()),
        routing_key: death.keys.first().map(String::as_bytes),
    };
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let new = Readdressed { address, keeps_copies: true, history };
    properties::readdress(&mut out, &view, &new)?;
    Ok(Some(out))
}

/// A record's tail with the headers of a move, and whether it has a time to live of its own.
///
/// Fails with `Invalid` when it was moved too often.
fn stamped(bytes: &[u8], op: &Move) -> Result<(Vec<u8>, bool), Error> {
    let corrupt = |why: Malformed| Error::new(Kind::Corrupt, why.to_string());
    let restored = if op.restores { restored(bytes).map_err(corrupt)? } else { None };
    let bytes = restored.as_deref().unwrap_or(bytes);
    let view = tail::decode(bytes).map_err(corrupt)?;
    let Some(moves_max) = op.moves_max.or((!op.stamp.is_empty()).then_some(u32::MAX)) else {
        let expiring = view.headers.clone().any(|(name, _)| name == EXPIRATION);
        return Ok((bytes.to_vec(), expiring));
    };
    let mut all = view.headers;
    let count = all.find(|(name, _)| *name == MOVES);
    let count = count.and_then(|(_, value)| std::str::from_utf8(value?).ok()?.parse().ok());
    let count: u32 = count.unwrap_or(0);
    if count >= moves_max {
        return Err(Error::new(
            Kind::Invalid,
            "the message was moved too often: it goes in circles",
        ));
    }
    let count = (count + 1).to_string();
    let replaced = |name: &[u8]| name == MOVES || op.stamp.iter().any(|(other, _)| other == name);
    let kept = view.headers.filter(|(name, _)| !replaced(name));
    let stamps = op.stamp.iter().filter_map(|(name, value)| {
        value.as_ref().map(|value| (name.as_ref(), Some(value.as_ref())))
    });
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        kept.chain(stamps).chain([(MOVES, Some(count.as_bytes()))]).collect();
    let expiring = headers.iter().any(|(name, _)| *name == EXPIRATION);
    let mut out = Vec::with_capacity(bytes.len() + 64);
    tail::encode(&mut out, view.key, view.value, headers.into_iter());
    Ok((out, expiring))
}
