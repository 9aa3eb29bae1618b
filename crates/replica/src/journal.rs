//! The logs of a node's shards, in the journal that the engine writes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ::journal::{FrameDraft, FrameKind, Part, Placed, ReadError, Vote};
use engine::replication::{Found, Replicas};
use openraft::EntryPayload;
use openraft::storage::LogFlushed;
use tokio::sync::oneshot;
use types::ShardId;

use crate::frame::{Entry, Unstorable, bytes_of, draft_of, entry_of};
use crate::log::{Log, Slot};
use crate::storage::ShardLog;
use crate::types::Types;

/// Sizes, in bytes.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// May wait to be written; one frame may pass it.
    pub unwritten_max: usize,
    /// Of durable entries, stay in memory.
    pub kept_max: usize,
    /// Of entries, are sent to a replica at a time; one entry may pass it.
    pub read_max: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { unwritten_max: 32 << 20, kept_max: 64 << 20, read_max: 4 << 20 }
    }
}

/// The logs of a node's shards. Clones share them.
///
/// What they hold is written by whoever they were begun with, which tells [`placed`](Journal::placed).
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    replicas: OnceLock<Arc<dyn Replicas>>,
    sizes: Sizes,
}

/// What calls of shards look at. Never locked while the disk is waited for.
#[derive(Default)]
struct State {
    shards: BTreeMap<ShardId, Shard>,
    kept: Kept,
    next_mark: u64,
    unwritten_bytes: usize,
    /// Who waits for room.
    crowd: Vec<oneshot::Sender<()>>,
    stopped: Option<Stopped>,
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
    /// What it takes while it waits to be written.
    bytes: usize,
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
enum Where {
    Kept(Entry),
    At(Part),
}

impl Journal {
    /// Logs of which nothing is known before [`begin`](Journal::begin).
    pub fn new(sizes: Sizes) -> Journal {
        let shared = Shared { state: Mutex::default(), replicas: OnceLock::new(), sizes };
        Journal { shared: Arc::new(shared) }
    }

    /// Begins with what a store holds, and with who writes to it. The first call counts.
    pub fn begin(&self, replicas: Arc<dyn Replicas>, found: &[Found]) {
        if self.shared.replicas.set(replicas).is_err() {
            return;
        }
        let state = &mut *lock(&self.shared.state);
        for found in found {
            let purged = found.purged.map(|purged| (purged.term, purged.index));
            let mut log = Log::found(found.vote, purged);
            for kept in &found.entries {
                state.next_mark += 1;
                let (term, bytes, mark) = (kept.term, kept.bytes, state.next_mark);
                let placed = Some(Box::new(kept.placed.clone()));
                log.keep(kept.placed.index, Slot { term, bytes, mark, placed, kept: None });
            }
            state.shards.insert(found.shard, Shard { log, notes: VecDeque::new() });
        }
    }

    /// Has a shard's log begin with an entry that is not in the journal.
    pub(crate) fn begin_with(&self, shard: ShardId, entry: Entry) {
        let state = &mut *lock(&self.shared.state);
        state.next_mark += 1;
        let (index, mark) = (entry.log_id.index, state.next_mark);
        let slot = Slot { term: 0, bytes: 0, mark, placed: None, kept: Some(entry) };
        state.shard(shard).log.keep(index, slot);
    }

    /// The log of a shard, which may be new.
    pub fn log(&self, shard: ShardId) -> ShardLog {
        ShardLog::new(self.clone(), shard)
    }

    /// Frames are durable, in the order in which they were given to be written. Tells who waits for that.
    pub fn placed(&self, placed: &[Placed]) {
        let durable = {
            let state = &mut *lock(&self.shared.state);
            let durable = state.durable(placed);
            for waiting in state.crowd.drain(..) {
                // Whoever waited may have given up.
                let _ = waiting.send(());
            }
            durable
        };
        durable.into_iter().for_each(|done| done.tell(Ok(())));
        self.trim();
    }

    /// Nothing more will be durable: tells who waits, and takes nothing any more.
    pub fn stop(&self, why: &str) {
        let stopped = Stopped { kind: io::ErrorKind::Other, why: why.to_owned() };
        let told: Vec<Done> = {
            let state = &mut *lock(&self.shared.state);
            state.stopped = Some(stopped.clone());
            state.crowd.clear();
            let notes = state.shards.values_mut().flat_map(|shard| shard.notes.drain(..));
            notes.filter_map(|note| note.done).collect()
        };
        told.into_iter().for_each(|done| done.tell(Err(stopped.error())));
    }

    /// Where entries of a shard are that are durable, `None` of one that is not.
    pub(crate) fn placed_of(&self, shard: ShardId, index: u64) -> Option<Placed> {
        let state = &mut *lock(&self.shared.state);
        let slot = state.shard(shard).log.slots(index..=index).next()?.1;
        slot.placed.as_deref().cloned()
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
        let bytes_unwritten = self.check(state, bytes)?;
        state.next_mark += 1;
        let mark = state.next_mark;
        let done = done.take().and_then(|done| done.unless_planted("append-acknowledged-early"));
        let kept = Some(match kind {
            FrameKind::Blank => Entry { log_id: entry.log_id, payload: EntryPayload::Blank },
            _ => entry.clone(),
        });
        let slot = Slot { term, bytes, mark, placed: None, kept };
        let found = state.shard(shard);
        found.log.append(index, slot);
        let note = Note { kind, index, mark, vote: None, bytes: bytes_unwritten, done };
        self.write(state, draft, note);
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
        let bytes = self.check(state, 0)?;
        let log = &mut state.shard(shard).log;
        let vote = Vote { is_faulty: log.is_faulty, ..vote };
        log.voted = Some(vote);
        let done = done.take().and_then(|done| done.unless_planted("vote-not-synced"));
        let note = Note { kind: FrameKind::Vote, index: 0, mark: 0, vote: Some(vote), bytes, done };
        self.write(state, vote.frame(shard), note);
        Ok(())
    }

