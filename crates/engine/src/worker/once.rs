//! Messages with ids: those that are new for certain share batches, and about the others each log decides.

use super::appending::checked;
use super::{Seat, Worker};
use crate::api::{Append, MessageId, Payload, Told, Within};
use crate::draft::{Awaits, DESTS_MAX, Draft, Ids};
use crate::id_list::IdList;
use crate::id_table::Hashed;
use crate::levels::Levels;
use crate::shard::Memories;
use bytes::Bytes;
use record::tails::Tails;
use std::borrow::Cow;
use types::{ClientId, Millis, Token};

/// So many ids are looked for at a time.
const WARM: usize = 64;

/// Records of an append that are still to be put into frames.
struct Rest<'a> {
    append: &'a Append,
    bytes: &'a Bytes,
    expiring: bool,
    ids: &'a [MessageId],
    within: Option<Within>,
    tails: Tails<'a>,
}

impl<'a> Rest<'a> {
    fn of(append: &'a Append) -> Option<Rest<'a>> {
        let Payload::Once { bytes, expiring, ids, within } = &append.payload else { return None };
        let (expiring, within) = (*expiring, *within);
        Some(Rest { append, bytes, expiring, ids, within, tails: Tails::new(bytes) })
    }

    /// Takes the next ones out, as an append of their own.
    fn take(&mut self, count: usize) -> Append {
        let begin = self.tails.at();
        let (ids, rest) = self.ids.split_at(count);
        self.ids = rest;
        for _ in ids {
            self.tails.next();
        }
        let bytes = self.bytes.slice(begin..self.tails.at());
        let (ids, expiring, within) = (ids.into(), self.expiring, self.within);
        let payload = Payload::Once { bytes, expiring, ids, within };
        Append { to: self.append.to.clone(), payload, waits: self.append.waits }
    }
}

impl Worker {
    /// Appends messages that are taken once.
    pub(super) fn append_once(&mut self, client: ClientId, token: Token, append: &Append) {
        let Some(seat) = self.seats.get_mut(&append.to[0].shard) else { return };
        let said = checked(seat, append).and_then(|stamp| Ok((stamp, seat.levels_of(append)?)));
        let (stamp, levels) = match said {
            Ok(said) => said,
            Err(error) => return self.clients.reply(client, token, Err(error)),
        };
        let Some(mut rest) = Rest::of(append) else { return };
        if seat.indexes_keys(append) || append.to.len() > DESTS_MAX {
            return self.append_one_by_one(client, token, rest);
        }
        let time = seat.time(self.now);
        loop {
            let levels_max = levels.as_ref().map_or(0, Levels::bytes_max);
            let bytes = IdList::bytes_of_count(rest.ids.len()) + levels_max;
            seat.make_room(append.to.len(), bytes);
            let new = seat.note_new(&rest, time);
            let (count, is_new) = (new.max(1), new > 0);
            let part = match &append.payload {
                Payload::Once { ids, .. } if ids.len() == count => Cow::Borrowed(append),
                _ => Cow::Owned(rest.take(count)),
            };
            let levels = levels.as_ref().and_then(|_| Levels::of(&part.payload));
            let (dest, delta) = match is_new {
                true => seat.append_new(&part, levels.as_ref(), (time, stamp)),
                false => seat.append(&part, levels.as_ref(), (time, stamp)),
            };
            if rest.ids.is_empty() || matches!(part, Cow::Borrowed(_)) {
                let last = u32::try_from(count - 1).unwrap_or_default();
                let delta = delta + last;
                return seat.draft.wait(client, token, Awaits::Append { dest, delta });
            }
        }
    }

    /// Appends messages of which no two can share a batch; the last is waited for.
    fn append_one_by_one(&mut self, client: ClientId, token: Token, mut rest: Rest<'_>) {
        while !rest.ids.is_empty() {
            let one = rest.take(1);
            let token = if rest.ids.is_empty() { token } else { Token::NONE };
            match one.to.len() > DESTS_MAX {
                true => self.append_widely(client, token, &one),
                false => self.append(client, token, &one, Told::default()),
            }
        }
    }
}

impl Seat {
    /// How many of the next messages are new for certain where they go; notes their ids in the frame in the
    /// making, which has to take them.
    fn note_new(&mut self, rest: &Rest<'_>, now: Millis) -> usize {
        let to = rest.append.to.iter();
        let memories: Vec<Memories<'_>> =
            to.filter_map(|to| self.shard.memories(to.log, rest.within, now)).collect();
        let sealed = self.in_flight.iter().map(|frame| &frame.ids);
        let coming = sealed.chain(self.full.iter().map(Draft::ids));
        let coming: Vec<&Ids> = coming.filter(|ids| !ids.is_empty()).collect();
        let is_coming = |id: &Hashed| {
            coming.iter().any(|ids| ids.has(id)) && !io::planted("duplicate-under-way-accepted")
        };
        let draft = &mut self.draft;
        draft.reserve_ids(rest.ids.len());
        let mut is_new = |id: &Hashed| {
            !is_coming(id) && memories.iter().all(|memory| memory.take(id)) && draft.note_id(*id)
        };
        let (mut new, mut hashed) = (0, Vec::with_capacity(WARM));
        for ids in rest.ids.chunks(WARM) {
            hashed.clear();
            hashed.extend(ids.iter().copied().map(Hashed::from));
            let ids = &hashed;
            memories.iter().for_each(|memory| memory.warm(ids));
            let count = ids.iter().take_while(|id| is_new(id)).count();
            new += count;
            if count < ids.len() {
                break;
            }
        }
        new
    }
}
