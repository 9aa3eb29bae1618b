//! `crossdock power-cut`: turns the store of a killed broker into one that a power cut left.

use super::{Failed, out};
use clap::Args;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(super) struct PowerCut {
    /// The store's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The directory given to `crossdock serve --record-writes`
    #[arg(long, value_name = "DIR")]
    record: PathBuf,
    /// Decides what is undone
    #[arg(long, value_name = "NUMBER")]
    seed: u64,
}

pub(super) fn cut(cut: &PowerCut) -> Result<ExitCode, Failed> {
    let PowerCut { directory, record, seed } = cut;
    // Opening would create it.
    if !directory.is_dir() {
        let shown = directory.display();
        return Err(Failed::new(format!("there is no directory {shown}; name a store's")));
    }
    let done = io::cut_power(directory, record, *seed).map_err(|error| {
        let (store, record) = (directory.display(), record.display());
        Failed::new(match error.kind() {
            ErrorKind::WouldBlock => format!("a broker runs on {store}; kill it first"),
            ErrorKind::NotFound => {
                format!("{record} has no record; serve {store} with --record-writes {record}")
            }
            _ => format!("cannot cut the power of {store}: {error}"),
        })
    })?;
    out::print(&done.to_string());
    Ok(ExitCode::SUCCESS)
}
