//! Consensus as a script: three engines on simulated disks, and a model of Raft that is told what to do
//! next. It orders proposals, has entries written where it likes, counts what is placed, changes leaders and
//! takes back what was not agreed on.

use crate::replication::{Committed, EntryId, Found, Kept, Replicas, Replicator};
use crate::tests::options;
use crate::{Client, Options, Part, Replication, Stepped};
use io::sim::{SimClock, SimDisk, SimRandom};
use journal::{FrameDraft, FrameKind, Placed, Vote};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use types::{Millis, ShardId};

pub(super) const NODES: usize = 3;
const MAJORITY: usize = 2;

/// What an engine says to its replicator.
#[derive(Debug, Default)]
pub(super) struct Double(Mutex<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    replicas: Option<Arc<dyn Replicas>>,
    found: Vec<Found>,
    proposals: Vec<FrameDraft>,
    placed: Vec<Placed>,
    stored: Vec<(ShardId, EntryId)>,
}

impl Double {
    fn take<T>(&self, of: impl FnOnce(&mut Inbox) -> &mut T) -> T
    where
        T: Default,
    {
        std::mem::take(of(&mut self.0.lock().expect("nobody panicked")))
    }
}

impl Replicator for Double {
    fn start(&self, replicas: Arc<dyn Replicas>, found: Vec<Found>) {
        let mut inbox = self.0.lock().expect("nobody panicked");
        inbox.replicas = Some(replicas);
        inbox.found = found;
    }

    fn propose(&self, frames: Vec<FrameDraft>) {
        self.0.lock().expect("nobody panicked").proposals.extend(frames);
    }

    fn placed(&self, placed: &[Placed]) {
        self.0.lock().expect("nobody panicked").placed.extend_from_slice(placed);
    }

    fn stored(&self, applied: &[(ShardId, EntryId)]) {
        self.0.lock().expect("nobody panicked").stored.extend_from_slice(applied);
    }

    fn stop(&self) {}
}

/// An entry as a node has it.
#[derive(Debug)]
struct Slot {
    term: u32,
    frame: FrameDraft,
    placed: Option<Placed>,
}

/// A shard's log on a node.
#[derive(Debug, Default)]
struct Member {
    term: u32,
    leads: Option<u32>,
    /// Entries up to here are purged.
    base: u64,
    slots: Vec<Slot>,
    /// What is on its way to the disk.
    writing: VecDeque<FrameDraft>,
    /// Up to where the engine was told.
    told: u64,
    stored: u64,
    /// The largest term of a vote that is on the disk.
    voted: u32,
}

impl Member {
    fn last(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    fn at(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.base + 1)?).ok()?)
    }

    fn end(&self, base_term: u32) -> (u32, u64) {
        (self.slots.last().map_or(base_term, |slot| slot.term), self.last())
    }
}

/// What the nodes have agreed on of a shard.
#[derive(Debug, Default)]
pub(super) struct Group {
    chosen: Vec<u32>,
    term: u32,
    election: Option<(u32, usize, BTreeSet<usize>)>,
}

pub(super) struct Node {
    pub(super) disk: Arc<SimDisk>,
    pub(super) engine: Option<Stepped>,
    pub(super) client: Option<Client>,
    double: Arc<Double>,
    replicas: Option<Arc<dyn Replicas>>,
    members: BTreeMap<ShardId, Member>,
    /// What its engine had applied when that was looked at last.
    applied: Vec<(ShardId, u64, bool)>,
    random: Arc<SimRandom>,
}

/// The nodes, their logs and what they agreed on.
pub(super) struct Script {
    pub(super) nodes: Vec<Node>,
    pub(super) groups: BTreeMap<ShardId, Group>,
    pub(super) clock: Arc<SimClock>,
    pub(super) random: SimRandom,
    shards: u16,
    /// States that some node had after an entry.
    states: BTreeMap<(ShardId, u64), Vec<u8>>,
}

impl Script {
    pub(super) fn new(seed: u64, shards: u16) -> Script {
        let disks = (0..NODES).map(|node| Arc::new(SimDisk::new(seed * 8 + node as u64))).collect();
        Script::on(disks, seed, shards)
    }

