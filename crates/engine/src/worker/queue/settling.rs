//! What consumers say of the messages they hold.

use crate::api::{Disposition, LeaseRange, Settle, Source};
use crate::worker::Worker;
use ledger::{ConsumerKey, Span};
use record::properties::Reason;
use types::ClientId;

impl Worker {
    /// Carries out a settle; nobody is answered here.
    pub(in crate::worker) fn settle(&mut self, client: ClientId, settle: &Settle) {
        let key = ConsumerKey { client, consumer: settle.consumer };
        let subscription = match settle.source {
            Source::Subscription(subscription) => subscription,
            Source::Log { log, .. } => {
                let count = settle.ranges.iter().map(|range| lease_span(range).len()).sum();
                return self.free_tailer(log.shard, key, count);
            }
        };
        let id = subscription.subscription;
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let mut freed = Vec::new();
        for range in &settle.ranges {
            let Some(queue) = seat.queues.get_mut(&id) else { return };
            let Some(log) = queue.log_mut(range.log) else { continue };
            freed.clear();
            let span = lease_span(range);
            match settle.disposition {
                Disposition::Done | Disposition::Rejected => {
                    log.dispatch.settled(key, span, &mut freed);
                    queue.tally.acked += freed.iter().map(|span| span.len()).sum::<u64>();
                    match settle.disposition {
                        Disposition::Rejected => {
                            seat.take_out(id, range.log, &freed, Reason::Rejected);
                        }
                        _ => seat.settle(id, range.log, &freed),
                    }
                }
                Disposition::Returned => {
                    log.dispatch.returned(key, span, true, &mut freed);
                    seat.give_back(id, range.log, &freed, true);
                }
            }
        }
        seat.ready.insert(id);
        if let Some(windows) = seat.queues.get(&id).and_then(|queue| queue.windowed.get(&key)) {
            for window in windows {
                if let Some(window) = seat.windows.get(window) {
                    seat.ready.extend(window.members.iter().map(|(id, _)| *id));
                }
            }
        }
    }
}

fn lease_span(range: &LeaseRange) -> Span {
    Span::new(range.first, range.last.next())
}
