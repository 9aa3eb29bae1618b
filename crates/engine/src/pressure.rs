//! Why publishing is blocked: several parts of the engine may each have a reason.

use crate::worker::{Input, Ports};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// One reason to block publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The disk refused a write.
    DiskFull,
    /// The disk has less left than it should.
    DiskLow,
    /// More is on its way to the disk than memory has room for.
    Memory,
}

/// The reasons of this moment.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    causes: Mutex<BTreeSet<Cause>>,
    /// Memory is one of them.
    memory: AtomicBool,
}

impl Cause {
    /// What clients are told; RabbitMQ's words.
    fn reason(self) -> &'static str {
        match self {
            Cause::DiskFull | Cause::DiskLow => "low on disk",
            Cause::Memory => "low on memory",
        }
    }
}

impl Ports {
    /// Notes that there is such a cause, or no longer; every worker is told what follows of it.
    pub(crate) fn press(&self, cause: Cause, on: bool) {
        let mut causes = self.pressure.causes.lock().unwrap_or_else(PoisonError::into_inner);
        self.change(&mut causes, cause, on);
    }

    /// Looks whether memory is a reason to block publishing; whether it is.
    pub(crate) fn look_at_memory(&self) -> bool {
        let was = self.pressure.memory.load(Relaxed);
        if self.memory.is_exhausted(was) != was {
            let mut causes = self.pressure.causes.lock().unwrap_or_else(PoisonError::into_inner);
            // Another worker may have looked meanwhile.
            let is = self.memory.is_exhausted(causes.contains(&Cause::Memory));
            self.pressure.memory.store(is, Relaxed);
            self.change(&mut causes, Cause::Memory, is);
        }
        self.pressure.memory.load(Relaxed)
    }

    fn change(&self, causes: &mut BTreeSet<Cause>, cause: Cause, on: bool) {
        let before = causes.first().copied();
        let changed = if on { causes.insert(cause) } else { causes.remove(&cause) };
        if !changed {
            return;
        }
        let (was, is) = (before.map(Cause::reason), causes.first().copied().map(Cause::reason));
        match on {
            true => tracing::warn!(?cause, "publishing is blocked"),
            false => tracing::warn!(
                ?cause,
                blocked = is.is_some(),
                "a reason to block publishing is gone"
            ),
        }
        if was != is {
            // Under the lock: two threads must not tell the workers in different orders.
            for mailbox in &self.mailboxes {
                mailbox.push(Input::Blocked(is));
            }
        }
    }

    /// Whether publishing is blocked.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.pressure.causes.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
