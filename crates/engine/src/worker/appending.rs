//! Appends: what goes into the frame in the making, and who waits for it.

use super::{Seat, Worker, no_log};
use crate::api::{Append, Payload, Told, Transaction};
use crate::draft::{Awaits, DESTS_MAX, SMALL_BATCH_BYTES};
use crate::levels::Levels;
use record::tails::Tails;
use types::{ClientId, Error, Kind, LogRef, Token};

/// What the commands with the keys of a batch take beside the keys, with room to spare.
const KEY_COMMAND_BYTES: usize = 32;

impl Worker {
    /// Appends where there is room, in one frame or several, or if something is so.
    pub(super) fn append_unless_full(&mut self, client: ClientId, token: Token, append: Append) {
        let Some((token, append)) = self.unless_full(client, token, append) else { return };
        match append.payload {
            Payload::Expecting { expected, .. } => {
                self.append_expecting((client, token), append, expected);
            }
            Payload::Once { .. } => self.append_once(client, token, &append),
            _ if append.to.len() > DESTS_MAX => self.append_widely(client, token, &append),
            _ => self.append(client, token, &append, Told::default()),
        }
    }

    pub(super) fn append(&mut self, client: ClientId, token: Token, append: &Append, told: Told) {
        let shard = append.to[0].shard;
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let said = seat.levels_of(append).and_then(|levels| Ok((levels, seat.key_bytes(append)?)));
        match checked(seat, append).and_then(|stamp| Ok((stamp, said?))) {
            Ok((stamp, (levels, key_bytes))) => {
                let time = seat.time(self.now);
                let by_level = seat.by_level(append, levels.as_ref());
                let batches = by_level.map_or(0, |(_, batches)| batches);
                let level_bytes = levels.as_ref().map_or(0, Levels::bytes_max);
                let level_bytes = level_bytes.max(batches * Levels::all(1).bytes_max());
                let parts = if key_bytes > 0 { parts_of(append, seat) } else { Vec::new() };
                seat.make_room(
                    append.to.len() * batches.max(parts.len()).max(1),
                    level_bytes + key_bytes + parts.len() * KEY_COMMAND_BYTES,
                );
                let (dest, delta) = match parts.split_first() {
                    Some((first, rest)) => {
                        let placed = seat.append(first, levels.as_ref(), (time, stamp));
                        for part in rest {
                            seat.append(part, levels.as_ref(), (time, stamp));
                        }
                        placed
                    }
                    None => seat.append(append, levels.as_ref(), (time, stamp)),
                };
                seat.draft.tell(dest, told);
                seat.draft.wait(client, token, Awaits::Append { dest, delta });
            }
            Err(error) => self.clients.reply(client, token, Err(error)),
        }
    }

    /// Appends to more destinations than a frame can have: in several, of which the last is waited
    /// for.
    pub(super) fn append_widely(&mut self, client: ClientId, token: Token, append: &Append) {
        let Some(seat) = self.seats.get_mut(&append.to[0].shard) else { return };
        let known = |dest: &&LogRef| seat.shard.logs.contains_key(&dest.log);
        let known: Vec<LogRef> = append.to.iter().filter(known).copied().collect();
        let Some(last) = known.chunks(DESTS_MAX).last() else {
            return self.clients.reply(client, token, Err(no_log()));
        };
        for some in known.chunks(DESTS_MAX) {
            let token = if some == last { token } else { Token::NONE };
            let append =
                Append { to: some.into(), payload: append.payload.clone(), waits: append.waits };
            self.append(client, token, &append, Told::default());
        }
    }

    /// Appends and settles in one frame, or not at all.
    pub(super) fn transaction(
        &mut self,
        client: ClientId,
        token: Token,
        transaction: &Transaction,
    ) {
        let Some(seat) = self.seats.get_mut(&transaction.shard) else { return };
        for append in &transaction.appends {
            let expecting = matches!(append.payload, Payload::Expecting { .. });
            let invalid =
                || Error::new(Kind::Invalid, "what a transaction appends expects nothing");
            let checked = checked(seat, append).and_then(|_| match expecting {
                true => Err(invalid()),
                false => Ok(()),
            });
            if let Err(error) = checked {
                return self.clients.reply(client, token, Err(error));
            }
        }
        let dests = transaction.appends.iter().map(|append| match &append.payload {
            Payload::Once { ids, .. } => ids.len() * append.to.len(),
            _ => append.to.len(),
        });
        let dests = dests.sum();
        let room = seat.check_room_for(transaction);
        let begun = room.and_then(|()| seat.levels_of_all(transaction)).and_then(|(all, bytes)| {
            seat.begin_atomic((dests, bytes), &transaction.settles).map(|()| all)
        });
        let levels = match begun {
            Ok(levels) => levels,
            Err(error) => return self.clients.reply(client, token, Err(error)),
        };
        let time = seat.time(self.now);
        for (append, levels) in transaction.appends.iter().zip(levels) {
            let stamp = checked(seat, append).unwrap_or_default();
            seat.append(append, levels.as_ref(), (time, stamp));
        }
        for settle in &transaction.settles {
            self.settle(client, settle);
        }
        if let Some(seat) = self.seats.get_mut(&transaction.shard) {
            seat.end_atomic();
            seat.wait_settled(client, token);
        }
    }
}

/// The records of an append in appends of small batches, where a frame has room for as many.
fn parts_of(append: &Append, seat: &Seat) -> Vec<Append> {
    let Payload::Tails { bytes, expiring } = &append.payload else { return Vec::new() };
    let most = bytes.len() / SMALL_BATCH_BYTES + 1;
    let has_levels = append.to.iter().any(|dest| seat.is_ranked(dest.log));
    if most == 1 || has_levels || most * append.to.len() > seat.draft.room().dests {
        return Vec::new();
    }
    let (mut parts, mut tails) = (Vec::with_capacity(most), Tails::new(bytes));
    let mut begin = 0;
    while begin < bytes.len() {
        let mut end = tails.at();
        while end - begin < SMALL_BATCH_BYTES && tails.next().is_some() {
            end = tails.at();
        }
        if end == begin {
            return Vec::new();
        }
        let part = bytes.slice(begin..end);
        let payload = Payload::Tails { bytes: part, expiring: *expiring };
        parts.push(Append { to: append.to.clone(), payload, waits: append.waits });
        begin = end;
    }
    parts
}

/// Whether an append can go into a frame: some destination is there, and each record has its id if any
/// has. Gives whether its batch gets the leader's time.
pub(super) fn checked(seat: &Seat, append: &Append) -> Result<bool, Error> {
    if let Payload::Once { bytes, ids, .. } = &append.payload
        && (ids.is_empty() || Tails::new(bytes).count() != ids.len())
    {
        return Err(Error::new(Kind::Invalid, "a message that is taken once has an id"));
    }
    let known = append.to.iter().filter_map(|dest| seat.shard.logs.get(&dest.log));
    let stamp = known.map(|log| log.options.append_time).reduce(|one, other| one | other);
    stamp.ok_or_else(no_log)
}
