//! A node with two shards, what was asked of it, and what it may have after a crash.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ::io::sim::{SimDisk, SimRandom};
use ::io::{Access, Random};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use journal::{Dest, Failed, OpenError};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{BasicNode, EntryPayload, LogState, RaftLogReader, StorageError};
use types::{LogId, Millis, ShardId};

use super::store::Store;
use crate::frame::{Entry, EntryId, Membership, id};
use crate::{Frame, Journal, Sizes, Types};

pub(crate) const SHARDS: u16 = 2;

pub(crate) fn options(salt: u64) -> (journal::Options, Sizes) {
    let options = journal::Options {
        segment_bytes: vec![64 << 10, 128 << 10],
        round_bytes_max: 32 << 10,
        part_bytes: 12 << 10,
        ready_count: 1,
        reserve_bytes: 0,
        checkpoint_inline_bytes: 0,
        access: Access::Direct,
        salt,
        salvage: false,
    };
    (options, Sizes { unwritten_max: 24 << 10, kept_max: 4 << 10, read_max: 8 << 10 })
}

/// A future that is ready at once.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

/// What is asked of a shard's log, one frame each.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Vote(openraft::Vote<u64>),
    Entry(Entry),
    Truncate(EntryId),
    Purge(EntryId),
}

/// What a shard's log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) vote: Option<openraft::Vote<u64>>,
    pub(crate) purged: Option<EntryId>,
    pub(crate) entries: BTreeMap<u64, Entry>,
}

impl Held {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Vote(vote) => self.vote = Some(*vote),
            Step::Entry(entry) => {
                self.entries.insert(entry.log_id.index, entry.clone());
            }
            Step::Truncate(from) => {
                self.entries.split_off(&from.index);
            }
            Step::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(*upto);
            }
        }
    }

    pub(crate) fn last(&self) -> Option<EntryId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }
}

/// Everything asked of a shard's log, in order, and how much of it was acknowledged.
#[derive(Default)]
struct Asked {
    steps: Vec<Step>,
    acknowledged: usize,
    /// After all of it.
    held: Held,
}

type Outcome = Result<(), StorageError<u64>>;

