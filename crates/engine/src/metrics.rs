//! Counters of the engine, read by whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the sync histogram's buckets, in microseconds; one more bucket has the rest.
pub const SYNC_BUCKETS_US: [u64; 14] =
    [50, 100, 150, 200, 300, 500, 750, 1_000, 2_000, 4_000, 8_000, 16_000, 64_000, 256_000];

/// Counters since the process started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Rounds written to the journal.
    pub rounds: AtomicU64,
    /// Bytes written to the journal, padding included.
    pub written_bytes: AtomicU64,
    /// Frames placed.
    pub frames: AtomicU64,
    /// Syncs of the journal.
    pub syncs: AtomicU64,
    /// Time spent in them, in microseconds.
    pub sync_us: AtomicU64,
    /// Syncs by duration; bucket bounds are [`SYNC_BUCKETS_US`].
    pub sync_buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
    /// Batches, and pages of index files, read back from the disk.
    pub cold_reads: AtomicU64,
    /// Checkpoints stored.
    pub checkpoints: AtomicU64,
    /// Segments given back for reuse.
    pub recycled_segments: AtomicU64,
    /// What was written again.
    pub copies: Copies,
    /// What is used of the disk, and what is left.
    pub space: Space,
    /// What is damaged.
    pub damage: Damage,
}

/// What was written again.
#[derive(Debug, Default)]
pub struct Copies {
    /// Segments whose survivors were copied forward.
    pub relocated_segments: AtomicU64,
    /// Segments that were written again log by log.
    pub unzipped_segments: AtomicU64,
    /// Bytes of all of that, of those written to the journal.
    pub bytes: AtomicU64,
}

/// What is used of the disk, and what it has left, as the keeper last saw it.
#[derive(Debug, Default)]
pub struct Space {
    /// Bytes of segments in use.
    pub segment_bytes: AtomicU64,
    /// Bytes that can still be written; files that wait to be used are included.
    pub free_bytes: AtomicU64,
    /// 1 while publishing is blocked.
    pub blocked: AtomicU64,
}

/// What is not as it was written.
#[derive(Debug, Default)]
pub struct Damage {
    /// Damaged places found in the store, at the start and since.
    pub findings: AtomicU64,
    /// Bytes of sealed segments that were read to verify them.
    pub scrubbed_bytes: AtomicU64,
    /// Records that were acknowledged and cannot be read any more.
    pub lost_records: AtomicU64,
    /// Frames whose commands are lost, passed over because the store was to be salvaged.
    pub lost_frames: AtomicU64,
}

impl Metrics {
    pub(crate) fn synced(&self, duration_us: u64) {
        let at = SYNC_BUCKETS_US.partition_point(|bound| *bound < duration_us);
        self.sync_buckets[at].fetch_add(1, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_us.fetch_add(duration_us, Ordering::Relaxed);
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
