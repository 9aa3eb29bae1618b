//! Frames that wait for a round.

use std::collections::VecDeque;

use types::ShardId;

use crate::fields::Put;
use crate::frame::{
    EntryFrame, FrameDraft, FrameKind, PartFrame, entry_bytes, part_bytes, put_entry, put_part,
};
use crate::layout::ROUND_HEADER_BYTES;
use crate::location::{Part, Position};
use crate::open::Options;
use crate::writer::Placed;

/// Frames in the order they came, bounded in bytes. A frame with a batch above the part size
/// travels in several rounds; frames of other shards pass it, those of its own shard wait.
#[derive(Debug)]
pub struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    bytes_max: usize,
    frame_bytes_max: usize,
    part_bytes: usize,
    /// What the next round takes; kept to be used again.
    plan: Vec<Step>,
}

/// A frame that was not taken.
#[derive(Debug)]
pub enum Refused {
    /// The queue is full; the frame comes back.
    Full(Box<FrameDraft>),
    /// No round can hold it: its commands and tables, or their counts, pass a limit of the format.
    TooLarge(Box<FrameDraft>),
}

#[derive(Debug)]
struct Waiting {
    draft: FrameDraft,
    frame_bytes: usize,
    splits: Vec<Split>,
    done: bool,
}

/// A batch that travels apart.
#[derive(Debug)]
struct Split {
    batch: usize,
    sent: usize,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Piece { frame: usize, split: usize, len: usize },
    Whole { frame: usize },
}

/// What the next round will have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planned {
    pub(crate) frame_count: u32,
    /// Header and frames.
    pub(crate) bytes: usize,
    /// Whether somebody waits for its sync.
    pub(crate) synced: bool,
}

impl Queue {
    /// A queue that takes frames until they have `bytes_max` bytes; an empty one takes any frame.
    pub fn new(bytes_max: usize, options: &Options) -> Queue {
        Queue {
            frames: VecDeque::new(),
            bytes: 0,
            bytes_max,
            frame_bytes_max: options.round_bytes_max as usize - ROUND_HEADER_BYTES,
            part_bytes: options.part_bytes as usize,
            plan: Vec::new(),
        }
    }

