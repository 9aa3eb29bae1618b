//! Recovery: everything of a store in memory, before any thread runs.

use super::collect::Collected;
use super::{EngineError, Options, Sizes, restore};
use crate::catch_up::catch_up;
use crate::disk::{Rounds, ToJournal};
use crate::draft::FrameRoom;
use crate::index::Index;
use crate::keeper::{Keeper, Stored};
use crate::metrics::{self, Metrics};
use crate::replicas::Doors;
use crate::replication::{Found, Replication, Replicator};
use crate::shard::Shard;
use crate::worker::{Input, Ports, Replica, Seat, Worker};
use crate::{Mailbox, Memory, MemoryPool, worker_number};
use arc_swap::ArcSwap;
use catalog::{Catalog, Layer, Names};
use io::Disk;
use journal::{Checkpoint, Failed, Finding, Pool, Position, Reader, Recovery};
use std::sync::Arc;
use types::ShardId;
/// Everything of a store in memory, before any thread runs.
pub(crate) struct Opened {
    pub(crate) workers: Vec<Worker>,
    pub(crate) rounds: Rounds,
    pub(crate) reader: Reader,
    pub(crate) pool: Pool,
    pub(crate) keeper: Keeper,
    pub(crate) ports: Ports,
    pub(crate) shards: Vec<ShardId>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) journal: Arc<Mailbox<ToJournal>>,
    pub(crate) replicator: Option<Arc<dyn Replicator>>,
}

/// Recovers the store: the newest checkpoint, the index files, then the frames since.
pub(crate) fn recover(
    options: &Options,
    replication: Option<&Replication>,
) -> Result<Opened, EngineError> {
    let journal_options = journal_options(options, replication.is_some());
    let floor = journal_options.reserve_bytes;
    let (writer, reader, pool, mut recovery) =
        journal::open(Arc::clone(&options.disk), journal_options.clone())?;
    let shards = stored_shards(options, recovery.checkpoint(), replication.is_some())?;
    let fresh = recovery.checkpoint().is_none();
    let count = options.workers.clamp(1, shards.len());
    let ports = new_ports(count, &shards, memory(options));
    let mut workers: Vec<Worker> =
        (0..count).map(|n| new_worker(options, n, (count, &ports))).collect();
    let mut ids: Vec<ShardId> = shards.iter().map(|shard| shard.id).collect();
    ids.push(ShardId::LOCAL);
    let room = FrameRoom::of_round(options.sizes.round_bytes_max);
    for shard in shards {
        workers[worker_number(shard.id, count)].add_seat(Seat::new(shard, room));
    }
    let (clean, indexed_before, found) = match replication {
        None => restore::restore(&mut workers, &mut recovery, None)
            .map(|(clean, before)| (clean, before, None))?,
        Some(_) => {
            let (indexed_before, found) = collect(&mut workers, &mut recovery, &ids)?;
            (false, indexed_before, Some(found))
        }
    };
    let end = writer.end();
    start(&mut workers, options, clean, end);
    let metrics = Arc::clone(&ports.metrics);
    let (sequence, replay) =
        recovery.checkpoint().map_or((0, Position::default()), |c| (c.sequence, c.replay));
    ports.durable.store(Arc::new(end));
    for segment in pool.segments().iter().filter(|s| s.sealed && s.segment >= indexed_before) {
        // Nobody may have come to index it before the last process ended.
        ports.mailboxes.iter().for_each(|inbox| inbox.push(Input::Sealed(segment.segment)));
    }
    let findings = recovery.findings().to_vec();
    metrics::add(&metrics.damage.findings, findings.len() as u64);
    report(&findings, ids.len());
    let clock = Arc::clone(&options.clock);
    let mut rounds =
        Rounds::new(writer, &journal_options, ports.clone(), Arc::clone(&metrics), clock);
    rounds.space = Some((pool.clone(), floor));
    if replication.is_none() {
        let now = options.clock.now();
        catch_up(&mut workers, &mut rounds, !options.salvage, now).map_err(EngineError::Write)?;
    }
    let stored = Stored { sequence, replay, indexed_before };
    let clock = Arc::clone(&options.clock);
    let mut keeper = Keeper::new(pool.clone(), ports.clone(), Arc::clone(&metrics), clock, stored);
    begin_keeping(&mut keeper, options, (floor, end)).map_err(EngineError::Write)?;
    if fresh {
        // The shards of a new store are a fact from the first moment on.
        keeper.begin_checkpoint();
    }
    let mut opened = Opened {
        workers,
        rounds,
        reader,
        pool,
        keeper,
        ports,
        shards: ids,
        metrics,
        findings,
        journal: Arc::default(),
        replicator: None,
    };
    if let (Some(replication), Some(found)) = (replication, found) {
        opened.replicate(replication, found);
    }
    Ok(opened)
}

