//! What a worker keeps of a shard with several replicas, led here or not.

use super::{Seat, Worker};
use crate::index::Run;
use crate::replication::{Committed, EntryId, Found, NodeId};
use bytes::Bytes;
use journal::{FrameKind, Page, PageKind, Placed, Position, Vote};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use types::{LogId, Offset, ShardId};

/// What the page begins with that keeps a replica's votes.
const MARK: &[u8] = b"replica";

/// What a replicator says of a shard, in order.
#[derive(Debug)]
pub(crate) enum Step {
    /// Its next entries.
    Apply(VecDeque<Committed>),
    /// This node leads it, in a term.
    Lead(u32),
    /// This node does not lead it.
    Follow(Option<NodeId>),
}

/// What a replicator writes beside a shard's entries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    Vote(Vote),
    Purge(EntryId),
}

/// What is kept of a shard beside its state, for its consensus.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    /// The term of the last entry applied.
    pub(super) term: u32,
    /// Who leads it, as far as is known.
    pub(super) leader: Option<NodeId>,
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<EntryId>,
    /// The last membership that was applied.
    pub(super) members: Option<(EntryId, Bytes)>,
    /// Entries on this node's disk that others may ask for, in a row.
    written: VecDeque<Written>,
    /// What is to be done next; it waits for the disk.
    pub(super) steps: VecDeque<Step>,
    /// Of what the next entry activates, what was found already.
    pub(super) found: BTreeMap<(LogId, Offset), Run>,
    /// Entries that lie before this may be in an index file though they were not applied again.
    pub(super) opened_at: Position,
}

/// An entry on the disk.
#[derive(Clone, Copy, Debug)]
struct Written {
    index: u64,
    position: Position,
    /// The first segment that has some of it.
    segment: u32,
}

/// What a checkpoint keeps of a replica.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    shard: ShardId,
    vote: Option<(u32, Option<u64>, bool)>,
    purged: Option<(u32, u64)>,
    members: Option<((u32, u64), Bytes)>,
}

impl Replica {
    /// What a start has found.
    pub(crate) fn of(found: &Found, opened_at: Position) -> Replica {
        let mut replica = Replica {
            term: found.applied.map_or(0, |applied| applied.term),
            vote: found.vote,
            purged: found.purged,
            members: found.members.clone(),
            opened_at,
            ..Replica::default()
        };
        found.entries.iter().for_each(|kept| replica.write(&kept.placed));
        replica
    }

    /// The page that a checkpoint keeps of it. It is under no shard: those pages are the index's.
    pub(super) fn page(&self, shard: ShardId) -> Page {
        let id = |id: EntryId| (id.term, id.index);
        let stored = Stored {
            shard,
            vote: self.vote.map(|vote| (vote.term, vote.node, vote.is_committed)),
            purged: self.purged.map(id),
            members: self.members.clone().map(|(of, members)| (id(of), members)),
        };
        let bytes = postcard::to_extend(&stored, MARK.to_vec());
        let bytes = Bytes::from(bytes.expect("a Vec takes every state there is"));
        Page { kind: PageKind::Local, shard: ShardId::LOCAL, chunk: None, bytes }
    }

    /// What such a page says; `None` for any other.
    pub(crate) fn read(page: &Page) -> Option<Result<Found, crate::Unreadable>> {
        if page.kind != PageKind::Local || page.shard != ShardId::LOCAL {
            return None;
        }
        let bytes = page.bytes.strip_prefix(MARK)?;
        let id = |(term, index)| EntryId { term, index };
        let found = postcard::from_bytes(bytes).map(|stored: Stored| Found {
            shard: stored.shard,
            vote: stored.vote.map(|(term, node, is_committed)| Vote { term, node, is_committed }),
            purged: stored.purged.map(id),
            members: stored.members.map(|(of, members)| (id(of), members)),
            ..Found::default()
        });
        Some(found.map_err(|_| crate::Unreadable))
    }

    /// Where replay has to begin for what is on the disk and not applied, if anything is.
    pub(super) fn unapplied(&self, applied: u64) -> Option<Position> {
        self.written.get(self.after(applied)).map(|written| written.position)
    }

    /// The first segment of the same.
    fn unapplied_segment(&self, applied: u64) -> Option<u32> {
        self.written.range(self.after(applied)..).map(|written| written.segment).min()
    }

    fn after(&self, index: u64) -> usize {
        self.written.partition_point(|written| written.index <= index)
    }

    /// A frame of the shard's consensus is on the disk.
    fn write(&mut self, placed: &Placed) {
        match placed.kind {
            FrameKind::Entry | FrameKind::Blank | FrameKind::Membership => {
                let pieces = placed.batches.iter().flat_map(|location| location.pieces());
                let segments = pieces.map(|piece| piece.segment);
                let segment = segments.chain([placed.position.segment]).min().unwrap_or(0);
                let (index, position) = (placed.index, placed.position);
                self.written.push_back(Written { index, position, segment });
            }
            FrameKind::Truncate => {
                let from = self.written.partition_point(|written| written.index < placed.index);
                self.written.truncate(from);
            }
            FrameKind::Purge => {
                let count = self.after(placed.index);
                self.written.drain(..count);
            }
            _ => {}
        }
    }
}

impl Worker {
    /// The seat of a shard, led here or not.
    pub(super) fn seat_of(&self, shard: ShardId) -> Option<&Seat> {
        self.seats.get(&shard).or_else(|| self.followed.get(&shard))
    }

    pub(super) fn replica_of(&mut self, shard: ShardId) -> Option<&mut Replica> {
        let seat = match self.seats.get_mut(&shard) {
            Some(seat) => Some(seat),
            None => self.followed.get_mut(&shard),
        };
        seat.and_then(|seat| seat.replica.as_deref_mut())
    }

    /// A frame of a shard's consensus is on the disk.
    pub(super) fn replica_placed(&mut self, placed: &Placed) {
        if let Some(replica) = self.replica_of(placed.shard) {
            replica.write(placed);
        }
    }

    pub(super) fn note(&mut self, shard: ShardId, note: Note) {
        let Some(replica) = self.replica_of(shard) else { return };
        match note {
            Note::Vote(vote) => replica.vote = Some(vote),
            Note::Purge(purged) => replica.purged = replica.purged.max(Some(purged)),
        }
    }

    /// The first segment in which something is not applied.
    pub(super) fn unapplied_segment(&self) -> Option<u32> {
        let of = |seat: &Seat| seat.replica.as_ref()?.unapplied_segment(seat.shard.applied);
        self.all_seats().filter_map(of).min()
    }

    /// The first segment in which there is an entry that others may ask for.
    pub(super) fn kept_from(&self) -> Option<u32> {
        let replicas = self.all_seats().filter_map(|seat| seat.replica.as_ref());
        replicas.flat_map(|replica| &replica.written).map(|written| written.segment).min()
    }
}
