//! One connection without its socket: a session, its buffers and its bounds.

mod memory;

use crate::flights::Flights;
use crate::identity::Identity;
use crate::output::Output;
use crate::registry::Answer;
use crate::{Cx, Door, Peer, Session, Whom};
use bytes::BytesMut;
use engine::api::Event;
use engine::catalog::Name;
use engine::{Account, MemoryPool};
use memory::Baton;
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use types::{APPEND_BYTES_MAX, Millis};

/// Most bytes read and not taken by the session: a largest append and its frame.
pub const INPUT_BYTES_MAX: usize = APPEND_BYTES_MAX + (1 << 20);

/// Reading stops while more bytes than this were submitted and not answered.
pub const SUBMITTED_BYTES_MAX: usize = 4 << 20;

/// Reading, and taking events, stops while more bytes than this wait to be written.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Most bytes asked of the socket at once.
const READ_BYTES_MAX: usize = 256 << 10;

/// What the first read of a quiet connection asks for.
const READ_BYTES_MIN: usize = 4 << 10;

/// What a session changes through [`Cx`].
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) flights: Flights,
    pub(crate) output: Output,
    pub(crate) paused: bool,
    pub(crate) closing: bool,
    pub(crate) draining: bool,
    pub(crate) cut: bool,
    /// It is not read from, for other connections' input has the room.
    pub(crate) starved: bool,
    pub(crate) deadline: Option<Millis>,
    /// Whom the connection speaks for; nobody: it may do everything.
    pub(crate) identity: Option<Identity>,
    /// Whether a login succeeded that was not counted yet.
    pub(crate) login: Option<bool>,
}

/// Drives one session: the caller moves bytes, events and time.
pub struct Connection {
    session: Box<dyn Session>,
    peer: Peer,
    input: BytesMut,
    read_bytes: usize,
    state: State,
    /// The session stopped taking frames because it was paused.
    held_back: bool,
    /// Delivered bytes by the place of the output where their encoding ends.
    delivered: VecDeque<(u64, usize)>,
    /// Delivered bytes of which the encoding has not left.
    delivered_bytes: usize,
    account: Account,
    baton: Option<Baton>,
    /// All bytes ever received.
    received: u64,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("state", &self.state).finish()
    }
}

impl Connection {
    /// A connection that has read and written nothing.
    #[must_use]
    pub fn new(session: Box<dyn Session>, peer: Peer) -> Connection {
        Connection {
            session,
            peer,
            input: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            state: State::default(),
            held_back: false,
            delivered: VecDeque::new(),
            delivered_bytes: 0,
            account: Account::default(),
            baton: None,
            received: 0,
        }
    }

    /// The client is there: before anything else.
    pub fn open(&mut self, door: &dyn Door, now: Millis) {
        self.account = Account::new(door.memory());
        let (session, mut cx) = self.parts(door, now);
        session.on_open(&mut cx);
        self.submit(door);
    }

    /// Whose it is.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Where bytes that were read go; [`Connection::received`] tells that some were added.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Makes room for a read: as much again as is held, within the bounds, so that what is
    /// allocated follows what was sent, not what a length field claims.
    pub fn make_room(&mut self) {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN / 4 {
            // Reads are as small as the share is when memory is short.
            let bytes = self.read_bytes.min(self.share(MemoryPool::Input)).max(READ_BYTES_MIN);
            let wanted = bytes.max(self.input.len());
            let allowed = INPUT_BYTES_MAX.saturating_sub(self.input.len());
            self.input.reserve(wanted.min(allowed).max(1));
        }
    }

