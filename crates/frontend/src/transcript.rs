//! Runs a session from a text script, without sockets, time or an engine: the harness of every
//! wire's tests.
//!
//! A script and what happened are the same kind of text, so a test compares the two:
//! ```text
//! > publish 1 hello        the client sends this frame
//! ! append log 3           the session submitted this call (the syntax answers it)
//! < ack 1                  the session sent this frame
//! +500                     half a second passes
//! @ shut                   the broker drains
//! closed                   the session closed the connection
//! # a remark
//! ```
//!
//! [`run`] plays a script to one session, with the syntax in the engine's place; a [`World`] plays one
//! to several connections of a wire on the real engine, on a simulated disk that can lose power.

mod world;

pub use world::World;

use crate::{Connection, Door, Peer, Session};
use bytes::BytesMut;
use engine::api::{Call, Event, Reply};
use engine::catalog::{Catalog, Change, Layer, NodeId, Owner, TopicId};
use engine::{Memory, Names};
use std::fmt::Write as _;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use types::{ClientId, Millis, ShardId};

/// The time of day on every stage.
pub const TIME: Millis = Millis(1_000_000_000_000);

/// How a wire's frames are written in a script.
pub trait Syntax {
    /// The bytes of a frame of the client's.
    fn encode(&mut self, text: &str) -> Vec<u8>;

    /// Takes one whole frame of the session's from `bytes`, as text; `None`: not whole yet.
    fn decode(&mut self, bytes: &mut BytesMut) -> Option<String>;

    /// A call as text (empty: not worth a line), and the events the engine answers with. Only
    /// [`run`] asks: in a [`World`] the engine itself answers.
    fn answer(&mut self, desk: &Desk, shard: ShardId, call: Call) -> (String, Vec<Event>) {
        let _ = (desk, shard, call);
        (String::new(), Vec::new())
    }
}

/// A door that keeps what goes through it, for tests to look at and answer. Names are real: a test
/// answers a change of them with [`Desk::change`].
#[derive(Debug, Default)]
pub struct Desk {
    inner: Mutex<Papers>,
    memory: Arc<Memory>,
}

#[derive(Debug)]
struct Papers {
    calls: Vec<(ShardId, Call)>,
    events: Vec<Event>,
    delivered_bytes: usize,
    shared: Catalog,
    local: Catalog,
    drawn: u64,
}

impl Default for Papers {
    fn default() -> Papers {
        Papers {
            calls: Vec::new(),
            events: Vec::new(),
            delivered_bytes: 0,
            shared: Catalog::new(Layer::Shared, &[ShardId(0)]),
            local: Catalog::new(Layer::Local, &[ShardId::LOCAL]),
            drawn: 0,
        }
    }
}

impl Desk {
    /// Takes the calls that were submitted, in order.
    pub fn calls(&self) -> Vec<(ShardId, Call)> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Puts an event into the outbox; [`Stage::events`] hands it over.
    pub fn put(&self, event: Event) {
        self.lock().events.push(event);
    }

    /// Carries out a change of names that was submitted to `shard`; gives its reply.
    pub fn change(&self, shard: ShardId, change: &Change) -> Reply {
        let mut papers = self.lock();
        let layer = if shard == ShardId::LOCAL { &mut papers.local } else { &mut papers.shared };
        Reply::Changed(Box::new(layer.apply(change, TIME).0))
    }

    /// All delivered bytes that have gone to the socket.
    pub fn delivered_bytes(&self) -> usize {
        self.lock().delivered_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Papers> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door for Desk {
    fn client(&self) -> ClientId {
        ClientId(1)
    }

    fn owner(&self) -> Owner {
        Owner { node: NodeId(1), client: ClientId(1) }
    }

    fn names(&self) -> Arc<Names> {
        let papers = self.lock();
        Arc::new(Names { shared: papers.shared.snapshot(), local: papers.local.snapshot() })
    }

    fn time(&self) -> Millis {
        TIME
    }

    /// 1, 2, 3 …
    fn random(&self) -> u64 {
        let mut papers = self.lock();
        papers.drawn += 1;
        papers.drawn
    }

    fn new_topic_id(&self) -> TopicId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.random().to_be_bytes());
        TopicId(id)
    }

    fn submit(&self, shard: ShardId, calls: Vec<Call>) {
        self.lock().calls.extend(calls.into_iter().map(|call| (shard, call)));
    }

    fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().events)
    }

    fn written(&self, delivered_bytes: usize) {
        self.lock().delivered_bytes += delivered_bytes;
    }
}

/// One session, a desk instead of the engine, and a clock that the test moves.
#[derive(Debug)]
pub struct Stage {
    /// The connection under test.
    pub connection: Connection,
    /// The engine's stand-in.
    pub desk: Desk,
    /// The time; [`Stage::pass`] moves it.
    pub now: Millis,
}

impl Stage {
    /// Begins a conversation with `session`, at time 0.
    #[must_use]
    pub fn new(session: Box<dyn Session>) -> Stage {
        Stage::within(session, Arc::default())
    }

    /// The same, with its memory counted in `memory`.
    #[must_use]
    pub fn within(session: Box<dyn Session>, memory: Arc<Memory>) -> Stage {
        let mut connection = Connection::new(session, peer());
        let desk = Desk { memory, ..Desk::default() };
        connection.open(&desk, Millis(0));
        Stage { connection, desk, now: Millis(0) }
    }

    /// Sends the session bytes, as one read.
    pub fn send(&mut self, bytes: &[u8]) {
        self.connection.input().extend_from_slice(bytes);
        self.connection.received(bytes.len(), &self.desk, self.now);
    }

    /// Hands over the events that were put on the desk.
    pub fn events(&mut self) {
        self.connection.events(&self.desk, self.now);
    }

    /// Lets time pass; a timer that is due runs at its own time.
    pub fn pass(&mut self, span: Millis) {
        let end = self.now.plus(span);
        while let Some(deadline) = self.connection.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.connection.timer(&self.desk, self.now);
        }
        self.now = end;
    }

    /// Takes everything the session has written.
    pub fn output(&mut self) -> Vec<u8> {
        take_output(&mut self.connection, &self.desk)
    }
}

/// Takes everything a connection has written, as a socket with room would.
fn take_output(connection: &mut Connection, door: &dyn Door) -> Vec<u8> {
    let mut taken = Vec::new();
    while connection.output_pending() > 0 {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = connection.output(&mut slices);
        let count = slices[..filled].iter().map(|slice| slice.len()).sum();
        slices[..filled].iter().for_each(|slice| taken.extend_from_slice(slice));
        connection.written(count, door);
    }
    taken
}

/// The peer of every conversation on a stage.
#[must_use]
pub fn peer() -> Peer {
    Peer {
        client: ClientId(1),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
    }
}

/// Runs a script against `session`; gives what happened, to be compared with the script: the
/// script's own `>`, `+`, `@` and `#` lines, and the `!`, `<` and `closed` lines that came of them.
#[must_use]
pub fn run(session: Box<dyn Session>, syntax: &mut dyn Syntax, script: &str) -> String {
    let mut stage = Stage::new(session);
    let mut happened = String::new();
    let mut received = BytesMut::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(frame) = line.strip_prefix("> ") {
            stage.send(&syntax.encode(frame));
        } else if let Some(span) = line.strip_prefix('+') {
            stage.pass(Millis(span.parse().expect("a script says how many milliseconds")));
        } else if line == "@ shut" {
            stage.connection.drain(&stage.desk, stage.now);
        } else if !line.starts_with('#') {
            continue;
        }
        writeln!(happened, "{line}").expect("a string takes all");
        settle(&mut stage, syntax, &mut received, &mut happened);
        if stage.connection.finished() {
            happened.push_str("closed\n");
            break;
        }
    }
    happened
}

/// Answers calls and reads frames until nothing happens any more.
fn settle(
    stage: &mut Stage,
    syntax: &mut dyn Syntax,
    received: &mut BytesMut,
    happened: &mut String,
) {
    loop {
        let calls = stage.desk.calls();
        let quiet = calls.is_empty();
        for (shard, call) in calls {
            let (text, events) = syntax.answer(&stage.desk, shard, call);
            if !text.is_empty() {
                writeln!(happened, "! {text}").expect("a string takes all");
            }
            events.into_iter().for_each(|event| stage.desk.put(event));
        }
        received.extend_from_slice(&stage.output());
        while let Some(frame) = syntax.decode(received) {
            writeln!(happened, "< {frame}").expect("a string takes all");
        }
        if quiet {
            return;
        }
        stage.events();
    }
}

#[cfg(test)]
mod tests;
