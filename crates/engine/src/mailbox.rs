//! A worker's inbox: many senders, one receiver.

#[cfg(test)]
mod tests;

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
    /// Receivers that sleep and were not woken.
    asleep: usize,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Mailbox {
            inner: Mutex::new(Inner { items: VecDeque::new(), asleep: 0 }),
            arrived: Condvar::new(),
        }
    }
}

impl<T> Mailbox<T> {
    /// Puts `item` in and wakes a receiver if one sleeps.
    pub fn push(&self, item: T) {
        let mut inner = self.lock();
        inner.items.push_back(item);
        if inner.asleep > 0 {
            inner.asleep -= 1;
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
        let mut inner = self.sleep(timeout);
        into.extend(inner.items.drain(..));
    }

    /// Moves one item to the end of `into`, waiting up to `timeout` for it: for several receivers.
    pub fn wait_one(&self, into: &mut Vec<T>, timeout: Duration) {
        let mut inner = self.sleep(timeout);
        into.extend(inner.items.pop_front());
    }

    /// Waits until something is there, or as long as that.
    fn sleep(&self, timeout: Duration) -> MutexGuard<'_, Inner<T>> {
        let mut inner = self.lock();
        while inner.items.is_empty() {
            // Whoever wakes a sleeper counts it out: each item wakes one more. One that was woken for
            // an item that somebody else took counts again.
            inner.asleep += 1;
            let woken = self.arrived.wait_timeout(inner, timeout);
            let (woken, waited) = woken.unwrap_or_else(PoisonError::into_inner);
            inner = woken;
            if waited.timed_out() {
                if inner.items.is_empty() {
                    inner.asleep = inner.asleep.saturating_sub(1);
                }
                break;
            }
        }
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
