//! What of a shard's state clients can make grow, counted where it changes.

use super::Shard;
use types::{LogId, Millis};

/// How much there is of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holds {
    /// Producers, of all logs.
    pub(crate) producers: usize,
    /// Ids of messages that are remembered, of all logs.
    pub(crate) ids: usize,
    /// What the indexes of keys take in memory.
    pub(crate) key_bytes: usize,
    /// What groups take in memory.
    pub(crate) group_bytes: usize,
    /// What states of sessions take, which count themselves.
    pub(crate) state_bytes: usize,
    /// What recurs takes in memory.
    pub(crate) recurrence_bytes: usize,
}

impl Shard {
    pub(crate) fn holds(&self) -> Holds {
        Holds { state_bytes: self.states.bytes(), ..self.holds }
    }

    /// Counts all of it: after a restore.
    pub(super) fn recount(&mut self) {
        self.states.recount();
        self.holds = self.counted();
    }

    /// Holds what was counted against what is there.
    ///
    /// Fails with both.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let (counted, there) = (self.holds, self.counted());
        match counted == there && self.states.is_counted() {
            true => Ok(()),
            false => Err(format!("{} counts {counted:?} and has {there:?}", self.id)),
        }
    }

    /// Forgets the producers that have been silent since before a time.
    pub(super) fn forget_producers(&mut self, before: Millis) {
        let is_silent = |seen: Millis| seen < before;
        let silent = self.logs.iter().filter(|(_, log)| log.producers.seen().any(is_silent));
        let silent: Vec<LogId> = silent.map(|(id, _)| *id).collect();
        for id in silent {
            let Some(log) = self.logs.get_mut(id) else { continue };
            let known = log.producers.len();
            log.producers.forget(before);
            self.holds.producers -= known - log.producers.len();
        }
    }

    /// Forgets ids of messages whose time is over.
    pub(super) fn forget_ids(&mut self) {
        let now = self.time;
        let some = self.logs.iter().filter(|(_, log)| log.seen.has_outlived(now));
        let some: Vec<LogId> = some.map(|(id, _)| *id).collect();
        for id in some {
            let Some(log) = self.logs.get_mut(id) else { continue };
            let known = log.seen.len();
            log.seen.forget_outlived(now);
            self.holds.ids -= known - log.seen.len();
        }
    }

    fn counted(&self) -> Holds {
        Holds {
            ids: self.logs.values().map(|log| log.seen.len()).sum(),
            producers: self.logs.values().map(|log| log.producers.len()).sum(),
            key_bytes: self.keys.values().map(|keys| keys.bytes()).sum(),
            recurrence_bytes: self
                .recurring
                .values()
                .flat_map(|all| all.values())
                .map(|it| it.bytes())
                .sum(),
            group_bytes: self.groups.iter().map(|(_, groups)| groups.bytes()).sum(),
            state_bytes: 0,
        }
    }
}
