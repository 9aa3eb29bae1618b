//! What a replica promised to a leader, or to who wants to be one.

use bytes::Bytes;
use types::ShardId;

use super::{FrameDraft, FrameKind};
use crate::recovery::ScannedFrame;

/// Commands of a VOTE frame.
pub(super) const VOTE_BYTES: usize = 12;

const HAS_NODE: u32 = 1;
const IS_COMMITTED: u32 = 2;
const IS_FAULTY: u32 = 4;

/// A vote of this replica of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    /// The term it is for.
    pub term: u32,
    /// Who got it.
    pub node: Option<u64>,
    /// Whether that one is known to have become the leader.
    pub is_committed: bool,
    /// This replica may have forgotten what it acknowledged: it does not take part in elections until it
    /// has from its peers all that it may have had.
    pub is_faulty: bool,
}

impl Vote {
    /// The frame that says so.
    pub fn frame(self, shard: ShardId) -> FrameDraft {
        let mut flags = 0;
        if self.node.is_some() {
            flags |= HAS_NODE;
        }
        if self.is_committed {
            flags |= IS_COMMITTED;
        }
        if self.is_faulty {
            flags |= IS_FAULTY;
        }
        let mut commands = Vec::with_capacity(VOTE_BYTES);
        commands.extend_from_slice(&self.node.unwrap_or(0).to_le_bytes());
        commands.extend_from_slice(&flags.to_le_bytes());
        let commands = Bytes::from(commands);
        FrameDraft { commands, ..FrameDraft::bare(FrameKind::Vote, shard, (self.term, 0)) }
    }

    /// What a frame of the kind says; `None` for any other.
    pub fn of(frame: &ScannedFrame) -> Option<Vote> {
        Vote::read(frame.kind, frame.term, &frame.commands)
    }

    /// What a frame that is to be written says, if it is of the kind.
    pub fn of_draft(frame: &FrameDraft) -> Option<Vote> {
        Vote::read(frame.kind, frame.term, &frame.commands)
    }

    fn read(kind: FrameKind, term: u32, commands: &[u8]) -> Option<Vote> {
        if kind != FrameKind::Vote {
            return None;
        }
        let (node, flags) = commands.split_first_chunk::<8>()?;
        let flags = u32::from_le_bytes(flags.try_into().ok()?);
        Some(Vote {
            term,
            node: (flags & HAS_NODE != 0).then(|| u64::from_le_bytes(*node)),
            is_committed: flags & IS_COMMITTED != 0,
            is_faulty: flags & IS_FAULTY != 0,
        })
    }
}
