//! What is on its way from the disk, and who waits for it.
//!
//! Loads are begun in the order they were asked for, as there is room for what they bring. What is on
//! its way already is not asked for again: whoever wants it waits with the others.

use super::Worker;
use super::ahead::{Ahead, Piece};
use super::store::{Load, Loaded, Waiter, Wanted};
use crate::index::{Page, PageKey};
use journal::Location;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use types::{LogId, Offset, SubscriptionRef};

/// Of the room for what is on its way, reading ahead leaves one part in so many to who waits.
const ASKED_PART: usize = 2;

/// A page that has to be found again when a load has come.
pub(super) type HeldPage = (PageKey, Arc<Page>);

/// A load, who waits for it, and the pages that those have to find again when it has come, room or
/// not: else a page and a batch that do not both fit could push each other out for ever.
#[derive(Debug)]
struct Waiting {
    waiters: Vec<Waiter>,
    pages: Vec<HeldPage>,
    bytes: usize,
    of: Of,
}

/// What a load is of.
#[derive(Clone, Copy, Debug)]
enum Of {
    Batches,
    /// Neighbours in a log.
    Piece(LogId),
    Page(PageKey),
}

#[derive(Debug)]
struct PageLoad {
    id: u64,
    /// Nobody had asked for it.
    ahead: bool,
}

/// A load that has come.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) waiters: Vec<Waiter>,
    pub(super) pages: Vec<HeldPage>,
}

/// All loads.
#[derive(Debug)]
pub(super) struct Coming {
    /// Those that are still to be handed to the reading threads.
    queue: VecDeque<Load>,
    /// What those that were handed over bring, in bytes.
    begun_bytes: usize,
    /// What all of them bring, in bytes.
    asked_bytes: usize,
    bytes_max: usize,
    waiting: BTreeMap<u64, Waiting>,
    next_id: u64,
    pages: BTreeMap<PageKey, PageLoad>,
    /// How many of the pages nobody had asked for.
    pages_ahead: usize,
    ahead: Ahead,
}

impl Coming {
    pub(super) fn new(cache_bytes_max: usize) -> Coming {
        Coming {
            queue: VecDeque::new(),
            begun_bytes: 0,
            asked_bytes: 0,
            bytes_max: usize::MAX,
            waiting: BTreeMap::new(),
            next_id: 0,
            pages: BTreeMap::new(),
            pages_ahead: 0,
            ahead: Ahead::new(cache_bytes_max),
        }
    }

    /// Bounds what is on its way at once, in bytes.
    pub(super) fn bound(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// What is on its way, in bytes.
    pub(super) fn begun_bytes(&self) -> usize {
        self.begun_bytes
    }

    /// Pages on their way that nobody had asked for.
    pub(super) fn pages_ahead(&self) -> usize {
        self.pages_ahead
    }

    /// Bytes of batches that may be read before anybody asks for them.
    pub(super) fn room_ahead(&self) -> usize {
        let room = (self.bytes_max / ASKED_PART).saturating_sub(self.asked_bytes);
        self.ahead.room().min(room)
    }

    /// Asks for some batches.
    pub(super) fn batches(&mut self, locations: Vec<Location>, waiter: Waiter) {
        self.ask(Wanted::Batches(locations), Of::Batches, Some(waiter), None);
    }

    /// Asks for some batches that lie apart, and has the pages that name them found again with them.
    pub(super) fn apart(
        &mut self,
        locations: Vec<Location>,
        waiter: Waiter,
        pages: impl Iterator<Item = HeldPage>,
    ) {
        let id = self.ask(Wanted::Batches(locations), Of::Batches, Some(waiter), None);
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.pages.extend(pages);
        }
    }

    /// Asks for a page; for one that nobody has asked for yet without a waiter.
    pub(super) fn page(&mut self, log: LogId, page: PageKey, waiter: Option<Waiter>) {
        if let Some(id) = self.pages.get(&page).map(|load| load.id) {
            return self.join(id, waiter, None);
        }
        let ahead = waiter.is_none();
        let id = self.ask(Wanted::Page(log, page), Of::Page(page), waiter, None);
        self.pages_ahead += usize::from(ahead);
        self.pages.insert(page, PageLoad { id, ahead });
    }

    /// Asks for a piece of a log.
    pub(super) fn piece(
        &mut self,
        log: LogId,
        piece: Piece,
        waiter: Option<Waiter>,
        page: Option<HeldPage>,
    ) {
        self.ahead.begun(log, self.next_id + 1, &piece, waiter.is_some());
        self.ask(Wanted::Piece(log, piece), Of::Piece(log), waiter, page);
    }