struct Flight {
    shard: u16,
    /// Steps that are acknowledged when it is done.
    steps: usize,
    future: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// The end of a process.
#[derive(Debug)]
pub(crate) struct Ended;

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) random: SimRandom,
    store: Option<Store>,
    asked: [Asked; SHARDS as usize],
    flights: Vec<Flight>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        super::plants::plant_from_environment();
        World {
            disk: SimDisk::new(seed),
            random: SimRandom::new(seed ^ 0xfeed),
            store: None,
            asked: Default::default(),
            flights: Vec::new(),
        }
    }

    /// Opens the journal, and checks each shard: it holds what it would after some of the steps
    /// asked of it, in order, and after all of those that were acknowledged at least.
    pub(crate) fn open(&mut self) -> Result<(), OpenError> {
        self.flights.clear();
        self.store = None;
        let salt = self.random.next();
        let store = Store::open(&self.disk, salt, || {})?;
        for shard in 0..SHARDS {
            let found = found(&store.journal, shard);
            let asked = &mut self.asked[usize::from(shard)];
            let mut held = Held::default();
            let mut fits = None;
            for steps in 0..=asked.steps.len() {
                if steps > 0 {
                    held.take(&asked.steps[steps - 1]);
                }
                if steps >= asked.acknowledged && held == found {
                    fits = Some(steps);
                    break;
                }
            }
            let steps = fits.unwrap_or_else(|| {
                let (all, acknowledged) = (asked.steps.len(), asked.acknowledged);
                panic!("shard {shard}: {found:?} is after none of {acknowledged} to {all} steps")
            });
            asked.steps.truncate(steps);
            // What was found is synced.
            asked.acknowledged = steps;
            asked.held = found;
        }
        self.store = Some(store);
        Ok(())
    }

    fn journal(&self) -> &Journal {
        &self.store.as_ref().expect("it is open").journal
    }

    /// Whether the shard may be asked for something.
    pub(crate) fn is_free(&self, shard: u16) -> bool {
        self.flights.iter().all(|flight| flight.shard != shard)
    }

    pub(crate) fn held(&self, shard: u16) -> &Held {
        &self.asked[usize::from(shard)].held
    }

    /// Asks for a vote, a truncation or a purge, or that entries are appended.
    pub(crate) fn ask(&mut self, shard: u16, steps: Vec<Step>) -> Result<(), Ended> {
        assert!(self.is_free(shard), "openraft asks for one thing after the other");
        let mut log = self.journal().log(ShardId(shard));
        let asked = &mut self.asked[usize::from(shard)];
        for step in &steps {
            asked.held.take(step);
        }
        asked.steps.extend(steps.iter().cloned());
        let first = steps[0].clone();
        let future: Pin<Box<dyn Future<Output = Outcome> + Send>> = match first {
            Step::Vote(vote) => Box::pin(async move { log.save_vote(&vote).await }),
            Step::Truncate(from) => Box::pin(async move { log.truncate(from).await }),
            Step::Purge(upto) => Box::pin(async move { log.purge(upto).await }),
            Step::Entry(_) => {
                let entries = steps.into_iter().map(|step| match step {
                    Step::Entry(entry) => entry,
                    other => panic!("{other:?} among entries"),
                });
                let entries: Vec<Entry> = entries.collect();
                Box::pin(async move { log.blocking_append(entries).await })
            }
        };
        self.flights.push(Flight { shard, steps: asked.steps.len(), future });
        self.look()
    }

    /// One turn of the journal.
    pub(crate) fn turn(&mut self) -> Result<(), Ended> {
        let turned = self.store.as_ref().expect("it is open").turn();
        let goes_on = |failed: &Failed| failed.kind == journal::FailedKind::NoSpace;
        let is_over = turned.is_err_and(|failed| !goes_on(&failed));
        self.look()?;
        if is_over { Err(Ended) } else { Ok(()) }
    }

    /// Turns until nobody waits.
    pub(crate) fn settle(&mut self) -> Result<(), Ended> {
        for _ in 0..100 {
            self.turn()?;
            if self.flights.is_empty() {
                return Ok(());
            }
        }
        panic!("somebody waits for ever");
    }

    /// Each shard holds what was asked for; entries that are durable are read from the disk.
    pub(crate) fn check(&self) {
        let journal = self.journal();
        for shard in (0..SHARDS).filter(|shard| self.is_free(*shard)) {
            assert_eq!(found(journal, shard), *self.held(shard), "shard {shard}");
        }
    }

    /// Notes what is done.
    fn look(&mut self) -> Result<(), Ended> {
        let mut is_over = false;
        self.flights.retain_mut(|flight| {
            let asked = &mut self.asked[usize::from(flight.shard)];
            match flight.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => return true,
                Poll::Ready(Err(_)) => is_over = true,
                // A purge is not acknowledged: it is written when something behind it is.
                Poll::Ready(Ok(())) => {
                    if !matches!(asked.steps[flight.steps - 1], Step::Purge(_)) {
                        asked.acknowledged = flight.steps;
                    }
                }
            }
            false
        });
        if is_over { Err(Ended) } else { Ok(()) }
    }

    /// The next `count` entries of a shard, in `term`.
    pub(crate) fn entries(&self, shard: u16, term: u64, count: u64) -> Vec<Step> {
        let first = self.held(shard).last().map_or(0, |last| last.index + 1);
        let entry = |index| {
            let payload = match self.random.below(8) {
                0 => EntryPayload::Blank,
                1 => EntryPayload::Membership(self.membership()),
                2 => self.frame(term, &[20_000, 100]),
                3..5 => self.frame(term, &[300, 61]),
                5 => self.frame(term, &[2000]),
                _ => self.frame(term, &[]),
            };
            Step::Entry(Entry { log_id: id(u32::try_from(term).unwrap(), index), payload })
        };
        (first..first + count).map(entry).collect()
    }

    fn membership(&self) -> Membership {
        let node = self.random.below(5);
        let nodes = BTreeMap::from([(node, BasicNode::new(format!("host-{node}:1")))]);
        Membership::new(vec![[node, 9].into(), [1, 2].into()], nodes)
    }

    fn frame(&self, term: u64, sizes: &[usize]) -> EntryPayload<Types> {
        let batches: Vec<Bytes> = sizes.iter().map(|len| batch(&self.random, *len)).collect();
        let dest = |batch| Dest {
            log: LogId(u32::from(batch)),
            batch,
            records: 1,
            envelope: Bytes::from_static(b"beside"),
        };
        EntryPayload::Normal(Arc::new(Frame {
            term: u32::try_from(term).unwrap(),
            leader_ts: Millis(7),
            dests: (0..u16::try_from(batches.len()).unwrap()).map(dest).collect(),
            applied: Vec::new(),
            commands: Bytes::copy_from_slice(&self.random.next().to_le_bytes()),
            batches,
        }))
    }
}

/// What a shard's log says it holds.
fn found(journal: &Journal, shard: u16) -> Held {
    let mut log = journal.log(ShardId(shard));
    let vote = run(log.read_vote()).unwrap();
    let LogState { last_purged_log_id: purged, last_log_id } = run(log.get_log_state()).unwrap();
    let all = run(log.try_get_log_entries(..)).unwrap();
    let entries: BTreeMap<u64, Entry> =
        all.iter().map(|entry| (entry.log_id.index, entry.clone())).collect();
    let first = all.first().map_or(0, |entry| entry.log_id.index);
    assert!(
        all.iter().map(|entry| entry.log_id.index).eq(first..first + all.len() as u64),
        "a hole"
    );
    assert!(all.is_sorted_by_key(|entry| entry.log_id.leader_id), "terms go back");
    // A part at a time gives the same.
    let mut next = first;
    while next < first + all.len() as u64 {
        let some = run(log.limited_get_log_entries(next, u64::MAX)).unwrap();
        assert!(some.iter().eq(entries.range(next..).map(|(_, entry)| entry).take(some.len())));
        next += some.len() as u64;
    }
    let held = Held { vote, purged, entries };
    assert_eq!(held.last(), last_log_id);
    held
}

/// A RecordBatch of `len` bytes whose records are noise.
fn batch(random: &SimRandom, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    for word in bytes[61..].chunks_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
    }
    bytes[8..12].copy_from_slice(&i32::try_from(len - 12).unwrap().to_be_bytes());
    bytes[16] = 2;
    let crc = u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, &bytes[21..])).unwrap();
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}
