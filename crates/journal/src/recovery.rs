//! What a store holds when it is opened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use ::io::{Access, Disk};
use bytes::Bytes;
use types::{LogId, Millis, Offset, ShardId};

use crate::checkpoint::{self, Checkpoint};
use crate::error::{Failed, FailedKind, OpenError};
use crate::finding::{Damage, Finding};
use crate::frame::{AppliedBase, Dest, FrameKind, ParsedBatch, REJECTED, max_timestamp};
use crate::index_file::{self, Directory, IndexPart, PagePlace, Run, SegmentIndex};
use crate::layout::{BLOCK, index_name};
use crate::location::{Location, Part, Position};
use crate::pool::Pool;
use crate::scan::{FoundFrame, FoundSegment, Rules, Scanner};
use crate::writer::{Active, Tail};

/// What a store holds: the checkpoint, the indexes of sealed segments, and the frames to replay.
#[derive(Debug)]
pub struct Recovery {
    checkpoint: Option<Checkpoint>,
    segments: Vec<FoundSegment>,
    sealed: Vec<u32>,
    scanner: Scanner,
    epoch: u32,
    pending: VecDeque<ScannedFrame>,
    /// Segment and byte of pieces that are corrupt.
    corrupt_parts: BTreeSet<(u32, u32)>,
    pool: Pool,
    tail: Arc<OnceLock<Tail>>,
}

/// A frame found in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedFrame {
    /// Its shard.
    pub shard: ShardId,
    /// The shard's term.
    pub term: u32,
    /// Its index in the shard.
    pub index: u64,
    /// The leader's time.
    pub leader_ts: Millis,
    /// What it is.
    pub kind: FrameKind,
    /// Where it is itself.
    pub place: Part,
    /// The round that completed it.
    pub position: Position,
    /// Which logs take which batch.
    pub dests: Vec<Dest>,
    /// Base offsets of earlier frames.
    pub applied: Vec<AppliedBase>,
    /// The shard's commands.
    pub commands: Bytes,
    /// Its batches.
    pub batches: Vec<ScannedBatch>,
}

/// A batch of a frame found in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedBatch {
    /// Where it is.
    pub location: Location,
    /// Its header, 61 bytes, intact also when the rest is not.
    pub header: Bytes,
    /// The rest.
    pub body: ScannedBody,
}

/// What is known of a batch found in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannedBody {
    /// The whole batch, verified.
    Whole(Bytes),
    /// It is in parts, none of which was found corrupt; it is verified when it is read.
    Apart,
    /// It is not what was written.
    Corrupt,
}

/// Where the batches of a sealed segment can be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Indexed {
    /// In the pages of its index file.
    Stored(Directory),
    /// Here only: the index was rebuilt and could not be stored again.
    Rebuilt(SegmentIndex),
}

/// Rounds at the end of the journal that were never durable, and are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The first of them.
    pub position: Position,
}

/// What [`Recovery`] begins with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) segments: Vec<FoundSegment>,
    /// Segments that are gone, and left their index files.
    pub(crate) lost: Vec<u32>,
    pub(crate) findings: Vec<Finding>,
    /// The largest epoch of the checkpoints.
    pub(crate) epoch: u32,
}

impl Recovery {
    pub(crate) fn new(
        start: Start,
        pool: Pool,
        tail: Arc<OnceLock<Tail>>,
    ) -> Result<Recovery, OpenError> {
        let Start { checkpoint, segments, lost, findings, epoch } = start;
        let replay = checkpoint.as_ref().map(|checkpoint| checkpoint.replay);
        let (at, position, missing) = begin(&segments, replay);
        let rules =
            Rules { salvage: pool.options().salvage, gaps: false, bodies: true, sealed: false };
        let place = pool.disk().place();
        let mut scanner = Scanner::new(place, segments.clone(), (at, position), rules);
        for finding in findings.into_iter().chain(missing) {
            scanner.report(finding)?;
        }
        let mut sealed: Vec<u32> = segments[..at].iter().map(|segment| segment.segment).collect();
        sealed.extend(lost.into_iter().filter(|segment| *segment < position.segment));
        sealed.sort_unstable();
        Ok(Recovery {
            checkpoint,
            segments,
            sealed,
            scanner,
            epoch,
            pending: VecDeque::new(),
            corrupt_parts: BTreeSet::new(),
            pool,
            tail,
        })
    }

