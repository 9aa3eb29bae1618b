//! What a front end holds: the engine's handle, and one [`Client`] per connection.

use crate::api::Call;
use crate::worker::{Input, NODE, Ports};
use crate::{Memory, Metrics, Names, Outbox, Presence, Wake};
use catalog::{Owner, TopicId};
use io::{Clock, Random};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use types::{ClientId, Millis, ShardId};

/// The engine as its front ends see it; cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    ports: Ports,
    shards: Vec<ShardId>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    next_client: AtomicU64,
    presence: Arc<Presence>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("workers", &self.0.ports.mailboxes.len()).finish()
    }
}

impl Handle {
    pub(crate) fn new(
        ports: Ports,
        shards: Vec<ShardId>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Handle {
        let next_client = AtomicU64::new(1);
        let presence = Arc::default();
        Handle(Arc::new(Inner { ports, shards, metrics, clock, random, next_client, presence }))
    }

    /// What exists and where, at this moment.
    #[must_use]
    pub fn names(&self) -> Arc<Names> {
        self.0.ports.names.load_full()
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.0.clock.now()
    }

    /// A random number.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.0.random.next()
    }

    /// A random id for a topic or queue to be: a version 4 UUID.
    #[must_use]
    pub fn new_topic_id(&self) -> TopicId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random().to_le_bytes());
        id[8..].copy_from_slice(&self.random().to_le_bytes());
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        TopicId(id)
    }

    /// The engine's counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// What is held in memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.0.ports.memory
    }

    /// Which connections have entered which namespace.
    #[must_use]
    pub fn presence(&self) -> &Arc<Presence> {
        &self.0.presence
    }

    /// The shards there are, the local one among them.
    #[must_use]
    pub fn shards(&self) -> &[ShardId] {
        &self.0.shards
    }

    /// Registers a connection; `wake` is called when its empty outbox gets an event.
    #[must_use]
    pub fn connect(&self, wake: Wake) -> Client {
        let id = ClientId(self.0.next_client.fetch_add(1, Ordering::Relaxed));
        let outbox = Arc::new(Outbox::new(wake, Arc::clone(self.memory())));
        for worker in &self.0.ports.mailboxes {
            worker.push(Input::Connect(id, Arc::clone(&outbox)));
        }
        Client { id, outbox, engine: self.clone() }
    }
}

/// One connection to the engine. Dropping it returns its leases, ends its consumers and deletes what
/// was exclusive to it.
pub struct Client {
    id: ClientId,
    outbox: Arc<Outbox>,
    engine: Handle,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish()
    }
}

impl Client {
    /// The connection's number.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The connection as an owner of exclusive things.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { node: NODE, client: self.id }
    }

    /// The engine it is connected to.
    #[must_use]
    pub fn engine(&self) -> &Handle {
        &self.engine
    }

    /// Where its events arrive.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Sends calls, all for `shard`, which takes them in order.
    pub fn submit(&self, shard: ShardId, calls: Vec<Call>) {
        self.engine.0.ports.worker_of(shard).push(Input::Calls(self.id, calls));
    }

    /// Deliveries had stalled ([`Outbox::written`] said so) and can go on.
    pub fn resume(&self) {
        for worker in &self.engine.0.ports.mailboxes {
            worker.push(Input::Resume(self.id));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for worker in &self.engine.0.ports.mailboxes {
            worker.push(Input::Disconnect(self.id));
        }
    }
}
