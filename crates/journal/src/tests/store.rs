//! A small store on a simulated disk, and an engine that remembers what it wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::io::sim::{SimDisk, SimRandom};
use ::io::{Access, Disk, Random};
use bytes::Bytes;
use types::{LogId, Millis, Offset, ShardId};

use crate::checkpoint::Applied;
use crate::fields::crc32c;
use crate::{
    AppliedBase, Checkpoint, Dest, Failed, FrameDraft, FrameKind, Indexed, Location, OpenError,
    Options, Page, PageKind, Pool, Position, Queue, Reader, Recovery, Run, ScannedBody,
    ScannedFrame, SegmentIndex, Writer,
};

pub(crate) const SHARDS: u16 = 3;

pub(crate) fn options(salt: u64) -> Options {
    Options {
        segment_bytes: vec![64 << 10, 128 << 10],
        round_bytes_max: 32 << 10,
        part_bytes: 12 << 10,
        ready_count: 1,
        reserve_bytes: 0,
        checkpoint_inline_bytes: 0,
        access: Access::Direct,
        salt,
        salvage: false,
    }
}

/// A RecordBatch of `len` bytes whose records are noise.
pub(crate) fn batch(random: &SimRandom, len: usize) -> Bytes {
    assert!(len >= 61);
    let mut bytes = vec![0; len];
    for word in bytes[61..].chunks_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
    }
    bytes[8..12].copy_from_slice(&i32::try_from(len - 12).unwrap().to_be_bytes());
    bytes[16] = 2;
    bytes[35..43].copy_from_slice(&77_i64.to_be_bytes());
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

pub(crate) fn frame(random: &SimRandom, shard: u16, index: u64, sizes: &[usize]) -> FrameDraft {
    let batches: Vec<Bytes> = sizes.iter().map(|len| batch(random, *len)).collect();
    let dests = (0..batches.len()).map(|i| Dest {
        log: LogId(u32::from(shard) * 100 + u32::try_from(i).unwrap()),
        batch: u16::try_from(i).unwrap(),
        records: 2,
        envelope: Bytes::from_static(if i == 1 { b"dead" } else { b"" }),
    });
    FrameDraft {
        shard: ShardId(shard),
        term: 1,
        index,
        leader_ts: Millis(1000 + i64::try_from(index).unwrap()),
        kind: FrameKind::Entry,
        synced: true,
        dests: dests.collect(),
        // Two records to a frame of the log: the frame before began two offsets lower.
        applied: (0..u16::try_from(batches.len()).unwrap())
            .map(|dest| AppliedBase { index: index - 1, dest, base: base_of(index - 1) })
            .collect(),
        commands: Bytes::from(format!("commands of {shard}/{index}")),
        batches,
    }
}

/// All of a segment's index, read page by page.
pub(crate) fn whole_index(
    recovery: &mut Recovery,
    segment: u32,
) -> Result<SegmentIndex, OpenError> {
    let directory = match recovery.index(segment)? {
        Indexed::Stored(directory) => directory,
        Indexed::Rebuilt(index) => return Ok(index),
    };
    let mut index = SegmentIndex { segment, ..SegmentIndex::default() };
    for entry in directory.pages {
        let runs = recovery.page(segment, entry.log, entry.place)?;
        index.logs.entry(entry.log).or_default().extend(runs);
    }
    Ok(index)
}

/// The base offset that the test's apply gives to every destination of entry `index`.
pub(crate) fn base_of(index: u64) -> Offset {
    Offset(2 * i64::try_from(index).unwrap())
}

/// A store, the draft of every frame it holds, and what was promised.
pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    pub(crate) options: Options,
    pub(crate) random: SimRandom,
    pub(crate) open: Option<Open>,
    pub(crate) frames: BTreeMap<(u16, u64), FrameDraft>,
    pub(crate) locations: BTreeMap<(u16, u64), Vec<Location>>,
    /// The last entry of each shard that was synced.
    pub(crate) durable: BTreeMap<u16, u64>,
    pub(crate) checkpoint: Option<Checkpoint>,
}

pub(crate) struct Open {
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) pool: Pool,
    pub(crate) queue: Queue,
    /// The last entry of each shard that was written.
    pub(crate) written: BTreeMap<u16, u64>,
    pub(crate) next_index: BTreeMap<u16, u64>,
}

impl Store {
    pub(crate) fn new(seed: u64) -> Store {
        Store::with(SimDisk::new(seed), seed)
    }

    pub(crate) fn with(disk: SimDisk, seed: u64) -> Store {
        Store {
            disk,
            options: options(seed | 1),
            random: SimRandom::new(seed ^ 0xfeed),
            open: None,
            frames: BTreeMap::new(),
            locations: BTreeMap::new(),
            durable: BTreeMap::new(),
            checkpoint: None,
        }
    }

