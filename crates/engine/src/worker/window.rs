//! Windows that bind consumers over more than one log's dispatch.

use super::Worker;
use crate::api::{self, Reply};
use ledger::ConsumerKey;
use std::collections::{BTreeMap, BTreeSet};
use types::{ClientId, SubscriptionId, Token};

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

impl Worker {
    /// Sets the size of a window that a client's consumers share, and whom else it binds.
    pub(super) fn window(&mut self, client: ClientId, token: Token, window: &api::Window) {
        if let Some(seat) = self.seats.get_mut(&window.shard) {
            let id = WindowId::Shared { client, number: window.window };
            let state = seat.windows.entry(id).or_default();
            state.limit = window.prefetch;
            for (subscription, consumer) in &window.binds {
                let key = ConsumerKey { client, consumer: *consumer };
                let queue = seat.queues.get_mut(subscription);
                let there = queue.filter(|queue| queue.consumers.contains_key(&key));
                if let Some(queue) = there
                    && state.members.insert((*subscription, key))
                {
                    queue.windowed.entry(key).or_default().push(id);
                }
            }
            seat.ready.extend(state.members.iter().map(|(id, _)| *id));
        }
        self.clients.reply(client, token, Ok(Reply::Done));
    }
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
