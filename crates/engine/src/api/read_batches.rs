//! What a read gives: stored batches, as many as possible in one piece of memory.

use bytes::Bytes;
use record::batch;
use types::Offset;

/// Stored batches of a log, in order.
#[derive(Clone, Debug, Default)]
pub struct ReadBatches {
    /// The batches; whoever can handle several at once does not have to look for where each begins.
    pub rows: Vec<ReadBatch>,
}

/// One stored batch; in [`ReadBatches::rows`], one or more that lie back to back and whose offsets
/// follow each other without a hole.
#[derive(Clone, Debug)]
pub struct ReadBatch {
    /// Offset of its first record; the base offset inside `bytes` is not it.
    pub base_offset: Offset,
    /// RecordBatch v2 as stored.
    pub bytes: Bytes,
}

impl ReadBatches {
    /// Whether there is no batch.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Length of all batches, in bytes.
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.bytes.len()).sum()
    }

    /// The batches, one by one.
    pub fn iter(&self) -> impl Iterator<Item = ReadBatch> + '_ {
        let batches = self.rows.iter().flat_map(|row| batch::in_row(row.base_offset, &row.bytes));
        batches.map(|(base_offset, bytes)| ReadBatch { base_offset, bytes })
    }
}
