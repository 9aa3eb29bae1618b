//! Bits that turn, files that vanish: found, told from torn tails, and survived.

use ::io::sim::Fault;
use bytes::Bytes;

use super::store::{Store, base_of, whole_index};
use crate::finding::{Damage, Finding};
use crate::{
    Indexed, Location, OpenError, ReadError, Recovery, ScannedBatch, ScannedBody, ScannedFrame,
    check,
};

/// A store of one segment and ten rounds, the last one a witness, then killed. Gives the byte of
/// each round.
fn ten_rounds(seed: u64) -> (Store, Vec<usize>) {
    let mut store = Store::new(seed);
    store.open().unwrap();
    let mut starts = Vec::new();
    for _ in 0..9 {
        starts.push(usize::try_from(store.parts().writer.end().byte.max(4096)).unwrap());
        store.push(0, &[100, 2000]);
        store.write().unwrap();
        store.sync().unwrap();
    }
    store.parts().writer.witness().unwrap();
    store.disk.kill();
    (store, starts)
}

fn drain(recovery: &mut Recovery) -> Result<Vec<ScannedFrame>, OpenError> {
    let mut frames = Vec::new();
    while let Some(frame) = recovery.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

fn is_sound(batch: &ScannedBatch) -> bool {
    batch.body != ScannedBody::Corrupt
}

fn body_byte(store: &Store, index: u64, batch: usize) -> usize {
    let part = store.locations[&(0, index)][batch].pieces().next().unwrap();
    usize::try_from(part.position).unwrap() + 70
}

fn first_byte(store: &Store, key: (u16, u64)) -> usize {
    let part = store.locations[&key][0].pieces().next().unwrap();
    usize::try_from(part.position).unwrap()
}

#[test]
fn a_corrupt_batch_is_reported_with_its_place_and_not_served() {
    let (mut store, _) = ten_rounds(1);
    for index in [1, 5, 9] {
        let byte = body_byte(&store, index, 1);
        store.disk.flip_bit("j-1.seg", byte, 3);
        let (_, reader, _, mut recovery) = store.recover().unwrap();
        let frames = drain(&mut recovery).unwrap();
        assert_eq!(frames.len(), 9, "every command is there");
        let [Finding { what: Damage::Batch, segment: Some(1), byte: at, shard, logs, .. }] =
            recovery.findings()
        else {
            panic!("{:?}", recovery.findings());
        };
        assert_eq!(usize::try_from(*at).unwrap() + 70, byte);
        assert_eq!((shard.map(|shard| shard.0), logs[0].0), (Some(0), 1));
        let damaged = &frames[usize::try_from(index).unwrap() - 1];
        assert!(is_sound(&damaged.batches[0]) && !is_sound(&damaged.batches[1]));
        assert_eq!(damaged.batches[1].header.len(), 61);
        let read = reader.read(&damaged.batches[1].location);
        assert!(matches!(read, Err(ReadError::Corrupt { segment: 1, .. })), "{read:?}");
        let both: Vec<Location> = damaged.batches.iter().map(|b| b.location.clone()).collect();
        let read = reader.read_many(&both);
        assert!(read[0].is_ok() && read[1].is_err());
        let all: Vec<Location> =
            frames.iter().flat_map(|frame| &frame.batches).map(|b| b.location.clone()).collect();
        let sound = all.iter().filter(|location| **location != both[1]);
        let sound: Vec<Bytes> = sound.map(|location| reader.read(location).unwrap()).collect();
        let together = reader.read_together(&all);
        assert_eq!(together.bytes, sound.concat(), "all but the damaged one");
        let [(at, ReadError::Corrupt { segment: 1, .. })] = together.failed[..] else {
            panic!("{:?}", together.failed);
        };
        assert_eq!(all[at], both[1]);
        drop((reader, recovery));
        let report = check(&store.dyn_disk());
        assert!(matches!(report, Err(OpenError::Locked { .. })) || report.is_ok());
        store.disk.kill();
        let report = check(&store.dyn_disk()).unwrap();
        assert_eq!((report.findings.len(), report.torn), (1, None));
        store.disk.flip_bit("j-1.seg", byte, 3);
    }
}

#[test]
fn any_damage_before_the_witness_is_found_wherever_the_bit_is() {
    let (mut store, starts) = ten_rounds(2);
    let pristine = store.disk.contents("j-1.seg").unwrap();
    let end = starts[8] + 4096;
    let mut fatal = 0;
    for byte in (4096..end).step_by(37) {
        if pristine[byte..].iter().take(8).all(|byte| *byte == 0) {
            continue;
        }
        store.disk.flip_bit("j-1.seg", byte, u8::try_from(byte % 8).unwrap());
        let (.., mut recovery) = store.recover().unwrap();
        match drain(&mut recovery) {
            Err(OpenError::Damaged { finding, .. }) => {
                assert!(finding.what.is_fatal() && finding.segment == Some(1));
                assert!(finding.byte <= byte as u64 && byte as u64 <= finding.byte + 4096);
                fatal += 1;
            }
            Err(error) => panic!("{error}"),
            Ok(frames) => {
                assert_eq!(frames.len(), 9);
                assert_eq!(recovery.torn(), None);
                if recovery.findings().is_empty() {
                    assert!(frames.iter().all(|f| f.batches.iter().all(is_sound)));
                    for (frame, i) in frames.iter().zip(1..) {
                        assert_eq!(frame.commands, store.frames[&(0, i)].commands);
                    }
                } else {
                    assert_eq!(recovery.findings()[0].what, Damage::Batch);
                }
            }
        }
        drop(recovery);
        store.disk.flip_bit("j-1.seg", byte, u8::try_from(byte % 8).unwrap());
    }
    assert!(fatal > 20, "{fatal}");
}

#[test]
fn a_corrupt_header_opens_only_to_be_salvaged() {
    let (mut store, starts) = ten_rounds(3);
    for (what, byte) in [(Damage::Round, starts[4] + 20), (Damage::Frame, starts[4] + 64 + 20)] {
        store.disk.flip_bit("j-1.seg", byte, 1);
        store.options.salvage = false;
        let (.., mut recovery) = store.recover().unwrap();
        let error = drain(&mut recovery).unwrap_err();
        assert!(matches!(&error, OpenError::Damaged { finding, .. } if finding.what == what));
        assert!(error.to_string().contains("j-1.seg"), "{error}");
        drop(recovery);
        store.options.salvage = true;
        let (.., mut recovery) = store.recover().unwrap();
        let frames = drain(&mut recovery).unwrap();
        let indexes: Vec<u64> = frames.iter().map(|frame| frame.index).collect();
        assert_eq!(indexes, [1, 2, 3, 4, 6, 7, 8, 9]);
        assert_eq!(recovery.findings().len(), 1);
        drop(recovery);
        store.disk.flip_bit("j-1.seg", byte, 1);
    }
}

#[test]
fn a_torn_tail_is_dropped_and_written_over() {
    for seed in 0..30 {
        let (mut store, _) = ten_rounds(seed);
        store.open().unwrap();
        for _ in 0..3 {
            store.push(1, &[100, 2000]);
            store.write().unwrap();
        }
        // None of the three was synced: the second is torn, the third whole.
        let torn = store.locations[&(1, 2)][1].pieces().next().unwrap();
        let byte = usize::try_from(torn.position).unwrap() + 1500;
        store.disk.kill();
        store.disk.flip_bit("j-1.seg", byte, 1);
        store.open().unwrap();
        assert_eq!(store.durable[&1], 1, "the first of them stays");
        store.push(1, &[100]);
        store.write().unwrap();
        store.disk.kill();
        store.open().unwrap();
        assert_eq!(store.durable[&1], 2, "nothing of the old tail comes back");
        store.push(1, &[7000]);
        store.write().unwrap();
        store.sync().unwrap();
        store.disk.restart();
        store.open().unwrap();
        store.check_reads();
        store.disk.kill();
        assert_eq!(check(&store.dyn_disk()).unwrap().findings, []);
    }
}

#[test]
fn the_superblock_can_be_lost() {
    let (mut store, _) = ten_rounds(4);
    for byte in 0..64 {
        store.disk.flip_bit("j-1.seg", byte, 2);
        let (.., mut recovery) = store.recover().unwrap();
        assert_eq!(drain(&mut recovery).unwrap().len(), 9);
        assert_eq!(recovery.findings()[0].what, Damage::Superblock);
        drop(recovery);
        store.disk.flip_bit("j-1.seg", byte, 2);
    }
}

#[test]
fn a_newer_format_is_refused_in_one_sentence() {
    let (mut store, _) = ten_rounds(5);
    let mut block = store.disk.contents("j-1.seg").unwrap()[..64].to_vec();
    let newer = crate::layout::FORMAT_VERSION + 1;
    block[8..12].copy_from_slice(&newer.to_le_bytes());
    let crc = crate::fields::crc32c(&block[..60]);
    block[60..64].copy_from_slice(&crc.to_le_bytes());
    for (i, byte) in block.iter().enumerate() {
        store.disk.set_byte("j-1.seg", i, *byte);
    }
    let error = store.recover().unwrap_err().to_string();
    assert!(error.contains("j-1.seg") && error.contains(&format!("version {newer}")), "{error}");
}

#[test]
fn a_store_is_opened_once() {
    let (mut store, _) = ten_rounds(6);
    store.open().unwrap();
    let error = crate::open(store.dyn_disk(), store.options.clone()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(matches!(check(&store.dyn_disk()), Err(OpenError::Locked { .. })));
}

/// A store of several segments with two checkpoints.
fn many_segments(seed: u64) -> Store {
    let mut store = Store::new(seed);
    store.open().unwrap();
    for turn in 0..40 {
        store.push(0, &[100, 9000]);
        store.push(1, &[100, 500]);
        store.write().unwrap();
        if turn % 13 == 12 {
            store.store_checkpoint().unwrap();
        }
    }
    store.sync().unwrap();
    store.parts().writer.witness().unwrap();
    store
}

#[test]
fn a_deleted_or_corrupt_index_is_rebuilt_and_reported() {
    let mut store = many_segments(7);
    let segments: Vec<u32> = {
        store.disk.kill();
        let (.., recovery) = store.recover().unwrap();
        recovery.sealed().to_vec()
    };
    assert!(segments.len() > 2, "{segments:?}");
    for segment in segments {
        let name = format!("j-{segment}.idx");
        for corrupt in [true, false] {
            if corrupt {
                let disk = &store.disk as &dyn ::io::Disk;
                let bytes = disk.open(&name, ::io::Access::Buffered).unwrap().len().unwrap();
                assert!(store.disk.flip_bit(&name, usize::try_from(bytes).unwrap() - 30, 1));
            } else {
                ::io::Disk::remove(&store.disk, &name).unwrap();
            }
            assert_eq!(check(&store.dyn_disk()).unwrap().findings.len(), 1);
            let (.., mut recovery) = store.recover().unwrap();
            let index = whole_index(&mut recovery, segment).unwrap();
            assert_eq!(index, store.index_of(segment));
            assert!(index.logs.values().flatten().any(|run| run.first > base_of(1)));
            let [finding] = recovery.findings() else { panic!("{:?}", recovery.findings()) };
            assert_eq!((finding.what, &finding.file), (Damage::Index, &name));
            drop(recovery);
            assert_eq!(check(&store.dyn_disk()).unwrap().findings, [], "it was stored again");
            store.disk.restart();
            let (.., mut recovery) = store.recover().unwrap();
            assert_eq!(whole_index(&mut recovery, segment).unwrap(), index);
            assert_eq!(recovery.findings(), []);
        }
    }
}

#[test]
fn a_corrupt_page_of_an_index_is_rebuilt_when_it_is_read() {
    let mut store = many_segments(7);
    store.disk.kill();
    let name = "j-1.idx";
    let (_, reader, _, mut recovery) = store.recover().unwrap();
    let Indexed::Stored(directory) = recovery.index(1).unwrap() else { panic!("it is stored") };
    assert!(directory.pages.len() > 1);
    for entry in &directory.pages {
        let sound = reader.page(1, entry.log, entry.place).unwrap();
        assert_eq!(Some(&sound), store.index_of(1).logs.get(&entry.log));
        let byte = (entry.place.byte + entry.place.len / 2) as usize;
        assert!(store.disk.flip_bit(name, byte, 3));
        let corrupt = reader.page(1, entry.log, entry.place);
        assert!(matches!(corrupt, Err(ReadError::Index { segment: 1 })), "{corrupt:?}");
        assert_eq!(reader.rebuilt_page(1, entry.log).unwrap(), sound);
        assert_eq!(recovery.page(1, entry.log, entry.place).unwrap(), sound);
        assert!(store.disk.flip_bit(name, byte, 3));
    }
    let found = recovery.findings().iter().map(|finding| finding.what);
    assert!(found.eq(directory.pages.iter().map(|_| Damage::Index)), "each is reported");
}

#[test]
fn a_rebuilt_index_names_the_logs_whose_offsets_nobody_tells() {
    let (mut store, _) = ten_rounds(8);
    let (.., mut recovery) = store.recover().unwrap();
    let index = whole_index(&mut recovery, 1).unwrap();
    assert_eq!(index.logs.values().map(Vec::len).sum::<usize>(), 16);
    let last = recovery.findings().last().unwrap();
    assert_eq!(last.what, Damage::UnknownOffsets);
    assert_eq!(last.logs.iter().map(|log| log.0).collect::<Vec<_>>(), [0, 1]);
    drop(recovery);
    let (.., mut recovery) = store.recover().unwrap();
    whole_index(&mut recovery, 1).unwrap();
    let found = recovery.findings().iter().map(|finding| finding.what).collect::<Vec<_>>();
    assert_eq!(found, [Damage::Index, Damage::UnknownOffsets], "what is lost is told every time");
}

#[test]
fn a_corrupt_checkpoint_falls_back_to_the_other() {
    let mut store = many_segments(9);
    let newest = store.checkpoint.clone().unwrap();
    let names = ["checkpoint-b", "checkpoint-a"];
    let name = names[usize::from(newest.sequence % 2 == 1)];
    store.disk.kill();
    for byte in (0..store.disk.contents(name).unwrap().len()).step_by(61) {
        store.disk.flip_bit(name, byte, 4);
        let (.., mut recovery) = store.recover().unwrap();
        assert_eq!(recovery.checkpoint().unwrap().sequence, newest.sequence - 1);
        assert_eq!(recovery.findings()[0].what, Damage::Checkpoint);
        let frames = drain(&mut recovery).unwrap();
        assert_eq!(frames.last().unwrap().index, 40);
        drop(recovery);
        store.disk.flip_bit(name, byte, 4);
    }
    store.disk.flip_bit(name, 9, 1);
    let (_, _, pool, mut recovery) = store.recover().unwrap();
    drain(&mut recovery).unwrap();
    assert!(pool.segments().iter().all(|one| !pool.recycle(one.segment).unwrap()));
}

#[test]
fn a_rotten_chunk_costs_one_checkpoint_and_no_chunk_file_is_of_both() {
    let mut store = many_segments(9);
    let newest = store.checkpoint.clone().unwrap().sequence;
    store.disk.kill();
    let names = ::io::Disk::list(&store.disk).unwrap();
    let chunk_files: Vec<&String> =
        names.iter().filter(|name| name.starts_with("chunks-")).collect();
    assert!(chunk_files.len() >= 2, "{names:?}");
    for name in chunk_files {
        let of: u64 = name["chunks-".len()..].parse().unwrap();
        let last = store.disk.contents(name).unwrap().len() - 1;
        store.disk.flip_bit(name, last, 4);
        let (.., mut recovery) = store.recover().unwrap();
        let left = if of % 2 == newest % 2 { newest - 1 } else { newest };
        assert_eq!(recovery.checkpoint().unwrap().sequence, left, "{name}");
        assert_eq!(recovery.findings()[0].what, Damage::Checkpoint);
        assert_eq!(drain(&mut recovery).unwrap().last().unwrap().index, 40);
        drop(recovery);
        store.disk.flip_bit(name, last, 4);
    }
}

#[test]
fn a_missing_or_cut_segment_is_noticed() {
    let mut store = many_segments(10);
    for _ in 0..3 {
        store.push(2, &[2000]);
        store.write().unwrap();
    }
    store.sync().unwrap();
    store.disk.kill();
    let pristine = store.checkpoint.clone().unwrap();
    let last = {
        let (_, _, pool, _) = store.recover().unwrap();
        pool.segments().last().unwrap().segment
    };
    assert!(last > pristine.replay.segment);
    let name = format!("j-{last}.seg");
    let file = ::io::Disk::open(&store.disk, &name, ::io::Access::Buffered).unwrap();
    file.set_len(20_480).unwrap();
    file.sync().unwrap();
    let error = store.recover().unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { finding, .. }
        if finding.what == Damage::Missing && finding.segment == Some(last)));
    let middle = format!("j-{}.seg", pristine.replay.segment);
    ::io::Disk::remove(&store.disk, &middle).unwrap();
    store.options.salvage = true;
    let (.., mut recovery) = store.recover().unwrap();
    let frames = drain(&mut recovery).unwrap();
    assert!(!frames.is_empty());
    let missing = recovery.findings().iter().filter(|one| one.what == Damage::Missing);
    assert!(missing.count() >= 2, "{:?}", recovery.findings());
}

