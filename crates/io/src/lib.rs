//! What the broker asks of the machine: a clock, random numbers, and a directory of files.
//!
//! Each is a trait with two implementations: the machine's own, and one in [`sim`] that is decided
//! by a seed and fails as disks fail. No other crate asks the operating system for any of them.

mod aligned;
mod clock;
mod disk;
mod faults;
mod fs;
mod planted;
mod power;
mod random;
pub mod sim;

pub use aligned::{AlignedBuf, BLOCK_BYTES};
pub use clock::{Clock, SystemClock};
pub use disk::{Access, DirLock, Disk, File};
pub use faults::{FaultKind, FaultPlan};
pub use fs::FsDisk;
pub use planted::{FAULTS, REPLICA_FAULTS, SHARD_FAULTS, plant, planted};
pub use power::{Cut, RecordedDisk, cut_power};
pub use random::{Random, SystemRandom};
