//! What consumers say of the messages they hold.

use super::{Handout, Queue, Turn, is_overdue, ledger_of};
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
            let delays = queue.delays();
            let Some(log) = queue.log_mut(range.log) else { continue };
            freed.clear();
            let span = lease_span(range);
            match settle.disposition {
                Disposition::Done | Disposition::Rejected => {
                    log.dispatch.settled(key, span, &mut freed);
                    queue.tally.acked += freed.iter().map(|span| span.len()).sum::<u64>();
                    let failed = settle.disposition == Disposition::Rejected;
                    queue.paced(&freed, Some(failed), self.now);
                    match settle.disposition {
                        Disposition::Rejected => {
                            seat.take_out(id, range.log, &freed, Reason::Rejected);
                        }
                        _ => seat.settle(id, range.log, &freed),
                    }
                }
                Disposition::Returned | Disposition::Released if delays => {
                    let failed = settle.disposition == Disposition::Returned;
                    let mut ended = Vec::new();
                    log.dispatch.end(key, span, &mut ended);
                    let ends: Vec<Span> = ended.iter().map(|ended| ended.span).collect();
                    queue.paced(&ends, failed.then_some(true), self.now);
                    seat.send_back(id, range.log, &ended, failed, self.now);
                }
                Disposition::Returned | Disposition::Released => {
                    let counted = settle.disposition == Disposition::Returned;
                    log.dispatch.returned(key, span, counted, &mut freed);
                    queue.paced(&freed, counted.then_some(true), self.now);
                    seat.give_back(id, range.log, &freed, counted);
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

impl Turn<'_> {
    /// What is out of delivery is settled, or goes on as dead letters.
    pub(super) fn take_out(
        &mut self,
        queue: &mut Queue,
        at: usize,
        spans: &[Span],
        reason: Reason,
    ) {
        let id = queue.subscription.subscription;
        let log = &mut queue.logs[at];
        if queue.options.dead_letter.is_none() {
            self.seat.withdraw(id, log.log, spans);
        } else if !spans.is_empty() {
            log.dying.take_in(spans, reason);
            self.seat.dying.add(id);
        }
    }

    /// What was passed over has expired, came back too often, or is not there at all: that shows when
    /// it is looked for.
    pub(super) fn take_out_skipped(&mut self, queue: &mut Queue, at: usize) {
        let (id, most) = (queue.subscription.subscription, queue.options.returns_max);
        let log = queue.logs[at].log;
        for span in queue.logs[at].dispatch.take_skipped() {
            let ledger = ledger_of(&self.seat.shard, id, log).map(|(ledger, _)| ledger);
            let overdue = |offset| ledger.is_some_and(|ledger| is_overdue(ledger, offset, most));
            let (mut expired, mut often) = (Vec::new(), Vec::new());
            match most {
                None => expired.push(span),
                Some(_) => span.offsets().for_each(|offset| {
                    let to = if overdue(offset) { &mut often } else { &mut expired };
                    Span::push(to, Span::one(offset));
                }),
            }
            self.take_out(queue, at, &expired, Reason::Expired);
            self.take_out(queue, at, &often, Reason::Deliveries);
        }
    }

    /// Writes down that a handout is about to be made, if that has to be: it is made when it is.
    pub(super) fn leases(&mut self, queue: &mut Queue, at: usize, handout: &Handout) -> bool {
        if handout.leased || handout.settle_now || !queue.leases(self.seat) {
            return false;
        }
        let id = queue.subscription.subscription;
        let log = &mut queue.logs[at];
        let frame = self.seat.lease(id, log.log, handout.span);
        log.leasing.push_back((frame, *handout));
        self.seat.leasing.add(id);
        true
    }
}

fn lease_span(range: &LeaseRange) -> Span {
    Span::new(range.first, range.last.next())
}
