//! Replicas of a shard: consensus on its frames, by openraft, with the journal as its log.
//!
//! The only code that knows openraft. There is no thread, clock or socket here: openraft calls
//! [`ShardLog`], and the node's journal thread calls [`Journal::turn`].

mod frame;
mod journal;
mod log;
mod storage;
mod types;

pub use crate::frame::Unstorable;
pub use crate::journal::{Journal, OpenError, Options};
pub use crate::storage::ShardLog;
pub use crate::types::{Frame, Types};

#[cfg(test)]
mod tests;
