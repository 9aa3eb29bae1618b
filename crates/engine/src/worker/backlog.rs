//! Calls that wait because as much is on its way to the disk as it can use: the connections they are
//! of take turns by bytes, so that one that floods delays only itself.
//!
//! A connection's calls stay in order. What appends nothing passes, unless its own connection waits;
//! when a connection goes, what it sent before is carried out at once, so that what its client sends
//! by another one comes after.
//!
//! Source: M. Shreedhar, G. Varghese, "Efficient fair queuing using deficit round robin", IEEE/ACM
//! Transactions on Networking 4(3), 1996.

#[cfg(test)]
mod tests;

use super::{Seat, Worker};
use crate::api::{Append, Call, Op};
use std::collections::{BTreeMap, VecDeque};
use types::ClientId;

/// What a connection may do in its turn, in bytes.
const QUANTUM: usize = 64 << 10;
/// What a call counts beside its payload.
const CALL_BYTES: usize = 256;

/// Calls that wait, by connection.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    lines: BTreeMap<ClientId, Line>,
    /// Who has something waiting, in the order of their turns.
    turns: VecDeque<ClientId>,
    /// Most bytes of a worker that are on their way to the disk while anybody waits.
    pub(super) under_way_max: usize,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Call>,
    /// Bytes it may still do in its turn.
    credit: usize,
}

impl Backlog {
    fn holds(&self, client: ClientId) -> bool {
        !self.lines.is_empty() && self.lines.contains_key(&client)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn add(&mut self, client: ClientId, calls: impl Iterator<Item = Call>) {
        let line = self.lines.entry(client).or_default();
        if line.waiting.is_empty() {
            self.turns.push_back(client);
        }
        line.waiting.extend(calls);
    }

    /// Takes out what waits of a connection.
    fn remove(&mut self, client: ClientId) -> VecDeque<Call> {
        let Some(line) = self.lines.remove(&client) else { return VecDeque::new() };
        self.turns.retain(|other| *other != client);
        line.waiting
    }

    /// What is next.
    fn next(&mut self) -> Option<(ClientId, Call)> {
        loop {
            let client = *self.turns.front()?;
            let line = self.lines.get_mut(&client)?;
            let bytes = call_bytes(line.waiting.front()?);
            if line.credit < bytes {
                line.credit += QUANTUM;
                self.turns.rotate_left(1);
                continue;
            }
            line.credit -= bytes;
            let next = line.waiting.pop_front()?;
            if line.waiting.is_empty() {
                self.lines.remove(&client);
                self.turns.pop_front();
            }
            return Some((client, next));
        }
    }
}

impl Worker {
    /// Carries a connection's calls out, or has them wait.
    pub(super) fn calls(&mut self, client: ClientId, calls: Vec<Call>) {
        if self.is_replica {
            for call in &calls {
                self.clients.asks(client, call.token, call.op.shard());
            }
        }
        let waits = self.backlog.holds(client)
            || self.is_behind() && calls.iter().any(|call| appends(call).next().is_some());
        if waits {
            return self.backlog.add(client, calls.into_iter());
        }
        for call in calls {
            self.call(client, call);
        }
    }

    /// A connection has gone; what it sent before still counts.
    pub(super) fn gone(&mut self, client: ClientId) {
        for call in self.backlog.remove(client) {
            self.call(client, call);
        }
        self.drop_client(client);
    }

    /// Carries out what waits, as far as there is room.
    pub(super) fn take_turns(&mut self) {
        while !self.backlog.is_empty() && !self.is_behind() {
            let Some((client, call)) = self.backlog.next() else { return };
            self.call(client, call);
        }
    }

    /// Whether as much is on its way to the disk as it can use.
    fn is_behind(&self) -> bool {
        let under_way = self.seats.values().map(Seat::under_way_bytes).sum::<usize>();
        // A draft that only settles waits for company: this may be it.
        under_way >= self.backlog.under_way_max && self.seats.values().any(Seat::moves)
    }
}

fn call_bytes(call: &Call) -> usize {
    CALL_BYTES + appends(call).map(payload_bytes).sum::<usize>()
}

fn appends(call: &Call) -> impl Iterator<Item = &Append> {
    let (one, all) = match &call.op {
        Op::Append(append) => (Some(append), &[][..]),
        Op::Schedule(schedule) => (Some(&schedule.append), &[][..]),
        Op::Transaction(transaction) => (None, &transaction.appends[..]),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(all)
}

fn payload_bytes(append: &Append) -> usize {
    append.payload.bytes().len()
}
