//! Reads by offset: batches as they are stored, now or when there are enough of them.

use super::lost::NO_PLACE;
use super::store::{Found, Waiter};
use super::{Worker, no_log};
use crate::MemoryPool;
use crate::api::{
    Extent, Find, FindTarget, Found as FoundOffset, Read, ReadBatch, ReadBatches, ReadFrom,
    ReadLog, Reply, Trim,
};
use crate::cache::Row;
use crate::command::Command;
use crate::draft::Awaits;
use crate::index::Look;
use ledger::Span;
use std::collections::{BTreeMap, BTreeSet};
use types::{ClientId, Error, Kind, LogId, LogRef, Millis, Offset, ShardId, Token};

/// A read that waits: for bytes to arrive, or for the disk.
#[derive(Debug)]
pub(crate) struct Waiting {
    client: ClientId,
    token: Token,
    what: What,
    deadline: Millis,
    /// It waits for the disk, and looks again when that has answered.
    loading: bool,
}

#[derive(Clone, Debug)]
enum What {
    Read(Read),
    Find(Find),
}

/// All reads that wait.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    by_id: BTreeMap<u64, Waiting>,
    by_log: BTreeMap<LogId, BTreeSet<u64>>,
    by_deadline: BTreeSet<(Millis, u64)>,
    next_id: u64,
}

/// What a look at the logs gave.
enum Looked {
    Reply(Reply),
    /// Fewer bytes than asked for.
    Short(Vec<ReadLog>),
    Cold,
}

impl Reads {
    fn add(&mut self, waiting: Waiting) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        if let What::Read(read) = &waiting.what {
            for from in &read.logs {
                self.by_log.entry(from.log.log).or_default().insert(id);
            }
        }
        self.by_deadline.insert((waiting.deadline, id));
        self.by_id.insert(id, waiting);
        id
    }

    fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.by_id.remove(&id)?;
        self.by_deadline.remove(&(waiting.deadline, id));
        if let What::Read(read) = &waiting.what {
            for from in &read.logs {
                if let Some(ids) = self.by_log.get_mut(&from.log.log) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.by_log.remove(&from.log.log);
                    }
                }
            }
        }
        Some(waiting)
    }

    /// The reads that wait for a log.
    pub(crate) fn of_log(&self, log: LogId) -> impl Iterator<Item = u64> {
        self.by_log.get(&log).into_iter().flatten().copied()
    }

    /// The reads that wait for something of a shard.
    pub(super) fn of_shard(&self, shard: ShardId) -> impl Iterator<Item = u64> {
        let of = move |waiting: &Waiting| match &waiting.what {
            What::Read(read) => read.logs.iter().any(|from| from.log.shard == shard),
            What::Find(find) => find.log.shard == shard,
        };
        self.by_id.iter().filter(move |(_, waiting)| of(waiting)).map(|(id, _)| *id)
    }

    /// The earliest deadline.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }
}

impl Worker {
    pub(super) fn read(&mut self, client: ClientId, token: Token, read: Read) {
        let deadline = self.now.plus(read.wait);
        let waiting = Waiting { client, token, what: What::Read(read), deadline, loading: false };
        self.look_or_wait(waiting, false);
    }

    pub(super) fn find(&mut self, client: ClientId, token: Token, find: Find) {
        let waiting = Waiting {
            client,
            token,
            what: What::Find(find),
            deadline: Millis(i64::MAX),
            loading: false,
        };
        self.look_or_wait(waiting, false);
    }

    /// Ends the wait of a client's read.
    pub(super) fn cancel(&mut self, client: ClientId, token: Token) {
        let found = self.reads.by_id.iter().find(|(_, w)| w.client == client && w.token == token);
        if let Some(id) = found.map(|(id, _)| *id) {
            self.look_again(id, true);
        }
    }

    /// Looks again for a waiting read; `last`: answers with whatever there is.
    pub(super) fn look_again(&mut self, id: u64, last: bool) {
        let Some(waiting) = self.reads.by_id.get(&id) else { return };
        if waiting.loading && !last {
            return;
        }
        if let Some(waiting) = self.reads.remove(id) {
            self.look_or_wait(waiting, last);
        }
    }

    /// The disk answered a waiting read.
    pub(super) fn read_loaded(&mut self, id: u64) {
        if let Some(waiting) = self.reads.by_id.get_mut(&id) {
            waiting.loading = false;
        }
        self.look_again(id, false);
    }

    /// Answers reads whose time is up.
    pub(super) fn end_reads(&mut self) {
        while let Some((deadline, id)) = self.reads.by_deadline.first().copied()
            && deadline <= self.now
        {
            let Some(mut waiting) = self.reads.remove(id) else { return };
            if waiting.loading {
                // The bytes are on their way from the disk; the answer is late, not empty.
                waiting.deadline = self.now.plus(Millis(1_000));
                self.reads.add_again(id, waiting);
            } else {
                self.look_or_wait(waiting, true);
            }
        }
    }

