//! What happens to nodes and to the network between them.

use super::{Cluster, NODES};
use io::Clock as _;
use types::Millis;

/// Ticks before the first storm.
const CALM: u64 = 200;
/// Ticks between the begin of one storm and the next, on average.
const EVERY: u64 = 250;
/// Longest storm, in ticks.
const LONGEST: u64 = 900;
const YEAR: i64 = 365 * 24 * 3_600_000;

/// A storm that goes on.
#[derive(Clone, Copy, Debug)]
enum Storm {
    /// A node and the others do not hear each other.
    Apart(usize),
    /// What one says the other does not hear.
    Deaf(usize, usize),
    /// What two nodes say to each other comes later.
    Late(usize, usize),
    /// A node does nothing, and hears nothing.
    Paused(usize),
    /// A node is down.
    Down(usize),
    /// All nodes are.
    Dark,
}

/// The storms of a run.
pub(super) struct Storms {
    left: u64,
    count: u64,
    next: u64,
    going: Vec<(u64, Storm)>,
}

impl Storms {
    pub(super) fn new(count: u64) -> Storms {
        Storms { left: count, count: 0, next: CALM, going: Vec::new() }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn are_over(&self) -> bool {
        self.left == 0 && self.going.is_empty()
    }

    /// Begins and ends storms.
    pub(super) fn act(&mut self, cluster: &mut Cluster<'_>) {
        let tick = cluster.tick;
        let over: Vec<(u64, Storm)> = self.going.extract_if(.., |(end, _)| *end <= tick).collect();
        for (_, storm) in over {
            self.pass(cluster, storm);
        }
        if self.left > 0 && tick >= self.next {
            self.left -= 1;
            self.count += 1;
            self.next = tick + 1 + cluster.random.below(2 * EVERY);
            self.begin(cluster);
        }
    }

    /// Ends all storms.
    pub(super) fn end(&mut self, cluster: &mut Cluster<'_>) {
        for (_, storm) in std::mem::take(&mut self.going) {
            self.pass(cluster, storm);
        }
        for one in 0..NODES {
            cluster.machines[one].pause(false);
            (0..one).for_each(|other| cluster.mend(one, other));
            if !cluster.machines[one].is_up() {
                cluster.crash(one, false);
                cluster.restart(one);
            }
        }
    }

    fn begin(&mut self, cluster: &mut Cluster<'_>) {
        let random = &cluster.random;
        let node = usize::try_from(random.below(NODES as u64)).unwrap_or(0);
        let other = (node + 1 + usize::try_from(random.below(2)).unwrap_or(0)) % NODES;
        let end = cluster.tick + 20 + random.below(LONGEST);
        let power = random.chance(70);
        let storm = match random.below(10) {
            0 | 1 => {
                for other in (0..NODES).filter(|other| *other != node) {
                    cluster.cut(node, other, true);
                }
                Storm::Apart(node)
            }
            2 => {
                cluster.cut(node, other, false);
                Storm::Deaf(node, other)
            }
            3 => {
                cluster.hold(node, other);
                Storm::Late(node, other)
            }
            4 => {
                cluster.machines[node].pause(true);
                for other in (0..NODES).filter(|other| *other != node) {
                    cluster.hold(node, other);
                }
                Storm::Paused(node)
            }
            5 => {
                let machine = &cluster.machines[node];
                let by = match random.below(4) {
                    0 => -(random.below(600_000) as i64),
                    1 => random.below(YEAR as u64) as i64,
                    _ => random.below(60_000) as i64,
                };
                machine.clock.set(Millis((machine.clock.now().0 + by).max(0)));
                return;
            }
            6 if self.going.is_empty() => {
                (0..NODES).for_each(|node| cluster.crash(node, power));
                Storm::Dark
            }
            7 => {
                let call = cluster.machines[node].disk.calls() + 1 + random.below(40);
                cluster.machines[node].disk.crash_at(call);
                return;
            }
            _ => {
                if self.going.iter().any(|(_, storm)| matches!(storm, Storm::Down(_) | Storm::Dark))
                {
                    return;
                }
                cluster.crash(node, power);
                Storm::Down(node)
            }
        };
        self.going.push((end, storm));
    }

    fn pass(&mut self, cluster: &mut Cluster<'_>, storm: Storm) {
        match storm {
            Storm::Apart(node) | Storm::Paused(node) => {
                cluster.machines[node].pause(false);
                for other in (0..NODES).filter(|other| *other != node) {
                    cluster.mend(node, other);
                }
            }
            Storm::Deaf(one, other) | Storm::Late(one, other) => cluster.mend(one, other),
            Storm::Down(node) => cluster.restart(node),
            Storm::Dark => (0..NODES).for_each(|node| cluster.restart(node)),
        }
    }
}
