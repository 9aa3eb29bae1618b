//! Batches from the disk.

use std::sync::{Mutex, PoisonError};

use ::io::AlignedBuf;
use bytes::{Bytes, BytesMut};
use types::LogId;

use crate::error::{OpenError, ReadError};
use crate::frame::{FrameDraft, is_intact, parse};
use crate::index_file::{PagePlace, Run};
use crate::layout::BLOCK;
use crate::location::{Location, Part};
use crate::open::inspect;
use crate::pool::Pool;
use crate::recovery::{read_page, rebuild};

/// Neighbours on the disk are read together when no more than this lies between them.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// Largest read that neighbours are put together into.
const READ_BYTES_MAX: u64 = 1 << 20;

/// What a read's memory is at least, so that the next one can use it again.
const SCRATCH_BYTES: usize = 1 << 20;

/// Reads batches by their location, from any thread; a clone of it for each thread is best.
#[derive(Debug)]
pub struct Reader {
    pool: Pool,
    /// What the last read used. Fresh memory for each would cost more than copying out of this.
    scratch: Mutex<Option<AlignedBuf>>,
}

impl Clone for Reader {
    fn clone(&self) -> Reader {
        Reader::new(self.pool.clone())
    }
}

impl Reader {
    pub(crate) fn new(pool: Pool) -> Reader {
        Reader { pool, scratch: Mutex::new(None) }
    }

    /// The batch at `location`, its checksum verified. What cannot be read is read once more: bits
    /// turn on the way, too.
    pub fn read(&self, location: &Location) -> Result<Bytes, ReadError> {
        self.read_once(location).or_else(|_| self.read_once(location))
    }

    fn read_once(&self, location: &Location) -> Result<Bytes, ReadError> {
        let bytes = match location {
            Location::Journal { segment, position, len } => {
                let part = Part { segment: *segment, position: *position, len: *len };
                self.read_part(part, Bytes::copy_from_slice)?
            }
            Location::Parts(parts) => {
                let mut whole = BytesMut::new();
                for part in &parts.list {
                    self.read_part(*part, |bytes| whole.extend_from_slice(bytes))?;
                }
                whole.freeze()
            }
        };
        verified(bytes, location)
    }

    /// The batches at `locations`, in that order; neighbours on the disk are read together.
    pub fn read_many(&self, locations: &[Location]) -> Vec<Result<Bytes, ReadError>> {
        let mut order: Vec<(Part, usize)> = Vec::new();
        let mut found: Vec<Option<Result<Bytes, ReadError>>> = Vec::new();
        found.resize_with(locations.len(), || None);
        for (i, location) in locations.iter().enumerate() {
            match location {
                Location::Journal { segment, position, len } => {
                    let (segment, position, len) = (*segment, *position, *len);
                    order.push((Part { segment, position, len }, i));
                }
                Location::Parts(_) => found[i] = Some(self.read(location)),
            }
        }
        order.sort_by_key(|(part, _)| (part.segment, part.position));
        let mut rest = &order[..];
        while let Some((count, span)) = neighbours(rest.iter().map(|(part, _)| *part)) {
            let (together, others) = rest.split_at(count);
            rest = others;
            let read = self.read_part(span, |bytes| {
                for (part, i) in together {
                    let from = (part.position - span.position) as usize;
                    let one = Bytes::copy_from_slice(&bytes[from..from + part.len as usize]);
                    found[*i] = Some(verified(one, &locations[*i]));
                }
            });
            // Each one's own error says where.
            for (_, i) in together {
                if read.is_err() || !matches!(found[*i], Some(Ok(_))) {
                    found[*i] = Some(self.read(&locations[*i]));
                }
            }
        }
        found.into_iter().map(|one| one.expect("each is read alone or with neighbours")).collect()
    }

