//! Positions: noting, forgetting, growing old.

use super::{CommittedOffset, Group, GroupState};
use crate::{Commit, Effect, Generation, OffsetKey, OffsetToCommit, Refusal, Reply};
use std::collections::BTreeSet;
use types::Millis;

/// The protocol type whose member metadata names topics.
const CONSUMER: &str = "consumer";

impl Group {
    pub(super) fn commit(
        &mut self,
        commit: Commit,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        self.check_commit(&commit)?;
        if let Some(member) = self.members.get(&commit.member) {
            out.push(member.session(&commit.member));
        }
        let metadata_bytes_max = commit.metadata_bytes_max as usize;
        let note = |to_commit: OffsetToCommit| {
            if metadata_bytes_max < to_commit.metadata.len() {
                return Err(Refusal::MetadataTooLarge);
            }
            let OffsetToCommit { key, offset, leader_epoch, metadata } = to_commit;
            let noted = CommittedOffset { offset, leader_epoch, metadata, committed_at: now };
            self.offsets.insert(key, noted);
            Ok(())
        };
        Ok(Reply::Committed(commit.offsets.into_iter().map(note).collect()))
    }

    /// Forgets positions unless a member is subscribed to their topic.
    pub(super) fn delete_offsets(&mut self, keys: &[OffsetKey]) -> Result<Reply, Refusal> {
        let has_members = !self.members.is_empty();
        if has_members && self.protocol_type.as_deref() != Some(CONSUMER) {
            return Err(Refusal::GroupNotEmpty);
        }
        let subscribed = self.subscribed_topics();
        let delete = |key: &OffsetKey| {
            let in_use = subscribed.as_ref().is_none_or(|topics| topics.contains(&key.topic));
            if has_members && in_use {
                return Err(Refusal::SubscribedToTopic);
            }
            self.offsets.remove(key);
            Ok(())
        };
        Ok(Reply::OffsetsDeleted(keys.iter().map(delete).collect()))
    }

    /// Source: KIP-211. What counts as unused: in a group without members everything, from when
    /// it lost them; in a stable group of consumers the topics nobody is subscribed to; under a
    /// name that never had members everything.
    pub(super) fn expire_offsets(&mut self, retention: Millis, now: Millis, out: &mut Vec<Effect>) {
        let is_consumer = self.protocol_type.as_deref() == Some(CONSUMER);
        let (since, subscribed) = match (self.state, &self.protocol_type) {
            (GroupState::Empty, Some(_)) => (self.since, BTreeSet::new()),
            (GroupState::Empty, None) => (Millis(i64::MIN), BTreeSet::new()),
            (GroupState::Stable, _) if is_consumer => match self.subscribed_topics() {
                Some(topics) => (Millis(i64::MIN), topics),
                None => return,
            },
            _ => return,
        };
        self.offsets.retain(|key, noted| {
            let age = now.since(noted.committed_at.max(since));
            subscribed.contains(&key.topic) || age < retention
        });
        if self.is_void() {
            self.die(now, out);
        }
    }

    /// Whoever is no member may commit as long as the group has none; a member must be in the
    /// generation it speaks of, and that generation must have its assignment.
    fn check_commit(&self, commit: &Commit) -> Result<(), Refusal> {
        let is_empty = self.state == GroupState::Empty;
        let is_outsider = commit.generation < Generation(0);
        if is_outsider && is_empty {
            return Ok(());
        }
        let names_itself = !commit.member.is_empty() || commit.instance.is_some();
        if is_outsider && !names_itself {
            return Err(Refusal::UnknownMember);
        }
        self.check_member(&commit.member, commit.instance.as_deref())?;
        if commit.generation != self.generation {
            return Err(Refusal::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(Refusal::RebalanceInProgress);
        }
        Ok(())
    }

    /// The topics its members are subscribed to; `None` when a member's metadata does not say.
    fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        let protocol = self.protocol.as_deref();
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(protocol?);
            topics.extend(super::subscription::topics(&metadata)?);
        }
        Some(topics)
    }
}
