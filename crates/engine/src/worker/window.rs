//! Windows that bind consumers over more than one log's dispatch.

use ledger::ConsumerKey;
use std::collections::{BTreeMap, BTreeSet};
use types::{ClientId, SubscriptionId};

/// A window over more than one log: a consumer's over all logs of its subscription, or one that
/// several consumers of a client share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WindowId {
    Consumer(ConsumerKey),
    Shared { client: ClientId, number: u32 },
}

/// A window's size and who it binds.
#[derive(Debug, Default)]
pub(crate) struct WideWindow {
    /// Most unsettled messages; 0 is no limit.
    pub(super) limit: u32,
    pub(super) members: BTreeSet<(SubscriptionId, ConsumerKey)>,
}

/// A consumer is bound by the windows `ids` no more.
pub(super) fn leave(
    windows: &mut BTreeMap<WindowId, WideWindow>,
    ids: &[WindowId],
    member: (SubscriptionId, ConsumerKey),
) {
    for id in ids {
        if let Some(window) = windows.get_mut(id) {
            window.members.remove(&member);
        }
        if matches!(id, WindowId::Consumer(_)) {
            windows.remove(id);
        }
    }
}

impl WindowId {
    /// Whose it is.
    pub(super) fn client(self) -> ClientId {
        match self {
            WindowId::Consumer(key) => key.client,
            WindowId::Shared { client, .. } => client,
        }
    }
}
