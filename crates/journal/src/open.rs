//! Opening a store.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, OnceLock};

use ::io::{Access, AlignedBuf, DirLock, Disk};
use types::PART_BYTES;

use crate::checkpoint::{self, Checkpoint, Head, Loaded, NAMES, Standing};
use crate::error::OpenError;
use crate::finding::{Damage, Finding};
use crate::layout::{
    BLOCK, FORMAT_VERSION, FileName, ROUND_HEADER_BYTES, RoundHeader, SUPERBLOCK_BYTES, Superblock,
    chunks_name, given_back_name, index_name, segment_name,
};
use crate::location::Position;
use crate::pool::{Pool, State, Used};
use crate::reader::Reader;
use crate::recovery::{Recovery, Start, load_index};
use crate::scan::{FoundSegment, Window};
use crate::writer::Writer;

/// How much of a segment without a superblock is searched for rounds that say it had one.
const SNIFF_BYTES: usize = 256 << 10;

/// Sizes and choices.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sizes of segments, growing: the next one is used when a segment is full, the last one
    /// repeats. Multiples of 4 KiB, each a block larger than a round at least.
    pub segment_bytes: Vec<u32>,
    /// Largest round, in bytes, with its padding; a multiple of 4 KiB.
    pub round_bytes_max: u32,
    /// A batch above this travels in PART frames of this size; at most half of a round.
    pub part_bytes: u32,
    /// Segments kept ready to be used.
    pub ready_count: usize,
    /// Bytes of the disk that no new segment is prepared from: what is left for acknowledgements,
    /// index files and checkpoints when it is nearly full.
    pub reserve_bytes: u64,
    /// A checkpoint whose pages have no more bytes is one file.
    pub checkpoint_inline_bytes: u64,
    /// How segments are opened.
    pub access: Access,
    /// A random number, new for every opening: no record can imitate a round.
    pub salt: u64,
    /// Open also a store that lost acknowledged commands, without them.
    pub salvage: bool,
}

impl Options {
    /// What a broker uses; `salt` is random.
    pub fn new(salt: u64) -> Options {
        Options {
            segment_bytes: vec![4 << 20, 16 << 20, 64 << 20, 256 << 20],
            round_bytes_max: (4 << 20) - BLOCK,
            part_bytes: u32::try_from(PART_BYTES).expect("a part is small"),
            ready_count: 1,
            reserve_bytes: 0,
            checkpoint_inline_bytes: 1 << 20,
            access: Access::Direct,
            salt,
            salvage: false,
        }
    }

    fn assert_sound(&self) {
        let round = self.round_bytes_max;
        let first = self.segment_bytes.first().copied().unwrap_or(0);
        assert!(self.segment_bytes.iter().all(|bytes| bytes.is_multiple_of(BLOCK)));
        assert!(self.segment_bytes.is_sorted() && first >= round + BLOCK);
        assert!(round.is_multiple_of(BLOCK) && self.part_bytes <= round / 2);
    }
}

/// What is in the directory, before anything is read at length.
#[derive(Debug, Default)]
pub(crate) struct Inspected {
    pub(crate) segments: Vec<FoundSegment>,
    /// With their pages the newest one only.
    pub(crate) checkpoints: [Option<(Checkpoint, u32)>; 2],
    /// What those stand on.
    pub(crate) standings: [Standing; 2],
    pub(crate) findings: Vec<Finding>,
    /// Segment files without rounds, and their bytes.
    pub(crate) unused: Vec<(String, u64)>,
    /// Files nobody needs.
    pub(crate) waste: Vec<String>,
    /// Segments that are being given back.
    pub(crate) given_back: Vec<String>,
    /// Segments that have an index file and no rounds: they were there once.
    pub(crate) lost: Vec<u32>,
    /// Segments that another one names and that were not given back.
    pub(crate) missed: Vec<u32>,
    /// The index file of the last segment: it says that there was one after it.
    pub(crate) index_of_last: Option<String>,
    /// The largest number that any name has.
    pub(crate) number_max: u32,
}

impl Inspected {
    /// Where replay from the newest checkpoint begins.
    pub(crate) fn replay(&self) -> Position {
        let checkpoints = self.checkpoints.iter().flatten();
        let newest = checkpoints.max_by_key(|(checkpoint, _)| checkpoint.sequence);
        newest.map_or(Position::default(), |(checkpoint, _)| checkpoint.replay)
    }
}