#[test]
fn a_misdirected_round_is_damage_once_a_later_one_is_durable() {
    for seed in 0..10 {
        let (mut store, _) = ten_rounds(seed);
        store.open().unwrap();
        store.disk.fail_at(store.disk.calls() + 1, Fault::Misdirect);
        store.push(1, &[3000]);
        store.write().unwrap();
        store.sync().unwrap();
        for _ in 0..4 {
            store.push(1, &[9000]);
            store.write().unwrap();
            store.sync().unwrap();
        }
        store.disk.kill();
        let (.., mut recovery) = store.recover().unwrap();
        let error = drain(&mut recovery).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_corrupt_part_spoils_its_batch_only() {
    let (mut store, _) = ten_rounds(11);
    store.open().unwrap();
    store.push(1, &[30_000, 100]);
    store.push(2, &[100]);
    store.write().unwrap();
    store.sync().unwrap();
    store.parts().writer.witness().unwrap();
    let part = store.locations[&(1, 1)][0].pieces().nth(1).unwrap();
    store.disk.kill();
    let byte = usize::try_from(part.position).unwrap() + 9000;
    store.disk.flip_bit(&format!("j-{}.seg", part.segment), byte, 0);
    let (_, reader, _, mut recovery) = store.recover().unwrap();
    let frames = drain(&mut recovery).unwrap();
    let spoiled = frames.iter().find(|frame| frame.shard.0 == 1).unwrap();
    assert!(!is_sound(&spoiled.batches[0]) && is_sound(&spoiled.batches[1]));
    assert_eq!(spoiled.batches[0].header.len(), 61);
    assert!(reader.read(&spoiled.batches[0].location).is_err());
    assert!(recovery.findings().iter().all(|one| one.what == Damage::Batch));
    assert!(recovery.findings().iter().any(|one| one.logs == [types::LogId(100)]));
    drop((reader, recovery));
    store.disk.kill();
    let report = check(&store.dyn_disk()).unwrap();
    assert_eq!(report.findings.len(), 2);
}

#[test]
fn a_checkpoint_at_the_end_does_not_let_an_old_tail_in() {
    let (mut store, _) = ten_rounds(12);
    store.open().unwrap();
    for _ in 0..2 {
        store.push(1, &[100]);
        store.write().unwrap();
    }
    let torn = first_byte(&store, (1, 1)) + 80;
    store.disk.kill();
    store.disk.flip_bit("j-1.seg", torn, 0);
    store.open().unwrap();
    assert_eq!(store.durable[&1], 0, "both are dropped");
    store.push(2, &[100]);
    store.write().unwrap();
    store.store_checkpoint().unwrap();
    // Replay begins right where the second of the two still lies, whole and with the right number.
    store.disk.restart();
    store.open().unwrap();
    assert_eq!((store.durable[&1], store.durable[&2]), (0, 1));
}
