//! `crossdock check`: a store, verified offline, and put in order if asked for.

use super::{Failed, out};
use clap::Args;
use io::{Disk, FsDisk};
use journal::{Repaired, Report};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args, Debug)]
pub(super) struct Check {
    /// The store's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Puts damaged files aside and makes index files anew; deletes nothing
    #[arg(long)]
    repair: bool,
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
    if check.repair {
        repair(&disk)?;
    }
    let report = journal::check(&disk).map_err(|error| Failed::new(error.to_string()))?;
    print(&report);
    match report.findings.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

fn repair(disk: &Arc<dyn Disk>) -> Result<(), Failed> {
    let Repaired { aside, given_up, rebuilt } =
        journal::repair(disk).map_err(|error| Failed::new(error.to_string()))?;
    for (name, now) in &aside {
        out::print(&format!("put aside: {name}, now {now}"));
    }
    for segment in &given_up {
        out::print(&format!("given up: segment {segment}, which is lost with its records"));
    }
    for name in &rebuilt {
        out::print(&format!("made anew: {name}"));
    }
    if aside.is_empty() && given_up.is_empty() && rebuilt.is_empty() {
        out::print("nothing can be repaired");
    }
    Ok(())
}

fn print(report: &Report) {
    let Report { segments, rounds, frames, batches, bytes, findings, torn, needs_salvage } = report;
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
    out::print(match (findings.is_empty(), needs_salvage) {
        (true, _) => "intact",
        (false, false) => "DAMAGED; a broker starts, and passes over what is lost",
        (false, true) => "DAMAGED; a broker starts only with --salvage, without what is lost",
    });
}
