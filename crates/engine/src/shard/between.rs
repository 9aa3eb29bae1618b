//! What a shard has of others, and they of it: messages from outboxes, and names.

use super::{Effect, Outbox, Shard};
use ledger::Ledger;
use types::{LogId, Offset, ShardId};

impl Shard {
    /// Whether an entry of another shard's outbox was appended before. The outbox of what does not
    /// outlive the process is never sent again.
    pub(super) fn has_come(&mut self, outbox: LogId, offset: Offset, floor: Offset) -> bool {
        if Outbox::shards_of(outbox).is_none_or(|(from, _)| from == ShardId::LOCAL) {
            return false;
        }
        let received = self.received.entry(outbox).or_insert_with(|| Ledger::new(floor));
        received.advance_floor_to(floor);
        received.is_settled(offset) && !io::planted("outbox-sent-twice")
    }

    /// Up to which entry of the catalog's shard this one has followed the changes of names, where several
    /// replicas follow. They come as from an outbox with an offset for each entry.
    pub(crate) fn names_followed(&self) -> u64 {
        let names = self.received.get(&Outbox::id_of(self.id, self.id));
        names.map_or(0, |names| names.floor().0.unsigned_abs())
    }

    pub(super) fn note_names_followed(&mut self, upto: u64, effects: &mut Vec<Effect>) {
        let id = Outbox::id_of(self.id, self.id);
        let names = self.received.entry(id).or_insert_with(|| Ledger::new(Offset(0)));
        names.advance_floor_to(Offset(i64::try_from(upto).unwrap_or(i64::MAX)));
        effects.push(Effect::NamesFollowed { upto });
    }

    pub(super) fn sent(&mut self, to: ShardId, offset: Offset, effects: &mut Vec<Effect>) {
        let Some(outbox) = self.outboxes.get_mut(&to) else { return };
        outbox.settle(offset);
        let (log, start) = (Outbox::id_of(self.id, to), outbox.ledger.floor());
        effects.push(Effect::Trimmed { log, start });
    }
}
