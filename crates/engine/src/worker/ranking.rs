//! Levels of what is appended, told in the frame that appends it.

use super::Seat;
use crate::api::{Append, Transaction};
use crate::levels::Levels;
use types::{Error, Kind, LogId, Millis};

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

    /// Those of each append of a transaction, and how many bytes all of them take in a frame.
    pub(super) fn levels_of_all(
        &self,
        transaction: &Transaction,
    ) -> Result<(Vec<Option<Levels>>, usize), Error> {
        let all = transaction.appends.iter().map(|append| self.levels_of(append));
        let all: Vec<Option<Levels>> = all.collect::<Result<_, _>>()?;
        let bytes = all.iter().flatten().map(Levels::bytes_max).sum();
        Ok((all, bytes))
    }

    /// Puts an append into the frame in the making, which has room for it. Gives the first
    /// destination's place and the record's place in its batch.
    pub(super) fn append(
        &mut self,
        append: &Append,
        levels: Option<&Levels>,
        (time, stamp): (Millis, bool),
    ) -> (usize, u32) {
        let (dest, before) = self.draft.append(append, time, stamp);
        if let Some(levels) = levels {
            self.draft.rank(dest, before, levels);
        }
        self.note_coming(append);
        (dest, before)
    }

    /// The only record of a batch has a level.
    pub(super) fn rank_at(&mut self, dest: usize, level: u8) {
        if level > 0 {
            self.draft.rank(dest, 0, &Levels::one(level));
        }
    }
}
