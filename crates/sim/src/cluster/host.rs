//! A host of the simulated network: a whole broker behind its disk and its clock.

use super::{NODES, SHARDS};
use engine::replication::Replicator;
use engine::{Client, Options, Replication, Sizes, Stepped, UnzipSizes};
use io::Random as _;
use io::sim::{SimClock, SimDisk, SimRandom};
use replica::{Connect, Connecting, Node, Stream};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use turmoil::net::{TcpListener, TcpStream};
use types::{Millis, ShardId};

/// Where nodes speak to each other.
const PORT: u16 = 7400;
/// What the parts of an engine do in a millisecond, at most.
const ROUNDS: usize = 4;
/// The day on which all begins.
const BEGIN: Millis = Millis(1_700_000_000_000);

/// What of a node outlives its process.
pub(crate) struct Machine {
    pub(crate) number: usize,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) clock: Arc<SimClock>,
    random: SimRandom,
    life: RefCell<Option<Life>>,
    is_paused: Cell<bool>,
    has_failed: Cell<bool>,
    /// Its cluster begins with one node.
    begins_small: bool,
    is_to_grow: Cell<bool>,
}

/// A process.
pub(crate) struct Life {
    pub(crate) engine: Stepped,
    pub(crate) node: Arc<Node>,
    pub(crate) client: Client,
}

pub(crate) fn name(number: usize) -> String {
    format!("node-{number}")
}

/// Connects by the simulated network.
struct Network;

impl Connect for Network {
    fn connect(&self, address: &str) -> Connecting {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect((address.as_str(), PORT)).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

impl Machine {
    pub(crate) fn new(seed: u64, number: usize, begins_small: bool) -> Machine {
        let own = seed.wrapping_mul(NODES as u64 + 1) + number as u64;
        Machine {
            number,
            disk: Arc::new(SimDisk::new(own)),
            clock: Arc::new(SimClock::new(BEGIN)),
            random: SimRandom::new(own ^ 0x5eed),
            life: RefCell::new(None),
            is_paused: Cell::new(false),
            has_failed: Cell::new(false),
            begins_small,
            is_to_grow: Cell::new(false),
        }
    }

    /// Has its cluster become one of all nodes.
    pub(crate) fn grow(&self) {
        self.is_to_grow.set(true);
    }

    /// The nodes that begin a cluster together, as this one knows them.
    fn founders(&self) -> BTreeMap<u64, String> {
        let all = everybody();
        match (self.begins_small, self.number) {
            (false, _) => all,
            (true, 0) => all.into_iter().take(1).collect(),
            (true, _) => BTreeMap::new(),
        }
    }

    /// What `look` sees of the process, if it runs.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Life) -> T) -> Option<T> {
        self.life.borrow_mut().as_mut().map(look)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.life.borrow().is_some()
    }

    /// The shards that it leads, and in which terms.
    pub(crate) fn leading(&self) -> Vec<(ShardId, u32)> {
        self.with(|life| life.node.leading()).unwrap_or_default()
    }

    /// Its process does nothing until this is called again.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.is_paused.set(is_paused);
    }

    pub(crate) fn pass(&self, time: Duration) {
        if !self.is_paused.get() {
            self.clock.pass(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Its disk failed, and with it the process, since this was asked last.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.replace(false)
    }

    /// Ends the process; `power`: what was not synced may be lost.
    pub(crate) fn end(&self, power: bool) {
        drop(self.life.borrow_mut().take());
        self.is_paused.set(false);
        match power {
            true => self.disk.restart(),
            false => self.disk.kill(),
        }
    }

    fn options(&self) -> Options {
        let sizes = Sizes {
            segment_bytes: vec![128 << 10, 256 << 10],
            round_bytes_max: 64 << 10,
            part_bytes: 16 << 10,
            // Who is behind gets entries, which stay in the journal.
            checkpoint_bytes: u64::MAX,
            unzip: UnzipSizes { pass_bytes: 0, ..UnzipSizes::default() },
            ..Sizes::default()
        };
        Options {
            disk: Arc::clone(&self.disk) as Arc<dyn io::Disk>,
            clock: Arc::clone(&self.clock) as Arc<dyn io::Clock>,
            random: Arc::new(SimRandom::new(self.random.next())),
            workers: 1,
            shards: SHARDS,
            memory_limit: 512 << 20,
            cache_bytes: 1 << 20,
            salvage: false,
            disk_free_min: Some(0),
            scrub_bytes: 0,
            // A storm may move a clock by years.
            producer_idle: Millis(i64::MAX / 4),
            sizes,
        }
    }

    /// The parts of the engine go on; false when there is none any more.
    fn turn(&self) -> bool {
        let mut life = self.life.borrow_mut();
        let Some(running) = life.as_mut() else { return false };
        if self.is_paused.get() {
            return true;
        }
        let goes_on = running.engine.run(1).is_ok();
        if !goes_on {
            *life = None;
            self.has_failed.set(true);
        }
        goes_on
    }
}

/// A process from its start to its end.
pub(crate) async fn live(machine: Rc<Machine>) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let options = replica::Options::new(machine.number as u64 + 1, machine.founders());
    let node = Node::new(options, Arc::new(Network), Handle::current());
    let replicator = Arc::clone(&node) as Arc<dyn Replicator>;
    let opened = Stepped::open_replicated(machine.options(), Replication { replicator });
    let engine = match opened {
        Ok(engine) => engine,
        Err(_) if machine.disk.is_crashed() => {
            machine.has_failed.set(true);
            return Ok(());
        }
        Err(error) => return Err(format!("node {} does not open: {error}", machine.number).into()),
    };
    let client = engine.handle().connect(Arc::new(|| {}));
    *machine.life.borrow_mut() = Some(Life { engine, node: Arc::clone(&node), client });
    let serving = Arc::clone(&node);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let node = Arc::clone(&serving);
            // How a connection ends is the other side's to see.
            tokio::spawn(async move { drop(node.serve(stream).await) });
        }
    });
    loop {
        for _ in 0..ROUNDS {
            if !machine.turn() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        if machine.is_to_grow.replace(false) {
            let node = Arc::clone(&node);
            tokio::spawn(grow(node));
        }
        tokio::time::sleep(super::TICK).await;
    }
}

/// Every node, by its number in the cluster.
fn everybody() -> BTreeMap<u64, String> {
    (0..NODES).map(|number| (number as u64 + 1, name(number))).collect()
}

/// Asks until it is done.
async fn grow(node: Arc<Node>) {
    while node.grow(&everybody()).await.is_err() {
        tokio::time::sleep(super::TICK * 50).await;
    }
}