/// Puts the stored state back, and collects what replicas are to agree on. Gives it, and the segment before
/// which all have their index.
fn collect(
    workers: &mut [Worker],
    recovery: &mut Recovery,
    shards: &[ShardId],
) -> Result<(u32, Vec<Found>), EngineError> {
    let mut collected = Collected::begin(shards, recovery.checkpoint())?;
    let (_, indexed_before) = restore::restore(workers, recovery, Some(&mut collected))?;
    let found = collected.done(recovery.findings());
    workers.iter_mut().for_each(|worker| worker.become_replica(&found, recovery.end()));
    Ok((indexed_before, found))
}

/// What the journal is opened with.
fn journal_options(options: &Options, replicated: bool) -> journal::Options {
    let sizes = &options.sizes;
    let mut journal_options = journal::Options::new(options.random.next());
    // What a replica has lost it has again from the others.
    journal_options.salvage = options.salvage || replicated;
    journal_options.segment_bytes.clone_from(&sizes.segment_bytes);
    journal_options.round_bytes_max = sizes.round_bytes_max;
    journal_options.part_bytes = sizes.part_bytes;
    journal_options.checkpoint_inline_bytes = sizes.checkpoint_inline_bytes;
    journal_options.reserve_bytes = match options.disk_free_min {
        Some(bytes) => bytes,
        None => reserve_bytes(&*options.disk, sizes),
    };
    journal_options
}

/// The shards of a checkpoint, or those of a new store.
fn stored_shards(
    options: &Options,
    checkpoint: Option<&Checkpoint>,
    replicated: bool,
) -> Result<Vec<Shard>, EngineError> {
    let Some(checkpoint) = checkpoint else { return Ok(new_shards(options)) };
    if Shard::outdated(&checkpoint.pages) {
        return Err(EngineError::Older);
    }
    if !replicated && checkpoint.pages.iter().any(|page| Replica::read(page).is_some()) {
        return Err(EngineError::Replica);
    }
    Shard::read_all(&checkpoint.pages, options.sizes.chunk_bits).ok_or(EngineError::Newer)
}

/// Tells the keeper its sizes, what the disk should have left, and where the journal ends.
fn begin_keeping(
    keeper: &mut Keeper,
    options: &Options,
    (floor, end): (u64, Position),
) -> Result<(), Failed> {
    keeper.checkpoint_bytes = options.sizes.checkpoint_bytes;
    keeper.count_replayed(end);
    keeper.free_min = floor;
    keeper.set_unzip(options.sizes.unzip);
    keeper.look_at_space()
}

/// Adds the local shard, and has the workers build what is in memory only. Everything before `end` is
/// applied, where it is known to be agreed on.
fn start(workers: &mut [Worker], options: &Options, clean: bool, end: Position) {
    let mut names = Catalog::new(Layer::Local, &[ShardId::LOCAL]);
    let shared = workers.iter().flat_map(Worker::shards).find_map(|shard| shard.catalog.as_ref());
    shared.into_iter().for_each(|shared| names.begin_under(shared));
    let local = Shard::new(ShardId::LOCAL, Some(names), options.sizes.chunk_bits);
    let room = FrameRoom::of_round(options.sizes.round_bytes_max);
    workers[0].add_seat(Seat::new(local, room));
    // A start asks them what queues are to do.
    workers[0].publish_names();
    let now = options.clock.now();
    workers.iter_mut().for_each(|worker| worker.start(now, clean, end));
}

