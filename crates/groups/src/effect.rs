//! What a command leads to: the answer to its own request, and what others have to be told.

use crate::Generation;
use bytes::Bytes;
use types::Millis;

/// Why a group says no. The words are neutral; the wire has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No member of that id.
    UnknownMember,
    /// The member lives in another generation.
    IllegalGeneration,
    /// Join again.
    RebalanceInProgress,
    /// Nothing all members understand, or not what the group does.
    InconsistentProtocol,
    /// Another member has taken over the static identity.
    FencedInstance,
    /// As many members as there may be.
    GroupFull,
    /// The group has members.
    GroupNotEmpty,
    /// No such group.
    GroupNotFound,
    /// A member is subscribed to the topic.
    SubscribedToTopic,
    /// The note on a position is too long.
    MetadataTooLarge,
    /// The session timeout is outside of what the configuration allows.
    InvalidSessionTimeout,
    /// The member brings more than the configuration allows.
    TooLarge,
    /// There is no room for more groups or positions now.
    NoRoom,
}

/// The answer to a command's own request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Comes later as [`Effect::Joined`] or [`Effect::Synced`] for this member. An earlier request
    /// of the member that still waits is superseded: answer it with
    /// [`Refusal::RebalanceInProgress`].
    Waiting {
        /// Under which id, also when the command had none.
        member: String,
    },
    /// To a join: the group stays as it is.
    Joined(Joined),
    /// To a join without an id: ask again with this one.
    MemberIdRequired {
        /// The id.
        member: String,
    },
    /// To a sync.
    Synced(Synced),
    /// To a leave: each member's result, in the order of the command.
    Left(Vec<Result<(), Refusal>>),
    /// To a commit: each position's result, in the order of the command.
    Committed(Vec<Result<(), Refusal>>),
    /// To a deletion of positions: each key's result, in the order of the command.
    OffsetsDeleted(Vec<Result<(), Refusal>>),
    /// Done; nothing to say.
    Done,
    /// No; nothing was changed.
    Refused(Refusal),
}

/// What others than the asker have to be told, or be reminded of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The member's waiting join is answered.
    Joined {
        /// The member.
        member: String,
        /// The answer.
        result: Result<Joined, Refusal>,
    },
    /// The member's waiting sync is answered.
    Synced {
        /// The member.
        member: String,
        /// The answer.
        result: Result<Synced, Refusal>,
    },
    /// The member's session starts, or starts anew: expire it `timeout` from now unless a
    /// heartbeat comes. See [`Sessions::apply`](crate::Sessions::apply).
    SessionStarted {
        /// The member.
        member: String,
        /// Its session timeout.
        timeout: Millis,
    },
    /// The member is gone.
    SessionEnded {
        /// The member.
        member: String,
    },
    /// Submit [`Command::RebalanceTimeout`](crate::Command::RebalanceTimeout) at this time; it
    /// replaces an earlier deadline of the group. `None`: no deadline any more.
    Deadline(Option<Millis>),
}

/// A completed join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The member it is for.
    pub member: String,
    /// The generation it is in.
    pub generation: Generation,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol chosen.
    pub protocol: Option<String>,
    /// Who assigns.
    pub leader: String,
    /// The member leads, and the assignment stays: nothing to assign (KIP-814).
    pub skip_assignment: bool,
    /// For the leader: everybody. Empty for the others.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader member learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member: String,
    /// Its static identity.
    pub instance: Option<String>,
    /// Its metadata for the protocol chosen.
    pub metadata: Bytes,
}

/// A completed sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol chosen.
    pub protocol: Option<String>,
    /// What the member gets; opaque, empty when nothing.
    pub assignment: Bytes,
}