    /// Waits for what a log has at `offset`, if that is on its way; else false.
    pub(super) fn wait_for(
        &mut self,
        (log, offset): (LogId, Offset),
        waiter: Waiter,
        page: Option<HeldPage>,
    ) -> bool {
        let load = self.ahead.load_of(log, offset);
        if let Some(id) = load {
            self.join(id, Some(waiter), page);
        }
        load.is_some()
    }

    /// Somebody has read a log up to `offset`: gives where to read on, if that is due.
    pub(super) fn reached(&mut self, log: LogId, offset: Offset) -> Option<Offset> {
        self.ahead.reached(log, offset)
    }

    /// The loads to begin now: those that there is room for, and one in any case.
    pub(super) fn begin(&mut self, out: &mut Vec<Load>) {
        while let Some(load) = self.queue.front() {
            let bytes = load.what.bytes();
            if self.begun_bytes > 0 && self.begun_bytes + bytes > self.bytes_max {
                return;
            }
            self.begun_bytes += bytes;
            out.extend(self.queue.pop_front());
        }
    }

    /// A load has come.
    pub(super) fn arrived(&mut self, id: u64) -> Option<Arrived> {
        let Waiting { mut waiters, pages, bytes, of } = self.waiting.remove(&id)?;
        self.begun_bytes -= bytes;
        self.asked_bytes -= bytes;
        match of {
            Of::Batches => {}
            Of::Piece(log) => self.ahead.arrived(log, id),
            Of::Page(page) => {
                let load = self.pages.remove(&page);
                self.pages_ahead -= usize::from(load.is_some_and(|load| load.ahead));
            }
        }
        if io::planted("joined-load-forgotten") {
            waiters.truncate(1);
        }
        Some(Arrived { waiters, pages })
    }

    fn ask(&mut self, what: Wanted, of: Of, waiter: Option<Waiter>, page: Option<HeldPage>) -> u64 {
        self.next_id += 1;
        let (id, bytes) = (self.next_id, what.bytes());
        let waiters = waiter.into_iter().collect();
        let pages = page.into_iter().collect();
        self.waiting.insert(id, Waiting { waiters, pages, bytes, of });
        self.asked_bytes += bytes;
        self.queue.push_back(Load { id, what });
        id
    }

    fn join(&mut self, id: u64, waiter: Option<Waiter>, page: Option<HeldPage>) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.waiters.extend(waiter);
            waiting.pages.extend(page);
        }
    }
}

impl Worker {
    pub(super) fn loaded(&mut self, loaded: Loaded) {
        let batches = self.pages_loaded(loaded.what);
        for waiter in self.store.loaded(loaded.id, batches) {
            self.go_on(waiter);
        }
    }

    /// What somebody waited for has come from the disk.
    pub(super) fn go_on(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Queue { shard, subscription } => {
                if let Some(seat) = self.seats.get_mut(&shard)
                    && let Some(queue) = seat.queues.get_mut(&subscription)
                {
                    queue.loaded();
                    seat.ready.insert(subscription);
                    seat.idle.maybe.insert(subscription);
                }
                self.arm(SubscriptionRef { shard, subscription });
            }
            Waiter::Tailer { shard, key } => {
                let seat = self.seats.get_mut(&shard);
                if let Some(tailer) = seat.and_then(|seat| seat.tailers.get_mut(&key)) {
                    tailer.loaded();
                    self.tails_ready.insert((shard, key));
                }
            }
            Waiter::Read { id } => self.read_loaded(id),
            Waiter::Relocate { segment } => self.copy_on(segment),
            Waiter::Sweep => self.store.counting -= 1,
            Waiter::Referred => self.referred_loaded(),
            Waiter::Unzip => self.unzip_loaded(),
            Waiter::Move { id } => self.move_loaded(id),
            Waiter::Keying { shard, log } => self.keying_loaded(shard, log),
            Waiter::Keyed { id } => self.keyed_loaded(id),
            Waiter::Listing { id } => self.listing_loaded(id),
            Waiter::Agenda(log) => self.agenda_loaded(log),
            Waiter::Steps(shard) => self.step_on(shard),
            Waiter::Outbox { from, to } => self.outbox_loaded(from, to),
            Waiter::Dead(subscription) => {
                if let Some(seat) = self.seats.get_mut(&subscription.shard) {
                    seat.dying.add(subscription.subscription);
                }
            }
        }
    }
}
