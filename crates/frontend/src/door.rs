//! The engine as one connection uses it, so that tests can stand in for it.

use engine::api::{Call, Event};
use engine::{Client, Handle, Wake};
use types::{ClientId, ShardId};

/// Gives each connection its door.
pub trait Doors: Send + Sync + 'static {
    /// Registers a connection; `wake` is called when its empty outbox gets an event.
    fn connect(&self, wake: Wake) -> Box<dyn Door>;
}

/// One connection's door to the engine. Dropping it ends everything that was the connection's.
pub trait Door: Send + Sync {
    /// The connection's number.
    fn client(&self) -> ClientId;

    /// Sends calls, all for `shard`, which takes them in order.
    fn submit(&self, shard: ShardId, calls: Vec<Call>);

    /// Takes the events that have arrived, in order.
    fn events(&self) -> Vec<Event>;

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

    fn submit(&self, shard: ShardId, calls: Vec<Call>) {
        Client::submit(self, shard, calls);
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
