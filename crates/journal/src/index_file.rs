//! Index files: which log's records are where in a sealed segment.
//!
//! A file is made of pages, each with some runs of one log, and ends in a directory of them: one
//! page can be read without the rest, and a start reads directories only.

use std::collections::BTreeMap;

use ::io::{Access, Disk};
use bytes::Bytes;
use types::{LogId, Millis, Offset};

pub use crate::fields::Malformed;
use crate::fields::{Crc, Take, crc32c, push_difference, push_varint};
use crate::layout::{FORMAT_VERSION, index_name};
use crate::location::Location;

const MAGIC: u64 = u64::from_le_bytes(*b"XDOCKIDX");
const TRAILER: u64 = u64::from_le_bytes(*b"IDXEND\r\n");
const HEAD_BYTES: usize = 16;
/// Number of pages, checksum and trailer.
const END_BYTES: usize = 16;
/// Log and number of runs before those of a page, checksum behind them.
const PAGE_HEAD_BYTES: usize = 8;
const PAGE_END_BYTES: usize = 4;
const RUN_BYTES_MIN: usize = 7;
/// Set in the number of runs of a page whose runs are in the order of their append times.
const BY_TIME: u32 = 1 << 31;
const ENTRY_BYTES: usize = 56;
/// Batches of a log are in one piece if no more than this lies between them.
const GAP_BYTES: u32 = 4 << 10;
/// A page of a rebuilt index has so many runs at most.
pub(crate) const PAGE_RUNS_MAX: usize = 512;

/// The index of one sealed segment: of its batches in one piece. Where those in parts are, which can
/// span segments, is kept in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    /// Number of the segment.
    pub segment: u32,
    /// The runs of each log, by first offset.
    pub logs: BTreeMap<LogId, Vec<Run>>,
}

/// A batch of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset of its first record.
    pub first: Offset,
    /// Offsets it spans.
    pub count: u32,
    /// Where it is.
    pub location: Location,
    /// Largest timestamp in it, from its header.
    pub max_timestamp: Millis,
    /// When it was appended: the leader's time of its frame.
    pub append_time: Millis,
    /// The destination's envelope, at most 65,535 bytes.
    pub envelope: Bytes,
}

impl Run {
    /// The offset after its last record.
    pub fn end(&self) -> Offset {
        self.first.plus(self.count)
    }
}

/// What the directory says of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// Whose runs it has.
    pub log: LogId,
    /// Offset of its first record.
    pub first: Offset,
    /// The offset after its last record.
    pub end: Offset,
    /// Bytes of its batches.
    pub batch_bytes: u64,
    /// Largest timestamp in it.
    pub max_timestamp: Millis,
    /// When the last of it was appended.
    pub append_time: Millis,
    /// Some batch has no timestamps.
    pub untimed: bool,
    /// Some batch has an envelope.
    pub enveloped: bool,
    /// Its runs are in the order of their append times, and in another page by offset as well.
    pub order: Order,
    /// Where it is in the file.
    pub place: PagePlace,
}

/// In which order the runs of a page are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By offset.
    #[default]
    Offset,
    /// By append time, and not before those of the page before.
    Time,
    /// By append time; the first page of those that are in order.
    TimeFirst,
}

/// Where a page is in its segment's index file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PagePlace {
    /// Byte in the file.
    pub byte: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The pages of an index file, by log and first offset within each part it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Number of the segment.
    pub segment: u32,
    /// Its pages, in the order they lie in the file.
    pub pages: Vec<PageEntry>,
}

/// Pages on their way to an index file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexPart {
    bytes: Vec<u8>,
    pages: Vec<PageEntry>,
}

impl IndexPart {
    /// Adds a page of runs, which are in order; none if there are none. A batch in parts is left out.
    pub fn push(&mut self, log: LogId, runs: impl Iterator<Item = Run>) {
        self.push_in(Order::Offset, log, runs);
    }

