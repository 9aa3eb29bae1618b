//! What a message that is handed out says of its own returns.

use super::{Handout, Queue, Turn, expiration};
use crate::index::Run;
use crate::worker::retrying::Terms;
use types::Offset;

impl Turn<'_> {
    /// Where what comes back waits: notes what a message says of that itself. False: it came back too
    /// often for what it says.
    pub(super) fn has_terms(
        &self,
        queue: &mut Queue,
        at: usize,
        handout: &Handout,
        (offset, run, tail): (Offset, &Run, &[u8]),
    ) -> bool {
        if queue.options.serving.retry.is_none() || handout.settle_now {
            return true;
        }
        let own = if run.expiring { expiration(tail) } else { None };
        let ttl = own.into_iter().chain(queue.options.message_ttl).min();
        let expires = ttl.map(|ttl| run.appended.plus(ttl));
        let of_queue = Terms::of_queue(&queue.options);
        let terms = of_queue.of_message(tail, expires);
        if terms.is_spent(handout.attempt.saturating_sub(1)) {
            return false;
        }
        if let Some(retries) = &mut queue.logs[at].retries {
            retries.note(offset, terms, of_queue);
        }
        true
    }
}
