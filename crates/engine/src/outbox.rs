//! A client's outbox: events from the workers to one connection.

use crate::api::Event;
use crate::{Memory, MemoryPool};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Called when an empty outbox got its first event; must be quick and must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Deliveries stop while this many delivered bytes have not reached the client's socket, and before
/// that while they are more than the client's share of the pool.
const DELIVERED_BYTES_MAX: usize = 1 << 20;

/// Events for one client. Replies are bounded by the client's own calls, deliveries by
/// [`Outbox::room`]: a client that never reads costs that much and no more.
pub struct Outbox {
    events: Mutex<Vec<Event>>,
    delivered_bytes: AtomicUsize,
    stalled: AtomicBool,
    wake: Wake,
    memory: Arc<Memory>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("delivered_bytes", &self.delivered_bytes).finish()
    }
}

impl Outbox {
    /// An empty outbox; `wake` is called at each change from empty to not empty. What is delivered
    /// counts as output in `memory` until it is written.
    #[must_use]
    pub fn new(wake: Wake, memory: Arc<Memory>) -> Outbox {
        Outbox {
            events: Mutex::new(Vec::new()),
            delivered_bytes: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            wake,
            memory,
        }
    }

    /// Adds `events` in order (emptying it) and wakes the connection if it had none.
    pub fn push(&self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut held = self.lock();
        let first = held.is_empty();
        held.append(events);
        drop(held);
        if first {
            (self.wake)();
        }
    }

    /// Takes everything, in order.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.lock())
    }

    /// Delivered bytes the client may be given now.
    pub fn room(&self) -> usize {
        self.bound().saturating_sub(self.delivered_bytes.load(Ordering::Acquire))
    }

    /// Counts delivered bytes as on their way.
    pub fn delivering(&self, bytes: usize) {
        self.delivered_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.memory.add(MemoryPool::Output, bytes);
    }

    /// Whether the client may be given deliveries; if not, [`Outbox::written`] will say when.
    pub fn open(&self) -> bool {
        if self.room() > 0 {
            return true;
        }
        self.stalled.store(true, Ordering::Release);
        self.room() > 0
    }

    /// Counts delivered bytes as gone to the socket. True when deliveries had stalled and can go on:
    /// the caller then tells the engine ([`Client::resume`](crate::Client::resume)).
    pub fn written(&self, bytes: usize) -> bool {
        let before = self.delivered_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.memory.sub(MemoryPool::Output, bytes);
        before - bytes < self.bound() / 2 && self.stalled.swap(false, Ordering::AcqRel)
    }

    fn bound(&self) -> usize {
        self.memory.share(MemoryPool::Output).min(DELIVERED_BYTES_MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.memory.sub(MemoryPool::Output, *self.delivered_bytes.get_mut());
    }
}
