//! What a store holds of the consensus on its shards: votes and entries, as the journal has them in order.

use super::EngineError;
use crate::replication::{EntryId, Found, Kept};
use crate::worker::Replica;
use journal::{Checkpoint, Damage, Finding, FrameKind, Placed, ScannedBody, ScannedFrame, Vote};
use std::collections::BTreeMap;
use types::ShardId;

/// Bytes that an entry takes in memory beside its batches and commands, about.
const ENTRY_BYTES: usize = 256;

/// Gathers it.
#[derive(Debug, Default)]
pub(super) struct Collected {
    shards: BTreeMap<ShardId, Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    found: Found,
    /// Entries that are not what was written, or not behind the one before them, and why. What replay meets
    /// first may be taken back later.
    unfit: Vec<(u64, String)>,
}

impl Collected {
    /// Begins with what the checkpoint repeats. Fails when it cannot be read.
    pub(super) fn begin(
        shards: &[ShardId],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Collected, EngineError> {
        let shards = shards.iter().copied().filter(|shard| *shard != ShardId::LOCAL);
        let of = |shard| {
            (shard, Shard { found: Found { shard, ..Found::default() }, unfit: Vec::new() })
        };
        let mut collected = Collected { shards: shards.map(of).collect() };
        for applied in checkpoint.iter().flat_map(|it| &it.applied).filter(|it| it.index > 0) {
            let Some(shard) = collected.shards.get_mut(&applied.shard) else { continue };
            shard.found.applied = Some(EntryId { term: applied.term, index: applied.index });
        }
        let pages = checkpoint.iter().flat_map(|checkpoint| &checkpoint.pages);
        for found in pages.filter_map(Replica::read) {
            let found = found.map_err(|_| EngineError::Newer)?;
            let Some(shard) = collected.shards.get_mut(&found.shard) else { continue };
            shard.found = Found { applied: shard.found.applied, ..found };
        }
        Ok(collected)
    }

    /// Takes in a frame that is no copy.
    pub(super) fn take(&mut self, frame: &ScannedFrame) {
        let Some(shard) = self.shards.get_mut(&frame.shard) else { return };
        let id = EntryId { term: frame.term, index: frame.index };
        match frame.kind {
            FrameKind::Entry | FrameKind::Blank | FrameKind::Membership => shard.add(id, frame),
            FrameKind::Vote => {
                let rank = |vote: Vote| (vote.term, vote.node.is_some(), vote.is_committed);
                // A checkpoint may have repeated one that comes behind where its replay begins. Of equal
                // ones the later says whether the replica is faulty.
                let vote = shard.found.vote.into_iter().chain(Vote::of(frame));
                shard.found.vote = vote.max_by_key(|vote| rank(*vote));
            }
            FrameKind::Truncate => shard.truncate(frame.index),
            FrameKind::Purge => shard.purge(id),
            FrameKind::Part | FrameKind::Relocate | FrameKind::Witness => {}
        }
    }

    /// What was found, if the rest of the store has these findings.
    pub(super) fn done(self, findings: &[Finding]) -> Vec<Found> {
        let loses = |finding: &&Finding| {
            finding.what.is_fatal()
                || matches!(finding.what, Damage::Records | Damage::UnknownOffsets)
        };
        let lost = findings.iter().find(loses).map(ToString::to_string);
        let shard = |mut shard: Shard| {
            if let Some((_, why)) = shard.unfit.first() {
                shard.fail(why.clone());
            }
            if let Some(lost) = &lost {
                shard.fail(lost.clone());
            }
            shard.found
        };
        self.shards.into_values().map(shard).collect()
    }
}

impl Shard {
    fn add(&mut self, id: EntryId, frame: &ScannedFrame) {
        let entries = &self.found.entries;
        let applied = self.found.applied;
        let purged = self.found.purged.map(|purged| purged.index);
        // The first entry of a shard has index 0 where it says who its replicas are, and 1 in a store that
        // a single node wrote.
        let is_first = match purged {
            Some(purged) => id.index == purged + 1,
            None => id.index <= 1,
        };
        let last = entries.last().map(|last| (last.term, last.placed.index));
        match last {
            // The checkpoint has it.
            Some((_, index))
                if id.index <= index && Some(id.index) <= applied.map(|it| it.index) =>
            {
                return;
            }
            Some((term, index)) if id.index != index + 1 || id.term < term => {
                let why = format!("entry {} does not go behind entry {index}", id.index);
                return self.unfit.push((id.index, why));
            }
            Some(_) => {}
            None if purged.is_some_and(|purged| id.index <= purged) => return,
            None if is_first => {}
            // Replay begins behind the entries that others may ask for: it is as if they were purged.
            None if applied.is_some_and(|applied| id.index == applied.index + 1) => {
                self.found.purged = applied;
            }
            None if applied.is_some_and(|applied| id.index <= applied.index) => {
                self.found.purged = Some(id);
                return;
            }
            None => {
                let why = format!("the entries before entry {} are lost", id.index);
                return self.unfit.push((id.index, why));
            }
        }
        if frame.batches.iter().any(|batch| batch.body == ScannedBody::Corrupt) {
            self.unfit.push((id.index, format!("entry {} is damaged", id.index)));
        }
        let batches: usize = frame.batches.iter().map(|batch| batch.location.len()).sum();
        let placed = Placed {
            shard: frame.shard,
            index: frame.index,
            kind: frame.kind,
            place: frame.place,
            batches: frame.batches.iter().map(|batch| batch.location.clone()).collect(),
            position: frame.position,
        };
        let bytes = ENTRY_BYTES + batches + frame.commands.len();
        self.found.entries.push(Kept { term: id.term, placed, bytes });
    }

    /// Takes back entries. What the checkpoint has applied was agreed on: replay meets what was taken back
    /// before that.
    fn truncate(&mut self, from: u64) {
        let from = from.max(self.found.applied.map_or(0, |applied| applied.index) + 1);
        self.found.entries.retain(|kept| kept.placed.index < from);
        self.unfit.retain(|(index, _)| *index < from);
    }

    fn purge(&mut self, id: EntryId) {
        if self.found.purged.is_none_or(|purged| purged < id) {
            self.found.purged = Some(id);
            self.found.entries.retain(|kept| kept.placed.index > id.index);
        }
    }

    fn fail(&mut self, why: String) {
        self.found.faulty.get_or_insert(why);
    }
}
