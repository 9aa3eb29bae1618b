//! `crossdock check`: a store, verified offline.

use super::{Failed, out};
use clap::Args;
use io::{Disk, FsDisk};
use journal::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args, Debug)]
pub(super) struct Check {
    /// The store's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Exits with 1 when something is damaged.
pub(super) fn check(check: &Check) -> Result<ExitCode, Failed> {
    let shown = check.directory.display();
    // Opening would create it.
    if !check.directory.is_dir() {
        return Err(Failed::new(format!("there is no directory {shown}; name a store's")));
    }
    let disk = FsDisk::open(&check.directory)
        .map_err(|error| Failed::new(format!("cannot open {shown}: {error}")))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let report = journal::check(&disk).map_err(|error| Failed::new(error.to_string()))?;
    print(&report);
    match report.findings.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

fn print(report: &Report) {
    let Report { segments, rounds, frames, batches, bytes, findings, torn } = report;
    out::print(&format!(
        "{segments} segments, {rounds} rounds, {frames} frames, {batches} batches, {bytes} bytes"
    ));
    if let Some(torn) = torn {
        let place = torn.position;
        out::print(&format!("after {place:?}: rounds that were never acknowledged; no damage"));
    }
    for finding in findings {
        out::print(&format!("damaged: {finding}"));
    }
    out::print(match findings.is_empty() {
        true => "intact",
        false => "DAMAGED",
    });
}
