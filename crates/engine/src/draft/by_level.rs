//! Batches of one level each.
//!
//! Where all who read a log hand out the highest level first, records of one level lie together: what is
//! handed out together is read, leased and settled together, and a batch is read once, not once for each
//! level it has. Among records of different levels the order of one frame does not matter there.

use super::{Draft, Packing};
use crate::api::Append;
use crate::envelope::Envelope;
use crate::levels::Levels;
use record::batch::Builder;
use record::tails::{ENTRY_BYTES, Tails};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogId, LogRef, Millis};

/// What a draft knows of levels.
#[derive(Debug, Default)]
pub(super) struct ByLevel {
    /// By batch, where records have a priority and a queue takes notice.
    pub(super) told: BTreeMap<usize, Levels>,
    /// The first destination of the batch that takes the records of a level.
    open: BTreeMap<(Arc<[LogRef]>, u8), usize>,
    /// The last batch with records of a level, while no batch of several came after it.
    latest: BTreeMap<(LogId, u8), usize>,
}

impl ByLevel {
    /// A batch of several levels goes to a log: what comes lies behind it.
    pub(super) fn close(&mut self, to: &[LogRef]) {
        if self.latest.is_empty() {
            return;
        }
        for dest in to {
            let all = (dest.log, 0)..=(dest.log, u8::MAX);
            self.latest.extract_if(all, |_, _| true).for_each(drop);
        }
    }
}

impl Draft {
    /// Adds tails, those of each level to a batch of their own; a level above `level_max` counts as that.
    /// Gives what [`Draft::append`] does, of the first record.
    pub(crate) fn append_by_level(
        &mut self,
        (append, expiring): (&Append, bool),
        (levels, level_max): (Option<&Levels>, u8),
        (time, stamp): (Millis, bool),
        batch_bytes: usize,
    ) -> (usize, u32) {
        let bytes = append.payload.bytes();
        self.bytes += bytes.len();
        let entries = || {
            let mut level_of = levels.map(Levels::each);
            Tails::new(bytes).map(move |entry| {
                let (timestamp, tail) = entry.expect("packed by record::tails");
                let level = level_of.as_mut().and_then(Iterator::next).unwrap_or(0);
                (usize::from(level.min(level_max)), timestamp, tail)
            })
        };
        let mut places = vec![(0, None); usize::from(level_max) + 1];
        // An entry's own header is longer than what a record has before its tail.
        entries().for_each(|(level, _, tail)| places[level].0 += tail.len() + ENTRY_BYTES);
        let mut first = None;
        for (level, timestamp, tail) in entries() {
            let (level_bytes, place) = &mut places[level];
            let dest = match *place {
                Some(dest) => dest,
                None => {
                    let at = u8::try_from(level).unwrap_or(level_max);
                    let dest = self.open_level((&append.to, at), (time, expiring), batch_bytes);
                    if let Packing::Open(builder) = &mut self.batches[self.dests[dest].batch] {
                        builder.reserve(*level_bytes);
                    }
                    *place.insert(dest)
                }
            };
            let batch = self.dests[dest].batch;
            let Packing::Open(builder) = &mut self.batches[batch] else { continue };
            first.get_or_insert((dest, builder.count()));
            builder.push(if stamp { time } else { timestamp.unwrap_or(time) }, tail);
        }
        first.unwrap_or_default()
    }

    /// The place of the batch that takes records of a level.
    fn open_level(
        &mut self,
        (to, level): (&Arc<[LogRef]>, u8),
        (time, expiring): (Millis, bool),
        batch_bytes: usize,
    ) -> usize {
        let envelope = Envelope { expiring, ..Envelope::default() };
        let key = (Arc::clone(to), level);
        let open = self.by_level.open.get(&key).copied().filter(|first| {
            let target = &self.dests[*first];
            let has_room = match &self.batches[target.batch] {
                Packing::Open(builder) => builder.len() < batch_bytes,
                Packing::Whole(_) => false,
            };
            let latest = |dest: &LogRef| self.by_level.latest.get(&(dest.log, level));
            has_room
                && target.envelope == envelope
                && to.iter().all(|dest| latest(dest) == Some(&target.batch))
        });
        if let Some(first) = open {
            return first;
        }
        let batch = self.batches.len();
        let mut latest = std::mem::take(&mut self.by_level.latest);
        let first = self.add_batch(to, Packing::Open(Builder::new(time)), envelope);
        latest.extend(to.iter().map(|dest| ((dest.log, level), batch)));
        self.by_level.latest = latest;
        self.by_level.open.insert(key, first);
        if level > 0 {
            let levels = Levels::all(level);
            self.grow(levels.bytes_max());
            self.by_level.told.insert(batch, levels);
        }
        first
    }
}
