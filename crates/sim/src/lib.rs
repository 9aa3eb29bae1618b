//! The engine on a simulated disk, under random work and random ends, from a seed.
//!
//! One run is decided by its seed: what clients ask, in what order the engine's parts go on, where
//! the power goes, what of the unsynced writes survives. A [`Model`](model::Model) keeps what was
//! acknowledged and checks every delivery, every read and every restart against it.

mod client;
mod drain;
mod model;
mod run;
mod world;

pub use model::Violation;
pub use run::{Plan, Tally, run};
