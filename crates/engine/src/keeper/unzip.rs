//! Which segments are unzipped, when, and how fast: see `docs/decisions/0007`.
//!
//! A segment in which many logs lie in short runs, and of which hardly anything goes any more, is
//! written again, log by log, together with others like it where one has too little of each log.
//! The workers do that; here it is chosen and rationed. Whatever clients have written comes first.

use super::Keeper;
use crate::metrics;
use crate::worker::Input;
use journal::{Layout, SegmentUse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use types::LogId;

/// What unzipping does, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct UnzipSizes {
    /// Bytes written for it in a second at most, while nobody else writes; 0: none.
    pub bytes_per_s: u64,
    /// A segment is unzipped whose logs lie in runs shorter than this on average.
    pub run_bytes: u64,
    /// What a pass reads and puts in order, in memory.
    pub pass_bytes: u64,
    /// So many bytes of segments together, at most, give each log its runs.
    pub group_bytes: u64,
    /// What is live in a segment has to have stayed for so long.
    pub settled_us: u64,
}

impl Default for UnzipSizes {
    fn default() -> UnzipSizes {
        UnzipSizes {
            bytes_per_s: 64 << 20,
            run_bytes: 64 << 10,
            pass_bytes: 32 << 20,
            group_bytes: 1 << 30,
            settled_us: 60_000_000,
        }
    }
}

/// How often the workers may go on.
const GRANT_EVERY_US: u64 = 20_000;
/// What nobody used is not saved up for longer.
const GRANT_MAX_US: u64 = 100_000;
/// Beside others it has this part of its rate, and nothing while they write more than that.
const SHARE: u64 = 8;
/// It is worth it when each log lies in so many pieces on average.
const PIECES_MIN: u64 = 4;
/// A share of the live bytes that goes makes them unsettled, in percent.
const GOING_PERCENT: u64 = 5;

#[derive(Debug, Default)]
pub(super) struct Unzipping {
    pub(super) sizes: UnzipSizes,
    /// Bytes live in a segment, and since when about so many have been.
    settled: BTreeMap<u32, (u64, u64)>,
    /// The logs of segments that were looked at; none of those that are left as they are.
    layouts: BTreeMap<u32, Option<Vec<LogId>>>,
    /// Segments that were unzipped; some may be needed still, where something cannot be read.
    done: BTreeSet<u32>,
    /// Those being unzipped, and the workers that still do.
    group: Vec<u32>,
    workers: BTreeSet<usize>,
    granted_us: u64,
    /// Bytes that others had written at the last look, and how many a second since the one before.
    others: u64,
    others_per_s: u64,
    looked_us: u64,
}

impl Keeper {
    /// Whether a segment is being unzipped: nobody else copies out of it.
    pub(super) fn is_unzipping(&self, segment: u32) -> bool {
        self.unzip.group.contains(&segment)
    }

    /// Whether a segment was unzipped.
    pub(super) fn was_unzipped(&self, segment: u32) -> bool {
        self.unzip.done.contains(&segment)
    }

    /// Looks what lives in the segments, each with its live bytes, none of them sparse or needed for
    /// a replay; begins with some when none are being unzipped.
    pub(super) fn consider_unzip(&mut self, full: &[(SegmentUse, u64)]) {
        let now = self.clock.micros();
        let unzip = &mut self.unzip;
        if unzip.sizes.bytes_per_s == 0 {
            return;
        }
        let there = |number: &u32| full.iter().any(|(segment, _)| segment.segment == *number);
        unzip.settled.retain(|number, _| there(number));
        unzip.layouts.retain(|number, _| there(number));
        unzip.done.retain(|number| there(number));
        let mut old = Vec::new();
        for (segment, live) in full {
            let (bytes, since) = unzip.settled.entry(segment.segment).or_insert((*live, now));
            if live * 100 < *bytes * (100 - GOING_PERCENT) {
                (*bytes, *since) = (*live, now);
            }
            if now - *since >= unzip.sizes.settled_us && !unzip.done.contains(&segment.segment) {
                old.push((segment.segment, *live));
            }
        }
        if !unzip.workers.is_empty() || self.is_low {
            return;
        }
        let Some(group) = self.group_of(&old) else { return };
        tracing::debug!(?group, "unzipping");
        self.unzip.group = group;
        self.unzip.workers = (0..self.ports.mailboxes.len()).collect();
        self.unzip.granted_us = now;
        let segments: Arc<[u32]> = self.unzip.group.clone().into();
        self.tell(|| Input::Unzip(Arc::clone(&segments)));
    }

