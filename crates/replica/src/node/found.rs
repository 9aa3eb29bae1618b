//! A shard's consensus begins: with what the store has, in a new cluster, or after something was lost.
//!
//! A replica that cannot read what it acknowledged once must not act as if it never had: two replicas
//! committed an entry, one of them forgets it, and the third would be elected without it. So a faulty one
//! gives no vote and does not ask for any. That is durable, in its votes, before the rest of its log is
//! cut off, and it takes what its leader sends, as any replica that is behind. It is repaired when it has
//! all that its leader had when it answered, and the leader is backed by so many others that each majority
//! in which the faulty one may have been had one of them or the leader in it: whatever such a majority
//! committed, the leader has. With three nodes that means all; so at most a minority may be faulty.
//!
//! A store that is empty is as one that lost everything, unless no node has anything.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::replication::{Found, NodeId, Replicas};
use openraft::{BasicNode, EntryPayload, Raft};
use tokio::sync::mpsc;
use types::ShardId;

use super::{Group, Links, Node, lock};
use crate::frame::{Entry, Membership, id, membership_of};
use crate::machine::{Machine, Members};
use crate::standing::{Health, Proposal, Standing};
use crate::wire::Said;

/// Most frames of a shard on their way to its consensus: far more than its worker has under way.
const PROPOSALS_MAX: usize = 1024;
/// Between two looks for the other founders.
const FOUNDING_PAUSE: Duration = Duration::from_millis(100);

impl Node {
    /// Begins the consensus on a shard.
    pub(super) async fn open(self: Arc<Node>, found: Found, replicas: Arc<dyn Replicas>) {
        let shard = found.shard;
        if let Err(why) = self.begin(found, replicas).await {
            tracing::error!(%shard, %why, "the replica does not take part until the node starts again");
        }
    }

    async fn begin(
        self: Arc<Node>,
        found: Found,
        replicas: Arc<dyn Replicas>,
    ) -> Result<(), String> {
        let shard = found.shard;
        let log = self.journal.log(shard);
        let is_empty = found.vote.is_none()
            && found.entries.is_empty()
            && found.purged.is_none()
            && found.applied.is_none();
        let mark = found.vote.is_some_and(|vote| vote.is_faulty);
        let health = match is_empty {
            true => Health::Unknown,
            false if mark || found.faulty.is_some() => Health::Faulty,
            false => Health::Sound,
        };
        if health == Health::Faulty {
            let why = found.faulty.as_deref().unwrap_or("it was not repaired before it ended");
            tracing::error!(%shard, why, "the replica is repaired from its peers");
            log.mark_faulty(true).await.map_err(|error| error.to_string())?;
            let place = self.unreadable(&found, &*replicas);
            log.cut(place).await.map_err(|error| error.to_string())?;
        }
        let members = self.members(&found);
        let line: Vec<NodeId> = match members.nodes().count() {
            0 => self.options.members.keys().copied().collect(),
            _ => members.nodes().map(|(node, _)| *node).collect(),
        };
        let (proposals, proposed) = mpsc::channel(PROPOSALS_MAX);
        let own = Some(self.options.node);
        let led = found.vote.filter(|vote| vote.is_committed && vote.node == own);
        let led = led.map(|vote| vote.term);
        let standing = Arc::new(Standing::new(shard, (replicas, proposals), (health, led)));
        let machine = Machine {
            shard,
            journal: self.journal.clone(),
            standing: Arc::clone(&standing),
            applied: found.applied.map(|applied| id(applied.term, applied.index)),
            members,
        };
        let config = self.config(shard, &line).validate().map_err(|error| error.to_string())?;
        let cell = Arc::new(OnceLock::new());
        let links = Links { node: Arc::clone(&self), shard, raft: Arc::clone(&cell) };
        let raft = Raft::new(self.options.node, Arc::new(config), links, log, machine).await;
        let raft = raft.map_err(|error| error.to_string())?;
        // Nobody else sets it.
        let _ = cell.set(raft.clone());
        let group = Arc::new(Group { shard, raft, standing });
        self.runtime.spawn(propose(Arc::clone(&group), proposed));
        self.runtime.spawn(Arc::clone(&group).watch_leader());
        let patience = self.options.patience * 2;
        self.runtime.spawn(Arc::clone(&group).watch_majority(patience));
        lock(&self.groups).insert(shard, Arc::clone(&group));
        match health {
            Health::Unknown => self.found(&group).await?,
            Health::Sound => group.raft.runtime_config().elect(true),
            Health::Faulty => {}
        }
        Ok(())
    }