    pub(crate) fn dyn_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    pub(crate) fn parts(&mut self) -> &mut Open {
        self.open.as_mut().expect("the store is open")
    }

    /// Opens without checking what is found.
    pub(crate) fn recover(&mut self) -> Result<(Writer, Reader, Pool, Recovery), OpenError> {
        self.open = None;
        self.options.salt = self.random.next();
        crate::open(self.dyn_disk(), self.options.clone())
    }

    /// Opens, and checks that everything promised is there, and nothing that was never written.
    pub(crate) fn open(&mut self) -> Result<(), OpenError> {
        let (writer, reader, pool, mut recovery) = self.recover()?;
        let checkpoint = recovery.checkpoint().cloned();
        let sequence = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.sequence);
        let promised = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.sequence);
        assert!(sequence >= promised, "checkpoint {sequence} instead of {promised}");
        let mut last: BTreeMap<u16, u64> = (0..SHARDS).map(|shard| (shard, 0)).collect();
        if let Some(checkpoint) = &checkpoint {
            assert_eq!(checkpoint.pages, pages(checkpoint.sequence, false));
            last.extend(checkpoint.applied.iter().map(|one| (one.shard.0, one.index)));
        }
        let mut last_position = Position::default();
        while let Some(found) = recovery.next_frame()? {
            assert!(found.position >= last_position, "frames come in order");
            last_position = found.position;
            let shard = found.shard.0;
            if found.kind != FrameKind::Entry || found.index <= last[&shard] {
                continue;
            }
            assert_eq!(found.index, last[&shard] + 1, "no entry of shard {shard} is missing");
            self.compare(&found, &reader);
            last.insert(shard, found.index);
        }
        assert_eq!(recovery.findings(), [], "a crash damages nothing");
        for (shard, durable) in &self.durable {
            assert!(last[shard] >= *durable, "shard {shard}: {} of {durable}", last[shard]);
        }
        self.check_indexes(&mut recovery)?;
        self.frames.retain(|(shard, index), _| *index <= last[shard]);
        self.locations.retain(|(shard, index), _| *index <= last[shard]);
        // Recovery synced what it found.
        self.durable.clone_from(&last);
        self.checkpoint = checkpoint;
        let queue = Queue::new(1 << 20, &self.options);
        let next_index = last.iter().map(|(shard, index)| (*shard, index + 1)).collect();
        self.open = Some(Open { writer, reader, pool, queue, written: last, next_index });
        Ok(())
    }

    fn compare(&mut self, found: &ScannedFrame, reader: &Reader) {
        let key = (found.shard.0, found.index);
        let draft = self.frames.get(&key).expect("only what was written is found");
        assert_eq!((found.term, found.leader_ts), (draft.term, draft.leader_ts));
        assert_eq!((&found.dests, &found.applied), (&draft.dests, &draft.applied));
        assert_eq!(found.commands, draft.commands);
        assert_eq!(found.batches.len(), draft.batches.len());
        for (one, expected) in found.batches.iter().zip(&draft.batches) {
            match &one.body {
                ScannedBody::Whole(body) => assert!(body == expected, "batch of {key:?} differs"),
                ScannedBody::Apart => assert!(expected.len() > 1000),
                ScannedBody::Corrupt => panic!("batch of {key:?} is corrupt"),
            }
            assert_eq!(one.header, expected[..61]);
            assert!(reader.read(&one.location).unwrap() == *expected, "batch of {key:?} differs");
        }
        let locations = found.batches.iter().map(|one| one.location.clone()).collect();
        self.locations.insert(key, locations);
    }

    fn check_indexes(&self, recovery: &mut Recovery) -> Result<(), OpenError> {
        for segment in recovery.sealed().to_vec() {
            assert_eq!(whole_index(recovery, segment)?, self.index_of(segment));
        }
        assert_eq!(recovery.findings(), [], "a stored index is there");
        Ok(())
    }

    /// Every frame that is in a segment still in use reads as it was written.
    pub(crate) fn check_reads(&mut self) {
        let open = self.open.as_ref().expect("the store is open");
        let used: Vec<u32> = open.pool.segments().iter().map(|one| one.segment).collect();
        for (key, locations) in &self.locations {
            let pieces = locations.iter().flat_map(Location::pieces);
            if pieces.into_iter().any(|part| !used.contains(&part.segment)) {
                continue;
            }
            let read = open.reader.read_many(locations);
            for (read, expected) in read.into_iter().zip(&self.frames[key].batches) {
                assert_eq!(&read.unwrap(), expected);
            }
            let together = open.reader.read_together(locations);
            assert_eq!(together.bytes, self.frames[key].batches.concat());
            assert!(together.failed.is_empty());
        }
    }

    pub(crate) fn push(&mut self, shard: u16, sizes: &[usize]) {
        let index = self.parts().next_index[&shard];
        let draft = frame(&self.random, shard, index, sizes);
        self.frames.insert((shard, index), draft.clone());
        let open = self.parts();
        open.next_index.insert(shard, index + 1);
        open.queue.push(draft).expect("the queue is large");
    }

    /// Writes rounds until the queue is empty.
    pub(crate) fn write(&mut self) -> Result<(), Failed> {
        let open = self.open.as_mut().expect("the store is open");
        while !open.queue.is_empty() || open.writer.holds_round() {
            let written = open.writer.round(&mut open.queue)?;
            for placed in written.placed {
                let shard = placed.shard.0;
                assert_eq!(placed.index, open.written[&shard] + 1, "placed in order");
                open.written.insert(shard, placed.index);
                self.locations.insert((shard, placed.index), placed.batches);
            }
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), Failed> {
        let open = self.open.as_mut().expect("the store is open");
        open.writer.sync()?;
        self.durable.clone_from(&open.written);
        Ok(())
    }

    /// The index of a segment, as apply would have made it.
    pub(crate) fn index_of(&self, segment: u32) -> SegmentIndex {
        let mut index = SegmentIndex { segment, ..SegmentIndex::default() };
        for ((shard, number), locations) in &self.locations {
            let draft = &self.frames[&(*shard, *number)];
            for dest in &draft.dests {
                let location = &locations[usize::from(dest.batch)];
                // A batch in parts is in the index of the segment of its frame, which no part
                // tells; these stores keep the two in one segment or out of the comparison.
                let Location::Journal { segment: of, .. } = location else { continue };
                if *of == segment {
                    index.logs.entry(dest.log).or_default().push(Run {
                        first: base_of(*number),
                        count: dest.records,
                        location: location.clone(),
                        max_timestamp: Millis(77),
                        append_time: draft.leader_ts,
                        envelope: dest.envelope.clone(),
                    });
                }
            }
        }
        index
    }

    /// Syncs, stores the indexes of sealed segments and a checkpoint of all that is written.
    pub(crate) fn store_checkpoint(&mut self) -> Result<(), Failed> {
        self.sync()?;
        let replay = self.parts().writer.end();
        let before = self.checkpoint.as_ref().map_or(0, |one| one.replay.segment);
        for one in self.parts().pool.segments() {
            if one.segment >= before && one.segment < replay.segment {
                let index = self.index_of(one.segment);
                let part = index.part(|_, _| false);
                self.parts().pool.store_index(one.segment, &[part])?;
            }
        }
        let sequence = self.checkpoint.as_ref().map_or(1, |one| one.sequence + 1);
        let applied = self.durable.iter().map(|(shard, index)| Applied {
            shard: ShardId(*shard),
            term: 1,
            index: *index,
        });
        let applied = applied.collect();
        let is_partial = self.parts().pool.takes_changes(sequence);
        let pages = pages(sequence, is_partial);
        let checkpoint = Checkpoint { sequence, replay, applied, is_partial, pages };
        self.parts().pool.store_checkpoint(&checkpoint)?;
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    /// Gives up every segment that may be.
    pub(crate) fn recycle(&mut self) -> Result<usize, Failed> {
        let mut count = 0;
        for one in self.parts().pool.segments() {
            count += usize::from(self.parts().pool.recycle(one.segment)?);
        }
        Ok(count)
    }
}

fn pages(sequence: u64, is_partial: bool) -> Vec<Page> {
    let page = |kind, shard, bytes: String| Page {
        kind,
        shard: ShardId(shard),
        chunk: None,
        bytes: Bytes::from(bytes),
    };
    let mut pages = vec![
        page(PageKind::Replicated, 1, format!("state {sequence}")),
        page(PageKind::Local, 2, "x".repeat(5000)),
        page(PageKind::Local, 0, String::new()),
    ];
    // Of a partial one those that changed since the checkpoint before the last.
    let from = if is_partial { sequence.saturating_sub(1) } else { 0 };
    pages.extend((0..CHUNKS).filter(|chunk| changed(*chunk, sequence) >= from).map(|chunk| Page {
        chunk: Some(chunk),
        ..page(PageKind::Replicated, 1, format!("{chunk} as of {}", changed(chunk, sequence)))
    }));
    pages
}

const CHUNKS: u64 = 7;

/// When a chunk last changed: some do often, some seldom.
fn changed(chunk: u64, sequence: u64) -> u64 {
    sequence - sequence % (chunk + 1)
}
