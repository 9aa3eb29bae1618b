//! From one generation to the next: waiting for members, then for the leader's assignment.

use super::{Group, GroupState, Waiting};
use crate::{Effect, Generation, LeavingMember, Refusal, Reply, Sync, Synced};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Millis;

/// What a group does if nobody moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deadline {
    pub(super) at: Millis,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Goes on with who has joined an empty group, or waits once more when it grew.
    FirstJoins { delay: Millis, remaining: Millis, grew: bool },
    /// Goes on without those who have not joined again.
    Joins,
    /// Goes on without those who have not asked for their assignment.
    Syncs,
}

impl Group {
    pub(super) fn sync(
        &mut self,
        sync: Sync,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        self.check_member(&sync.member, sync.instance.as_deref())?;
        if sync.generation != self.generation {
            return Err(Refusal::IllegalGeneration);
        }
        let agrees = |own: &Option<String>, told: &Option<String>| told.is_none() || own == told;
        if !agrees(&self.protocol_type, &sync.protocol_type)
            || !agrees(&self.protocol, &sync.protocol)
        {
            return Err(Refusal::InconsistentProtocol);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(Refusal::UnknownMember),
            GroupState::PreparingRebalance => Err(Refusal::RebalanceInProgress),
            GroupState::CompletingRebalance => {
                self.note_sync(&sync.member, Waiting::Sync, out);
                if self.leader.as_ref() == Some(&sync.member) {
                    self.assign(sync.assignments, now, out);
                }
                Ok(Reply::Waiting { member: sync.member })
            }
            GroupState::Stable => {
                self.note_sync(&sync.member, Waiting::Nothing, out);
                let member = &self.members[&sync.member];
                out.push(member.session(&sync.member));
                Ok(Reply::Synced(self.synced(member.assignment.clone())))
            }
        }
    }

    pub(super) fn leave(
        &mut self,
        members: &[LeavingMember],
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let before = self.members.len();
        let results = members.iter().map(|leaving| self.leave_one(leaving, out)).collect();
        if self.members.len() < before {
            self.rebalance_without(now, out);
        } else {
            self.try_complete_join(now, out);
        }
        Reply::Left(results)
    }

    /// A member has been silent for its session timeout. One that waits for an answer cannot send
    /// heartbeats and is kept, unless it has never been in a generation.
    pub(super) fn expire(&mut self, id: &str, now: Millis, out: &mut Vec<Effect>) {
        if self.pending.contains_key(id) {
            self.drop_pending(id, out);
            self.try_complete_join(now, out);
            return;
        }
        let Some(member) = self.members.get(id) else { return };
        if member.waiting != Waiting::Nothing && !member.is_new {
            out.push(member.session(id));
            return;
        }
        self.remove_member(id, out);
        self.rebalance_without(now, out);
    }

    pub(super) fn rebalance_timeout(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(deadline) = self.deadline else { return };
        if now < deadline.at {
            out.push(Effect::Deadline(Some(deadline.at)));
            return;
        }
        match deadline.phase {
            Phase::FirstJoins { delay, remaining, grew: true } if 0 < remaining.0 => {
                let wait = delay.min(remaining);
                let remaining = remaining.since(wait);
                let phase = Phase::FirstJoins { delay, remaining, grew: false };
                self.set_deadline(Some(Deadline { at: now.plus(wait), phase }), out);
            }
            Phase::FirstJoins { .. } | Phase::Joins => self.complete_join(now, out),
            Phase::Syncs => {
                let late =
                    |(id, member): (&String, &super::Member)| member.owes_sync.then(|| id.clone());
                let late: Vec<String> = self.members.iter().filter_map(late).collect();
                for id in late {
                    self.remove_member(&id, out);
                }
                self.rebalance_without(now, out);
            }
        }
    }

    /// Asks everybody to join again, unless that is under way. `initial_delay`: how long an empty
    /// group waits for more members.
    pub(super) fn start_rebalance(
        &mut self,
        initial_delay: Millis,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if self.state == GroupState::PreparingRebalance {
            return;
        }
        if self.state == GroupState::CompletingRebalance {
            self.abandon_assignment(out);
        }
        let timeout = self.rebalance_timeout_max();
        let deadline = if self.state == GroupState::Empty && 0 < initial_delay.0 {
            let remaining = Millis(timeout.since(initial_delay).0.max(0));
            let phase = Phase::FirstJoins { delay: initial_delay, remaining, grew: false };
            Deadline { at: now.plus(initial_delay), phase }
        } else {
            Deadline { at: now.plus(timeout), phase: Phase::Joins }
        };
        self.set_deadline(Some(deadline), out);
        self.enter(GroupState::PreparingRebalance, now);
    }

    /// Starts the next generation when everybody who is expected has joined.
    pub(super) fn try_complete_join(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let waits_for_all = self.deadline.is_some_and(|deadline| deadline.phase == Phase::Joins);
        let all_joined = self.pending.is_empty()
            && self.members.values().all(|member| member.waiting == Waiting::Join);
        if self.state == GroupState::PreparingRebalance && waits_for_all && all_joined {
            self.complete_join(now, out);
        }
    }

