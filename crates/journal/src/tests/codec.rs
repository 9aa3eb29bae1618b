//! Decoders: what is encoded comes back, and no bytes make them panic.

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
use crate::index_file::{Directory, decode, decode_page, with_pieces};
use crate::layout::{FileName, RoundHeader, Superblock};
use crate::{
    AppliedBase, Checkpoint, Dest, FrameDraft, FrameKind, IndexPart, Location, Order, Page,
    PageKind, Part, Position, Run, SegmentIndex,
};

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

/// Indexes of segment 5.
fn indexes() -> impl Strategy<Value = SegmentIndex> {
    let run = (0..4_u32, 0..9_u8, any::<[u32; 2]>(), any::<[i64; 2]>(), bytes(9));
    let run = (any::<u8>(), run);
    vec(run, 1..40).prop_map(|runs| {
        let mut index = SegmentIndex { segment: 5, ..SegmentIndex::default() };
        for (log, (count, gap, [position, len], [newest, time], envelope)) in runs {
            let runs: &mut Vec<Run> = index.logs.entry(LogId((log % 5).into())).or_default();
            let first = runs.last().map_or(Offset(0), Run::end).plus(gap.into());
            let location = Location::Journal { segment: 5, position, len };
            let (max_timestamp, append_time) = (Millis(newest), Millis(time));
            let count = count + 1;
            runs.push(Run { first, count, location, max_timestamp, append_time, envelope });
        }
        index
    })
}

/// An index in two parts, and pages of `cut` runs.
fn pages_of(index: &SegmentIndex, cut: usize) -> [IndexPart; 2] {
    let mut parts = [IndexPart::default(), IndexPart::default()];
    for (log, runs) in &index.logs {
        for page in runs.chunks(cut) {
            parts[usize::from(log.0 > 2)].push(*log, page.iter().cloned());
        }
    }
    parts
}

fn file_of(parts: &[IndexPart]) -> (Bytes, Directory) {
    let (bytes, directory) = with_pieces(5, parts, |pieces| pieces.concat());
    (bytes.into(), directory)
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
    fn indexes_come_back(index in indexes(), cut in 1..4_usize) {
        let parts = pages_of(&index, cut);
        let (file, directory) = file_of(&parts);
        prop_assert_eq!(decode(&file), Ok(index.clone()));
        let mut paged = SegmentIndex { segment: 5, ..SegmentIndex::default() };
        for entry in &directory.pages {
            let from = entry.place.byte as usize;
            let page = file.slice(from..from + entry.place.len as usize);
            let runs = decode_page(&page, (5, entry.log)).unwrap();
            let bytes: u64 = runs.iter().map(|run| run.location.len() as u64).sum();
            prop_assert_eq!((entry.first, entry.batch_bytes), (runs[0].first, bytes));
            prop_assert_eq!(entry.end, runs.last().unwrap().end());
            prop_assert_eq!(runs.iter().map(|run| run.max_timestamp).max(), Some(entry.max_timestamp));
            prop_assert_eq!(runs.iter().map(|run| run.append_time).max(), Some(entry.append_time));
            prop_assert_eq!(entry.enveloped, runs.iter().any(|run| !run.envelope.is_empty()));
            prop_assert!(decode_page(&page, (6, entry.log)).is_ok_and(|found| found != runs));
            prop_assert!(decode_page(&page, (5, LogId(entry.log.0 + 1))).is_err());
            paged.logs.entry(entry.log).or_default().extend(runs);
        }
        prop_assert_eq!(paged, index);
    }

    #[test]
    fn pages_in_the_order_of_append_times_come_back_and_count_once(index in indexes()) {
        let mut part = IndexPart::default();
        for (log, runs) in &index.logs {
            part.push(*log, runs.iter().cloned());
            let mut by_time = runs.clone();
            by_time.sort_by_key(|run| (run.append_time, run.first));
            part.push_in(Order::TimeFirst, *log, by_time.into_iter());
        }
        let (file, directory) = file_of(&[part]);
        prop_assert_eq!(decode(&file), Ok(index));
        for entry in directory.pages.iter().filter(|page| page.order != Order::Offset) {
            let from = entry.place.byte as usize;
            let page = file.slice(from..from + entry.place.len as usize);
            let runs = decode_page(&page, (5, entry.log)).unwrap();
            prop_assert!(runs.is_sorted_by_key(|run| run.append_time));
            prop_assert_eq!(runs.iter().map(|run| run.first).min(), Some(entry.first));
            prop_assert_eq!(runs.iter().map(Run::end).max(), Some(entry.end));
            prop_assert_eq!(runs.last().map(|run| run.append_time), Some(entry.append_time));
        }
    }

    #[test]
    fn a_changed_index_file_is_not_taken_for_the_index(
        index in indexes(), at in any::<proptest::sample::Index>(), bit in 0..8_u8, cut in 1..40_usize
    ) {
        let (file, _) = file_of(&pages_of(&index, 2));
        let mut changed = file.to_vec();
        changed[at.index(file.len())] ^= 1 << bit;
        prop_assert!(decode(&changed.into()).is_err());
        prop_assert!(decode(&file.slice(..file.len() - cut.min(file.len()))).is_err());
    }

    #[test]
    fn random_bytes_are_no_index(bytes in bytes(400)) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(decode_page(&bytes, (5, LogId(0))).is_err());
    }

    #[test]
    fn checkpoints_come_back(
        head in (any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>()),
        applied in vec((any::<u16>(), any::<u32>(), any::<u64>()), 0..5),
        pages in vec((any::<bool>(), any::<u16>(), bytes(200)), 0..5),
        inline in any::<bool>(),
    ) {
        let (sequence, segment, byte, round, epoch) = head;
        let replay = Position { segment, byte, round, epoch: epoch ^ 1 };
        let applied = applied.into_iter();
        let applied = applied.map(|(s, term, index)| Applied { shard: ShardId(s), term, index });
        let page = |(chunk, (local, shard, bytes)): (u64, (bool, u16, Bytes))| Page {
            kind: if local { PageKind::Local } else { PageKind::Replicated },
            shard: ShardId(shard),
            chunk: (!bytes.is_empty()).then_some(chunk),
            bytes,
        };
        let mut pages: Vec<Page> = (0..).zip(pages).map(page).collect();
        pages.sort_by_key(|page| (page.chunk.is_some(), page.kind, page.shard, page.chunk));
        let applied = applied.collect();
        let checkpoint = Checkpoint { sequence, replay, applied, is_partial: false, pages };
        let disk = ::io::sim::SimDisk::new(1);
        let inline_bytes = if inline { u64::MAX } else { 0 };
        checkpoint::store(&disk, &checkpoint, &Default::default(), (epoch, inline_bytes)).unwrap();
        let name = checkpoint::NAMES[usize::from(sequence % 2 == 1)];
        let loaded = checkpoint::load(&disk, name).unwrap();
        let Some(checkpoint::Loaded::Valid(head)) = loaded else { panic!("{loaded:?}") };
        prop_assert_eq!(head.epoch, epoch);
        prop_assert!(head.is_whole(&disk).unwrap());
        prop_assert_eq!(head.read(&disk).unwrap(), Some(checkpoint));
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
        ("chunks-12", FileName::Chunks(12)),
        ("chunks-012", FileName::Other),
        ("chunks-12.tmp", FileName::Temporary),
    ];
    for (name, expected) in table {
        assert_eq!(FileName::of(name), expected, "{name}");
    }
}
