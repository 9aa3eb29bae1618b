//! The engine without threads: whoever holds it says which part goes on next.
//!
//! The same workers, rounds and keeper as in [`Engine`](crate::Engine); only the loops around them
//! are the caller's. With a simulated disk and clock every run is decided by its inputs.

use crate::disk::{self, Rounds, ToJournal};
use crate::keeper::Keeper;
use crate::open::{self, Opened};
use crate::replication::{Replication, Replicator};
use crate::worker::{Input, Load, Notice, Worker};
use crate::{EngineError, Handle, Mailbox, Metrics, Options};
use io::Clock;
use journal::{Failed, Finding, Reader};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use types::ShardId;

/// A part of the engine that can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A worker takes a turn.
    Worker(usize),
    /// The journal writes and syncs one round.
    Journal,
    /// The disk answers the oldest load.
    Load,
    /// The keeper looks around.
    Keeper,
}

/// An engine that moves only when told to.
pub struct Stepped {
    workers: Vec<Worker>,
    rounds: Rounds,
    reader: Reader,
    keeper: Keeper,
    handle: Handle,
    metrics: Arc<Metrics>,
    mailboxes: Vec<Arc<Mailbox<Input>>>,
    clock: Arc<dyn Clock>,
    waiting: Waiting,
    /// When the journal was last written.
    written_us: u64,
    findings: Vec<Finding>,
    replicator: Option<Arc<dyn Replicator>>,
}

/// What was said by one part and not heard by another.
struct Waiting {
    loads: VecDeque<(usize, Load)>,
    notices: VecDeque<Notice>,
    /// What a replicator has written.
    journal: Arc<Mailbox<ToJournal>>,
}

impl Drop for Stepped {
    fn drop(&mut self) {
        self.replicator.iter().for_each(|replicator| replicator.stop());
    }
}

