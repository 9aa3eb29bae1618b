//! What a wire implements.

use crate::{Cx, SessionReport};
use bytes::BytesMut;
use engine::api::Event;
use std::fmt;
use std::net::SocketAddr;
use types::ClientId;

/// A protocol: makes a session for each connection.
pub trait Wire: Send + Sync + 'static {
    /// The wire's name, as in `--listen NAME=…`.
    fn name(&self) -> &'static str;

    /// A session for a connection that was just accepted.
    fn session(&self, peer: &Peer) -> Box<dyn Session>;
}

/// One connection's side of a protocol: decodes requests, submits operations, encodes what comes
/// back. It owns no socket, never waits, and is never called twice at once.
///
/// A panic ends this connection only, and counts as a bug.
pub trait Session: Send {
    /// The client has connected and sent nothing yet.
    fn on_open(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// Takes whole frames from the front of `input`; what is left comes again with more bytes.
    ///
    /// A session stops taking when [`Cx::input_paused`] or [`Cx::closing`] says so.
    fn on_bytes(&mut self, input: &mut BytesMut, cx: &mut Cx<'_>);

    /// Replies to this session's operations, in the order they were given, and deliveries.
    fn on_events(&mut self, events: Vec<Event>, cx: &mut Cx<'_>);

    /// Bytes that it keeps of what it took and has not submitted, as of a message that is not
    /// complete.
    fn held_bytes(&self) -> usize {
        0
    }

    /// The time of the last [`Cx::wake_at`] has come.
    fn on_timer(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// The broker is stopping: say so if the protocol can. The connection is cut when the server's
    /// grace is over. Unless overridden, what was asked is answered and the connection closed.
    fn on_drain(&mut self, cx: &mut Cx<'_>) {
        cx.close_when_answered();
    }

    /// The connection is to end, for its user or what it works with is gone, or somebody says so.
    /// Unless overridden, it is cut.
    fn on_dismiss(&mut self, why: &str, cx: &mut Cx<'_>) {
        let _ = why;
        cx.close_now();
    }

    /// What there is to tell of the connection.
    fn report(&self) -> SessionReport {
        SessionReport::default()
    }

    /// The socket is gone; nothing that is written now arrives. Leases return and what was
    /// exclusive is deleted without the session's help.
    fn on_close(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }
}

/// Who a connection belongs to and where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The connection's number in the engine.
    pub client: ClientId,
    /// The client's address.
    pub address: SocketAddr,
    /// The address of ours that the client came by.
    pub local: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.address, self.local)
    }
}