/// Opens the store in `disk`, or begins one there, which writes nothing yet. The lock on the
/// directory lives as long as any of the four.
pub fn open(
    disk: Arc<dyn Disk>,
    options: Options,
) -> Result<(Writer, Reader, Pool, Recovery), OpenError> {
    options.assert_sound();
    let lock = lock(&*disk)?;
    let mut found = inspect(&disk, options.access)?;
    let first_size = options.segment_bytes.first().copied().map_or(0, u64::from);
    let (spare, small) = found.unused.into_iter().partition(|(_, bytes)| *bytes >= first_size);
    let small: Vec<(String, u64)> = small;
    remove_given_back(&*disk, &found.given_back)?;
    if options.salvage {
        found.waste.extend(found.index_of_last.take());
    }
    for name in found.waste.iter().chain(small.iter().map(|(name, _)| name)) {
        disk.remove(name).map_err(|source| cannot("remove a file nobody needs", &*disk, source))?;
    }
    if found.number_max > 0 || found.checkpoints.iter().flatten().next().is_some() {
        // A name found may have been on its way only when the last process ended.
        disk.sync_dir().map_err(|source| cannot("sync the directory", &*disk, source))?;
    }
    let epoch = found.checkpoints.iter().flatten().map(|(_, epoch)| *epoch).max().unwrap_or(0);
    let replays = [0, 1].map(|i| found.checkpoints[i].as_ref().map(|(one, _)| one.replay));
    let newest = found.checkpoints.into_iter().flatten().map(|(checkpoint, _)| checkpoint);
    let checkpoint = newest.max_by_key(|checkpoint| checkpoint.sequence);
    let replay_segment = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.replay.segment);
    let last = found.segments.last();
    let state = State {
        used: found.segments.iter().map(used).collect(),
        spare,
        next_segment: found.number_max.max(replay_segment) + 1,
        taken_bytes: last.map_or(0, |last| last.bytes),
        taken_segment: last.map_or(0, |last| last.segment),
        replays,
        standings: std::mem::take(&mut found.standings),
        epoch,
        ..State::default()
    };
    let pool = Pool::new(disk, options, lock, state);
    let tail = Arc::new(OnceLock::new());
    let findings = std::mem::take(&mut found.findings);
    let start = Start { checkpoint, segments: found.segments, lost: found.lost, findings, epoch };
    let recovery = Recovery::new(start, pool.clone(), tail.clone())?;
    Ok((Writer::new(pool.clone(), tail), Reader::new(pool.clone()), pool, recovery))
}

/// Durably, before what says that they are given back goes: they are whole, and would count.
fn remove_given_back(disk: &dyn Disk, names: &[String]) -> Result<(), OpenError> {
    let doing = "remove a segment that was given back";
    for name in names {
        disk.remove(name).map_err(|source| cannot(doing, disk, source))?;
    }
    if names.is_empty() {
        return Ok(());
    }
    disk.sync_dir().map_err(|source| cannot(doing, disk, source))
}

fn used(found: &FoundSegment) -> (u32, Used) {
    let (file, previous) = (found.file.clone(), found.previous.unwrap_or(0));
    (found.segment, Used { file, bytes: found.bytes, previous, sealed: true })
}

pub(crate) fn lock(disk: &dyn Disk) -> Result<DirLock, OpenError> {
    disk.lock().map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { place: disk.place() },
        _ => cannot("lock the store", disk, source),
    })
}

fn cannot(doing: &'static str, disk: &dyn Disk, source: io::Error) -> OpenError {
    let place = disk.place();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::Unwritable { place, source }
        }
        _ => OpenError::Disk { place, doing, source },
    }
}

/// Reads the names, the checkpoints and the first blocks of segments; changes nothing.
pub(crate) fn inspect(disk: &Arc<dyn Disk>, access: Access) -> Result<Inspected, OpenError> {
    let mut found = Inspected::default();
    let names = disk.list().map_err(|source| cannot("list the store", &**disk, source))?;
    let mut segments = Vec::new();
    for name in &names {
        match FileName::of(name) {
            FileName::Segment(segment) if names.contains(&given_back_name(segment)) => {
                found.given_back.push(name.clone());
            }
            FileName::Segment(segment) => segments.push((segment, name)),
            FileName::Temporary => found.waste.push(name.clone()),
            FileName::Spare(segment) => {
                found.number_max = found.number_max.max(segment);
                let file = disk.open(name, access);
                let bytes = file.and_then(|file| file.len());
                let bytes = bytes.map_err(|source| cannot("open a segment", &**disk, source))?;
                found.unused.push((name.clone(), bytes));
            }
            FileName::Index(segment) => found.number_max = found.number_max.max(segment),
            FileName::Chunks(_) | FileName::GivenBack(_) | FileName::Other => {}
        }
    }
    segments.sort();
    for (segment, name) in segments {
        found.number_max = found.number_max.max(segment);
        inspect_segment(disk, access, (segment, name), &mut found)?;
    }
    inspect_checkpoints(&**disk, &names, &mut found)?;
    inspect_indexes(disk, &names, &mut found)?;
    inspect_chain(&names, &mut found);
    Ok(found)
}

