//! What Jepsen did to NATS JetStream 2.12.1, step by step, and what else is done to one node or to all.
//!
//! Source: jepsen.io/analyses/nats-2.12.1: a bit flipped or a file cut short on one node lost most of what was
//! acknowledged, and so did power cuts, one of them while another node was paused.

use super::{Cluster, NODES};
use io::sim::SimRandom;
use io::{Access, Disk as _};

/// Ticks that a node is down, or paused, at most.
const DOWN_MAX: u64 = 400;

/// What happens in the middle of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One bit of a segment of one node.
    SegmentBit,
    /// One bit of an index file of one node.
    IndexBit,
    /// One bit of a checkpoint of one node.
    CheckpointBit,
    /// One file of one node is cut short.
    Truncated,
    /// All files of one node are gone.
    Wiped,
    /// The power of all nodes goes at once.
    Dark,
    /// The power of two nodes goes while the third is paused.
    DarkWhilePaused,
    /// The power of all nodes goes, and some file of one of them is not what was written.
    DamagedInTheDark,
    /// One node after the other is started again.
    Rolling,
    /// A cluster of one node becomes one of three.
    Grown,
}

/// All of them, with their names.
pub const SCENARIOS: [(&str, Scenario); 10] = [
    ("segment-bit", Scenario::SegmentBit),
    ("index-bit", Scenario::IndexBit),
    ("checkpoint-bit", Scenario::CheckpointBit),
    ("truncated", Scenario::Truncated),
    ("wiped", Scenario::Wiped),
    ("dark", Scenario::Dark),
    ("dark-while-paused", Scenario::DarkWhilePaused),
    ("damaged-in-the-dark", Scenario::DamagedInTheDark),
    ("rolling", Scenario::Rolling),
    ("grown", Scenario::Grown),
];

/// A step of a scenario, and in how many ticks it is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Crash(usize),
    Damage(usize, Scenario),
    Restart(usize),
    Pause(usize),
    GoOn(usize),
    Grow,
}

/// The steps of a scenario, each with the ticks after it.
pub(super) fn steps(scenario: Scenario, random: &SimRandom) -> Vec<(Step, u64)> {
    let node = usize::try_from(random.below(NODES as u64)).unwrap_or(0);
    let some = || 1 + random.below(DOWN_MAX);
    let all = |step: fn(usize) -> Step| (0..NODES).map(move |node| (step(node), 0));
    match scenario {
        Scenario::Dark => {
            all(Step::Crash).chain([(Step::GoOn(node), some())]).chain(all(Step::Restart)).collect()
        }
        Scenario::DarkWhilePaused => {
            let others = move |step: fn(usize) -> Step| {
                (0..NODES).filter(move |other| *other != node).map(move |other| (step(other), 0))
            };
            [(Step::Pause(node), some())]
                .into_iter()
                .chain(others(Step::Crash))
                .chain([(Step::Pause(node), some())])
                .chain(others(Step::Restart))
                .chain([(Step::Pause(node), some()), (Step::GoOn(node), 0)])
                .collect()
        }
        Scenario::DamagedInTheDark => all(Step::Crash)
            .chain([(Step::Damage(node, scenario), some())])
            .chain(all(Step::Restart))
            .collect(),
        Scenario::Rolling => (0..NODES)
            .flat_map(|node| [(Step::Crash(node), some()), (Step::Restart(node), 2 * DOWN_MAX)])
            .collect(),
        Scenario::Grown => vec![(Step::Grow, some())],
        _ => vec![
            (Step::Crash(node), 0),
            (Step::Damage(node, scenario), some()),
            (Step::Restart(node), 0),
        ],
    }
}

/// Takes a step.
pub(super) fn take(cluster: &mut Cluster<'_>, step: Step) {
    match step {
        Step::Crash(node) => {
            let power = cluster.random.chance(80);
            cluster.crash(node, power);
        }
        Step::Restart(node) => cluster.restart(node),
        Step::Damage(node, scenario) => damage(cluster, node, scenario),
        Step::Grow => cluster.machines[0].grow(),
        Step::Pause(node) => {
            cluster.machines[node].pause(true);
            (0..NODES).filter(|other| *other != node).for_each(|other| cluster.hold(node, other));
        }
        Step::GoOn(node) => {
            cluster.machines[node].pause(false);
            (0..NODES).filter(|other| *other != node).for_each(|other| cluster.mend(node, other));
        }
    }
}

/// Damages what a node that is down has on its disk.
fn damage(cluster: &Cluster<'_>, node: usize, scenario: Scenario) {
    let (disk, random) = (&cluster.machines[node].disk, &cluster.random);
    let names = disk.list().unwrap_or_default();
    let is_meant = |name: &&String| match scenario {
        Scenario::SegmentBit => name.starts_with("j-") && name.ends_with(".seg"),
        Scenario::IndexBit => name.ends_with(".idx"),
        Scenario::CheckpointBit => name.starts_with("checkpoint"),
        _ => !name.starts_with("spare") && !name.starts_with("prepare") && *name != "lock",
    };
    let meant: Vec<&String> = names.iter().filter(is_meant).collect();
    if scenario == Scenario::Wiped {
        for name in &names {
            // What cannot be removed stays, as on a disk that comes back in part.
            let _ = disk.remove(name);
        }
        let _ = disk.sync_dir();
        return;
    }
    let Some(name) = meant.get(random.below(meant.len().max(1) as u64) as usize) else { return };
    let contents = disk.contents(name).unwrap_or_default();
    let used = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let at = random.below(used.max(1) as u64);
    let is_cut = match scenario {
        Scenario::Truncated => true,
        Scenario::DamagedInTheDark => random.chance(50),
        _ => false,
    };
    match is_cut {
        true => {
            if let Ok(file) = disk.open(name, Access::Buffered) {
                let _ = file.set_len(at & !4095);
                let _ = file.sync();
            }
        }
        false => {
            disk.flip_bit(name, at as usize, random.below(8) as u8);
        }
    }
}
