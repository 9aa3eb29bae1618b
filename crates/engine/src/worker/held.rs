//! Appends that came while publishing was blocked: sessions stop taking them when they hear of it,
//! and what was on its way by then waits here.

use super::Worker;
use crate::MemoryPool;
use crate::api::{Append, Call, Op, Schedule};
use std::collections::VecDeque;
use types::{ClientId, Error, Kind};

/// What an append takes beside its payload.
const APPEND_BYTES: usize = 256;

/// Appends that wait, in order; what the pool has no room for is refused.
#[derive(Debug, Default)]
pub(super) struct Held {
    calls: VecDeque<(ClientId, Call)>,
    bytes: usize,
}

impl Held {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Worker {
    /// Gives the call back unless it has to wait, or is refused, because publishing is blocked or the
    /// id of a message cannot be remembered.
    pub(super) fn unless_held(&mut self, client: ClientId, call: Call) -> Option<Call> {
        if let Err(error) = self.room_for_id(&call.op) {
            self.clients.reply(client, call.token, Err(error));
            return None;
        }
        if self.blocked.is_none() {
            return Some(call);
        }
        let (bytes, waits) = match &call.op {
            Op::Append(append) | Op::Schedule(Schedule { append, .. }) => {
                (bytes_of(append), append.waits)
            }
            Op::Transaction(all) if !all.appends.is_empty() => {
                (all.appends.iter().map(bytes_of).sum(), true)
            }
            _ => return Some(call),
        };
        let bytes_max = self.ports.memory.budget(MemoryPool::Held) / self.ports.mailboxes.len();
        if !waits || self.held.bytes + bytes > bytes_max {
            let why = "publishing is blocked: the broker is low on disk or memory";
            let refused = Error::new(Kind::Throttled, why);
            self.clients.reply(client, call.token, Err(refused));
            return None;
        }
        self.held.bytes += bytes;
        self.held.calls.push_back((client, call));
        None
    }

    /// Has what waits go on when publishing is not blocked any more.
    pub(super) fn let_held_go(&mut self) {
        if self.blocked.is_some() {
            return;
        }
        self.held.bytes = 0;
        for (client, call) in std::mem::take(&mut self.held.calls) {
            self.call(client, call);
        }
    }
}

fn bytes_of(append: &Append) -> usize {
    APPEND_BYTES + append.payload.bytes().len()
}