    /// Adds a page of runs that are in such an order.
    pub fn push_in(&mut self, order: Order, log: LogId, runs: impl Iterator<Item = Run>) {
        let start = self.bytes.len();
        put_u32(&mut self.bytes, log.0);
        put_u32(&mut self.bytes, 0);
        let mut entry: Option<PageEntry> = None;
        let mut count = 0u32;
        let mut before = Before::default();
        for run in runs {
            let Location::Journal { position, len, .. } = run.location else { continue };
            put_run(&mut self.bytes, &mut before, &run, (position, len));
            count += 1;
            entry = Some(sum(log, entry, &run, len));
        }
        let Some(mut entry) = entry else { return self.bytes.truncate(start) };
        entry.order = order;
        if order != Order::Offset {
            count |= BY_TIME;
        }
        self.bytes[start + 4..start + PAGE_HEAD_BYTES].copy_from_slice(&count.to_le_bytes());
        let crc = crc32c(&self.bytes[start..]);
        put_u32(&mut self.bytes, crc);
        entry.place = PagePlace { byte: small(start), len: small(self.bytes.len() - start) };
        self.pages.push(entry);
    }

    /// Bytes of its pages.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no pages.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The directory of an index file of this part alone.
    pub fn directory(&self, segment: u32) -> Directory {
        encode(segment, std::slice::from_ref(self)).2
    }

    /// The runs of its pages, in order.
    pub fn decoded(&self, segment: u32) -> Vec<Vec<Run>> {
        let bytes = Bytes::copy_from_slice(&self.bytes);
        let runs = |entry: &PageEntry| {
            let from = entry.place.byte as usize;
            let page = bytes.slice(from..from + entry.place.len as usize);
            decode_page(&page, (segment, entry.log)).expect("it was encoded here")
        };
        self.pages.iter().map(runs).collect()
    }
}

/// `entry` with a run more.
fn sum(log: LogId, entry: Option<PageEntry>, run: &Run, len: u32) -> PageEntry {
    let one = PageEntry {
        log,
        first: run.first,
        end: run.end(),
        batch_bytes: u64::from(len),
        max_timestamp: run.max_timestamp,
        append_time: run.append_time,
        untimed: run.max_timestamp < Millis(0),
        enveloped: !run.envelope.is_empty(),
        order: Order::Offset,
        place: PagePlace::default(),
    };
    let Some(sum) = entry else { return one };
    PageEntry {
        first: sum.first.min(one.first),
        end: sum.end.max(one.end),
        batch_bytes: sum.batch_bytes + one.batch_bytes,
        max_timestamp: sum.max_timestamp.max(one.max_timestamp),
        append_time: sum.append_time.max(one.append_time),
        untimed: sum.untimed | one.untimed,
        enveloped: sum.enveloped | one.enveloped,
        ..sum
    }
}

impl SegmentIndex {
    /// The index in pages; `copied` are runs that were copied into the segment: one of them shares a
    /// page only with its neighbours in the log, for what lies between may be elsewhere.
    pub(crate) fn part(&self, copied: impl Fn(LogId, Offset) -> bool) -> IndexPart {
        let mut part = IndexPart::default();
        for (log, runs) in &self.logs {
            let is_copy = |run: &Run| copied(*log, run.first);
            let together =
                |one: &Run, next: &Run| one.end() == next.first || !is_copy(one) && !is_copy(next);
            for stretch in runs.chunk_by(together) {
                for page in stretch.chunks(PAGE_RUNS_MAX) {
                    part.push(*log, page.iter().cloned());
                }
            }
        }
        part
    }
}

/// The file of `parts`: its pieces, in order, and what its directory says.
pub(crate) fn encode(segment: u32, parts: &[IndexPart]) -> (Vec<u8>, Vec<u8>, Directory) {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&MAGIC.to_le_bytes());
    put_u32(&mut head, FORMAT_VERSION);
    put_u32(&mut head, segment);
    let mut directory = Directory { segment, pages: Vec::new() };
    let mut byte = small(head.len());
    for part in parts {
        for entry in &part.pages {
            let place = PagePlace { byte: entry.place.byte + byte, ..entry.place };
            directory.pages.push(PageEntry { place, ..*entry });
        }
        byte += small(part.bytes.len());
    }
    let mut end = Vec::with_capacity(directory.pages.len() * ENTRY_BYTES + END_BYTES);
    for entry in &directory.pages {
        put_entry(&mut end, entry);
    }
    put_u32(&mut end, small(directory.pages.len()));
    let mut crc = Crc::new();
    crc.update(&head);
    crc.update(&end);
    put_u32(&mut end, crc.finish());
    end.extend_from_slice(&TRAILER.to_le_bytes());
    (head, end, directory)
}