    /// On disks that may hold something.
    pub(super) fn on(disks: Vec<Arc<SimDisk>>, seed: u64, shards: u16) -> Script {
        let node = |(number, disk)| Node {
            disk,
            engine: None,
            client: None,
            double: Arc::default(),
            replicas: None,
            members: BTreeMap::new(),
            applied: Vec::new(),
            random: Arc::new(SimRandom::new(seed * 16 + number as u64)),
        };
        let mut script = Script {
            nodes: disks.into_iter().enumerate().map(node).collect(),
            groups: (0..shards).map(|shard| (ShardId(shard), Group::default())).collect(),
            clock: Arc::new(SimClock::new(Millis(1_700_000_000_000))),
            random: SimRandom::new(seed),
            shards,
            states: BTreeMap::new(),
        };
        (0..NODES).for_each(|node| script.start(node));
        script
    }

    pub(super) fn shards(&self) -> Vec<ShardId> {
        self.groups.keys().copied().collect()
    }

    pub(super) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].engine.is_some()
    }

    /// Opens the store of a node. What it had acknowledged is there.
    pub(super) fn start(&mut self, node: usize) {
        let options = Options {
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.nodes[node].random) as _,
            workers: 1 + node % 2,
            shards: self.shards,
            cache_bytes: 64 << 10,
            ..options(&self.nodes[node].disk)
        };
        let it = &mut self.nodes[node];
        it.double = Arc::default();
        it.applied.clear();
        let replication = Replication { replicator: Arc::clone(&it.double) as _ };
        let engine = Stepped::open_replicated(options, replication).expect("the store opens");
        it.client = Some(engine.handle().connect(Arc::new(|| {})));
        it.engine = Some(engine);
        it.replicas = it.double.0.lock().expect("nobody panicked").replicas.clone();
        for found in it.double.take(|inbox| &mut inbox.found) {
            assert_eq!(found.faulty, None, "node {node}");
            let before = it.members.remove(&found.shard).unwrap_or_default();
            let member = member_of(&found, &**it.replicas.as_ref().expect("started"));
            assert!(member.term >= before.voted, "node {node} forgot its vote");
            for slot in before.slots.iter().filter(|slot| slot.placed.is_some()) {
                let index = slot.frame.index;
                let has =
                    index <= member.base || member.at(index).is_some_and(|it| it.term == slot.term);
                assert!(has, "node {node} forgot entry {index} of shard {}", found.shard);
            }
            let stored = before.stored;
            it.members.insert(found.shard, Member { stored, ..member });
            let group = self.groups.entry(found.shard).or_default();
            // A store of a single node: what it has was acknowledged.
            if group.chosen.is_empty() && found.vote.is_none() {
                let entries = found.entries.last().map_or(0, |kept| kept.placed.index);
                let last = found.applied.map_or(0, |applied| applied.index).max(entries);
                group.chosen = vec![1; usize::try_from(last).expect("few entries")];
                group.term = 1;
            }
        }
    }

    /// Cuts a node's power now.
    pub(super) fn cut(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.client = None;
        it.engine = None;
        it.disk.crash_at(it.disk.calls());
        it.disk.restart();
        for member in it.members.values_mut() {
            member.leads = None;
            member.writing.clear();
        }
    }

    /// Lets a node's engine go on, one part or all.
    pub(super) fn run(&mut self, node: usize, part: Option<Part>) {
        let it = &mut self.nodes[node];
        let Some(engine) = it.engine.as_mut() else { return };
        match part {
            Some(part) => engine.step(part).expect("the disk works"),
            None => engine.run(1).expect("the disk works"),
        }
        let applied = engine.applied();
        if applied == it.applied {
            return self.hear(node);
        }
        let state = engine.state();
        it.applied.clone_from(&applied);
        for ((shard, state), (_, index, _)) in state.into_iter().zip(applied) {
            let known = self.states.entry((shard, index)).or_insert_with(|| state.clone());
            assert!(*known == state, "node {node} has another state of {shard} after {index}");
        }
        self.hear(node);
    }

    /// Takes in what a node's engine said.
    fn hear(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        for placed in it.double.take(|inbox| &mut inbox.placed) {
            let member = it.members.get_mut(&placed.shard).expect("a shard there is");
            let frame = member.writing.pop_front().expect("it was given to be written");
            assert_eq!((frame.kind, frame.index), (placed.kind, placed.index));
            match frame.kind {
                FrameKind::Vote => {
                    member.voted = member.voted.max(frame.term);
                    let group = self.groups.get_mut(&placed.shard).expect("a shard there is");
                    if let Some((term, _, votes)) = &mut group.election
                        && *term == frame.term
                    {
                        votes.insert(node);
                    }
                }
                FrameKind::Truncate | FrameKind::Purge => {}
                _ => {
                    let at = frame.index.checked_sub(member.base + 1);
                    let slot = at.and_then(|at| member.slots.get_mut(usize::try_from(at).ok()?));
                    if let Some(slot) = slot.filter(|slot| slot.term == frame.term) {
                        slot.placed = Some(placed);
                    }
                }
            }
        }
        for (shard, id) in it.double.take(|inbox| &mut inbox.stored) {
            it.members.get_mut(&shard).expect("a shard there is").stored = id.index;
        }
        for mut frame in it.double.take(|inbox| &mut inbox.proposals) {
            let member = &self.nodes[node].members[&frame.shard];
            if member.leads == Some(frame.term) {
                frame.index = member.last() + 1;
                self.append(node, frame);
            }
        }
    }

    fn append(&mut self, node: usize, frame: FrameDraft) {
        let it = &mut self.nodes[node];
        let member = it.members.get_mut(&frame.shard).expect("a shard there is");
        member.slots.push(Slot { term: frame.term, frame: frame.clone(), placed: None });
        self.write(node, frame);
    }

    fn write(&mut self, node: usize, frame: FrameDraft) {
        let it = &mut self.nodes[node];
        let member = it.members.get_mut(&frame.shard).expect("a shard there is");
        member.writing.push_back(frame.clone());
        it.replicas.as_ref().expect("started").write(vec![frame]);
    }

    /// A node asks for votes; `voters` answer.
    pub(super) fn campaign(&mut self, shard: ShardId, candidate: usize, voters: &[usize]) {
        let group = self.groups.get_mut(&shard).expect("a shard there is");
        group.term += 1;
        let term = group.term;
        group.election = Some((term, candidate, BTreeSet::new()));
        let log = self.end_of(shard, candidate);
        for voter in voters.iter().copied() {
            if self.is_up(voter) && self.end_of(shard, voter) <= log {
                self.see_term(shard, voter, term, None);
                let vote = Vote { term, node: Some(candidate as u64), ..Vote::default() };
                self.write(voter, vote.frame(shard));
            }
        }
    }

    fn end_of(&self, shard: ShardId, node: usize) -> (u32, u64) {
        let member = &self.nodes[node].members[&shard];
        let chosen = &self.groups[&shard].chosen;
        let base_term = member.base.checked_sub(1).map_or(0, |at| chosen[at as usize]);
        member.end(base_term)
    }

    fn see_term(&mut self, shard: ShardId, node: usize, term: u32, leader: Option<u64>) {
        let it = &mut self.nodes[node];
        let member = it.members.get_mut(&shard).expect("a shard there is");
        if member.term < term {
            member.term = term;
            member.leads = None;
            it.replicas.as_ref().expect("started").follow(shard, leader);
        }
    }

    /// Whoever has a majority of votes leads.
    pub(super) fn count_votes(&mut self, shard: ShardId) {
        let group = self.groups.get_mut(&shard).expect("a shard there is");
        let Some((term, candidate, votes)) = &group.election else { return };
        let (term, candidate) = (*term, *candidate);
        if votes.len() < MAJORITY || !votes.contains(&candidate) {
            return;
        }
        group.election = None;
        let is_up = self.is_up(candidate);
        let member = self.nodes[candidate].members.get_mut(&shard).expect("a shard there is");
        if !is_up || member.term != term {
            return;
        }
        member.leads = Some(term);
        let index = member.last() + 1;
        self.append(candidate, FrameDraft::bare(FrameKind::Blank, shard, (term, index)));
    }

    /// A leader adds an entry that is nobody's frame.
    pub(super) fn change_members(&mut self, shard: ShardId, node: usize) {
        let member = &self.nodes[node].members[&shard];
        if let Some(term) = member.leads {
            let index = member.last() + 1;
            let mut frame = FrameDraft::bare(FrameKind::Membership, shard, (term, index));
            frame.commands = bytes::Bytes::from_static(b"members");
            self.append(node, frame);
        }
    }

    /// A leader has up to `most` entries written by another node.
    pub(super) fn replicate(&mut self, shard: ShardId, from: usize, to: usize, most: usize) {
        let leader = &self.nodes[from].members[&shard];
        let Some(term) = leader.leads else { return };
        let other = &self.nodes[to].members[&shard];
        if !self.is_up(to) || from == to || other.term > term {
            return;
        }
        assert!(leader.base <= other.last(), "node {to} needs what is purged");
        let low = leader.base.max(other.base);
        let agree = |index: &u64| match (leader.at(*index), other.at(*index)) {
            (Some(one), Some(other)) => one.term == other.term,
            _ => *index <= low,
        };
        let top = leader.last().min(other.last());
        let matching = (low..=top).rev().find(|index| agree(index)).unwrap_or(low);
        let next: Vec<FrameDraft> = (matching + 1..=leader.last())
            .take(most)
            .filter_map(|index| Some(leader.at(index)?.frame.clone()))
            .collect();
        let conflicts = other.last() > matching && !next.is_empty();
        self.see_term(shard, to, term, Some(from as u64));
        if conflicts {
            let member = self.nodes[to].members.get_mut(&shard).expect("a shard there is");
            assert!(member.told <= matching, "what was committed is taken back");
            member.slots.truncate(usize::try_from(matching - member.base).expect("few"));
            let index = matching + 1;
            self.write(to, FrameDraft::bare(FrameKind::Truncate, shard, (term, index)));
        }
        next.into_iter().for_each(|frame| self.append(to, frame));
    }

    /// Counts who has what: entries of a leader's term that a majority has are chosen.
    pub(super) fn count(&mut self, shard: ShardId) {
        for node in 0..NODES {
            let member = &self.nodes[node].members[&shard];
            let Some(term) = member.leads else { continue };
            let has = |node: usize, index: u64, term: u32| {
                let slot = self.nodes[node].members[&shard].at(index);
                slot.is_some_and(|slot| slot.term == term && slot.placed.is_some())
            };
            let chosen = self.groups[&shard].chosen.len() as u64;
            let next = (chosen + 1..=member.last()).rev().find(|index| {
                member.at(*index).is_some_and(|slot| slot.term == term)
                    && has(node, *index, term)
                    && (0..NODES).filter(|other| has(*other, *index, term)).count() >= MAJORITY
            });
            let Some(next) = next else { continue };
            let terms: Vec<u32> = (chosen + 1..=next)
                .map(|index| member.at(index).expect("it has all of them").term)
                .collect();
            self.groups.get_mut(&shard).expect("a shard there is").chosen.extend(terms);
        }
    }

    /// Tells a node's engine of up to `most` entries that are chosen, and that it leads when one of its
    /// term is.
    pub(super) fn commit(&mut self, shard: ShardId, node: usize, most: usize) {
        let chosen = &self.groups[&shard].chosen;
        let it = &mut self.nodes[node];
        if it.engine.is_none() {
            return;
        }
        let member = it.members.get_mut(&shard).expect("a shard there is");
        let replicas = it.replicas.as_ref().expect("started");
        let mut entries = Vec::new();
        let mut leads = None;
        while entries.len() < most && member.told < chosen.len() as u64 {
            let index = member.told + 1;
            let term = chosen[usize::try_from(index - 1).expect("few")];
            let Some(slot) = member.at(index).filter(|slot| slot.term == term) else { break };
            let Some(placed) = slot.placed.clone() else { break };
            entries.push(Committed { frame: slot.frame.clone(), placed });
            if slot.frame.kind == FrameKind::Blank && member.leads == Some(term) {
                leads = Some(term);
            }
            member.told = index;
            if leads.is_some() {
                break;
            }
        }
        if !entries.is_empty() {
            replicas.commit(shard, entries);
        }
        if let Some(term) = leads {
            replicas.lead(shard, term);
        }
    }

    /// Nobody needs what every node has in a checkpoint.
    pub(super) fn purge(&mut self, shard: ShardId) {
        let stored = self.nodes.iter().map(|node| node.members[&shard].stored).min();
        for node in 0..NODES {
            let is_up = self.is_up(node);
            let member = self.nodes[node].members.get_mut(&shard).expect("a shard there is");
            let Some(upto) = stored.filter(|upto| *upto > member.base) else { continue };
            if !is_up || member.told < upto {
                continue;
            }
            let count = usize::try_from(upto - member.base).expect("few");
            if member.slots.len() < count {
                continue;
            }
            let term = member.slots[count - 1].term;
            member.slots.drain(..count);
            member.base = upto;
            self.write(node, FrameDraft::bare(FrameKind::Purge, shard, (term, upto)));
        }
    }

    /// The node whose engine leads a shard.
    pub(super) fn leader(&self, shard: ShardId) -> Option<usize> {
        let leads = |node: &Node| {
            let applied = node.engine.as_ref().map(Stepped::applied).unwrap_or_default();
            let it = applied.into_iter().any(|(of, _, leads)| of == shard && leads);
            it.then(|| node.members[&shard].leads).flatten()
        };
        let all = self.nodes.iter().enumerate();
        let led = all.filter_map(|(number, node)| Some((leads(node)?, number)));
        led.max().map(|(_, number)| number)
    }

    /// Has everything that is under way arrive everywhere.
    pub(super) fn settle(&mut self) {
        for _ in 0..12 {
            for shard in self.shards() {
                self.count_votes(shard);
                for (from, to) in (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))) {
                    self.replicate(shard, from, to, 64);
                }
                self.count(shard);
                (0..NODES).for_each(|node| self.commit(shard, node, 64));
            }
            for node in 0..NODES {
                (0..4).for_each(|_| self.run(node, None));
            }
            self.clock.pass(5_000);
        }
    }

    /// Makes a node the leader of a shard, with all nodes up.
    pub(super) fn elect(&mut self, shard: ShardId, wanted: usize) {
        for _ in 0..8 {
            let best = (0..NODES).max_by_key(|node| self.end_of(shard, *node)).unwrap_or(0);
            let fits = self.end_of(shard, wanted) == self.end_of(shard, best);
            let candidate = if fits { wanted } else { best };
            self.campaign(shard, candidate, &[0, 1, 2]);
            self.settle();
            if self.leader(shard) == Some(wanted) {
                return;
            }
        }
        let of = |node: usize| {
            let member = &self.nodes[node].members[&shard];
            let (term, leads, end) = (member.term, member.leads, member.last());
            let writing = member.writing.len();
            let next =
                member.at(member.told + 1).map(|it| (it.term, it.frame.kind, it.placed.is_some()));
            (term, leads, member.base, end, member.told, writing, next)
        };
        let all: Vec<_> = (0..NODES).map(of).collect();
        let group = &self.groups[&shard];
        let chosen = group.chosen.len();
        let terms = &group.chosen;
        panic!(
            "node {wanted} does not lead {shard}: {all:?}, {chosen} {:?} {terms:?}",
            group.election
        );
    }
}

