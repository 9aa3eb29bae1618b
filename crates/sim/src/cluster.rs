//! Three brokers in one thread, from a seed: network and time are turmoil's, disks and clocks simulated
//! ones, and storms go over them while clients work.
//!
//! One run is decided by its seed: what clients ask and whom, which messages are late or lost, whose power
//! goes and what of the unsynced writes survives. A [`Book`](book::Book) keeps what was acknowledged, and
//! holds every answer, every delivery and, in the end, every pair of nodes against it.

mod book;
mod host;
mod load;
mod scenarios;
mod settling;
mod storms;

use crate::Violation;
use crate::model::broken;
use host::Machine;
use io::sim::SimRandom;
use load::Load;
pub use scenarios::{SCENARIOS, Scenario};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use storms::Storms;

/// Nodes of a cluster.
pub(crate) const NODES: usize = 3;
/// Shards of it, beside each node's own.
pub(crate) const SHARDS: u16 = 4;
/// What a step of the simulation takes.
const TICK: Duration = Duration::from_millis(1);
/// In ticks: until a cluster has leaders for all shards, after whatever happened to it.
pub(crate) const ACCEPTS_WITHIN: u64 = 3_000;

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub struct ClusterPlan {
    /// Operations of clients, at least.
    pub ops: u64,
    /// Storms, about.
    pub storms: u64,
    /// What happens in the middle instead.
    pub scenario: Option<Scenario>,
}

/// What runs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterTally {
    /// Operations of clients.
    pub ops: u64,
    /// Of them, acknowledged ones.
    pub acknowledged: u64,
    /// Storms.
    pub storms: u64,
    /// Times that some node led a shard in a term.
    pub leaderships: u64,
    /// Starts of nodes after the first.
    pub restarts: u64,
    /// The longest that a cluster without troubles did not accept a write, in milliseconds.
    pub silence_ms: u64,
    /// Of everything that was answered, in order.
    pub trace: u64,
}

impl std::ops::AddAssign for ClusterTally {
    fn add_assign(&mut self, other: ClusterTally) {
        self.ops += other.ops;
        self.acknowledged += other.acknowledged;
        self.storms += other.storms;
        self.leaderships += other.leaderships;
        self.restarts += other.restarts;
        self.silence_ms = self.silence_ms.max(other.silence_ms);
        self.trace ^= other.trace;
    }
}

/// Does the run of `seed`; a panic is a violation as well.
///
/// Fails with the first promise that was broken.
pub fn run_cluster(seed: u64, plan: ClusterPlan) -> Result<ClusterTally, Violation> {
    catch_unwind(AssertUnwindSafe(|| run(seed, plan)))
        .unwrap_or_else(|_| Err(Violation("a node panicked".to_owned())))
}

/// The cluster, and what surrounds it.
pub(crate) struct Cluster<'a> {
    sim: turmoil::Sim<'a>,
    pub(crate) machines: Vec<Rc<Machine>>,
    pub(crate) random: SimRandom,
    pub(crate) tick: u64,
    pub(crate) tally: ClusterTally,
    leaders: Vec<(u16, u32, usize)>,
}

fn run(seed: u64, plan: ClusterPlan) -> Result<ClusterTally, Violation> {
    let mut cluster = Cluster::new(seed, plan.scenario == Some(Scenario::Grown));
    let mut load = Load::new(seed);
    load.declare(&mut cluster)?;
    if let Some(scenario) = plan.scenario {
        play(&mut cluster, &mut load, plan.ops, scenario)?;
    }
    let mut storms = Storms::new(plan.storms);
    while cluster.tally.ops < plan.ops || !storms.are_over() {
        storms.act(&mut cluster);
        load.act(&mut cluster)?;
        cluster.step()?;
        load.hear(&mut cluster)?;
    }
    storms.end(&mut cluster);
    cluster.tally.storms = storms.count();
    settling::settle(&mut cluster, &mut load)?;
    cluster.tally.trace = load.trace();
    Ok(cluster.tally)
}

