//! Looks into indexes of keys: the records of a key, and the last of them for an append that expects
//! something.
//!
//! A look goes through recent entries and then run by run. What of a run is on the disk only is asked
//! for together with the same of all runs that are still to come: most looks wait once at most. A look
//! keeps the pages it has got until it is over, so that it ends however small the cache is.

use super::keying::{PageAt, entries_of};
use super::store::{Found, Waiter};
use super::{Worker, no_log};
use crate::MemoryPool;
use crate::api::{Append, Expected, KeyHash, Keyed, KeyedRecord, ReadKey, Reply, Told};
use crate::cache::Batch;
use crate::index::{Look, PageKey, Run};
use crate::shard::{self, ENTRY_BYTES, KeyEntry, KeyRun, Shard};
use bytes::Bytes;
use ledger::Span;
use record::tail;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{ClientId, Error, Kind, LogId, LogRef, Offset, Token};

/// Records that one read gives at most.
const COUNT_MAX: u32 = 10_000;
/// Batches, in bytes, and pages of index files that one read asks for at once.
const LOAD_BYTES_MAX: usize = 1 << 20;
const LOAD_PAGES_MAX: usize = 16;

/// Looks that wait for the disk.
#[derive(Debug, Default)]
pub(super) struct Looks {
    by_id: BTreeMap<u64, Looking>,
    next_id: u64,
}

#[derive(Debug)]
struct Looking {
    client: ClientId,
    token: Token,
    what: What,
    /// Pages of the index that it has got.
    pages: BTreeMap<Offset, Arc<Batch>>,
    /// What it waits for.
    loading: usize,
}

#[derive(Debug)]
enum What {
    Read(Box<Reading>),
    Append(Box<Append>, Expected),
}

#[derive(Debug)]
struct Reading {
    op: ReadKey,
    /// Where the records are, once that is known, in the order asked for, and from where to go on.
    found: Option<(Vec<Offset>, Option<Offset>)>,
    records: BTreeMap<Offset, Option<KeyedRecord>>,
}

/// Which entries of a key are looked for: those from `from` to before `before`.
#[derive(Clone, Copy, Debug)]
struct Query {
    key: KeyHash,
    from: Offset,
    before: Offset,
    backward: bool,
    count: usize,
}

/// Why a look does not go on.
enum Stop {
    /// So many loads are on their way.
    Cold(usize),
    Failed(Error),
}

/// Where a record is that was found.
enum At {
    /// `None`: it is gone, or has another key.
    Record(Option<KeyedRecord>),
    /// Its batch is on the disk only …
    Cold(Run),
    /// … and so is where that lies.
    Page(PageKey),
}

impl Query {
    fn first(&self) -> KeyEntry {
        KeyEntry::of(self.key, self.from)
    }

    fn last(&self) -> KeyEntry {
        KeyEntry::of(self.key, Offset(self.before.0.saturating_sub(1)))
    }

    /// Pages of a run in the order in which they are looked at.
    fn pages_of(&self, run: &KeyRun) -> Vec<Offset> {
        if run.end <= self.from || run.first >= self.before {
            return Vec::new();
        }
        let pages = &run.pages[run.pages_of(self.first(), self.last())];
        let mut pages: Vec<Offset> = pages.iter().map(|page| page.at).collect();
        if self.backward {
            pages.reverse();
        }
        pages
    }

    /// Adds what a page has of them, as far as they are wanted.
    fn take(&self, page: &Batch, out: &mut Vec<Offset>) {
        let entries = entries_of(page);
        let (first, last) = (self.first().to_bytes(), self.last().to_bytes());
        let at = |place: usize| &entries[place * ENTRY_BYTES..][..ENTRY_BYTES];
        let count = entries.len() / ENTRY_BYTES;
        let begin = partition(count, |place| at(place) < &first[..]);
        let end = partition(count, |place| at(place) <= &last[..]).max(begin);
        let offset = |place| KeyEntry::from_bytes(at(place)).map(|entry| entry.offset);
        let room = self.count.saturating_sub(out.len());
        match self.backward {
            true => out.extend((begin..end).rev().filter_map(offset).take(room)),
            false => out.extend((begin..end).filter_map(offset).take(room)),
        }
    }
}