/// What a start has found, with the entries themselves.
fn member_of(found: &Found, replicas: &dyn Replicas) -> Member {
    let applied = found.applied.map_or(0, |applied| applied.index);
    let first = found.entries.first().map(|kept| kept.placed.index - 1);
    let base = first.unwrap_or(applied.max(found.purged.map_or(0, |purged| purged.index)));
    let slot = |kept: &Kept| {
        let frame = replicas.read(kept.placed.place).expect("an entry that was found");
        Slot { term: kept.term, frame, placed: Some(kept.placed.clone()) }
    };
    let slots: Vec<Slot> = found.entries.iter().map(slot).collect();
    let last_term = slots.last().map_or(0, |slot| slot.term);
    Member {
        term: found.vote.map_or(0, |vote| vote.term).max(last_term),
        base,
        slots,
        told: applied,
        voted: found.vote.map_or(0, |vote| vote.term),
        ..Member::default()
    }
}

/// What a start finds in a store.
pub(super) fn opened(disk: &Arc<SimDisk>, script: &Script) -> Vec<Found> {
    let double: Arc<Double> = Arc::default();
    let replication = Replication { replicator: Arc::clone(&double) as _ };
    let options = Options { shards: script.shards, ..options(disk) };
    let engine = Stepped::open_replicated(options, replication).expect("the store opens");
    drop(engine);
    double.take(|inbox| &mut inbox.found)
}
