//! What is moved from one queue to another, on its shard or elsewhere.

use super::{Asked, SimClient, consumer, pick};
use crate::model::Id;
use crate::world::World;
use engine::api::{IfGone, LeaseRange, Move, Op};
use types::Millis;

impl SimClient {
    /// Moves one of the messages it holds, if the target has never seen it.
    pub(super) fn move_one(&mut self, world: &mut World) {
        let Some((number, offsets)) = self.choose_held(world) else { return };
        let source = world.queues[number];
        let target = world.queues[pick(&world.random, world.queues.len())].log;
        let held = self.held.get(&number).map(|held| held[&offsets[0]]);
        let Some(id) = held.filter(|_| target != source.log) else { return };
        if world.model.log(target.log).knows(id) {
            return;
        }
        let (ids, _) = self.release(number, source.log.log, &offsets[..1]);
        let ids: Vec<Id> = ids;
        world.model.log(source.log.log).settle_asked(id);
        world.model.log(target.log).timetable.asked(&ids, Millis(0));
        let op = Move {
            consumer: consumer(number),
            source: source.subscription,
            range: LeaseRange { log: source.log.log, first: offsets[0], last: offsets[0] },
            to: target,
            stamp: Vec::new(),
            moves_max: 100,
            gone: IfGone::Keep,
        };
        let asked = Asked::Move { from: source.log.log, to: target.log, id };
        self.send(world, Op::Move(op), asked);
    }
}
