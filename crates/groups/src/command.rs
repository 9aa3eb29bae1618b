//! What changes a group. Everything that depends on configuration, chance or the clock is decided
//! by the leader beforehand and is part of the command, so that a replay comes to the same state.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use types::Millis;

/// Counts the rebalances of a group.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub i32);

impl Generation {
    /// What a consumer sends that is no member of the group it commits to.
    pub const NONE: Generation = Generation(-1);
}

/// One partition of a topic, as offsets are committed for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetKey {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
}

/// One change of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A consumer asks to be a member, or to be one with other metadata.
    Join(Join),
    /// A member asks for its assignment; the leader member brings everybody's.
    Sync(Sync),
    /// Members go.
    Leave {
        /// Who; answered one by one, in this order.
        members: Vec<LeavingMember>,
    },
    /// No sign of life from a member for its session timeout.
    Expire {
        /// The member.
        member: String,
    },
    /// The deadline of [`Effect::Deadline`](crate::Effect::Deadline) has passed. Ignored when it
    /// has been moved or lifted since.
    RebalanceTimeout,
    /// Notes positions.
    Commit(Commit),
    /// Forgets positions.
    DeleteOffsets {
        /// Of which partitions.
        keys: Vec<OffsetKey>,
    },
    /// Forgets the positions of a topic that is gone, whoever is subscribed.
    ForgetTopic {
        /// Its name.
        topic: String,
    },
    /// Forgets positions that are older than `retention` and that nobody uses; a group with
    /// neither members nor positions goes. Source: KIP-211.
    ExpireOffsets {
        /// How long unused positions are kept.
        retention: Millis,
    },
    /// Deletes the group, which must have no members.
    DeleteGroup,
}

/// Asks for membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The member's id; empty when it has none yet.
    pub member: String,
    /// Its static identity (KIP-345).
    pub instance: Option<String>,
    /// The id it gets when it has none, unique; chosen by the leader.
    pub new_member: String,
    /// Where it is, for people.
    pub client: ClientLabel,
    /// Without a sign of life for so long it is expired.
    pub session_timeout: Millis,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Millis,
    /// What kind of protocol, such as `consumer`.
    pub protocol_type: String,
    /// Its protocols, most wanted first.
    pub protocols: Vec<Protocol>,
    /// Bounds and behaviour, from the configuration and the request's version.
    pub rules: JoinRules,
}

/// How a member is shown to people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientLabel {
    /// The client's name for itself.
    pub id: String,
    /// Where it connects from.
    pub host: String,
}

/// What the leader's configuration and the request's version say about a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRules {
    /// A member without an id is told one and has to ask again with it (KIP-394).
    pub require_known_member: bool,
    /// The member understands that it leads and yet has nothing to assign (KIP-814).
    pub can_skip_assignment: bool,
    /// Most members a group may have.
    pub members_max: u32,
    /// How long the first rebalance of an empty group waits for more members
    /// (`group.initial.rebalance.delay.ms`).
    pub initial_delay: Millis,
}

/// A protocol a member can follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// What the member tells the leader member about itself; not looked into but for the topics.
    pub metadata: Bytes,
}

/// Asks for an assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// The member's id.
    pub member: String,
    /// Its static identity.
    pub instance: Option<String>,
    /// The generation it joined.
    pub generation: Generation,
    /// What it takes the protocol type to be.
    pub protocol_type: Option<String>,
    /// What it takes the protocol to be.
    pub protocol: Option<String>,
    /// From the leader member: everybody's assignment.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavingMember {
    /// Its id; may be empty when `instance` is given.
    pub member: String,
    /// Its static identity.
    pub instance: Option<String>,
}

/// Notes positions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The member's id; empty when it is none.
    pub member: String,
    /// Its static identity.
    pub instance: Option<String>,
    /// The generation it is in; [`Generation::NONE`] when it is no member.
    pub generation: Generation,
    /// Longest metadata that is kept, in bytes.
    pub metadata_bytes_max: u32,
    /// The positions; answered one by one, in this order.
    pub offsets: Vec<OffsetToCommit>,
}

/// A position to note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetToCommit {
    /// Of which partition.
    pub key: OffsetKey,
    /// The next record to read. Any value: it is the client's.
    pub offset: i64,
    /// Epoch of the last record read; -1 when not known.
    pub leader_epoch: i32,
    /// The client's note.
    pub metadata: String,
}
