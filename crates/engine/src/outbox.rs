//! A client's outbox: events from the workers to one connection.

use crate::api::Event;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Called when an empty outbox got its first event; must be quick and must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Deliveries stop while this many delivered bytes have not reached the client's socket.
pub(crate) const DELIVERED_BYTES_MAX: usize = 1 << 20;

/// Events for one client. Replies are bounded by the client's own calls, deliveries by
/// [`DELIVERED_BYTES_MAX`]: a client that never reads costs that much and no more.
pub struct Outbox {
    events: Mutex<Vec<Event>>,
    delivered_bytes: AtomicUsize,
    stalled: AtomicBool,
    wake: Wake,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("delivered_bytes", &self.delivered_bytes).finish()
    }
}

impl Outbox {
    /// An empty outbox; `wake` is called at each change from empty to not empty.
    #[must_use]
    pub fn new(wake: Wake) -> Outbox {
        Outbox {
            events: Mutex::new(Vec::new()),
            delivered_bytes: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            wake,
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

    /// Counts delivered bytes as on their way; false when the client should get no more for now.
    pub fn delivering(&self, bytes: usize) -> bool {
        self.delivered_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes < DELIVERED_BYTES_MAX
    }

    /// Whether the client may be given deliveries; if not, [`Outbox::written`] will say when.
    pub fn open(&self) -> bool {
        if self.delivered_bytes.load(Ordering::Acquire) < DELIVERED_BYTES_MAX {
            return true;
        }
        self.stalled.store(true, Ordering::Release);
        self.delivered_bytes.load(Ordering::Acquire) < DELIVERED_BYTES_MAX
    }

    /// Counts delivered bytes as gone to the socket. True when deliveries had stalled and can go on:
    /// the caller then tells the engine ([`Client::resume`](crate::Client::resume)).
    pub fn written(&self, bytes: usize) -> bool {
        let before = self.delivered_bytes.fetch_sub(bytes, Ordering::AcqRel);
        before - bytes < DELIVERED_BYTES_MAX / 2 && self.stalled.swap(false, Ordering::AcqRel)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
