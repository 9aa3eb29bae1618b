//! What goes from one queue to another, on its shard or elsewhere: moved, refused or expired.

use super::{Asked, SimClient, consumer, payload, pick};
use crate::model::Id;
use crate::world::{FADES, World};
use engine::api::{Append, Disposition, IfGone, LeaseRange, Move, Op, Settle, Source};
use io::Clock as _;
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
            consumer: Some(consumer(number)),
            source: source.subscription,
            range: LeaseRange { log: source.log.log, first: offsets[0], last: offsets[0] },
            to: target,
            stamp: Vec::new(),
            moves_max: Some(100),
            restores: false,
            gone: IfGone::Keep,
        };
        let asked = Asked::Move { from: source.log.log, to: target.log, id };
        self.send(world, Op::Move(op), asked);
    }

    /// Refuses one of the messages that it holds of the first queue, if the second, which has them then,
    /// has never seen it.
    pub(super) fn reject_one(&mut self, world: &mut World) {
        let Some((0, offsets)) = self.choose_held(world) else { return };
        let (source, target) = (world.queues[0], world.queues[1].log);
        let held = self.held.get(&0).map(|held| held[&offsets[0]]);
        let Some(id) = held.filter(|id| !world.model.log(target.log).knows(*id)) else { return };
        let (ids, ranges) = self.release(0, source.log.log, &offsets[..1]);
        world.model.log(source.log.log).settle_asked(id);
        world.model.log(target.log).timetable.asked(&ids, Millis(0));
        let settle = Settle {
            consumer: consumer(0),
            source: Source::Subscription(source.subscription),
            ranges,
            disposition: Disposition::Rejected,
        };
        let asked = Asked::Reject { from: source.log.log, to: target.log, id };
        self.send(world, Op::Settle(settle), asked);
    }

    /// Publishes what nobody consumes before it has expired.
    pub(super) fn fade(&mut self, world: &mut World) {
        let (Some(fading), Some(target)) = (world.ends.fading, world.queues.get(2)) else { return };
        let (log, to) = (fading.log, target.log.log);
        if self.is_enough(world, to) {
            return self.consume(world);
        }
        let ids: Vec<Id> =
            self.new_ids(1 + world.random.below(3)).into_iter().map(Id::unordered).collect();
        let due = world.clock.now().plus(FADES);
        let from = log.log;
        world.model.log(from).asked(&ids);
        ids.iter().for_each(|id| world.model.log(from).settle_asked(*id));
        world.model.log(to).timetable.asked(&ids, due);
        let append =
            Append { to: [log].into(), payload: payload(&world.random, &ids), waits: true };
        self.send(world, Op::Append(append), Asked::Fade { from, to, ids });
    }
}