/// The pieces of the file of `parts`, and its directory.
pub(crate) fn with_pieces<T>(
    segment: u32,
    parts: &[IndexPart],
    take: impl FnOnce(&[&[u8]]) -> T,
) -> (T, Directory) {
    let (head, end, directory) = encode(segment, parts);
    let mut pieces = vec![&head[..]];
    pieces.extend(parts.iter().map(|part| &part.bytes[..]));
    pieces.push(&end);
    (take(&pieces), directory)
}

/// The directory in the bytes of a file that begin with its head and end with its directory; `skipped`
/// bytes between the two are left out.
fn take_directory(head: &Bytes, end: &Bytes, file_bytes: u64) -> Result<Directory, Malformed> {
    let wrong = |at_byte, why| Malformed { at_byte, why };
    let Some(covered) = end.len().checked_sub(END_BYTES) else {
        return Err(wrong(end.len(), "ends too early"));
    };
    let mut crc = Crc::new();
    crc.update(head);
    crc.update(&end[..covered + 4]);
    let tail = end.slice(covered..);
    let mut last = Take::new(&tail);
    let count = last.u32()?;
    if last.u32()? != crc.finish() || last.u64()? != TRAILER {
        return Err(wrong(covered, "wrong checksum or trailer"));
    }
    let mut take = Take::new(head);
    if take.u64()? != MAGIC || take.u32()? != FORMAT_VERSION {
        return Err(wrong(0, "not an index file of this version"));
    }
    let segment = take.u32()?;
    let entries = end.slice(..covered);
    let mut take = Take::new(&entries);
    let count = take.count(u64::from(count), ENTRY_BYTES)?;
    let mut directory = Directory { segment, pages: Vec::with_capacity(count) };
    let mut byte = HEAD_BYTES as u64;
    for _ in 0..count {
        let entry = take_entry(&mut take)?;
        if u64::from(entry.place.byte) != byte || entry.end <= entry.first {
            return Err(take.wrong("a page in another place"));
        }
        byte += u64::from(entry.place.len);
        directory.pages.push(entry);
    }
    if take.left() > 0 || byte + end.len() as u64 != file_bytes {
        return Err(take.wrong("bytes that no page has"));
    }
    Ok(directory)
}

/// The index in the bytes of a file, every checksum verified.
pub fn decode(bytes: &Bytes) -> Result<SegmentIndex, Malformed> {
    let directory = directory_of(bytes)?;
    let mut index = SegmentIndex { segment: directory.segment, ..SegmentIndex::default() };
    for entry in directory.pages.iter().filter(|entry| entry.order == Order::Offset) {
        let from = entry.place.byte as usize;
        let page = bytes.slice(from..from + entry.place.len as usize);
        let runs = decode_page(&page, (directory.segment, entry.log))?;
        let ends = (runs.first().map(|run| run.first), runs.last().map(Run::end));
        if ends != (Some(entry.first), Some(entry.end)) {
            return Err(Malformed { at_byte: from, why: "a page of other offsets" });
        }
        index.logs.entry(entry.log).or_default().extend(runs);
    }
    index.logs.values_mut().for_each(|runs| runs.sort_by_key(|run| run.first));
    Ok(index)
}

fn directory_of(bytes: &Bytes) -> Result<Directory, Malformed> {
    let early = Malformed { at_byte: bytes.len(), why: "ends too early" };
    let from = bytes.len().checked_sub(END_BYTES).ok_or(early)?;
    let count = u32::from_le_bytes(bytes[from..from + 4].try_into().expect("four bytes"));
    let entries = (count as usize).checked_mul(ENTRY_BYTES).ok_or(early)?;
    let from = from.checked_sub(entries).filter(|from| *from >= HEAD_BYTES).ok_or(early)?;
    take_directory(&bytes.slice(..HEAD_BYTES), &bytes.slice(from..), bytes.len() as u64)
}