impl Opened {
    /// Begins to have the frames of shards ordered by a replicator.
    fn replicate(&mut self, replication: &Replication, found: Vec<Found>) {
        let replicator = &replication.replicator;
        let doors = Doors {
            mailboxes: self.ports.mailboxes.clone(),
            journal: Arc::clone(&self.journal),
            reader: self.reader.clone(),
            unwritten: Arc::default(),
        };
        self.rounds.replicator = Some((Arc::clone(replicator), Arc::clone(&doors.unwritten)));
        self.keeper.replicator = Some(Arc::clone(replicator));
        self.replicator = Some(Arc::clone(replicator));
        replicator.start(Arc::new(doors), found);
    }
}

/// What the disk should have left: a twentieth of it, at most 1 GiB, and at least some small
/// segments, for what is on its way to the disk when publishing is blocked.
fn reserve_bytes(disk: &dyn Disk, sizes: &Sizes) -> u64 {
    // A disk that does not say has its free bytes asked for all the same.
    let total = disk.total_bytes().unwrap_or(0);
    let segment = sizes.segment_bytes.first().copied().map_or(0, u64::from);
    (total / 20).min(1 << 30).max(16 * segment)
}

fn new_worker(options: &Options, number: usize, (count, ports): (usize, &Ports)) -> Worker {
    let budget = |pool| ports.memory.budget(pool) / count;
    let Sizes { page_runs_max, schedule_near_max: near_max, unzip, .. } = options.sizes;
    let index = Index::new(budget(MemoryPool::Pages), page_runs_max);
    let (cache_bytes, pass_bytes) = (budget(MemoryPool::Cache), unzip.pass_bytes / count as u64);
    let mut worker = Worker::new(number, ports.clone(), cache_bytes, near_max, index, pass_bytes);
    worker.set_slice_bytes(options.sizes.checkpoint_slice_bytes);
    let worker = worker.forgetting_after(options.producer_idle);
    worker.bounded(budget(MemoryPool::Loads), options.sizes.under_way_bytes / count)
}

fn new_shards(options: &Options) -> Vec<Shard> {
    let count = if options.shards == 0 { options.workers } else { usize::from(options.shards) };
    let count = u16::try_from(count.max(1)).unwrap_or(ShardId::LOCAL.0);
    let ids: Vec<ShardId> = (0..count).map(ShardId).collect();
    ids.iter()
        .map(|id| {
            let catalog = (id.0 == 0).then(|| Catalog::new(Layer::Shared, &ids));
            Shard::new(*id, catalog, options.sizes.chunk_bits)
        })
        .collect()
}

fn memory(options: &Options) -> Memory {
    let mut memory = Memory::new(options.memory_limit);
    memory.set_budget(MemoryPool::Cache, options.cache_bytes);
    let pages = memory.budget(MemoryPool::Pages).min(options.sizes.page_cache_bytes);
    memory.set_budget(MemoryPool::Pages, pages);
    memory
}

fn new_ports(workers: usize, shards: &[Shard], memory: Memory) -> Ports {
    let ids: Vec<ShardId> = shards.iter().map(|shard| shard.id).collect();
    let names = Names {
        shared: Catalog::new(Layer::Shared, &ids).snapshot(),
        local: Catalog::new(Layer::Local, &[ShardId::LOCAL]).snapshot(),
    };
    Ports {
        mailboxes: (0..workers).map(|_| Arc::default()).collect(),
        names: Arc::new(ArcSwap::from_pointee(names)),
        durable: Arc::default(),
        pressure: Arc::default(),
        metrics: Arc::default(),
        memory: Arc::new(memory),
    }
}

fn report(findings: &[Finding], shards: usize) {
    for finding in findings {
        tracing::error!(%finding, "the store is damaged");
    }
    tracing::debug!(shards, "recovered");
}
