//! A node: its part of the consensus on every shard.

mod found;
mod serve;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use engine::replication::{EntryId, Found, NodeId, Replicas, Replicator};
use journal::{FrameDraft, Placed};
use openraft::error::{ClientWriteError, RaftError};
use openraft::network::RaftNetworkFactory;
use openraft::{BasicNode, Config, Raft, ServerState, SnapshotPolicy};
use tokio::runtime::Handle;
use types::ShardId;

use crate::frame::proposed;
use crate::journal::{Journal, Sizes};
use crate::links::{Connect, Link, Peer};
use crate::standing::{Health, Standing};
use crate::types::Types;

/// Most entries of one request; their bytes have a limit of their own.
const ENTRIES_MAX: u64 = 64;
/// Entries that stay for replicas that are behind, though the state that they led to is stored.
const ENTRIES_KEPT: u64 = 10_000;

/// Nodes that are taken into a cluster wait each for another time, up to so many of them.
const NEWCOMERS: u64 = 8;

/// What a node is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its number.
    pub node: NodeId,
    /// The nodes that begin a cluster together, this one among them, with the addresses that
    /// [`Connect`] understands. Without any, a new store waits to be taken into a cluster.
    pub members: BTreeMap<NodeId, String>,
    /// How often a leader tells that it is there.
    pub heartbeat: Duration,
    /// How long a replica that is first in line waits for that before it wants to be leader.
    pub patience: Duration,
    /// How much longer each one behind it in line does. The line is another one for each shard.
    pub patience_step: Duration,
    /// Bytes of logs in memory.
    pub sizes: Sizes,
}

impl Options {
    /// Those of a node in a cluster on one site.
    #[must_use]
    pub fn new(node: NodeId, members: BTreeMap<NodeId, String>) -> Options {
        Options {
            node,
            members,
            heartbeat: Duration::from_millis(100),
            patience: Duration::from_millis(300),
            patience_step: Duration::from_millis(150),
            sizes: Sizes::default(),
        }
    }
}

/// Why a cluster did not grow.
#[derive(Debug, thiserror::Error)]
pub enum NotGrown {
    /// Another node leads the shard, or none does.
    #[error("shard {0} is not led by this node")]
    NotLed(ShardId),
    /// Consensus refuses.
    #[error("shard {shard} does not get the members: {why}")]
    Refused {
        /// The shard.
        shard: ShardId,
        /// What it says.
        why: Box<RaftError<NodeId, ClientWriteError<NodeId, BasicNode>>>,
    },
}

/// A node of a cluster; what its engine has for a [`Replicator`].
pub struct Node {
    options: Options,
    connect: Arc<dyn Connect>,
    runtime: Handle,
    journal: Journal,
    peers: Mutex<BTreeMap<(NodeId, String), Peer>>,
    groups: Mutex<BTreeMap<ShardId, Arc<Group>>>,
    own: Weak<Node>,
}

/// The consensus on one shard.
struct Group {
    shard: ShardId,
    raft: Raft<Types>,
    standing: Arc<Standing>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("node", &self.options.node).finish_non_exhaustive()
    }
}

impl Node {
    /// A node that runs on `runtime` once its engine has begun.
    pub fn new(options: Options, connect: Arc<dyn Connect>, runtime: Handle) -> Arc<Node> {
        let journal = Journal::new(options.sizes.clone());
        Arc::new_cyclic(|own| Node {
            options,
            connect,
            runtime,
            journal,
            peers: Mutex::default(),
            groups: Mutex::default(),
            own: own.clone(),
        })
    }

    /// The term in which each shard is led here, as far as the engine was told.
    #[must_use]
    pub fn leading(&self) -> Vec<(ShardId, u32)> {
        let groups = lock(&self.groups);
        let leading = |group: &Arc<Group>| Some((group.shard, group.standing.leading()?));
        groups.values().filter_map(leading).collect()
    }

    /// The shards of which this replica may have forgotten something, and does not take part yet.
    #[must_use]
    pub fn faulty(&self) -> Vec<ShardId> {
        let groups = lock(&self.groups);
        let faulty = groups.values().filter(|group| group.standing.health() != Health::Sound);
        faulty.map(|group| group.shard).collect()
    }

    /// Makes these the members of every shard, all of which this node has to lead. Those that are new
    /// have to run, and get all entries first.
    ///
    /// Fails with the first shard that does not get them; the same call can go on later.
    pub async fn grow(&self, members: &BTreeMap<NodeId, String>) -> Result<(), NotGrown> {
        let groups: Vec<Arc<Group>> = lock(&self.groups).values().cloned().collect();
        for group in groups {
            let shard = group.shard;
            if group.standing.leading().is_none() {
                return Err(NotGrown::NotLed(shard));
            }
            let refused = |why| NotGrown::Refused { shard, why: Box::new(why) };
            for (node, address) in members {
                let learner = BasicNode::new(address);
                group.raft.add_learner(*node, learner, true).await.map_err(refused)?;
            }
            let voters = members.keys().copied().collect::<std::collections::BTreeSet<_>>();
            group.raft.change_membership(voters, false).await.map_err(refused)?;
        }
        Ok(())
    }

