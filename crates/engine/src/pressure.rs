//! Why publishing is blocked: several parts of the engine may each have a reason.

use crate::worker::{Input, Ports};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// One reason to block publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The disk refused a write.
    DiskFull,
    /// The disk has less left than it should.
    DiskLow,
}

/// The reasons of this moment.
#[derive(Debug, Default)]
pub(crate) struct Pressure(Mutex<BTreeSet<Cause>>);

impl Cause {
    /// What clients are told; RabbitMQ's words.
    fn reason(self) -> &'static str {
        match self {
            Cause::DiskFull | Cause::DiskLow => "low on disk",
        }
    }
}

impl Ports {
    /// Notes that there is such a cause, or no longer; every worker is told what follows of it.
    pub(crate) fn press(&self, cause: Cause, on: bool) {
        let mut causes = self.pressure.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        !self.pressure.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
