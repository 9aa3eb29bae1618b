//! A queue that keeps what is settled: rewound, and messages taken out of it by their place.

use super::{Asked, SimClient};
use crate::world::{KEPT, World};
use engine::api::{LeaseRange, Op, Remove, Rewind};
use io::Random as _;
use types::{Offset, Token};

/// A rewind goes back by fewer than so many of the offsets that are known.
const BACK_MAX: u64 = 60;

impl SimClient {
    /// Has the queue deliver again, or takes a message out of it.
    pub(super) fn replay(&mut self, world: &mut World) {
        if !world.shape.keeps {
            return self.consume(world);
        }
        let kept = world.queues[KEPT];
        let log = kept.log.log;
        if world.random.chance(50) {
            let end = world.model.log(log).end().0;
            let back = i64::try_from(world.random.below(BACK_MAX)).unwrap_or(0);
            let to = Offset((end - back).max(0));
            let op = Op::Rewind(Rewind { subscription: kept.subscription, log, to });
            self.send(world, op, Asked::Rewind { log });
            let token = Token(world.next_token);
            return world.model.log(log).rewind_asked(token, to);
        }
        let chance = world.random.next();
        let Some((id, offset)) = world.model.log(log).placed(chance) else { return };
        world.model.log(log).remove_asked(id);
        let ranges = vec![LeaseRange { log, first: offset, last: offset }];
        let op = Op::Remove(Remove { subscription: kept.subscription, ranges });
        self.send(world, op, Asked::Remove { log, id });
    }
}