impl Worker {
    /// Appends if something is so, which is looked up first where apply does not know it.
    pub(super) fn append_expecting(
        &mut self,
        (client, token): (ClientId, Token),
        append: Append,
        expected: Expected,
    ) {
        let fault = match (&append.to[..], self.seats.get(&append.to[0].shard)) {
            ([to], Some(seat)) if !seat.shard.logs.contains_key(&to.log) => Some(no_log()),
            ([to], Some(seat)) if !shard::is_known(&seat.shard, to.log, expected.key) => {
                Some(not_indexed())
            }
            ([to], Some(seat)) if is_queue(&seat.shard, to.log) => {
                Some(Error::new(Kind::Invalid, "a queue has no last record to expect"))
            }
            ([_], Some(_)) => None,
            _ => Some(Error::new(Kind::Invalid, "what is expected is so of one log")),
        };
        if let Some(error) = fault {
            return self.clients.reply(client, token, Err(error));
        }
        let what = What::Append(Box::new(append), expected);
        self.look(Looking { client, token, what, pages: BTreeMap::new(), loading: 0 });
    }

    /// Reads the records of a key.
    pub(super) fn read_key(&mut self, client: ClientId, token: Token, op: ReadKey) {
        let seat = self.seats.get(&op.log.shard);
        let log = seat.and_then(|seat| seat.shard.logs.get(&op.log.log));
        let is_indexed = seat.is_some_and(|seat| seat.shard.keys.contains_key(&op.log.log));
        match (log, is_indexed) {
            (None, _) => self.clients.reply(client, token, Err(no_log())),
            (Some(_), false) => self.clients.reply(client, token, Err(not_indexed())),
            (Some(_), true) => {
                let reading = Reading { op, found: None, records: BTreeMap::new() };
                let what = What::Read(Box::new(reading));
                self.look(Looking { client, token, what, pages: BTreeMap::new(), loading: 0 });
            }
        }
    }

    /// Something that a look waited for is in memory.
    pub(super) fn keyed_loaded(&mut self, id: u64) {
        let Some(looking) = self.looks.by_id.get_mut(&id) else { return };
        looking.loading = looking.loading.saturating_sub(1);
        // What has come is taken before the cache gives it up, whatever else is on its way.
        if let Some(looking) = self.looks.by_id.remove(&id) {
            self.look_as(id, looking);
        }
    }

    /// Whoever asked is gone. What it appends still counts.
    pub(super) fn drop_looks(&mut self, client: ClientId) {
        self.looks.by_id.retain(|_, looking| {
            looking.client != client || matches!(looking.what, What::Append(..))
        });
    }

    /// Whether a look waits for the disk.
    pub(super) fn is_looking(&self) -> bool {
        !self.looks.by_id.is_empty()
    }

    fn look(&mut self, looking: Looking) {
        self.looks.next_id += 1;
        self.look_as(self.looks.next_id, looking);
    }

    fn look_as(&mut self, id: u64, mut looking: Looking) {
        let (client, token) = (looking.client, looking.token);
        let looked = match &mut looking.what {
            What::Read(reading) => self
                .look_records(id, (reading, &mut looking.pages), looking.loading)
                .map(|keyed| self.clients.reply(client, token, Ok(Reply::Keyed(keyed)))),
            What::Append(append, expected) => {
                let to = append.to[0];
                self.look_last(id, to, *expected, &mut looking.pages, looking.loading)
                    .map(|told| self.append(client, token, append, told))
            }
        };
        match looked {
            Ok(()) => {}
            Err(Stop::Cold(loads)) => {
                looking.loading += loads;
                self.looks.by_id.insert(id, looking);
            }
            Err(Stop::Failed(error)) => self.clients.reply(client, token, Err(error)),
        }
    }

    /// What apply has to be told of a key.
    fn look_last(
        &mut self,
        id: u64,
        to: LogRef,
        expected: Expected,
        pages: &mut BTreeMap<Offset, Arc<Batch>>,
        loading: usize,
    ) -> Result<Told, Stop> {
        let nothing = Told::default();
        let Some(key) = expected.key else { return Ok(nothing) };
        let Some(seat) = self.seats.get(&to.shard) else { return Ok(nothing) };
        let Some(keys) = seat.shard.keys.get(&to.log) else { return Ok(nothing) };
        let before = seat.keying.get(&to.log).map_or(keys.from(), |keying| keying.from(keys));
        // If it is still among the recent ones when the frame is applied, apply knows.
        let recent = keys.last_recent(key, Offset(i64::MAX));
        let recent = recent.filter(|last| *last >= before || !io::planted("key-told-late"));
        if recent.is_some_and(|last| last >= before) {
            return Ok(Told { last: None, before });
        }
        if keys.runs().is_empty() || recent.is_some() {
            return Ok(Told { last: recent, before });
        }
        let query = Query { key, from: Offset(0), before, backward: true, count: 1 };
        let found = self.look_up(id, to, query, pages, loading)?;
        Ok(Told { last: found.first().copied(), before })
    }

