//! What a session can do.

use crate::connection::{OUTPUT_BYTES_MAX, State};
use crate::{Door, Peer};
use bytes::{Bytes, BytesMut};
use engine::Names;
use engine::api::Op;
use engine::catalog::{Owner, TopicId};
use std::fmt;
use std::sync::Arc;
use types::{Millis, Token};

/// A session's hands during one call: operations, output, pauses, timers. Nothing is done before
/// the session returns.
pub struct Cx<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) peer: &'a Peer,
    pub(crate) door: &'a dyn Door,
    pub(crate) now: Millis,
}

impl fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("peer", self.peer).field("now", &self.now).finish()
    }
}

impl Cx<'_> {
    /// Who is connected, and by which of our addresses.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.peer
    }

    /// The connection as an owner of exclusive things.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.door.owner()
    }

    /// What exists and where, at this moment. A change is in it before its reply arrives.
    #[must_use]
    pub fn names(&self) -> Arc<Names> {
        self.door.names()
    }

    /// The time of day; [`Cx::now`] is for deadlines.
    #[must_use]
    pub fn time(&self) -> Millis {
        self.door.time()
    }

    /// A random number.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.door.random()
    }

    /// A random id for a topic or queue to be.
    #[must_use]
    pub fn new_topic_id(&self) -> TopicId {
        self.door.new_topic_id()
    }

    /// Milliseconds on a clock that never goes back, for [`Cx::wake_at`]; not the time of day.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Submits an operation; its reply carries the token. An append whose destinations lie on
    /// several shards is split, and answered once: with the first failure, else with what the first
    /// destination that still exists said. Operations for one shard are taken in order.
    pub fn submit(&mut self, op: Op) -> Token {
        self.state.flights.submit(op, true)
    }

    /// Submits an operation whose reply the session does not want. Its bytes count until it is
    /// done, as any other's.
    pub fn submit_unanswered(&mut self, op: Op) {
        self.state.flights.submit(op, false);
    }

    /// The output buffer, to append to.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.state.output.buffer()
    }

    /// Appends bytes to the output; long ones are not copied.
    pub fn push(&mut self, bytes: Bytes) {
        self.state.output.push(bytes);
    }

    /// Bytes of output that wait for the socket.
    #[must_use]
    pub fn output_pending(&self) -> usize {
        self.state.output.pending()
    }

    /// Takes no more frames until [`Cx::resume_input`]: while a catalog operation is in flight, or
    /// while the session has no room for another request.
    pub fn pause_input(&mut self) {
        self.state.paused = true;
    }

    /// Takes frames again, those already read first.
    pub fn resume_input(&mut self) {
        self.state.paused = false;
    }

    /// Whether frames wait: a session then leaves the rest of its input where it is.
    #[must_use]
    pub fn input_paused(&self) -> bool {
        self.state.paused
    }

    /// Whether the client is not read from for a reason of ours: what it says waits in its socket.
    #[must_use]
    pub fn unread(&self) -> bool {
        self.state.paused || self.state.starved || self.state.output.pending() >= OUTPUT_BYTES_MAX
    }

    /// Closes the connection when what has been written so far is out; nothing more is read.
    pub fn close_after_flush(&mut self) {
        self.state.closing = true;
    }

    /// Closes the connection when every operation has been answered and the answers are out;
    /// nothing more is read.
    pub fn close_when_answered(&mut self) {
        self.state.draining = true;
    }

    /// Closes the connection at once; what waits to be written is dropped. For a client that has
    /// gone silent.
    pub fn close_now(&mut self) {
        self.state.closing = true;
        self.state.cut = true;
    }

    /// Whether nothing more is read.
    #[must_use]
    pub fn closing(&self) -> bool {
        self.state.closing || self.state.draining
    }

    /// Sets when [`Session::on_timer`](crate::Session::on_timer) is called next, once; replaces an
    /// earlier time.
    pub fn wake_at(&mut self, deadline: Millis) {
        self.state.deadline = Some(deadline);
    }

    /// Takes [`Cx::wake_at`] back.
    pub fn sleep_on(&mut self) {
        self.state.deadline = None;
    }
}
