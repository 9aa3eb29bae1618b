//! Replicas of a shard: consensus on its frames, by openraft, with the journal as its log.
//!
//! The only code that knows openraft. There is no thread, clock or socket here.

mod types;

pub use crate::types::{Frame, Types};
