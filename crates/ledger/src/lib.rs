//! Delivery state of one subscription over one log, in two halves.
//!
//! [`Ledger`] is what has to survive: which offsets are settled, and how often the others came
//! back. It is changed only by commands that are in the log, so every replica holds the same one.
//! [`Dispatch`] is what the leader alone keeps in memory: where delivery stands, who holds which
//! message, whose turn it is. It is rebuilt from the ledger and never written down.
//!
//! A message that was never delivered costs nothing in either: it is implied by lying between the
//! cursor and the end of the log.
//!
//! [`Wheel`] is when something of it has to be looked at again.

mod dispatch;
mod ledger;
mod levels;
mod offset_set;
mod span;
mod wheel;

pub use dispatch::{
    AddError, Assignment, ConsumerKey, ConsumerOptions, Dispatch, Ended, Held, HeldSession,
    SharedWindow, Standing, Unsettled, Window,
};
pub use ledger::{Ledger, Rewound};
pub use span::Span;
pub use wheel::{TimerId, Wheel};
