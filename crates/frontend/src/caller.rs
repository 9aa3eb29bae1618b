//! The engine as async code uses it: one completion per operation, deliveries as they come.

use crate::flights::op_bytes;
use crate::{Door, Doors};
use engine::api::{Call, Delivery, Event, Op, Reply};
use engine::{Account, MemoryPool, delivery_bytes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use types::{ClientId, ConsumerId, Error, Kind, Token};

/// One connection to the engine for async code; dropping it returns its leases and ends its
/// consumers. Lives on the tokio runtime it was made on.
pub struct Caller {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

/// The reply to an operation that is under way.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Reply, Error>>);

struct Shared {
    door: Box<dyn Door>,
    /// Rung when `state` has changed.
    arrived: Notify,
    state: Mutex<State>,
    last_token: AtomicU64,
}

/// Replies are bounded by the calls, deliveries by the engine, which stops at a client that does
/// not take them.
#[derive(Default)]
struct State {
    replies: BTreeMap<Token, Waiting>,
    /// Bytes of the operations that are not answered.
    bytes: usize,
    account: Account,
    deliveries: VecDeque<(ConsumerId, Delivery)>,
    gone: BTreeSet<ConsumerId>,
}

struct Waiting {
    bytes: usize,
    sender: oneshot::Sender<Result<Reply, Error>>,
}

impl State {
    fn count(&mut self) {
        self.account.set(MemoryPool::Submitted, self.bytes);
    }
}

impl Caller {
    /// Connects to the engine behind `doors`, on the current tokio runtime.
    #[must_use]
    pub fn connect(doors: &dyn Doors) -> Caller {
        let bell = Arc::new(Notify::new());
        let ring = Arc::clone(&bell);
        let door = doors.connect(Arc::new(move || ring.notify_one()));
        let account = Account::new(door.memory());
        let shared = Arc::new(Shared {
            door,
            arrived: Notify::new(),
            state: Mutex::new(State { account, ..State::default() }),
            last_token: AtomicU64::new(Token::NONE.0),
        });
        let pumped = Arc::clone(&shared);
        let pump = tokio::spawn(async move {
            loop {
                bell.notified().await;
                pumped.take_events();
            }
        });
        Caller { shared, pump }
    }

    /// The connection's number in the engine.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.shared.door.client()
    }

    /// Sends an operation; operations for one shard are carried out in the order they were sent.
    /// Not for an append to several shards.
    pub fn start(&self, op: Op) -> Pending {
        let token = Token(self.shared.last_token.fetch_add(1, Relaxed) + 1);
        let (sender, receiver) = oneshot::channel();
        let bytes = op_bytes(&op);
        let mut state = self.shared.lock();
        state.replies.insert(token, Waiting { bytes, sender });
        state.bytes += bytes;
        state.count();
        drop(state);
        self.shared.door.submit(op.shard(), vec![Call { token, op }]);
        Pending(receiver)
    }

    /// Whether more is under way than one connection may have: then something has to be answered
    /// before anything is sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let state = self.shared.lock();
        state.bytes >= state.account.memory().share(MemoryPool::Submitted)
    }

    /// Sends an operation and waits for its reply; of a change, until it is durable.
    pub async fn call(&self, op: Op) -> Result<Reply, Error> {
        self.start(op).reply().await
    }

    /// The next delivery to any of this connection's consumers; `None` once one of them has ended
    /// because what it consumed is gone and everything before was taken.
    pub async fn next_delivery(&self) -> Option<(ConsumerId, Delivery)> {
        loop {
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(next) = self.ready_delivery() {
                return Some(next);
            }
            if !self.shared.lock().gone.is_empty() {
                return None;
            }
            arrived.await;
        }
    }

    /// The next delivery that is already here.
    pub fn ready_delivery(&self) -> Option<(ConsumerId, Delivery)> {
        let next = self.shared.lock().deliveries.pop_front()?;
        self.shared.door.written(delivery_bytes(&next.1));
        Some(next)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("client", &self.client()).finish_non_exhaustive()
    }
}

impl Pending {
    /// Waits for the reply.
    ///
    /// Fails as the operation did, and with `Unavailable` when the engine stopped meanwhile.
    pub async fn reply(self) -> Result<Reply, Error> {
        let stopped = || Err(Error::new(Kind::Unavailable, "the broker is stopping"));
        self.0.await.unwrap_or_else(|_| stopped())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_events(&self) {
        let events = self.door.events();
        let mut state = self.lock();
        for event in events {
            match event {
                Event::Reply { token, result } => {
                    if let Some(waiting) = state.replies.remove(&token) {
                        state.bytes -= waiting.bytes;
                        // Whoever asked may have gone away.
                        let _ = waiting.sender.send(result);
                    }
                }
                Event::Deliver { consumer, items } => {
                    state.deliveries.extend(items.into_iter().map(|item| (consumer, item)));
                }
                Event::ConsumerGone { consumer } => {
                    state.gone.insert(consumer);
                }
                Event::Blocked(_) => {}
            }
        }
        state.count();
        drop(state);
        self.arrived.notify_waiters();
    }
}
