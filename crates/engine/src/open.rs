//! Opening the engine: recovery, then threads.

mod collect;
mod recovering;
mod restore;

pub(crate) use recovering::{Opened, recover};

use crate::disk::{self, ToJournal};
use crate::keeper::{Keeper, UnzipSizes};
use crate::metrics::Metrics;
use crate::replication::{Replication, Replicator};
use crate::scrub::Scrubber;
use crate::worker::{Input, Load, Notice, Output, Ports, Worker};
use crate::{Handle, Mailbox};
use bytes::Bytes;
use io::{Clock, Disk, Random};
use journal::{Failed, Finding, OpenError, Page, PageKind, Reader};
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use types::{Millis, ShardId};

/// Threads that read batches from the disk.
pub(crate) const READERS: usize = 8;
/// How often the keeper looks around.
const KEEPER_EVERY: Duration = Duration::from_millis(20);
/// Longest sleep of a worker.
const SLEEP_MAX: Millis = Millis(1_000);

/// An idempotent producer that is silent for so long is forgotten: a day, as in Apache Kafka
/// (`producer.id.expiration.ms`).
pub const PRODUCER_IDLE: Millis = Millis(24 * 60 * 60 * 1_000);

/// What the engine needs.
#[derive(Clone)]
pub struct Options {
    /// Where the store is.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Threads that run shards; a new store gets as many shards.
    pub workers: usize,
    /// Shards of a new store; 0: as many as workers.
    pub shards: u16,
    /// What the process may hold in memory, in bytes; see [`Memory`].
    pub memory_limit: usize,
    /// Bytes of batches kept in memory, all workers together.
    pub cache_bytes: usize,
    /// Open also a store that lost acknowledged commands, without them.
    pub salvage: bool,
    /// Publishing is blocked while the disk has less left; none: see [`reserve_bytes`].
    pub disk_free_min: Option<u64>,
    /// Bytes of sealed segments that are read in a second to verify them; 0: none.
    pub scrub_bytes: u64,
    /// An idempotent producer that is silent for so long is forgotten; [`PRODUCER_IDLE`] as a rule.
    pub producer_idle: Millis,
    /// Sizes of what is on the disk.
    pub sizes: Sizes,
}

/// Sizes of what is on the disk, in bytes. They may differ at every opening.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Segments, growing; the last one repeats.
    pub segment_bytes: Vec<u32>,
    /// Largest round.
    pub round_bytes_max: u32,
    /// Batches above this travel in parts.
    pub part_bytes: u32,
    /// A checkpoint after so much journal, or after a multiple of its own size.
    pub checkpoint_bytes: u64,
    /// While so much is on its way to the disk, all workers together, connections that append take
    /// turns: two of the longest rounds keep it busy.
    pub under_way_bytes: usize,
    /// A checkpoint of no more is one file; of a larger one what changed goes into files of its own.
    pub checkpoint_inline_bytes: u64,
    /// About so many bytes of a checkpoint are made in one turn of a worker.
    pub checkpoint_slice_bytes: usize,
    /// A checkpoint has `1 << chunk_bits` logs or subscriptions in a chunk; fewer than 32.
    pub chunk_bits: u32,
    /// Entries of one log's schedule that are kept in memory, the nearest ones; and of its index of keys,
    /// the newest ones.
    pub schedule_near_max: usize,
    /// Pages of index files in memory, all workers together. What was read for somebody stays
    /// until he has seen it, room or not.
    pub page_cache_bytes: usize,
    /// Batches that a page of an index file has at most.
    pub page_runs_max: usize,
    /// What is written again log by log.
    pub unzip: UnzipSizes,
}

