//! One journal for the logs of all shards of a node.

mod open;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::journal::{
    Failed, FailedKind, FrameDraft, FrameKind, Part, Placed, Queue, ReadError, Reader, Refused,
    Vote, Writer,
};
use openraft::storage::LogFlushed;
use tokio::sync::oneshot;
use types::ShardId;

pub use open::{OpenError, Options};

use crate::frame::{Entry, Unstorable, bytes_of, draft_of, entry_of};
use crate::log::{Log, Slot};
use crate::storage::ShardLog;
use crate::types::Types;

/// The journal of a node, which holds the logs of its shards. Clones share it.
///
/// It has no thread: whoever owns it calls [`turn`](Journal::turn) when the bell it was opened with
/// has rung.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Locked before `state`, never while it is.
    disk: Mutex<OnDisk>,
    reader: Reader,
    bell: Box<dyn Fn() + Send + Sync>,
    kept_bytes_max: usize,
    read_bytes_max: usize,
}

/// What calls of shards look at. Never locked while the disk is waited for.
struct State {
    shards: BTreeMap<ShardId, Shard>,
    /// What the next turn writes.
    queue: Queue,
    kept: Kept,
    next_mark: u64,
    /// Who waits for room in the queue.
    crowd: Vec<oneshot::Sender<()>>,
    stopped: Option<Stopped>,
}

/// What the turn has to itself.
struct OnDisk {
    writer: Writer,
    queue: Queue,
    /// What is written and not synced.
    placed: Vec<Placed>,
}

#[derive(Default)]
struct Shard {
    log: Log,
    /// A note for each frame that is not durable, in the order they are written.
    notes: VecDeque<Note>,
}

struct Note {
    kind: FrameKind,
    index: u64,
    /// Of an entry.
    mark: u64,
    /// Of a vote.
    vote: Option<Vote>,
    done: Option<Done>,
}

/// Who is told that a frame is durable.
pub(crate) enum Done {
    Append(LogFlushed<Types>),
    Call(oneshot::Sender<io::Result<()>>),
}

/// Entries in memory though they are durable, oldest first.
#[derive(Default)]
struct Kept {
    bytes: usize,
    order: VecDeque<(ShardId, u64, u64)>,
}

/// Why nothing goes on.
#[derive(Clone, Debug)]
struct Stopped {
    kind: io::ErrorKind,
    why: String,
}

/// Why a frame was not taken.
pub(crate) enum NotTaken {
    /// There is no room; told when to try again.
    Full(oneshot::Receiver<()>),
    Unstorable(Unstorable),
    Stopped(io::Error),
}

/// An entry to be read: it, or where it is.
enum Found {
    Kept(Entry),
    At(Part),
}

impl Journal {
    /// The log of a shard, which may be new.
    pub fn log(&self, shard: ShardId) -> ShardLog {
        ShardLog::new(self.clone(), shard)
    }

    /// Writes what waits, syncs it, and then tells who waits for it: one sync for all shards. False
    /// when nothing waited. To be called by one thread, which it blocks.
    ///
    /// Fails with `NoSpace` when the disk is full: what waits goes on waiting, and the next call tries
    /// again. After any other failure all who wait are told, and nothing is taken any more.
    pub fn turn(&self) -> Result<bool, Failed> {
        let on_disk = &mut *lock(&self.shared.disk);
        if on_disk.queue.is_empty() && !on_disk.writer.holds_round() {
            let state = &mut *lock(&self.shared.state);
            std::mem::swap(&mut on_disk.queue, &mut state.queue);
            for waiting in state.crowd.drain(..) {
                // Whoever waited may have given up.
                let _ = waiting.send(());
            }
        }
        if on_disk.queue.is_empty() && !on_disk.writer.holds_round() && on_disk.placed.is_empty() {
            return Ok(false);
        }
        if let Err(failed) = on_disk.write() {
            if failed.kind == FailedKind::Disk {
                self.stop(&failed);
            }
            return Err(failed);
        }
        let durable = lock(&self.shared.state).durable(on_disk.placed.drain(..));
        durable.into_iter().for_each(|done| done.tell(Ok(())));
        self.trim();
        Ok(true)
    }

