//! Records that the disk does not give back: passed over, told once, and counted.

use crate::metrics::{self, Metrics};
use ledger::Span;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogId, Offset};

/// What is known to be lost, by log.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    metrics: Arc<Metrics>,
    /// Ends of spans that neither touch nor overlap, by their first offset.
    known: BTreeMap<LogId, BTreeMap<Offset, Offset>>,
}

impl Losses {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Losses {
        Losses { metrics, known: BTreeMap::new() }
    }

    /// Records of a log cannot be had, or are not there at all: `why` says it, with the place. Only
    /// what was not noted before is told and counted.
    pub(crate) fn note(&mut self, log: LogId, span: Span, why: &str) {
        let known = self.known.entry(log).or_default();
        let (mut first, mut end) = (span.first, span.end);
        let mut before = 0;
        while let Some((from, to)) = known.range(..=end).next_back().map(|(from, to)| (*from, *to))
            && to >= first
        {
            known.remove(&from);
            let inside = Span::new(from.max(span.first), to.min(span.end));
            before += if inside.is_empty() { 0 } else { inside.len() };
            (first, end) = (first.min(from), end.max(to));
        }
        known.insert(first, end);
        let lost = span.len() - before;
        if lost > 0 {
            metrics::add(&self.metrics.damage.lost_records, lost);
            let (first, last) = (span.first, Offset(span.end.0 - 1));
            tracing::error!(%log, %first, %last, why, "records are lost and passed over");
        }
    }

    /// Nothing of a log is of interest any more.
    pub(crate) fn forget(&mut self, log: LogId) {
        self.known.remove(&log);
    }
}

/// Why records are lost of which not even the place is known.
pub(crate) const NO_PLACE: &str = "no segment or index file tells where they were";

#[cfg(test)]
mod tests;
