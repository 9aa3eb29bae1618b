//! The broker inside a Rust program.

use crate::dialect::DIALECT;
use crate::listening::{self, Bound};
use crate::memory_limit::{self, TooLittle};
use crate::options::{Opening, Options};
use crate::wires::{ADMIN, Context, WIRES};
use admin::{About, AdminServer, WireStatus};
use engine::{Engine, EngineError, Handle};
use frontend::{Consumer, Limits, Local, Message, Place, Server};
use io::{BLOCK_BYTES, Disk, FsDisk, RecordedDisk, SystemClock, SystemRandom};
use journal::{Finding, OpenError};
use std::error::Error as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use types::Error;

/// How long connections have to end by themselves when the broker stops.
const DRAIN_GRACE: Duration = Duration::from_millis(400);

/// Why the broker does not start: what happened, where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on; the source names it.
    #[error("{wire}: {source}; stop what has it, or choose another with --listen {wire}=ADDR:PORT")]
    Listen {
        /// The wire.
        wire: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// An address that other machines can reach.
    #[error(
        "{wire}: refusing to listen on {address}: other machines can reach it, and not every wire \
         asks for a login yet; listen on 127.0.0.1 or [::1], or add --insecure-listen"
    )]
    Insecure {
        /// The wire.
        wire: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The store's directory cannot be had.
    #[error("cannot use the directory {}: {source}; give another with --data DIR", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("{}", told(source))]
    Store {
        /// Why.
        source: EngineError,
    },
    /// The memory limit cannot be kept.
    #[error(transparent)]
    Memory(#[from] TooLittle),
    /// The machine does not give what every program gets.
    #[error("cannot start: {0}")]
    Machine(std::io::Error),
}

/// A wire that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The wire's name.
    pub wire: &'static str,
    /// Where.
    pub addresses: Vec<SocketAddr>,
}

/// A running broker. Drop it without [`Broker::stop`] and it is a crash as far as the store goes:
/// nothing acknowledged is lost.
#[derive(Debug)]
pub struct Broker {
    engine: Engine,
    local: Local,
    servers: Vec<(&'static str, Server)>,
    admin: Option<AdminServer>,
}

impl Broker {
    /// Opens the store, or begins one, and listens where `options` say; on the current tokio
    /// runtime.
    pub async fn open(options: Options) -> Result<Broker, StartError> {
        listening::refuse_insecure(&options)?;
        let (data, engine_options) = engine_options(&options)?;
        let started = engine_options.clock.now();
        let engine = tokio::task::spawn_blocking(|| Engine::open(engine_options))
            .await
            .map_err(|_| StartError::Machine(std::io::Error::other("opening the store panicked")))?
            .map_err(|source| StartError::Store { source })?;
        let handle = engine.handle();
        let bound = match listening::bind(&options).await {
            Ok(bound) => bound,
            Err(error) => {
                stop_engine(engine).await;
                return Err(error);
            }
        };
        let mut broker =
            Broker { local: Local::connect(&handle), engine, servers: Vec::new(), admin: None };
        let mut for_admin = Vec::new();
        for Bound { wire, listeners } in bound {
            if wire == ADMIN {
                for_admin = listeners;
                continue;
            }
            broker.serve(wire, listeners, &options)?;
        }
        if !for_admin.is_empty() {
            let about = About { version: env!("CARGO_PKG_VERSION"), data, started };
            let wires = broker.wire_status();
            let server = AdminServer::start(&handle, about, wires, DIALECT, for_admin);
            broker.admin = Some(server.map_err(StartError::Machine)?);
        }
        Ok(broker)
    }

    /// What it listens on.
    #[must_use]
    pub fn listening(&self) -> Vec<Listening> {
        let wires = self.servers.iter().map(|(wire, server)| (*wire, server.addresses()));
        let admin = self.admin.iter().map(|server| (ADMIN, server.addresses()));
        wires
            .chain(admin)
            .map(|(wire, addresses)| Listening { wire, addresses: addresses.to_vec() })
            .collect()
    }

    /// Damage that was found when the store was opened.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.engine.findings()
    }

    /// Creates a durable queue, or finds it; true when it was not there.
    pub async fn declare_queue(&self, name: &str) -> Result<bool, Error> {
        self.local.declare_queue(name).await
    }

    /// Creates a topic, or finds it; true when it was not there.
    pub async fn declare_topic(&self, name: &str, partitions: u32) -> Result<bool, Error> {
        self.local.declare_topic(name, partitions, Default::default()).await
    }

    /// Publishes to a queue or topic; returns when every message is durable, with their places.
    pub async fn publish(&self, to: &str, messages: &[Message]) -> Result<Vec<Place>, Error> {
        self.local.publish(to, messages).await
    }

    /// Competes for the messages of a queue, or of a topic's shared subscription. `prefetch`: most
    /// unsettled messages at once, 0 is no limit.
    pub async fn consume(&self, name: &str, prefetch: u32) -> Result<Consumer, Error> {
        self.local.consume(name, prefetch).await
    }

    /// The same and more, to be kept and cloned.
    #[must_use]
    pub fn local(&self) -> Local {
        self.local.clone()
    }

