//! A client that takes everything that is left.

use super::{Asked, SimClient, consumer};
use crate::model::Id;
use crate::world::{KEYED, MIXED, World};
use engine::api::{Op, Source, Take};
use std::collections::BTreeSet;

/// Whether the client that takes all that is left settles as it takes: of a key that is held nothing more
/// would come, nor of a queue of which few messages are out at once.
pub(super) fn settles_at_once(number: usize) -> bool {
    number == KEYED || number == MIXED
}

impl SimClient {
    /// Consumes every queue without bound: nothing more comes, and all of it is ready.
    pub(crate) fn take_all(&mut self, world: &mut World) {
        self.ranked = Some(None);
        for number in 0..world.queues.len() {
            let take = Take {
                consumer: consumer(number),
                source: Source::Subscription(world.queues[number].subscription),
                prefetch: 0,
                window: None,
                settle_on_delivery: settles_at_once(number),
                exclusive: false,
                priority: 0,
                sessions_max: 0,
            };
            self.send(world, Op::Take(take), Asked::Other);
        }
    }

    /// How much has come.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// What it holds of a queue.
    pub(crate) fn held_of(&self, number: usize) -> BTreeSet<Id> {
        self.held.get(&number).into_iter().flat_map(|held| held.values().copied()).collect()
    }
}
