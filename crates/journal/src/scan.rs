//! Rounds from the disk, in order, told from torn tails and from damage.

use std::io;
use std::sync::Arc;

use ::io::{AlignedBuf, File};
use bytes::Bytes;

use crate::error::OpenError;
use crate::finding::{Damage, Finding};
use crate::frame::{ParsedFrame, parse};
use crate::layout::{BLOCK, ROUND_HEADER_BYTES, RoundHeader, segment_name};
use crate::location::Position;
use crate::recovery::TornTail;

const WINDOW_BYTES: usize = 4 << 20;

/// A segment that holds rounds, as it was found.
#[derive(Clone, Debug)]
pub(crate) struct FoundSegment {
    pub(crate) segment: u32,
    /// `None` when its superblock is lost.
    pub(crate) previous: Option<u32>,
    pub(crate) epoch: u32,
    pub(crate) first_round: u64,
    pub(crate) salt: u64,
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
}

/// What a scan does on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Go on after damage that lost commands.
    pub(crate) salvage: bool,
    /// Segments in between may have been recycled.
    pub(crate) gaps: bool,
    /// Verify the batches too.
    pub(crate) bodies: bool,
    /// All of it was synced: what does not fit at the end is no torn tail.
    pub(crate) sealed: bool,
}

/// Reads rounds one after another, over segments.
#[derive(Debug)]
pub(crate) struct Scanner {
    place: String,
    segments: Vec<FoundSegment>,
    at: usize,
    rules: Rules,
    /// Where the next round is expected; one of an earlier epoch does not count.
    cursor: Position,
    /// The largest epoch that was seen at all.
    epoch_seen: u32,
    window: Window,
    pub(crate) findings: Vec<Finding>,
    pub(crate) torn: Option<TornTail>,
}

/// A round that counts.
#[derive(Debug)]
pub(crate) struct ScannedRound {
    pub(crate) position: Position,
    pub(crate) frames: Vec<FoundFrame>,
}

#[derive(Debug)]
pub(crate) struct FoundFrame {
    /// Byte in the segment's file.
    pub(crate) byte: u32,
    pub(crate) frame: ParsedFrame,
    /// Ordinals of its batches that are corrupt.
    pub(crate) corrupt: Vec<usize>,
}

/// What follows the current segment in the journal.
enum Successor {
    None,
    Next {
        first_round: u64,
    },
    /// Not the segment that followed it.
    Gap,
}

/// What lies ahead in a segment.
#[derive(Debug, Default)]
struct Ahead {
    /// The largest `durable_round`.
    durable_round: u64,
    /// The first round after the one that is missing, and its byte.
    first: Option<(u32, u64)>,
}

impl Scanner {
    /// A scan of `segments` from the one at index `at`, at `start`.
    pub(crate) fn new(
        place: String,
        segments: Vec<FoundSegment>,
        (at, start): (usize, Position),
        rules: Rules,
    ) -> Scanner {
        let epoch_seen = segments.iter().map(|segment| segment.epoch).max().unwrap_or(0);
        Scanner {
            place,
            segments,
            at,
            rules,
            cursor: start,
            epoch_seen,
            window: Window::default(),
            findings: Vec::new(),
            torn: None,
        }
    }

    /// The next round; `None` at the end of the journal.
    pub(crate) fn next_round(&mut self) -> Result<Option<ScannedRound>, OpenError> {
        while let Some(segment) = self.segments.get(self.at).cloned() {
            let successor = self.successor();
            if let Successor::Next { first_round } = successor
                && first_round == self.cursor.round
            {
                self.enter_next()?;
                continue;
            }
            let Some((header, bytes)) = self.read_round(&segment)? else {
                if self.skip_hole(&segment, &successor)? {
                    continue;
                }
                return Ok(None);
            };
            let (frames, unread) = self.parse_frames(&header, &bytes);
            let is_whole = unread.is_none() && frames.iter().all(|found| found.corrupt.is_empty());
            let after = u64::from(self.cursor.byte) + header.padded_bytes();
            if !is_whole {
                let is_durable = !matches!(successor, Successor::None)
                    || self.look_ahead(&segment, after, true)?.durable_round >= header.round;
                if !is_durable {
                    self.look_ahead(&segment, u64::from(self.cursor.byte), false)?;
                    self.torn = Some(TornTail { position: self.cursor });
                    self.at = self.segments.len();
                    return Ok(None);
                }
                self.report_damage(&frames, unread)?;
            }
            self.cursor.epoch = header.epoch;
            let position = self.cursor;
            self.cursor.byte = u32::try_from(after).unwrap_or(u32::MAX);
            self.cursor.round += 1;
            return Ok(Some(ScannedRound { position, frames }));
        }
        Ok(None)
    }

    /// Where the next round is to be written, once there is no further one.
    pub(crate) fn end(&self) -> Position {
        self.cursor
    }

    /// The largest epoch that any round or superblock met has.
    pub(crate) fn epoch_seen(&self) -> u32 {
        self.epoch_seen
    }

