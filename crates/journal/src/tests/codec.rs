//! Decoders: what is encoded comes back, and no bytes make them panic.

use std::collections::BTreeMap;

use ::io::sim::SimRandom;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use types::{LogId, Millis, Offset, ShardId};

use super::store::batch;
use crate::checkpoint::{self, Applied};
use crate::fields::Put;
use crate::frame::{EntryFrame, entry_bytes, parse, put_entry};
use crate::index_file::{decode, encode};
use crate::layout::{FileName, RoundHeader, Superblock};
use crate::location::Parts;
use crate::{
    AppliedBase, Checkpoint, Dest, FrameDraft, FrameKind, Location, Page, PageKind, Part, Position,
    Run, SegmentIndex,
};

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn drafts() -> impl Strategy<Value = FrameDraft> {
    let head = (any::<u16>(), any::<u32>(), any::<u64>(), any::<i64>(), any::<bool>());
    let kind =
        prop_oneof![Just(FrameKind::Entry), Just(FrameKind::Relocate), Just(FrameKind::Witness)];
    let applied = vec((any::<u64>(), any::<u16>(), any::<i64>()), 0..5);
    let dests = vec((any::<u32>(), any::<u16>(), any::<u32>(), bytes(20)), 0..6);
    let sizes = vec(61..400_usize, 1..4);
    (head, kind, dests, applied, bytes(100), sizes).prop_map(
        |((shard, term, index, time, synced), kind, dests, applied, commands, sizes)| {
            let count = u16::try_from(sizes.len()).unwrap();
            let random = SimRandom::new(index);
            let dest = |(log, batch, records, envelope)| Dest {
                log: LogId(log),
                batch: batch % count,
                records,
                envelope,
            };
            let base = |(index, dest, base)| AppliedBase { index, dest, base: Offset(base) };
            FrameDraft {
                shard: ShardId(shard),
                term,
                index,
                leader_ts: Millis(time),
                kind,
                synced,
                dests: dests.into_iter().map(dest).collect(),
                applied: applied.into_iter().map(base).collect(),
                commands,
                batches: sizes.iter().map(|len| batch(&random, *len)).collect(),
            }
        },
    )
}

fn encoded(draft: &FrameDraft, parts: &[Part]) -> Bytes {
    let pieces = |i: usize| (i == 0 && !parts.is_empty()).then_some(parts);
    let frame_bytes = entry_bytes(draft, |i| pieces(i).map(<[Part]>::len));
    let mut buffer = vec![0xaa; frame_bytes];
    let mut put = Put { bytes: &mut buffer, at: 0 };
    put_entry(&mut put, EntryFrame { draft, frame_bytes, pieces }, (7, 4096));
    buffer.into()
}

fn parts_of(draft: &FrameDraft) -> Vec<Part> {
    let len = u32::try_from(draft.batches[0].len()).unwrap();
    let part = |position, len| Part { segment: 3, position, len };
    vec![part(1, 50), part(2, len - 50)]
}

