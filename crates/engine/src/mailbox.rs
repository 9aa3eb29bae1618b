//! A worker's inbox: many senders, one receiver.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue of `T` into one thread. Senders never block: what may wait here is bounded by each
/// sender's own budget (a connection stops reading its socket when its submitted bytes pass
/// its limit), so the sum is bounded by connections times that budget.
#[derive(Debug)]
pub struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    waiting: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Mailbox {
            inner: Mutex::new(Inner { items: VecDeque::new(), waiting: false }),
            arrived: Condvar::new(),
        }
    }
}

impl<T> Mailbox<T> {
    /// Puts `item` in and wakes the receiver if it sleeps.
    pub fn push(&self, item: T) {
        let mut inner = self.lock();
        inner.items.push_back(item);
        if inner.waiting {
            inner.waiting = false;
            drop(inner);
            self.arrived.notify_one();
        }
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// Moves everything that is there to the end of `into`.
    pub fn drain(&self, into: &mut Vec<T>) {
        into.extend(self.lock().items.drain(..));
    }

    /// Moves everything that is there to the end of `into`, waiting up to `timeout` for a first item.
    pub fn wait(&self, into: &mut Vec<T>, timeout: Duration) {
        let mut inner = self.lock();
        if inner.items.is_empty() {
            inner.waiting = true;
            inner = self
                .arrived
                .wait_timeout_while(inner, timeout, |inner| inner.items.is_empty())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            inner.waiting = false;
        }
        into.extend(inner.items.drain(..));
    }

    /// Moves one item to the end of `into`, waiting up to `timeout` for it: for several receivers.
    pub fn wait_one(&self, into: &mut Vec<T>, timeout: Duration) {
        let mut inner = self.lock();
        if inner.items.is_empty() {
            inner.waiting = true;
            inner = self
                .arrived
                .wait_timeout_while(inner, timeout, |inner| inner.items.is_empty())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        into.extend(inner.items.pop_front());
        inner.waiting = inner.items.is_empty() && inner.waiting;
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