impl Default for Sizes {
    fn default() -> Sizes {
        let journal = journal::Options::new(0);
        Sizes {
            segment_bytes: journal.segment_bytes,
            round_bytes_max: journal.round_bytes_max,
            part_bytes: journal.part_bytes,
            checkpoint_bytes: 64 << 20,
            under_way_bytes: 12 << 20,
            checkpoint_inline_bytes: journal.checkpoint_inline_bytes,
            checkpoint_slice_bytes: 64 << 10,
            chunk_bits: 8,
            schedule_near_max: 16 << 10,
            page_cache_bytes: 64 << 20,
            page_runs_max: 512,
            unzip: UnzipSizes::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Why the engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store was written by a later release.
    #[error("the store holds state of a newer release of crossdock; use that release to open it")]
    Newer,
    /// The store was written by an earlier release, before there was one to keep stores of.
    #[error("the store holds state of an older crossdock, which this one does not read")]
    Older,
    /// The store is a replica's.
    #[error("the store is one of several replicas; it is opened as that only")]
    Replica,
    /// The first files could not be written.
    #[error("the store cannot be written")]
    Write(#[source] Failed),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// A running engine. Dropping it without [`Engine::stop`] is a crash as far as the store goes.
pub struct Engine {
    handle: Handle,
    findings: Vec<Finding>,
    ports: Ports,
    journal: Arc<Mailbox<ToJournal>>,
    /// Ends the workers, when they have settled down.
    stop_workers: Stop,
    /// Ends what works for them.
    stop: Stop,
    notices: Arc<Mailbox<Notice>>,
    threads: Threads,
}

/// The threads of an engine.
struct Threads {
    workers: Vec<JoinHandle<Worker>>,
    readers: Vec<JoinHandle<()>>,
    keeper: JoinHandle<Keeper>,
    journal: JoinHandle<()>,
    scrubber: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug, Default)]
struct Stop(Arc<std::sync::atomic::AtomicBool>);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// In the checkpoint of a clean stop only: what was on its way to consumers had come back by then.
fn clean_stop() -> Page {
    let bytes = Bytes::from_static(b"clean");
    Page { kind: PageKind::Local, shard: ShardId::LOCAL, chunk: None, bytes }
}

impl Engine {
    /// Opens the store and starts the threads.
    ///
    /// Fails when the store is in use, damaged beyond what can be served around, of a newer
    /// release, or not writable.
    pub fn open(options: Options) -> Result<Engine, EngineError> {
        let opened = recover(&options, None)?;
        Engine::run(options, opened)
    }

    /// Opens the store as one of several replicas, and starts the threads. Every shard but the local one
    /// is ordered by the replicator, which is started with what the store holds; none is led here until
    /// it says so. A store of a single node becomes a replica's.
    ///
    /// Fails as [`Engine::open`] does; damage that the other replicas can repair is told to the
    /// replicator instead.
    pub fn open_replicated(
        options: Options,
        replication: Replication,
    ) -> Result<Engine, EngineError> {
        let opened = recover(&options, Some(&replication))?;
        Engine::run(options, opened)
    }

    fn run(options: Options, opened: Opened) -> Result<Engine, EngineError> {
        let Opened {
            workers,
            rounds,
            reader,
            pool,
            keeper,
            ports,
            shards,
            metrics,
            findings,
            journal,
            replicator,
        } = opened;
        let notices: Arc<Mailbox<Notice>> = Arc::default();
        let loads: Arc<Mailbox<(usize, Load)>> = Arc::default();
        let (stop_workers, stop) = (Stop::default(), Stop::default());
        let mut worker_threads = Vec::new();
        for (number, worker) in workers.into_iter().enumerate() {
            let outlets = Outlets {
                journal: Arc::clone(&journal),
                notices: Arc::clone(&notices),
                loads: Arc::clone(&loads),
                replicator: replicator.clone(),
            };
            let inbox = Arc::clone(&ports.mailboxes[number]);
            let (clock, stop) = (Arc::clone(&options.clock), stop_workers.clone());
            let body = move || run_worker(worker, &inbox, &outlets, clock.as_ref(), &stop);
            worker_threads.push(spawn(&format!("worker-{number}"), body)?);
        }
        let mut readers = Vec::new();
        for number in 0..READERS {
            let (reader, loads) = (reader.clone(), Arc::clone(&loads));
            let (ports, metrics, stop) = (ports.clone(), Arc::clone(&metrics), stop.clone());
            let body = move || run_reader(&reader, &loads, &ports, &metrics, &stop);
            readers.push(spawn(&format!("reader-{number}"), body)?);
        }
        let (keeper_inbox, keeper_stop) = (Arc::clone(&notices), stop.clone());
        let keeper = spawn("keeper", move || run_keeper(keeper, &keeper_inbox, &keeper_stop))?;
        let inbox = Arc::clone(&journal);
        let writer = spawn("journal", move || {
            let ended = disk::run(rounds, &inbox);
            replicator.iter().for_each(|replicator| replicator.stop());
            if let Err(failed) = ended {
                die(&failed);
            }
        })?;
        let mut scrubber = None;
        if options.scrub_bytes > 0 {
            let metrics = Arc::clone(&metrics);
            let mut pass = Scrubber::new(pool, metrics, options.scrub_bytes, &findings);
            let stop = stop.clone();
            scrubber = Some(spawn("scrubber", move || pass.run(|| stop.is_set()))?);
        }
        let threads =
            Threads { workers: worker_threads, readers, keeper, journal: writer, scrubber };
        let handle =
            Handle::new(ports.clone(), shards, metrics, Arc::clone(&options.clock), options.random);
        Ok(Engine { handle, findings, ports, journal, stop_workers, stop, notices, threads })
    }

    /// What front ends use.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Damage that was found at the start.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Writes down what waits, stores a checkpoint of everything and ends the threads: the next
    /// start replays nothing. Clients should be gone.
    pub fn stop(self) {
        for mailbox in &self.ports.mailboxes {
            mailbox.push(Input::Flush);
        }
        self.stop_workers.set();
        let workers: Vec<Worker> = self.threads.workers.into_iter().filter_map(ended).collect();
        self.journal.push(ToJournal::Stop);
        let _ = ended(self.threads.journal);
        self.stop.set();
        if let Some(scrubber) = self.threads.scrubber {
            scrubber.thread().unpark();
            let _ = ended(scrubber);
        }
        for reader in self.threads.readers {
            let _ = ended(reader);
        }
        if let Some(keeper) = ended(self.threads.keeper) {
            last_checkpoint(keeper, workers, &self.ports, &self.notices);
        }
    }
}

/// What a thread ends with; one that panicked has ended the process already.
fn ended<T>(thread: JoinHandle<T>) -> Option<T> {
    thread.join().ok()
}

/// Nothing is written any more and everything written is applied: a checkpoint now has it all.
fn last_checkpoint(
    mut keeper: Keeper,
    workers: Vec<Worker>,
    ports: &Ports,
    notices: &Mailbox<Notice>,
) {
    let mut waiting = Vec::new();
    notices.drain(&mut waiting);
    waiting.retain(|notice| !matches!(notice, Notice::Checkpoint { .. }));
    let part = keeper.begin_last_checkpoint();
    let mut marks = vec![clean_stop()];
    for mut worker in workers {
        let mut inputs = Vec::new();
        // What is sealed has to be indexed; a call that came too late was never answered.
        ports.mailboxes[worker.number()].drain(&mut inputs);
        inputs.retain(|input| !matches!(input, Input::Checkpoint(_)));
        inputs.push(part());
        // Time stands still: nothing may begin any more.
        let mut output = worker.turn(&mut inputs, Millis(0));
        while worker.is_cutting() || worker.is_indexing() {
            output.notices.append(&mut worker.turn(&mut inputs, Millis(0)).notices);
        }
        for mut notice in waiting.drain(..).chain(output.notices.drain(..)) {
            if let Notice::Checkpoint { part, .. } = &mut notice {
                part.pages.append(&mut marks);
            }
            if let Err(failed) = keeper.notice(notice) {
                return tracing::error!(%failed, "no checkpoint at the stop; the next start replays");
            }
        }
    }
    if let Err(failed) = keeper.store() {
        tracing::error!(%failed, "no checkpoint at the stop; the next start replays");
    }
}

/// Where a worker's output goes.
struct Outlets {
    journal: Arc<Mailbox<ToJournal>>,
    notices: Arc<Mailbox<Notice>>,
    loads: Arc<Mailbox<(usize, Load)>>,
    replicator: Option<Arc<dyn Replicator>>,
}

impl Outlets {
    fn send(&self, worker: usize, output: Output) {
        if !output.frames.is_empty() {
            self.journal.push(ToJournal::Frames(output.frames));
        }
        if let Some(replicator) = self.replicator.as_ref().filter(|_| !output.proposals.is_empty())
        {
            replicator.propose(output.proposals);
        }
        for load in output.loads {
            self.loads.push((worker, load));
        }
        for notice in output.notices {
            self.notices.push(notice);
        }
    }
}

fn run_worker(
    mut worker: Worker,
    inbox: &Mailbox<Input>,
    outlets: &Outlets,
    clock: &dyn Clock,
    stop: &Stop,
) -> Worker {
    let number = worker.number();
    let mut inputs = Vec::new();
    loop {
        match worker.busy() {
            true => inbox.drain(&mut inputs),
            false => {
                let now = clock.now();
                let due = worker.next_due().map_or(SLEEP_MAX, |due| due.since(now));
                let sleep = due.clamp(Millis(0), SLEEP_MAX);
                let sleep = Duration::from_millis(sleep.0.unsigned_abs());
                inbox.wait(&mut inputs, sleep);
            }
        }
        let output = worker.turn(&mut inputs, clock.now());
        outlets.send(number, output);
        if stop.is_set() && worker.settled_down() {
            return worker;
        }
    }
}

fn run_reader(
    reader: &Reader,
    loads: &Mailbox<(usize, Load)>,
    ports: &Ports,
    metrics: &Metrics,
    stop: &Stop,
) {
    let mut waiting = Vec::new();
    while !stop.is_set() {
        loads.wait_one(&mut waiting, Duration::from_millis(200));
        for (worker, load) in waiting.drain(..) {
            let loaded = disk::load(reader, load, metrics);
            ports.mailboxes[worker].push(Input::Loaded(loaded));
        }
    }
}

fn run_keeper(mut keeper: Keeper, notices: &Mailbox<Notice>, stop: &Stop) -> Keeper {
    let mut waiting = Vec::new();
    while !stop.is_set() {
        notices.wait(&mut waiting, KEEPER_EVERY);
        let mut result = Ok(());
        for notice in waiting.drain(..) {
            result = result.and_then(|()| keeper.notice(notice));
        }
        if let Err(failed) = result.and_then(|()| keeper.tick()) {
            die(&failed);
        }
    }
    keeper
}

impl Stop {
    fn is_set(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

/// A thread whose panic ends the process: what it held in memory cannot be trusted any more.
fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, EngineError> {
    let guarded = move || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|_| {
            tracing::error!("a thread of the engine panicked; the broker ends");
            std::process::abort();
        })
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(guarded).map_err(EngineError::Thread)
}

/// The disk is not to be trusted: nothing may be acknowledged any more. A restart reads what is
/// really there.
fn die(failed: &Failed) -> ! {
    let source = std::error::Error::source(failed).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%failed, source, "the disk failed; the broker ends so as not to lose more");
    std::process::exit(74);
}
