//! The wire as a server is given it.

use crate::session::KafkaSession;
use frontend::{Peer, Session, Wire};
use std::sync::Arc;
use types::Millis;

/// What an operator can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Host and port that clients are told to connect to; `None`: those the client came by.
    pub advertised: Option<(String, u16)>,
    /// The broker's number.
    pub node_id: i32,
    /// The cluster's id, the same after every restart.
    pub cluster_id: String,
    /// Whether asking for an unknown topic with the client's leave creates it.
    pub auto_create_topics: bool,
    /// Partitions of a topic whose creator does not say how many.
    pub partitions_default: u32,
    /// Largest batch of a topic that does not say itself (`max.message.bytes`), in bytes.
    pub message_bytes_max: u32,
    /// How long a connection may be silent before it is closed; Apache Kafka's default.
    pub idle_max: Millis,
    /// How long the first rebalance of an empty group waits for more members. Apache Kafka waits
    /// 3 s, for consumers on many machines; here a short wait serves those that start together.
    pub group_initial_delay: Millis,
    /// Longest metadata of a committed offset, in bytes.
    pub offset_metadata_bytes_max: u32,
    /// What DescribeLogDirs calls the store.
    pub log_dir: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            advertised: None,
            node_id: 0,
            cluster_id: "crossdock".to_owned(),
            auto_create_topics: true,
            partitions_default: 1,
            message_bytes_max: engine::catalog::MESSAGE_BYTES_MAX_DEFAULT,
            idle_max: Millis(600_000),
            group_initial_delay: Millis(100),
            offset_metadata_bytes_max: 4096,
            log_dir: "journal".to_owned(),
        }
    }
}

/// The Kafka protocol.
#[derive(Clone, Debug, Default)]
pub struct KafkaWire {
    options: Arc<Options>,
}

impl KafkaWire {
    /// A wire of these options.
    pub fn new(options: Options) -> KafkaWire {
        KafkaWire { options: Arc::new(options) }
    }
}

impl Wire for KafkaWire {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn session(&self, _peer: &Peer) -> Box<dyn Session> {
        Box::new(KafkaSession::new(Arc::clone(&self.options)))
    }
}
