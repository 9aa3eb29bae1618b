//! At the start, the shards are brought to what the catalog says.
//!
//! A change of names is a frame of the catalog's shard, and then one of each shard that follows. A
//! process that ended in between was never answered, and the catalog stands: what it names is created
//! where it is missing, and what no name leads to any more is dropped. It is durable, and ahead of
//! everything that clients can ask, before the first of them comes.

use crate::command::Command;
use crate::disk::Rounds;
use crate::shard::{Shard, log_options};
use crate::worker::Worker;
use catalog::LogChange;
use journal::Failed;
use std::collections::BTreeSet;
use types::{LogId, LogRef, Millis, ShardId, SubscriptionId, SubscriptionRef};

/// Has every shard follow the catalog. `drop_nameless`: also drops what no name leads to.
///
/// Fails when the disk failed. A full one takes the frames later, which is in time for all but the
/// first calls.
pub(crate) fn catch_up(
    workers: &mut [Worker],
    rounds: &mut Rounds,
    drop_nameless: bool,
    now: Millis,
) -> Result<(), Failed> {
    let mut changes = missing(workers);
    if drop_nameless {
        changes.extend(nameless(workers));
    }
    if changes.is_empty() || io::planted("half-a-change") {
        return Ok(());
    }
    tracing::info!(changes = changes.len(), "the last process ended amid changes of names");
    for worker in workers {
        rounds.add(worker.catch_up(&changes, now));
    }
    while !rounds.is_empty() && rounds.step()? {}
    Ok(())
}

/// What is to be done so that a shard has what is named of it, and nothing else.
pub(crate) fn differences(named: &[LogChange], shard: &Shard) -> Vec<LogChange> {
    let missing = named.iter().filter_map(|change| missing_in(shard, change.clone()));
    missing.chain(nameless_in(named, shard)).collect()
}

/// What the catalog names and its shard does not have, or not as it is now.
fn missing(workers: &[Worker]) -> Vec<LogChange> {
    let catalog = shards(workers).find_map(|shard| shard.catalog.as_ref());
    let everything = catalog.into_iter().flat_map(catalog::Catalog::everything);
    let shard_of = |id: ShardId| shards(workers).find(|shard| shard.id == id);
    let differs = |change: LogChange| missing_in(shard_of(change.shard())?, change);
    everything.filter_map(differs).collect()
}

/// What has to be done for something that is named to be in its shard.
fn missing_in(shard: &Shard, change: LogChange) -> Option<LogChange> {
    match change {
        LogChange::CreateLog { log, config } => match shard.logs.get(&log.log) {
            None => Some(change),
            Some(log) if log.options == log_options(&config) => None,
            Some(_) => Some(LogChange::AlterLog { log, config }),
        },
        LogChange::CreateSubscription { subscription, ref over, .. } => {
            let state = shard.subscriptions.get(&subscription.subscription);
            let covers =
                |log: &LogRef| state.is_some_and(|state| state.ledgers.get(log.log).is_some());
            (!over.iter().all(covers)).then_some(change)
        }
        _ => None,
    }
}

/// What a shard has and no name leads to.
fn nameless(workers: &[Worker]) -> Vec<LogChange> {
    let catalog = shards(workers).find_map(|shard| shard.catalog.as_ref());
    let named: Vec<LogChange> =
        catalog.into_iter().flat_map(catalog::Catalog::everything).collect();
    shards(workers).flat_map(|shard| nameless_in(&named, shard)).collect()
}

/// What one shard has and no name leads to.
fn nameless_in(named: &[LogChange], shard: &Shard) -> Vec<LogChange> {
    let (mut logs, mut subscriptions) = (BTreeSet::new(), BTreeSet::new());
    for change in named {
        match change {
            LogChange::CreateLog { log, .. } => {
                logs.insert(log.log);
            }
            LogChange::CreateSubscription { subscription, .. } => {
                subscriptions.insert(subscription.subscription);
            }
            _ => {}
        }
    }
    let mut gone = Vec::new();
    let of_shard = |subscription: &SubscriptionId| SubscriptionRef {
        shard: shard.id,
        subscription: *subscription,
    };
    let log_of_shard = |log: &LogId| LogRef { shard: shard.id, log: *log };
    let left = shard.subscriptions.keys().filter(|id| !subscriptions.contains(id));
    gone.extend(left.map(of_shard).map(LogChange::DropSubscription));
    let left = shard.logs.keys().filter(|id| !logs.contains(id));
    gone.extend(left.map(log_of_shard).map(LogChange::DropLog));
    gone
}

/// The shards that outlive the process.
fn shards(workers: &[Worker]) -> impl Iterator<Item = &Shard> {
    workers.iter().flat_map(Worker::shards).filter(|shard| shard.id != ShardId::LOCAL)
}

impl Worker {
    /// Frames in which this worker's shards follow `changes`, as far as they are for them.
    fn catch_up(&mut self, changes: &[LogChange], now: Millis) -> Vec<journal::FrameDraft> {
        let mut frames = Vec::new();
        for seat in self.seats_mut() {
            let shard = seat.shard.id;
            for change in changes.iter().filter(|change| change.shard() == shard) {
                seat.command_now(Command::Log(change.clone()));
            }
            while let Some(frame) = seat.seal(now, true) {
                frames.push(frame);
            }
        }
        frames
    }
}
