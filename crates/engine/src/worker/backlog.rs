//! Calls that wait because as much is on its way to the disk as it can use: the connections they are
//! of take turns by bytes, so that one that floods delays only itself.
//!
//! A connection's calls stay in order, its end among them. What appends nothing passes, unless its
//! own connection waits.
//!
//! Source: M. Shreedhar, G. Varghese, "Efficient fair queuing using deficit round robin", IEEE/ACM
//! Transactions on Networking 4(3), 1996.

#[cfg(test)]
mod tests;

use super::{Seat, Worker};
use crate::api::{Append, Call, Op, Payload};
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
    under_way_max: usize,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Bytes it may still do in its turn.
    credit: usize,
}

/// What waits.
#[derive(Debug)]
pub(super) enum Waiting {
    Call(Call),
    /// The connection has gone.
    Gone,
}

impl Backlog {
    fn holds(&self, client: ClientId) -> bool {
        !self.lines.is_empty() && self.lines.contains_key(&client)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn add(&mut self, client: ClientId, waiting: impl Iterator<Item = Waiting>) {
        let line = self.lines.entry(client).or_default();
        if line.waiting.is_empty() {
            self.turns.push_back(client);
        }
        line.waiting.extend(waiting);
    }

    /// What is next.
    fn next(&mut self) -> Option<(ClientId, Waiting)> {
        loop {
            let client = *self.turns.front()?;
            let line = self.lines.get_mut(&client)?;
            let bytes = line.waiting.front()?.bytes();
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

impl Waiting {
    fn bytes(&self) -> usize {
        match self {
            Waiting::Call(call) => CALL_BYTES + appends(call).map(payload_bytes).sum::<usize>(),
            Waiting::Gone => 0,
        }
    }
}

impl Worker {
    /// Bounds what is on its way to the disk while anybody waits, in bytes.
    pub(crate) fn bound_under_way(&mut self, bytes_max: usize) {
        self.backlog.under_way_max = bytes_max;
    }

    /// Carries a connection's calls out, or has them wait.
    pub(super) fn calls(&mut self, client: ClientId, calls: Vec<Call>) {
        let waits = self.backlog.holds(client)
            || self.is_behind() && calls.iter().any(|call| appends(call).next().is_some());
        if waits {
            return self.backlog.add(client, calls.into_iter().map(Waiting::Call));
        }
        for call in calls {
            self.call(client, call);
        }
    }

    /// A connection has gone; what it sent before still counts.
    pub(super) fn gone(&mut self, client: ClientId) {
        match self.backlog.holds(client) {
            true => self.backlog.add(client, std::iter::once(Waiting::Gone)),
            false => self.drop_client(client),
        }
    }

    /// Carries out what waits, as far as there is room.
    pub(super) fn take_turns(&mut self) {
        while !self.backlog.is_empty() && !self.is_behind() {
            match self.backlog.next() {
                Some((client, Waiting::Call(call))) => self.call(client, call),
                Some((client, Waiting::Gone)) => self.drop_client(client),
                None => return,
            }
        }
    }

    /// Whether as much is on its way to the disk as it can use.
    fn is_behind(&self) -> bool {
        let under_way = self.seats.values().map(Seat::under_way_bytes).sum::<usize>();
        // A draft that only settles waits for company: this may be it.
        under_way >= self.backlog.under_way_max && self.seats.values().any(Seat::moves)
    }
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
    let (Payload::Batch(bytes) | Payload::Tails { bytes, .. }) = &append.payload;
    bytes.len()
}
