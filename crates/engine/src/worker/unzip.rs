//! Writes again, log by log, what lies interleaved in segments that the keeper names.
//!
//! In passes: some bytes' worth of runs, in the order of logs and offsets, are read in the order in
//! which they lie, and appended to the journal as copies. From then on it is as with copying
//! forward: a copy on the disk is the one that is read, offsets stay, and when nothing is left in
//! the segments they are given back. Reading and writing go on as far as the keeper lets them.

use super::relocate::FRAME_BYTES;
use super::{Notice, Worker, upkeep};
use crate::index::{PageKey, Run};
use crate::shard::Schedule;
use crate::worker::store::{LoadedBatch, Waiter};
use bytes::Bytes;
use journal::Location;
use std::sync::Arc;
use types::{LogId, Offset, ShardId};

/// Frames on their way at most: what clients write waits for no more.
const FRAMES_MAX: usize = 6;
/// Bytes of segments that are read at once.
const READ_BYTES: u64 = 4 << 20;
/// For each byte that may be written so many may be read, those between what is wanted included.
const READ_PER_WRITTEN: u64 = 8;

/// Segments being unzipped.
#[derive(Debug)]
pub(super) struct Unzip {
    segments: Arc<[u32]>,
    pass_bytes: u64,
    /// What is still to be looked at, the last first.
    items: Vec<(LogId, Offset, Item)>,
    /// The runs of this pass, as they will be written.
    pass: Vec<(LogId, Run, Option<Bytes>)>,
    planned_bytes: u64,
    /// It has all it can have.
    planned: bool,
    /// Those of the pass that are to be read, by place, the last first.
    unread: Vec<usize>,
    /// Those on their way from the disk.
    reading: Vec<usize>,
    /// So many of the pass are on their way to the journal or need not be.
    written: usize,
    loading: bool,
    may_write: u64,
    may_read: u64,
}

#[derive(Clone, Copy, Debug)]
enum Item {
    Page(PageKey),
    Run(Run),
}

impl Worker {
    /// Begins with some segments.
    pub(super) fn unzip(&mut self, segments: Arc<[u32]>) {
        let mut items = Vec::new();
        for segment in segments.iter() {
            let runs = self.store.index.runs_in(*segment);
            items.extend(runs.into_iter().map(|(log, run)| (log, run.first, Item::Run(run))));
            let pages = self.store.index.pages_in(*segment);
            // What waits is not read in order.
            let pages = pages.into_iter().filter(|(log, _)| Schedule::log_of(*log).is_none());
            items.extend(pages.into_iter().map(|(log, key)| (log, key.first, Item::Page(key))));
        }
        items.sort_by_key(|(log, first, _)| (*log, *first));
        items.reverse();
        self.copies.unzip = Some(Unzip {
            segments,
            pass_bytes: self.copies.unzip_pass_bytes,
            items,
            pass: Vec::new(),
            planned_bytes: 0,
            planned: false,
            unread: Vec::new(),
            reading: Vec::new(),
            written: 0,
            loading: false,
            may_write: 0,
            may_read: 0,
        });
        self.unzip_on();
    }

    /// So many bytes more may be written.
    pub(super) fn unzip_granted(&mut self, bytes: u64) {
        let Some(unzip) = &mut self.copies.unzip else { return };
        unzip.may_write = bytes;
        unzip.may_read = bytes * READ_PER_WRITTEN;
        self.unzip_on();
    }

    /// What was read for it has come.
    pub(super) fn unzip_loaded(&mut self) {
        let batches = std::mem::take(&mut self.store.aside);
        let Some(unzip) = &mut self.copies.unzip else { return };
        unzip.loading = false;
        for (at, (_, batch)) in unzip.reading.drain(..).zip(batches) {
            // One that cannot be read stays where it is, and so does its segment.
            unzip.pass[at].2 = batch.ok();
        }
        self.unzip_on();
    }

    /// Goes on until something has to come from the disk, or nothing more may be written.
    fn unzip_on(&mut self) {
        let Some(mut unzip) = self.copies.unzip.take() else { return };
        while !unzip.loading {
            if !unzip.planned && !self.plan_pass(&mut unzip) {
                break;
            }
            if unzip.pass.is_empty() {
                self.output.notices.push(Notice::Unzipped { worker: self.number });
                return;
            }
            if !unzip.unread.is_empty() {
                if !self.read_pass(&mut unzip) {
                    break;
                }
            } else if !self.write_pass(&mut unzip) {
                break;
            }
        }
        self.copies.unzip = Some(unzip);
    }

