//! Random commands: whatever their order, the group contradicts neither itself nor what it said.

use crate::group::{Group, GroupState, Waiting};
use crate::{
    ClientLabel, Command, Commit, Effect, Generation, Groups, Join, JoinRules, LeavingMember,
    OffsetKey, OffsetToCommit, Protocol, Reply, Sessions, Sync,
};
use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::collections::BTreeSet;
use types::Millis;

const MEMBERS_MAX: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A join without an id.
    Enter {
        instance: Option<u8>,
        known: bool,
        skip: bool,
        protocols: u8,
        delay: i64,
    },
    /// Requests by a member, named by how long ago its id was given out.
    Return {
        who: u8,
        protocols: u8,
    },
    Sync {
        who: u8,
        behind: i32,
    },
    Leave {
        who: u8,
        instance: Option<u8>,
    },
    Commit {
        who: u8,
        behind: i32,
    },
    Heartbeat {
        who: u8,
    },
    Pass(i64),
    ExpireOffsets,
    DeleteOffsets,
    DeleteGroup,
    Restart,
}

struct World {
    groups: Groups,
    sessions: Sessions,
    now: Millis,
    ids: Vec<String>,
    /// Requests that wait, as the engine would keep them: by member, and whether it is a join.
    parked: BTreeSet<(String, bool)>,
    generation: Generation,
}

impl World {
    fn id(&self, who: u8) -> String {
        let at = self.ids.len().checked_sub(1 + usize::from(who));
        at.map_or_else(|| "stranger".to_owned(), |at| self.ids[at].clone())
    }

    fn generation(&self, behind: i32) -> Generation {
        Generation(self.groups.get("g").map_or(0, |group| group.generation().0) - behind)
    }

    fn step(&mut self, step: Step) {
        let command = match step {
            Step::Enter { instance, known, skip, protocols, delay } => {
                let id = format!("m{}", self.ids.len());
                self.ids.push(id.clone());
                let rules = JoinRules {
                    require_known_member: known,
                    can_skip_assignment: skip,
                    members_max: MEMBERS_MAX,
                    initial_delay: Millis(delay),
                };
                let mut join = join(String::new(), protocols, rules);
                (join.new_member, join.instance) = (id, instance.map(name));
                Command::Join(join)
            }
            Step::Return { who, protocols } => {
                let rules = JoinRules {
                    require_known_member: true,
                    can_skip_assignment: false,
                    members_max: MEMBERS_MAX,
                    initial_delay: Millis(0),
                };
                Command::Join(join(self.id(who), protocols, rules))
            }
            Step::Sync { who, behind } => Command::Sync(Sync {
                member: self.id(who),
                instance: None,
                generation: self.generation(behind),
                protocol_type: None,
                protocol: None,
                assignments: self.assignments(),
            }),
            Step::Leave { who, instance } => {
                let member = if instance.is_some() { String::new() } else { self.id(who) };
                let leaving = LeavingMember { member, instance: instance.map(name) };
                Command::Leave { members: vec![leaving] }
            }
            Step::Commit { who, behind } => Command::Commit(self.commit(who, behind)),
            Step::Heartbeat { who } => {
                self.heartbeat(&self.id(who));
                return;
            }
            Step::Pass(span) => {
                self.pass(span);
                return;
            }
            Step::ExpireOffsets => Command::ExpireOffsets { retention: Millis(5_000) },
            Step::DeleteOffsets => Command::DeleteOffsets { keys: vec![key()] },
            Step::DeleteGroup => Command::DeleteGroup,
            Step::Restart => {
                self.restart();
                return;
            }
        };
        self.apply(command);
    }

    /// As a leader member would send it: something for each member it was told of.
    fn assignments(&self) -> Vec<(String, Bytes)> {
        let assignment = |id: &String| (id.clone(), Bytes::from(format!("for {id}")));
        self.ids.iter().map(assignment).collect()
    }

    fn commit(&self, who: u8, behind: i32) -> Commit {
        let offset = OffsetToCommit {
            key: key(),
            offset: i64::from(who),
            leader_epoch: -1,
            metadata: String::new(),
        };
        Commit {
            member: self.id(who),
            instance: None,
            generation: self.generation(behind),
            metadata_bytes_max: 8,
            offsets: vec![offset],
        }
    }

    fn heartbeat(&mut self, id: &str) {
        let generation = self.generation(0);
        if self.groups.heartbeat_verdict("g", generation, id, None).is_ok() {
            let group = self.groups.get("g").unwrap();
            assert!(group.members.contains_key(id));
            self.sessions.heartbeat("g", id, self.now);
        }
    }

    fn pass(&mut self, span: i64) {
        self.now = self.now.plus(Millis(span));
        for due in self.sessions.due(self.now) {
            self.apply(due.command);
        }
    }

