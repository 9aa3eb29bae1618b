//! Messages by their place: delivered again, asked for, taken out.

use super::Worker;
use super::queue::{gone, ledger_of};
use super::seat::Seat;
use crate::api::{LeaseRange, PLACES_MAX, Remove, Removed, Reply, Rewind, Stand, Standing, Stood};
use crate::command::{Command, RANGE_BYTES, Range};
use crate::draft::Awaits;
use ledger::{Rewound, Span};
use types::{
    ClientId, Error, Kind, LogId, Offset, ShardId, SubscriptionId, SubscriptionRef, Token,
};

impl Seat {
    /// Whether what is settled of a log can be had again.
    fn keeps_settled(&self, log: LogId) -> bool {
        self.shard.logs.get(&log).is_some_and(|log| log.options.keeps_settled())
    }

    /// Settles spans of a log that nobody is to have again: in the next frame, whatever the reason.
    pub(super) fn withdraw(&mut self, subscription: SubscriptionId, log: LogId, spans: &[Span]) {
        if !self.keeps_settled(log) || io::planted("withdrawn-kept") {
            return self.settle(subscription, log, spans);
        }
        for span in spans {
            self.make_room(0, 64 + RANGE_BYTES);
            let range = Range::of(log, *span);
            match self.draft.commands.last_mut() {
                Some(Command::Withdraw { subscription: of, ranges }) if *of == subscription => {
                    ranges.push(range);
                }
                _ => {
                    self.draft.command(Command::Withdraw { subscription, ranges: vec![range] });
                }
            }
            self.draft.grow(RANGE_BYTES);
        }
    }

    fn rewind(&mut self, op: &Rewind) -> Result<usize, Error> {
        let Rewind { subscription, log, to } = *op;
        let subscription = subscription.subscription;
        ledger_of(&self.shard, subscription, log).ok_or_else(gone)?;
        let is_topic = self.shard.logs.get(&log).is_some_and(|log| !log.options.interest);
        if !is_topic && !self.keeps_settled(log) {
            return Err(Error::new(Kind::Invalid, "the queue does not keep what is settled"));
        }
        // What is settled from now on comes after it.
        self.settle_anew();
        Ok(self.command_now(Command::Rewind { subscription, log, to }))
    }
}

impl Worker {
    pub(super) fn rewind(&mut self, client: ClientId, token: Token, op: &Rewind) {
        self.wake(op.subscription);
        let Some(seat) = self.seats.get_mut(&op.subscription.shard) else { return };
        match seat.rewind(op) {
            Ok(at) => seat.draft.wait(client, token, Awaits::Command(at)),
            Err(error) => self.clients.reply(client, token, Err(error)),
        }
    }

    /// A ledger was rewound.
    pub(super) fn rewound(
        &mut self,
        subscription: SubscriptionRef,
        log: LogId,
        (rewound, asker): (&Rewound, Option<(ClientId, Token)>),
    ) {
        let (shard, id) = (subscription.shard, subscription.subscription);
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let queue = seat.queues.get_mut(&id).and_then(|queue| queue.log_mut(log));
        match (queue, ledger_of(&seat.shard, id, log)) {
            (Some(queue), Some((ledger, _))) => {
                queue.dispatch.rewound(ledger, rewound);
            }
            // It is built from the ledger.
            (None, Some(_)) => self.wake(subscription),
            _ => {}
        }
        if let Some(seat) = self.seats.get_mut(&shard) {
            seat.ready.insert(id);
        }
        self.limit_length(shard, id);
        self.rearm(subscription);
        if let Some((client, token)) = asker {
            self.clients.reply(client, token, Ok(Reply::Rewound(rewound.count)));
        }
    }

    /// Says where messages stand.
    pub(super) fn tell_standing(&mut self, client: ClientId, token: Token, op: &Stand) {
        let stood = self.stand(op);
        self.clients.reply(client, token, stood);
    }

