//! What a life of the process is like: work of one kind for a while reaches what an even mix never
//! does, such as segments that hold almost nothing any more.

use crate::model::Id;
use engine::Part;
use io::sim::SimRandom;

/// Of a prompt consumer's records one in so many is parked.
const PARKED_EVERY: u64 = 41;

/// How clients and machine behave for one life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mood {
    /// So many of a hundred appends may go to topics, too; the others go to queues only.
    topics_percent: u64,
    /// Consumers settle all they have but what they park.
    pub(crate) prompt: bool,
    /// A part of the engine that hardly gets its turn, for a while.
    pub(crate) slow: Option<Part>,
    /// Most steps of the engine between two operations: where they are few, many operations are in
    /// one round, and much is on its way when it ends.
    steps_max: u64,
    /// Clients ask for so many things in a row, more or less, before the engine goes on: those that
    /// do not wait for answers share a turn of the worker and a round.
    pub(crate) burst: u64,
}

impl Mood {
    pub(crate) fn by_chance(random: &SimRandom) -> Mood {
        let topics_percent = [0, 4, 50, 100][usize::try_from(random.below(4)).unwrap_or(0)];
        let steps_max = [1, 2, 3, 6][usize::try_from(random.below(4)).unwrap_or(0)];
        let burst = [1, 1, 8, 40][usize::try_from(random.below(4)).unwrap_or(0)];
        Mood { topics_percent, prompt: random.chance(60), slow: None, steps_max, burst }
    }

    /// How many steps the engine goes on before the next operation.
    pub(crate) fn steps(&self, random: &SimRandom) -> u64 {
        if random.below(self.burst) > 0 { 0 } else { random.below(self.steps_max + 1) }
    }

    pub(crate) fn choose_slow(&mut self, random: &SimRandom) {
        self.slow = match random.below(8) {
            0..2 => Some(Part::Journal),
            2 => Some(Part::Keeper),
            3 => Some(Part::Load),
            _ => None,
        };
    }

    /// For a time in which nobody asks for anything: often nothing is synced then for a while.
    pub(crate) fn idle(&mut self, random: &SimRandom) {
        match random.chance(50) {
            true => self.slow = Some(Part::Journal),
            false => self.choose_slow(random),
        }
    }

    /// Whether the next append may go to topics.
    pub(crate) fn reaches_topics(&self, random: &SimRandom) -> bool {
        random.chance(self.topics_percent)
    }

    /// Whether a consumer keeps the record without settling it.
    pub(crate) fn parks(&self, id: Id) -> bool {
        self.prompt && id.0.is_multiple_of(PARKED_EVERY)
    }
}
