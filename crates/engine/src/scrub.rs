//! Verifies what was stored long ago before somebody needs it: sealed segments, one after another,
//! at a bounded rate, in a thread that nobody waits for.

use crate::metrics::{self, Metrics};
use journal::{Finding, OpenError, Pool};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// From the end of a pass to the beginning of the next.
const PASS_EVERY: Duration = Duration::from_secs(60 * 60);
/// Longest sleep, so that a stop is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Scrubber {
    pool: Pool,
    metrics: Arc<Metrics>,
    bytes_per_second: u64,
    /// File and byte of what was told.
    told: BTreeSet<(String, u64)>,
}

impl Scrubber {
    /// `bytes_per_second` is not 0; `findings` are known already.
    pub(crate) fn new(
        pool: Pool,
        metrics: Arc<Metrics>,
        bytes_per_second: u64,
        findings: &[Finding],
    ) -> Scrubber {
        let told = findings.iter().map(|found| (found.file.clone(), found.byte)).collect();
        Scrubber { pool, metrics, bytes_per_second, told }
    }

    /// Goes through the store again and again until `stopped`.
    pub(crate) fn run(&mut self, stopped: impl Fn() -> bool) {
        while !stopped() {
            if let Err(error) = self.pass(&stopped) {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, source, "the store cannot be verified");
            }
            sleep(PASS_EVERY, &stopped);
        }
    }

    /// Verifies every segment that is sealed by now.
    fn pass(&mut self, stopped: &impl Fn() -> bool) -> Result<(), OpenError> {
        for one in self.pool.segments().into_iter().filter(|one| one.sealed) {
            let Some(mut scrub) = self.pool.scrub(one.segment)? else { continue };
            while let Some(scrubbed) = scrub.step()? {
                metrics::add(&self.metrics.damage.scrubbed_bytes, scrubbed.bytes);
                scrubbed.findings.into_iter().for_each(|finding| self.tell(finding));
                let micros = scrubbed.bytes.saturating_mul(1_000_000) / self.bytes_per_second;
                sleep(Duration::from_micros(micros), stopped);
                if stopped() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, finding: Finding) {
        if self.told.insert((finding.file.clone(), finding.byte)) {
            metrics::add(&self.metrics.damage.findings, 1);
            tracing::error!(%finding, "the store is damaged; what cannot be read is passed over");
        }
    }
}

fn sleep(duration: Duration, stopped: &impl Fn() -> bool) {
    let mut left = duration;
    while !left.is_zero() && !stopped() {
        let now = left.min(SLEEP_MAX);
        std::thread::park_timeout(now);
        left -= now;
    }
}
