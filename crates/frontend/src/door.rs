//! The engine as one connection uses it, so that tests can stand in for it.

use engine::api::{Call, Event};
use engine::catalog::{Owner, TopicId};
use engine::{Client, Handle, Memory, Names, Presence, Wake};
use std::sync::Arc;
use types::{ClientId, Millis, ShardId};

/// Gives each connection its door.
pub trait Doors: Send + Sync + 'static {
    /// Registers a connection; `wake` is called when its empty outbox gets an event.
    fn connect(&self, wake: Wake) -> Box<dyn Door>;
}

/// One connection's door to the engine. Dropping it ends everything that was the connection's.
pub trait Door: Send + Sync {
    /// The connection's number.
    fn client(&self) -> ClientId;

    /// The connection as an owner of exclusive things.
    fn owner(&self) -> Owner;

    /// What exists and where, at this moment.
    fn names(&self) -> Arc<Names>;

    /// The time of day.
    fn time(&self) -> Millis;

    /// A random number.
    fn random(&self) -> u64;

    /// A random id for a topic or queue to be.
    fn new_topic_id(&self) -> TopicId;

    /// Sends calls, all for `shard`, which takes them in order.
    fn submit(&self, shard: ShardId, calls: Vec<Call>);

    /// Takes the events that have arrived, in order.
    fn events(&self) -> Vec<Event>;

    /// What its connection's memory is counted in.
    fn memory(&self) -> Arc<Memory> {
        Arc::default()
    }

    /// Where connections that have entered a namespace are counted.
    fn presence(&self) -> Arc<Presence> {
        Arc::default()
    }

    /// Says that delivered messages of so many bytes have gone to the socket.
    fn written(&self, delivered_bytes: usize);
}

impl Doors for Handle {
    fn connect(&self, wake: Wake) -> Box<dyn Door> {
        Box::new(Handle::connect(self, wake))
    }
}

impl Door for Client {
    fn client(&self) -> ClientId {
        self.id()
    }

    fn owner(&self) -> Owner {
        Client::owner(self)
    }

    fn names(&self) -> Arc<Names> {
        self.engine().names()
    }

    fn time(&self) -> Millis {
        self.engine().now()
    }

    fn random(&self) -> u64 {
        self.engine().random()
    }

    fn new_topic_id(&self) -> TopicId {
        self.engine().new_topic_id()
    }

    fn submit(&self, shard: ShardId, calls: Vec<Call>) {
        Client::submit(self, shard, calls);
    }

    fn memory(&self) -> Arc<Memory> {
        Arc::clone(self.engine().memory())
    }

    fn presence(&self) -> Arc<Presence> {
        Arc::clone(self.engine().presence())
    }

    fn events(&self) -> Vec<Event> {
        self.outbox().take()
    }

    fn written(&self, delivered_bytes: usize) {
        if self.outbox().written(delivered_bytes) {
            self.resume();
        }
    }
}
