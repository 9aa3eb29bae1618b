//! The write-once journal that is the broker's storage: rounds of frames in recycled segments,
//! an index file per sealed segment, and two alternating checkpoints.
//!
//! The only code that knows what is on disk; `FORMAT.md` beside this crate draws it byte by byte.
//! There are no threads and no clock here: the engine calls [`Writer`] from its journal thread,
//! [`Reader`] from its read pool, and [`Pool`] from its housekeeping thread.

mod check;
pub mod checkpoint;
mod error;
mod fields;
mod finding;
mod frame;
pub mod index_file;
mod layout;
mod location;
mod open;
mod pool;
mod queue;
mod reader;
mod recovery;
mod repair;
mod scan;
mod scrub;
mod writer;

pub use check::{Report, check};
pub use checkpoint::{Applied, Checkpoint, Page, PageKind};
pub use error::{Failed, FailedKind, OpenError, ReadError};
pub use finding::{Damage, Finding};
pub use frame::{AppliedBase, Dest, FrameDraft, FrameKind, REJECTED, Vote};
pub use index_file::{
    Directory, IndexPart, Layout, Order, PageEntry, PagePlace, Run, SegmentIndex,
};
pub use location::{Location, Part, Parts, Position};
pub use open::{Options, open};
pub use pool::{Pool, SegmentUse};
pub use queue::{Queue, Refused};
pub use reader::{Reader, Together};
pub use recovery::{Indexed, Recovery, ScannedBatch, ScannedBody, ScannedFrame, TornTail};
pub use repair::{Repaired, repair};
pub use scrub::{Scrub, Scrubbed};
pub use writer::{Placed, Writer, Written};

#[cfg(test)]
mod tests;