impl fmt::Debug for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepped").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Stepped {
    /// Opens the store.
    ///
    /// Fails as [`Engine::open`](crate::Engine::open) does.
    pub fn open(options: Options) -> Result<Stepped, EngineError> {
        let opened = open::recover(&options, None)?;
        Ok(Stepped::new(options, opened))
    }

    /// Opens the store as one of several replicas.
    ///
    /// Fails as [`Engine::open_replicated`](crate::Engine::open_replicated) does.
    pub fn open_replicated(
        options: Options,
        replication: Replication,
    ) -> Result<Stepped, EngineError> {
        let opened = open::recover(&options, Some(&replication))?;
        Ok(Stepped::new(options, opened))
    }

    fn new(options: Options, opened: Opened) -> Stepped {
        let Opened {
            workers,
            rounds,
            reader,
            pool: _,
            keeper,
            ports,
            shards,
            metrics,
            findings,
            journal,
            replicator,
        } = opened;
        let mailboxes = ports.mailboxes.clone();
        let clock = Arc::clone(&options.clock);
        let handle =
            Handle::new(ports, shards, Arc::clone(&metrics), options.clock, options.random);
        Stepped {
            workers,
            rounds,
            reader,
            keeper,
            handle,
            metrics,
            mailboxes,
            clock,
            waiting: Waiting { loads: VecDeque::new(), notices: VecDeque::new(), journal },
            written_us: 0,
            findings,
            replicator,
        }
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

    /// How many workers there are.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// Lets one part go on.
    ///
    /// Fails when the disk failed: the engine is then dead, as the process would be.
    pub fn step(&mut self, part: Part) -> Result<(), Failed> {
        self.take_written();
        match part {
            Part::Worker(number) => {
                self.turn(number);
                Ok(())
            }
            Part::Journal if self.rounds.is_empty() => {
                let idle_us = self.clock.micros().saturating_sub(self.written_us);
                if idle_us >= disk::IDLE_US { self.rounds.witness() } else { Ok(()) }
            }
            Part::Journal => {
                self.written_us = self.clock.micros();
                self.rounds.step().map(|_| ())
            }
            Part::Load => {
                if let Some((worker, load)) = self.waiting.loads.pop_front() {
                    let loaded = disk::load(&self.reader, load, &self.metrics);
                    self.mailboxes[worker].push(Input::Loaded(loaded));
                }
                Ok(())
            }
            Part::Keeper => {
                for notice in self.waiting.notices.drain(..) {
                    self.keeper.notice(notice)?;
                }
                self.keeper.tick()
            }
        }
    }

    /// Lets every part go on, in order, `rounds` times.
    ///
    /// Fails when the disk failed.
    pub fn run(&mut self, rounds: usize) -> Result<(), Failed> {
        for _ in 0..rounds {
            for number in 0..self.workers.len() {
                self.step(Part::Worker(number))?;
            }
            self.take_written();
            if !self.rounds.is_empty() {
                self.step(Part::Journal)?;
            }
            self.step(Part::Load)?;
            self.step(Part::Keeper)?;
        }
        Ok(())
    }

    /// Asks for a checkpoint now; it is stored when every worker and the keeper have gone on.
    pub fn checkpoint(&mut self) {
        self.keeper.begin_checkpoint();
    }

    /// The replicated state of every durable shard, as a checkpoint would keep it: equal states
    /// give equal bytes, however many workers share the shards.
    #[must_use]
    pub fn state(&self) -> Vec<(ShardId, Vec<u8>)> {
        let mut states: Vec<_> = self.workers.iter().flat_map(Worker::state).collect();
        states.sort_unstable_by_key(|(shard, _)| *shard);
        states
    }

    /// The last entry that each durable shard's state has, and whether the shard is led here.
    #[must_use]
    pub fn applied(&self) -> Vec<(ShardId, u64, bool)> {
        let mut applied: Vec<_> = self.workers.iter().flat_map(Worker::applied).collect();
        applied.sort_unstable();
        applied
    }

    /// Batches of which only checkpoints know where they lie for a log: see `docs/decisions`.
    #[cfg(test)]
    pub(crate) fn referred(&self) -> usize {
        self.workers.iter().map(Worker::referred).sum()
    }

    /// The levels of the runs in the indexes of keys.
    #[cfg(test)]
    pub(crate) fn key_levels(&self) -> Vec<u8> {
        let shards = self.workers.iter().flat_map(Worker::shards);
        let runs = shards.flat_map(|shard| shard.keys.values()).flat_map(|keys| keys.runs());
        runs.map(|run| run.level).collect()
    }

    /// How often the disk is still asked for something.
    #[cfg(test)]
    pub(crate) fn loads(&self) -> usize {
        self.waiting.loads.len()
    }

    /// Queues that are not idle.
    #[cfg(test)]
    pub(crate) fn awake(&self) -> usize {
        self.workers.iter().map(Worker::awake).sum()
    }

    /// In how many pieces the logs lie in the segments with an index file, all together.
    #[cfg(test)]
    pub(crate) fn pieces(&self) -> u64 {
        self.keeper.pieces()
    }

    /// Whether nothing is on its way: every frame that was begun is on the disk and applied.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.rounds.is_empty()
            && self.waiting.journal.is_empty()
            && self.mailboxes.iter().all(|mailbox| mailbox.is_empty())
            && self.workers.iter().all(Worker::settled_down)
    }

    /// Holds what is counted as live in each segment against what is stored.
    ///
    /// Fails with what is wrong.
    pub fn audit(&self) -> Result<(), String> {
        let read = |log, page| disk::read_page(&self.reader, log, page);
        self.workers.iter().try_for_each(|worker| worker.audit(read))
    }

    fn take_written(&mut self) {
        let mut written = Vec::new();
        self.waiting.journal.drain(&mut written);
        for message in written {
            if let ToJournal::Frames(frames) = message {
                self.rounds.add(frames);
            }
        }
    }

    fn turn(&mut self, number: usize) {
        let mut inputs = Vec::new();
        self.mailboxes[number].drain(&mut inputs);
        let output = self.workers[number].turn(&mut inputs, self.clock.now());
        if let Some(replicator) = self.replicator.as_ref().filter(|_| !output.proposals.is_empty())
        {
            replicator.propose(output.proposals);
        }
        if !output.frames.is_empty() {
            self.rounds.add(output.frames);
        }
        self.waiting.loads.extend(output.loads.into_iter().map(|load| (number, load)));
        self.waiting.notices.extend(output.notices);
    }
}