    /// Notes damage. Fails when it is fatal, unless it is to be salvaged.
    pub(crate) fn report(&mut self, finding: Finding) -> Result<(), OpenError> {
        let is_fatal = finding.what.is_fatal() && !self.rules.salvage;
        self.findings.push(finding.clone());
        if is_fatal {
            let place = self.place.clone();
            return Err(OpenError::Damaged { place, finding: Box::new(finding) });
        }
        Ok(())
    }

    pub(crate) fn failed(&self, source: io::Error) -> OpenError {
        OpenError::Disk { place: self.place.clone(), doing: "read the journal", source }
    }

    fn successor(&self) -> Successor {
        let Some(next) = self.segments.get(self.at + 1) else {
            return if self.rules.sealed { Successor::Gap } else { Successor::None };
        };
        let current = self.segments[self.at].segment;
        if next.previous.is_none_or(|previous| previous == current) {
            Successor::Next { first_round: next.first_round }
        } else {
            Successor::Gap
        }
    }

    fn enter_next(&mut self) -> Result<(), OpenError> {
        let is_gap = matches!(self.successor(), Successor::Gap);
        self.at += 1;
        let Some(next) = self.segments.get(self.at) else { return Ok(()) };
        let (segment, round) = (next.segment, next.first_round);
        let epoch = self.cursor.epoch.max(next.epoch);
        self.cursor = Position { segment, byte: BLOCK, round, epoch };
        if is_gap && !self.rules.gaps {
            return self.report(Finding::in_segment(Damage::Missing, segment, 0));
        }
        Ok(())
    }

    /// What to do where no valid round is: true to go on elsewhere, false at the journal's end.
    fn skip_hole(
        &mut self,
        segment: &FoundSegment,
        successor: &Successor,
    ) -> Result<bool, OpenError> {
        let from = u64::from(self.cursor.byte);
        let ahead = self.look_ahead(segment, from + u64::from(BLOCK), false)?;
        let is_durable = match successor {
            Successor::None => ahead.durable_round >= self.cursor.round,
            Successor::Next { .. } => true,
            // The segment may simply end here.
            Successor::Gap => ahead.first.is_some(),
        };
        if is_durable {
            let byte = u64::from(self.cursor.byte);
            self.report(Finding::in_segment(Damage::Round, segment.segment, byte))?;
        }
        match (is_durable, ahead.first, successor) {
            (true, Some((byte, round)), _) => {
                self.cursor.byte = byte;
                self.cursor.round = round;
                Ok(true)
            }
            (_, _, Successor::Next { .. } | Successor::Gap) => {
                self.enter_next()?;
                Ok(true)
            }
            _ => {
                let is_torn = ahead.first.is_some() || self.is_broken_round(segment)?;
                self.torn = is_torn.then_some(TornTail { position: self.cursor });
                self.at = self.segments.len();
                Ok(false)
            }
        }
    }

    /// Whether a round of this segment was begun at the cursor, by what is left of its header.
    fn is_broken_round(&mut self, segment: &FoundSegment) -> Result<bool, OpenError> {
        let at = u64::from(self.cursor.byte);
        let found = self.window.get(segment, at, ROUND_HEADER_BYTES);
        let found = found.map_err(|source| disk_error(&self.place, source))?;
        Ok(found.is_some_and(|bytes| bytes[4..8] == segment.segment.to_le_bytes()))
    }

    /// The round at the cursor, if it is the expected one and complete as far as its header says.
    fn read_round(
        &mut self,
        segment: &FoundSegment,
    ) -> Result<Option<(RoundHeader, Bytes)>, OpenError> {
        let at = u64::from(self.cursor.byte);
        let place = &self.place;
        let failed = |source| disk_error(place, source);
        let Some(bytes) = self.window.get(segment, at, ROUND_HEADER_BYTES).map_err(failed)? else {
            return Ok(None);
        };
        let Ok(header) = RoundHeader::decode(bytes) else { return Ok(None) };
        let is_expected = header.segment == segment.segment
            && header.salt == segment.salt
            && header.epoch >= self.cursor.epoch
            && header.round == self.cursor.round;
        if !is_expected {
            return Ok(None);
        }
        let found = self.window.get(segment, at, header.byte_len as usize).map_err(failed)?;
        self.epoch_seen = self.epoch_seen.max(header.epoch);
        Ok(found.map(|bytes| (header, Bytes::copy_from_slice(bytes))))
    }