    fn stand(&mut self, op: &Stand) -> Result<Reply, Error> {
        let id = op.subscription.subscription;
        let offsets = offsets(&op.ranges)?;
        self.wake(op.subscription);
        let seat = self.seats.get(&op.subscription.shard).ok_or_else(gone)?;
        let queue = seat.queues.get(&id).ok_or_else(gone)?;
        let stood = offsets.map(|(log, offset)| {
            let nowhere = Stood { offset, standing: Standing::Gone, returns: 0 };
            let Some((ledger, end)) = ledger_of(&seat.shard, id, log) else { return nowhere };
            let Some(of) = queue.logs.iter().find(|it| it.log == log) else { return nowhere };
            let start = seat.shard.logs.get(&log).map_or(end, |log| log.start);
            let standing = match of.dispatch.standing(ledger, end, offset) {
                ledger::Standing::Ready => Standing::Ready,
                ledger::Standing::Leased => Standing::Leased,
                ledger::Standing::Waiting => {
                    Standing::Waiting(ledger.due(offset).unwrap_or(self.now))
                }
                ledger::Standing::Leaving => Standing::Leaving,
                ledger::Standing::Settled
                    if start <= offset && offset < end && ledger.is_kept(offset) =>
                {
                    Standing::Kept
                }
                ledger::Standing::Settled => Standing::Gone,
            };
            Stood { offset, standing, returns: ledger.returns(offset).unwrap_or(0) }
        });
        Ok(Reply::Stood(stood.collect()))
    }

    /// Takes messages out, wherever they are.
    pub(super) fn remove(&mut self, client: ClientId, token: Token, op: &Remove) {
        match self.remove_now(op) {
            Ok((removed, seat)) => seat.draft.wait(client, token, Awaits::Removed(removed)),
            Err(error) => self.clients.reply(client, token, Err(error)),
        }
    }

    fn remove_now(&mut self, op: &Remove) -> Result<(Removed, &mut Seat), Error> {
        let (shard, id) = (op.subscription.shard, op.subscription.subscription);
        let offsets = offsets(&op.ranges)?;
        self.wake(op.subscription);
        let seat = self.seats.get_mut(&shard).ok_or_else(gone)?;
        let queue = seat.queues.get_mut(&id).ok_or_else(gone)?;
        let mut removed = Removed::default();
        let mut spans: Vec<(LogId, Vec<Span>)> = Vec::new();
        for (log, offset) in offsets {
            let Some((ledger, end)) = ledger_of(&seat.shard, id, log) else { continue };
            let Some(of) = queue.logs.iter_mut().find(|it| it.log == log) else { continue };
            let start = seat.shard.logs.get(&log).map_or(end, |log| log.start);
            let keeps = ledger.keeps_settled() && start <= offset && offset < end;
            let is_gone =
                of.dispatch.take_at(ledger, end, offset) || keeps && ledger.is_kept(offset);
            if !is_gone {
                let standing = of.dispatch.standing(ledger, end, offset);
                removed.leased += u64::from(standing == ledger::Standing::Leased);
                continue;
            }
            removed.removed += 1;
            match spans.last_mut().filter(|(of, _)| *of == log) {
                Some((_, spans)) => Span::push(spans, Span::one(offset)),
                None => spans.push((log, vec![Span::one(offset)])),
            }
        }
        for (log, spans) in &spans {
            seat.withdraw(id, *log, spans);
        }
        seat.ready.insert(id);
        Ok((removed, seat))
    }

    /// What of a span of a log was kept is not any more: whoever needs nothing else of a batch lets go of it.
    pub(super) fn settled_forgotten(&mut self, shard: ShardId, log: LogId, span: Span) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        self.store.index.mark_stale(log, span.first, span.end);
        seat.scattered.insert(log);
    }
}

/// The messages of ranges; fails with `TooLarge` where they are too many.
fn offsets(ranges: &[LeaseRange]) -> Result<impl Iterator<Item = (LogId, Offset)> + '_, Error> {
    let count = ranges.iter().fold(0, |sum: u64, range| sum.saturating_add(range.offsets()));
    if count > PLACES_MAX {
        return Err(Error::new(Kind::TooLarge, "too many messages at once"));
    }
    Ok(ranges.iter().flat_map(|range| {
        let span = Span::new(range.first, range.last.next());
        span.offsets().map(|offset| (range.log, offset))
    }))
}
