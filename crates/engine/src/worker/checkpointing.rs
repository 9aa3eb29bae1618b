//! A worker's part of a checkpoint: its shards as of one moment, stored bit by bit.
//!
//! The cut is when the checkpoint is asked for. What the shards are then is stored a slice a turn;
//! a chunk that is about to change is stored first (`shard/chunked.rs`).

use super::relocate::Notice;
use super::seat::TERM;
use super::{Seat, Worker};
use crate::index::StoredRuns;
use crate::shard::{Cut, Names};
use bytes::Bytes;
use journal::{Applied, Page, PageKind, Position};
use types::{LogId, Offset, ShardId};

/// About what a run takes in a checkpoint, in bytes.
const RUN_BYTES: usize = 32;

/// What a worker is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Where the journal was durable up to when this was asked for.
    pub(crate) durable: Position,
    pub(crate) cut: Cut,
}

/// The state of a worker's shards at one moment, as far as it is wanted.
#[derive(Debug, Default)]
pub(crate) struct CheckpointPart {
    /// The number of its cut.
    pub(crate) cut: u64,
    /// Where replay has to begin for these shards; `None`: they have had no frame.
    pub(crate) replay: Option<Position>,
    pub(crate) applied: Vec<Applied>,
    pub(crate) pages: Vec<Page>,
    /// Bytes of the pages that say where entries of schedules lie.
    pub(crate) packed_bytes: u64,
    /// Those of the shard that has them, yet to be encoded.
    pub(crate) names: Option<Names>,
}

/// A part that is being made.
#[derive(Debug)]
pub(crate) struct Cutting {
    part: Box<CheckpointPart>,
    /// Of which shards the places of batches are not stored yet, and from where on.
    runs: Vec<(ShardId, (LogId, Offset))>,
}

impl Worker {
    /// Begins a part, in place of one that is being made. A shard with nothing on its way, copies
    /// included, has applied all that was durable.
    pub(super) fn checkpoint(&mut self, Wanted { durable, cut }: Wanted) {
        self.want_bases();
        self.cut_schedules();
        let mut part = Box::new(CheckpointPart { cut: cut.number, ..CheckpointPart::default() });
        let mut runs = Vec::new();
        let seats = self.seats.iter_mut().chain(&mut self.followed);
        for (id, seat) in seats.filter(|(id, _)| **id != ShardId::LOCAL) {
            let (head, names) = seat.shard.begin_cut(cut);
            part.pages.push(head);
            part.names = part.names.take().or(names);
            // Whoever replays that something was sent looks for it here.
            let hidden = self.store.index.unindexed_hidden(|log| seat.shard.extent(log).is_some());
            part.pages.push(page(*id, &hidden));
            runs.push((*id, (LogId(0), Offset(i64::MIN))));
            let term = seat.replica.as_ref().map_or(TERM, |replica| replica.term);
            part.applied.push(Applied { shard: *id, term, index: seat.shard.applied });
            part.pages.extend(seat.replica.as_ref().map(|replica| replica.page(*id)));
            let is_applied = seat.replica.is_some() || seat.in_flight.is_empty();
            let position = match (is_applied, self.copies.are_of(*id)) {
                (true, false) => seat.position.max(durable),
                (true, true) => seat.position.max(self.copies.placed(*id)),
                (false, _) => seat.position,
            };
            let unapplied = seat.replica.as_ref().and_then(|it| it.unapplied());
            let position = unapplied.into_iter().chain([position]).min().unwrap_or_default();
            if position != Position::default() {
                part.replay = part.replay.into_iter().chain([position]).min();
            }
        }
        self.cutting = Some(Cutting { part, runs });
    }

    /// Stores a slice of what is being cut, and hands the part over when all of it is there.
    pub(super) fn cut_on(&mut self) {
        let Some(mut cutting) = self.cutting.take() else { return };
        let mut room = self.slice_bytes;
        let pages = &mut cutting.part.pages;
        let seats = self.seats.iter_mut().chain(&mut self.followed);
        let mut seats = seats.filter(|(id, _)| **id != ShardId::LOCAL);
        let mut done = seats.all(|(_, seat)| seat.shard.cut_on(&mut room, pages));
        while done && let Some((id, from)) = cutting.runs.pop() {
            let seat = self.seats.get(&id).or_else(|| self.followed.get(&id));
            let Some(seat) = seat else { continue };
            let look_at_max = room / RUN_BYTES;
            let of = |log| seat.shard.extent(log).is_some();
            let (stored, next) = self.store.index.unindexed(from, look_at_max, of);
            room = room.saturating_sub(stored.count() * RUN_BYTES);
            cutting.part.packed_bytes += stored.packed_bytes();
            cutting.part.pages.push(page(id, &stored));
            if let Some(next) = next {
                cutting.runs.push((id, next));
                done = false;
            }
        }
        match done {
            true => {
                let (worker, part) = (self.number, cutting.part);
                self.output.notices.push(Notice::Checkpoint { worker, part });
            }
            false => self.cutting = Some(cutting),
        }
    }

    /// Has about so many bytes of a checkpoint made in one turn.
    pub(crate) fn set_slice_bytes(&mut self, bytes: usize) {
        self.slice_bytes = bytes.max(1);
    }

    /// The replicated state of the durable shards.
    pub(crate) fn state(&self) -> Vec<(ShardId, Vec<u8>)> {
        let durable = self.all_seats().filter(|seat| seat.shard.id != ShardId::LOCAL);
        let bytes = |seat: &Seat| postcard::to_allocvec(&seat.shard);
        let state =
            |seat: &Seat| (seat.shard.id, bytes(seat).expect("a Vec takes every state there is"));
        durable.map(state).collect()
    }

    /// The last entry that each durable shard's state has, and whether the shard is led here.
    pub(crate) fn applied(&self) -> Vec<(ShardId, u64, bool)> {
        let durable = self.all_seats().map(|seat| &seat.shard);
        let durable = durable.filter(|shard| shard.id != ShardId::LOCAL);
        durable.map(|it| (it.id, it.applied, self.seats.contains_key(&it.id))).collect()
    }

    /// Whether a part of a checkpoint is being made.
    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.is_some()
    }
}

fn page(shard: ShardId, runs: &StoredRuns) -> Page {
    let bytes = postcard::to_allocvec(runs).expect("a Vec takes every state there is");
    Page { kind: PageKind::Local, shard, chunk: None, bytes: Bytes::from(bytes) }
}
