//! Messages that a log takes once.

use super::{Shard, ranking};
use crate::api::{Once, Verdict};
use crate::levels::Levels;
use journal::Dest;
use ledger::Ledger;
use record::batch::Header;
use types::Offset;

impl Shard {
    /// Appends a message to a log unless the log remembers one of its id.
    pub(super) fn append_once(
        &mut self,
        dest: &Dest,
        header: &Header,
        (once, levels): (&Once, Option<&Levels>),
    ) -> (Verdict, Offset) {
        let Some(log) = self.logs.get_mut(dest.log) else { return (Verdict::Gone, Offset(0)) };
        let (start, own) = (log.start, log.options.dedup);
        let readers = log.subscriptions.iter();
        let ledgers = readers.filter_map(|id| self.subscriptions.get(id)?.ledgers.get(dest.log));
        let ledgers: Vec<&Ledger> = ledgers.collect();
        let holds = |offset: Offset| {
            offset >= start && ledgers.iter().any(|ledger| !ledger.is_settled(offset))
        };
        if let Some(base) = log.seen.find(once, own, self.time, holds) {
            return (Verdict::Duplicate, base);
        }
        let (known, producers) = (log.seen.len(), log.producers.len());
        let (verdict, base) = log.append(header, dest.records, self.time);
        if verdict == Verdict::Appended {
            log.seen.remember(once, own, (base, self.time), holds);
        }
        self.holds.ids = self.holds.ids - known + log.seen.len();
        self.holds.producers = self.holds.producers - producers + log.producers.len();
        if verdict == Verdict::Appended && log.options.level_max > 0 {
            let at = (dest.log, base, dest.records);
            ranking::rank(&mut self.subscriptions, &log.subscriptions, at, levels);
        }
        (verdict, base)
    }
}