    pub(super) fn drop_waits(&mut self, client: ClientId) {
        let ids: Vec<u64> = self
            .reads
            .by_id
            .iter()
            .filter(|(_, waiting)| waiting.client == client)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.reads.remove(id);
        }
    }

    fn look_or_wait(&mut self, mut waiting: Waiting, last: bool) {
        let id = self.reads.next_id + 1;
        let look = match &waiting.what {
            What::Read(read) => self.look_read(&read.clone(), id),
            What::Find(find) => self.look_find(*find, id),
        };
        let (client, token) = (waiting.client, waiting.token);
        match look {
            Looked::Reply(reply) => self.clients.reply(client, token, Ok(reply)),
            Looked::Short(logs) if last || waiting.deadline <= self.now => {
                self.clients.reply(client, token, Ok(Reply::Read(logs)));
            }
            Looked::Short(_) => {
                self.reads.add(waiting);
            }
            Looked::Cold => {
                waiting.loading = true;
                self.reads.add(waiting);
            }
        }
    }

    fn look_read(&mut self, read: &Read, id: u64) -> Looked {
        // What a client has not taken yet is memory; but a read always gives what it can.
        let room = self.ports.memory.share(MemoryPool::Output).min(read.bytes_max as usize);
        let mut left = u32::try_from(room).unwrap_or(u32::MAX);
        let is_cut = room < read.bytes_max as usize;
        let bytes_min = if is_cut { read.bytes_min.min(1) } else { read.bytes_min } as usize;
        let mut bytes = 0;
        let mut failed = false;
        let mut logs = Vec::with_capacity(read.logs.len());
        for from in &read.logs {
            let first = bytes == 0;
            match self.look_log(*from, left, first, id) {
                Ok(log) => {
                    let got = log.batches.as_ref().map_or(0, ReadBatches::bytes);
                    failed |= log.batches.is_err();
                    bytes += got;
                    left = left.saturating_sub(u32::try_from(got).unwrap_or(u32::MAX));
                    logs.push(log);
                }
                Err(Cold) => return Looked::Cold,
            }
        }
        if failed || bytes >= bytes_min {
            return Looked::Reply(Reply::Read(logs));
        }
        Looked::Short(logs)
    }

    /// One log's part of a read. `first`: nothing was read yet, so a first batch is given however
    /// large it is.
    fn look_log(
        &mut self,
        from: ReadFrom,
        left: u32,
        first: bool,
        id: u64,
    ) -> Result<ReadLog, Cold> {
        let Some(extent) = self.extent(from.log) else {
            let elsewhere = self.led_elsewhere(from.log.shard);
            let gone = || Error::new(Kind::NotFound, "the log does not exist");
            let batches = Err(elsewhere.unwrap_or_else(gone));
            return Ok(ReadLog { log: from.log, batches, extent: Extent::default() });
        };
        let interest = self.interest(from.log);
        if from.offset > extent.end || (from.offset < extent.start && !interest) {
            let message = format!(
                "offset {} is outside the log, which holds {} to {}",
                from.offset, extent.start, extent.end
            );
            let batches = Err(Error::new(Kind::Invalid, message));
            return Ok(ReadLog { log: from.log, batches, extent });
        }
        let bytes_max = from.bytes_max.min(left) as usize;
        let batches = self.collect(from, bytes_max, first, id)?;
        Ok(ReadLog { log: from.log, batches: Ok(batches), extent })
    }

    fn collect(
        &mut self,
        from: ReadFrom,
        bytes_max: usize,
        first: bool,
        id: u64,
    ) -> Result<ReadBatches, Cold> {
        let log = from.log.log;
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut offset = from.offset;
        while let Some(runs) = self.store.index.log(log) {
            let run = match runs.at_or_after(offset) {
                Look::Run(run) => run,
                Look::Page(page) if rows.is_empty() => {
                    self.store.load_page(log, page, Waiter::Read { id });
                    return Err(Cold);
                }
                Look::Page(_) | Look::None => break,
            };
            let fits = bytes + run.at.len as usize <= bytes_max;
            let forced = first && rows.is_empty();
            if !fits && !forced {
                break;
            }
            let (row, end) = match self.store.row(log, &run, bytes_max.saturating_sub(bytes)) {
                Some(Row { bytes, end }) => (Some(bytes), end),
                None => match self.store.find(log, &run) {
                    Found::Here(batch) => (Some(batch.bytes.clone()), run.end()),
                    Found::Cold if rows.is_empty() => {
                        self.store.load_from(log, &run, Waiter::Read { id });
                        return Err(Cold);
                    }
                    Found::Cold => break,
                    Found::Lost(why) => {
                        self.store.losses.note(log, Span::run(run.first, run.count), &why);
                        (None, run.end())
                    }
                },
            };
            if let Some(row) = row {
                bytes += row.len();
                rows.push(ReadBatch { base_offset: run.first, bytes: row });
            }
            self.note_hole(from.log, Span::new(offset, run.first));
            offset = end;
        }
        if !rows.is_empty() {
            self.store.reached(log, offset, None);
        }
        let runs = self.store.index.log(log);
        let is_last = runs.is_none_or(|runs| runs.at_or_after(offset) == Look::None);
        if let Some(extent) = self.extent(from.log).filter(|_| is_last) {
            self.note_hole(from.log, Span::new(offset, extent.end));
        }
        Ok(ReadBatches { rows })
    }

    /// Of a log that keeps its records whether or not they were settled, nothing between its start
    /// and its end may be without a batch.
    fn note_hole(&mut self, log: LogRef, hole: Span) {
        if !hole.is_empty() && !self.interest(log) {
            self.store.losses.note(log.log, hole, NO_PLACE);
        }
    }

    fn look_find(&mut self, find: Find, id: u64) -> Looked {
        let log = find.log.log;
        let Some(extent) = self.extent(find.log) else { return Looked::Reply(Reply::Found(None)) };
        let edge = |offset| {
            let found = FoundOffset { offset, timestamp: Millis(-1) };
            Looked::Reply(Reply::Found(Some(found)))
        };
        let runs = self.store.index.log(log);
        let look = match find.target {
            FindTarget::Earliest => return edge(self.first_offset(find.log, extent)),
            FindTarget::Latest => return edge(extent.end),
            FindTarget::Since(time) => runs.map(|runs| runs.since(time)),
            FindTarget::MaxTimestamp => runs.map(|runs| runs.newest()),
        };
        let run = match look.unwrap_or(Look::None) {
            Look::Run(run) => run,
            Look::Page(page) => {
                self.store.load_page(log, page, Waiter::Read { id });
                return Looked::Cold;
            }
            Look::None => return Looked::Reply(Reply::Found(None)),
        };
        match self.store.find(log, &run) {
            Found::Here(batch) => {
                let found = match find.target {
                    FindTarget::Since(time) => batch.first_since(time),
                    _ => batch.latest(),
                };
                let found = found.map(|(delta, timestamp)| FoundOffset {
                    offset: run.first.plus(delta),
                    timestamp,
                });
                Looked::Reply(Reply::Found(found))
            }
            Found::Cold => {
                self.store.load_from(log, &run, Waiter::Read { id });
                Looked::Cold
            }
            Found::Lost(_) => {
                let found = FoundOffset { offset: run.first, timestamp: run.max_timestamp };
                Looked::Reply(Reply::Found(Some(found)))
            }
        }
    }

    pub(super) fn trim(&mut self, client: ClientId, token: Token, trim: Trim) {
        let Some(extent) = self.extent(trim.log) else {
            return self.clients.reply(client, token, Err(no_log()));
        };
        if trim.before.is_some_and(|before| before > extent.end) {
            let message = format!("the log ends at offset {}", extent.end);
            let error = Error::new(Kind::Invalid, message);
            return self.clients.reply(client, token, Err(error));
        }
        let Some(seat) = self.seats.get_mut(&trim.log.shard) else { return };
        let command = Command::Trim { log: trim.log.log, before: trim.before };
        seat.command_now(command);
        seat.draft.wait(client, token, Awaits::Trim { log: trim.log.log });
    }

    /// First and next offset of a log, and its bytes.
    pub(super) fn extent(&self, log: LogRef) -> Option<Extent> {
        let state = self.seats.get(&log.shard)?.shard.logs.get(&log.log)?;
        let bytes = self.store.index.log(log.log).map_or(0, |index| index.bytes());
        Some(Extent { start: state.start, end: state.end, bytes })
    }

    /// Where a reader of the log begins: its start, or for a queue the first batch it still holds.
    fn first_offset(&self, log: LogRef, extent: Extent) -> Offset {
        if !self.interest(log) {
            return extent.start;
        }
        let runs = self.store.index.log(log.log);
        let first = runs.and_then(|runs| runs.first_at_or_after(extent.start));
        first.map_or(extent.end, |first| first.max(extent.start))
    }

    fn interest(&self, log: LogRef) -> bool {
        self.seats
            .get(&log.shard)
            .and_then(|seat| seat.shard.logs.get(&log.log))
            .is_some_and(|state| state.options.interest)
    }
}

impl Reads {
    fn add_again(&mut self, id: u64, waiting: Waiting) {
        let next = std::mem::replace(&mut self.next_id, id - 1);
        self.add(waiting);
        self.next_id = next;
    }
}

/// The bytes have to come from the disk first.
struct Cold;
