//! What the leader lets through before a request becomes a command.

use crate::{Join, JoinRules, Refusal};
use types::Millis;

#[cfg(test)]
mod tests;

/// Bounds from the configuration; the default is Kafka's, with a bound on members and metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Millis,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Millis,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_delay: Millis,
    /// `group.max.size`.
    pub members_max: u32,
    /// Most bytes that the protocols of one member may have together, names included.
    pub protocols_bytes_max: usize,
    /// `offset.metadata.max.bytes`.
    pub metadata_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            session_timeout_min: Millis(6_000),
            session_timeout_max: Millis(1_800_000),
            initial_delay: Millis(0),
            members_max: 10_000,
            protocols_bytes_max: 1 << 20,
            metadata_bytes_max: 4096,
        }
    }
}

impl Limits {
    /// The rules of a join; the two switches depend on the request's version.
    pub fn rules(&self, require_known_member: bool, can_skip_assignment: bool) -> JoinRules {
        JoinRules {
            require_known_member,
            can_skip_assignment,
            members_max: self.members_max,
            initial_delay: self.initial_delay,
        }
    }

    /// Refuses a join that must not become a command.
    pub fn check(&self, join: &Join) -> Result<(), Refusal> {
        let timeouts = self.session_timeout_min..=self.session_timeout_max;
        if !timeouts.contains(&join.session_timeout) {
            return Err(Refusal::InvalidSessionTimeout);
        }
        let bytes_of = |protocol: &crate::Protocol| protocol.name.len() + protocol.metadata.len();
        let bytes: usize = join.protocols.iter().map(bytes_of).sum();
        if self.protocols_bytes_max < bytes { Err(Refusal::TooLarge) } else { Ok(()) }
    }
}
