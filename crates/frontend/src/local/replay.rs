//! Having messages again that consumers were done with.

use super::{Local, unexpected};
use engine::api::{Find, FindTarget, Op, Reply, Rewind};
use types::{Error, Kind, LogRef, Millis, Offset};

/// From where on messages are to be delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewindTo {
    /// Everything that is there.
    First,
    /// An offset of a partition of a topic, or of a queue, whose partition is 0.
    Offset(u32, Offset),
    /// The first message that is not older than this.
    Since(Millis),
}

/// What a rewind did in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Which partition.
    pub partition: u32,
    /// From where on.
    pub from: Offset,
    /// How many messages are to be delivered again.
    pub messages: u64,
}

impl Local {
    /// Has the competing consumers of a queue or topic get messages again that are settled: of a queue
    /// what it keeps of them, of a topic what it retains.
    ///
    /// Fails with `NotFound` when there is no such queue, topic or partition, or a topic that nobody
    /// consumes so, and with `Invalid` when the queue keeps nothing.
    pub async fn rewind(&self, name: &str, to: RewindTo) -> Result<Vec<Again>, Error> {
        let found = self.find(name)?;
        let Some(subscription) = found.subscription() else {
            let why = format!("nobody consumes topic '{name}' as a queue");
            return Err(Error::new(Kind::NotFound, why));
        };
        let mut logs: Vec<(u32, LogRef)> = (0..).zip(found.logs().iter().copied()).collect();
        if let RewindTo::Offset(partition, _) = to {
            self.log(name, partition)?;
            logs.retain(|(at, _)| *at == partition);
        }
        let mut all = Vec::new();
        for (partition, log) in logs {
            let from = match to {
                RewindTo::First => self.found(log, FindTarget::Earliest).await?,
                RewindTo::Offset(_, offset) => offset,
                RewindTo::Since(time) => self.found(log, FindTarget::Since(time)).await?,
            };
            let op = Rewind { subscription, log: log.log, to: from };
            match self.call(Op::Rewind(op)).await? {
                Reply::Rewound(messages) => all.push(Again { partition, from, messages }),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(all)
    }

    /// Where something lies; the end where there is no such record.
    async fn found(&self, log: LogRef, target: FindTarget) -> Result<Offset, Error> {
        for target in [target, FindTarget::Latest] {
            match self.call(Op::Find(Find { log, target })).await? {
                Reply::Found(Some(found)) => return Ok(found.offset),
                Reply::Found(None) => {}
                other => return Err(unexpected(&other)),
            }
        }
        Ok(Offset(i64::MAX))
    }
}
