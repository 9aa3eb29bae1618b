//! Checks of the program as it lies on disk.

use super::Outcome;
use crate::run;
use anyhow::{Context as _, Result};

const STRIPPED_BYTES_MAX: u64 = 25_000_000;

/// The size of the stripped binary that is handed out.
pub(super) fn size() -> Result<Outcome> {
    if !run::exists("crates/crossdock") {
        return Ok(Outcome::NotRun("there is no broker binary yet".into()));
    }
    let profile = ["build", "--profile", "dist", "--package", "crossdock", "--bin", "crossdock"];
    if !run::succeeds(run::cargo().args(profile))? {
        return Ok(Outcome::Failed("the build failed".into()));
    }
    let binary = run::target_dir().join("dist/crossdock");
    let bytes = std::fs::metadata(&binary).with_context(|| format!("no {binary:?}"))?.len();
    let figure = format!("{:.1} MB", bytes as f64 / 1e6);
    Ok(if bytes <= STRIPPED_BYTES_MAX { Outcome::Passed(figure) } else { Outcome::Failed(figure) })
}
