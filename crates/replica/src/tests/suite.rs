//! openraft's own tests of a log storage, on ours.

use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex};

use ::io::sim::SimDisk;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader, RaftTypeConfig, StorageError, Vote,
};
use types::ShardId;

use super::machine::Machine;
use super::node::Node;
use super::world::run;
use crate::frame::{Entry, EntryId, id};
use crate::{Journal, ShardLog, Types};

type Failure = StorageError<<Types as RaftTypeConfig>::NodeId>;

fn blank(index: u64) -> Entry {
    Entry { log_id: id(1, index), payload: EntryPayload::Blank }
}

/// Each test has a journal.
struct Alone;

impl StoreBuilder<Types, ShardLog, Machine, Node> for Alone {
    async fn build(&self) -> Result<(Node, ShardLog, Machine), Failure> {
        let node = Node::start(&SimDisk::new(1), 1, |_| {});
        let log = node.journal.log(ShardId(1));
        Ok((node, log, Machine::default()))
    }
}

#[test]
fn openrafts_suite_passes_with_one_shard() {
    Suite::test_all(Alone).unwrap();
}

/// All tests have one journal, each a shard of it, and another shard appends in every turn.
struct Beside {
    disk: SimDisk,
    node: Node,
    next: Mutex<u16>,
    appended: Arc<Mutex<u64>>,
}

const BUSY: ShardId = ShardId(0);

impl Beside {
    fn new() -> Beside {
        let disk = SimDisk::new(2);
        let appended = Arc::new(Mutex::new(0));
        let count = appended.clone();
        let node = Node::start(&disk, 2, move |journal: &Journal| {
            let mut appended = count.lock().unwrap();
            assert!(journal.append(BUSY, &blank(*appended), &mut None).is_ok());
            *appended += 1;
        });
        Beside { disk, node, next: Mutex::new(1), appended }
    }
}

impl StoreBuilder<Types, ShardLog, Machine> for &Beside {
    async fn build(&self) -> Result<((), ShardLog, Machine), Failure> {
        let mut next = self.next.lock().unwrap();
        let log = self.node.journal.log(ShardId(*next));
        *next += 1;
        Ok(((), log, Machine::default()))
    }
}

#[test]
fn openrafts_suite_passes_with_many_shards_on_one_journal() {
    let mut beside = Beside::new();
    Suite::test_all(&beside).unwrap();
    beside.node.stop();
    let states = |journal: &Journal| {
        let mut states = Vec::new();
        for shard in 0..*beside.next.lock().unwrap() {
            let mut log = journal.log(ShardId(shard));
            let entries = run(log.try_get_log_entries(..)).unwrap();
            let state = run(log.get_log_state()).unwrap();
            states.push((run(log.read_vote()).unwrap(), state, entries));
        }
        states
    };
    let before = states(&beside.node.journal);
    beside.disk.restart();
    let again = Node::start(&beside.disk, 3, |_| {});
    let after = states(&again.journal);
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    let appended = *beside.appended.lock().unwrap();
    let (_, _, busy) = &after[0];
    assert!(appended > 100, "{appended} turns");
    assert_eq!(*busy, (0..appended).map(blank).collect::<Vec<_>>());
}

/// A log whose node is ended, loses its power, and starts again before whatever is read.
struct Reopened {
    disk: SimDisk,
    node: Node,
    salt: u64,
}

impl Reopened {
    fn log(&self) -> ShardLog {
        self.node.journal.log(ShardId(1))
    }

    fn again(&mut self) -> ShardLog {
        self.node.stop();
        self.disk.restart();
        self.salt += 1;
        self.node = Node::start(&self.disk, self.salt, |_| {});
        self.log()
    }
}

struct Restarts;

impl StoreBuilder<Types, Reopened, Machine> for Restarts {
    async fn build(&self) -> Result<((), Reopened, Machine), Failure> {
        let (disk, salt) = (SimDisk::new(4), 1);
        let node = Node::start(&disk, salt, |_| {});
        Ok(((), Reopened { disk, node, salt }, Machine::default()))
    }
}

impl RaftLogReader<Types> for Reopened {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, Failure> {
        self.again().try_get_log_entries(range).await
    }
}

impl RaftLogStorage<Types> for Reopened {
    type LogReader = ShardLog;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failure> {
        self.again().get_log_state().await
    }

    async fn get_log_reader(&mut self) -> ShardLog {
        self.again()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), Failure> {
        self.log().save_vote(vote).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, Failure> {
        self.again().read_vote().await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.log().append(entries, callback).await
    }

    async fn truncate(&mut self, from: EntryId) -> Result<(), Failure> {
        self.log().truncate(from).await
    }

    async fn purge(&mut self, upto: EntryId) -> Result<(), Failure> {
        self.log().purge(upto).await
    }
}

#[test]
fn openrafts_suite_passes_with_a_power_cut_before_everything_that_is_read() {
    Suite::test_all(Restarts).unwrap();
}