    fn stop(&self, failed: &Failed) {
        let stopped = Stopped { kind: failed.source.kind(), why: failed.to_string() };
        let told: Vec<Done> = {
            let state = &mut *lock(&self.shared.state);
            state.stopped = Some(stopped.clone());
            state.crowd.clear();
            let notes = state.shards.values_mut().flat_map(|shard| shard.notes.drain(..));
            notes.filter_map(|note| note.done).collect()
        };
        told.into_iter().for_each(|done| done.tell(Err(stopped.error())));
    }

    /// Puts an entry into the shard's log, where it can be read at once.
    pub(crate) fn append(
        &self,
        shard: ShardId,
        entry: &Entry,
        done: &mut Option<Done>,
    ) -> Result<(), NotTaken> {
        let draft = draft_of(shard, entry).map_err(NotTaken::Unstorable)?;
        let (kind, term, index) = (draft.kind, draft.term, draft.index);
        let bytes = bytes_of(&draft);
        let state = &mut *lock(&self.shared.state);
        // What a purge covers nobody needs, and it has no place in the journal any more.
        if state.shard(shard).log.purged.is_some_and(|(_, purged)| index <= purged) {
            done.take().into_iter().for_each(|done| done.tell(Ok(())));
            return Ok(());
        }
        if !state.shard(shard).log.takes(term, index) {
            return Err(NotTaken::Unstorable(Unstorable::Disorder { index, term }));
        }
        self.push(state, draft)?;
        state.next_mark += 1;
        let mark = state.next_mark;
        let done = done.take().and_then(|done| done.unless_planted("append-acknowledged-early"));
        let slot = Slot { term, bytes, mark, place: None, kept: Some(entry.clone()) };
        let found = state.shard(shard);
        found.log.append(index, slot);
        found.notes.push_back(Note { kind, index, mark, vote: None, done });
        state.kept.bytes += bytes;
        state.kept.order.push_back((shard, index, mark));
        Ok(())
    }

    /// Has a vote written. It is the shard's when it is durable.
    pub(crate) fn vote(
        &self,
        shard: ShardId,
        vote: Vote,
        done: &mut Option<Done>,
    ) -> Result<(), NotTaken> {
        let state = &mut *lock(&self.shared.state);
        self.push(state, vote.frame(shard))?;
        let done = done.take().and_then(|done| done.unless_planted("vote-not-synced"));
        let note = Note { kind: FrameKind::Vote, index: 0, mark: 0, vote: Some(vote), done };
        state.shard(shard).notes.push_back(note);
        Ok(())
    }

    /// Takes the entries of a shard from `index` on back.
    pub(crate) fn truncate(
        &self,
        shard: ShardId,
        (term, index): (u32, u64),
        done: &mut Option<Done>,
    ) -> Result<(), NotTaken> {
        let state = &mut *lock(&self.shared.state);
        let draft = FrameDraft::bare(FrameKind::Truncate, shard, (term, index));
        self.push(state, draft)?;
        let done = done.take().and_then(|done| done.unless_planted("truncation-not-durable"));
        let note = Note { kind: FrameKind::Truncate, index, mark: 0, vote: None, done };
        let found = state.shard(shard);
        found.notes.push_back(note);
        state.kept.bytes -= found.log.truncate(index);
        Ok(())
    }

    /// Drops the entries of a shard up to `index`. Nobody waits for its sync.
    pub(crate) fn purge(&self, shard: ShardId, (term, index): (u32, u64)) -> Result<(), NotTaken> {
        let state = &mut *lock(&self.shared.state);
        let bare = FrameDraft::bare(FrameKind::Purge, shard, (term, index));
        self.push(state, FrameDraft { synced: false, ..bare })?;
        let found = state.shard(shard);
        let note = Note { kind: FrameKind::Purge, index, mark: 0, vote: None, done: None };
        found.notes.push_back(note);
        state.kept.bytes -= found.log.purge(term, index);
        Ok(())
    }

    /// What `look` sees of a shard's log.
    pub(crate) fn look<T>(&self, shard: ShardId, look: impl FnOnce(&Log) -> T) -> T {
        look(&lock(&self.shared.state).shard(shard).log)
    }