    /// Chooses the runs of the next pass; false when a page has to be read for that.
    fn plan_pass(&mut self, unzip: &mut Unzip) -> bool {
        while unzip.planned_bytes < unzip.pass_bytes
            && let Some((log, first, item)) = unzip.items.pop()
        {
            let runs = match item {
                Item::Run(run) => vec![run],
                Item::Page(page) => match self.store.index.unfold(log, page) {
                    Some(runs) => runs,
                    None if self.store.index.is_lost(log, page) => continue,
                    None => {
                        unzip.items.push((log, first, item));
                        unzip.loading = true;
                        self.store.load_page(log, page, Waiter::Unzip);
                        return false;
                    }
                },
            };
            unzip.planned_bytes += runs.iter().map(|run| u64::from(run.at.len)).sum::<u64>();
            unzip.pass.extend(runs.into_iter().map(|run| (log, run, None)));
        }
        unzip.unread = (0..unzip.pass.len()).collect();
        unzip.unread.sort_by_key(|at| std::cmp::Reverse(unzip.pass[*at].1.at));
        unzip.planned = true;
        true
    }

    /// Asks for the next part of a segment; false when it has to wait for that.
    fn read_pass(&mut self, unzip: &mut Unzip) -> bool {
        if unzip.may_read == 0 {
            return false;
        }
        let mut locations: Vec<Location> = Vec::new();
        let mut begin = None;
        while let Some(at) = unzip.unread.last() {
            let (log, run, _) = &unzip.pass[*at];
            let place = run.at;
            let (segment, from) = *begin.get_or_insert((place.segment, place.position));
            let span = u64::from(place.position.saturating_sub(from)) + u64::from(place.len);
            let is_far = span > READ_BYTES.min(unzip.may_read) || place.is_in_parts();
            if !locations.is_empty() && (segment != place.segment || is_far) {
                break;
            }
            let location = self.still_there(unzip, *log, run);
            if let Some(location) = location {
                locations.push(location);
                unzip.reading.push(*at);
            }
            unzip.unread.pop();
        }
        let span = self.span_of(unzip);
        unzip.may_read = unzip.may_read.saturating_sub(span);
        if !locations.is_empty() {
            unzip.loading = true;
            self.store.load_batches(locations, Waiter::Unzip);
        }
        true
    }

    /// Bytes between the first and the last of what is being read.
    fn span_of(&self, unzip: &Unzip) -> u64 {
        let ends = (unzip.reading.first(), unzip.reading.last());
        let (Some(first), Some(last)) = ends else { return 0 };
        let (first, last) = (unzip.pass[*first].1.at, unzip.pass[*last].1.at);
        u64::from(last.position - first.position) + u64::from(last.len)
    }

    /// Where a run is, if somebody needs it and it is still where it was.
    fn still_there(&self, unzip: &Unzip, log: LogId, run: &Run) -> Option<Location> {
        let runs = self.store.index.log(log)?;
        let there = runs.in_memory(run.first).next()?;
        let shard = self.shard_with(log)?;
        let same = (there.first, there.count, there.at) == (run.first, run.count, run.at);
        let shard = self.shards().find(|it| it.id == shard)?;
        if !same || upkeep::is_dead(shard, log, run) {
            return None;
        }
        let location = runs.location(run);
        let here = location.pieces().any(|piece| unzip.segments.contains(&piece.segment));
        here.then_some(location)
    }

    fn shard_with(&self, log: LogId) -> Option<ShardId> {
        let mut shards = self.shards();
        shards.find(|shard| shard.logs.contains_key(&log)).map(|shard| shard.id)
    }

    /// Writes as much of the pass as may be; false when the rest has to wait.
    fn write_pass(&mut self, unzip: &mut Unzip) -> bool {
        while unzip.written < unzip.pass.len() {
            if unzip.may_write == 0 || self.copies.under_way.len() >= FRAMES_MAX {
                return false;
            }
            let (mut copies, mut bytes, mut shard) = (Vec::new(), 0, None);
            while let Some((log, run, batch)) = unzip.pass.get_mut(unzip.written) {
                let (log, run, batch) = (*log, *run, batch.take());
                let to = self.shard_with(log);
                if shard.is_some() && to != shard
                    || bytes >= unzip.may_write.min(FRAME_BYTES as u64)
                    || to.is_some_and(|to| copies.len() >= self.runs_max(to))
                {
                    unzip.pass[unzip.written].2 = batch;
                    break;
                }
                unzip.written += 1;
                if io::planted("unzip-drops-last-run") && unzip.written == unzip.pass.len() {
                    self.store.index.sweep(log, usize::MAX, |one| one.first == run.first);
                    continue;
                }
                if let Some(batch) = batch
                    && self.still_there(unzip, log, &run).is_some()
                {
                    shard = to;
                    bytes += batch.len() as u64;
                    copies.push((log, run, batch));
                }
            }
            unzip.may_write = unzip.may_write.saturating_sub(bytes);
            if let Some(shard) = shard {
                self.copy_together(shard, copies, !io::planted("unzip-unsynced"));
            }
        }
        unzip.pass.clear();
        (unzip.planned, unzip.planned_bytes, unzip.written) = (false, 0, 0);
        true
    }
}

/// What was read for unzipping, in the order asked.
pub(super) type Aside = Vec<LoadedBatch>;
