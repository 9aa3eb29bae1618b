//! Messages that a log takes once.

use super::seen::Looks;
use super::{Chunked, Log, Shard, Subscription, ranking};
use crate::api::{MessageId, Once, Verdict, Within};
use crate::id_list::IdList;
use crate::id_table::Hashed;
use crate::levels::Levels;
use journal::Dest;
use ledger::Ledger;
use record::batch::Header;
use types::{LogId, Millis, Offset, SubscriptionId};

/// What a log that remembers ids says of one before a frame is made of it.
#[derive(Debug)]
pub(crate) struct Memories<'a> {
    looks: Looks<'a>,
    start: Offset,
    ledgers: Vec<&'a Ledger>,
    /// What is settled may be delivered again.
    rewinds: bool,
}

impl Memories<'_> {
    /// Has what is known of ids come from memory side by side, before they are asked for one after the other.
    pub(crate) fn warm(&self, ids: &[Hashed]) {
        self.looks.warm(ids);
    }

    /// Whether the log takes a message of this id for certain, if no frame that is not applied yet has one:
    /// an id is forgotten by itself, and is known again only by an append, or where its message is
    /// delivered again.
    pub(crate) fn take(&self, id: &Hashed) -> bool {
        self.looks
            .find(id, |offset| self.rewinds || holds(&self.ledgers, self.start, offset))
            .is_none()
    }
}

impl Shard {
    /// What a log remembers of ids, if there is anything.
    pub(crate) fn memories(
        &self,
        id: LogId,
        within: Option<Within>,
        now: Millis,
    ) -> Option<Memories<'_>> {
        let log = self.logs.get(&id)?;
        let looks = log.seen.looks(within, log.options.dedup, now);
        (!looks.is_empty()).then(|| Memories {
            looks,
            start: log.start,
            ledgers: ledgers_of(&self.subscriptions, (id, log)),
            rewinds: log.options.keeps_settled(),
        })
    }

    /// Appends a message to a log unless the log remembers one of its id.
    pub(super) fn append_once(
        &mut self,
        dest: &Dest,
        header: &Header,
        (once, levels): (&Once, Option<&Levels>),
    ) -> (Verdict, Offset) {
        let Some(log) = self.logs.get(&dest.log) else { return (Verdict::Gone, Offset(0)) };
        let ledgers = ledgers_of(&self.subscriptions, (dest.log, log));
        let looks = log.seen.looks(once.within, log.options.dedup, self.time);
        match looks.find(&once.id.into(), |offset| holds(&ledgers, log.start, offset)) {
            Some(base) => (Verdict::Duplicate, base),
            None => {
                let ids = std::iter::once(once.id);
                self.append_new(dest, header, ((ids, once.within), levels))
            }
        }
    }

    /// Appends messages to a log that remembers none of their ids, as whoever made the frame knows.
    pub(super) fn append_listed(
        &mut self,
        dest: &Dest,
        header: &Header,
        (list, levels): (&IdList, Option<&Levels>),
    ) -> (Verdict, Offset) {
        self.append_new(dest, header, ((list.iter(), list.within), levels))
    }

    fn append_new(
        &mut self,
        dest: &Dest,
        header: &Header,
        (ids, levels): ((impl Iterator<Item = MessageId> + Clone, Option<Within>), Option<&Levels>),
    ) -> (Verdict, Offset) {
        let Some(log) = self.logs.get_mut(dest.log) else { return (Verdict::Gone, Offset(0)) };
        let (start, end, own) = (log.start, log.end, log.options.dedup);
        let (known, producers) = (log.seen.len(), log.producers.len());
        let (verdict, base) = log.append(header, dest.records, self.time);
        if verdict == Verdict::Appended {
            let ledgers = ledgers_of(&self.subscriptions, (dest.log, log));
            let count = ledgers.iter().map(|ledger| ledger.unsettled(end)).sum();
            let held = (|offset| holds(&ledgers, start, offset), count);
            log.seen.remember(ids, own, (base, self.time), held);
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

/// The ledgers over a log.
fn ledgers_of<'a>(
    subscriptions: &'a Chunked<SubscriptionId, Subscription>,
    (id, log): (LogId, &Log),
) -> Vec<&'a Ledger> {
    let readers = log.subscriptions.iter();
    readers.filter_map(|reader| subscriptions.get(reader)?.ledgers.get(id)).collect()
}

/// Whether the message at an offset is still to be settled by somebody.
fn holds(ledgers: &[&Ledger], start: Offset, offset: Offset) -> bool {
    offset >= start && ledgers.iter().any(|ledger| !ledger.is_settled(offset))
}