    /// The first of `old` whose logs lie in pieces, as many as it takes for each log to have a long
    /// run, if there are so many.
    fn group_of(&mut self, old: &[(u32, u64)]) -> Option<Vec<u32>> {
        let (mut group, mut logs, mut bytes) = (Vec::new(), BTreeSet::<LogId>::new(), 0);
        let UnzipSizes { run_bytes, group_bytes, .. } = self.unzip.sizes;
        let mut looked = false;
        for (segment, live) in old {
            if !self.unzip.layouts.contains_key(segment) {
                // One at a time: it is a file of some megabytes.
                if looked {
                    return None;
                }
                looked = true;
                let layout = self.layout_of(*segment);
                self.unzip.layouts.insert(*segment, layout);
            }
            let Some(Some(layout)) = self.unzip.layouts.get(segment) else { continue };
            group.push(*segment);
            logs.extend(layout);
            bytes += live;
            if bytes >= run_bytes * logs.len() as u64 || bytes >= group_bytes {
                return Some(group);
            }
        }
        None
    }

    /// The logs of a segment, if it is worth it to put them in order. One whose index cannot be read
    /// is left as it is.
    fn layout_of(&self, segment: u32) -> Option<Vec<LogId>> {
        let Layout { bytes, pieces, logs } = self.pool.layout(segment).ok().flatten()?;
        let is_in_pieces = pieces >= PIECES_MIN * logs.len() as u64;
        (is_in_pieces && bytes < pieces * self.unzip.sizes.run_bytes).then_some(logs)
    }

    /// A worker has written again all it had in the group.
    pub(super) fn unzipped(&mut self, worker: usize) {
        let unzip = &mut self.unzip;
        if unzip.workers.remove(&worker) && unzip.workers.is_empty() {
            metrics::add(&self.metrics.copies.unzipped_segments, unzip.group.len() as u64);
            unzip.done.extend(unzip.group.drain(..));
        }
    }

    /// Lets the workers write what they may now.
    pub(super) fn ration_unzip(&mut self, now: u64) {
        let unzip = &mut self.unzip;
        if unzip.workers.is_empty() || now - unzip.granted_us < GRANT_EVERY_US || self.is_low {
            return;
        }
        let rate = match unzip.others_per_s {
            0 => unzip.sizes.bytes_per_s,
            others if others * SHARE < unzip.sizes.bytes_per_s => unzip.sizes.bytes_per_s / SHARE,
            _ => 0,
        };
        let since_us = (now - unzip.granted_us).min(GRANT_MAX_US);
        unzip.granted_us = now;
        let bytes = rate * since_us / 1_000_000 / unzip.workers.len() as u64;
        if bytes > 0 {
            self.tell(|| Input::UnzipOn { bytes });
        }
    }

    /// In how many pieces the logs lie, all together.
    #[cfg(test)]
    pub(crate) fn pieces(&self) -> u64 {
        let layout = |segment: &SegmentUse| self.pool.layout(segment.segment).ok().flatten();
        self.pool.segments().iter().filter_map(layout).map(|layout| layout.pieces).sum()
    }

    /// Looks how much others write.
    pub(super) fn look_at_others(&mut self, now: u64) {
        let written = self.metrics.written_bytes.load(Ordering::Relaxed);
        let copied = self.metrics.copies.bytes.load(Ordering::Relaxed);
        let (others, unzip) = (written.saturating_sub(copied), &mut self.unzip);
        let since_us = (now - unzip.looked_us).max(1);
        unzip.others_per_s = others.saturating_sub(unzip.others) * 1_000_000 / since_us;
        (unzip.others, unzip.looked_us) = (others, now);
    }
}
