//! Signs of life, in the leader's memory.

use crate::{Effect, Groups};
use types::Millis;

/// When each member was heard of last, and which have been silent too long; also the rebalance
/// deadline of each group. Not replicated: a new leader grants everybody a full session.
#[derive(Debug, Default)]
pub struct Sessions {}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The group.
    pub group: String,
    /// The command to submit for it.
    pub command: crate::Command,
}

impl Sessions {
    /// Sessions for every member of every group, starting `now`.
    pub fn rebuilt(groups: &Groups, now: Millis) -> Sessions {
        let _ = (groups, now);
        Sessions::default()
    }

    /// Follows an effect of a group; ignores those that are not about time.
    pub fn apply(&mut self, group: &str, effect: &Effect, now: Millis) {
        let _ = (group, effect, now);
    }

    /// A sign of life.
    pub fn heartbeat(&mut self, group: &str, member: &str, now: Millis) {
        let _ = (group, member, now);
    }

    /// Takes out what is due by `now`: members to expire, deadlines that have passed.
    pub fn due(&mut self, now: Millis) -> Vec<Due> {
        let _ = now;
        Vec::new()
    }

    /// When [`Sessions::due`] has something next.
    pub fn next_due(&self) -> Option<Millis> {
        None
    }
}
