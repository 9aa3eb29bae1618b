//! What a start puts back: a checkpoint's state, where batches lie, the frames since.

use super::collect::Collected;
use super::{EngineError, clean_stop};
use crate::index::{PageKey, Run, StoredRuns, stored_runs};
use crate::worker::Worker;
use crate::worker_number;
use journal::{Checkpoint, Directory, FrameKind, Indexed, Page, PageKind, Recovery};
use std::collections::BTreeMap;
use types::{LogId, ShardId};

/// Puts the stored state back. Gives whether the store was stopped cleanly, so that nothing that was
/// in flight can have been delivered, and the segment before which all have their index. Where shards have
/// several replicas, entries are not applied but `collected`.
pub(super) fn restore(
    workers: &mut [Worker],
    recovery: &mut Recovery,
    mut collected: Option<&mut Collected>,
) -> Result<(bool, u32), EngineError> {
    let runs = read_runs(recovery.checkpoint())?;
    let replay = recovery.checkpoint().map_or(0, |checkpoint| checkpoint.replay.segment);
    let indexed_before = runs.iter().map(|(_, runs)| runs.indexed_before).fold(replay, u32::max);
    let count = workers.len();
    // What a worker's hidden logs had from this segment on, the checkpoint itself has.
    let hidden_before = |number: usize| {
        let own = runs.iter().filter(|(shard, _)| worker_number(*shard, count) == number);
        own.map(|(_, runs)| runs.indexed_before).min().unwrap_or(u32::MAX)
    };
    let hidden_before: Vec<u32> = (0..count).map(hidden_before).collect();
    for segment in recovery.segments_before(indexed_before) {
        let index = recovery.index(segment)?;
        for (worker, hidden_before) in workers.iter_mut().zip(&hidden_before) {
            let with_hidden = segment < *hidden_before;
            worker.restore_index(&index, with_hidden);
        }
        if let Indexed::Stored(directory) = &index {
            for worker in workers.iter_mut() {
                restore_due(worker, recovery, directory)?;
            }
        }
    }
    workers.iter_mut().for_each(|worker| worker.restored_before(indexed_before));
    for (shard, runs) in runs {
        workers[worker_number(shard, workers.len())].restore_runs(runs);
    }
    let left_cleanly = |checkpoint: &Checkpoint| checkpoint.pages.contains(&clean_stop());
    let left_cleanly = recovery.checkpoint().is_some_and(left_cleanly);
    recovery.drop_pages();
    restore_pages(workers, recovery, false)?;
    let mut replayed = 0u64;
    while let Some(frame) = recovery.next_frame()? {
        if frame.shard == ShardId::LOCAL {
            continue;
        }
        match &mut collected {
            Some(collected) if frame.kind != FrameKind::Relocate => {
                collected.take(&frame);
                continue;
            }
            None if frame.kind.is_replicas() => return Err(EngineError::Replica),
            _ => {}
        }
        let worker = &mut workers[worker_number(frame.shard, workers.len())];
        replayed += u64::from(worker.replay(&frame).map_err(|_| EngineError::Newer)?);
        worker.refer_replayed(|log, page| read_page(recovery, log, page))?;
    }
    restore_pages(workers, recovery, true)?;
    Ok((replayed == 0 && left_cleanly, indexed_before))
}

/// Settles what of the pages that were found each worker has.
fn restore_pages(
    workers: &mut [Worker],
    recovery: &mut Recovery,
    all: bool,
) -> Result<(), EngineError> {
    workers.iter_mut().try_for_each(|worker| {
        worker.restore_pages(all, |log, page| read_page(recovery, log, page))
    })
}

/// What is due when, of schedules of which a segment's index file does not say so: it was made anew.
fn restore_due(
    worker: &mut Worker,
    recovery: &mut Recovery,
    directory: &Directory,
) -> Result<(), EngineError> {
    let mut runs: BTreeMap<LogId, Vec<Run>> = BTreeMap::new();
    for (log, page) in worker.undue_pages(directory) {
        runs.entry(log).or_default().extend(read_page(recovery, log, page)?);
    }
    for (log, runs) in runs {
        worker.restore_due(log, directory.segment, runs);
    }
    Ok(())
}

fn read_page(recovery: &mut Recovery, log: LogId, page: PageKey) -> Result<Vec<Run>, EngineError> {
    Ok(stored_runs(&recovery.page(page.segment, log, page.place)?))
}

/// What a checkpoint kept of where batches lie.
fn read_runs(checkpoint: Option<&Checkpoint>) -> Result<Vec<(ShardId, StoredRuns)>, EngineError> {
    let pages = checkpoint.into_iter().flat_map(|checkpoint| &checkpoint.pages);
    let local = |page: &&Page| page.kind == PageKind::Local && page.shard != ShardId::LOCAL;
    let runs = |page: &Page| {
        let runs = postcard::from_bytes(&page.bytes).map_err(|_| EngineError::Newer)?;
        Ok((page.shard, runs))
    };
    pages.filter(local).map(runs).collect()
}
