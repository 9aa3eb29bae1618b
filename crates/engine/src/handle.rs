//! What a front end holds: the engine's handle, and one [`Client`] per connection.

use crate::api::Call;
use crate::worker::Input;
use crate::{Mailbox, Outbox, Wake};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use types::{ClientId, ShardId};

/// The engine as its front ends see it; cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    workers: Vec<Arc<Mailbox<Input>>>,
    next_client: AtomicU64,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("workers", &self.0.workers.len()).finish()
    }
}

impl Handle {
    pub(crate) fn new(workers: Vec<Arc<Mailbox<Input>>>) -> Handle {
        Handle(Arc::new(Inner { workers, next_client: AtomicU64::new(1) }))
    }

    /// Registers a connection; `wake` is called when its empty outbox gets an event.
    #[must_use]
    pub fn connect(&self, wake: Wake) -> Client {
        let id = ClientId(self.0.next_client.fetch_add(1, Ordering::Relaxed));
        let outbox = Arc::new(Outbox::new(wake));
        for worker in &self.0.workers {
            worker.push(Input::Connect(id, Arc::clone(&outbox)));
        }
        Client { id, outbox, engine: self.clone() }
    }

    fn worker(&self, shard: ShardId) -> &Mailbox<Input> {
        let index = if shard == ShardId::LOCAL { 0 } else { usize::from(shard.0) };
        &self.0.workers[index % self.0.workers.len()]
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

    /// Where its events arrive.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Sends calls, all for `shard`, which takes them in order.
    pub fn submit(&self, shard: ShardId, calls: Vec<Call>) {
        self.engine.worker(shard).push(Input::Calls(self.id, calls));
    }

    /// Deliveries had stalled ([`Outbox::written`] said so) and can go on.
    pub fn resume(&self) {
        for worker in &self.engine.0.workers {
            worker.push(Input::Resume(self.id));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for worker in &self.engine.0.workers {
            worker.push(Input::Disconnect(self.id));
        }
    }
}
