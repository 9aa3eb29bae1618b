//! Makes runs of what the index of a log's keys has in memory, and fewer of many.
//!
//! A run is written page by page into the hidden log beside the log; when all of them are there, a
//! command puts it into the index. Recent entries are made into a run when they are many, or when
//! memory wants them gone; runs of one level when there are several of them. What was begun when the
//! process ended is begun again: its pages belong to no run, and are given up at the start.

use super::store::{Found, Waiter};
use super::{Seat, Worker};
use crate::MemoryPool;
use crate::cache::{self, Batch};
use crate::command::Command;
use crate::envelope::{Envelope, Way};
use crate::shard::{ENTRY_BYTES, KeyEntry, KeyPage, KeyRun, Keys};
use bytes::Bytes;
use journal::Location;
use record::batch::Builder;
use record::tail;
use std::collections::VecDeque;
use std::sync::Arc;
use types::{LogId, LogRef, Offset, ShardId};

/// A run of recent entries has about so many pages.
const PAGES_PER_FLUSH: usize = 32;
/// Least of a page's room, in entries.
const PAGE_ENTRIES_MIN: usize = 2;
/// Runs of a level of which one of the next is made.
const RUNS_TOGETHER: usize = 8;
/// Pages that one turn makes of runs.
const PAGES_PER_TURN: usize = 8;
/// Pages on their way to the disk, beyond which no more are made of runs.
const COMING_MAX: usize = 16;

/// What is under way with the index of one log.
#[derive(Debug, Default)]
pub(crate) struct Keying {
    /// Of recent entries.
    flush: Option<Making>,
    /// Of other runs.
    merge: Option<Merging>,
    /// Whose pages are on their way to the disk, in order.
    coming: VecDeque<Of>,
    /// Pages were given up since the index was swept.
    pub(super) gives_up: bool,
    /// A page of a run cannot be read: runs stay as they are.
    is_damaged: bool,
}

/// A page of the index of keys.
pub(super) enum PageAt {
    Here(Arc<Batch>),
    Cold(Location),
    /// Nobody needs it any more.
    GivenUp,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Flush,
    Merge,
}

/// A run that is being written.
#[derive(Debug)]
struct Making {
    run: KeyRun,
    /// The first entries of pages whose place is not known yet.
    firsts: VecDeque<KeyEntry>,
    /// All pages are on their way.
    complete: bool,
    /// The command that puts it into the index is on its way.
    told: bool,
}

/// A run that is being made of others.
#[derive(Debug)]
struct Merging {
    making: Making,
    inputs: Vec<Input>,
    entries: Vec<u8>,
    loading: bool,
}

/// A run that is read.
#[derive(Debug)]
struct Input {
    pages: VecDeque<Offset>,
    /// Of the page it is in.
    entries: Bytes,
}

impl Making {
    fn new(first: Offset, end: Offset, level: u8) -> Making {
        let run = KeyRun { first, end, level, pages: Vec::new() };
        Making { run, firsts: VecDeque::new(), complete: false, told: false }
    }
}

impl Keying {
    /// Up to where recent entries will be in a run when a frame that is made now is applied.
    pub(super) fn from(&self, keys: &Keys) -> Offset {
        let told = self.flush.as_ref().filter(|flush| flush.told);
        told.map_or(keys.from(), |flush| flush.run.end)
    }

    fn making(&mut self, of: Of) -> Option<&mut Making> {
        match of {
            Of::Flush => self.flush.as_mut(),
            Of::Merge => self.merge.as_mut().map(|merge| &mut merge.making),
        }
    }
}

impl Seat {
    /// Writes a page of a run.
    fn put_key_page(&mut self, log: LogId, of: Of, entries: &[u8]) {
        let Some(first) = KeyEntry::from_bytes(&entries[..ENTRY_BYTES]) else { return };
        let time = self.shard.time;
        let mut bytes = Vec::with_capacity(entries.len() + 16);
        tail::encode(&mut bytes, None, Some(entries), std::iter::empty());
        let mut builder = Builder::with_capacity(time, bytes.len());
        builder.push(time, &bytes);
        let to = LogRef { shard: self.shard.id, log: Keys::id_of(log) };
        let envelope = Envelope { way: Some(Way::KeyPage), ..Envelope::default() };
        self.make_room(1, 0);
        self.draft.put(to, builder.finish(), envelope);
        let keying = self.keying.entry(log).or_default();
        keying.coming.push_back(of);
        if let Some(making) = keying.making(of) {
            making.firsts.push_back(first);
        }
    }

