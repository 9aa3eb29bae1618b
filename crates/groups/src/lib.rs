//! Consumer groups: membership, assignment and committed offsets, as a deterministic state machine.
//!
//! The classic protocol of Kafka (KIP-62, KIP-345 static members, KIP-394 member ids first,
//! KIP-429 cooperative rebalance), told in neutral words. A [`Groups`] changes only by [`Command`]s
//! that are in the log; time and every random choice come in with the command. A request that has
//! to wait for other members is answered later by an [`Effect`] that names its member.
//!
//! Heartbeats are not in the log: [`Sessions`] keeps them in the leader's memory and says which
//! members to expire by a command.

mod command;
mod effect;
mod group;
mod groups;
mod limits;
mod sessions;

pub use command::{
    ClientLabel, Command, Commit, Generation, Join, JoinRules, LeavingMember, OffsetKey,
    OffsetToCommit, Protocol, Sync,
};
pub use effect::{Effect, Joined, JoinedMember, Refusal, Reply, Synced};
pub use group::{CommittedOffset, Group, GroupState, GroupView, MemberView};
pub use groups::Groups;
pub use limits::Limits;
pub use sessions::{Due, Sessions};
