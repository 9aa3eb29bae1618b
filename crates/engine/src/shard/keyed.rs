//! Appends to logs that index their keys, and those that expect something.

use super::keys::HELD_BYTES as KEY_ENTRY_BYTES;
use super::{Effect, KeyRun, Keys, Shard};
use crate::api::{Expected, Expecting, KeyHash, Verdict};
use crate::command::Command;
use crate::key_list::KeyList;
use types::{LogId, Offset};

/// The keys that a frame tells of its batches.
pub(super) struct KeysTold<'a>(Vec<(u16, &'a KeyList)>);

impl<'a> KeysTold<'a> {
    pub(super) fn of(commands: &'a [Command]) -> KeysTold<'a> {
        let told = commands.iter().filter_map(|command| match command {
            Command::Keys { batch, keys } => Some((*batch, keys)),
            _ => None,
        });
        KeysTold(told.collect())
    }

    /// Those of one batch.
    fn at(&self, batch: u16) -> Option<&'a KeyList> {
        let at = self.0.binary_search_by_key(&batch, |(batch, _)| *batch).ok()?;
        Some(self.0[at].1)
    }
}

impl Shard {
    /// Notes the keys of what was appended to a log, if it indexes them.
    pub(super) fn note_keys(&mut self, log: LogId, base: Offset, batch: u16, told: &KeysTold<'_>) {
        let Some(list) = told.at(batch) else { return };
        if let Some(keys) = self.keys.get_mut(log) {
            let known = keys.recent().len();
            keys.note(base, list.iter());
            self.holds.key_bytes += (keys.recent().len() - known) * KEY_ENTRY_BYTES;
        }
    }

    /// Says no to an append if what it expects is not so.
    pub(super) fn check_expected(
        &self,
        id: LogId,
        expecting: &Expecting,
    ) -> Result<(), (Verdict, Offset)> {
        let Expecting { expected: Expected { key, last }, told } = expecting;
        let Some(log) = self.logs.get(&id) else { return Err((Verdict::Gone, Offset(0))) };
        let there = match key {
            None => Some(Offset(log.end.0 - 1)),
            Some(key) => {
                let Some(keys) = self.keys.get(&id) else { return Err((Verdict::Gone, Offset(0))) };
                let recent = keys.last_recent(*key, Offset(i64::MAX));
                if recent.is_none() && told.before < keys.from() {
                    return Err((Verdict::Unsure, Offset(0)));
                }
                recent.or(told.last)
            }
        };
        let there = there.filter(|offset| *offset >= log.start);
        match there == *last || io::planted("expectation-ignored") {
            true => Ok(()),
            false => Err((Verdict::Unexpected, there.unwrap_or(Offset(-1)))),
        }
    }

    /// Appends a page to the hidden log of a log's keys.
    pub(super) fn append_key_page(&mut self, log: LogId) -> (Verdict, Offset) {
        match self.keys.get_mut(log) {
            Some(keys) => (Verdict::Appended, keys.append_page()),
            None => (Verdict::Gone, Offset(0)),
        }
    }

    /// Puts a run into the index of a log's keys.
    pub(super) fn put_key_run(&mut self, id: LogId, run: &KeyRun, effects: &mut Vec<Effect>) {
        let Some(log) = self.logs.get(&id) else { return };
        let start = log.start;
        self.change_keys(id, effects, |keys| keys.put(run.clone(), start));
        effects.push(Effect::KeyRun { log: id, first: run.first, end: run.end });
    }

    /// Gives up pages that are in no run.
    pub(super) fn give_up_key_strays(&mut self, log: LogId, effects: &mut Vec<Effect>) {
        self.change_keys(log, effects, Keys::give_up_strays);
    }

    /// The index of a log's keys, if it has one, follows a trim.
    pub(super) fn trim_keys(&mut self, log: LogId, start: Offset, effects: &mut Vec<Effect>) {
        if !self.keys.is_empty() {
            self.change_keys(log, effects, |keys| keys.trim(start));
        }
    }

    pub(super) fn drop_keys(&mut self, log: LogId, effects: &mut Vec<Effect>) {
        if let Some(gone) = self.keys.remove(log) {
            self.holds.key_bytes -= gone.bytes();
            effects.push(Effect::Trimmed { log: Keys::id_of(log), start: gone.end });
        }
    }

    fn change_keys(
        &mut self,
        log: LogId,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Keys),
    ) {
        let Some(keys) = self.keys.get_mut(log) else { return };
        let (known, floor) = (keys.bytes(), keys.ledger.floor());
        change(keys);
        self.holds.key_bytes = self.holds.key_bytes - known + keys.bytes();
        let start = keys.ledger.floor();
        if start > floor {
            effects.push(Effect::Trimmed { log: Keys::id_of(log), start });
        }
    }
}

/// Whether an append can be asked for what is expected of a key there.
pub(crate) fn is_known(shard: &Shard, log: LogId, key: Option<KeyHash>) -> bool {
    key.is_none() || shard.keys.contains_key(&log)
}
