//! A worker: the thread that owns shards and orders their writes.

use crate::Outbox;
use crate::api::Call;
use std::sync::Arc;
use types::ClientId;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// A client appeared.
    Connect(ClientId, Arc<Outbox>),
    /// A client is gone.
    Disconnect(ClientId),
    /// A client's calls, for shards of this worker.
    Calls(ClientId, Vec<Call>),
    /// A client's deliveries had stalled and can go on.
    Resume(ClientId),
}