    /// Takes the pages of the checkpoint out, when they are not needed any more.
    pub fn drop_pages(&mut self) {
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.pages = Vec::new();
        }
    }

    /// The newest valid checkpoint.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The segments that lie wholly before the replay position, in order; those among them that are
    /// gone have an index, too.
    pub fn sealed(&self) -> &[u32] {
        &self.sealed
    }

    /// The segments before `segment`, in order.
    pub fn segments_before(&self, segment: u32) -> Vec<u32> {
        let segments = self.segments.iter().map(|found| found.segment);
        segments.take_while(|found| *found < segment).collect()
    }

    /// The directory of a sealed segment's index file. If the file is missing, or its directory is
    /// corrupt, which is reported, the index is rebuilt from the segment, and stored again if that
    /// went without loss, so that the next opening finds nothing to report.
    pub fn index(&mut self, segment: u32) -> Result<Indexed, OpenError> {
        let found = index_file::read_directory(&**self.pool.disk(), segment);
        if let Some(directory) = found.map_err(|source| self.cannot_read_index(source))? {
            return Ok(Indexed::Stored(directory));
        }
        let mut rebuilt = self.rebuild(segment)?;
        let sound = rebuilt.findings.is_empty();
        for finding in rebuilt.findings.drain(..) {
            if !self.scanner.findings.contains(&finding) {
                self.scanner.findings.push(finding);
            }
        }
        if sound {
            match self.pool.store_index(segment, &[rebuilt.part()]) {
                Ok(directory) => return Ok(Indexed::Stored(directory)),
                Err(Failed { kind: FailedKind::Disk, doing, source }) => {
                    let place = self.pool.disk().place();
                    return Err(OpenError::Disk { place, doing, source });
                }
                // On a full disk it is rebuilt again at the next opening.
                Err(_) => {}
            }
        }
        Ok(Indexed::Rebuilt(rebuilt.index))
    }

    /// A page of the index file of a segment that [`Recovery::index`] found stored; of a corrupt one,
    /// which is reported, the log's runs in the segment.
    pub fn page(
        &mut self,
        segment: u32,
        log: LogId,
        place: PagePlace,
    ) -> Result<Vec<Run>, OpenError> {
        let read = read_page(&**self.pool.disk(), (segment, log), place);
        if let Some(runs) = read.map_err(|source| self.cannot_read_index(source))? {
            return Ok(runs);
        }
        let mut index = self.rebuild(segment)?.index;
        Ok(index.logs.remove(&log).unwrap_or_default())
    }

    fn rebuild(&mut self, segment: u32) -> Result<Rebuilt, OpenError> {
        let mut finding = Finding::in_segment(Damage::Index, segment, 0);
        finding.file = index_name(segment);
        self.scanner.report(finding)?;
        rebuild(&self.segments, segment, self.pool.disk())
    }

    fn cannot_read_index(&self, source: std::io::Error) -> OpenError {
        OpenError::Disk { place: self.pool.disk().place(), doing: "read an index file", source }
    }

    /// The next frame of the journal from the replay position on, PART frames left out; `None`
    /// at its end, where the writer takes over.
    ///
    /// Fails with `Damaged` where acknowledged commands are lost, unless the store is salvaged.
    pub fn next_frame(&mut self) -> Result<Option<ScannedFrame>, OpenError> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                return Ok(Some(frame));
            }
            if self.tail.get().is_some() {
                return Ok(None);
            }
            let Some(round) = self.scanner.next_round()? else {
                self.finish()?;
                return Ok(None);
            };
            for found in round.frames {
                if found.frame.kind == FrameKind::Part {
                    let corrupt = found.corrupt.iter().map(|i| &found.frame.batches[*i]);
                    let places = corrupt.flat_map(|batch| batch.location.pieces());
                    self.corrupt_parts.extend(places.map(|part| (part.segment, part.position)));
                } else {
                    let frame = self.scanned(found, round.position)?;
                    self.pending.push_back(frame);
                }
            }
        }
    }

    /// Where what was read ends: after the last frame, where the next round goes.
    pub fn end(&self) -> Position {
        self.scanner.end()
    }

    /// The damage met so far.
    pub fn findings(&self) -> &[Finding] {
        &self.scanner.findings
    }

    /// What was dropped at the end; known after the last frame.
    pub fn torn(&self) -> Option<TornTail> {
        self.scanner.torn
    }

    fn scanned(
        &mut self,
        found: FoundFrame,
        position: Position,
    ) -> Result<ScannedFrame, OpenError> {
        let FoundFrame { byte, frame, corrupt } = found;
        let len = u32::try_from(frame.frame_bytes).unwrap_or(u32::MAX);
        let place = Part { segment: position.segment, position: byte, len };
        let mut batches = Vec::with_capacity(frame.batches.len());
        for (i, ParsedBatch { location, header, body }) in frame.batches.into_iter().enumerate() {
            let is_spoiled =
                |part: Part| self.corrupt_parts.contains(&(part.segment, part.position));
            let spoiled = location.pieces().find(|part| is_spoiled(*part));
            if let Some(part) = spoiled {
                let dests = frame.dests.iter().filter(|dest| usize::from(dest.batch) == i);
                let (segment, byte) = (part.segment, u64::from(part.position));
                let mut finding = Finding::in_segment(Damage::Batch, segment, byte);
                finding.shard = Some(frame.shard);
                finding.logs = dests.map(|dest| dest.log).collect();
                self.scanner.report(finding)?;
            }
            let body = match body {
                _ if spoiled.is_some() || corrupt.contains(&i) => ScannedBody::Corrupt,
                Some(body) => ScannedBody::Whole(body),
                None => ScannedBody::Apart,
            };
            batches.push(ScannedBatch { location, header, body });
        }
        Ok(ScannedFrame {
            shard: frame.shard,
            term: frame.term,
            index: frame.index,
            leader_ts: frame.leader_ts,
            kind: frame.kind,
            place,
            position,
            dests: frame.dests,
            applied: frame.applied,
            commands: frame.commands,
            batches,
        })
    }

    /// Hands the end of the journal to the writer. What was found may be in the page cache only,
    /// so it is synced before anything is built on it.
    fn finish(&mut self) -> Result<(), OpenError> {
        let end = self.scanner.end();
        let epoch = self.scanner.epoch_seen().max(self.epoch) + 1;
        let last = self.segments.last().filter(|last| last.segment == end.segment);
        let active = last.map(|last| Active {
            segment: last.segment,
            file: last.file.clone(),
            bytes: last.bytes,
            byte: end.byte,
            salt: last.salt,
            superblock: None,
        });
        if let Some(active) = &active {
            active.file.sync().map_err(|source| OpenError::Disk {
                place: self.pool.disk().place(),
                doing: "sync the journal",
                source,
            })?;
        }
        self.pool.set_epoch(epoch);
        self.pool.seal_all_but(active.as_ref().map(|active| active.segment));
        let next_round = end.round.max(1);
        self.tail.set(Tail { active, next_round, epoch }).expect("it is set once, here");
        Ok(())
    }
}