    /// The batches at `locations`, in that order, in one piece of memory. Neighbours on the disk are
    /// read together, and each is verified and read again as by [`Reader::read`].
    pub fn read_together(&self, locations: &[Location]) -> Together {
        let bytes = Vec::with_capacity(locations.iter().map(Location::len).sum());
        let mut found = Found { bytes, failed: Vec::new(), at: 0 };
        if !locations.is_sorted_by(in_order) {
            self.read_many(locations).into_iter().for_each(|batch| found.take(batch));
            return found.done();
        }
        let mut rest = locations;
        while let Some(first) = rest.first() {
            let Some((count, span)) = neighbours(rest.iter().map_while(part_of)) else {
                found.take(self.read(first));
                rest = &rest[1..];
                continue;
            };
            let (together, others) = rest.split_at(count);
            rest = others;
            let read = self.read_part(span, |bytes| {
                for (location, part) in together.iter().zip(together.iter().filter_map(part_of)) {
                    let from = (part.position - span.position) as usize;
                    let batch = &bytes[from..from + part.len as usize];
                    match is_intact(batch) {
                        true => found.add(batch),
                        false => found.take(self.read(location)),
                    }
                }
            });
            // Each one's own error says where.
            if read.is_err() {
                together.iter().for_each(|location| found.take(self.read(location)));
            }
        }
        found.done()
    }

    /// The frame at `place`, with its batches, all of it verified.
    pub fn frame(&self, place: Part) -> Result<FrameDraft, ReadError> {
        self.frame_once(place).or_else(|_| self.frame_once(place))
    }

    fn frame_once(&self, place: Part) -> Result<FrameDraft, ReadError> {
        let Part { segment, position, .. } = place;
        let bytes = self.read_part(place, Bytes::copy_from_slice)?;
        let frame = parse(&bytes, segment, position)
            .map_err(|_| ReadError::Corrupt { segment, position })?;
        let batches = frame.batches.iter().map(|batch| match &batch.body {
            Some(body) => verified(body.clone(), &batch.location),
            None => self.read(&batch.location),
        });
        let batches = batches.collect::<Result<_, _>>()?;
        Ok(frame.into_draft(batches))
    }

    /// A page of a segment's index file, its checksum verified.
    pub fn page(&self, segment: u32, log: LogId, place: PagePlace) -> Result<Vec<Run>, ReadError> {
        let read = read_page(&**self.pool.disk(), (segment, log), place);
        // It was given up, and its index removed, while it was read or before.
        if !self.pool.is_used(segment) {
            return Err(ReadError::Gone { segment });
        }
        let (position, len) = (u64::from(place.byte), place.len as usize);
        match read {
            Ok(Some(runs)) => Ok(runs),
            Ok(None) => Err(ReadError::Index { segment }),
            Err(source) => Err(ReadError::Disk { segment, position, len, source }),
        }
    }

    /// What a corrupt page of a log had, and the log's other pages of that segment: rebuilt from the
    /// segment, all of which is read.
    pub fn rebuilt_page(&self, segment: u32, log: LogId) -> Result<Vec<Run>, OpenError> {
        let found = inspect(self.pool.disk(), self.pool.options().access)?;
        let mut index = rebuild(&found.segments, segment, self.pool.disk())?.index;
        Ok(index.logs.remove(&log).unwrap_or_default())
    }

    /// Gives the bytes of `part` to `take`; it is called once, or not at all when the read failed.
    fn read_part<T>(&self, part: Part, take: impl FnOnce(&[u8]) -> T) -> Result<T, ReadError> {
        let Part { segment, position, len } = part;
        let file = self.pool.file(segment).ok_or(ReadError::Gone { segment })?;
        let (start, end) = blocks(u64::from(position), u64::from(len));
        // A damaged place can lie beyond the file, and must not cost memory.
        let is_within =
            file.len().map(|file_bytes| u64::from(position) + u64::from(len) <= file_bytes);
        let read_bytes = if matches!(is_within, Ok(true)) { (end - start) as usize } else { 0 };
        let mut buffer = self.buffer(read_bytes);
        let found = is_within.and_then(|_| file.read_at(start, &mut buffer[..read_bytes]));
        // A file given up while it was read may have been written meanwhile.
        let result = if self.pool.is_used(segment) {
            let before = (u64::from(position) - start) as usize;
            match found {
                Ok(count) if count >= before + len as usize => {
                    Ok(take(&buffer[before..before + len as usize]))
                }
                Ok(_) => Err(ReadError::Corrupt { segment, position }),
                Err(source) => {
                    let position = u64::from(position);
                    Err(ReadError::Disk { segment, position, len: len as usize, source })
                }
            }
        } else {
            Err(ReadError::Gone { segment })
        };
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = Some(buffer);
        result
    }