/// Reads the directory of a segment's index file; `None` when the file is missing or corrupt.
pub(crate) fn read_directory(disk: &dyn Disk, segment: u32) -> std::io::Result<Option<Directory>> {
    let file = match disk.open(&index_name(segment), Access::Buffered) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let file_bytes = file.len()?;
    let read = |from: u64, len: u64| -> std::io::Result<Bytes> {
        let mut bytes =
            vec![0; usize::try_from(len).map_err(|_| std::io::ErrorKind::FileTooLarge)?];
        let count = file.read_at(from, &mut bytes)?;
        bytes.truncate(count);
        Ok(bytes.into())
    };
    let Some(end) = file_bytes.checked_sub(END_BYTES as u64) else { return Ok(None) };
    let count = read(end, 4)?;
    let Ok(count) = <[u8; 4]>::try_from(&count[..]) else { return Ok(None) };
    let entries = u64::from(u32::from_le_bytes(count)) * ENTRY_BYTES as u64;
    let Some(from) = end.checked_sub(entries).filter(|from| *from >= HEAD_BYTES as u64) else {
        return Ok(None);
    };
    let (head, end) = (read(0, HEAD_BYTES as u64)?, read(from, file_bytes - from)?);
    let directory = take_directory(&head, &end, file_bytes).ok();
    Ok(directory.filter(|directory| directory.segment == segment))
}

/// How the logs of a segment lie in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of its batches.
    pub bytes: u64,
    /// Pieces without much of another log between: one of each log if logs lie apart from each other.
    pub pieces: u64,
    /// The logs, in order.
    pub logs: Vec<LogId>,
}

/// Reads how the logs of a segment lie, page by page; `None` when the index file is missing or corrupt.
pub(crate) fn read_layout(disk: &dyn Disk, segment: u32) -> std::io::Result<Option<Layout>> {
    let Some(mut directory) = read_directory(disk, segment)? else { return Ok(None) };
    directory.pages.retain(|page| page.order == Order::Offset);
    directory.pages.sort_by_key(|page| (page.log, page.first));
    let file = disk.open(&index_name(segment), Access::Buffered)?;
    let mut layout = Layout::default();
    for pages in directory.pages.chunk_by(|one, next| one.log == next.log) {
        layout.logs.push(pages[0].log);
        let mut end = None;
        for page in pages {
            let mut bytes = vec![0; page.place.len as usize];
            file.read_at(u64::from(page.place.byte), &mut bytes)?;
            let Ok(runs) = decode_page(&bytes.into(), (segment, page.log)) else {
                return Ok(None);
            };
            for run in runs {
                let Location::Journal { position, len, .. } = run.location else { continue };
                let is_near = end.is_some_and(|end| (end..=end + GAP_BYTES).contains(&position));
                layout.pieces += u64::from(!is_near);
                layout.bytes += u64::from(len);
                end = Some(position.saturating_add(len));
            }
        }
    }
    Ok(Some(layout))
}

/// The runs in the bytes of a page, which has to be of that segment and log.
pub fn decode_page(bytes: &Bytes, (segment, log): (u32, LogId)) -> Result<Vec<Run>, Malformed> {
    let Some(covered) = bytes.len().checked_sub(PAGE_END_BYTES) else {
        return Err(Malformed { at_byte: bytes.len(), why: "ends too early" });
    };
    let end = bytes.slice(covered..);
    if Take::new(&end).u32()? != crc32c(&bytes[..covered]) {
        return Err(Malformed { at_byte: covered, why: "wrong checksum of a page" });
    }
    let bytes = &bytes.slice(..covered);
    let mut take = Take::new(bytes);
    if take.u32()? != log.0 {
        return Err(take.wrong("a page of another log"));
    }
    let count = take.u32()?;
    let by_time = count & BY_TIME != 0;
    let count = take.count(u64::from(count & !BY_TIME), RUN_BYTES_MIN)?;
    let mut runs: Vec<Run> = Vec::with_capacity(count);
    let is_after = |last: &Run, run: &Run| match by_time {
        true => last.append_time <= run.append_time,
        false => last.end() <= run.first,
    };
    let mut before = Before::default();
    for _ in 0..count {
        let run = take_run(&mut take, &mut before, segment)?;
        if runs.last().is_some_and(|last| !is_after(last, &run)) || run.count == 0 {
            return Err(take.wrong("runs out of order"));
        }
        runs.push(run);
    }
    match take.left() {
        0 => Ok(runs),
        _ => Err(take.wrong("bytes after the last run")),
    }
}