    /// The records of a key, once all of them are in memory.
    fn look_records(
        &mut self,
        id: u64,
        (reading, pages): (&mut Reading, &mut BTreeMap<Offset, Arc<Batch>>),
        loading: usize,
    ) -> Result<Keyed, Stop> {
        let log = reading.op.log;
        let Some(start) = self.extent(log).map(|extent| extent.start) else {
            return Err(Stop::Failed(no_log()));
        };
        if reading.found.is_none() {
            let op = &reading.op;
            let count = op.count_max.clamp(1, COUNT_MAX) as usize;
            let end = Offset(i64::MAX);
            let (from, before) = match (op.from, op.backward) {
                (None, _) => (start, end),
                (Some(from), false) => (from.max(start), end),
                (Some(from), true) => (start, Offset(from.0.saturating_add(1))),
            };
            let (key, backward) = (KeyHash::of(&op.key), op.backward);
            let query = Query { key, from, before, backward, count: count + 1 };
            let mut found = self.look_up(id, log, query, pages, loading)?;
            let next = found.get(count).copied();
            found.truncate(count);
            reading.found = Some((found, next));
            pages.clear();
        }
        self.gather_records(id, reading, loading)
    }

    /// Puts the records together that were found.
    fn gather_records(
        &mut self,
        id: u64,
        reading: &mut Reading,
        loading: usize,
    ) -> Result<Keyed, Stop> {
        let log = reading.op.log.log;
        let Some((found, next)) = &reading.found else { return Ok(Keyed::default()) };
        let room = self.ports.memory.share(MemoryPool::Output).min(reading.op.bytes_max as usize);
        let (mut bytes, mut cut) = (0, None);
        let (mut cold, mut cold_bytes, mut unread) = (Vec::<Run>::new(), 0, BTreeSet::new());
        for (at, offset) in found.iter().enumerate() {
            if !reading.records.contains_key(offset) {
                let look = self.store.index.log(log).map_or(Look::None, |runs| runs.at(*offset));
                match self.record_at(log, look, *offset, &reading.op.key) {
                    At::Record(record) => {
                        reading.records.insert(*offset, record);
                    }
                    At::Page(page) => {
                        unread.insert(page);
                    }
                    At::Cold(run) if cold.last() == Some(&run) => {}
                    At::Cold(run) => {
                        cold_bytes += run.at.len as usize;
                        cold.push(run);
                    }
                }
            }
            let record = reading.records.get(offset).and_then(Option::as_ref);
            bytes += record.map_or(0, |record| record.tail.len());
            // The first one is given however large it is.
            if bytes >= room {
                cut = found.get(at + 1).copied();
                break;
            }
            if cold_bytes >= LOAD_BYTES_MAX || unread.len() >= LOAD_PAGES_MAX {
                break;
            }
        }
        if loading > 0 && !(cold.is_empty() && unread.is_empty()) {
            return Err(Stop::Cold(0));
        }
        let mut loads = 0;
        for page in unread {
            self.store.load_page(log, page, Waiter::Keyed { id });
            loads += 1;
        }
        if !cold.is_empty() {
            loads += self.store.load_apart(log, &cold, Waiter::Keyed { id });
        }
        if loads > 0 {
            return Err(Stop::Cold(loads));
        }
        let given = found.iter().take_while(|offset| Some(**offset) != cut);
        let records = given.filter_map(|offset| reading.records.get(offset)?.clone()).collect();
        Ok(Keyed { records, next: cut.or(*next) })
    }

    /// A record, if it is in memory and has the key.
    fn record_at(&mut self, log: LogId, look: Look, offset: Offset, key: &Bytes) -> At {
        let run = match look {
            Look::Run(run) => run,
            Look::Page(page) => return At::Page(page),
            Look::None => return At::Record(None),
        };
        match self.store.find(log, &run) {
            Found::Here(batch) => At::Record(record_of(&batch, &run, offset, key)),
            Found::Cold => At::Cold(run),
            Found::Lost(why) => {
                self.store.losses.note(log, Span::one(offset), &why);
                At::Record(None)
            }
        }
    }