    fn peer(&self, node: NodeId, address: &str) -> Peer {
        let mut peers = lock(&self.peers);
        let begin = || Peer::begin(&self.runtime, Arc::clone(&self.connect), address.to_owned());
        peers.entry((node, address.to_owned())).or_insert_with(begin).clone()
    }

    fn group(&self, shard: ShardId) -> Option<Arc<Group>> {
        lock(&self.groups).get(&shard).cloned()
    }

    fn config(&self, shard: ShardId, line: &[NodeId]) -> Config {
        let node = self.options.node;
        // Who is to be taken into a cluster does not know the line.
        let elsewhere = || usize::try_from(node % NEWCOMERS).unwrap_or(0);
        let place = line.iter().position(|other| *other == node).unwrap_or_else(elsewhere);
        let nodes = line.len().max(place + 1);
        let behind = (place + nodes - usize::from(shard.0) % nodes) % nodes;
        let step = self.options.patience_step * u32::try_from(behind).unwrap_or(u32::MAX);
        let patience = milliseconds(self.options.patience + step);
        Config {
            cluster_name: "crossdock".to_owned(),
            heartbeat_interval: milliseconds(self.options.heartbeat),
            // Nothing by chance: who waits how long is decided by the line.
            election_timeout_min: patience,
            election_timeout_max: patience + 1,
            max_payload_entries: ENTRIES_MAX,
            replication_lag_threshold: u64::MAX,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: ENTRIES_KEPT,
            enable_elect: false,
            ..Config::default()
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Replicator for Node {
    fn start(&self, replicas: Arc<dyn Replicas>, found: Vec<Found>) {
        self.journal.begin(Arc::clone(&replicas), &found);
        for found in found {
            let Some(node) = self.own.upgrade() else { return };
            let replicas = Arc::clone(&replicas);
            self.runtime.spawn(async move { node.open(found, replicas).await });
        }
    }

    fn propose(&self, frames: Vec<FrameDraft>) {
        for frame in frames {
            let Some(group) = self.group(frame.shard) else { continue };
            group.standing.propose(frame.term, proposed(frame));
        }
    }

    fn placed(&self, placed: &[Placed]) {
        self.journal.placed(placed);
    }

    fn stored(&self, applied: &[(ShardId, EntryId)]) {
        for (shard, applied) in applied {
            let Some(group) = self.group(*shard) else { continue };
            let Some(upto) = applied.index.checked_sub(ENTRIES_KEPT) else { continue };
            self.runtime.spawn(async move {
                // Refused when the node stops.
                let _ = group.raft.trigger().purge_log(upto).await;
            });
        }
    }

    fn stop(&self) {
        self.journal.stop("the journal's thread has ended");
        for (_, group) in std::mem::take(&mut *lock(&self.groups)) {
            self.runtime.spawn(async move {
                // It may have ended by itself.
                let _ = group.raft.shutdown().await;
            });
        }
    }
}

/// Makes a shard's ways to its replicas.
struct Links {
    node: Arc<Node>,
    shard: ShardId,
    raft: Arc<OnceLock<Raft<Types>>>,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> Link {
        Link {
            shard: self.shard,
            target,
            peer: self.node.peer(target, &node.addr),
            journal: self.node.journal.clone(),
            raft: Arc::clone(&self.raft),
        }
    }
}

impl Group {
    /// Tells the engine who leads, until the node ends.
    async fn watch_leader(self: Arc<Group>) {
        let mut metrics = self.raft.server_metrics();
        loop {
            {
                let now = metrics.borrow_and_update();
                let leads = now.state == ServerState::Leader && now.vote.is_committed();
                let term = u32::try_from(now.vote.leader_id.term).ok();
                self.standing.led(term.filter(|_| leads), now.current_leader);
            }
            if metrics.changed().await.is_err() {
                return self.standing.led(None, None);
            }
        }
    }

    /// Tells the engine that a leader is alone, until the node ends.
    async fn watch_majority(self: Arc<Group>, patience: Duration) {
        let patience = milliseconds(patience);
        let mut metrics = self.raft.metrics();
        loop {
            {
                let now = metrics.borrow_and_update();
                let others = now.membership_config.voter_ids().filter(|node| *node != now.id);
                let is_late = now.millis_since_quorum_ack.is_some_and(|late| late > patience);
                self.standing.alone(others.count() > 0 && is_late);
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
