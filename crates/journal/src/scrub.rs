//! Verification of the sealed segments of a store that is open, a little at a time.

use ::io::AlignedBuf;

use crate::error::OpenError;
use crate::finding::{Damage, Finding};
use crate::layout::{BLOCK, SUPERBLOCK_BYTES, Superblock};
use crate::location::Position;
use crate::pool::Pool;
use crate::scan::{FoundSegment, Rules, Scanner};

/// Goes through one sealed segment.
#[derive(Debug)]
pub struct Scrub {
    pool: Pool,
    segment: u32,
    scanner: Scanner,
    /// Where the last round ended.
    at_byte: u32,
}

/// What was verified.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
}

impl Pool {
    /// Begins to verify a segment; `None` unless it is sealed and in use.
    ///
    /// Fails when the disk does.
    pub fn scrub(&self, segment: u32) -> Result<Option<Scrub>, OpenError> {
        let is_sealed = self.segments().iter().any(|one| one.segment == segment && one.sealed);
        let Some(file) = self.file(segment).filter(|_| is_sealed) else { return Ok(None) };
        let place = self.disk().place();
        let failed =
            |source| OpenError::Disk { place: place.clone(), doing: "read a segment", source };
        let bytes = file.len().map_err(failed)? / u64::from(BLOCK) * u64::from(BLOCK);
        let mut block = AlignedBuf::zeroed(BLOCK as usize);
        file.read_at(0, &mut block).map_err(failed)?;
        let superblock = Superblock::decode(&block[..SUPERBLOCK_BYTES]);
        let superblock = superblock.ok().filter(|found| found.segment == segment);
        let found = FoundSegment {
            segment,
            previous: superblock.map(|found| found.previous),
            epoch: superblock.map_or(0, |found| found.epoch),
            first_round: superblock.map_or(0, |found| found.first_round),
            salt: superblock.map_or(0, |found| found.salt),
            file,
            bytes,
        };
        let start = Position { segment, byte: BLOCK, round: found.first_round, epoch: found.epoch };
        // Without its superblock nothing tells which rounds are its own.
        let segments = if superblock.is_some() { vec![found] } else { Vec::new() };
        let rules = Rules { salvage: true, gaps: true, bodies: true, sealed: true };
        let mut scanner = Scanner::new(place, segments, (0, start), rules);
        if superblock.is_none() {
            scanner.report(Finding::in_segment(Damage::Superblock, segment, 0))?;
        }
        Ok(Some(Scrub { pool: self.clone(), segment, scanner, at_byte: 0 }))
    }
}

impl Scrub {
    /// Verifies the next round; `None` at the end, or when the segment was given back meanwhile.
    ///
    /// Fails when the disk does.
    pub fn step(&mut self) -> Result<Option<Scrubbed>, OpenError> {
        let round = self.scanner.next_round();
        // What is written into a file that was given back is no damage.
        if !self.pool.is_used(self.segment) {
            return Ok(None);
        }
        let is_end = round?.is_none();
        let findings = std::mem::take(&mut self.scanner.findings);
        let end = self.scanner.end();
        let byte = if end.segment == self.segment { end.byte } else { self.at_byte };
        let bytes = u64::from(byte.saturating_sub(self.at_byte));
        self.at_byte = byte;
        Ok((!is_end || !findings.is_empty()).then_some(Scrubbed { bytes, findings }))
    }
}
