//! What a worker keeps of a shard with several replicas, led here or not.

use super::{Seat, Worker};
use crate::index::Run;
use crate::replication::{Committed, EntryId, Found, Kept, NodeId};
use bytes::Bytes;
use journal::{FrameKind, Page, PageKind, Part, Placed, Position, Vote};
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
    /// Entries that are applied and that others may ask for, in a row.
    kept: VecDeque<Applied>,
    /// Entries on this node's disk that are not applied, in a row behind those.
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

/// An applied entry.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Applied {
    term: u32,
    index: u64,
    kind: u8,
    /// Where its frame is: segment, byte and length.
    place: (u32, u32, u32),
    /// The first segment that has some of it.
    segment: u32,
    bytes: u32,
}

/// Bytes that an entry takes in memory beside its batches and commands, about.
const ENTRY_BYTES: usize = 256;

/// Kinds of entries, as a checkpoint numbers them.
const KINDS: [FrameKind; 3] = [FrameKind::Entry, FrameKind::Blank, FrameKind::Membership];

impl Applied {
    fn of(term: u32, placed: &Placed, bytes: usize) -> Applied {
        let kind = KINDS.iter().position(|kind| *kind == placed.kind).unwrap_or(0);
        let Part { segment, position, len } = placed.place;
        Applied {
            term,
            index: placed.index,
            kind: u8::try_from(kind).unwrap_or(0),
            place: (segment, position, len),
            segment: first_segment(placed),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }

    fn kept(self, shard: ShardId) -> Kept {
        let (segment, position, len) = self.place;
        let placed = Placed {
            shard,
            index: self.index,
            kind: KINDS[usize::from(self.kind) % KINDS.len()],
            place: Part { segment, position, len },
            batches: Vec::new(),
            position: Position { segment: self.segment, ..Position::default() },
        };
        Kept { term: self.term, placed, bytes: self.bytes as usize }
    }
}

/// The first segment that has some of a frame.
fn first_segment(placed: &Placed) -> u32 {
    let pieces = placed.batches.iter().flat_map(|location| location.pieces());
    let segments = pieces.map(|piece| piece.segment);
    segments.chain([placed.position.segment]).min().unwrap_or(0)
}

/// What a checkpoint keeps of a replica.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    shard: ShardId,
    vote: Option<(u32, Option<u64>, [bool; 2])>,
    purged: Option<(u32, u64)>,
    members: Option<((u32, u64), Bytes)>,
    kept: VecDeque<Applied>,
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
        let applied = found.applied.map_or(0, |applied| applied.index);
        for kept in &found.entries {
            match kept.placed.index <= applied {
                true => replica.kept.push_back(Applied::of(kept.term, &kept.placed, kept.bytes)),
                false => replica.write(&kept.placed),
            }
        }
        replica
    }

    /// The page that a checkpoint keeps of it. It is under no shard: those pages are the index's.
    pub(super) fn page(&self, shard: ShardId) -> Page {
        let id = |id: EntryId| (id.term, id.index);
        let stored = Stored {
            shard,
            vote: self.vote.map(|vote| (vote.term, vote.node, [vote.is_committed, vote.is_faulty])),
            purged: self.purged.map(id),
            members: self.members.clone().map(|(of, members)| (id(of), members)),
            kept: self.kept.clone(),
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
            vote: stored.vote.map(|(term, node, [is_committed, is_faulty])| Vote {
                term,
                node,
                is_committed,
                is_faulty,
            }),
            purged: stored.purged.map(id),
            members: stored.members.map(|(of, members)| (id(of), members)),
            entries: {
                let purged = stored.purged.map_or(0, |(_, index)| index);
                let kept = stored.kept.into_iter().filter(|kept| kept.index > purged);
                kept.map(|kept| kept.kept(stored.shard)).collect()
            },
            ..Found::default()
        });
        Some(found.map_err(|_| crate::Unreadable))
    }

    /// Where replay has to begin for what is on the disk and not applied, if anything is.
    pub(super) fn unapplied(&self) -> Option<Position> {
        self.written.front().map(|written| written.position)
    }

    /// An entry is applied.
    pub(super) fn applied(&mut self, Committed { frame, placed }: &Committed) {
        let id = EntryId { term: frame.term, index: frame.index };
        self.term = id.term;
        if frame.kind == FrameKind::Membership {
            self.members = Some((id, frame.commands.clone()));
        }
        while self.written.pop_front_if(|written| written.index <= id.index).is_some() {}
        let batches = frame.batches.iter().map(Bytes::len).sum::<usize>();
        let bytes = ENTRY_BYTES + batches + frame.commands.len();
        self.kept.push_back(Applied::of(id.term, placed, bytes));
    }

    /// A frame of the shard's consensus is on the disk.
    fn write(&mut self, placed: &Placed) {
        match placed.kind {
            FrameKind::Entry | FrameKind::Blank | FrameKind::Membership => {
                let (index, position) = (placed.index, placed.position);
                let segment = first_segment(placed);
                self.written.push_back(Written { index, position, segment });
            }
            FrameKind::Truncate => {
                let from = self.written.partition_point(|written| written.index < placed.index);
                self.written.truncate(from);
            }
            FrameKind::Purge => {
                while self.kept.pop_front_if(|kept| kept.index <= placed.index).is_some() {}
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
        let replicas = self.all_seats().filter_map(|seat| seat.replica.as_ref());
        replicas.flat_map(|replica| &replica.written).map(|written| written.segment).min()
    }

    /// The first segment in which there is an entry that others may ask for.
    pub(super) fn kept_from(&self) -> Option<u32> {
        let replicas = self.all_seats().filter_map(|seat| seat.replica.as_ref());
        replicas.flat_map(|replica| &replica.kept).map(|kept| kept.segment).min()
    }
}