    /// Whether more bytes should be read.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.would_read() && (self.has_input_room() || self.baton.is_some())
    }

    /// Whether events should be taken from the door.
    #[must_use]
    pub fn wants_events(&self) -> bool {
        self.state.output.pending() < self.share(MemoryPool::Output).min(OUTPUT_BYTES_MAX)
    }

    /// `count` bytes were added to the input.
    pub fn received(&mut self, count: usize, door: &dyn Door, now: Millis) {
        self.received += count as u64;
        self.read_bytes = if count >= self.read_bytes {
            (self.read_bytes * 2).min(READ_BYTES_MAX)
        } else {
            (self.read_bytes / 2)
                .max(count.next_power_of_two())
                .clamp(READ_BYTES_MIN, READ_BYTES_MAX)
        };
        self.take_frames(door, now);
        self.submit(door);
    }

    /// Events have arrived at the door.
    pub fn events(&mut self, door: &dyn Door, now: Millis) {
        let mut delivered_bytes = 0;
        let mut events = door.events();
        events = events.into_iter().filter_map(|event| self.state.flights.land(event)).collect();
        for event in &events {
            if let Event::Deliver { items, .. } = event {
                delivered_bytes += items.iter().map(engine::delivery_bytes).sum::<usize>();
            }
        }
        if !events.is_empty() {
            let (session, mut cx) = self.parts(door, now);
            session.on_events(events, &mut cx);
        }
        if delivered_bytes > 0 {
            self.delivered.push_back((self.state.output.end(), delivered_bytes));
            self.delivered_bytes += delivered_bytes;
            self.written(0, door);
        }
        self.go_on(door, now);
    }

    /// Time has come to `now`.
    pub fn timer(&mut self, door: &dyn Door, now: Millis) {
        if self.state.deadline.is_some_and(|deadline| deadline <= now) {
            self.state.deadline = None;
            let (session, mut cx) = self.parts(door, now);
            session.on_timer(&mut cx);
            self.go_on(door, now);
        }
    }

    /// The broker is stopping.
    pub fn drain(&mut self, door: &dyn Door, now: Millis) {
        let (session, mut cx) = self.parts(door, now);
        session.on_drain(&mut cx);
        self.go_on(door, now);
    }

    /// The connection is to end, if it is one of those that are meant.
    pub fn dismiss(&mut self, whom: &Whom, why: &str, door: &dyn Door, now: Millis) {
        let identity = self.state.identity.as_ref();
        let meant = match whom {
            Whom::Client(client) => *client == self.peer.client,
            Whom::User(user) => identity.is_some_and(|it| it.user == *user),
            Whom::Namespace(name) => identity.is_some_and(|it| it.namespace == *name),
        };
        if meant {
            let (session, mut cx) = self.parts(door, now);
            session.on_dismiss(why, &mut cx);
            self.go_on(door, now);
        }
    }

    /// Whether somebody logged in since this was asked last.
    pub(crate) fn take_login(&mut self) -> Option<bool> {
        self.state.login.take()
    }

    /// What there is to tell of it.
    pub(crate) fn answer(&self) -> Answer {
        let identity = self.state.identity.as_ref();
        let entered =
            |it: &Identity| (!it.namespace.is_empty()).then(|| Name::clone(&it.namespace));
        Answer {
            user: identity.map(|it| Name::clone(&it.user)),
            namespace: identity.and_then(entered),
            session: self.session.report(),
        }
    }

    /// The socket is gone.
    pub fn close(&mut self, door: &dyn Door, now: Millis) {
        self.state.closing = true;
        let (session, mut cx) = self.parts(door, now);
        session.on_close(&mut cx);
        self.submit(door);
    }

    /// When [`Connection::timer`] should be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        self.state.deadline
    }

    /// Bytes to be written.
    #[must_use]
    pub fn output_pending(&self) -> usize {
        self.state.output.pending()
    }

    /// Fills `slices` with bytes to be written, in order; gives how many it filled.
    pub fn output<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.state.output.slices(slices)
    }

    /// `count` bytes were written.
    pub fn written(&mut self, count: usize, door: &dyn Door) {
        self.state.output.advance(count);
        let left = self.state.output.left();
        let mut delivered_bytes = 0;
        while let Some((place, bytes)) = self.delivered.front()
            && *place <= left
        {
            delivered_bytes += bytes;
            self.delivered.pop_front();
        }
        if delivered_bytes > 0 {
            self.delivered_bytes -= delivered_bytes;
            door.written(delivered_bytes);
        }
    }

    /// Whether the connection is to be closed now: everything is out.
    #[must_use]
    pub fn finished(&self) -> bool {
        let state = &self.state;
        let asked = state.closing || state.draining && state.flights.answered();
        state.cut || asked && state.output.pending() == 0
    }

    /// After events or time: frames that waited are taken, then calls go out.
    fn go_on(&mut self, door: &dyn Door, now: Millis) {
        if self.held_back && !self.state.paused {
            self.take_frames(door, now);
        }
        self.submit(door);
    }

    fn take_frames(&mut self, door: &dyn Door, now: Millis) {
        if self.state.paused {
            self.held_back = true;
            return;
        }
        if self.state.closing || self.state.draining {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        let (session, mut cx) = self.parts(door, now);
        session.on_bytes(&mut input, &mut cx);
        self.held_back = self.state.paused;
        // A busy connection keeps its buffer; a quiet one costs nothing.
        if !input.is_empty() || self.read_bytes > READ_BYTES_MIN {
            self.input = input;
        }
    }

    fn parts<'a>(&'a mut self, door: &'a dyn Door, now: Millis) -> (&'a mut dyn Session, Cx<'a>) {
        (&mut *self.session, Cx { state: &mut self.state, peer: &self.peer, door, now })
    }

    fn submit(&mut self, door: &dyn Door) {
        for (shard, calls) in self.state.flights.take_batches() {
            door.submit(shard, calls);
        }
    }
}

#[cfg(test)]
mod tests;
