//! Appends to the log that indexes its keys, and reads of its keys.

use super::{Asked, SimClient, id_of, pick};
use crate::client::body::encode_keyed;
use crate::model::{Id, Model, Violation, broken, key_of};
use crate::world::World;
use bytes::Bytes;
use engine::api::{Append, Appended, Expected, KeyHash, Keyed, Op, Payload, ReadKey, Verdict};
use record::tails;
use std::collections::BTreeSet;
use types::{LogId, LogRef, Offset};

/// An append that expects something.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    pub(crate) log: LogId,
    pub(crate) ids: Vec<Id>,
    pub(crate) last: Option<Offset>,
    /// Where the last record of the key was known to be.
    pub(crate) known: Option<Offset>,
}

impl SimClient {
    /// Appends some events of a key: whatever was last, or if that is as expected.
    pub(super) fn append_events(&mut self, world: &mut World) {
        let Some(log) = world.events() else { return };
        if self.is_enough(world, log.log) {
            return self.consume(world);
        }
        let ids = self.new_ids(1 + world.random.below(2));
        let ids: Vec<Id> = ids.into_iter().map(Id::event).collect();
        world.model.log(log.log).asked(&ids);
        let mut bytes = Vec::new();
        for id in &ids {
            tails::push(&mut bytes, None, &encode_keyed(&world.random, *id));
        }
        let bytes = Bytes::from(bytes);
        if world.random.chance(30) {
            let payload = Payload::Tails { bytes, expiring: false };
            let append = Append { to: [log].into(), payload, waits: true };
            let asked = Asked::Append { logs: vec![log.log], ids };
            return self.send(world, Op::Append(append), asked);
        }
        let key = key_of(ids[0]);
        let known = world.model.events.of_key(key);
        let last = match world.random.below(10) {
            0 => None,
            1 if !known.is_empty() => Some(known[pick(&world.random, known.len())]),
            2 => Some(world.model.log(log.log).end()),
            _ => known.last().copied(),
        };
        let expected = Expected { key: Some(hash_of(key)), last };
        let payload = Payload::Expecting { bytes, expiring: false, expected };
        let append = Append { to: [log].into(), payload, waits: true };
        let known = known.last().copied();
        let asked = Asked::Expecting(Expectation { log: log.log, ids, last, known });
        self.send(world, Op::Append(append), asked);
    }

    /// Reads all records of a key.
    pub(super) fn read_events(&mut self, world: &mut World) {
        let Some(log) = world.events() else { return };
        let key = world.random.below(crate::model::KEYS);
        let known = world.model.events.of_key(key);
        let asked = Asked::ReadKey { log: log.log, key, known };
        self.send(world, read_of(log, key, world.random.chance(30)), asked);
    }
}

impl Model {
    /// An append that expected something was answered.
    pub(super) fn expecting_answered(
        &mut self,
        asked: &Expectation,
        appended: &Appended,
    ) -> Result<(), Violation> {
        let Expectation { log, ids, last, known } = asked;
        match appended.verdict {
            Verdict::Appended => {
                let base = appended.base_offset;
                self.events.taken(key_of(ids[0]), *last, base)?;
                self.events_acknowledged(*log, ids, base)
            }
            Verdict::Unexpected => {
                let there = Some(appended.base_offset).filter(|at| *at >= Offset(0));
                self.log(*log).refused(ids);
                self.events.refused((*last, there), *known)
            }
            verdict => broken(format!("an append that expects {last:?} was answered {verdict:?}")),
        }
    }

    /// Events are in the log from an offset on.
    pub(super) fn events_acknowledged(
        &mut self,
        log: LogId,
        ids: &[Id],
        base: Offset,
    ) -> Result<(), Violation> {
        self.log(log).acknowledged(ids, Some(base));
        let places = (0..).map(|delta| base.plus(delta)).zip(ids);
        places.filter(|(_, id)| id.is_event()).try_for_each(|(at, id)| self.events.noted(*id, at))
    }

    /// A key was read.
    pub(crate) fn key_read(
        &mut self,
        (log, key): (LogId, u64),
        known: &[Offset],
        keyed: &Keyed,
    ) -> Result<BTreeSet<Offset>, Violation> {
        let mut found = BTreeSet::new();
        for record in &keyed.records {
            let id = id_of(&record.tail)?;
            self.log(log).seen(id, record.offset)?;
            self.events.noted(id, record.offset)?;
            if key_of(id) != key || !id.is_event() || !found.insert(record.offset) {
                return broken(format!("{id:?} at {} is read of key {key}", record.offset));
            }
        }
        let offsets: Vec<Offset> = keyed.records.iter().map(|record| record.offset).collect();
        let is_ordered = offsets.is_sorted() || offsets.is_sorted_by(|one, next| one >= next);
        if !is_ordered || keyed.next.is_some() {
            return broken(format!("key {key} is read as {offsets:?}, next {:?}", keyed.next));
        }
        self.events.read(known, &found, Offset(i64::MAX))?;
        Ok(found)
    }
}

/// The read of all records of a key.
pub(crate) fn read_of(log: LogRef, key: u64, backward: bool) -> Op {
    let key = Bytes::from(key.to_string().into_bytes());
    let (count_max, bytes_max) = (u32::MAX, u32::MAX);
    Op::ReadKey(ReadKey { log, key, from: None, backward, count_max, bytes_max })
}

fn hash_of(key: u64) -> KeyHash {
    KeyHash::of(key.to_string().as_bytes())
}
