//! What a connection tells of itself when it is asked. Nothing of it is kept up to date meanwhile.

use engine::catalog::{Arguments, Name};
use std::sync::Arc;
use types::{ConsumerId, Millis};

use crate::Peer;

/// A connection.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its ends.
    pub peer: Peer,
    /// Its wire.
    pub wire: &'static str,
    /// When it was accepted.
    pub connected: Millis,
    /// Bytes read from its socket.
    pub received_bytes: u64,
    /// Bytes written to its socket.
    pub sent_bytes: u64,
    /// Who logged in, if anybody.
    pub user: Option<Name>,
    /// The namespace it has entered, if any.
    pub namespace: Option<Name>,
    /// What its session tells.
    pub session: SessionReport,
}

/// What a session tells of its connection.
#[derive(Clone, Debug, Default)]
pub struct SessionReport {
    /// The protocol and its version.
    pub protocol: &'static str,
    /// How far the connection has come.
    pub state: &'static str,
    /// How the user logged in.
    pub mechanism: &'static str,
    /// What the client says of itself.
    pub properties: Arguments,
    /// Largest frame that was agreed, in bytes.
    pub frame_bytes_max: u32,
    /// Most channels that were agreed.
    pub channel_max: u16,
    /// The agreed interval of heartbeats.
    pub heartbeat: Millis,
    /// Its channels, by number.
    pub channels: Vec<ChannelReport>,
}

/// A channel of a connection.
#[derive(Clone, Debug, Default)]
pub struct ChannelReport {
    /// Its number.
    pub number: u16,
    /// Most unsettled messages of each new consumer; 0 is no limit.
    pub prefetch: u32,
    /// Most unsettled messages of all consumers together; 0 is no limit.
    pub window: u32,
    /// Publishes are confirmed.
    pub confirming: bool,
    /// It is transactional.
    pub transactional: bool,
    /// Messages that it has not settled.
    pub unsettled: u64,
    /// Publishes that were not confirmed yet.
    pub unconfirmed: u64,
    /// Its consumers.
    pub consumers: Vec<ConsumerReport>,
}

/// A consumer of a channel.
#[derive(Clone, Debug)]
pub struct ConsumerReport {
    /// Its number within the connection.
    pub consumer: ConsumerId,
    /// Its tag.
    pub tag: String,
    /// The queue or topic.
    pub queue: Name,
    /// It settles what it gets.
    pub settles: bool,
    /// How it was asked for.
    pub terms: Arc<ConsumerTerms>,
}

/// How a consumer was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerTerms {
    /// Most unsettled messages; 0 is no limit.
    pub prefetch: u32,
    /// It is the only one.
    pub exclusive: bool,
    /// As they were given.
    pub arguments: Arguments,
}