/// Where a scan begins: index of the segment, place in it, and what is missing before it.
pub(crate) fn begin(
    segments: &[FoundSegment],
    replay: Option<Position>,
) -> (usize, Position, Option<Finding>) {
    let start_of = |segment: &FoundSegment| Position {
        segment: segment.segment,
        byte: BLOCK,
        round: segment.first_round,
        epoch: segment.epoch,
    };
    let replay = replay.unwrap_or(Position { round: 1, ..Position::default() });
    if let Some(at) = segments.iter().position(|segment| segment.segment == replay.segment) {
        return (at, replay, None);
    }
    let at = segments.iter().take_while(|segment| segment.segment < replay.segment).count();
    match segments.get(at) {
        None if replay.round <= 1 => (at, replay, None),
        None => {
            let missing = Finding::in_segment(Damage::Missing, replay.segment, replay.byte.into());
            (at, replay, Some(missing))
        }
        Some(first) => {
            let found = start_of(first);
            let is_missing = found.round != replay.round;
            let missing = Finding::in_segment(Damage::Missing, first.segment, 0);
            (at, found, is_missing.then_some(missing))
        }
    }
}

/// The index in a segment's file; `None` when it is missing or corrupt.
pub(crate) fn load_index(disk: &dyn Disk, segment: u32) -> Result<Option<SegmentIndex>, OpenError> {
    let bytes = checkpoint::load_file(disk, &index_name(segment)).map_err(|source| {
        OpenError::Disk { place: disk.place(), doing: "read an index file", source }
    })?;
    let index = bytes.and_then(|bytes| index_file::decode(&bytes).ok());
    Ok(index.filter(|index| index.segment == segment))
}

/// The runs of a page; `None` when it is corrupt, or the file is missing.
pub(crate) fn read_page(
    disk: &dyn Disk,
    (segment, log): (u32, LogId),
    place: PagePlace,
) -> std::io::Result<Option<Vec<Run>>> {
    let file = match disk.open(&index_name(segment), Access::Buffered) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; place.len as usize];
    let count = file.read_at(u64::from(place.byte), &mut bytes)?;
    bytes.truncate(count);
    Ok(index_file::decode_page(&bytes.into(), (segment, log)).ok())
}

