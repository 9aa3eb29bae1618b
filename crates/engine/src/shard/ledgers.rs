//! The ledgers of a subscription, by log: nearly always one, and seldom more than some dozens.

use ledger::Ledger;
use serde::{Deserialize, Serialize};
use types::LogId;

/// A sorted list: a tree's node for one ledger would cost ten times the ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledgers(Vec<(LogId, Ledger)>);

impl Ledgers {
    pub(crate) fn get(&self, log: LogId) -> Option<&Ledger> {
        self.place(log).ok().map(|at| &self.0[at].1)
    }

    pub(crate) fn get_mut(&mut self, log: LogId) -> Option<&mut Ledger> {
        self.place(log).ok().map(|at| &mut self.0[at].1)
    }

    pub(crate) fn insert_if_new(&mut self, log: LogId, make: impl FnOnce() -> Ledger) {
        if let Err(at) = self.place(log) {
            self.0.reserve_exact(1);
            self.0.insert(at, (log, make()));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LogId, &Ledger)> {
        self.0.iter().map(|(log, ledger)| (*log, ledger))
    }

    fn place(&self, log: LogId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&log, |(known, _)| *known)
    }
}
