//! Queues that hand out one message of a key at a time: what key a message has is read when delivery
//! gets to it.

use super::getting::assign_one;
use super::{Handout, Queue, Turn};
use crate::api::Reply;
use crate::worker::store::{At, Store, Waiter};
use ledger::ConsumerKey;
use record::tail;
use types::Token;

/// A get that waits for a key to come from the disk.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct WaitingGet {
    pub(super) key: ConsumerKey,
    pub(super) token: Token,
    pub(super) settle_now: bool,
}

/// What became of a key that delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It waits for none.
    Nothing,
    /// It can go on.
    Now,
    /// The record comes from the disk.
    Later,
}

/// Tells the key that delivery of one of a queue's logs waits for, and those that follow it there.
pub(super) fn tell_keys(store: &mut Store, queue: &mut Queue, at: usize) -> Told {
    let serving = &queue.options.serving;
    if serving.of_a_key().is_none() {
        return Told::Nothing;
    }
    let header = serving.order_key.clone().unwrap_or_default();
    let shard = queue.subscription.shard;
    let waiter = Waiter::Queue { shard, subscription: queue.subscription.subscription };
    let log = &mut queue.logs[at];
    let Some(first) = log.dispatch.take_wanted() else { return Told::Nothing };
    match store.batch_at(log.log, first, waiter) {
        At::Batch(run, batch) => {
            let delta = |at: i64| u32::try_from(at - run.first.0).unwrap_or(u32::MAX);
            let keys = (first.0..run.end().0).map(|at| {
                let (tail, _) = batch.record(delta(at))?;
                let forgotten = io::planted("key-forgotten") && at % 4 == 1;
                key_of(&tail, header.as_bytes()).map(hash).filter(|_| !forgotten)
            });
            log.dispatch.tell_keys(first, keys);
        }
        // It turns out to be gone when its turn comes.
        At::Nothing { .. } => log.dispatch.tell_keys(first, std::iter::once(None)),
        At::Cold => {
            log.loading = true;
            return Told::Later;
        }
    }
    Told::Now
}

impl Turn<'_> {
    /// Answers the gets that waited for a key.
    pub(super) fn answer_gets(&mut self, queue: &mut Queue) {
        if queue.gets.is_empty() || queue.logs.iter().any(|log| log.loading) {
            return;
        }
        for get in std::mem::take(&mut queue.gets) {
            self.get_from_any(queue, get);
        }
    }

    fn get_from_any(&mut self, queue: &mut Queue, get: WaitingGet) {
        let by = (get.key, get.settle_now);
        for at in 0..queue.logs.len() {
            match assign_one(self.seat, self.store, (queue, at), by, self.now) {
                Ok(None) => {}
                Ok(Some(assignment)) => {
                    let handout = Handout::from((assignment, Some(get.token)));
                    return queue.logs[at].held.push_back(handout);
                }
                Err(_) => return queue.gets.push(get),
            }
        }
        self.clients.reply(get.key.client, get.token, Ok(Reply::Got(None, 0)));
    }
}

/// The record's key, or else the value of the header that is named.
pub(in crate::worker) fn key_of<'a>(bytes: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    let view = tail::decode(bytes).ok()?;
    let named = || view.headers.clone().find(|(name, _)| *name == header)?.1;
    view.key.or_else(named)
}

/// A number that differs where keys do: FNV-1a. Keys that happen to share a number wait for one another, and that is all.
pub(in crate::worker) fn hash(bytes: &[u8]) -> u64 {
    let seed = 0xcbf2_9ce4_8422_2325;
    bytes
        .iter()
        .fold(seed, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
