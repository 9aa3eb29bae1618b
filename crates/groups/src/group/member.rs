//! What a group keeps of a member.

use crate::{ClientLabel, Effect, Join, Protocol};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use types::Millis;

/// How long a member that has never been in a generation may wait for its first.
pub(super) const NEW_MEMBER_TIMEOUT: Millis = Millis(300_000);

/// Which request of a member is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Waiting {
    Nothing,
    Join,
    Sync,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client: ClientLabel,
    pub(super) session_timeout: Millis,
    pub(super) rebalance_timeout: Millis,
    /// Most wanted first.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    pub(super) waiting: Waiting,
    /// Has been in no generation yet.
    pub(super) is_new: bool,
    /// Has not asked for the assignment of this generation yet.
    pub(super) owes_sync: bool,
}

impl Member {
    /// A new member, waiting for the answer to its join.
    pub(super) fn new(join: Join) -> Member {
        Member {
            instance: join.instance,
            client: join.client,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            waiting: Waiting::Join,
            is_new: true,
            owes_sync: false,
        }
    }

    /// Takes over what a further join says.
    pub(super) fn update(&mut self, join: Join) {
        self.client = join.client;
        self.session_timeout = join.session_timeout;
        self.rebalance_timeout = join.rebalance_timeout;
        self.protocols = join.protocols;
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|own| own.name == protocol)
    }

    /// Its metadata for a protocol; empty when it does not support it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let own = self.protocols.iter().find(|own| own.name == protocol);
        own.map_or(Bytes::new(), |own| own.metadata.clone())
    }

    /// About what it takes in memory, in bytes, its id apart.
    pub(super) fn bytes(&self) -> usize {
        let protocol = |own: &Protocol| size_of::<Protocol>() + own.name.len() + own.metadata.len();
        let protocols: usize = self.protocols.iter().map(protocol).sum();
        let texts = self.client.id.len() + self.client.host.len() + self.assignment.len();
        size_of::<(String, Member)>() * 3 / 2 + protocols + texts
    }

    /// The start of its session.
    pub(super) fn session(&self, id: &str) -> Effect {
        let timeout = if self.is_new { NEW_MEMBER_TIMEOUT } else { self.session_timeout };
        Effect::SessionStarted { member: id.to_owned(), timeout }
    }
}
