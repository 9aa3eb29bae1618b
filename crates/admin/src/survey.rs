//! Counts of everything, gathered from the shards.

use crate::Admin;
use engine::api::{Extent, Op, QueueStats, Reply};
use engine::catalog::Name;
use engine::groups::{CommittedOffset, GroupView, OffsetKey};
use engine::{GroupName, Names};
use std::collections::BTreeMap;
use types::{Error, Kind, LogRef, ShardId, SubscriptionId};

/// A consumer group and what it has committed.
#[derive(Clone, Debug)]
pub(crate) struct GroupReport {
    pub(crate) name: Name,
    pub(crate) view: GroupView,
    pub(crate) positions: Vec<(OffsetKey, CommittedOffset)>,
}

impl Admin {
    /// The counts of every subscription.
    pub(crate) async fn stats(&self) -> Result<BTreeMap<SubscriptionId, QueueStats>, Error> {
        let mut found = BTreeMap::new();
        for shard in self.engine().shards().to_vec() {
            match self.local.call(Op::Stats { shard }).await? {
                Reply::Stats(stats) => {
                    found.extend(stats.into_iter().map(|it| (it.subscription.subscription, it)));
                }
                other => return Err(unexpected(&other)),
            }
        }
        Ok(found)
    }

    /// The extents of logs; those that are gone meanwhile are left out.
    pub(crate) async fn extents(&self, logs: &[LogRef]) -> Result<BTreeMap<LogRef, Extent>, Error> {
        let mut by_shard: BTreeMap<ShardId, Vec<LogRef>> = BTreeMap::new();
        for log in logs {
            by_shard.entry(log.shard).or_default().push(*log);
        }
        let mut found = BTreeMap::new();
        for logs in by_shard.into_values() {
            match self.local.call(Op::Extent(logs.clone())).await? {
                Reply::Extents(extents) => {
                    let known = logs.into_iter().zip(extents);
                    found.extend(known.filter_map(|(log, extent)| Some((log, extent?))));
                }
                other => return Err(unexpected(&other)),
            }
        }
        Ok(found)
    }

    /// The consumer groups of a namespace, or those of some names, with their positions.
    pub(crate) async fn group_reports(
        &self,
        namespace: &str,
        only: Option<&str>,
    ) -> Result<Vec<GroupReport>, Error> {
        let mut reports = Vec::new();
        let shards = self.engine().shards().to_vec();
        for shard in shards.into_iter().filter(|shard| *shard != ShardId::LOCAL) {
            let names = only.map(|name| vec![Name::from(name)]);
            let op = Op::Groups { shard, namespace: Name::from(namespace), names };
            let Reply::Groups(groups) = self.local.call(op).await? else {
                return Err(Error::new(Kind::Invalid, "the engine did not answer with groups"));
            };
            for (name, view) in groups {
                let group = GroupName { namespace: Name::from(namespace), group: name.clone() };
                let reply = self.local.call(Op::Offsets { shard, name: group }).await?;
                let Reply::Offsets(positions) = reply else { return Err(unexpected(&reply)) };
                reports.push(GroupReport { name, view, positions: positions.unwrap_or_default() });
            }
        }
        reports.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(reports)
    }

    /// How far each position of `reports` is behind the end of its log, in their order; `None`
    /// where the topic is gone.
    pub(crate) async fn lags(
        &self,
        namespace: &str,
        reports: &[GroupReport],
    ) -> Result<Vec<Vec<Option<i64>>>, Error> {
        let names = self.engine().names();
        let logs: Vec<LogRef> = reports
            .iter()
            .flat_map(|report| &report.positions)
            .filter_map(|(key, _)| log_of(&names, namespace, key))
            .collect();
        let extents = self.extents(&logs).await?;
        let lag = |(key, committed): &(OffsetKey, CommittedOffset)| {
            let extent = extents.get(&log_of(&names, namespace, key)?)?;
            Some((extent.end.0 - committed.offset.max(extent.start.0)).max(0))
        };
        Ok(reports.iter().map(|report| report.positions.iter().map(lag).collect()).collect())
    }
}

fn log_of(names: &Names, namespace: &str, key: &OffsetKey) -> Option<LogRef> {
    let partition = usize::try_from(key.partition).ok()?;
    names.find(namespace, &key.topic)?.logs().get(partition).copied()
}

fn unexpected(reply: &Reply) -> Error {
    Error::new(Kind::Invalid, format!("the engine answered with {reply:?}"))
}
