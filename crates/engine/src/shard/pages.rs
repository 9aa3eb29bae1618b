//! A shard as checkpoints keep it: its head, and its chunks.

use super::chunked::Cut;
use super::{MACHINE_VERSION, Outbox, Shard};
use bytes::Bytes;
use catalog::Catalog;
use journal::{Page, PageKind};
use ledger::Ledger;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{LogId, Millis, ShardId};

/// What the chunks of a shard are of; the upper half of a chunk's number.
const LOGS: u64 = 1;
const SUBSCRIPTIONS: u64 = 2;
const SCHEDULES: u64 = 3;
const GROUPS: u64 = 4;
const CATALOG: u64 = 5;
const KEYS: u64 = 6;
const STATES: u64 = 7;
const RECURRING: u64 = 8;

/// What is small, or changes with every frame.
#[derive(Serialize)]
struct Head<'a> {
    id: ShardId,
    machine_version: u16,
    applied: u64,
    time: Millis,
    next_producer: i64,
    latest_state: u64,
    outboxes: &'a BTreeMap<ShardId, Outbox>,
    received: &'a BTreeMap<LogId, Ledger>,
}

/// [`Head`] as it is read.
#[derive(Deserialize)]
struct StoredHead {
    id: ShardId,
    machine_version: u16,
    applied: u64,
    time: Millis,
    next_producer: i64,
    latest_state: u64,
    outboxes: BTreeMap<ShardId, Outbox>,
    received: BTreeMap<LogId, Ledger>,
}

/// The names as of a cut: a copy of them costs nothing, and whoever stores it encodes it.
#[derive(Debug)]
pub(crate) struct Names {
    shard: ShardId,
    catalog: Catalog,
}

impl Names {
    pub(crate) fn page(&self) -> Page {
        let bytes = postcard::to_allocvec(&self.catalog);
        let bytes = bytes.expect("a Vec takes every state there is");
        page(self.shard, Some(CATALOG << 32), bytes.into())
    }
}

impl Shard {
    /// Begins a cut: gives the head as it is now, and the names if they are wanted. The chunks follow
    /// with [`Shard::cut_on`], as they are now too.
    pub(crate) fn begin_cut(&mut self, cut: Cut) -> (Page, Option<Names>) {
        let more = u64::from(io::planted("early-checkpoint"));
        let head = Head {
            id: self.id,
            machine_version: self.machine_version,
            applied: self.applied + more,
            time: self.time,
            next_producer: self.next_producer,
            latest_state: self.states.latest,
            outboxes: &self.outboxes,
            received: &self.received,
        };
        let bytes = postcard::to_allocvec(&head).expect("a Vec takes every state there is");
        let head = page(self.id, None, bytes.into());
        self.logs.begin_cut(cut);
        self.subscriptions.begin_cut(cut);
        self.schedules.begin_cut(cut);
        self.keys.begin_cut(cut);
        if !io::planted("session-state-uncut") {
            self.states.begin_cut(cut);
        }
        self.recurring.begin_cut(cut);
        self.groups.begin_cut(cut);
        self.cut = cut.number;
        let catalog = self.catalog.as_ref().filter(|_| cut.wants(self.renamed));
        let names = catalog.map(|catalog| Names { shard: self.id, catalog: catalog.clone() });
        (head, names)
    }