/// What a segment's frames tell of its index.
pub(crate) struct Rebuilt {
    pub(crate) index: SegmentIndex,
    /// What was copied into the segment.
    copied: BTreeSet<(LogId, Offset)>,
    pub(crate) findings: Vec<Finding>,
}

impl Rebuilt {
    /// The pages to store.
    pub(crate) fn part(&self) -> IndexPart {
        self.index.part(|log, first| self.copied.contains(&(log, first)))
    }
}

/// A destination whose base offset is not known yet.
struct Unplaced {
    log: LogId,
    run: Run,
}

/// The index of `segment` from its frames, and from later ones that tell the offsets apply gave.
pub(crate) fn rebuild(
    segments: &[FoundSegment],
    segment: u32,
    disk: &Arc<dyn Disk>,
) -> Result<Rebuilt, OpenError> {
    let mut index = SegmentIndex { segment, ..SegmentIndex::default() };
    let mut copied = BTreeSet::new();
    let Some(at) = segments.iter().position(|found| found.segment == segment) else {
        return Ok(Rebuilt { index, copied, findings: Vec::new() });
    };
    let FoundSegment { first_round: round, epoch, .. } = segments[at];
    let start = Position { segment, byte: BLOCK, round, epoch };
    let rules = Rules { salvage: true, gaps: true, bodies: false, sealed: false };
    let mut scanner = Scanner::new(disk.place(), segments.to_vec(), (at, start), rules);
    let mut unplaced: BTreeMap<(ShardId, u64, u16), Unplaced> = BTreeMap::new();
    while let Some(round) = scanner.next_round()? {
        let is_inside = round.position.segment == segment;
        if !is_inside && unplaced.is_empty() {
            break;
        }
        for FoundFrame { frame, .. } in round.frames {
            if frame.kind == FrameKind::Truncate {
                // Others have their indices, and their offsets, from here on.
                let taken_back = |(shard, index, _): &(ShardId, u64, u16)| {
                    *shard == frame.shard && *index >= frame.index
                };
                unplaced.retain(|of, _| !taken_back(of));
            }
            let is_relocated = frame.kind == FrameKind::Relocate;
            let mut own = BTreeMap::new();
            for (i, dest) in frame.dests.iter().enumerate().filter(|_| is_inside) {
                let batch = &frame.batches[usize::from(dest.batch)];
                let ordinal = u16::try_from(i).unwrap_or(u16::MAX);
                let run = run_of(batch, dest, frame.leader_ts);
                let of = if is_relocated { &mut own } else { &mut unplaced };
                of.insert((frame.shard, frame.index, ordinal), Unplaced { log: dest.log, run });
            }
            for applied in &frame.applied {
                let of = if is_relocated { &mut own } else { &mut unplaced };
                let of_index = if is_relocated { frame.index } else { applied.index };
                let found = of.remove(&(frame.shard, of_index, applied.dest));
                if let Some(Unplaced { log, mut run }) = found.filter(|_| applied.base != REJECTED)
                    && matches!(run.location, Location::Journal { .. })
                {
                    run.first = applied.base;
                    if is_relocated {
                        copied.insert((log, run.first));
                    }
                    index.logs.entry(log).or_default().push(run);
                }
            }
        }
    }
    for runs in index.logs.values_mut() {
        runs.sort_by_key(|run| run.first);
        runs.dedup_by_key(|run| run.first);
    }
    let mut findings = scanner.findings;
    findings.retain(|finding| finding.segment == Some(segment));
    if !unplaced.is_empty() {
        let mut finding = Finding::in_segment(Damage::UnknownOffsets, segment, 0);
        finding.logs = unplaced.values().map(|unplaced| unplaced.log).collect();
        finding.logs.sort();
        finding.logs.dedup();
        findings.push(finding);
    }
    Ok(Rebuilt { index, copied, findings })
}

fn run_of(batch: &ParsedBatch, dest: &Dest, append_time: Millis) -> Run {
    Run {
        first: Offset(0),
        count: dest.records,
        location: batch.location.clone(),
        max_timestamp: max_timestamp(&batch.header),
        append_time,
        // Not a slice of the round, which would keep all of it in memory.
        envelope: Bytes::copy_from_slice(&dest.envelope),
    }
}