    /// Lets the connections end, writes down what waits, and closes the store.
    pub async fn stop(self) {
        let Broker { engine, local, servers, admin } = self;
        let mut drains = tokio::task::JoinSet::new();
        for (_, server) in servers {
            drains.spawn(server.drain(DRAIN_GRACE));
        }
        if let Some(server) = admin {
            drains.spawn(server.drain(DRAIN_GRACE));
        }
        while drains.join_next().await.is_some() {}
        drop(local);
        stop_engine(engine).await;
    }

    fn serve(
        &mut self,
        wire: &'static str,
        listeners: Vec<tokio::net::TcpListener>,
        options: &Options,
    ) -> Result<(), StartError> {
        let Some(row) = WIRES.iter().find(|row| row.name == wire) else { return Ok(()) };
        let handle: Handle = self.engine.handle();
        let advertise = options.advertise.iter().rfind(|it| it.wire == wire);
        let context = Context {
            advertise: advertise.map(|it| it.address.clone()),
            auto_create_topics: options.auto_create_topics,
            default_partitions: options.default_partitions,
            message_bytes_max: options.max_message_bytes,
            memory_bytes_max: handle.memory().message_bytes_max(),
        };
        let made = (row.make)(&context);
        let server = Server::start(made, Arc::new(handle), listeners, Limits::default());
        self.servers.push((wire, server.map_err(StartError::Machine)?));
        Ok(())
    }

    fn wire_status(&self) -> Vec<WireStatus> {
        self.servers
            .iter()
            .map(|(name, server)| WireStatus {
                name,
                addresses: server.addresses().to_vec(),
                counters: server.counters(),
                registry: server.registry(),
            })
            .collect()
    }
}

/// Threads end and a checkpoint is written: not for a thread that runs tasks.
async fn stop_engine(engine: Engine) {
    // A thread of the engine that panicked has ended the process.
    let _ = tokio::task::spawn_blocking(move || engine.stop()).await;
}

fn engine_options(options: &Options) -> Result<(String, engine::Options), StartError> {
    let path = absolute(&options.data);
    let disk = disk(&path, &options.opening)?;
    let (memory_limit, cache_bytes) = memory_limit::limits(options)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = match options.workers {
        0 => (cores / 2).max(1),
        given => usize::from(given),
    };
    let opened = engine::Options {
        disk,
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom::open().map_err(StartError::Machine)?),
        workers,
        shards: 0,
        memory_limit,
        cache_bytes,
        salvage: options.opening.salvage,
        disk_free_min: options.opening.disk_free_min,
        scrub_bytes: options.opening.scrub_bytes,
        producer_idle: engine::PRODUCER_IDLE,
        sizes: sizes(&options.opening),
    };
    Ok((path.display().to_string(), opened))
}

/// The directory of the store; if asked for, one that remembers what is not synced, or one that
/// fails.
fn disk(path: &Path, opening: &Opening) -> Result<Arc<dyn Disk>, StartError> {
    let failed = |source| StartError::Directory { path: path.to_path_buf(), source };
    if let Some(record) = &opening.record_writes {
        return Ok(Arc::new(RecordedDisk::open(path, record).map_err(failed)?));
    }
    let disk = FsDisk::open(path).map_err(failed)?;
    Ok(match opening.fault {
        None => Arc::new(disk),
        Some(plan) => Arc::new(disk.with_faults(plan)),
    })
}

fn sizes(opening: &Opening) -> engine::Sizes {
    let mut sizes = engine::Sizes::default();
    sizes.unzip.bytes_per_s = opening.unzip_bytes;
    if let Some(after_ms) = opening.unzip_after_ms {
        sizes.unzip.settled_us = after_ms.saturating_mul(1_000);
    }
    if let Some(bytes) = opening.segment_bytes {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES as u32);
        (sizes.segment_bytes, sizes.checkpoint_bytes) = (vec![bytes], 2 * u64::from(bytes));
    }
    sizes.checkpoint_bytes = opening.checkpoint_bytes.unwrap_or(sizes.checkpoint_bytes);
    if let Some(bytes) = opening.checkpoint_inline_bytes {
        sizes.checkpoint_inline_bytes = bytes;
    }
    sizes
}

/// The directory as a person finds it again, whatever directory they are in then.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Why a store does not open, its causes, and what to do next, in one line.
fn told(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    if matches!(error, EngineError::Store(_)) {
        // Transparent: its text is the store's own already.
        cause = cause.filter(|cause| !text.contains(&cause.to_string()));
    }
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    let next = match error {
        EngineError::Store(OpenError::Locked { .. }) => {
            "stop that process, or give another directory with --data DIR"
        }
        EngineError::Store(OpenError::Newer { .. }) | EngineError::Newer => {
            "start it with the release that wrote it, or a later one"
        }
        EngineError::Store(OpenError::Older { .. }) | EngineError::Older => {
            "open it with the release that wrote it"
        }
        EngineError::Store(OpenError::Unwritable { .. }) => {
            "change the permissions, or give another directory with --data DIR"
        }
        EngineError::Store(OpenError::Damaged { .. }) => {
            "`crossdock check DIR` lists the damage, --salvage opens what is left"
        }
        _ => "see to the disk, then start again",
    };
    format!("{text}; {next}")
}