    /// Stores chunks of the cut until `room` bytes are used up. True when there are no more.
    pub(crate) fn cut_on(&mut self, room: &mut usize, pages: &mut Vec<Page>) -> bool {
        let shard = self.id;
        let each = |family: u64| {
            move |chunk: u32, bytes: Bytes| {
                page(shard, Some(family << 32 | u64::from(chunk)), bytes)
            }
        };
        let (logs, subscriptions) = (each(LOGS), each(SUBSCRIPTIONS));
        let (schedules, keys, groups) = (each(SCHEDULES), each(KEYS), each(GROUPS));
        let (states, recurring) = (each(STATES), each(RECURRING));
        self.logs.cut_on(room, |chunk, bytes| pages.push(logs(chunk, bytes)))
            && self.subscriptions.cut_on(room, |chunk, bytes| {
                pages.push(subscriptions(chunk, bytes));
            })
            && self.schedules.cut_on(room, |chunk, bytes| pages.push(schedules(chunk, bytes)))
            && self.keys.cut_on(room, |chunk, bytes| pages.push(keys(chunk, bytes)))
            && self.states.cut_on(room, |chunk, bytes| pages.push(states(chunk, bytes)))
            && self.recurring.cut_on(room, |chunk, bytes| pages.push(recurring(chunk, bytes)))
            && self.groups.cut_on(room, |chunk, bytes| pages.push(groups(chunk, bytes)))
    }

    /// Whether a checkpoint is of an older release, whose state this one does not read.
    pub(crate) fn outdated(pages: &[Page]) -> bool {
        let heads = pages.iter().filter(|page| is_head(page));
        let versions = heads.filter_map(|page| {
            let head = postcard::take_from_bytes::<(ShardId, u16)>(&page.bytes);
            Some(head.ok()?.0.1)
        });
        versions.min().is_some_and(|version| version < MACHINE_VERSION)
    }

    /// The shards of a checkpoint. `None` when this build does not know what is stored.
    pub(crate) fn read_all(pages: &[Page], chunk_bits: u32) -> Option<Vec<Shard>> {
        let replicated = || pages.iter().filter(|page| page.kind == PageKind::Replicated);
        let heads = pages.iter().filter(|page| is_head(page));
        let shards = heads.map(|page| Shard::of_head(&page.bytes, chunk_bits));
        let mut shards = shards.collect::<Option<Vec<Shard>>>()?;
        for page in replicated() {
            let shard = shards.iter_mut().find(|shard| shard.id == page.shard);
            if let (Some(shard), Some(chunk)) = (shard, page.chunk) {
                shard.restore(chunk, &page.bytes)?;
            }
        }
        shards.iter_mut().for_each(Shard::recount);
        Some(shards)
    }

    /// The shard that a head is of, without its chunks. `None` when this build does not know it.
    fn of_head(bytes: &[u8], chunk_bits: u32) -> Option<Shard> {
        let head: StoredHead = postcard::from_bytes(bytes).ok()?;
        let mut shard = Shard {
            machine_version: head.machine_version,
            applied: head.applied,
            time: head.time,
            next_producer: head.next_producer,
            outboxes: head.outboxes,
            received: head.received,
            ..Shard::new(head.id, None, chunk_bits)
        };
        shard.states.latest = head.latest_state;
        (shard.machine_version == MACHINE_VERSION).then_some(shard)
    }

    /// Puts a chunk back. `None` when this build does not know it.
    fn restore(&mut self, chunk: u64, bytes: &[u8]) -> Option<()> {
        match chunk >> 32 {
            LOGS => self.logs.restore(bytes).ok(),
            SUBSCRIPTIONS => self.subscriptions.restore(bytes).ok(),
            SCHEDULES => self.schedules.restore(bytes).ok(),
            KEYS => self.keys.restore(bytes).ok(),
            STATES => self.states.restore(bytes).ok(),
            RECURRING => self.recurring.restore(bytes).ok(),
            GROUPS => self.groups.restore(bytes).ok(),
            CATALOG => {
                self.catalog = Some(postcard::from_bytes(bytes).ok()?);
                Some(())
            }
            _ => None,
        }
    }
}

fn is_head(page: &Page) -> bool {
    page.kind == PageKind::Replicated && page.chunk.is_none()
}

fn page(shard: ShardId, chunk: Option<u64>, bytes: Bytes) -> Page {
    Page { kind: PageKind::Replicated, shard, chunk, bytes }
}

#[cfg(test)]
mod tests;
