//! What is to be appended later, and what is not to be after all.

use super::{Asked, SimClient, payload, pick};
use crate::world::World;
use engine::api::{Append, Op, Schedule, Unschedule};
use io::Clock as _;
use types::{LogId, LogRef, Millis};

/// Most entries that are made, or cancelled, at once.
const ENTRIES_MAX: u64 = 5;

impl SimClient {
    /// Schedules records for some queues of a shard.
    pub(super) fn schedule(&mut self, world: &mut World) {
        let first = world.queues[pick(&world.random, world.queues.len())].log;
        let mut to: Vec<LogRef> = world.queues.iter().map(|queue| queue.log).collect();
        to.retain(|log| *log == first || log.shard == first.shard && world.random.chance(20));
        to.sort_unstable();
        let ids = self.new_ids(1 + world.random.below(ENTRIES_MAX));
        let ids: Vec<_> = ids.into_iter().map(crate::model::Id::unordered).collect();
        let reach_ms = [0, 300, 3_000, 30_000][pick(&world.random, 4)];
        let within = i64::try_from(world.random.below(reach_ms + 1)).unwrap_or(0);
        let due = world.clock.now().plus(Millis(within));
        let logs: Vec<LogId> = to.iter().map(|log| log.log).collect();
        logs.iter().for_each(|log| world.model.log(*log).timetable.asked(&ids, due));
        let append = Append { to: to.into(), payload: payload(&world.random, &ids), waits: true };
        self.send(world, Op::Schedule(Schedule { append, due }), Asked::Schedule { logs, ids });
    }

    /// Cancels some of what is scheduled for a queue.
    pub(super) fn unschedule(&mut self, world: &mut World) {
        let log = world.queues[pick(&world.random, world.queues.len())].log;
        let mut entries = world.model.log(log.log).timetable.cancellable();
        // Of the latest ones some still wait.
        let from = entries.len().saturating_sub(pick(&world.random, 30));
        entries.drain(..from);
        entries.retain(|_| world.random.chance(50));
        entries.truncate(usize::try_from(ENTRIES_MAX).unwrap_or(1));
        if entries.is_empty() {
            return;
        }
        world.model.log(log.log).timetable.cancel_asked(&entries);
        let offsets = entries.iter().map(|(offset, _)| *offset).collect();
        let asked = Asked::Unschedule { log: log.log, entries };
        self.send(world, Op::Unschedule(Unschedule { log, offsets }), asked);
    }
}