    /// The first entry that cannot be read, or is not where it should be; without one that behind the last:
    /// what lies there in the journal does not go behind it.
    fn unreadable(&self, found: &Found, replicas: &dyn Replicas) -> (u32, u64) {
        let mut entries = found.entries.iter();
        let unreadable = entries.find(|kept| {
            let read = replicas.read(kept.placed.place);
            let is_it = |index| index == kept.placed.index;
            !read.is_ok_and(|frame| is_it(frame.index) && frame.shard == found.shard)
        });
        let purged = found.purged.map(|purged| (purged.term, purged.index));
        let last = found.entries.last().map(|kept| (kept.term, kept.placed.index)).or(purged);
        match unreadable {
            Some(kept) => (kept.term, kept.placed.index),
            None => last.map_or((0, 0), |(term, index)| (term, index + 1)),
        }
    }

    /// The members of a shard as of what is applied.
    fn members(&self, found: &Found) -> Members {
        if let Some((of, commands)) = &found.members
            && let Some(members) = membership_of(commands)
        {
            return Members::new(Some(id(of.term, of.index)), members);
        }
        let is_single = found.vote.is_none_or(|vote| vote.node == Some(self.options.node))
            && (found.applied.is_some()
                || found.entries.first().is_some_and(|it| it.placed.index == 1));
        if !is_single {
            return Members::default();
        }
        // A store of one node, which is the sole member from now on.
        let node = self.options.node;
        let address = self.options.members.get(&node).cloned().unwrap_or_default();
        let nodes = std::collections::BTreeMap::from([(node, BasicNode::new(address))]);
        let members = Membership::new(vec![BTreeSet::from([node])], nodes);
        match found.applied {
            Some(applied) => Members::new(Some(id(applied.term, applied.index)), members),
            None => {
                let payload = EntryPayload::Membership(members.clone());
                self.journal.begin_with(found.shard, Entry { log_id: id(0, 0), payload });
                Members::new(Some(id(0, 0)), members)
            }
        }
    }

    /// Begins a cluster with the other founders, if they have nothing either.
    async fn found(&self, group: &Arc<Group>) -> Result<(), String> {
        let (own, shard) = (self.options.node, group.shard);
        let others: Vec<_> =
            self.options.members.iter().filter(|(node, _)| **node != own).collect();
        let is_member = self.options.members.contains_key(&own);
        let is_new = is_member && self.all_are_new(shard, &others).await;
        if is_new {
            let node = |(node, address): (&NodeId, &String)| (*node, BasicNode::new(address));
            let members: std::collections::BTreeMap<NodeId, BasicNode> =
                self.options.members.iter().map(node).collect();
            group.standing.set_health(Health::Sound);
            group.raft.runtime_config().elect(true);
            // Refused where another founder's entries came first.
            return match group.raft.initialize(members).await {
                Err(openraft::error::RaftError::Fatal(error)) => Err(error.to_string()),
                _ => Ok(()),
            };
        }
        self.journal.log(shard).mark_faulty(true).await.map_err(|error| error.to_string())?;
        group.standing.set_health(Health::Faulty);
        Ok(())
    }

    /// Whether none of them has more than the beginning of a cluster; waits until all of them say.
    async fn all_are_new(&self, shard: ShardId, others: &[(&NodeId, &String)]) -> bool {
        for (node, address) in others {
            let peer = self.peer(**node, address);
            loop {
                let asked = peer.ask(shard, Said::Look);
                match tokio::time::timeout(self.options.patience, asked).await {
                    Ok(Some(Said::Seen(last, _))) if last.is_none_or(|last| last.index == 0) => {
                        break;
                    }
                    Ok(Some(Said::Seen(..))) => return false,
                    _ => tokio::time::sleep(FOUNDING_PAUSE).await,
                }
            }
        }
        true
    }
}

/// Hands over what is proposed, in order.
async fn propose(group: Arc<Group>, mut proposed: mpsc::Receiver<Proposal>) {
    while let Some(proposal) = proposed.recv().await {
        let frame = match &proposal {
            Proposal::Frame(frame) => Arc::clone(frame),
            // Of no term: it is empty in every log.
            Proposal::Barrier(_) => Arc::default(),
        };
        let Ok(written) = group.raft.client_write_ff(frame).await else { return };
        if let Proposal::Barrier(term) = proposal {
            let group = Arc::clone(&group);
            tokio::spawn(async move {
                // What is proposed in a term that is over needs none.
                if let Ok(Ok(_)) = written.await {
                    group.standing.passed(term);
                }
            });
        }
    }
}