    /// The leader is gone: connections are lost, and what waited on them. State comes back from
    /// its bytes.
    fn restart(&mut self) {
        let bytes = postcard::to_stdvec(&self.groups).unwrap();
        let again: Groups = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
        assert_eq!(again.bytes(), self.groups.bytes(), "what is counted is there");
        self.groups = again;
        self.sessions = Sessions::rebuilt(&self.groups, self.now);
    }

    fn apply(&mut self, command: Command) {
        let asks = match &command {
            Command::Join(_) => Some(true),
            Command::Sync(_) => Some(false),
            _ => None,
        };
        let is_deletion = matches!(command, Command::DeleteGroup | Command::ExpireOffsets { .. });
        let mut effects = Vec::new();
        let mut twin = self.groups.clone();
        let reply = self.groups.apply("g", command.clone(), self.now, &mut effects);
        let mut twin_effects = Vec::new();
        assert_eq!(twin.apply("g", command, self.now, &mut twin_effects), reply);
        assert_eq!((&twin, &twin_effects), (&self.groups, &effects), "not deterministic");
        if let (Reply::Waiting { member }, Some(is_join)) = (&reply, asks) {
            // A member waits for one thing at a time.
            self.parked.retain(|(parked, _)| parked != member);
            self.parked.insert((member.clone(), is_join));
        }
        if matches!(reply, Reply::Refused(_)) {
            let tells = |effect: &Effect| matches!(effect, Effect::Synced { .. });
            assert!(!effects.iter().any(tells), "a refused command changed something");
        }
        for effect in effects {
            self.sessions.apply("g", &effect, self.now);
            self.check_effect(&effect);
        }
        match self.groups.get("g") {
            Some(group) => {
                assert!(self.generation <= group.generation(), "generation went back");
                self.generation = group.generation();
                self.check_waiting(group);
                check_group(group);
            }
            None => {
                assert!(is_deletion || self.generation == Generation(0));
                assert!(self.parked.is_empty());
                self.generation = Generation(0);
            }
        }
    }

    fn check_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Joined { member, result } => {
                assert!(self.parked.remove(&(member.clone(), true)), "{member} waits for no join");
                if let Ok(joined) = result {
                    let group = self.groups.get("g").unwrap();
                    assert!(group.members.contains_key(member));
                    let leads = joined.leader == *member;
                    assert_eq!(leads, !joined.members.is_empty());
                    assert_eq!(joined.generation, group.generation());
                }
            }
            Effect::Synced { member, result } => {
                assert!(self.parked.remove(&(member.clone(), false)), "{member} waits for no sync");
                if let Ok(synced) = result {
                    let group = self.groups.get("g").unwrap();
                    assert!(group.members.contains_key(member));
                    assert_eq!(synced.assignment, format!("for {member}"));
                }
            }
            _ => {}
        }
    }

    /// Who waits in the group is who waits outside.
    fn check_waiting(&self, group: &Group) {
        let waits = |is_join| {
            let wanted = if is_join { Waiting::Join } else { Waiting::Sync };
            let waiting = group.members.iter().filter(move |(_, m)| m.waiting == wanted);
            waiting.map(move |(id, _)| (id.clone(), is_join))
        };
        let waiting: BTreeSet<_> = waits(true).chain(waits(false)).collect();
        assert_eq!(waiting, self.parked);
    }

    /// Left alone, whatever state it is in, the group ends up without members.
    fn fade(&mut self) {
        for _ in 0..20 {
            if let Some(at) = self.sessions.next_due() {
                self.pass(at.since(self.now).0.max(0));
            }
        }
        assert_eq!(self.sessions.next_due(), None);
        if let Some(group) = self.groups.get("g") {
            assert!(group.members.is_empty() && group.pending.is_empty());
            assert_eq!(group.state(), GroupState::Empty);
        }
        assert!(self.parked.is_empty(), "never answered: {:?}", self.parked);
    }
}

