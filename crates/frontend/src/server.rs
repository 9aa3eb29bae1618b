//! Accepting connections, counting them, and letting them go.

use crate::socket::Task;
use crate::{Connection, Doors, Peer, Registry, Wire};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

/// Pause after a failed accept: the process is out of descriptors, or nearly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of one wire.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at once; further ones are closed as they come.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections_max: 65_536 }
    }
}

/// What one wire has done since it started.
#[derive(Debug, Default)]
pub struct Counters {
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    panicked: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    logins: AtomicU64,
    logins_refused: AtomicU64,
}

impl Counters {
    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Connections that were ever accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections that were closed because there were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Sessions that panicked: bugs.
    #[must_use]
    pub fn panicked(&self) -> u64 {
        self.panicked.load(Relaxed)
    }

    /// Bytes read from sockets.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Relaxed)
    }

    /// Bytes written to sockets.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Relaxed)
    }

    /// Logins that succeeded, and those that were refused.
    #[must_use]
    pub fn logins(&self) -> (u64, u64) {
        (self.logins.load(Relaxed), self.logins_refused.load(Relaxed))
    }

    pub(crate) fn count_login(&self, succeeded: bool) {
        let counter = if succeeded { &self.logins } else { &self.logins_refused };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }
}

/// A wire on its listening sockets. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Server {
    counters: Arc<Counters>,
    registry: Arc<Registry>,
    addresses: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    accepting: JoinSet<()>,
}

/// How far a server has come; it only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepts connections.
    Serving,
    /// Sessions were asked to end.
    Draining,
    /// What is left is cut.
    Cutting,
}

/// What every connection of a wire shares.
struct Shared {
    wire: Arc<dyn Wire>,
    doors: Arc<dyn Doors>,
    limits: Limits,
    counters: Arc<Counters>,
    registry: Arc<Registry>,
    phase: watch::Receiver<Phase>,
}

/// Counts a connection as open for as long as it lives, also when its session panics.
struct Open<'a>(&'a Counters);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Server {
    /// Serves `wire` on `listeners`, on the current tokio runtime.
    ///
    /// Fails when a listener has no address.
    pub fn start(
        wire: Arc<dyn Wire>,
        doors: Arc<dyn Doors>,
        listeners: Vec<TcpListener>,
        limits: Limits,
    ) -> io::Result<Server> {
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let (phase, receiver) = watch::channel(Phase::Serving);
        let counters = Arc::new(Counters::default());
        let registry = Arc::new(Registry::default());
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let shared = Arc::new(Shared {
                wire: Arc::clone(&wire),
                doors: Arc::clone(&doors),
                limits,
                counters: Arc::clone(&counters),
                registry: Arc::clone(&registry),
                phase: receiver.clone(),
            });
            accepting.spawn(accept(listener, shared));
        }
        info!(wire = wire.name(), ?addresses, "listening");
        Ok(Server { counters, registry, addresses, phase, accepting })
    }

    /// The addresses it listens on, in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has done.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Its open connections.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Stops accepting, tells every session, waits for the connections to end, and cuts those that
    /// are left after `grace`.
    pub async fn drain(mut self, grace: Duration) {
        self.phase.send_replace(Phase::Draining);
        let ended = async { while self.accepting.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            debug!(open = self.counters.open(), "cutting connections");
            self.phase.send_replace(Phase::Cutting);
            while self.accepting.join_next().await.is_some() {}
        }
    }
}

/// Accepts until told to drain, then waits for its connections.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut phase = shared.phase.clone();
    let mut connections: JoinSet<()> = JoinSet::new();
    while *phase.borrow_and_update() == Phase::Serving {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => admit(&shared, &mut connections, stream, address),
                Err(failure) => {
                    warn!(wire = shared.wire.name(), %failure, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => note_end(&shared, ended),
            changed = phase.changed() => if changed.is_err() { break },
        }
    }
    drop(listener);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            note_end(&shared, ended);
        }
    };
    tokio::select! {
        () = all_ended => {}
        _ = phase.wait_for(|phase| *phase == Phase::Cutting) => {}
    }
    connections.shutdown().await;
}

fn admit(
    shared: &Arc<Shared>,
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    address: SocketAddr,
) {
    let counters = &shared.counters;
    if counters.open.fetch_add(1, Relaxed) >= shared.limits.connections_max {
        counters.open.fetch_sub(1, Relaxed);
        counters.refused.fetch_add(1, Relaxed);
        debug!(wire = shared.wire.name(), %address, "too many connections");
        return;
    }
    counters.accepted.fetch_add(1, Relaxed);
    connections.spawn(converse(Arc::clone(shared), stream, address));
}

async fn converse(shared: Arc<Shared>, stream: TcpStream, address: SocketAddr) {
    let _open = Open(&shared.counters);
    let Ok(local) = stream.local_addr() else { return };
    let bell = Arc::new(Notify::new());
    let ring = Arc::clone(&bell);
    let door = shared.doors.connect(Arc::new(move || ring.notify_one()));
    let peer = Peer { client: door.client(), address, local };
    let listed = shared.registry.add(peer, shared.wire.name(), door.time());
    let mut task = Task {
        connection: Connection::new(shared.wire.session(&peer), peer),
        door: &*door,
        bell: &bell,
        phase: shared.phase.clone(),
        counters: &shared.counters,
        entry: &listed.entry,
        start: Instant::now(),
    };
    task.run(stream).await;
}

fn note_end(shared: &Shared, ended: Result<(), JoinError>) {
    if ended.is_err_and(|end| end.is_panic()) {
        shared.counters.panicked.fetch_add(1, Relaxed);
        error!(wire = shared.wire.name(), "a session panicked; its connection is closed");
    }
}

#[cfg(test)]
mod tests;