    pub(super) fn set_deadline(&mut self, deadline: Option<Deadline>, out: &mut Vec<Effect>) {
        if self.deadline.map(|deadline| deadline.at) != deadline.map(|deadline| deadline.at) {
            out.push(Effect::Deadline(deadline.map(|deadline| deadline.at)));
        }
        self.deadline = deadline;
    }

    pub(super) fn drop_pending(&mut self, id: &str, out: &mut Vec<Effect>) {
        if let Some((member, _)) = self.pending.remove_entry(id) {
            out.push(Effect::SessionEnded { member });
        }
    }

    fn complete_join(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let has_joined = |member: &super::Member| member.waiting == Waiting::Join;
        // A static member keeps its place until its session ends.
        let lost = |(id, member): (&String, &super::Member)| {
            (!has_joined(member) && member.instance.is_none()).then(|| id.clone())
        };
        let lost: Vec<String> = self.members.iter().filter_map(lost).collect();
        for id in lost {
            self.remove_member(&id, out);
        }
        let first_joined = self.members.iter().find(|(_, member)| has_joined(member));
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        match (leader.is_some_and(has_joined), first_joined) {
            (true, _) => {}
            (false, Some((id, _))) => self.leader = Some(id.clone()),
            (false, None) if self.members.is_empty() => {
                self.become_empty(now, out);
                return;
            }
            // Nobody is there to lead those who keep their places.
            (false, None) => {
                let at = now.plus(self.rebalance_timeout_max());
                self.set_deadline(Some(Deadline { at, phase: Phase::Joins }), out);
                return;
            }
        }
        self.next_generation(now, out);
    }

    fn become_empty(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.generation = Generation(self.generation.0.saturating_add(1));
        (self.protocol, self.leader) = (None, None);
        self.set_deadline(None, out);
        self.enter(GroupState::Empty, now);
    }

    fn next_generation(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.generation = Generation(self.generation.0.saturating_add(1));
        self.protocol = self.choose_protocol();
        self.enter(GroupState::CompletingRebalance, now);
        let at = now.plus(self.rebalance_timeout_max());
        self.set_deadline(Some(Deadline { at, phase: Phase::Syncs }), out);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            (member.is_new, member.owes_sync) = (false, true);
            out.push(member.session(&id));
            if std::mem::replace(&mut member.waiting, Waiting::Nothing) == Waiting::Join {
                out.push(Effect::Joined { member: id, result: Ok(joined) });
            }
        }
    }

    /// Hands the leader's assignment to everybody; a member it leaves out gets nothing.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>, now: Millis, out: &mut Vec<Effect>) {
        self.enter(GroupState::Stable, now);
        let mut by_member: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let assignment = by_member.remove(&id).unwrap_or_default();
            let synced = self.synced(assignment.clone());
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = assignment;
            out.push(member.session(&id));
            if std::mem::replace(&mut member.waiting, Waiting::Nothing) == Waiting::Sync {
                out.push(Effect::Synced { member: id, result: Ok(synced) });
            }
        }
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        }
    }

    fn note_sync(&mut self, id: &str, waiting: Waiting, out: &mut Vec<Effect>) {
        if let Some(member) = self.members.get_mut(id) {
            (member.waiting, member.owes_sync) = (waiting, false);
        }
        if !self.members.values().any(|member| member.owes_sync) {
            self.set_deadline(None, out);
        }
    }

    /// The generation that was being assigned is over; nobody sees what it had.
    fn abandon_assignment(&mut self, out: &mut Vec<Effect>) {
        for (id, member) in &mut self.members {
            if member.waiting == Waiting::Sync {
                member.waiting = Waiting::Nothing;
                let result = Err(Refusal::RebalanceInProgress);
                out.push(Effect::Synced { member: id.clone(), result });
            }
        }
    }

    fn leave_one(&mut self, leaving: &LeavingMember, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        let by_instance = leaving.instance.as_ref().filter(|_| leaving.member.is_empty());
        let id = match by_instance {
            Some(instance) => self.instances.get(instance).ok_or(Refusal::UnknownMember)?.clone(),
            None => leaving.member.clone(),
        };
        if leaving.instance.is_none() && self.pending.contains_key(&id) {
            self.drop_pending(&id, out);
            return Ok(());
        }
        self.check_member(&id, leaving.instance.as_deref())?;
        self.remove_member(&id, out);
        Ok(())
    }

    fn remove_member(&mut self, id: &str, out: &mut Vec<Effect>) {
        self.refuse_waiting(id, Refusal::UnknownMember, out);
        let Some(member) = self.members.remove(id) else { return };
        if let Some(instance) = member.instance {
            self.instances.remove(&instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        out.push(Effect::SessionEnded { member: id.to_owned() });
    }

    /// Members are gone: the others share what they had.
    fn rebalance_without(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.start_rebalance(Millis(0), now, out);
        self.try_complete_join(now, out);
    }

    fn rebalance_timeout_max(&self) -> Millis {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.max().unwrap_or(Millis(0)).max(Millis(0))
    }
}
