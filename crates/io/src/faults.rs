//! Faults of the machine's disk, asked for, so that a test sees what the program does about them.

use std::io::{self, ErrorKind};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::aligned::BLOCK_BYTES;

/// Bytes that a short write does not report though they were written: no whole block.
const UNREPORTED_BYTES: usize = 512;

/// EIO, by number: the standard library has no name for it.
const EIO: i32 = 5;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Syncs of files fail with EIO.
    SyncError,
    /// Writes fail with EIO, before any byte is written.
    WriteError,
    /// Every second write stops in the middle of a block and says so.
    ShortWrite,
    /// Writes and growing files fail with ENOSPC.
    Full,
    /// Each write takes as long as on a disk that writes so many bytes a second.
    Slow,
}

/// Which calls go wrong, and how: `KIND@N` or `KIND@N+COUNT`, with `sync-error`, `write-error`,
/// `short-write` or `full`. Calls of the kind are counted from 1; COUNT is 1 unless told. And
/// `slow@BYTES`: each file takes so many bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    kind: FaultKind,
    first: u64,
    count: u64,
}

/// A plan being carried out.
#[derive(Debug)]
pub(crate) struct Faults {
    plan: FaultPlan,
    calls: AtomicU64,
}

/// How much of a write is to be done, and said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) write_bytes: usize,
    pub(crate) told_bytes: usize,
}

impl FromStr for FaultPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<FaultPlan, String> {
        let form = || "it has the form KIND@N or KIND@N+COUNT".to_owned();
        let (kind, calls) = text.split_once('@').ok_or_else(form)?;
        let kind = match kind {
            "sync-error" => FaultKind::SyncError,
            "write-error" => FaultKind::WriteError,
            "short-write" => FaultKind::ShortWrite,
            "full" => FaultKind::Full,
            "slow" => FaultKind::Slow,
            _ => return Err(format!("there is no fault '{kind}'")),
        };
        let (first, count) = calls.split_once('+').unwrap_or((calls, "1"));
        match (first.parse(), count.parse()) {
            (Ok(first), Ok(count)) => Ok(FaultPlan { kind, first, count }),
            _ => Err(form()),
        }
    }
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan) -> Faults {
        Faults { plan, calls: AtomicU64::new(0) }
    }

    /// Before `bytes` are written: how many to write.
    pub(crate) fn write(&self, bytes: usize) -> io::Result<Allowed> {
        let all = Allowed { write_bytes: bytes, told_bytes: bytes };
        match self.plan.kind {
            FaultKind::SyncError => Ok(all),
            FaultKind::Slow => {
                std::thread::sleep(
                    Duration::from_secs(1).mul_f64(bytes as f64 / self.plan.first.max(1) as f64),
                );
                Ok(all)
            }
            _ if !self.is_due() => Ok(all),
            FaultKind::WriteError => Err(io::Error::from_raw_os_error(EIO)),
            FaultKind::Full => Err(ErrorKind::StorageFull.into()),
            // What is tried again after one goes through.
            FaultKind::ShortWrite if self.calls.load(Ordering::Relaxed).is_multiple_of(2) => {
                Ok(all)
            }
            FaultKind::ShortWrite => {
                let write_bytes = (bytes / 2).next_multiple_of(BLOCK_BYTES).min(bytes);
                let told_bytes = write_bytes.saturating_sub(UNREPORTED_BYTES).max(1);
                Ok(Allowed { write_bytes, told_bytes })
            }
        }
    }

    /// Before a file grows.
    pub(crate) fn grow(&self) -> io::Result<()> {
        match self.plan.kind {
            FaultKind::Full if self.is_due() => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// Before a file is synced.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.plan.kind {
            FaultKind::SyncError if self.is_due() => Err(io::Error::from_raw_os_error(EIO)),
            _ => Ok(()),
        }
    }

    fn is_due(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        call >= self.plan.first && call - self.plan.first < self.plan.count
    }
}