    /// Memory for a read of `bytes`: the last one's, where that was as large.
    fn buffer(&self, bytes: usize) -> AlignedBuf {
        let last = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).take();
        let last = last.filter(|buffer| buffer.len() >= bytes);
        last.unwrap_or_else(|| AlignedBuf::zeroed(bytes.max(SCRATCH_BYTES)))
    }
}

/// Batches back to back.
#[derive(Debug, Default)]
pub struct Together {
    /// Those that could be read, in the order they were asked for.
    pub bytes: Bytes,
    /// The others: which one of those asked for, and why.
    pub failed: Vec<(usize, ReadError)>,
}

/// What was read of some batches so far.
struct Found {
    bytes: Vec<u8>,
    failed: Vec<(usize, ReadError)>,
    /// Which batch is next.
    at: usize,
}

impl Found {
    fn add(&mut self, batch: &[u8]) {
        self.bytes.extend_from_slice(batch);
        self.at += 1;
    }

    fn take(&mut self, batch: Result<Bytes, ReadError>) {
        match batch {
            Ok(batch) => self.add(&batch),
            Err(error) => {
                self.failed.push((self.at, error));
                self.at += 1;
            }
        }
    }

    fn done(self) -> Together {
        Together { bytes: self.bytes.into(), failed: self.failed }
    }
}

/// Whether a read of both, if they are of one segment, comes to `one` first.
fn in_order(one: &Location, next: &Location) -> bool {
    match (part_of(one), part_of(next)) {
        (Some(one), Some(next)) if one.segment == next.segment => {
            one.position.saturating_add(one.len) <= next.position
        }
        _ => true,
    }
}

fn part_of(location: &Location) -> Option<Part> {
    match location {
        Location::Journal { segment, position, len } => {
            Some(Part { segment: *segment, position: *position, len: *len })
        }
        Location::Parts(_) => None,
    }
}

fn verified(bytes: Bytes, location: &Location) -> Result<Bytes, ReadError> {
    if is_intact(&bytes) {
        return Ok(bytes);
    }
    let first = location.pieces().next();
    let (segment, position) = first.map_or((0, 0), |part| (part.segment, part.position));
    Err(ReadError::Corrupt { segment, position })
}

/// How many of the first of `parts`, which are in order, are read together, and what that is.
fn neighbours(mut parts: impl Iterator<Item = Part>) -> Option<(usize, Part)> {
    let first = parts.next()?;
    let mut end = u64::from(first.position) + u64::from(first.len);
    let mut count = 1;
    for part in parts {
        let part_end = u64::from(part.position) + u64::from(part.len);
        let near = u64::from(part.position) <= end + GAP_BYTES_MAX
            && part_end <= u64::from(first.position) + READ_BYTES_MAX;
        if part.segment != first.segment || !near {
            break;
        }
        end = end.max(part_end);
        count += 1;
    }
    let len = u32::try_from(end - u64::from(first.position)).unwrap_or(u32::MAX);
    Some((count, Part { len, ..first }))
}

/// Where the blocks around `len` bytes at `position` begin and end.
fn blocks(position: u64, len: u64) -> (u64, u64) {
    let block = u64::from(BLOCK);
    (position / block * block, (position + len).next_multiple_of(block))
}
