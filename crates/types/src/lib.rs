//! Ids, offsets, times, units, limits and error kinds: the words every other crate shares.
//!
//! Nothing here knows a protocol, a clock or a disk.

mod error;
mod ids;
mod limits;

pub use error::{Error, Kind};
pub use ids::{
    ClientId, ConsumerId, LogId, LogRef, Millis, Offset, ShardId, SubscriptionId, SubscriptionRef,
    Token,
};
pub use limits::{
    APPEND_BYTES_MAX, FRAME_BYTES_MAX, INTERNAL_NAME_BYTES_MAX, PART_BYTES, RECORD_BYTES_MAX,
};
