//! Entries of consensus to frames of the journal, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use journal::{FrameDraft, FrameKind};
use openraft::{BasicNode, CommittedLeaderId, EntryPayload};
use types::ShardId;

use crate::types::{Frame, Types};

pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type EntryId = openraft::LogId<u64>;
pub(crate) type Membership = openraft::Membership<u64, BasicNode>;

/// What the journal has no place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unstorable {
    /// A term above what a frame's header holds.
    #[error("term {0} is too large")]
    Term(u64),
    /// More nodes, or a longer address, than are counted in 16 bits.
    #[error("a membership with more nodes, or a longer address, than 65,535")]
    Membership,
    /// A batch that is no RecordBatch, or a destination of none.
    #[error("a frame with a batch that is not whole")]
    Frame,
    /// A frame that passes a limit of the format.
    #[error("a frame that no round can hold")]
    TooLarge,
    /// Not behind the last entry.
    #[error("entry {index} of term {term} does not go behind the last one")]
    Disorder {
        /// Its index.
        index: u64,
        /// Its term.
        term: u32,
    },
}

pub(crate) fn id(term: u32, index: u64) -> EntryId {
    EntryId::new(CommittedLeaderId::new(u64::from(term), 0), index)
}

pub(crate) fn term_of(term: u64) -> Result<u32, Unstorable> {
    u32::try_from(term).map_err(|_| Unstorable::Term(term))
}

/// The frame of an entry.
pub(crate) fn draft_of(shard: ShardId, entry: &Entry) -> Result<FrameDraft, Unstorable> {
    let term = term_of(entry.log_id.leader_id.term)?;
    let place = (term, entry.log_id.index);
    match &entry.payload {
        EntryPayload::Blank => Ok(FrameDraft::bare(FrameKind::Blank, shard, place)),
        EntryPayload::Membership(membership) => {
            let commands = encode(membership).ok_or(Unstorable::Membership)?;
            let bare = FrameDraft::bare(FrameKind::Membership, shard, place);
            Ok(FrameDraft { commands, ..bare })
        }
        EntryPayload::Normal(frame) if frame.term != place.0 => {
            Ok(FrameDraft::bare(FrameKind::Blank, shard, place))
        }
        EntryPayload::Normal(frame) => {
            let draft = FrameDraft {
                leader_ts: frame.leader_ts,
                dests: frame.dests.clone(),
                applied: frame.applied.clone(),
                commands: frame.commands.clone(),
                batches: frame.batches.clone(),
                ..FrameDraft::bare(FrameKind::Entry, shard, place)
            };
            if draft.is_sound() { Ok(draft) } else { Err(Unstorable::Frame) }
        }
    }
}

/// The entry of a frame; `None` of one that is no entry, or no membership though it should be one.
pub(crate) fn entry_of(draft: FrameDraft) -> Option<Entry> {
    let payload = match draft.kind {
        FrameKind::Blank => EntryPayload::Blank,
        FrameKind::Membership => EntryPayload::Membership(decode(&draft.commands)?),
        FrameKind::Entry => EntryPayload::Normal(Arc::new(Frame {
            term: draft.term,
            leader_ts: draft.leader_ts,
            dests: draft.dests,
            applied: draft.applied,
            commands: draft.commands,
            batches: draft.batches,
        })),
        _ => return None,
    };
    Some(Entry { log_id: id(draft.term, draft.index), payload })
}

/// Bytes that an entry takes in memory, near enough.
pub(crate) fn bytes_of(draft: &FrameDraft) -> usize {
    let envelopes: usize = draft.dests.iter().map(|dest| dest.envelope.len()).sum();
    let batches: usize = draft.batches.iter().map(|batch| batch.len() + size_of::<Bytes>()).sum();
    let tables = size_of_val(&draft.dests[..]) + size_of_val(&draft.applied[..]);
    size_of::<FrameDraft>() + envelopes + batches + tables + draft.commands.len()
}

/// The frame that a worker proposes, as an entry.
pub(crate) fn proposed(draft: FrameDraft) -> Arc<Frame> {
    Arc::new(Frame {
        term: draft.term,
        leader_ts: draft.leader_ts,
        dests: draft.dests,
        applied: draft.applied,
        commands: draft.commands,
        batches: draft.batches,
    })
}

/// The membership that a frame's commands say.
pub(crate) fn membership_of(commands: &[u8]) -> Option<Membership> {
    decode(commands)
}

fn encode(membership: &Membership) -> Option<Bytes> {
    let count = |len: usize| u16::try_from(len).ok().map(u16::to_le_bytes);
    let mut out = Vec::new();
    let configs = membership.get_joint_config();
    out.extend(count(configs.len())?);
    for voters in configs {
        out.extend(count(voters.len())?);
        voters.iter().for_each(|node| out.extend(node.to_le_bytes()));
    }
    out.extend(count(membership.nodes().count())?);
    for (node, BasicNode { addr }) in membership.nodes() {
        out.extend(node.to_le_bytes());
        out.extend(count(addr.len())?);
        out.extend(addr.as_bytes());
    }
    Some(out.into())
}

fn decode(bytes: &[u8]) -> Option<Membership> {
    let mut take = Take(bytes);
    let mut configs = Vec::new();
    for _ in 0..take.u16()? {
        let mut voters = BTreeSet::new();
        for _ in 0..take.u16()? {
            voters.insert(take.u64()?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..take.u16()? {
        let node = take.u64()?;
        let len = usize::from(take.u16()?);
        let addr = String::from_utf8(take.bytes(len)?.to_vec()).ok()?;
        nodes.insert(node, BasicNode { addr });
    }
    take.0.is_empty().then(|| Membership::new(configs, nodes))
}

/// What is left to be read.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn memberships() -> impl Strategy<Value = Membership> {
        let configs = vec(btree_set(any::<u64>(), 0..5), 0..3);
        let nodes = btree_map(any::<u64>(), ".{0,30}", 0..6);
        (configs, nodes).prop_map(|(configs, nodes)| {
            let nodes = nodes.into_iter().map(|(node, addr)| (node, BasicNode { addr }));
            Membership::new(configs, nodes.collect::<BTreeMap<_, _>>())
        })
    }

    proptest! {
        #[test]
        fn memberships_come_back(membership in memberships(), cut in any::<usize>()) {
            let bytes = encode(&membership).unwrap();
            prop_assert_eq!(decode(&bytes), Some(membership));
            prop_assert_eq!(decode(&bytes[..cut % bytes.len()]), None);
            prop_assert_eq!(decode(&[&bytes[..], b"!"].concat()), None);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(noise in vec(any::<u8>(), 0..200)) {
            let _ = decode(&noise);
        }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let mut entry = Entry { log_id: id(1, 1), payload: EntryPayload::Blank };
        entry.log_id.leader_id.term = 1 << 32;
        assert_eq!(draft_of(ShardId(1), &entry), Err(Unstorable::Term(1 << 32)));
        let batches = vec![Bytes::from_static(b"no batch")];
        let frame = Frame { term: 1, batches, ..Frame::default() };
        let payload = EntryPayload::Normal(Arc::new(frame));
        let entry = Entry { log_id: id(1, 1), payload };
        assert_eq!(draft_of(ShardId(1), &entry), Err(Unstorable::Frame));
        let nodes = BTreeMap::from([(1, BasicNode { addr: "x".repeat(70_000) })]);
        let payload = EntryPayload::Membership(Membership::new(vec![], nodes));
        let entry = Entry { log_id: id(1, 1), payload };
        assert_eq!(draft_of(ShardId(1), &entry), Err(Unstorable::Membership));
    }
}
