//! Newtypes for everything that is counted, numbered or timed.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One replicated state machine; placement of logs on shards is data in the catalog.
    ShardId(u16)
);
id!(
    /// One log, unique in the broker and never reused.
    LogId(u32)
);
id!(
    /// One subscription (the ledgers of a queue or of a topic's named consumers), never reused.
    SubscriptionId(u32)
);
id!(
    /// One connection, for as long as the process lives.
    ClientId(u64)
);
id!(
    /// One consumer of a client; chosen by the session, unique within its client.
    ConsumerId(u32)
);
id!(
    /// Names an operation of a client so that its reply can be told apart; `Token::NONE` asks for no reply.
    Token(u64)
);
id!(
    /// Position of a record in its log: dense where records were appended, from 0.
    Offset(i64)
);
id!(
    /// Wall-clock time in milliseconds since 1970-01-01 UTC, or a span of milliseconds.
    Millis(i64)
);

impl ShardId {
    /// The shard of temporary things: its frames are never synced and do not outlive the process.
    pub const LOCAL: ShardId = ShardId(u16::MAX);
}

impl Token {
    /// No reply wanted.
    pub const NONE: Token = Token(0);
}

impl Offset {
    /// The offset `count` records later.
    #[must_use]
    pub fn plus(self, count: u32) -> Offset {
        Offset(self.0 + i64::from(count))
    }

    /// The next offset.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl Millis {
    /// This time moved by `span`, saturating.
    #[must_use]
    pub fn plus(self, span: Millis) -> Millis {
        Millis(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this time, saturating; negative when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Millis) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// A log and the shard that orders its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogRef {
    /// Where its frames go.
    pub shard: ShardId,
    /// Which log.
    pub log: LogId,
}

/// A subscription and the shard that holds its ledgers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscriptionRef {
    /// Where its frames go.
    pub shard: ShardId,
    /// Which subscription.
    pub subscription: SubscriptionId,
}