    /// Adds a frame, an entry or one of this replica only. Its batches are whole RecordBatches.
    pub fn push(&mut self, draft: FrameDraft) -> Result<(), Refused> {
        assert!(draft.kind != FrameKind::Part, "parts are made here");
        assert!(draft.is_sound(), "batches come whole, with their destinations");
        let counted = u16::try_from(draft.dests.len()).is_ok()
            && u16::try_from(draft.batches.len()).is_ok()
            && draft.dests.iter().all(|dest| u16::try_from(dest.envelope.len()).is_ok());
        if !counted {
            return Err(Refused::TooLarge(Box::new(draft)));
        }
        let Some((frame_bytes, splits)) = self.split(&draft) else {
            return Err(Refused::TooLarge(Box::new(draft)));
        };
        let bytes =
            frame_bytes + splits.iter().map(|s| draft.batches[s.batch].len()).sum::<usize>();
        if !self.frames.is_empty() && self.bytes + bytes > self.bytes_max {
            return Err(Refused::Full(Box::new(draft)));
        }
        self.bytes += bytes;
        self.frames.push_back(Waiting { draft, frame_bytes, splits, done: false });
        Ok(())
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Which batches travel apart: those above the part size, and then the largest until the rest
    /// fits a round. `None` when it cannot.
    fn split(&self, draft: &FrameDraft) -> Option<(usize, Vec<Split>)> {
        let pieces = |splits: &[Split], i: usize| {
            let apart = splits.iter().any(|split| split.batch == i);
            apart.then(|| draft.batches[i].len().div_ceil(self.part_bytes))
        };
        let apart = |batch: usize| Split { batch, sent: 0, parts: Vec::new() };
        let large = (0..draft.batches.len()).filter(|i| draft.batches[*i].len() > self.part_bytes);
        let mut splits: Vec<Split> = large.map(apart).collect();
        loop {
            let frame_bytes = entry_bytes(draft, |i| pieces(&splits, i));
            if frame_bytes <= self.frame_bytes_max {
                return Some((frame_bytes, splits));
            }
            let here = (0..draft.batches.len()).filter(|i| pieces(&splits, *i).is_none());
            splits.push(apart(here.max_by_key(|i| draft.batches[*i].len())?));
            splits.sort_by_key(|split| split.batch);
        }
    }

    /// Chooses what the next round takes. Pieces take at most half of a round, so that a large
    /// batch leaves room for the frames of other shards.
    pub(crate) fn plan(&mut self) -> Planned {
        self.plan.clear();
        let room = self.frame_bytes_max;
        let (mut used, mut pieces_used) = (0, 0);
        let mut waiting_shards: Vec<ShardId> = Vec::new();
        let mut synced = false;
        for (frame, waiting) in self.frames.iter().enumerate() {
            if waiting_shards.contains(&waiting.draft.shard) {
                continue;
            }
            let mut is_sent = true;
            'splits: for (split, Split { batch, sent, .. }) in waiting.splits.iter().enumerate() {
                let mut from = *sent;
                while from < waiting.draft.batches[*batch].len() {
                    let len = self.part_bytes.min(waiting.draft.batches[*batch].len() - from);
                    let bytes = part_bytes(len);
                    if used + bytes > room || pieces_used > 0 && pieces_used + bytes > room / 2 {
                        is_sent = false;
                        break 'splits;
                    }
                    self.plan.push(Step::Piece { frame, split, len });
                    from += len;
                    used += bytes;
                    pieces_used += bytes;
                }
            }
            if !is_sent {
                waiting_shards.push(waiting.draft.shard);
            } else if used + waiting.frame_bytes <= room {
                self.plan.push(Step::Whole { frame });
                used += waiting.frame_bytes;
                synced |= waiting.draft.synced;
            } else {
                break;
            }
        }
        let frame_count = u32::try_from(self.plan.len()).expect("a round is small");
        Planned { frame_count, bytes: ROUND_HEADER_BYTES + used, synced }
    }

    /// Encodes what was planned behind the round's header, which is at byte 0 of `put` and at
    /// `position`. Gives the frames that are complete, which leave the queue.
    pub(crate) fn take_planned(&mut self, put: &mut Put<'_>, position: Position) -> Vec<Placed> {
        let place = (position.segment, position.byte);
        let mut placed = Vec::with_capacity(self.plan.len());
        for step in self.plan.drain(..) {
            match step {
                Step::Piece { frame, split, len } => {
                    let Waiting { draft, splits, .. } = &mut self.frames[frame];
                    let split = &mut splits[split];
                    let piece = &draft.batches[split.batch][split.sent..split.sent + len];
                    let batch = u16::try_from(split.batch).expect("checked when it was pushed");
                    let part = PartFrame { draft, batch, from: split.sent, piece };
                    split.parts.push(put_part(put, &part, place));
                    split.sent += len;
                    self.bytes -= len;
                }
                Step::Whole { frame } => {
                    let Waiting { draft, frame_bytes, splits, done } = &mut self.frames[frame];
                    let pieces = |batch| {
                        splits.iter().find(|s| s.batch == batch).map(|split| &split.parts[..])
                    };
                    let (segment, base) = place;
                    let byte = base + u32::try_from(put.at).expect("a round is small");
                    let len = u32::try_from(*frame_bytes).expect("a round is small");
                    let entry = EntryFrame { draft, frame_bytes: *frame_bytes, pieces };
                    placed.push(Placed {
                        batches: put_entry(put, entry, place),
                        shard: draft.shard,
                        index: draft.index,
                        kind: draft.kind,
                        place: Part { segment, position: byte, len },
                        position,
                    });
                    *done = true;
                    self.bytes -= *frame_bytes;
                }
            }
        }
        let mut left = placed.len();
        while left > 0 && self.frames.front().is_some_and(|waiting| waiting.done) {
            self.frames.pop_front();
            left -= 1;
        }
        if left > 0 {
            self.frames.retain(|waiting| !waiting.done);
        }
        placed
    }
}