    /// Where the records of a key are.
    fn look_up(
        &mut self,
        id: u64,
        of: LogRef,
        query: Query,
        pages: &mut BTreeMap<Offset, Arc<Batch>>,
        loading: usize,
    ) -> Result<Vec<Offset>, Stop> {
        let mut found = Vec::new();
        let Some(seat) = self.seats.get(&of.shard) else { return Ok(found) };
        let Some(keys) = seat.shard.keys.get(&of.log) else { return Ok(found) };
        let recent = keys.recent().range(query.first()..=query.last());
        let room = query.count;
        if query.backward {
            found.extend(recent.rev().map(|entry| entry.offset).take(room));
            if found.len() >= room {
                return Ok(found);
            }
            let runs: Vec<Vec<Offset>> =
                keys.runs().iter().rev().map(|run| query.pages_of(run)).collect();
            self.look_through(id, of, (query, &runs), (pages, &mut found), loading)?;
        } else {
            let recent: Vec<Offset> = recent.map(|entry| entry.offset).take(room).collect();
            let runs: Vec<Vec<Offset>> =
                keys.runs().iter().map(|run| query.pages_of(run)).collect();
            self.look_through(id, of, (query, &runs), (pages, &mut found), loading)?;
            found.extend(recent);
            found.truncate(room);
        }
        Ok(found)
    }

    /// Adds what pages of runs have until there is enough.
    fn look_through(
        &mut self,
        id: u64,
        of: LogRef,
        (query, runs): (Query, &[Vec<Offset>]),
        (pages, found): (&mut BTreeMap<Offset, Arc<Batch>>, &mut Vec<Offset>),
        loading: usize,
    ) -> Result<(), Stop> {
        for (at, run) in runs.iter().enumerate() {
            for page in run {
                match self.held_page(of, *page, pages)? {
                    Some(_) => {}
                    None => {
                        let rest = runs[at + 1..].iter().filter_map(|run| run.first());
                        let wanted: Vec<Offset> = [page].into_iter().chain(rest).copied().collect();
                        return self.load_key_pages(id, of, &wanted, pages, loading);
                    }
                }
                if let Some(page) = pages.get(page) {
                    query.take(page, found);
                }
                if found.len() >= query.count {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Has a page among those that a look keeps, if it is in memory; `None` if it is not.
    fn held_page(
        &mut self,
        of: LogRef,
        at: Offset,
        pages: &mut BTreeMap<Offset, Arc<Batch>>,
    ) -> Result<Option<()>, Stop> {
        if pages.contains_key(&at) {
            return Ok(Some(()));
        }
        match self.key_page((of.shard, of.log), at) {
            PageAt::Here(page) => {
                pages.insert(at, page);
                Ok(Some(()))
            }
            PageAt::GivenUp => Ok(Some(())),
            PageAt::Cold(_) => Ok(None),
            PageAt::Lost => {
                let why = format!("a page of the index of keys of log {} is lost", LogId(of.log.0));
                Err(Stop::Failed(Error::new(Kind::Corrupt, why)))
            }
        }
    }

    fn load_key_pages(
        &mut self,
        id: u64,
        of: LogRef,
        wanted: &[Offset],
        pages: &mut BTreeMap<Offset, Arc<Batch>>,
        loading: usize,
    ) -> Result<(), Stop> {
        let mut cold = Vec::new();
        for at in wanted {
            if pages.contains_key(at) {
                continue;
            }
            match self.key_page((of.shard, of.log), *at) {
                PageAt::Here(page) => {
                    pages.insert(*at, page);
                }
                PageAt::Cold(location) => cold.push(location),
                PageAt::GivenUp | PageAt::Lost => {}
            }
        }
        if loading > 0 || cold.is_empty() {
            return Err(Stop::Cold(0));
        }
        self.store.load_batches(cold, Waiter::Keyed { id });
        Err(Stop::Cold(1))
    }
}

/// A record, if it has the key that was asked for.
fn record_of(batch: &Batch, run: &Run, offset: Offset, key: &Bytes) -> Option<KeyedRecord> {
    let delta = u32::try_from(offset.0 - run.first.0).ok()?;
    let (tail, timestamp) = batch.record(delta)?;
    let is_it = tail::decode(&tail).ok()?.key == Some(&key[..]);
    // A copy: what a client does not take keeps no batch in memory.
    is_it.then(|| KeyedRecord { offset, timestamp, tail: Bytes::copy_from_slice(&tail) })
}

/// How many places from 0 on hold to `is_before`, which holds to none after one that it does not.
fn partition(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match is_before(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

fn is_queue(shard: &Shard, log: LogId) -> bool {
    shard.logs.get(&log).is_some_and(|log| log.options.interest)
}

fn not_indexed() -> Error {
    Error::new(Kind::Invalid, "the log does not index its keys")
}
