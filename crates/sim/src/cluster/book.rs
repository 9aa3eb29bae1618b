//! What clients were told, and what has to be so because of it.

use crate::Violation;
use crate::model::broken;
use std::collections::{BTreeMap, BTreeSet};
use types::{LogId, Offset};

/// A message, by the number that is its value.
pub(super) type Id = u64;

/// What is known of a log.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// When each was sent, in steps of the book.
    sent: BTreeMap<Id, u64>,
    /// Where those lie that were acknowledged, and when that was.
    acknowledged: BTreeMap<Id, (Offset, u64)>,
    /// Those of which a settlement was acknowledged, with the term of who led then.
    settled: BTreeMap<Id, u32>,
    /// A settlement of them was asked for.
    settling: BTreeSet<Id>,
    /// Numbers of idempotent producers' messages, in the order in which they were sent.
    sequences: BTreeMap<u64, Vec<Id>>,
}

/// The logs, and the positions of groups.
#[derive(Debug, Default)]
pub(super) struct Book {
    step: u64,
    logs: BTreeMap<LogId, Log>,
    /// By group: what was asked for, rising, and the last acknowledged one.
    positions: BTreeMap<String, (BTreeSet<i64>, Option<i64>)>,
}

impl Book {
    pub(super) fn log(&mut self, log: LogId) -> &mut Log {
        self.logs.entry(log).or_default()
    }

    pub(super) fn sent(&mut self, log: LogId, id: Id) {
        self.step += 1;
        let step = self.step;
        self.log(log).sent.entry(id).or_insert(step);
    }

    pub(super) fn sequenced(&mut self, log: LogId, producer: u64, id: Id) {
        self.sent(log, id);
        self.log(log).sequences.entry(producer).or_default().push(id);
    }

    pub(super) fn acknowledged(
        &mut self,
        log: LogId,
        (id, offset): (Id, Offset),
    ) -> Result<(), Violation> {
        self.step += 1;
        let step = self.step;
        let known = self.log(log).acknowledged.entry(id).or_insert((offset, step));
        if known.0 != offset {
            return broken(format!("message {id} is at {offset} and at {} of log {log}", known.0));
        }
        Ok(())
    }

    pub(super) fn delivered(
        &mut self,
        log: LogId,
        id: Id,
        term: Option<u32>,
    ) -> Result<(), Violation> {
        let known = self.log(log);
        if !known.sent.contains_key(&id) {
            return broken(format!("message {id} of log {log} was never sent"));
        }
        match known.settled.get(&id) {
            Some(settled) if term.is_some_and(|term| term >= *settled) => broken(format!(
                "message {id} of log {log} was settled in term {settled} and comes again in term {term:?}"
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn settling(&mut self, log: LogId, ids: &[Id]) {
        self.log(log).settling.extend(ids);
    }

    pub(super) fn settled(&mut self, log: LogId, ids: &[Id], term: u32) {
        self.log(log).settled.extend(ids.iter().map(|id| (*id, term)));
    }

    pub(super) fn committing(&mut self, group: &str, position: i64) {
        self.positions.entry(group.to_owned()).or_default().0.insert(position);
    }

    pub(super) fn committed(&mut self, group: &str, position: i64) {
        let known = &mut self.positions.entry(group.to_owned()).or_default().1;
        *known = (*known).max(Some(position));
    }

    /// Holds a whole topic against what is known, as some majority has it.
    pub(super) fn check_topic(&self, log: LogId, found: &[(Offset, Id)]) -> Result<(), Violation> {
        let Some(known) = self.logs.get(&log) else { return Ok(()) };
        let mut places: BTreeMap<Id, Offset> = BTreeMap::new();
        let mut latest = 0;
        for (offset, id) in found {
            let Some(sent) = known.sent.get(id) else {
                return broken(format!("message {id} of log {log} was never sent"));
            };
            if let Some(other) = places.insert(*id, *offset) {
                return broken(format!("message {id} is at {other} and {offset} of log {log}"));
            }
            if let Some((_, told)) = known.acknowledged.get(id)
                && *told < latest
            {
                return broken(format!("message {id} lies behind one that was sent later"));
            }
            latest = latest.max(*sent);
        }
        for (id, (offset, _)) in &known.acknowledged {
            if places.get(id) != Some(offset) {
                let place = places.get(id);
                return broken(format!(
                    "message {id} was acknowledged at {offset} of log {log} and is at {place:?}"
                ));
            }
        }
        for ids in known.sequences.values() {
            let mut there = ids.iter().filter_map(|id| places.get(id));
            if !there.by_ref().is_sorted() {
                return broken(format!("a producer's messages changed places in log {log}"));
            }
        }
        Ok(())
    }

    /// Holds what is left in a queue against what is known.
    pub(super) fn check_queue(
        &self,
        log: LogId,
        left: &BTreeMap<Id, Offset>,
    ) -> Result<(), Violation> {
        let Some(known) = self.logs.get(&log) else { return Ok(()) };
        for id in left.keys() {
            if !known.sent.contains_key(id) {
                return broken(format!("message {id} of log {log} was never sent"));
            }
            if known.settled.contains_key(id) {
                return broken(format!("message {id} of log {log} was settled and is there"));
            }
        }
        for (id, (offset, _)) in &known.acknowledged {
            match left.get(id) {
                Some(found) if found != offset => {
                    return broken(format!(
                        "message {id} of log {log} is at {found}, not {offset}"
                    ));
                }
                None if !known.settling.contains(id) => {
                    return broken(format!(
                        "message {id} of log {log} was acknowledged and is gone"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Holds the position that a group has against what is known.
    pub(super) fn check_position(&self, group: &str, found: Option<i64>) -> Result<(), Violation> {
        let Some((asked, acknowledged)) = self.positions.get(group) else { return Ok(()) };
        if found.is_some_and(|found| !asked.contains(&found)) || found < *acknowledged {
            return broken(format!(
                "group {group} is at {found:?}; {acknowledged:?} was acknowledged"
            ));
        }
        Ok(())
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &String> {
        self.positions.keys()
    }
}
