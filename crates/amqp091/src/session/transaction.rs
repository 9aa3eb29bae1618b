//! tx.select, tx.commit and tx.rollback: publishes and acknowledgements held back until commit.
//!
//! A commit is all or nothing on each shard that it touches, and not across them.

use super::holdings::{Entry, Holdings, Settles};
use super::publish::Group;
use crate::codec::{Content, Publication};
use crate::errors::{Code, Exception};
use engine::api::{self, Append, Disposition, Once, Op, Schedule, Settle};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogRef, Millis, RECORD_BYTES_MAX, ShardId};

/// Most bytes that one transaction holds back.
const BYTES_MAX: usize = RECORD_BYTES_MAX;

/// What an acknowledgement counts, of one delivery or of a run of them.
const ENTRY_BYTES: usize = 40;

/// What a channel did since its last commit.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    appends: Vec<Append>,
    group: Group,
    /// What waits from the commit on, and how long.
    later: Vec<(Append, Millis)>,
    /// Deliveries that were settled, in the order of their tags or not.
    entries: Vec<(Entry, Disposition)>,
    /// basic.return frames, to be sent with the commit.
    returns: Vec<u8>,
    bytes: usize,
}

impl Transaction {
    /// What it holds back, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds a publication back.
    pub(super) fn publish(
        &mut self,
        to: &Arc<[LogRef]>,
        publication: &Publication<'_>,
        content: &Content<'_>,
        once: Option<&Once>,
    ) -> Result<(), Exception> {
        self.count(publication.body.len() + publication.properties.len() + ENTRY_BYTES)?;
        if !self.group.takes(to, once, None) {
            self.appends.extend(self.group.take());
        }
        self.group.push(to, publication, content, (once, false))
    }

    /// Holds a publication back that waits.
    pub(super) fn publish_later(&mut self, append: Append, delay: Millis) -> Result<(), Exception> {
        self.count(append.payload.bytes().len() + ENTRY_BYTES)?;
        self.later.push((append, delay));
        Ok(())
    }

    /// Where a publication that reaches no queue is to be written.
    pub(super) fn returns(
        &mut self,
        publication: &Publication<'_>,
    ) -> Result<&mut Vec<u8>, Exception> {
        self.count(publication.body.len() + publication.properties.len() + ENTRY_BYTES)?;
        Ok(&mut self.returns)
    }

    /// Holds a settlement back.
    pub(super) fn settle(
        &mut self,
        entry: Entry,
        disposition: Disposition,
    ) -> Result<(), Exception> {
        self.entries.push((entry, disposition));
        self.count(ENTRY_BYTES)
    }

    /// Ends the transaction at a time: the frames to return, one operation per shard, and one for each
    /// publication that waits.
    pub(super) fn commit(&mut self, holdings: &mut Holdings, time: Millis) -> (Vec<u8>, Vec<Op>) {
        let mut done = std::mem::take(self);
        done.appends.extend(done.group.take());
        let mut settles = Settles::default();
        for (entry, disposition) in done.entries {
            holdings.settled(&entry, disposition, &mut settles);
        }
        let mut shards: BTreeMap<ShardId, (Vec<Append>, Vec<Settle>)> = BTreeMap::new();
        for append in done.appends {
            for to in append.to.chunk_by(|left, right| left.shard == right.shard) {
                let part =
                    Append { to: to.into(), payload: append.payload.clone(), waits: append.waits };
                shards.entry(to[0].shard).or_default().0.push(part);
            }
        }
        for settle in settles.take() {
            shards.entry(settle.source.shard()).or_default().1.push(settle);
        }
        let transaction = |(shard, (appends, settles))| {
            Op::Transaction(api::Transaction { shard, appends, settles })
        };
        let later = done
            .later
            .into_iter()
            .map(|(append, delay)| Op::Schedule(Schedule { append, due: time.plus(delay) }));
        (done.returns, shards.into_iter().map(transaction).chain(later).collect())
    }

    /// Ends the transaction as if nothing had been done: its deliveries are unsettled again.
    pub(super) fn roll_back(&mut self, holdings: &mut Holdings) {
        let done = std::mem::take(self);
        holdings.unsettle(done.entries.into_iter().map(|(entry, _)| entry));
    }

    fn count(&mut self, bytes: usize) -> Result<(), Exception> {
        self.bytes += bytes;
        if self.bytes > BYTES_MAX {
            let text = format!("transaction is larger than {BYTES_MAX} bytes");
            return Err(Exception::new(Code::PreconditionFailed, text));
        }
        Ok(())
    }
}
