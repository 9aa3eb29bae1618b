//! What recurs: each client has a name of its own for it.

use super::body::encode;
use super::{Asked, SimClient, pick};
use crate::model::recurring::Step;
use crate::model::{Id, Model, Violation};
use crate::world::World;
use bytes::Bytes;
use engine::api::{Missed, Op, Recur, RecurStep, Recurred, Recurrence, RecurrenceEntry};
use engine::calendar::{Rhythm, Timetable};
use io::Clock as _;
use types::Millis;

/// How long it is from one message to the next.
const EVERY: [Millis; 3] = [Millis(1_000), Millis(1_700), Millis(4_000)];

/// What was asked of a recurrence.
#[derive(Clone, Copy, Debug)]
pub(super) enum Recurs {
    Put(Id),
    Step(u64, Id, (Step, u64)),
}

impl Recurs {
    pub(super) fn answered(
        self,
        model: &mut Model,
        (recurred, entry): (Recurred, Option<&RecurrenceEntry>),
        now: Millis,
    ) -> Result<(), Violation> {
        match self {
            Recurs::Put(id) => model.recurring.answered(id, (recurred, entry), now),
            Recurs::Step(name, last, step) => {
                model.recurring.step_answered((name, last), step, recurred, now);
                Ok(())
            }
        }
    }
}

impl SimClient {
    /// Has a message recur, in place of the one before, or ends, stops or continues that.
    pub(super) fn recur(&mut self, world: &mut World) {
        let Some(ticks) = world.ends.ticks else { return };
        let (name, now) = (self.number, world.clock.now());
        let step = match (world.random.below(10), world.model.recurring.last(name)) {
            (0, Some(last)) => Some((last, Step::Cancel, RecurStep::Cancel)),
            (1, Some(last)) => Some((last, Step::Pause, RecurStep::Pause)),
            (2..4, Some(last)) => Some((last, Step::Resume, RecurStep::Resume)),
            _ => None,
        };
        let (asked, step) = match step {
            Some((last, step, asked)) => {
                let number = world.model.recurring.step_asked(name, step, now);
                (Recurs::Step(name, last, (step, number)), asked)
            }
            None => {
                let id = self.new_ids(1)[0];
                let every = EVERY[pick(&world.random, EVERY.len())];
                let count = world.random.chance(30).then(|| 1 + world.random.below(6));
                let missed = [Missed::All, Missed::All, Missed::Once, Missed::Skip];
                let missed = missed[pick(&world.random, missed.len())];
                world.model.recurring.asked(id, (name, every), (count, missed));
                let timetable = Timetable { rhythm: Rhythm::Every(every), start: None, end: None };
                let tail = Bytes::from(encode(&world.random, id));
                let what =
                    Recurrence { to: ticks.log.log, timetable, missed, count, id: None, tail };
                (Recurs::Put(id), RecurStep::Put(Box::new(what)))
            }
        };
        let op = Recur { home: ticks.log, name: name.to_string().into(), step };
        self.send(world, Op::Recur(op), Asked::Recurs(asked));
    }
}