    /// Has it written whether this replica of a shard may have forgotten what it acknowledged.
    pub(crate) fn mark_faulty(
        &self,
        shard: ShardId,
        is_faulty: bool,
        done: &mut Option<Done>,
    ) -> Result<(), NotTaken> {
        let vote = {
            let state = &mut *lock(&self.shared.state);
            let log = &mut state.shard(shard).log;
            log.is_faulty = is_faulty;
            let vote = log.voted.unwrap_or_default();
            // Who led and lost some of its log does not lead when it begins again.
            Vote { is_committed: vote.is_committed && !is_faulty, ..vote }
        };
        self.vote(shard, vote, done)
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
        let bytes = self.check(state, 0)?;
        let done = done.take().and_then(|done| done.unless_planted("truncation-not-durable"));
        let note = Note { kind: FrameKind::Truncate, index, mark: 0, vote: None, bytes, done };
        self.write(state, draft, note);
        state.kept.bytes -= state.shard(shard).log.truncate(index);
        Ok(())
    }

    /// Drops the entries of a shard up to `index`. Nobody waits for its sync.
    pub(crate) fn purge(&self, shard: ShardId, (term, index): (u32, u64)) -> Result<(), NotTaken> {
        let state = &mut *lock(&self.shared.state);
        let bare = FrameDraft::bare(FrameKind::Purge, shard, (term, index));
        let bytes = self.check(state, 0)?;
        let note = Note { kind: FrameKind::Purge, index, mark: 0, vote: None, bytes, done: None };
        self.write(state, FrameDraft { synced: false, ..bare }, note);
        state.kept.bytes -= state.shard(shard).log.purge(term, index);
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
        let mut left = if is_limited { self.shared.sizes.read_max } else { usize::MAX };
        let mut found = Vec::new();
        for (index, slot) in lock(&self.shared.state).shard(shard).log.slots(range) {
            if slot.bytes > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(slot.bytes);
            let one = match (&slot.kept, &slot.placed) {
                (Some(entry), _) => Where::Kept(entry.clone()),
                (None, Some(placed)) => Where::At(placed.place),
                (None, None) => unreachable!("it is in memory until it is durable"),
            };
            found.push((index, one));
        }
        let read = |(index, one)| match one {
            Where::Kept(entry) => Ok(entry),
            Where::At(place) => self.read(place, shard, index).map_err(|error| (index, error)),
        };
        found.into_iter().map(read).collect()
    }

    fn read(&self, place: Part, shard: ShardId, index: u64) -> Result<Entry, Unread> {
        let replicas = self.shared.replicas.get().ok_or(Unread::Other)?;
        let draft = replicas.read(place)?;
        if (draft.shard, draft.index) != (shard, index) {
            return Err(Unread::Other);
        }
        entry_of(draft).ok_or(Unread::Other)
    }

    /// Whether a frame with so many bytes of its own is taken; what it takes in all.
    fn check(&self, state: &mut State, bytes: usize) -> Result<usize, NotTaken> {
        if let Some(stopped) = &state.stopped {
            return Err(NotTaken::Stopped(stopped.error()));
        }
        let bytes = bytes.max(size_of::<FrameDraft>());
        let is_first = state.unwritten_bytes == 0;
        if !is_first && state.unwritten_bytes + bytes > self.shared.sizes.unwritten_max {
            let (told, room) = oneshot::channel();
            state.crowd.push(told);
            return Err(NotTaken::Full(room));
        }
        Ok(bytes)
    }

    /// Has a frame written that was checked. Under the lock of the state, so that the order of notes is
    /// that of frames.
    fn write(&self, state: &mut State, draft: FrameDraft, note: Note) {
        state.unwritten_bytes += note.bytes;
        state.shard(draft.shard).notes.push_back(note);
        if let Some(replicas) = self.shared.replicas.get() {
            replicas.write(vec![draft]);
        }
    }

    /// Lets the oldest entries out of memory that can be read again.
    fn trim(&self) {
        let state = &mut *lock(&self.shared.state);
        while state.kept.bytes > self.shared.sizes.kept_max
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
    fn durable(&mut self, placed: &[Placed]) -> Vec<Done> {
        let mut told = Vec::new();
        for placed in placed {
            let shard = self.shards.entry(placed.shard).or_default();
            let note = shard.notes.pop_front().expect("every frame has a note");
            assert_eq!((note.kind, note.index), (placed.kind, placed.index), "in order");
            self.unwritten_bytes -= note.bytes;
            if let Some(vote) = note.vote {
                shard.log.vote = Some(vote);
            } else if note.mark > 0 {
                shard.log.placed(note.index, note.mark, placed);
            }
            told.extend(note.done);
        }
        told
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
