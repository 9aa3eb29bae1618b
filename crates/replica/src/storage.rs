//! A shard's log as openraft wants it.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

use journal::Vote;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LeaderId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError};
use tokio::sync::oneshot;
use types::ShardId;

use crate::frame::{Entry, EntryId, Unstorable, id, term_of};
use crate::journal::{Done, Journal, NotTaken};
use crate::types::Types;

type Failure = StorageError<u64>;

/// The log and the votes of one shard in a node's journal; openraft's log storage. Clones read the
/// same log.
#[derive(Clone, Debug)]
pub struct ShardLog {
    journal: Journal,
    shard: ShardId,
}

impl ShardLog {
    pub(crate) fn new(journal: Journal, shard: ShardId) -> ShardLog {
        ShardLog { journal, shard }
    }

    /// Calls `put` until there is room.
    async fn put(
        &self,
        mut put: impl FnMut() -> Result<(), NotTaken> + Send,
    ) -> Result<(), NotPut> {
        loop {
            match put() {
                Ok(()) => return Ok(()),
                // It is dropped unsent when the journal has stopped, which the next call is told.
                Err(NotTaken::Full(room)) => drop(room.await),
                Err(NotTaken::Unstorable(unstorable)) => return Err(unstorable.into()),
                Err(NotTaken::Stopped(error)) => return Err(error.into()),
            }
        }
    }

    /// Has it written durably whether this replica may have forgotten what it acknowledged.
    pub(crate) async fn mark_faulty(&self, is_faulty: bool) -> Result<(), NotPut> {
        self.put_durably(|done| self.journal.mark_faulty(self.shard, is_faulty, done)).await
    }

    /// Takes back durably the entries from one on that cannot be read.
    pub(crate) async fn cut(&self, place: (u32, u64)) -> Result<(), NotPut> {
        self.put_durably(|done| self.journal.truncate(self.shard, place, done)).await
    }

    /// As [`put`](ShardLog::put), and waits until what was put is durable.
    async fn put_durably(
        &self,
        mut put: impl FnMut(&mut Option<Done>) -> Result<(), NotTaken> + Send,
    ) -> Result<(), NotPut> {
        let (call, done) = oneshot::channel();
        let mut call = Some(Done::Call(call));
        self.put(|| put(&mut call)).await?;
        let gone = |_| io::Error::other("the journal is gone");
        Ok(done.await.map_err(gone)??)
    }

    #[expect(clippy::result_large_err, reason = "openraft asks for its own error")]
    fn read(&self, range: impl RangeBounds<u64>, is_limited: bool) -> Result<Vec<Entry>, Failure> {
        let read = self.journal.entries(self.shard, range, is_limited);
        read.map_err(|(index, error)| StorageIOError::read_log_at_index(index, &error).into())
    }
}

/// Why something is not in the journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPut {
    #[error(transparent)]
    Unstorable(#[from] Unstorable),
    #[error("the journal failed")]
    Stopped(#[from] io::Error),
}

fn cannot_write(error: &NotPut) -> Failure {
    StorageIOError::write_logs(error).into()
}

#[expect(clippy::result_large_err, reason = "openraft asks for its own error")]
fn place_of(id: &EntryId) -> Result<(u32, u64), Failure> {
    let term = term_of(id.leader_id.term).map_err(|error| cannot_write(&error.into()))?;
    Ok((term, id.index))
}

impl RaftLogReader<Types> for ShardLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, Failure> {
        self.read(range, false)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, Failure> {
        self.read(start..end, true)
    }
}

impl RaftLogStorage<Types> for ShardLog {
    type LogReader = ShardLog;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failure> {
        let state = |log: &crate::log::Log| LogState {
            last_purged_log_id: log.purged.map(|(term, index)| id(term, index)),
            last_log_id: log.last().map(|(term, index)| id(term, index)),
        };
        Ok(self.journal.look(self.shard, state))
    }

    async fn get_log_reader(&mut self) -> ShardLog {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &openraft::Vote<u64>) -> Result<(), Failure> {
        let failed = |error: &NotPut| Failure::from(StorageIOError::write_vote(error));
        let term = term_of(vote.leader_id.term).map_err(|error| failed(&error.into()))?;
        let is_committed = vote.committed;
        let node = vote.leader_id.voted_for;
        let vote = Vote { term, node, is_committed, is_faulty: false };
        let put = self.put_durably(|done| self.journal.vote(self.shard, vote, done));
        put.await.map_err(|error| failed(&error))
    }

    async fn read_vote(&mut self) -> Result<Option<openraft::Vote<u64>>, Failure> {
        let vote = self.journal.look(self.shard, |log| log.vote);
        Ok(vote.map(|vote| openraft::Vote {
            leader_id: LeaderId { term: u64::from(vote.term), voted_for: vote.node },
            committed: vote.is_committed,
        }))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut entries = entries.into_iter().peekable();
        let mut callback = Some(Done::Append(callback));
        while let Some(entry) = entries.next() {
            let mut done = if entries.peek().is_none() { callback.take() } else { None };
            let put = self.put(|| self.journal.append(self.shard, &entry, &mut done));
            put.await.map_err(|error| {
                StorageError::from(StorageIOError::write_log_entry(entry.log_id, &error))
            })?;
        }
        if let Some(callback) = callback {
            callback.tell(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, from: EntryId) -> Result<(), Failure> {
        let place = place_of(&from)?;
        let put = self.put_durably(|done| self.journal.truncate(self.shard, place, done));
        put.await.map_err(|error| cannot_write(&error))
    }

    async fn purge(&mut self, upto: EntryId) -> Result<(), Failure> {
        let place = place_of(&upto)?;
        let put = self.put(|| self.journal.purge(self.shard, place));
        put.await.map_err(|error| cannot_write(&error))
    }
}
