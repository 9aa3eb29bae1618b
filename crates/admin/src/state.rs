//! What the pages are made from.

use crate::Dialect;
use crate::management::Rates;
use engine::Handle;
use frontend::{Counters, Local, Registry};
use std::net::SocketAddr;
use std::sync::Arc;
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

/// Everything the HTTP side needs.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(crate) about: About,
    pub(crate) wires: Arc<[WireStatus]>,
    pub(crate) local: Local,
    pub(crate) dialect: Dialect,
    pub(crate) rates: Arc<Rates>,
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
    ) -> (Admin, watch::Sender<bool>) {
        let (switch, stopping) = watch::channel(false);
        let local = Local::connect(engine);
        let rates = Arc::default();
        (Admin { about, wires: wires.into(), local, dialect, rates, stopping }, switch)
    }

    pub(crate) fn engine(&self) -> &Handle {
        self.local.engine()
    }

    /// Ends when the broker is stopping.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the switch is gone, and the broker with it.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}
