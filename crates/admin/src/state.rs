//! What the pages are made from.

use crate::Dialect;
use crate::management::Rates;
use crate::redrives::Redrives;
use engine::Handle;
use frontend::{Counters, Local, Registry};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::watch;
use types::Millis;

/// The running broker as it presents itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Its version.
    pub version: &'static str,
    /// Its data directory, as a person knows it.
    pub data: String,
    /// When it started.
    pub started: Millis,
}

/// A wire that is listened on.
#[derive(Clone, Debug)]
pub struct WireStatus {
    /// The wire's name.
    pub name: &'static str,
    /// Where.
    pub addresses: Vec<SocketAddr>,
    /// What it has done.
    pub counters: Arc<Counters>,
    /// Its open connections.
    pub registry: Arc<Registry>,
}

/// Logins on the HTTP side: one for each request.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Logins {
    pub(crate) fn count(&self, succeeded: bool) {
        let counter = if succeeded { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Relaxed);
    }

    /// Those that succeeded, and those that failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.succeeded.load(Relaxed), self.failed.load(Relaxed))
    }
}

/// Everything the HTTP side needs.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(crate) about: About,
    pub(crate) wires: Arc<[WireStatus]>,
    pub(crate) local: Local,
    pub(crate) dialect: Dialect,
    pub(crate) rates: Arc<Rates>,
    /// Where the HTTP side itself listens.
    pub(crate) addresses: Arc<[SocketAddr]>,
    pub(crate) logins: Arc<Logins>,
    pub(crate) redrives: Arc<Redrives>,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Admin {
    /// The HTTP side of `engine`, on the current tokio runtime, and the switch that ends the waits
    /// of its requests.
    #[must_use]
    pub fn new(
        engine: &Handle,
        about: About,
        wires: Vec<WireStatus>,
        dialect: Dialect,
        addresses: &[SocketAddr],
    ) -> (Admin, watch::Sender<bool>) {
        let (switch, stopping) = watch::channel(false);
        let local = Local::connect(engine);
        let admin = Admin {
            about,
            wires: wires.into(),
            local,
            dialect,
            rates: Arc::default(),
            addresses: addresses.into(),
            logins: Arc::default(),
            redrives: Arc::default(),
            stopping,
        };
        (admin, switch)
    }

    pub(crate) fn engine(&self) -> &Handle {
        self.local.engine()
    }

    /// What is listened on: the protocol's name, and where.
    pub(crate) fn listening(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let wires = self.wires.iter();
        let wires = wires.flat_map(|it| it.addresses.iter().map(move |at| (it.name, *at)));
        wires.chain(self.addresses.iter().map(|address| ("http", *address)))
    }

    /// Ends when the broker is stopping.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the switch is gone, and the broker with it.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}
