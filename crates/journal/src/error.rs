//! Why the journal could not do what it was asked.

use std::io;

use crate::finding::Finding;

/// A write, sync or change of files that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}")]
pub struct Failed {
    /// What the caller can do about it.
    pub kind: FailedKind,
    /// What was attempted.
    pub doing: &'static str,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// What the caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedKind {
    /// The disk is full; nothing is lost, and the same call can succeed later.
    NoSpace,
    /// The disk, or this writer after an earlier failure, is not to be trusted: stop, and open
    /// the store again.
    Disk,
}

impl Failed {
    pub(crate) fn new(doing: &'static str, source: io::Error) -> Failed {
        let full =
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let kind = if full { FailedKind::NoSpace } else { FailedKind::Disk };
        Failed { kind, doing, source }
    }

    /// The same failure, of a call after which the disk is not to be trusted, full or not.
    pub(crate) fn fatal(doing: &'static str, source: io::Error) -> Failed {
        Failed { kind: FailedKind::Disk, doing, source }
    }
}

/// A store that cannot be opened: one sentence for a person each.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error("the store {place} is in use by another process")]
    Locked {
        /// The store's directory.
        place: String,
    },
    /// Written by a later version of this program.
    #[error("{file} in {place} has format version {version}, newer than this program's {known}")]
    Newer {
        /// The store's directory.
        place: String,
        /// The file that says so.
        file: String,
        /// Its version.
        version: u32,
        /// The newest version known here.
        known: u32,
    },
    /// Written by an earlier version of this program, which this one does not read.
    #[error("{file} in {place} has format version {version}, which this program reads no longer")]
    Older {
        /// The store's directory.
        place: String,
        /// The file that says so.
        file: String,
        /// Its version.
        version: u32,
    },
    /// Files cannot be written there.
    #[error("the store {place} is not writable")]
    Unwritable {
        /// The store's directory.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Durable commands or headers cannot be read: something acknowledged is lost.
    #[error("the store {place} is damaged: {finding}; salvage opens it without what is lost")]
    Damaged {
        /// The store's directory.
        place: String,
        /// The first such place.
        finding: Box<Finding>,
    },
    /// The disk failed.
    #[error("cannot {doing} in {place}")]
    Disk {
        /// The store's directory.
        place: String,
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Bytes that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes there are not those that were written.
    #[error("the batch at byte {position} of segment {segment} is corrupt")]
    Corrupt {
        /// Number of the segment.
        segment: u32,
        /// Byte in the segment's file.
        position: u32,
    },
    /// A page of an index file is not what was written, or the file is not there.
    #[error("a page of the index of segment {segment} is corrupt")]
    Index {
        /// Number of the segment.
        segment: u32,
    },
    /// The segment was recycled; nothing that is live is in it.
    #[error("segment {segment} is gone")]
    Gone {
        /// Number of the segment.
        segment: u32,
    },
    /// The disk failed.
    #[error("cannot read {len} bytes at byte {position} of segment {segment}")]
    Disk {
        /// Number of the segment.
        segment: u32,
        /// Byte in the segment's file.
        position: u64,
        /// Bytes asked for.
        len: usize,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}
