//! What a connection holds in memory, and what it does when that is short.
//!
//! Whoever has operations under way hears of their end and is read from again then. Whoever has
//! none is always read from up to its share; beyond it, in the middle of a large message, it needs
//! the baton, which one connection has at a time. A client that has it and sends nothing is cut: it
//! would keep the others' messages half read.

use super::{Connection, INPUT_BYTES_MAX, OUTPUT_BYTES_MAX, READ_BYTES_MIN, SUBMITTED_BYTES_MAX};
use bytes::BytesMut;
use engine::MemoryPool;
use std::time::Duration;
use types::Millis;

/// How soon a connection that waits for memory looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who has the baton sends [`BATON_BYTES_MIN`] in so long, or is cut.
const BATON_SPAN: Millis = Millis(5_000);
const BATON_BYTES_MIN: u64 = 256 << 10;

/// Leave to read on without room.
#[derive(Debug)]
pub(super) struct Baton {
    since: Millis,
    /// All bytes received by then.
    received: u64,
}

impl Connection {
    /// Counts what it holds; called before each wait.
    pub fn count_memory(&mut self, now: Millis) {
        let (input, output) = (self.input.capacity(), self.state.output.pending());
        if self.input.is_empty() && input > self.share(MemoryPool::Input) {
            // A busy connection keeps its buffer, but not while memory is short.
            self.input = BytesMut::new();
        }
        self.account.set(MemoryPool::Input, self.input.capacity() + self.session.held_bytes());
        self.account.set(MemoryPool::Submitted, self.state.flights.bytes());
        // The delivered part of it counts already, in the outbox.
        self.account.set(MemoryPool::Output, output.saturating_sub(self.delivered_bytes));
        self.pass_baton(now);
    }

    /// When [`Connection::count_memory`] has to be called though nothing happens.
    #[must_use]
    pub fn memory_wait(&self) -> Option<Duration> {
        let span = Duration::from_millis(BATON_SPAN.0.unsigned_abs());
        match self.baton {
            Some(_) => Some(span),
            None => self.state.starved.then_some(LOOK_AGAIN),
        }
    }

    /// What it may hold of a pool at this moment.
    pub(super) fn share(&self, pool: MemoryPool) -> usize {
        self.account.memory().share(pool)
    }

    /// Whether it would be read from if its input had room.
    pub(super) fn would_read(&self) -> bool {
        let state = &self.state;
        !state.paused
            && !state.closing
            && !state.draining
            && state.output.pending() < self.share(MemoryPool::Output).min(OUTPUT_BYTES_MAX)
            && state.flights.bytes() < self.share(MemoryPool::Submitted).min(SUBMITTED_BYTES_MAX)
            && self.input.len() < INPUT_BYTES_MAX
    }

    /// Whether what it holds of a message leaves room for more.
    pub(super) fn has_input_room(&self) -> bool {
        self.input.len() + self.session.held_bytes()
            < self.share(MemoryPool::Input).max(READ_BYTES_MIN)
    }

    fn pass_baton(&mut self, now: Millis) {
        let needs = !self.has_input_room() && self.would_read();
        let (client, memory) = (self.peer.client, self.account.memory());
        match &mut self.baton {
            None if !needs => self.state.starved = false,
            None if memory.take_baton(client) => {
                self.state.starved = false;
                self.baton = Some(Baton { since: now, received: self.received });
            }
            None => self.state.starved = true,
            Some(_) if !needs => {
                memory.give_baton(client);
                self.baton = None;
            }
            Some(baton) if now.since(baton.since) >= BATON_SPAN => {
                if self.received - baton.received < BATON_BYTES_MIN {
                    tracing::debug!(peer = %self.peer, "client stalls while memory is short");
                    self.state.closing = true;
                    self.state.cut = true;
                }
                *baton = Baton { since: now, received: self.received };
            }
            Some(_) => {}
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.baton.is_some() {
            self.account.memory().give_baton(self.peer.client);
        }
    }
}