    /// The entries of a shard in `range`; at most as many bytes as are read at a time, but one entry
    /// at least, if `is_limited`.
    pub(crate) fn entries(
        &self,
        shard: ShardId,
        range: impl std::ops::RangeBounds<u64>,
        is_limited: bool,
    ) -> Result<Vec<Entry>, (u64, Unread)> {
        let mut left = if is_limited { self.shared.read_bytes_max } else { usize::MAX };
        let mut found = Vec::new();
        for (index, slot) in lock(&self.shared.state).shard(shard).log.slots(range) {
            if slot.bytes > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(slot.bytes);
            let one = match (&slot.kept, slot.place) {
                (Some(entry), _) => Found::Kept(entry.clone()),
                (None, Some(place)) => Found::At(place),
                (None, None) => unreachable!("it is in memory until it is durable"),
            };
            found.push((index, one));
        }
        let read = |(index, one)| match one {
            Found::Kept(entry) => Ok(entry),
            Found::At(place) => self.read(place, shard, index).map_err(|error| (index, error)),
        };
        found.into_iter().map(read).collect()
    }

    fn read(&self, place: Part, shard: ShardId, index: u64) -> Result<Entry, Unread> {
        let draft = self.shared.reader.frame(place)?;
        if (draft.shard, draft.index) != (shard, index) {
            return Err(Unread::Other);
        }
        entry_of(draft).ok_or(Unread::Other)
    }

    fn push(&self, state: &mut State, draft: FrameDraft) -> Result<(), NotTaken> {
        if let Some(stopped) = &state.stopped {
            return Err(NotTaken::Stopped(stopped.error()));
        }
        let pushed = state.queue.push(draft);
        let result = match pushed {
            Ok(()) => Ok(()),
            Err(Refused::Full(_)) => {
                let (told, room) = oneshot::channel();
                state.crowd.push(told);
                Err(NotTaken::Full(room))
            }
            Err(Refused::TooLarge(_)) => Err(NotTaken::Unstorable(Unstorable::TooLarge)),
        };
        (self.shared.bell)();
        result
    }

    /// Lets the oldest entries out of memory that can be read again.
    fn trim(&self) {
        let state = &mut *lock(&self.shared.state);
        while state.kept.bytes > self.shared.kept_bytes_max
            && let Some((shard, index, mark)) = state.kept.order.front().copied()
            && let Some(bytes) = state.shard(shard).log.release(index, mark)
        {
            state.kept.order.pop_front();
            state.kept.bytes -= bytes;
        }
        // What was taken back or purged stays in the order until it would be its turn; not for ever.
        if state.kept.order.len()
            > 1024 + 2 * state.shards.values().map(|shard| shard.log.len()).sum::<usize>()
        {
            let State { kept, shards, .. } = state;
            kept.order.retain(|(shard, index, mark)| {
                shards.get(shard).is_some_and(|shard| shard.log.keeps(*index, *mark))
            });
        }
    }
}

/// Why an entry that was acknowledged is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error("there is another frame where the entry should be")]
    Other,
}

impl State {
    fn shard(&mut self, shard: ShardId) -> &mut Shard {
        self.shards.entry(shard).or_default()
    }

    /// Notes that frames are durable. Gives who is to be told, in order.
    fn durable(&mut self, placed: impl Iterator<Item = Placed>) -> Vec<Done> {
        let mut told = Vec::new();
        for placed in placed {
            let shard = self.shard(placed.shard);
            let note = shard.notes.pop_front().expect("every frame has a note");
            assert_eq!((note.kind, note.index), (placed.kind, placed.index), "in order");
            if let Some(vote) = note.vote {
                shard.log.vote = Some(vote);
            } else if note.mark > 0 {
                shard.log.placed(note.index, note.mark, placed.place);
            }
            told.extend(note.done);
        }
        told
    }
}

impl OnDisk {
    fn write(&mut self) -> Result<(), Failed> {
        while !self.queue.is_empty() || self.writer.holds_round() {
            self.placed.extend(self.writer.round(&mut self.queue)?.placed);
        }
        self.writer.sync()
    }
}

impl Done {
    pub(crate) fn tell(self, result: io::Result<()>) {
        match self {
            Done::Append(flushed) => flushed.log_io_completed(result),
            // Whoever waited may have given up.
            Done::Call(call) => drop(call.send(result)),
        }
    }
}

impl Done {
    /// It, but told at once where the fault is planted.
    fn unless_planted(self, fault: &str) -> Option<Done> {
        if ::io::planted(fault) {
            self.tell(Ok(()));
            return None;
        }
        Some(self)
    }
}

impl Stopped {
    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.why.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
