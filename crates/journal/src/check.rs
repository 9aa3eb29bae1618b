//! Verification of a store that is not open.

use std::sync::Arc;

use ::io::{Access, Disk};

use crate::error::OpenError;
use crate::finding::{Damage, Finding};
use crate::frame::{FrameKind, is_intact};
use crate::layout::index_name;
use crate::location::Location;
use crate::open::{inspect, lock, start_of};
use crate::recovery::{TornTail, begin, load_index};
use crate::scan::{FoundFrame, FoundSegment, Rules, Scanner, Window};

/// What a store holds and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments that hold rounds.
    pub segments: u64,
    /// Rounds.
    pub rounds: u64,
    /// Frames.
    pub frames: u64,
    /// Record batches.
    pub batches: u64,
    /// Bytes of segments that were verified.
    pub bytes: u64,
    /// Damage.
    pub findings: Vec<Finding>,
    /// Some of it lost acknowledged commands: the store opens only to be salvaged.
    pub needs_salvage: bool,
    /// Rounds at the end that were never durable; no damage.
    pub torn: Option<TornTail>,
}

/// Verifies every byte of the store in `disk`, changing none of its files.
pub fn check(disk: &Arc<dyn Disk>) -> Result<Report, OpenError> {
    let _lock = lock(&**disk)?;
    let found = inspect(disk, Access::Direct)?;
    let replay = found.replay();
    let is_replayed = found.checkpoints.iter().any(Option::is_some);
    let (.., missing) = begin(&found.segments, is_replayed.then_some(replay));
    let segments = found.segments;
    let mut report = Report { segments: segments.len() as u64, ..Report::default() };
    report.bytes = segments.iter().map(|segment| segment.bytes).sum();
    for segment in segments.iter().filter(|segment| segment.segment < replay.segment) {
        if load_index(&**disk, segment.segment)?.is_none() {
            let mut finding = Finding::in_segment(Damage::Index, segment.segment, 0);
            finding.file = index_name(segment.segment);
            report.findings.push(finding);
        }
    }
    let rules = Rules { salvage: true, gaps: true, bodies: true, sealed: false };
    let mut scanner = Scanner::new(disk.place(), segments.clone(), (0, start_of(&segments)), rules);
    for finding in found.findings.into_iter().chain(missing) {
        scanner.report(finding)?;
    }
    while let Some(round) = scanner.next_round()? {
        report.rounds += 1;
        for FoundFrame { frame, byte, .. } in &round.frames {
            report.frames += u64::from(frame.kind != FrameKind::Part);
            for (i, batch) in frame.batches.iter().enumerate() {
                report.batches += u64::from(frame.kind != FrameKind::Part);
                let Location::Parts(_) = &batch.location else { continue };
                if !is_whole(&batch.location, &segments).map_err(|e| scanner.failed(e))? {
                    let mut finding = Finding::in_segment(
                        Damage::Batch,
                        round.position.segment,
                        u64::from(*byte),
                    );
                    let dests = frame.dests.iter().filter(|dest| usize::from(dest.batch) == i);
                    finding.shard = Some(frame.shard);
                    finding.logs = dests.map(|dest| dest.log).collect();
                    scanner.report(finding)?;
                }
            }
        }
    }
    report.torn = scanner.torn;
    report.findings.append(&mut scanner.findings);
    report.needs_salvage = report.findings.iter().any(|finding| {
        let place = (finding.segment.unwrap_or(0), finding.byte);
        finding.what.is_fatal() && place >= (replay.segment, u64::from(replay.byte))
    });
    Ok(report)
}

/// Whether a batch in parts is intact. Parts in a segment that is gone belong to a batch of which
/// nothing is live.
fn is_whole(location: &Location, segments: &[FoundSegment]) -> std::io::Result<bool> {
    let mut whole = Vec::new();
    let mut window = Window::default();
    for part in location.pieces() {
        let Some(segment) = segments.iter().find(|found| found.segment == part.segment) else {
            return Ok(true);
        };
        let start = part.position / crate::layout::BLOCK * crate::layout::BLOCK;
        let before = (part.position - start) as usize;
        let bytes = window.get(segment, u64::from(start), before + part.len as usize)?;
        let Some(bytes) = bytes else { return Ok(false) };
        whole.extend_from_slice(&bytes[before..]);
    }
    Ok(is_intact(&whole))
}
