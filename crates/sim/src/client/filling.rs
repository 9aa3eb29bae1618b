//! A queue that refuses what is too much.

use super::{Asked, SimClient, payload};
use crate::model::{Id, Model, Violation, broken};
use crate::world::World;
use engine::api::{Append, Op, Reply};
use types::{Error, Kind, LogId, LogRef};

impl Model {
    /// An append to the queue that refuses, and to others, is answered.
    pub(super) fn filled(
        &mut self,
        (bounded, others): (LogId, &[LogId]),
        ids: &[Id],
        result: Result<Reply, Error>,
    ) -> Result<(), Violation> {
        match result {
            Ok(Reply::Appended(_)) => {
                let logs = others.iter().chain([&bounded]);
                logs.for_each(|log| self.log(*log).acknowledged(ids, None));
            }
            Err(Error { kind: Kind::Full, .. }) => self.log(bounded).refused(ids),
            // Refused before anything was done, as with everything else.
            Err(Error { kind: Kind::Throttled, .. }) => {}
            other => return broken(format!("filling a queue was answered {other:?}")),
        }
        Ok(())
    }
}

impl SimClient {
    /// Appends to the queue that refuses, and perhaps to others of its shard; or empties it.
    pub(super) fn fill(&mut self, world: &mut World) {
        let Some(bounded) = world.ends.bounded else { return };
        let log = bounded.log;
        if world.random.chance(15) {
            world.ends.purges += 1;
            return self.send(world, Op::Purge(bounded.subscription), Asked::Purge);
        }
        let beside = world.queues.iter().map(|queue| queue.log).find(|to| to.shard == log.shard);
        let is_enough = beside.is_some_and(|to| self.is_enough(world, to.log));
        let beside = beside.filter(|_| !is_enough && world.random.chance(30));
        let mut to: Vec<LogRef> = beside.into_iter().chain([log]).collect();
        to.sort_unstable();
        let ids = self.new_ids(1 + world.random.below(2));
        to.iter().for_each(|to| world.model.log(to.log).asked(&ids));
        let others: Vec<LogId> = beside.iter().map(|to| to.log).collect();
        let append = Append { to: to.into(), payload: payload(&world.random, &ids), waits: true };
        self.send(world, Op::Append(append), Asked::Fill { bounded: log.log, others, ids });
    }
}
