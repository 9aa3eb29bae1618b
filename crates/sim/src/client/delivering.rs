//! What comes to a client must fit what is known.

use super::SimClient;
use super::body::id_of;
use super::draining::settles_at_once;
use crate::model::{Violation, broken};
use crate::world::{KEYED, MIXED, RANKED, SINGLE, World};
use engine::api::Delivery;
use io::Clock as _;
use types::ConsumerId;

impl SimClient {
    pub(super) fn delivered(
        &mut self,
        world: &mut World,
        consumer: ConsumerId,
        item: &Delivery,
    ) -> Result<(), Violation> {
        let number = consumer.0 as usize;
        let id = id_of(&item.tail)?;
        let mixed = (number == MIXED).then_some(world.shape.mixed);
        if (number == SINGLE || mixed.is_some_and(|mixed| mixed.is_single))
            && *world.model.active.entry(number).or_insert(self.number) != self.number
        {
            return broken(format!("{id:?} comes to a consumer that is not active"));
        }
        world.model.log(item.log).timetable.on_time(id, world.clock.now())?;
        let history = (item.redelivered, item.attempts);
        let now = world.clock.now();
        world.model.log(item.log).deliver(id, item.offset, history, now)?;
        let of_a_key = match number == KEYED {
            true => Some(world.shape.of_a_key),
            false => mixed.and_then(|mixed| mixed.of_a_key),
        };
        let log = world.model.log(item.log);
        if let Some(of_a_key) = of_a_key {
            log.in_key_order(id, item.offset, of_a_key)?;
        }
        if mixed.is_some_and(|mixed| mixed.has_sessions()) {
            let model = &mut world.model;
            let log = model.logs.entry(item.log).or_default();
            model.sessions.comes(
                log,
                (id, item.offset),
                (self.number, self.states.sessions_max),
            )?;
        }
        let log = world.model.log(item.log);
        if self.ranked.is_some() && settles_at_once(number) {
            log.settle_asked(id);
        }
        self.held.entry(number).or_default().insert(item.offset, id);
        self.taken += 1;
        if number == RANKED {
            return self.in_rank(id, item.offset);
        }
        // What waited for others of its key comes later than it would have.
        if number != KEYED
            && mixed.is_none_or(|mixed| mixed.is_in_order())
            && !item.redelivered
            && let Some(before) = self.highest.insert(number, item.offset)
            && before > item.offset
        {
            return broken(format!("offset {} is delivered after {before}", item.offset));
        }
        Ok(())
    }
}