    /// Looks for rounds of this segment from byte `from` on. `until_durable` ends the search at
    /// the first one that knows the round at the cursor durable.
    fn look_ahead(
        &mut self,
        segment: &FoundSegment,
        from: u64,
        until_durable: bool,
    ) -> Result<Ahead, OpenError> {
        let mut ahead = Ahead::default();
        let mut at = from;
        while at + u64::from(BLOCK) <= segment.bytes {
            let found = self.window.get(segment, at, ROUND_HEADER_BYTES);
            let found = found.map_err(|source| disk_error(&self.place, source))?;
            let header = found.and_then(|bytes| RoundHeader::decode(bytes).ok());
            if let Some(header) = header
                && header.segment == segment.segment
                && header.salt == segment.salt
            {
                self.epoch_seen = self.epoch_seen.max(header.epoch);
                if header.epoch >= self.cursor.epoch && header.round > self.cursor.round {
                    ahead.durable_round = ahead.durable_round.max(header.durable_round);
                    if ahead.first.is_none() {
                        ahead.first = Some((u32::try_from(at).unwrap_or(u32::MAX), header.round));
                    }
                    if until_durable && ahead.durable_round >= self.cursor.round {
                        break;
                    }
                }
            }
            at += u64::from(BLOCK);
        }
        Ok(ahead)
    }

    /// The frames of a round; with the byte where the first unreadable one begins, if any.
    fn parse_frames(&self, header: &RoundHeader, bytes: &Bytes) -> (Vec<FoundFrame>, Option<u32>) {
        let mut frames = Vec::new();
        let mut at = ROUND_HEADER_BYTES;
        for _ in 0..header.frame_count {
            let byte = self.cursor.byte + u32::try_from(at).unwrap_or(u32::MAX);
            let Ok(frame) = parse(&bytes.slice(at..), self.cursor.segment, byte) else {
                return (frames, Some(byte));
            };
            at += frame.frame_bytes;
            let corrupt = if self.rules.bodies { frame.corrupt_bodies() } else { Vec::new() };
            frames.push(FoundFrame { byte, frame, corrupt });
        }
        (frames, None)
    }

    fn report_damage(
        &mut self,
        frames: &[FoundFrame],
        unread: Option<u32>,
    ) -> Result<(), OpenError> {
        let segment = self.cursor.segment;
        for FoundFrame { frame, corrupt, .. } in frames {
            for i in corrupt {
                let part = frame.batches[*i].location.pieces().next();
                let byte = part.map_or(0, |part| u64::from(part.position));
                let dests = frame.dests.iter().filter(|dest| usize::from(dest.batch) == *i);
                let mut finding = Finding::in_segment(Damage::Batch, segment, byte);
                finding.shard = Some(frame.shard);
                finding.logs = dests.map(|dest| dest.log).collect();
                self.report(finding)?;
            }
        }
        if let Some(byte) = unread {
            self.report(Finding::in_segment(Damage::Frame, segment, u64::from(byte)))?;
        }
        Ok(())
    }
}

impl Finding {
    pub(crate) fn in_segment(what: Damage, segment: u32, byte: u64) -> Finding {
        let file = segment_name(segment);
        Finding { what, file, segment: Some(segment), byte, shard: None, logs: Vec::new() }
    }
}

fn disk_error(place: &str, source: io::Error) -> OpenError {
    OpenError::Disk { place: place.to_owned(), doing: "read the journal", source }
}

/// A piece of a segment in memory, so that small rounds are read many at a time.
#[derive(Debug)]
pub(crate) struct Window {
    ahead_bytes: usize,
    buffer: Option<AlignedBuf>,
    segment: u32,
    start: u64,
    len: usize,
}

impl Default for Window {
    fn default() -> Window {
        Window::ahead(WINDOW_BYTES)
    }
}

impl Window {
    /// A window that reads `ahead_bytes` at a time, or more when more is asked for.
    pub(crate) fn ahead(ahead_bytes: usize) -> Window {
        Window { ahead_bytes, buffer: None, segment: 0, start: 0, len: 0 }
    }

    /// `len` bytes at `at`, which is a multiple of the block; `None` when the file ends before.
    pub(crate) fn get(
        &mut self,
        segment: &FoundSegment,
        at: u64,
        len: usize,
    ) -> io::Result<Option<&[u8]>> {
        if at + len as u64 > segment.bytes {
            return Ok(None);
        }
        let end = self.start + self.len as u64;
        let is_inside =
            segment.segment == self.segment && at >= self.start && at + len as u64 <= end;
        if !is_inside {
            let most = usize::try_from(segment.bytes).unwrap_or(usize::MAX);
            let ahead = self.ahead_bytes.min(most.next_multiple_of(BLOCK as usize));
            let wanted = len.next_multiple_of(BLOCK as usize).max(ahead);
            let is_large_enough = self.buffer.as_ref().is_some_and(|buffer| buffer.len() >= wanted);
            if !is_large_enough {
                self.buffer = Some(AlignedBuf::zeroed(wanted));
            }
            let left = usize::try_from(segment.bytes - at).unwrap_or(usize::MAX);
            let buffer = self.buffer.as_mut().expect("made above");
            let count = buffer.len().min(left.next_multiple_of(BLOCK as usize));
            self.len = segment.file.read_at(at, &mut buffer[..count])?.min(left);
            self.start = at;
            self.segment = segment.segment;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let buffer = self.buffer.as_deref().unwrap_or_default();
        Ok(buffer[..self.len].get(from..from + len))
    }
}