fn check_group(group: &Group) {
    let has_members = !group.members.is_empty();
    let members_max = MEMBERS_MAX as usize;
    match group.state {
        GroupState::Empty => {
            assert!(!has_members && group.protocol.is_none() && group.leader.is_none());
            assert_eq!(group.deadline, None);
        }
        GroupState::PreparingRebalance => {
            assert!(group.deadline.is_some());
            assert!(group.members.values().all(|member| member.waiting != Waiting::Sync));
        }
        GroupState::CompletingRebalance | GroupState::Stable => {
            assert!(has_members && group.protocol.is_some());
            assert!(group.members.len() <= members_max);
            assert!(group.members.values().all(|member| member.waiting != Waiting::Join));
            let owes = group.members.values().any(|member| member.owes_sync);
            assert_eq!(owes, group.deadline.is_some());
        }
        GroupState::Dead => unreachable!("dead groups are dropped"),
    }
    if group.state != GroupState::Stable {
        let waits = |waiting| group.members.values().any(|member| member.waiting == waiting);
        assert!(!waits(Waiting::Sync) || group.state == GroupState::CompletingRebalance);
    }
    assert_eq!(group.leader.is_some(), has_members);
    assert!(group.leader.iter().all(|leader| group.members.contains_key(leader)));
    for (instance, id) in &group.instances {
        assert_eq!(group.members[id].instance.as_ref(), Some(instance));
    }
    for (id, member) in &group.members {
        assert!(!group.pending.contains_key(id));
        assert!(member.instance.iter().all(|instance| group.instances[instance] == *id));
        let is_theirs = member.instance.is_some() || member.assignment == format!("for {id}");
        assert!(member.assignment.is_empty() || is_theirs);
    }
    let view = group.view();
    assert_eq!(view.members.len(), group.members.len());
}

fn join(member: String, protocols: u8, rules: JoinRules) -> Join {
    let all = ["range", "roundrobin", "sticky"];
    let wanted = all.iter().enumerate().filter(|(bit, _)| protocols & (1 << bit) != 0);
    let protocol = |name: &str| Protocol { name: name.to_owned(), metadata: Bytes::new() };
    Join {
        member,
        instance: None,
        new_member: String::new(),
        client: ClientLabel::default(),
        session_timeout: Millis(10_000),
        rebalance_timeout: Millis(30_000),
        protocol_type: "consumer".to_owned(),
        protocols: wanted.map(|(_, name)| protocol(name)).collect(),
        rules,
    }
}

fn name(instance: u8) -> String {
    format!("i{instance}")
}

fn key() -> OffsetKey {
    OffsetKey { topic: "t".to_owned(), partition: 0 }
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..6u8;
    let instance = || prop_oneof![3 => Just(None), 1 => (0..2u8).prop_map(Some)];
    let behind = || prop_oneof![8 => Just(0), 1 => -1..2i32];
    // Mostly the same protocols, so that groups come about.
    let protocols = || prop_oneof![6 => Just(1u8), 2 => Just(3u8), 1 => 0..8u8];
    let flags = (any::<bool>(), any::<bool>(), prop_oneof![3 => Just(0i64), 1 => Just(3_000)]);
    let enter =
        (instance(), flags, protocols()).prop_map(|(instance, (known, skip, delay), protocols)| {
            Step::Enter { instance, known, skip, protocols, delay }
        });
    prop_oneof![
        6 => enter,
        8 => (who(), protocols()).prop_map(|(who, protocols)| Step::Return { who, protocols }),
        12 => (who(), behind()).prop_map(|(who, behind)| Step::Sync { who, behind }),
        3 => (who(), instance()).prop_map(|(who, instance)| Step::Leave { who, instance }),
        3 => (who(), behind()).prop_map(|(who, behind)| Step::Commit { who, behind }),
        6 => who().prop_map(|who| Step::Heartbeat { who }),
        4 => prop_oneof![1..4_000i64, 10_000..40_000i64].prop_map(Step::Pass),
        1 => Just(Step::ExpireOffsets),
        1 => Just(Step::DeleteOffsets),
        1 => Just(Step::DeleteGroup),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn any_order_of_commands_keeps_the_group_sound(
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let mut world = World {
            groups: Groups::default(),
            sessions: Sessions::default(),
            now: Millis(0),
            ids: Vec::new(),
            parked: BTreeSet::new(),
            generation: Generation(0),
        };
        for step in steps {
            world.step(step);
        }
        world.fade();
    }

    #[test]
    fn subscriptions_never_panic_and_read_what_was_written(
        noise in proptest::collection::vec(any::<u8>(), 0..80),
        topics in proptest::collection::vec("[a-z]{0,9}", 0..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let read = |bytes: &[u8]| crate::group::subscription::topics(bytes);
        if let Some(found) = read(&noise) {
            assert!(found.len() * 2 <= noise.len());
        }
        let mut bytes = vec![0, 1];
        bytes.extend((topics.len() as i32).to_be_bytes());
        for topic in &topics {
            bytes.extend((topic.len() as i16).to_be_bytes());
            bytes.extend(topic.as_bytes());
        }
        assert_eq!(read(&bytes[..cut.index(bytes.len())]), None);
        bytes.push(7);
        assert_eq!(read(&bytes), Some(topics));
    }

    #[test]
    fn random_bytes_are_no_state_that_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(groups) = postcard::from_bytes::<Groups>(&bytes) {
            assert!(groups.iter().count() <= bytes.len());
        }
    }
}
