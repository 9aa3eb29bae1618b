//! Becoming a member, and coming back as one.

use super::rebalance::Phase;
use super::{Group, GroupState, Member, Waiting};
use crate::{Effect, Join, Joined, JoinedMember, Protocol, Refusal, Reply};
use types::Millis;

impl Group {
    pub(super) fn join(
        &mut self,
        join: Join,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        if !self.has_place_for(&join) {
            self.drop_pending(&join.member, out);
            self.try_complete_join(now, out);
            return Err(Refusal::GroupFull);
        }
        if !self.can_agree(&join.protocol_type, &join.protocols) {
            return Err(Refusal::InconsistentProtocol);
        }
        if join.member.is_empty() {
            return Ok(self.join_without_id(join, now, out));
        }
        if self.pending.contains_key(&join.member) && join.instance.is_none() {
            let id = join.member.clone();
            return Ok(self.add_member(id, join, now, out));
        }
        self.check_member(&join.member, join.instance.as_deref())?;
        let is_same = self.members[&join.member].protocols == join.protocols;
        let is_leader = self.leader.as_deref() == Some(&join.member);
        match self.state {
            // The answer to its earlier join was lost.
            GroupState::CompletingRebalance if is_same => {
                Ok(Reply::Joined(self.joined(&join.member)))
            }
            // A follower that asks again with nothing new has missed nothing; a leader that does
            // wants to assign anew.
            GroupState::Stable if is_same && !is_leader => {
                Ok(Reply::Joined(self.joined(&join.member)))
            }
            _ => Ok(self.rejoin(join, now, out)),
        }
    }

    /// The answer to a join: the generation as it is.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let members = if leader == id { self.joined_members() } else { Vec::new() };
        Joined {
            member: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            skip_assignment: false,
            members,
        }
    }

    /// The protocol most members want among those that all of them support; between equals, the
    /// one the leader prefers.
    pub(super) fn choose_protocol(&self) -> Option<String> {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let leader = leader.or_else(|| self.members.values().next())?;
        let candidates: Vec<&str> = leader
            .protocols
            .iter()
            .map(|protocol| protocol.name.as_str())
            .filter(|name| self.members.values().all(|member| member.supports(name)))
            .collect();
        let mut votes = vec![0u32; candidates.len()];
        for member in self.members.values() {
            let choice = member.protocols.iter().find_map(|protocol| {
                candidates.iter().position(|candidate| *candidate == protocol.name)
            });
            if let Some(choice) = choice {
                votes[choice] += 1;
            }
        }
        let most = votes.iter().copied().max()?;
        let winner = votes.iter().position(|&count| count == most)?;
        Some(candidates[winner].to_owned())
    }

    /// Answers requests of `id` that still wait, with a refusal.
    pub(super) fn refuse_waiting(&mut self, id: &str, why: Refusal, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(id) else { return };
        let to = id.to_owned();
        match std::mem::replace(&mut member.waiting, Waiting::Nothing) {
            Waiting::Nothing => {}
            Waiting::Join => out.push(Effect::Joined { member: to, result: Err(why) }),
            Waiting::Sync => out.push(Effect::Synced { member: to, result: Err(why) }),
        }
    }

    fn has_place_for(&self, join: &Join) -> bool {
        let members_max = join.rules.members_max as usize;
        let known = self.members.get(&join.member);
        if self.state == GroupState::PreparingRebalance {
            let rejoined = |member: &&Member| member.waiting == Waiting::Join;
            return known.as_ref().is_some_and(rejoined)
                || self.members.values().filter(rejoined).count() < members_max;
        }
        // Ids given out count, so that asking for ids is bounded too.
        let asks_for_id = join.member.is_empty();
        let promised = if asks_for_id { self.pending.len() } else { 0 };
        known.is_some() || self.members.len() + promised < members_max
    }

    /// Whether one of `protocols` is supported by every member.
    fn can_agree(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let is_known_to_all =
            |name: &str| self.members.values().all(|member| member.supports(name));
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| is_known_to_all(&protocol.name))
    }

    fn join_without_id(&mut self, join: Join, now: Millis, out: &mut Vec<Effect>) -> Reply {
        let id = join.new_member.clone();
        let replaced = join.instance.as_ref().and_then(|instance| self.instances.get(instance));
        if let Some(old_id) = replaced.cloned() {
            return self.replace_static(&old_id, join, now, out);
        }
        if join.instance.is_none() && join.rules.require_known_member {
            let timeout = join.session_timeout;
            self.pending.insert(id.clone(), timeout);
            out.push(Effect::SessionStarted { member: id.clone(), timeout });
            return Reply::MemberIdRequired { member: id };
        }
        self.add_member(id, join, now, out)
    }

    fn add_member(&mut self, id: String, join: Join, now: Millis, out: &mut Vec<Effect>) -> Reply {
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        if let Some(deadline) = &mut self.deadline
            && let Phase::FirstJoins { grew, .. } = &mut deadline.phase
        {
            *grew = true;
        }
        let initial_delay = join.rules.initial_delay;
        let member = Member::new(join);
        out.push(member.session(&id));
        self.members.insert(id.clone(), member);
        self.start_rebalance(initial_delay, now, out);
        self.try_complete_join(now, out);
        Reply::Waiting { member: id }
    }

    fn rejoin(&mut self, join: Join, now: Millis, out: &mut Vec<Effect>) -> Reply {
        let id = join.member.clone();
        if let Some(member) = self.members.get_mut(&id) {
            member.update(join);
            member.waiting = Waiting::Join;
        }
        self.start_rebalance(Millis(0), now, out);
        self.try_complete_join(now, out);
        Reply::Waiting { member: id }
    }

    /// A static member came back without its id: it gets a new one, and whoever uses the old one
    /// is fenced. As long as the group can stay as it is, there is no rebalance. Source: KIP-345.
    fn replace_static(
        &mut self,
        old_id: &str,
        join: Join,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let id = join.new_member.clone();
        let can_skip = join.rules.can_skip_assignment;
        self.refuse_waiting(old_id, Refusal::FencedInstance, out);
        let old_leader = self.leader.clone();
        let mut member = self.members.remove(old_id).expect("instances name members");
        member.update(join);
        member.waiting = Waiting::Join;
        out.push(Effect::SessionEnded { member: old_id.to_owned() });
        out.push(member.session(&id));
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id.clone(), member);
        if old_leader.as_deref() == Some(old_id) {
            self.leader = Some(id.clone());
        }
        let stays = self.state == GroupState::Stable && self.choose_protocol() == self.protocol;
        if !stays {
            self.start_rebalance(Millis(0), now, out);
            self.try_complete_join(now, out);
            return Reply::Waiting { member: id };
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.waiting = Waiting::Nothing;
        }
        let mut joined = self.joined(&id);
        if can_skip {
            joined.skip_assignment = joined.leader == id;
        } else {
            // Told of the leader that was, it does not take itself for one and assigns nothing.
            joined.leader = old_leader.unwrap_or_default();
            joined.members = Vec::new();
        }
        Reply::Joined(joined)
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }
}
