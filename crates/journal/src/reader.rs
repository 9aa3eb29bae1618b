//! Batches from the disk.

use std::io;
use std::sync::Arc;

use ::io::{AlignedBuf, File};
use bytes::{Bytes, BytesMut};

use crate::error::ReadError;
use crate::frame::is_intact;
use crate::layout::BLOCK;
use crate::location::{Location, Part};
use crate::pool::Pool;

/// Neighbours on the disk are read together when no more than this lies between them.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// Largest read that neighbours are put together into.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Reads batches by their location, from any thread.
#[derive(Clone, Debug)]
pub struct Reader {
    pool: Pool,
}

impl Reader {
    pub(crate) fn new(pool: Pool) -> Reader {
        Reader { pool }
    }

    /// The batch at `location`, its checksum verified.
    pub fn read(&self, location: &Location) -> Result<Bytes, ReadError> {
        let bytes = self.read_unverified(location)?;
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
        while !rest.is_empty() {
            let (together, others) = rest.split_at(neighbours(rest));
            rest = others;
            let span = span(together);
            match self.read_part(span) {
                Ok(bytes) => {
                    for (part, i) in together {
                        let from = (part.position - span.position) as usize;
                        let one = bytes.slice(from..from + part.len as usize);
                        found[*i] = Some(verified(compact(one, bytes.len()), &locations[*i]));
                    }
                }
                // Together they failed; each one's own error says where.
                Err(_) => {
                    for (_, i) in together {
                        found[*i] = Some(self.read(&locations[*i]));
                    }
                }
            }
        }
        found.into_iter().map(|one| one.expect("each is read alone or with neighbours")).collect()
    }

    fn read_unverified(&self, location: &Location) -> Result<Bytes, ReadError> {
        match location {
            Location::Journal { segment, position, len } => {
                self.read_part(Part { segment: *segment, position: *position, len: *len })
            }
            Location::Parts(parts) => {
                let mut whole = BytesMut::new();
                for part in &parts.list {
                    whole.extend_from_slice(&self.read_part(*part)?);
                }
                Ok(whole.freeze())
            }
        }
    }

    fn read_part(&self, part: Part) -> Result<Bytes, ReadError> {
        let Part { segment, position, len } = part;
        let file = self.pool.file(segment).ok_or(ReadError::Gone { segment })?;
        let found = read_range(&file, u64::from(position), len as usize);
        // A file given up while it was read may have been written meanwhile.
        if !self.pool.is_used(segment) {
            return Err(ReadError::Gone { segment });
        }
        match found {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(ReadError::Corrupt { segment, position }),
            Err(source) => {
                let position = u64::from(position);
                Err(ReadError::Disk { segment, position, len: len as usize, source })
            }
        }
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

/// How many of the first of `order` are read together, one at least.
fn neighbours(order: &[(Part, usize)]) -> usize {
    let first = order[0].0;
    let mut end = u64::from(first.position) + u64::from(first.len);
    let mut count = 1;
    for (part, _) in &order[1..] {
        let part_end = u64::from(part.position) + u64::from(part.len);
        let near = u64::from(part.position) <= end + GAP_BYTES_MAX
            && part_end <= u64::from(first.position) + READ_BYTES_MAX;
        if part.segment != first.segment || !near {
            break;
        }
        end = end.max(part_end);
        count += 1;
    }
    count
}

fn span(together: &[(Part, usize)]) -> Part {
    let Part { segment, position, .. } = together[0].0;
    let ends = together.iter().map(|(part, _)| part.position.saturating_add(part.len));
    let end = ends.max().unwrap_or(position);
    Part { segment, position, len: end - position }
}

/// `bytes`, in memory of their own when they are a small part of the `read_bytes` they share.
fn compact(bytes: Bytes, read_bytes: usize) -> Bytes {
    if bytes.len() * 2 < read_bytes { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// `len` bytes at `position`; `None` when the file ends before.
fn read_range(file: &Arc<dyn File>, position: u64, len: usize) -> io::Result<Option<Bytes>> {
    let block = u64::from(BLOCK);
    let start = position / block * block;
    let before = usize::try_from(position - start).expect("less than a block");
    let end = before + len;
    if position + len as u64 > file.len()? {
        return Ok(None);
    }
    let mut buffer = AlignedBuf::zeroed(end.next_multiple_of(BLOCK as usize));
    let count = file.read_at(start, &mut buffer)?;
    if count < end {
        return Ok(None);
    }
    let read_bytes = buffer.len();
    let bytes = Bytes::from_owner(buffer).slice(before..end);
    Ok(Some(compact(bytes, read_bytes)))
}
