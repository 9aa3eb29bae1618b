//! Topics whose logs begin later.

use super::{Asked, SimClient, pick};
use crate::world::World;
use engine::api::{Op, Trim};
use types::Offset;

/// A trim leaves fewer than so many of the records that are known.
const TRIM_STAY_MAX: u64 = 40;

impl SimClient {
    /// Looks at a topic's log, or trims it to some offset that it has.
    pub(super) fn trim(&mut self, world: &mut World) {
        let log = world.topics[pick(&world.random, world.topics.len())];
        let end = world.model.log(log.log).end();
        if world.random.chance(50) || end == Offset(0) {
            return self.send(world, Op::Extent(vec![log]), Asked::Other);
        }
        let stay = i64::try_from(world.random.below(TRIM_STAY_MAX)).unwrap_or(0);
        let before = Offset((end.0 - stay).max(0));
        world.model.log(log.log).trim_asked(before);
        if Some(log) == world.events() {
            world.model.events.trim_asked(before);
        }
        let trim = Trim { log, before: Some(before) };
        self.send(world, Op::Trim(trim), Asked::Trim { log: log.log, before });
    }
}
