//! One run: work, ends, restarts, checks.

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
}

/// Steps in which an engine that nobody asks anything has to come to rest.
const QUIET_STEPS_MAX: usize = 5_000;

/// Clients of a run.
const CLIENTS: u64 = 4;

/// Does the run of `seed`.
///
/// Fails with the first promise that was broken.
pub fn run(seed: u64, plan: Plan) -> Result<Tally, Violation> {
    let mut world = World::new(seed)?;
    let mut clients: Vec<SimClient> = (1..=CLIENTS).map(|n| SimClient::new(n, &world)).collect();
    let mut tally = Tally::default();
    for _ in 0..plan.lives {
        let ops = 1 + world.random.below(plan.ops_per_life * 2);
        arrange_end(&mut world, ops);
        let (done, alive) = live(&mut world, &mut clients, ops)?;
        tally.ops += done;
        let quietly = alive && world.random.chance(20);
        if !quietly || !quiet_end(&mut world, &mut clients)? {
            end(&mut world)?;
        }
        tally.crashes += 1;
        clients.iter_mut().for_each(|client| client.reconnect(&world));
        drain::check(&mut world)?;
    }
    drain::consume(&mut world)?;
    Ok(tally)
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

/// Works until the ops are done or the disk ends it: how many were done, and whether it lives.
fn live(world: &mut World, clients: &mut [SimClient], ops: u64) -> Result<(u64, bool), Violation> {
    let mut done = 0;
    while done < ops {
        for _ in 0..=world.random.below(6) {
            if world.step_any().is_err() {
                return Ok((done, false));
            }
        }
        let at = usize::try_from(world.random.below(clients.len() as u64)).unwrap_or(0);
        clients[at].act(world);
        done += 1;
        if world.random.below(500) == 0 {
            clients[at].drop_connection(world);
        }
        for client in clients.iter_mut() {
            client.listen(world)?;
        }
    }
    Ok((done, true))
}

/// Lets everything come to rest, and kills the process: the next one must come to the same state,
/// byte by byte. False when the disk failed on the way.
fn quiet_end(world: &mut World, clients: &mut [SimClient]) -> Result<bool, Violation> {
    for _ in 0..QUIET_STEPS_MAX {
        if world.step_all().is_err() {
            return Ok(false);
        }
        for client in clients.iter_mut() {
            client.listen(world)?;
        }
        if world.engine().is_quiet() {
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

/// Ends the process where it stands, and starts it again on what is left.
fn end(world: &mut World) -> Result<(), Violation> {
    match world.disk.is_crashed() || world.random.chance(50) {
        true => world.disk.restart(),
        false => world.disk.kill(),
    }
    world.open()
}
