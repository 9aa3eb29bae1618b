//! Sessions of a queue: whose they are by their keys, and what is kept for them.

use super::Worker;
use super::queue::{Queue, gone, hash, key_of};
use crate::MemoryPool;
use crate::api::{
    Delivery, Reply, SESSION_KEY_BYTES_MAX, SESSIONS_MAX, STATE_BYTES_MAX, Session, Sessions,
    SetSession,
};
use crate::command::Command;
use crate::shard::Shard;
use bytes::Bytes;
use ledger::{Dispatch, HeldSession};
use std::collections::BTreeMap;
use types::{ClientId, Error, Kind, SubscriptionRef, Token};

/// What the keys of sessions of one queue may take that are known because they are a consumer's.
const NAMED_BYTES_MAX: usize = 1 << 20;
/// What one takes beside its bytes.
const OVERHEAD: usize = 64;

/// The keys of sessions by their numbers, as far as they are a consumer's.
#[derive(Debug, Default)]
pub(super) struct SessionNames {
    by_number: BTreeMap<u64, Bytes>,
    bytes: usize,
    /// So many more are not noted before it is looked for some that are over.
    unnoted: usize,
}

impl SessionNames {
    /// A message is delivered.
    pub(super) fn note(&mut self, dispatch: &Dispatch, header: &[u8], item: &Delivery) {
        let number = dispatch.session_of_leased(item.offset);
        if number.is_some_and(|number| self.by_number.contains_key(&number)) {
            return;
        }
        let Some(key) = key_of(&item.tail, header).filter(|it| it.len() <= SESSION_KEY_BYTES_MAX)
        else {
            return;
        };
        let bytes = key.len() + OVERHEAD;
        if self.bytes + bytes > NAMED_BYTES_MAX {
            if self.unnoted > 0 {
                self.unnoted -= 1;
                return;
            }
            self.by_number.retain(|number, _| dispatch.session(*number).is_some());
            self.bytes = self.by_number.values().map(|key| key.len() + OVERHEAD).sum();
            let is_full = self.bytes > NAMED_BYTES_MAX / 2;
            self.unnoted = if is_full { self.by_number.len() } else { 0 };
        }
        if self.bytes + bytes <= NAMED_BYTES_MAX
            && self.by_number.insert(hash(key), Bytes::copy_from_slice(key)).is_none()
        {
            self.bytes += bytes;
        }
    }
}

impl Worker {
    pub(super) fn set_session(&mut self, client: ClientId, token: Token, op: SetSession) {
        if let Err(error) = self.set_session_now((client, token), op) {
            self.clients.reply(client, token, Err(error));
        }
    }

    fn set_session_now(&mut self, asker: (ClientId, Token), op: SetSession) -> Result<(), Error> {
        let SetSession { subscription, key, expected, state } = op;
        self.sessions_of(subscription)?;
        if key.len() > SESSION_KEY_BYTES_MAX {
            let why = format!("the key of a session has {SESSION_KEY_BYTES_MAX} bytes at most");
            return Err(Error::new(Kind::TooLarge, why));
        }
        if let Some(state) = &state {
            if state.len() > STATE_BYTES_MAX {
                let why = format!("the state of a session has {STATE_BYTES_MAX} bytes at most");
                return Err(Error::new(Kind::TooLarge, why));
            }
            let memory = &self.ports.memory;
            if memory.used(MemoryPool::Sessions) >= memory.budget(MemoryPool::Sessions) {
                return Err(Error::new(Kind::Throttled, "states of sessions take all they may"));
            }
        }
        let seat = self.seats.get_mut(&subscription.shard).ok_or_else(gone)?;
        let subscription = subscription.subscription;
        seat.client_command(Command::SetSession { subscription, key, expected, state }, asker)
    }

    pub(super) fn tell_sessions(&mut self, client: ClientId, token: Token, op: &Sessions) {
        let shown = self.sessions_of(op.subscription).map(|(shard, queue)| {
            let (sessions, next) = some(shard, queue, op);
            Reply::Sessions(sessions, next)
        });
        self.clients.reply(client, token, shown);
    }

    /// A queue whose keys are sessions.
    fn sessions_of(&mut self, subscription: SubscriptionRef) -> Result<(&Shard, &Queue), Error> {
        self.wake(subscription);
        let seat = self.seats.get(&subscription.shard).ok_or_else(gone)?;
        let queue = seat.queues.get(&subscription.subscription).ok_or_else(gone)?;
        if !queue.options.serving.sessions {
            return Err(Error::new(Kind::Invalid, "the queue has no sessions"));
        }
        Ok((&seat.shard, queue))
    }
}

/// Sessions that are a consumer's or have a state, and the key of the next one.
fn some(shard: &Shard, queue: &Queue, op: &Sessions) -> (Vec<Session>, Option<Bytes>) {
    let count = op.count.min(SESSIONS_MAX) as usize;
    let id = op.subscription.subscription;
    let mut found: BTreeMap<Bytes, Session> = BTreeMap::new();
    for (key, state) in shard.states.some(id, &op.from, count + 1) {
        let (version, state_bytes) = (state.version, state.state.len());
        found.insert(key.clone(), Session { version, state_bytes, ..Session::default() });
    }
    for log in &queue.logs {
        let Some(names) = &log.sessions else { continue };
        for HeldSession { key: number, .. } in log.dispatch.sessions() {
            if let Some(key) = names.by_number.get(&number).filter(|key| **key >= op.from) {
                found.entry(key.clone()).or_default();
            }
        }
    }
    let next = found.keys().nth(count).cloned();
    let mut sessions: Vec<Session> = found
        .into_iter()
        .take(count)
        .map(|(key, session)| {
            let held = |log: &super::queue::QueueLog| log.dispatch.session(hash(&key));
            let held = queue.logs.iter().find_map(held);
            Session {
                owner: held.and_then(|held| held.owner),
                in_flight: held.map_or(0, |held| held.in_flight),
                waiting: held.map_or(0, |held| held.waiting),
                key,
                ..session
            }
        })
        .collect();
    if let Some(first) = sessions.first_mut().filter(|_| op.with_state) {
        first.state = shard.states.get(id, &first.key).map(|state| state.state.clone());
    }
    (sessions, next)
}

#[cfg(test)]
mod tests;
