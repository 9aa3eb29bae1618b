//! Options are kept once for all queues that have the same ones: of a hundred thousand queues nearly all
//! have one of a few.

use crate::entry::QueueOptions;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Below so many nothing is looked for that no queue has any more.
const SWEEP_MIN: usize = 64;

/// Options that some queue has, or had not long ago.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sharing {
    known: BTreeSet<Arc<QueueOptions>>,
    sweep_at: usize,
}

impl Sharing {
    /// These options, shared with every queue that has the same.
    pub(crate) fn share(&mut self, options: &Arc<QueueOptions>) -> Arc<QueueOptions> {
        if let Some(known) = self.known.get(options) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.known.retain(|options| Arc::strong_count(options) > 1);
            self.sweep_at = 2 * self.known.len();
        }
        self.known.insert(Arc::clone(options));
        Arc::clone(options)
    }
}

#[cfg(test)]
mod tests;
