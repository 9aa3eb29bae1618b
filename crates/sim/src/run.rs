//! One run: work, ends, restarts, checks.

use crate::churn::Churn;
use crate::client::SimClient;
use crate::drain;
use crate::model::{Violation, broken};
use crate::world::World;
use io::sim::Fault;

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Operations of clients between two ends of the process.
    pub ops_per_life: u64,
    /// Ends of the process.
    pub lives: u64,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations of clients.
    pub ops: u64,
    /// Ends of the process, each followed by a restart.
    pub crashes: u64,
    /// Segments given back.
    pub recycled: u64,
    /// Segments whose survivors were copied forward.
    pub relocated: u64,
    /// Segments that were written again log by log.
    pub unzipped: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.ops += other.ops;
        self.crashes += other.crashes;
        self.recycled += other.recycled;
        self.relocated += other.relocated;
        self.unzipped += other.unzipped;
    }
}

/// Steps in which an engine that nobody asks anything has to come to rest.
const QUIET_STEPS_MAX: usize = 200_000;

/// The same, where it matters less.
const REST_STEPS_MAX: usize = 60;

/// How long clients are silent then.
const REST_US: u64 = 11_000_000;

/// Most steps in a row in which nobody asks for anything.
const IDLE_STEPS_MAX: u64 = 600;

/// Calls to the disk in such a time, more or less.
const IDLE_CALLS: u64 = 16;

/// Clients of a run.
const CLIENTS: u64 = 4;

/// Everybody who asks for something.
struct Crowd {
    clients: Vec<SimClient>,
    churn: Churn,
}

/// Does the run of `seed`.
///
/// Fails with the first promise that was broken.
pub fn run(seed: u64, plan: Plan) -> Result<Tally, Violation> {
    let mut world = World::new(seed)?;
    let mut crowd = Crowd::new(&world);
    for _ in 0..plan.lives {
        let ops = 1 + world.random.below(plan.ops_per_life * 2);
        arrange_end(&mut world, ops);
        let mut alive = crowd.live(&mut world, ops)?;
        alive = alive && (world.random.chance(50) || crowd.idle(&mut world)?);
        let quietly = alive && world.random.chance(20);
        if !quietly || !crowd.quiet_end(&mut world)? {
            end(&mut world)?;
        }
        world.tally.crashes += 1;
        crowd.reconnect(&world);
        crowd.churn.check(&mut world)?;
        drain::check_some(&mut world)?;
    }
    drain::activate(&mut world)?;
    drain::consume(&mut world)?;
    world.count_upkeep();
    Ok(world.tally)
}

/// Lets the power go, or the disk fail, at some call to come; or only the process be killed.
fn arrange_end(world: &mut World, ops: u64) {
    let soon = world.disk.calls() + 1 + world.random.below(ops.max(8));
    match world.random.below(10) {
        0..6 => world.disk.crash_at(soon),
        6 => world.disk.fail_at(soon, Fault::Eio),
        _ => {}
    }
}

/// Ends the process where it stands, and starts it again on what is left.
fn end(world: &mut World) -> Result<(), Violation> {
    match world.disk.is_crashed() || world.random.chance(50) {
        true => world.disk.restart(),
        false => world.disk.kill(),
    }
    world.open()
}

impl Crowd {
    fn new(world: &World) -> Crowd {
        let clients = (1..=CLIENTS).map(|number| SimClient::new(number, world)).collect();
        Crowd { clients, churn: Churn::new(world) }
    }

    fn reconnect(&mut self, world: &World) {
        self.clients.iter_mut().for_each(|client| client.reconnect(world));
        self.churn.reconnect(world);
    }

    fn listen(&mut self, world: &mut World) -> Result<(), Violation> {
        for client in &mut self.clients {
            client.listen(world)?;
        }
        self.churn.listen()
    }

    /// Works until the ops are done or the disk ends it: whether it lives.
    fn live(&mut self, world: &mut World, ops: u64) -> Result<bool, Violation> {
        for _ in 0..ops {
            let steps = world.mood.steps(&world.random);
            for _ in 0..steps {
                if world.step_any().is_err() {
                    return Ok(false);
                }
            }
            // Nothing else makes events.
            if steps > 0 {
                self.listen(world)?;
            }
            let at = usize::try_from(world.random.below(self.clients.len() as u64)).unwrap_or(0);
            self.clients[at].act(world);
            world.tally.ops += 1;
            match world.random.below(500 * world.mood.burst) {
                0 => self.clients[at].drop_connection(world),
                1..20 => self.churn.act(world),
                20..23 if !self.idle(world)? => return Ok(false),
                23..29 if !self.rest(world)? => return Ok(false),
                _ => {}
            }
        }
        Ok(true)
    }

    /// Lets what goes on beside the work go on alone for a while: whether it lives.
    fn idle(&mut self, world: &mut World) -> Result<bool, Violation> {
        world.mood.idle(&world.random);
        if world.random.chance(40) {
            world.disk.crash_at(world.disk.calls() + 1 + world.random.below(IDLE_CALLS));
        }
        for _ in 0..=world.random.below(IDLE_STEPS_MAX) {
            if world.step_any().is_err() {
                return Ok(false);
            }
        }
        self.listen(world)?;
        Ok(true)
    }

    /// Lets everything come to rest, and then time pass: whether it lives. What producers may send
    /// again they send again soon, or not at all.
    fn rest(&mut self, world: &mut World) -> Result<bool, Violation> {
        for _ in 0..REST_STEPS_MAX {
            if world.step_all().is_err() {
                return Ok(false);
            }
            self.listen(world)?;
            if world.engine().is_quiet() {
                world.clock.pass(REST_US);
                break;
            }
        }
        Ok(true)
    }

    /// Lets everything come to rest, and kills the process: the next one must come to the same
    /// state, byte by byte. False when the disk failed on the way.
    fn quiet_end(&mut self, world: &mut World) -> Result<bool, Violation> {
        for _ in 0..QUIET_STEPS_MAX {
            if world.step_all().is_err() {
                return Ok(false);
            }
            self.listen(world)?;
            if world.engine().is_quiet() {
                world.engine().audit().map_err(Violation)?;
                let before = world.engine().state();
                world.disk.kill();
                world.open()?;
                return match world.engine().state() == before {
                    true => Ok(true),
                    false => broken("replay came to another state"),
                };
            }
        }
        broken("stuck: the engine does not come to rest")
    }
}
