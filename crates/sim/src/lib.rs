//! The engine on a simulated disk, under random work and random ends, from a seed.
//!
//! One run is decided by its seed: what clients ask, in what order the engine's parts go on, where
//! the power goes, what of the unsynced writes survives. A [`Model`](model::Model) keeps what was
//! acknowledged and checks every delivery, every read and every restart against it.

mod churn;
mod client;
mod cluster;
mod drain;
mod mixed;
mod model;
mod mood;
mod run;
#[cfg(test)]
mod tests;
mod world;

pub use cluster::{ClusterPlan, ClusterTally, SCENARIOS, Scenario, run_cluster};
pub use model::Violation;
pub use run::{Plan, Tally, run};

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does the run of `seed`; a panic of the engine is a violation as well.
///
/// Fails with the first promise that was broken.
pub fn run_caught(seed: u64, plan: Plan) -> Result<Tally, Violation> {
    catch_unwind(AssertUnwindSafe(|| run(seed, plan)))
        .unwrap_or_else(|_| Err(Violation("the engine panicked".to_owned())))
}