proptest! {
    #[test]
    fn frames_come_back(draft in drafts(), apart in any::<bool>()) {
        let parts = if apart { parts_of(&draft) } else { Vec::new() };
        let bytes = encoded(&draft, &parts);
        let parsed = parse(&bytes, 7, 4096).unwrap();
        prop_assert_eq!(parsed.frame_bytes, bytes.len());
        prop_assert_eq!((parsed.kind, parsed.shard, parsed.term), (draft.kind, draft.shard, draft.term));
        prop_assert_eq!((parsed.index, parsed.leader_ts), (draft.index, draft.leader_ts));
        prop_assert_eq!((&parsed.dests, &parsed.applied), (&draft.dests, &draft.applied));
        prop_assert_eq!(&parsed.commands, &draft.commands);
        for (i, (found, expected)) in parsed.batches.iter().zip(&draft.batches).enumerate() {
            prop_assert_eq!(found.location.len(), expected.len());
            prop_assert_eq!(found.body.is_none(), apart && i == 0);
            if let Some(body) = &found.body {
                prop_assert_eq!(body, expected);
            }
        }
        prop_assert!(parsed.corrupt_bodies().is_empty());
    }

    #[test]
    fn a_changed_frame_is_refused_or_its_body_is(
        draft in drafts(), at in any::<proptest::sample::Index>(), bit in 0..8_u8
    ) {
        let bytes = encoded(&draft, &[]);
        let mut changed = bytes.to_vec();
        changed[at.index(bytes.len())] ^= 1 << bit;
        if let Ok(parsed) = parse(&changed.into(), 7, 4096) {
            let original = parse(&bytes, 7, 4096).unwrap();
            // Padding is nobody's.
            prop_assert!(!parsed.corrupt_bodies().is_empty() || parsed == original);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(noise in bytes(400), version in 0..4_u8) {
        let mut noise = noise.to_vec();
        let _ = parse(&noise.clone().into(), 1, u32::MAX - 10);
        let _ = Superblock::decode(&noise);
        let _ = RoundHeader::decode(&noise);
        let _ = decode(&noise.clone().into());
        let _ = checkpoint::decode(&noise.clone().into());
        // With a right checksum and trailer, so that what is inside is looked at.
        for (magic, trailer) in [(b"XDOCKIDX", b"IDXEND\r\n"), (b"XDOCKCHK", b"CHKEND\r\n")] {
            let mut sealed = magic.to_vec();
            sealed.extend([version, 0, 0, 0]);
            sealed.append(&mut noise.clone());
            let crc = crate::fields::crc32c(&sealed);
            sealed.extend(crc.to_le_bytes());
            sealed.extend(trailer);
            let _ = decode(&sealed.clone().into());
            let _ = checkpoint::decode(&sealed.into());
        }
        // A frame whose length is right, so that its counts are looked at.
        noise.resize(noise.len().next_multiple_of(8).max(48), 0);
        let len = u32::try_from(noise.len()).unwrap();
        noise[4..8].copy_from_slice(&len.to_le_bytes());
        noise[8] = version;
        let _ = parse(&noise.into(), 1, 0);
    }

    #[test]
    fn headers_come_back(numbers in (any::<[u32; 6]>(), any::<[u64; 3]>()), bit in 0..512_usize) {
        let ([a, b, c, d, e, len], [x, y, z]) = numbers;
        let superblock = Superblock {
            version: a, segment: b, previous: c, epoch: d, first_round: x, salt: y, segment_bytes: e,
        };
        let byte_len = len.max(64);
        let round = RoundHeader {
            segment: a, epoch: b, frame_count: c, round: x, durable_round: y, salt: z, byte_len,
        };
        let mut block = [0xff; 64];
        superblock.encode(&mut block);
        prop_assert_eq!(Superblock::decode(&block), Ok(superblock));
        block[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Superblock::decode(&block).is_err());
        round.encode(&mut block);
        prop_assert_eq!(RoundHeader::decode(&block), Ok(round));
        block[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(RoundHeader::decode(&block).is_err());
    }

    #[test]
    fn indexes_come_back(
        runs in vec((any::<u8>(), any::<[u32; 4]>(), any::<[i64; 3]>(), bytes(9), 0..4_usize), 0..20),
        live in vec((any::<u32>(), any::<u64>()), 0..9),
    ) {
        let mut index = SegmentIndex { segment: 5, ..SegmentIndex::default() };
        for (log, [count, position, len, segment], [first, newest, time], envelope, parts) in runs {
            let part = Part { segment, position, len };
            let location = match parts {
                0 => Location::Journal { segment: 5, position, len },
                count => Location::Parts(Parts { list: vec![part; count] }.into()),
            };
            index.logs.entry(LogId(log.into())).or_default().push(Run {
                first: Offset(first), count, location, max_timestamp: Millis(newest),
                append_time: Millis(time), envelope,
            });
        }
        index.live_bytes = live.into_iter().map(|(log, bytes)| (LogId(log), bytes)).collect::<BTreeMap<_, _>>();
        prop_assert_eq!(decode(&encode(&index).into()), Ok(index));
    }

    #[test]
    fn checkpoints_come_back(
        head in (any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>()),
        applied in vec((any::<u16>(), any::<u32>(), any::<u64>()), 0..5),
        pages in vec((any::<bool>(), any::<u16>(), bytes(200)), 0..5),
    ) {
        let (sequence, segment, byte, round, epoch) = head;
        let replay = Position { segment, byte, round, epoch: epoch ^ 1 };
        let applied = applied.into_iter();
        let applied = applied.map(|(s, term, index)| Applied { shard: ShardId(s), term, index });
        let page = |(local, shard, bytes)| Page {
            kind: if local { PageKind::Local } else { PageKind::Replicated },
            shard: ShardId(shard),
            bytes,
        };
        let pages = pages.into_iter().map(page).collect();
        let checkpoint = Checkpoint { sequence, replay, applied: applied.collect(), pages };
        let disk = ::io::sim::SimDisk::new(1);
        checkpoint::store(&disk, &checkpoint, epoch).unwrap();
        let name = checkpoint::NAMES[usize::from(sequence % 2 == 1)];
        let loaded = checkpoint::load(&disk, name).unwrap();
        prop_assert_eq!(loaded, Some(checkpoint::Loaded::Valid { checkpoint, epoch }));
    }
}

#[test]
fn only_the_journals_own_names_are_taken() {
    let table = [
        ("j-7.seg", FileName::Segment(7)),
        ("j-4294967295.idx", FileName::Index(u32::MAX)),
        ("spare-3.seg", FileName::Spare(3)),
        ("prepare-3.tmp", FileName::Temporary),
        ("checkpoint-a.tmp", FileName::Temporary),
        ("j-4294967296.seg", FileName::Other),
        ("j-07.seg", FileName::Other),
        ("j-+7.seg", FileName::Other),
        ("j-.seg", FileName::Other),
        ("lock", FileName::Other),
        ("checkpoint-a", FileName::Other),
    ];
    for (name, expected) in table {
        assert_eq!(FileName::of(name), expected, "{name}");
    }
}