/// What a run is told by its difference to: the one before it in its page.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    end: i64,
    max_timestamp: i64,
    append_time: i64,
    /// Where its batch ends.
    position: i64,
}

impl Before {
    fn of(run: &Run, (position, len): (u32, u32)) -> Before {
        Before {
            end: run.end().0,
            max_timestamp: run.max_timestamp.0,
            append_time: run.append_time.0,
            position: i64::from(position) + i64::from(len),
        }
    }
}

fn put_run(out: &mut Vec<u8>, before: &mut Before, run: &Run, place: (u32, u32)) {
    let (position, len) = place;
    push_difference(out, run.first.0.wrapping_sub(before.end));
    push_varint(out, u64::from(run.count));
    push_difference(out, run.max_timestamp.0.wrapping_sub(before.max_timestamp));
    push_difference(out, run.append_time.0.wrapping_sub(before.append_time));
    push_difference(out, i64::from(position) - before.position);
    push_varint(out, u64::from(len));
    push_varint(out, run.envelope.len() as u64);
    out.extend_from_slice(&run.envelope);
    *before = Before::of(run, place);
}

fn take_run(take: &mut Take<'_>, before: &mut Before, segment: u32) -> Result<Run, Malformed> {
    let first = Offset(before.end.wrapping_add(take.difference()?));
    let count = u32::try_from(take.varint()?).map_err(|_| take.wrong("too many offsets"))?;
    let max_timestamp = Millis(before.max_timestamp.wrapping_add(take.difference()?));
    let append_time = Millis(before.append_time.wrapping_add(take.difference()?));
    let position = before.position.wrapping_add(take.difference()?);
    let position = u32::try_from(position).map_err(|_| take.wrong("no place in a segment"))?;
    let len = u32::try_from(take.varint()?).map_err(|_| take.wrong("too long a batch"))?;
    let envelope_bytes = usize::try_from(take.varint()?).unwrap_or(usize::MAX);
    // Not a slice of the page, which would keep all of it in memory.
    let envelope = match envelope_bytes {
        0 => Bytes::new(),
        _ => Bytes::copy_from_slice(&take.bytes(envelope_bytes)?),
    };
    if first.0.checked_add(i64::from(count)).is_none() {
        return Err(take.wrong("offsets beyond the last one"));
    }
    let location = Location::Journal { segment, position, len };
    let run = Run { first, count, location, max_timestamp, append_time, envelope };
    *before = Before::of(&run, (position, len));
    Ok(run)
}

fn put_entry(out: &mut Vec<u8>, entry: &PageEntry) {
    put_u32(out, entry.log.0);
    let order = match entry.order {
        Order::Offset => 0,
        Order::Time => 4,
        Order::TimeFirst => 12,
    };
    put_u32(out, u32::from(entry.untimed) | u32::from(entry.enveloped) << 1 | order);
    out.extend_from_slice(&entry.first.0.to_le_bytes());
    out.extend_from_slice(&entry.end.0.to_le_bytes());
    out.extend_from_slice(&entry.batch_bytes.to_le_bytes());
    out.extend_from_slice(&entry.max_timestamp.0.to_le_bytes());
    out.extend_from_slice(&entry.append_time.0.to_le_bytes());
    put_u32(out, entry.place.byte);
    put_u32(out, entry.place.len);
}

fn take_entry(take: &mut Take<'_>) -> Result<PageEntry, Malformed> {
    let (log, flags) = (LogId(take.u32()?), take.u32()?);
    let order = match flags & !3 {
        0 => Order::Offset,
        4 => Order::Time,
        12 => Order::TimeFirst,
        _ => return Err(take.wrong("unknown flags")),
    };
    Ok(PageEntry {
        log,
        order,
        untimed: flags & 1 != 0,
        enveloped: flags & 2 != 0,
        first: Offset(take.i64()?),
        end: Offset(take.i64()?),
        batch_bytes: take.u64()?,
        max_timestamp: Millis(take.i64()?),
        append_time: Millis(take.i64()?),
        place: PagePlace { byte: take.u32()?, len: take.u32()? },
    })
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("the index of a segment has less than 4 GiB")
}