/// Lets clients work, and takes the steps of a scenario in the middle of that.
fn play(
    cluster: &mut Cluster<'_>,
    load: &mut Load,
    ops: u64,
    scenario: Scenario,
) -> Result<(), Violation> {
    let mut go_on = |cluster: &mut Cluster<'_>, ticks: u64, ops: u64| {
        let end = cluster.tick + ticks;
        while cluster.tick < end || cluster.tally.ops < ops {
            load.act(cluster)?;
            cluster.step()?;
            load.hear(cluster)?;
        }
        Ok::<_, Violation>(())
    };
    go_on(cluster, 0, ops / 2)?;
    for (step, ticks) in scenarios::steps(scenario, &cluster.random) {
        scenarios::take(cluster, step);
        go_on(cluster, ticks, 0)?;
    }
    go_on(cluster, 0, ops)
}

impl Cluster<'_> {
    fn new(seed: u64, begins_small: bool) -> Cluster<'static> {
        let random = SimRandom::new(seed ^ 0xc1);
        let mut sim = turmoil::Builder::new()
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(2 + random.below(8)))
            .tcp_capacity(1 << 14)
            .rng_seed(seed)
            .build();
        let machines: Vec<Rc<Machine>> =
            (0..NODES).map(|number| Rc::new(Machine::new(seed, number, begins_small))).collect();
        for machine in &machines {
            let machine = Rc::clone(machine);
            sim.host(host::name(machine.number), move || host::live(Rc::clone(&machine)));
        }
        let tally = ClusterTally::default();
        Cluster { sim, machines, random, tick: 0, tally, leaders: Vec::new() }
    }

    /// A millisecond passes.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        self.tick += 1;
        self.machines.iter().for_each(|machine| machine.pass(TICK));
        if let Err(error) = self.sim.step() {
            return broken(format!("a host failed: {error}"));
        }
        for number in 0..NODES {
            if self.machines[number].has_failed() {
                self.crash(number, true);
                self.restart(number);
            }
        }
        self.look_at_leaders()
    }

    /// No shard has two leaders in one term.
    fn look_at_leaders(&mut self) -> Result<(), Violation> {
        for machine in &self.machines {
            for (shard, term) in machine.leading() {
                let known = self.leaders.iter().rfind(|it| (it.0, it.1) == (shard.0, term));
                match known {
                    Some((.., node)) if *node == machine.number => {}
                    Some((.., node)) => {
                        let other = machine.number;
                        return broken(format!(
                            "nodes {node} and {other} both lead shard {shard} in term {term}"
                        ));
                    }
                    None => {
                        self.leaders.push((shard.0, term, machine.number));
                        self.tally.leaderships += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends a node, with its power or only the process.
    pub(crate) fn crash(&mut self, number: usize, power: bool) {
        self.machines[number].end(power);
        self.sim.crash(host::name(number));
    }

    /// Starts a node that ended.
    pub(crate) fn restart(&mut self, number: usize) {
        self.tally.restarts += 1;
        self.sim.bounce(host::name(number));
    }

    /// What goes from one node to another is lost; `back`: and the other way.
    pub(crate) fn cut(&mut self, from: usize, to: usize, back: bool) {
        self.sim.partition_oneway(host::name(from), host::name(to));
        if back {
            self.sim.partition_oneway(host::name(to), host::name(from));
        }
    }

    /// What goes between two nodes waits.
    pub(crate) fn hold(&mut self, one: usize, other: usize) {
        self.sim.hold(host::name(one), host::name(other));
    }

    /// The network between two nodes is whole again.
    pub(crate) fn mend(&mut self, one: usize, other: usize) {
        self.sim.release(host::name(one), host::name(other));
        self.sim.repair(host::name(one), host::name(other));
    }
}