/// Reads the newest checkpoint that is whole, and looks whether the other one is.
fn inspect_checkpoints(
    disk: &dyn Disk,
    names: &[String],
    found: &mut Inspected,
) -> Result<(), OpenError> {
    let failed = |source| cannot("read a checkpoint", disk, source);
    let mut heads: Vec<(usize, Head)> = Vec::new();
    for (parity, name) in NAMES.iter().enumerate() {
        match checkpoint::load(disk, name).map_err(failed)? {
            None => {}
            Some(Loaded::Valid(head)) => heads.push((parity, *head)),
            Some(Loaded::Corrupt { at_byte }) => found.findings.push(corrupt(name, at_byte)),
            Some(Loaded::Other { version }) if version > FORMAT_VERSION => {
                return Err(newer(disk, name, version));
            }
            Some(Loaded::Other { version }) => {
                return Err(older(disk, name, version));
            }
        }
    }
    heads.sort_by_key(|(_, head)| std::cmp::Reverse(head.checkpoint.sequence));
    let mut is_read = false;
    for (parity, mut head) in heads {
        let (epoch, standing) = (head.epoch, head.standing.clone());
        let whole = if is_read {
            head.checkpoint.pages.clear();
            head.is_whole(disk).map_err(failed)?.then_some(head.checkpoint)
        } else {
            head.read(disk).map_err(failed)?
        };
        match whole {
            Some(checkpoint) => {
                is_read = true;
                found.checkpoints[parity] = Some((checkpoint, epoch));
                found.standings[parity] = standing;
            }
            None => found.findings.push(corrupt(NAMES[parity], 0)),
        }
    }
    if !found.findings.is_empty() {
        // Nothing of a corrupt checkpoint goes before another one is in its place.
        return Ok(());
    }
    let used: BTreeSet<u64> = found.standings.iter().flat_map(Standing::files).collect();
    for name in names {
        if let FileName::Chunks(sequence) = FileName::of(name)
            && !used.contains(&sequence)
        {
            found.waste.push(chunks_name(sequence));
        }
    }
    Ok(())
}

fn corrupt(checkpoint: &str, at_byte: usize) -> Finding {
    Finding {
        what: Damage::Checkpoint,
        file: checkpoint.to_owned(),
        segment: None,
        byte: at_byte as u64,
        shard: None,
        logs: Vec::new(),
    }
}

/// What segments say about those that were before them.
fn inspect_chain(names: &[String], found: &mut Inspected) {
    let previous: Vec<u32> = found.segments.iter().filter_map(|one| one.previous).collect();
    for name in names {
        if let FileName::GivenBack(segment) = FileName::of(name)
            && !previous.contains(&segment)
        {
            found.waste.push(name.clone());
        }
    }
    let replay = found.replay().segment;
    // Where replay goes on, the rounds themselves tell.
    for segment in previous.into_iter().filter(|segment| *segment > 0 && *segment < replay) {
        let is_there = found.segments.iter().any(|one| one.segment == segment);
        if is_there || names.contains(&given_back_name(segment)) {
            continue;
        }
        found.missed.push(segment);
        if !found.lost.contains(&segment) {
            found.findings.push(Finding::in_segment(Damage::Records, segment, 0));
            found.unused.retain(|(name, _)| *name != segment_name(segment));
        }
    }
}

/// What index files say about segments that are not there.
fn inspect_indexes(
    disk: &Arc<dyn Disk>,
    names: &[String],
    found: &mut Inspected,
) -> Result<(), OpenError> {
    let replay = found.replay().segment;
    // What a checkpoint covers has lost nothing but records.
    for finding in &mut found.findings {
        let is_covered = finding.segment.is_some_and(|segment| segment < replay);
        if finding.what == Damage::Missing && is_covered {
            finding.what = Damage::Records;
        }
    }
    let last = found.segments.last().map(|last| (last.segment, last.bytes));
    let mut indexed: Vec<u32> = Vec::new();
    for name in names {
        if let FileName::Index(segment) = FileName::of(name) {
            indexed.push(segment);
        }
    }
    indexed.sort_unstable();
    for segment in indexed {
        if last.is_some_and(|(last, _)| last == segment) {
            found.index_of_last = Some(index_name(segment));
            let byte = last.map_or(0, |(_, bytes)| bytes);
            found.findings.push(Finding::in_segment(Damage::Missing, segment, byte));
        }
        if found.segments.iter().any(|one| one.segment == segment) {
            continue;
        }
        let what = if segment < replay { Damage::Records } else { Damage::Missing };
        let mut finding = Finding::in_segment(what, segment, 0);
        if let Some(index) = load_index(&**disk, segment)? {
            finding.logs = index.logs.into_keys().collect();
        }
        found.findings.push(finding);
        found.lost.push(segment);
        // Not to be written over: somebody may make something of it.
        found.unused.retain(|(name, _)| *name != segment_name(segment));
    }
    Ok(())
}

