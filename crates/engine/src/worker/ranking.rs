//! Levels of what is appended, told in the frame that appends it.

use super::Seat;
use crate::api::{Append, Payload, Transaction};
use crate::draft::{BATCH_BYTES, SMALL_BATCH_BYTES};
use crate::key_list::KeyList;
use crate::levels::Levels;
use types::{Error, Kind, LogId, LogRef, Millis, Offset};

impl Seat {
    /// Whether a log has levels.
    pub(super) fn is_ranked(&self, log: LogId) -> bool {
        let level_max = || self.shard.logs.get(&log).map(|log| log.options.level_max);
        self.has_levels && level_max().is_some_and(|max| max > 0)
    }

    /// The levels of an append, where there are any and a queue takes notice.
    ///
    /// Fails with `TooLarge` when no frame can tell them.
    pub(super) fn levels_of(&self, append: &Append) -> Result<Option<Levels>, Error> {
        if !self.has_levels || !append.to.iter().any(|dest| self.is_ranked(dest.log)) {
            return Ok(None);
        }
        let levels = Levels::of(&append.payload);
        match levels.as_ref().map_or(0, Levels::bytes_max) > self.draft.room().command_bytes {
            true => Err(Error::new(Kind::TooLarge, "too many records of different priorities")),
            false => Ok(levels),
        }
    }

    /// Whether the records of an append go into a batch for each level, since all who read them hand
    /// out by level: the highest one, and how many batches there may be.
    pub(super) fn by_level(&self, append: &Append, levels: Option<&Levels>) -> Option<(u8, usize)> {
        if !self.has_levels || self.atomic || self.indexes_keys(append) {
            return None;
        }
        let Payload::Tails { .. } = append.payload else { return None };
        let max_of = |dest: &LogRef| self.shard.logs.get(&dest.log).map(|it| it.options.level_max);
        let mut level_max = 0;
        for dest in append.to.iter() {
            level_max = level_max.max(max_of(dest).filter(|max| *max > 0)?);
        }
        let batches = levels.map_or(1, |levels| levels.different(level_max));
        (batches * append.to.len() <= self.draft.room().dests).then_some((level_max, batches))
    }

    /// Whether an append goes to a log that indexes its keys.
    pub(super) fn indexes_keys(&self, append: &Append) -> bool {
        let keys = &self.shard.keys;
        !keys.is_empty() && append.to.iter().any(|dest| keys.contains_key(&dest.log))
    }

    /// Bytes that the keys of an append take in a frame, where a log indexes them.
    ///
    /// Fails with `TooLarge` when no frame can tell them.
    pub(super) fn key_bytes(&self, append: &Append) -> Result<usize, Error> {
        if !self.indexes_keys(append) {
            return Ok(0);
        }
        let bytes = KeyList::bytes_of(&append.payload);
        match bytes > self.draft.room().command_bytes {
            true => {
                Err(Error::new(Kind::TooLarge, "too many records at once for an index of keys"))
            }
            false => Ok(bytes),
        }
    }

    /// The same of a batch of so many records that goes to one log.
    pub(super) fn key_bytes_of(&self, log: LogId, records: usize) -> usize {
        match !self.shard.keys.is_empty() && self.shard.keys.contains_key(&log) {
            true => KeyList::bytes_of_count(records),
            false => 0,
        }
    }

    /// Those of each append of a transaction, and how many bytes all of them take in a frame, and their
    /// keys.
    pub(super) fn levels_of_all(
        &self,
        transaction: &Transaction,
    ) -> Result<(Vec<Option<Levels>>, usize), Error> {
        let all = transaction.appends.iter().map(|append| self.levels_of(append));
        let all: Vec<Option<Levels>> = all.collect::<Result<_, _>>()?;
        let bytes: usize = all.iter().flatten().map(Levels::bytes_max).sum();
        let keys = transaction.appends.iter().map(|append| self.key_bytes(append));
        let keys = keys.sum::<Result<usize, Error>>()?;
        Ok((all, bytes + keys))
    }

    /// Puts an append into the frame in the making, which has room for it. Gives the first
    /// destination's place and the record's place in its batch.
    pub(super) fn append(
        &mut self,
        append: &Append,
        levels: Option<&Levels>,
        (time, stamp): (Millis, bool),
    ) -> (usize, u32) {
        let batch_bytes =
            if self.indexes_keys(append) { SMALL_BATCH_BYTES / 2 } else { BATCH_BYTES };
        let (dest, before) = match (self.by_level(append, levels), &append.payload) {
            (Some((max, _)), Payload::Tails { expiring, .. }) => {
                let to = (append, *expiring);
                self.draft.append_by_level(to, (levels, max), (time, stamp), batch_bytes)
            }
            _ => {
                let placed = self.draft.append(append, (time, stamp), batch_bytes);
                levels.into_iter().for_each(|levels| self.rank(append, placed, levels));
                placed
            }
        };
        // Refused before if it cannot be told.
        self.draft.grow(self.key_bytes(append).unwrap_or_default());
        self.note_coming(append);
        (dest, before)
    }

    /// Puts messages with ids that are new where they go into the frame in the making. Gives the same.
    pub(super) fn append_new(
        &mut self,
        append: &Append,
        levels: Option<&Levels>,
        (time, stamp): (Millis, bool),
    ) -> (usize, u32) {
        let (dest, before) = self.draft.append_new(append, (time, stamp), BATCH_BYTES);
        if let Some(levels) = levels {
            self.draft.rank(dest, before, levels);
        }
        self.note_coming(append);
        (dest, before)
    }

    /// Notes the levels of what was just added. Messages about which each log decides have a batch each.
    fn rank(&mut self, append: &Append, (dest, before): (usize, u32), levels: &Levels) {
        let Payload::Once { ids, .. } = &append.payload else {
            return self.draft.rank(dest, before, levels);
        };
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        for (span, level) in levels.spans(Offset(0), count) {
            for record in span.offsets() {
                let record = usize::try_from(record.0).unwrap_or_default();
                self.rank_at(dest + record * append.to.len(), level);
            }
        }
    }

    /// The only record of a batch has a level.
    pub(super) fn rank_at(&mut self, dest: usize, level: u8) {
        if level > 0 {
            self.draft.rank(dest, 0, &Levels::one(level));
        }
    }
}
