//! A queue that keeps what is settled: rewound, and messages taken out of it by their place.

use super::{Asked, SimClient, pick};
use crate::model::{Id, Model, Violation};
use crate::world::{KEPT, World};
use engine::api::{IfGone, LeaseRange, Move, Op, Remove, Reply, Rewind};
use io::Random as _;
use types::{LogId, Millis, Offset, Token};

/// A rewind goes back by fewer than so many of the offsets that are known.
const BACK_MAX: u64 = 60;

/// What was asked of the queue that keeps what is settled.
#[derive(Clone, Debug)]
pub(super) enum Replaying {
    Rewind { log: LogId },
    Remove { log: LogId, id: Id },
    Carry { from: LogId, to: LogId, id: Id },
}

impl Replaying {
    pub(super) fn answered(
        self,
        model: &mut Model,
        token: Token,
        reply: &Reply,
    ) -> Result<(), Violation> {
        match self {
            Replaying::Rewind { log } => model.log(log).rewound(token, reply),
            Replaying::Remove { log, id } => model.log(log).removed(id, reply),
            Replaying::Carry { from, to, id } => model.carried((from, to), id, reply),
        }
    }
}

impl SimClient {
    /// Has the queue deliver again, or takes a message out of it.
    pub(super) fn replay(&mut self, world: &mut World) {
        if world.shape.keeps.is_none() {
            return self.consume(world);
        }
        let kept = world.queues[KEPT];
        let log = kept.log.log;
        if world.random.chance(50) {
            let end = world.model.log(log).end().0;
            let back = i64::try_from(world.random.below(BACK_MAX)).unwrap_or(0);
            let to = Offset((end - back).max(0));
            let op = Op::Rewind(Rewind { subscription: kept.subscription, log, to });
            self.send(world, op, Asked::Replay(Replaying::Rewind { log }));
            let token = Token(world.next_token);
            let is_certain = world.shape.keeps_all();
            return world.model.log(log).rewind_asked(token, to, is_certain);
        }
        let chance = world.random.next();
        let Some((id, offset)) = world.model.log(log).placed(chance) else { return };
        if world.random.chance(50) {
            return self.carry(world, (id, offset));
        }
        world.model.log(log).remove_asked(id);
        let ranges = vec![LeaseRange { log, first: offset, last: offset }];
        let op = Op::Remove(Remove { subscription: kept.subscription, ranges });
        self.send(world, op, Asked::Replay(Replaying::Remove { log, id }));
    }

    /// Moves a message that nobody holds, if the target has never seen it.
    fn carry(&mut self, world: &mut World, (id, offset): (Id, Offset)) {
        let source = world.queues[KEPT];
        let target = world.queues[pick(&world.random, world.queues.len())].log;
        if target == source.log || world.model.log(target.log).knows(id) {
            return;
        }
        let from = source.log.log;
        world.model.log(from).remove_asked(id);
        world.model.log(target.log).timetable.asked(&[id], Millis(0));
        let op = Move {
            consumer: None,
            source: source.subscription,
            range: LeaseRange { log: from, first: offset, last: offset },
            to: target,
            stamp: Vec::new(),
            moves_max: None,
            restores: false,
            gone: IfGone::Keep,
        };
        let asked = Asked::Replay(Replaying::Carry { from, to: target.log, id });
        self.send(world, Op::Move(op), asked);
    }
}