fn older(disk: &dyn Disk, name: &str, version: u32) -> OpenError {
    OpenError::Older { place: disk.place(), file: name.to_owned(), version }
}

fn newer(disk: &dyn Disk, name: &str, version: u32) -> OpenError {
    let (place, file) = (disk.place(), name.to_owned());
    OpenError::Newer { place, file, version, known: FORMAT_VERSION }
}

fn inspect_segment(
    disk: &Arc<dyn Disk>,
    access: Access,
    (segment, name): (u32, &str),
    found: &mut Inspected,
) -> Result<(), OpenError> {
    let failed = |source| cannot("read a segment", &**disk, source);
    let file = disk.open(name, access).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let mut block = AlignedBuf::zeroed(BLOCK as usize);
    file.read_at(0, &mut block).map_err(failed)?;
    let blocks = u64::from(BLOCK);
    let mut one = FoundSegment {
        segment,
        previous: None,
        epoch: 0,
        first_round: 0,
        salt: 0,
        file,
        bytes: (len / blocks * blocks).min(u64::from(u32::MAX) / blocks * blocks),
    };
    let superblock = Superblock::decode(&block[..SUPERBLOCK_BYTES]);
    if let Ok(superblock) = &superblock {
        if superblock.version > FORMAT_VERSION {
            return Err(newer(&**disk, name, superblock.version));
        }
        if superblock.version < FORMAT_VERSION {
            return Err(older(&**disk, name, superblock.version));
        }
        if superblock.segment == segment {
            one.previous = Some(superblock.previous);
            one.epoch = superblock.epoch;
            one.first_round = superblock.first_round;
            one.salt = superblock.salt;
            if len < u64::from(superblock.segment_bytes) {
                found.findings.push(Finding::in_segment(Damage::Missing, segment, len));
            }
            found.segments.push(one);
            return Ok(());
        }
    }
    // Not used yet, or its superblock is lost: rounds that know a round of this segment durable
    // tell. A file that was prepared or used before has zeroes or another superblock there.
    let is_plain = superblock.is_ok() || block.iter().all(|byte| *byte == 0);
    let sniff_bytes = if is_plain { SNIFF_BYTES as u64 } else { u64::MAX };
    match find_rounds(&one, sniff_bytes).map_err(failed)? {
        Some((byte, header)) => {
            one.epoch = header.epoch;
            one.first_round = header.round;
            one.salt = header.salt;
            found.segments.push(one);
            found.findings.push(Finding::in_segment(Damage::Superblock, segment, 0));
            if byte > blocks {
                found.findings.push(Finding::in_segment(Damage::Missing, segment, blocks));
            }
        }
        None => found.unused.push((name.to_owned(), len)),
    }
    Ok(())
}

/// The first round of a segment whose superblock is lost, and its byte; `None` unless a later
/// round knows it durable. The search for the first ends after `sniff_bytes`.
fn find_rounds(segment: &FoundSegment, sniff_bytes: u64) -> io::Result<Option<(u64, RoundHeader)>> {
    let mut window = Window::ahead(SNIFF_BYTES);
    let mut first: Option<(u64, RoundHeader)> = None;
    let mut at = u64::from(BLOCK);
    while at < segment.bytes && (first.is_some() || at < sniff_bytes) {
        let bytes = window.get(segment, at, ROUND_HEADER_BYTES)?;
        let header = bytes.and_then(|bytes| RoundHeader::decode(bytes).ok());
        if let Some(header) = header.filter(|header| header.segment == segment.segment) {
            let (_, begun) = *first.get_or_insert((at, header));
            if header.salt == begun.salt && header.durable_round >= begun.round {
                return Ok(first);
            }
        }
        at += u64::from(BLOCK);
    }
    Ok(None)
}

/// The start of the journal, for a scan of all of it.
pub(crate) fn start_of(segments: &[FoundSegment]) -> Position {
    let first = segments.first();
    first.map_or(Position::default(), |first| Position {
        segment: first.segment,
        byte: BLOCK,
        round: first.first_round,
        epoch: first.epoch,
    })
}