    /// Has a run put into the index when all of its pages are where they were to be. It begins a frame:
    /// appends before it were told what is in memory without it, those behind it with it.
    fn tell_key_run(&mut self, log: LogId, of: Of) {
        let Some(making) = self.keying.get_mut(&log).and_then(|keying| keying.making(of)) else {
            return;
        };
        if !making.complete || making.told || !making.firsts.is_empty() {
            return;
        }
        making.told = true;
        let run = making.run.clone();
        self.begin_frame();
        self.command_now(Command::KeyRun { log, run });
    }
}

impl Worker {
    /// What a page holds at most.
    fn key_page_bytes(&self) -> usize {
        (self.schedule_near_max / PAGES_PER_FLUSH).max(PAGE_ENTRIES_MIN) * ENTRY_BYTES
    }

    /// Has strays given up, and runs made where there are many.
    pub(super) fn start_keys(&mut self, shards: &[ShardId]) {
        for (shard, seat) in self.seats.iter_mut().filter(|(shard, _)| shards.contains(shard)) {
            let logs: Vec<(LogId, bool)> =
                seat.shard.keys.iter().map(|(log, keys)| (*log, keys.has_strays())).collect();
            for (log, has_strays) in logs {
                if has_strays {
                    seat.command(Command::GiveUpKeyStrays { log });
                    seat.keying.entry(log).or_default().gives_up = true;
                }
                self.keys_busy.insert((*shard, log));
            }
        }
    }

    /// Something was appended to a log: its index may have many recent entries now.
    pub(super) fn keys_grew(&mut self, shard: ShardId, log: LogId) {
        let Some(seat) = self.seats.get(&shard).filter(|seat| !seat.shard.keys.is_empty()) else {
            return;
        };
        let keys = seat.shard.keys.get(&log);
        if keys.is_some_and(|keys| keys.recent().len() >= self.schedule_near_max) {
            self.keys_busy.insert((shard, log));
        }
    }

    /// Goes on with the indexes that have something to do.
    pub(super) fn walk_keys(&mut self) {
        for (shard, log) in std::mem::take(&mut self.keys_busy) {
            self.flush_keys(shard, log, self.schedule_near_max);
            self.begin_merge(shard, log);
            self.merge_on(shard, log);
        }
    }

    /// Makes a run of the recent entries of a log, if there are so many.
    fn flush_keys(&mut self, shard: ShardId, log: LogId, least: usize) {
        let page_bytes = self.key_page_bytes();
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let (Some(keys), Some(state)) = (seat.shard.keys.get(&log), seat.shard.logs.get(&log))
        else {
            return;
        };
        let is_flushing = seat.keying.get(&log).is_some_and(|keying| keying.flush.is_some());
        if is_flushing || keys.recent().is_empty() || keys.recent().len() < least {
            return;
        }
        let start = state.start;
        let there = keys.recent().iter().filter(|entry| entry.offset >= start);
        let entries: Vec<u8> = there.flat_map(|entry| entry.to_bytes()).collect();
        let making = Making::new(keys.from(), state.end, 0);
        seat.keying.entry(log).or_default().flush = Some(making);
        for page in entries.chunks(page_bytes) {
            seat.put_key_page(log, Of::Flush, page);
        }
        if let Some(making) = seat.keying.get_mut(&log).and_then(|it| it.making(Of::Flush)) {
            making.complete = true;
        }
        seat.tell_key_run(log, Of::Flush);
    }

    /// Makes runs of recent entries where there are most of them, while they take more memory than
    /// they may.
    pub(super) fn make_room_for_keys(&mut self) {
        let memory = &self.ports.memory;
        let (used, budget) = (memory.used(MemoryPool::Keys), memory.budget(MemoryPool::Keys));
        if used.saturating_mul(2) < budget {
            return;
        }
        let all = self.seats.values().flat_map(|seat| seat.shard.keys.values());
        let recent: usize = all.map(|keys| keys.recent_bytes()).sum();
        if recent * self.ports.mailboxes.len() < budget / 2 {
            return;
        }
        let most = self.seats.iter().flat_map(|(shard, seat)| {
            let is_idle = |log| seat.keying.get(log).is_none_or(|it: &Keying| it.flush.is_none());
            let idle = seat.shard.keys.iter().filter(move |(log, _)| is_idle(log));
            idle.map(|(log, keys)| (keys.recent().len(), *shard, *log))
        });
        if let Some((entries @ 1.., shard, log)) = most.max() {
            self.flush_keys(shard, log, entries);
        }
    }

