use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use journal::{AppliedBase, Dest};
use openraft::{BasicNode, EntryPayload};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use types::{LogId, Millis, Offset};

use super::*;
use crate::Frame;
use crate::frame::Membership;

fn batch(len: usize) -> Bytes {
    let mut bytes = vec![7; 61 + len];
    bytes[8..12].copy_from_slice(&i32::try_from(61 + len - 12).unwrap().to_be_bytes());
    bytes[16] = 2;
    bytes.into()
}

fn frames(term: u32) -> impl Strategy<Value = EntryPayload<Types>> {
    let envelopes = vec(vec(any::<u8>(), 0..9), 0..4);
    let bases = vec((any::<u64>(), any::<u16>(), any::<i64>()), 0..3);
    let parts = (any::<i64>(), vec(0usize..300, 0..4), envelopes, bases, vec(any::<u8>(), 0..50));
    parts.prop_map(move |(time, batches, envelopes, bases, commands)| {
        let count = batches.len();
        let dest = |(at, envelope): (usize, Vec<u8>)| Dest {
            log: LogId(9),
            batch: u16::try_from(at % count.max(1)).unwrap(),
            records: 3,
            envelope: envelope.into(),
        };
        let dests = envelopes.into_iter().enumerate().take(count).map(dest).collect();
        let base = |(index, dest, base)| AppliedBase { index, dest, base: Offset(base) };
        EntryPayload::Normal(Arc::new(Frame {
            term,
            leader_ts: Millis(time),
            dests,
            applied: bases.into_iter().map(base).collect(),
            commands: commands.into(),
            batches: batches.into_iter().map(batch).collect(),
        }))
    })
}

fn payloads(term: u32) -> impl Strategy<Value = EntryPayload<Types>> {
    let nodes = BTreeMap::from([(3, BasicNode::new("three:1"))]);
    let members = Membership::new(vec![BTreeSet::from([1, 2])], nodes);
    prop_oneof![Just(EntryPayload::Blank), Just(EntryPayload::Membership(members)), frames(term),]
}

fn ids() -> impl Strategy<Value = Option<EntryId>> {
    option::of((any::<u32>(), 0..u64::MAX / 2).prop_map(|(term, index)| id(term, index)))
}

fn votes() -> impl Strategy<Value = Vote<u64>> {
    (any::<u32>(), option::of(any::<u64>()), any::<bool>()).prop_map(
        |(term, voted_for, committed)| Vote {
            leader_id: LeaderId { term: u64::from(term), voted_for },
            committed,
        },
    )
}

fn appends() -> impl Strategy<Value = Said> {
    let term = 5;
    let source = (ids(), any::<bool>()).prop_map(|(last, is_backed)| Source { last, is_backed });
    (votes(), ids(), ids(), vec(payloads(term), 0..4), source).prop_map(
        move |(vote, prev_log_id, leader_commit, payloads, source)| {
            let first = prev_log_id.map_or(0, |before| before.index + 1);
            let entry = |(at, payload): (usize, EntryPayload<Types>)| Entry {
                log_id: id(term, first + at as u64),
                payload,
            };
            let entries = payloads.into_iter().enumerate().map(entry).collect();
            let request = AppendEntriesRequest { vote, prev_log_id, entries, leader_commit };
            Said::Append(request, source)
        },
    )
}

fn packets() -> impl Strategy<Value = Packet> {
    let appended = prop_oneof![
        Just(()).prop_map(|()| AppendEntriesResponse::Success),
        ids().prop_map(AppendEntriesResponse::PartialSuccess),
        Just(()).prop_map(|()| AppendEntriesResponse::Conflict),
        votes().prop_map(AppendEntriesResponse::HigherVote),
    ];
    let said = prop_oneof![
        appends(),
        Just(()).prop_map(|()| Said::Look),
        (votes(), ids())
            .prop_map(|(vote, last_log_id)| Said::Vote(VoteRequest { vote, last_log_id })),
        appended.prop_map(Said::Appended),
        (votes(), any::<bool>(), ids()).prop_map(|(vote, vote_granted, last_log_id)| {
            Said::Voted(VoteResponse { vote, vote_granted, last_log_id })
        }),
        (ids(), any::<bool>()).prop_map(|(last, has_voted)| Said::Seen(last, has_voted)),
        ".{0,20}".prop_map(Said::Refused),
    ];
    (any::<u64>(), any::<u16>(), said).prop_map(|(number, shard, said)| Packet {
        number,
        shard: ShardId(shard),
        said,
    })
}

fn pushed(packet: &Packet) -> BytesMut {
    let mut out = BytesMut::new();
    packet.push(&mut out).unwrap();
    out
}

proptest! {
    #[test]
    fn packets_come_back_and_parts_of_them_are_waited_for(packet in packets(), cut in any::<usize>()) {
        let bytes = pushed(&packet);
        let mut part = BytesMut::from(&bytes[..cut % bytes.len()]);
        prop_assert!(Packet::take(&mut part).unwrap().is_none());
        let mut read = bytes.clone();
        read.extend_from_slice(b"next");
        let taken = Packet::take(&mut read).unwrap().unwrap();
        prop_assert_eq!(&read[..], b"next");
        prop_assert_eq!(format!("{taken:?}"), format!("{packet:?}"));
        prop_assert_eq!(pushed(&taken), bytes);
    }

    #[test]
    fn changed_bytes_do_no_harm(packet in packets(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = pushed(&packet);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Packet::take(&mut bytes);
    }

    #[test]
    fn noise_does_no_harm(kind in any::<u8>(), noise in vec(any::<u8>(), 0..200)) {
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&u32::try_from(HEAD_BYTES + noise.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&[kind]);
        bytes.extend_from_slice(&noise);
        let _ = Packet::take(&mut bytes);
    }
}

#[test]
fn a_length_beyond_the_largest_packet_is_refused() {
    let mut bytes = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
    assert_eq!(Packet::take(&mut bytes).unwrap_err(), NoPacket);
}
