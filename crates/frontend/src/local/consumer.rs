//! Consuming: from a subscription with acknowledgements, or from logs by offset.

use super::{Local, unexpected};
use crate::{Caller, Received};
use engine::api::{
    Delivery, Disposition, Get, LeaseRange, Op, Reply, Settle, Source, StartAt, Take,
};
use std::time::Duration;
use types::{ConsumerId, Error, Kind, LogRef, SubscriptionRef};

/// The only consumer of a subscription that a [`Consumer`] has; of a log, its partition's number.
const COMPETING: ConsumerId = ConsumerId(0);

/// Most one-shot takes under way at once.
const GETS_MAX: usize = 64;

/// Takes messages of a queue or topic one by one. Dropping it returns what is not settled.
#[derive(Debug)]
pub struct Consumer {
    caller: Caller,
    /// The competing consumers it is one of; none when it reads logs on its own.
    subscription: Option<SubscriptionRef>,
    /// By partition.
    logs: Vec<LogRef>,
    standing: bool,
    prefetch: u32,
}

impl Local {
    /// Competes for the messages of a queue, or of a topic's shared subscription; each one is to
    /// be settled. `prefetch`: most unsettled messages at once, 0 is no limit.
    pub async fn consume(&self, name: &str, prefetch: u32) -> Result<Consumer, Error> {
        let subscription = self.subscription(name).await?;
        let logs = self.find(name)?.logs().to_vec();
        let caller = Caller::connect(&self.engine);
        Ok(Consumer { caller, subscription: Some(subscription), logs, standing: false, prefetch })
    }

    /// Reads a topic, or what a queue retains, without settling anything. `from`: where to begin
    /// in each partition that is wanted.
    pub async fn read(&self, name: &str, from: &[(u32, StartAt)]) -> Result<Consumer, Error> {
        let logs = self.find(name)?.logs().to_vec();
        let caller = Caller::connect(&self.engine);
        for (partition, start) in from {
            let Some(log) = logs.get(*partition as usize).copied() else {
                let why = format!("'{name}' has no partition {partition}");
                return Err(Error::new(Kind::NotFound, why));
            };
            let source = Source::Log { log, from: *start };
            caller.call(take(ConsumerId(*partition), source, 0)).await?;
        }
        Ok(Consumer { caller, subscription: None, logs, standing: true, prefetch: 0 })
    }
}

impl Consumer {
    /// The next message; waits for one. `None` when what it consumes was deleted.
    ///
    /// Fails when the record is corrupt; the one after it can still be had.
    pub async fn next(&mut self) -> Result<Option<Received>, Error> {
        self.stand().await?;
        match self.caller.next_delivery().await {
            Some((consumer, delivery)) => self.received(consumer, delivery).map(Some),
            None => Ok(None),
        }
    }

    /// Up to `count` messages: those that are there, and if there is none, waits for some, at most
    /// `patience`. Stops at `bytes_max` bytes of values.
    pub async fn take(
        &mut self,
        count: usize,
        bytes_max: usize,
        patience: Duration,
    ) -> Result<Vec<Received>, Error> {
        let mut taken = self.take_ready(count, bytes_max).await?;
        if !taken.is_empty() || count == 0 {
            return Ok(taken);
        }
        self.stand().await?;
        let Ok(first) = tokio::time::timeout(patience, self.next()).await else {
            return Ok(taken);
        };
        taken.extend(first?);
        let mut bytes = 0;
        while taken.len() < count
            && bytes < bytes_max
            && let Some((consumer, delivery)) = self.caller.ready_delivery()
        {
            bytes += delivery.tail.len();
            taken.push(self.received(consumer, delivery)?);
        }
        Ok(taken)
    }

    /// Says that messages were processed; returns when that is durable. Nothing to do for a reader.
    pub async fn ack(&self, messages: &[Received]) -> Result<(), Error> {
        self.settle(messages, Disposition::Done).await
    }

    /// Gives messages back to the queue, marked as redelivered.
    pub async fn give_back(&self, messages: &[Received]) -> Result<(), Error> {
        self.settle(messages, Disposition::Returned).await
    }

    async fn settle(&self, messages: &[Received], disposition: Disposition) -> Result<(), Error> {
        let Some(subscription) = self.subscription else { return Ok(()) };
        if messages.is_empty() {
            return Ok(());
        }
        let settle = Settle {
            consumer: COMPETING,
            source: Source::Subscription(subscription),
            ranges: ranges(messages),
            disposition,
        };
        self.caller.call(Op::Settle(settle)).await.map(drop)
    }

    /// One-shot takes of what is ready, as long as no standing consumer was made.
    async fn take_ready(&self, count: usize, bytes_max: usize) -> Result<Vec<Received>, Error> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let Some(subscription) = self.subscription.filter(|_| !self.standing) else {
            return Ok(taken);
        };
        while taken.len() < count && bytes < bytes_max {
            let get = Get { consumer: COMPETING, subscription, settle_on_delivery: false };
            // Values may be large: one, then as many as were small.
            let wanted = (count - taken.len()).min(if taken.is_empty() { 1 } else { GETS_MAX });
            let wanted = if bytes > bytes_max / 8 { 1 } else { wanted };
            let gets: Vec<_> =
                (0..wanted).map(|_| self.caller.start(Op::Get(get.clone()))).collect();
            let mut empty = false;
            for get in gets {
                match get.reply().await? {
                    Reply::Got(Some(delivery), _) => {
                        bytes += delivery.tail.len();
                        taken.push(self.received(COMPETING, delivery)?);
                    }
                    Reply::Got(None, _) => empty = true,
                    other => return Err(unexpected(&other)),
                }
            }
            if empty {
                break;
            }
        }
        Ok(taken)
    }

    /// Becomes a standing consumer.
    async fn stand(&mut self) -> Result<(), Error> {
        if let Some(subscription) = self.subscription.filter(|_| !self.standing) {
            let source = Source::Subscription(subscription);
            self.caller.call(take(COMPETING, source, self.prefetch)).await?;
            self.standing = true;
        }
        Ok(())
    }

    fn received(&self, consumer: ConsumerId, delivery: Delivery) -> Result<Received, Error> {
        let partition = match self.subscription {
            None => consumer.0,
            Some(_) => {
                let at = self.logs.iter().position(|log| log.log == delivery.log);
                at.and_then(|at| u32::try_from(at).ok()).unwrap_or_default()
            }
        };
        Received::read(delivery, partition)
    }
}

fn take(consumer: ConsumerId, source: Source, prefetch: u32) -> Op {
    Op::Take(Take {
        consumer,
        source,
        prefetch,
        window: None,
        settle_on_delivery: matches!(source, Source::Log { .. }),
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    })
}

/// Neighbouring offsets of a log as one range each, ascending.
fn ranges(messages: &[Received]) -> Vec<LeaseRange> {
    let mut places: Vec<_> = messages.iter().map(|it| (it.log, it.place.offset)).collect();
    places.sort_unstable();
    let mut ranges: Vec<LeaseRange> = Vec::new();
    for (log, offset) in places {
        match ranges.last_mut() {
            Some(range) if range.log == log && range.last == offset => {}
            Some(range) if range.log == log && range.last.next() == offset => range.last = offset,
            _ => ranges.push(LeaseRange { log, first: offset, last: offset }),
        }
    }
    ranges
}
