//! Operations on messages by their place, whoever has them.

use super::LeaseRange;
use serde::{Deserialize, Serialize};
use types::{LogId, Millis, Offset, SubscriptionRef};

/// Most offsets that one [`Stand`] or [`Remove`] may span.
pub const PLACES_MAX: u64 = 16 << 10;

/// Has a subscription deliver again what it settled, from an offset of one of its logs on.
///
/// Of a queue that is what it keeps; refused (`Invalid`) where it keeps nothing. Of a topic it is what the
/// log retains. What is leased, ready or waits at that moment stays as it is; what comes again is marked
/// redelivered, and nothing of its former attempts counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rewind {
    /// Which subscription.
    pub subscription: SubscriptionRef,
    /// Which of its logs.
    pub log: LogId,
    /// From where on; below the start is the start.
    pub to: Offset,
}

/// Asks where messages stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stand {
    /// With which subscription.
    pub subscription: SubscriptionRef,
    /// Which messages: at most [`PLACES_MAX`], else it is refused (`TooLarge`).
    pub ranges: Vec<LeaseRange>,
}

/// Where a message stands with a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stood {
    /// Its offset.
    pub offset: Offset,
    /// Where it stands.
    pub standing: Standing,
    /// How often it came back counted.
    pub returns: u16,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be handed out.
    Ready,
    /// It is with a consumer.
    Leased,
    /// It came back and waits until then.
    Waiting(Millis),
    /// It is on its way out, and certain to go.
    Leaving,
    /// It is settled and can be had again.
    Kept,
    /// It is not there any more, or not yet.
    Gone,
}

/// Takes messages out wherever they are: those that are ready or wait are settled, and those that are
/// kept cannot be had again. What is with a consumer is left alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Remove {
    /// From which subscription.
    pub subscription: SubscriptionRef,
    /// Which messages: at most [`PLACES_MAX`], else it is refused (`TooLarge`).
    pub ranges: Vec<LeaseRange>,
}

/// What became of the messages of a [`Remove`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// They are gone for good.
    pub removed: u64,
    /// They are with consumers, and stay there.
    pub leased: u64,
}
