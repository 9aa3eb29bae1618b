//! Levels of records by their priority, as they are told beside a batch.
//!
//! Where a queue has levels, its ledger keeps the level of each message. It learns it from a command
//! of the frame that appends: apply reads no record, and a start reads none either.

use crate::api::Payload;
use crate::cache::Batch;
use bytes::Bytes;
use ledger::Span;
use record::batch::Header;
use record::tail;
use record::tails::Tails;
use serde::{Deserialize, Serialize};
use types::Offset;

/// The property a priority is in.
const PRIORITY: &[u8] = b"priority";
/// Bytes that a run may take, encoded.
const RUN_BYTES: usize = 7;
/// Bytes that the rest of the command may take.
const COMMAND_BYTES: usize = 16;

/// The priorities of records in a row: runs of them, of which none is empty. What follows has 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Levels(Vec<(u32, u8)>);

impl Levels {
    /// Those of what is appended; `None` when all are 0.
    pub(crate) fn of(payload: &Payload) -> Option<Levels> {
        match payload {
            Payload::Batch(bytes) => Levels::of_batch(bytes),
            Payload::Tails { bytes, .. }
            | Payload::Once { bytes, .. }
            | Payload::Expecting { bytes, .. } => {
                Levels::of_all(Tails::new(bytes).map_while(Result::ok).map(|(_, tail)| tail))
            }
        }
    }

    /// Those of a batch's records.
    pub(crate) fn of_batch(bytes: &Bytes) -> Option<Levels> {
        let batch = Batch::new(bytes.clone());
        let count = Header::decode(bytes).map_or(0, |it| it.last_offset_delta.saturating_add(1));
        // An offset without a record has no priority.
        let tails = (0..count).map(|delta| batch.record(delta).map(|(tail, _)| tail));
        Levels::of_all(tails.map(Option::unwrap_or_default))
    }

    fn of_all(tails: impl Iterator<Item = impl AsRef<[u8]>>) -> Option<Levels> {
        let mut levels = Levels::default();
        tails.for_each(|tail| levels.push(1, priority_of(tail.as_ref())));
        levels.0.iter().any(|(_, level)| *level > 0).then_some(levels)
    }

    /// Bytes that the command with them may take.
    pub(crate) fn bytes_max(&self) -> usize {
        COMMAND_BYTES + RUN_BYTES * self.0.len()
    }

    /// Adds those of records that follow, with so many before them in all.
    pub(crate) fn extend(&mut self, before: u32, others: &Levels) {
        let known: u32 = self.0.iter().map(|(count, _)| *count).sum();
        self.push(before.saturating_sub(known), 0);
        others.0.iter().for_each(|(count, level)| self.push(*count, *level));
    }

    /// The levels of `count` records from `base` on.
    pub(crate) fn spans(&self, base: Offset, count: u32) -> impl Iterator<Item = (Span, u8)> {
        let end = base.plus(count);
        let rest = (u32::MAX, 0);
        self.0.iter().copied().chain([rest]).scan(base, move |next, (count, level)| {
            let span = Span::new(*next, next.plus(count).min(end));
            *next = span.end;
            (!span.is_empty()).then_some((span, level))
        })
    }

    /// That of each record; what follows has 0.
    pub(crate) fn each(&self) -> impl Iterator<Item = u8> {
        self.0.iter().flat_map(|(count, level)| (0..*count).map(|_| *level))
    }

    /// How many different ones there are, 0 counted whether it is there or not, and those above
    /// `level_max` as that.
    pub(crate) fn different(&self, level_max: u8) -> usize {
        let mut seen = [false; 256];
        seen[0] = true;
        self.0.iter().for_each(|(_, level)| seen[usize::from((*level).min(level_max))] = true);
        seen.iter().filter(|seen| **seen).count()
    }

    /// The same one of every record of a batch.
    pub(crate) fn all(level: u8) -> Levels {
        Levels(vec![(u32::MAX, level)])
    }

    /// That of one record.
    pub(crate) fn one(level: u8) -> Levels {
        Levels(vec![(1, level)])
    }

    fn push(&mut self, count: u32, level: u8) {
        match self.0.last_mut() {
            _ if count == 0 => {}
            Some((last, same)) if *same == level => *last = last.saturating_add(count),
            _ => self.0.push((count, level)),
        }
    }
}

/// The priority of a record, 0 where it has none; what is above 255 counts as that.
pub(crate) fn priority_of(bytes: &[u8]) -> u8 {
    let Ok(headers) = tail::headers(bytes) else { return 0 };
    let mut said = headers.filter(|(name, _)| *name == PRIORITY).filter_map(|(_, value)| {
        let digits = value.filter(|value| !value.is_empty())?;
        digits.iter().try_fold(0u8, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
            Some(number.saturating_mul(10).saturating_add(digit))
        })
    });
    said.next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Levels, priority_of};
    use ledger::Span;
    use record::tail;
    use types::Offset;

    fn tail_of(priority: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let header: (&[u8], Option<&[u8]>) = (b"priority", Some(priority.as_bytes()));
        tail::encode(&mut out, None, Some(b"value"), [header].into_iter());
        out
    }

    #[test]
    fn a_priority_is_a_decimal_number_and_255_at_most() {
        let said = ["0", "7", "255", "256", "99999999999999999999", "", "-1", "high", "1.5"];
        let read: Vec<u8> = said.map(|text| priority_of(&tail_of(text))).to_vec();
        assert_eq!(read, [0, 7, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(priority_of(b"no tail"), 0);
    }

    #[test]
    fn levels_of_appends_to_one_batch_lie_where_their_records_do() {
        let of = |all: &[&str]| Levels::of_all(all.iter().map(|text| tail_of(text)));
        assert_eq!(of(&["0", "high"]), None);
        let mut levels = Levels::default();
        levels.extend(2, &of(&["3", "3", "0"]).unwrap());
        levels.extend(6, &of(&["9"]).unwrap());
        let spans: Vec<(Span, u8)> = levels.spans(Offset(10), 9).collect();
        let span = |first, end| Span::new(Offset(first), Offset(end));
        let wanted = [(span(10, 12), 0), (span(12, 14), 3), (span(14, 16), 0), (span(16, 17), 9)];
        assert_eq!(spans[..4], wanted);
        assert_eq!(spans[4..], [(span(17, 19), 0)]);
        assert_eq!(
            levels.spans(Offset(10), 3).count(),
            2,
            "what is beyond the batch counts for nothing"
        );
    }
}