    /// A page of a run is on the disk.
    pub(super) fn key_page_placed(&mut self, shard: ShardId, log: LogId, at: Offset) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(keying) = seat.keying.get_mut(&log) else { return };
        let Some(of) = keying.coming.pop_front() else { return };
        if let Some(making) = keying.making(of)
            && let Some(first) = making.firsts.pop_front()
        {
            making.run.pages.push(KeyPage { first, at });
        }
        seat.tell_key_run(log, of);
        if of == Of::Merge {
            self.keys_busy.insert((shard, log));
        }
    }

    /// A run is in the index.
    pub(super) fn key_run_put(&mut self, shard: ShardId, log: LogId, span: (Offset, Offset)) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let keying = seat.keying.entry(log).or_default();
        let is_it = |making: &Making| making.told && (making.run.first, making.run.end) == span;
        if keying.merge.as_ref().is_some_and(|merge| is_it(&merge.making)) {
            keying.merge = None;
            keying.gives_up = true;
        } else if keying.flush.as_ref().is_some_and(is_it) {
            keying.flush = None;
        }
        self.keys_busy.insert((shard, log));
    }

    /// The log is gone, and its index with it.
    pub(super) fn drop_keying(&mut self, log: LogRef) {
        self.store.index.remove(Keys::id_of(log.log));
        if let Some(seat) = self.seats.get_mut(&log.shard) {
            seat.keying.remove(&log.log);
        }
    }

    /// Takes pages that were given up out of the index.
    pub(super) fn sweep_key_pages(&mut self, every: bool) {
        let seats = self.seats.values_mut().chain(self.followed.values_mut());
        for seat in seats.filter(|seat| !seat.shard.keys.is_empty()) {
            for (log, keys) in &seat.shard.keys {
                let keying = seat.keying.get_mut(log);
                let gives_up = keying.is_some_and(|it| std::mem::take(&mut it.gives_up));
                if every || gives_up {
                    let dead = |at: Offset| keys.ledger.is_settled(at);
                    self.store.index.sweep(Keys::id_of(*log), usize::MAX, |run| dead(run.first));
                }
            }
        }
    }

    /// Begins to make one run of several, if there are as many of one level.
    fn begin_merge(&mut self, shard: ShardId, log: LogId) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(keys) = seat.shard.keys.get(&log) else { return };
        let keying = seat.keying.entry(log).or_default();
        let Some(level) = keys.runs().last().map(|run| run.level) else { return };
        let runs = keys.runs().iter().rev().take_while(|run| run.level <= level).count();
        if keying.merge.is_some() || keying.is_damaged || runs < RUNS_TOGETHER {
            return;
        }
        let runs = &keys.runs()[keys.runs().len() - runs..];
        let input = |run: &KeyRun| {
            let pages = run.pages.iter().map(|page| page.at).collect();
            Input { pages, entries: Bytes::new() }
        };
        let (first, end) = (runs[0].first, runs[runs.len() - 1].end);
        keying.merge = Some(Merging {
            making: Making::new(first, end, level.saturating_add(1)),
            inputs: runs.iter().map(input).collect(),
            entries: Vec::new(),
            loading: false,
        });
    }

    /// Makes the next pages of a run that is made of others.
    fn merge_on(&mut self, shard: ShardId, log: LogId) {
        for _ in 0..PAGES_PER_TURN {
            let Some(seat) = self.seats.get_mut(&shard) else { return };
            let start = seat.shard.logs.get(&log).map_or(Offset(0), |log| log.start);
            let Some(keying) = seat.keying.get_mut(&log) else { return };
            let Some(merge) = keying.merge.as_mut() else { return };
            if merge.loading || merge.making.complete || keying.coming.len() >= COMING_MAX {
                return;
            }
            let mut merge = keying.merge.take();
            let Some(merging) = merge.as_mut() else { return };
            let filled = self.fill_key_page((shard, log), merging, start);
            let Some(seat) = self.seats.get_mut(&shard) else { return };
            let entries = std::mem::take(&mut merging.entries);
            let keying = seat.keying.entry(log).or_default();
            keying.merge = merge;
            match filled {
                Filled::Page => seat.put_key_page(log, Of::Merge, &entries),
                Filled::Cold => {
                    if let Some(merging) = &mut keying.merge {
                        (merging.entries, merging.loading) = (entries, true);
                    }
                    return;
                }
                Filled::Damaged => {
                    (keying.merge, keying.is_damaged) = (None, true);
                    return;
                }
                Filled::End => {
                    if !entries.is_empty() {
                        seat.put_key_page(log, Of::Merge, &entries);
                    }
                    let keying = seat.keying.entry(log).or_default();
                    if let Some(making) = keying.making(Of::Merge) {
                        making.complete = true;
                    }
                    return seat.tell_key_run(log, Of::Merge);
                }
            }
        }
        self.keys_busy.insert((shard, log));
    }

    /// Takes the next entries of all runs together until a page is full.
    fn fill_key_page(
        &mut self,
        (shard, log): (ShardId, LogId),
        merging: &mut Merging,
        start: Offset,
    ) -> Filled {
        let page_bytes = self.key_page_bytes();
        loop {
            let mut cold = Vec::new();
            for input in &mut merging.inputs {
                while input.entries.is_empty()
                    && let Some(at) = input.pages.front()
                {
                    match self.key_page((shard, log), *at) {
                        PageAt::Here(page) => input.entries = entries_of(&page),
                        PageAt::GivenUp => {}
                        PageAt::Lost => return Filled::Damaged,
                        PageAt::Cold(location) => {
                            cold.push(location);
                            break;
                        }
                    }
                    input.pages.pop_front();
                }
            }
            if !cold.is_empty() {
                self.store.load_batches(cold, Waiter::Keying { shard, log });
                return Filled::Cold;
            }
            let open = merging.inputs.iter_mut().filter(|input| !input.entries.is_empty());
            let Some(next) = open
                .min_by(|one, other| one.entries[..ENTRY_BYTES].cmp(&other.entries[..ENTRY_BYTES]))
            else {
                return Filled::End;
            };
            let entry = next.entries.split_to(ENTRY_BYTES);
            if KeyEntry::from_bytes(&entry).is_some_and(|entry| entry.offset >= start) {
                merging.entries.extend_from_slice(&entry);
            }
            if merging.entries.len() >= page_bytes {
                return Filled::Page;
            }
        }
    }

    /// Pages that were on the disk only are in memory.
    pub(super) fn keying_loaded(&mut self, shard: ShardId, log: LogId) {
        let keying = self.seats.get_mut(&shard).and_then(|seat| seat.keying.get_mut(&log));
        if let Some(merge) = keying.and_then(|keying| keying.merge.as_mut()) {
            merge.loading = false;
        }
        self.merge_on(shard, log);
    }

    /// A page of the index of a log's keys.
    pub(super) fn key_page(&mut self, (shard, log): (ShardId, LogId), at: Offset) -> PageAt {
        let id = Keys::id_of(log);
        let keys = self.seats.get(&shard).and_then(|seat| seat.shard.keys.get(&log));
        if keys.is_none_or(|keys| keys.ledger.is_settled(at)) {
            return PageAt::GivenUp;
        }
        let index = self.store.index.log(id);
        let run = index.and_then(|index| index.in_memory(at).next());
        let (Some(index), Some(run)) = (index, run.filter(|run| run.first == at)) else {
            return PageAt::Lost;
        };
        let location = index.location(&run);
        match self.store.find(id, &run) {
            Found::Here(batch) => {
                self.store.cache.favor(cache::key(&location));
                PageAt::Here(batch)
            }
            Found::Cold => PageAt::Cold(location),
            Found::Lost(why) => {
                tracing::error!(%log, %at, why, "a page of the index of keys is lost");
                PageAt::Lost
            }
        }
    }
}

/// What filling a page came to.
enum Filled {
    Page,
    Cold,
    Damaged,
    End,
}

/// The entries of a page.
pub(super) fn entries_of(page: &Batch) -> Bytes {
    let entries = page.record(0).and_then(|(tail, _)| {
        let value = tail::decode(&tail).ok()?.value?;
        Some(tail.slice_ref(value))
    });
    entries.filter(|entries| entries.len() % ENTRY_BYTES == 0).unwrap_or_default()
}
