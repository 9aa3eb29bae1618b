//! Segment files: those in use, and those that wait to be used.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::io::{Access, AlignedBuf, DirLock, Disk, File};

use crate::checkpoint::{self, Checkpoint, Standing};
use crate::error::Failed;
use crate::index_file::{self, Directory, IndexPart, Layout};
use crate::layout::{given_back_name, index_name, preparing_name, segment_name, spare_name};
use crate::location::Position;
use crate::open::Options;

const ZEROES_BYTES: usize = 1 << 20;
/// When segments have stopped growing, this share of one is written before a new file is made for
/// the next. One given back meanwhile is used instead: a new file is written twice, first with
/// zeroes.
const NEW_AFTER_PERCENT: u64 = 25;
/// Segments of the last size are for a store that holds so many of them: what flows through a
/// small store goes round in few and smaller ones.
const LARGEST_HELD_MIN: u64 = 2;
/// Files given back are kept up to the bytes of so many segments of the last size …
const SPARE_LARGEST: u64 = 2;
/// … or up to this part of what is in use: a large store is given back and filled in bursts.
const SPARE_PER_USED: u64 = 8;
/// A file given back is used again if it has this share of the bytes a new one would have.
const SPARE_SHARE: u64 = 4;

/// The store's files other than the write position; calls block on the disk, from any thread.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// A segment that holds rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    /// Its number.
    pub segment: u32,
    /// Bytes of its file.
    pub bytes: u64,
    /// Whether no round will be added to it.
    pub sealed: bool,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    options: Options,
    state: Mutex<State>,
    /// Bytes of the segment last taken that are written.
    filled_bytes: AtomicU64,
    _lock: DirLock,
}

/// What the pool knows of the files.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) used: BTreeMap<u32, Used>,
    pub(crate) ready: VecDeque<Ready>,
    /// Names of files to be used again, and their bytes.
    pub(crate) spare: Vec<(String, u64)>,
    /// The next number; none below it is free.
    pub(crate) next_segment: u32,
    /// Bytes of the segment last taken.
    pub(crate) taken_bytes: u64,
    pub(crate) taken_segment: u32,
    /// Where the replay of the two stored checkpoints begins, by parity of their sequence.
    pub(crate) replays: [Option<Position>; 2],
    /// What the two stored checkpoints stand on, by parity of their sequence.
    pub(crate) standings: [Standing; 2],
    pub(crate) epoch: u32,
}

/// A segment with rounds.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
    /// The segment before it in the journal, which its superblock names; 0: none.
    pub(crate) previous: u32,
    pub(crate) sealed: bool,
}

/// A segment without rounds, its name durable.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) segment: u32,
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
}

impl Pool {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: Options, lock: DirLock, state: State) -> Pool {
        let (state, filled_bytes) = (Mutex::new(state), AtomicU64::new(0));
        Pool { shared: Arc::new(Shared { disk, options, state, filled_bytes, _lock: lock }) }
    }

    /// Prepares one segment if fewer wait than should: of a file that was given back, or of a new
    /// one if none is likely to come in time. True if it did.
    pub fn prepare(&self) -> Result<bool, Failed> {
        let failed = |source| Failed::new("prepare a segment", source);
        let (segment, bytes, spare) = {
            let mut state = self.state();
            if state.ready.len() >= self.options().ready_count {
                return Ok(false);
            }
            let bytes = self.next_size(&state);
            let spare = state.spare_of(bytes / SPARE_SHARE);
            if spare.is_some() {
                (state.number(), bytes, spare)
            } else {
                if self.may_wait(bytes, state.taken_bytes) {
                    return Ok(false);
                }
                let Some(bytes) = self.affordable(bytes).map_err(failed)? else {
                    return Ok(false);
                };
                (state.number(), bytes, None)
            }
        };
        let file = match spare {
            Some(spare) => self.reuse(&spare, segment).map_err(failed)?,
            None => self.make_zeroed(segment, bytes).map_err(failed)?,
        };
        let bytes = file.len().map_err(failed)?;
        let mut state = self.state();
        if segment > state.taken_segment {
            state.ready.push_back(Ready { segment, file, bytes });
        } else {
            // The writer took a later number meanwhile; numbers follow the order of the journal.
            state.spare.push((segment_name(segment), bytes));
        }
        Ok(true)
    }

    /// Gives up a sealed segment of which nothing is live: its file will be used again or
    /// removed, and its index file is removed. False, and nothing done, while it is not sealed or
    /// replay from either of two stored checkpoints may need it.
    pub fn recycle(&self, segment: u32) -> Result<bool, Failed> {
        let failed = |source| Failed::new("recycle a segment", source);
        let (bytes, keep, previous, is_named, surplus) = {
            let mut state = self.state();
            let [Some(one), Some(other)] = state.replays else { return Ok(false) };
            let sealed = state.used.get(&segment).is_some_and(|used| used.sealed);
            if !sealed || segment >= one.segment.min(other.segment) {
                return Ok(false);
            }
            let used = state.used.remove(&segment).expect("it was there a moment ago");
            let spare_bytes: u64 = state.spare.iter().map(|(_, bytes)| bytes).sum();
            let used_bytes: u64 = state.used.values().map(|used| used.bytes).sum();
            let spare_max = (self.last_size() * SPARE_LARGEST).max(used_bytes / SPARE_PER_USED);
            // Where little is left, a file system needs room for other files more than we for this.
            let is_roomy =
                self.shared.disk.free_bytes().map_err(failed)? >= self.options().reserve_bytes;
            let keep = is_roomy
                && used.bytes >= self.next_size(&state) / SPARE_SHARE
                && spare_bytes + used.bytes <= spare_max;
            // A store that shrinks keeps fewer: one goes with each segment that does.
            let surplus = (spare_bytes > spare_max).then(|| state.spare.swap_remove(0).0);
            let is_named = state.used.values().any(|other| other.previous == segment);
            (used.bytes, keep, used.previous, is_named, surplus)
        };
        let disk = &self.shared.disk;
        // First, and durably: a segment that another one names and that is not there was lost.
        let mark = given_back_name(segment);
        match disk.rename(&index_name(segment), &mark) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.create(&mark, Access::Buffered).map(drop).map_err(failed)?;
            }
            renamed => renamed.map_err(failed)?,
        }
        disk.sync_dir().map_err(failed)?;
        if keep {
            let spare = spare_name(segment);
            disk.rename(&segment_name(segment), &spare).map_err(failed)?;
            self.state().spare.push((spare, bytes));
        } else {
            disk.remove(&segment_name(segment)).map_err(failed)?;
        }
        disk.sync_dir().map_err(failed)?;
        // Nobody names the one before it any more.
        let unused = (previous > 0).then(|| given_back_name(previous));
        for name in unused.into_iter().chain((!is_named).then(|| mark.clone())) {
            match disk.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        if is_named {
            // Its name is all that is needed.
            let emptied = disk.open(&mark, Access::Buffered).and_then(|file| file.set_len(0));
            emptied.map_err(failed)?;
        }
        if let Some(surplus) = surplus {
            disk.remove(&surplus).map_err(failed)?;
        }
        Ok(true)
    }

    /// The segments that hold rounds, in order.
    pub fn segments(&self) -> Vec<SegmentUse> {
        let state = self.state();
        let used = state.used.iter();
        used.map(|(segment, Used { bytes, sealed, .. })| SegmentUse {
            segment: *segment,
            bytes: *bytes,
            sealed: *sealed,
        })
        .collect()
    }

    /// Bytes of all segment files, used, ready and spare.
    pub fn stored_bytes(&self) -> u64 {
        let state = self.state();
        let used: u64 = state.used.values().map(|used| used.bytes).sum();
        let ready: u64 = state.ready.iter().map(|ready| ready.bytes).sum();
        used + ready + state.spare.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// Stores the index of a sealed segment, durably; gives what can be found in it.
    pub fn store_index(&self, segment: u32, parts: &[IndexPart]) -> Result<Directory, Failed> {
        let name = index_name(segment);
        let store = |pieces: &[&[u8]]| checkpoint::store_file(&*self.shared.disk, &name, pieces);
        let (stored, directory) = index_file::with_pieces(segment, parts, store);
        let failed = |source| Failed::new("store an index file", source);
        stored.map(|()| directory).map_err(failed)
    }

    /// How the logs of a sealed segment lie in it; `None` when its index file is missing or corrupt.
    pub fn layout(&self, segment: u32) -> io::Result<Option<Layout>> {
        index_file::read_layout(&*self.shared.disk, segment)
    }

    /// Stores a checkpoint, durably, in place of the older one; gives the bytes written. Everything
    /// before its replay position must be synced, and every segment before it have its index stored.
    pub fn store_checkpoint(&self, checkpoint: &Checkpoint) -> Result<u64, Failed> {
        let failed = |source| Failed::new("store a checkpoint", source);
        let parity = usize::from(checkpoint.sequence % 2 == 1);
        let (epoch, before) = {
            let mut state = self.state();
            state.replays[parity] = None;
            (state.epoch, state.standings[parity].clone())
        };
        let sizes = (epoch, self.options().checkpoint_inline_bytes);
        let stored = checkpoint::store(&*self.shared.disk, checkpoint, &before, sizes);
        let (standing, bytes) = stored.map_err(failed)?;
        let mut state = self.state();
        state.replays[parity] = Some(checkpoint.replay);
        state.standings[parity] = standing;
        Ok(bytes)
    }

    /// Whether the checkpoint of this sequence may be partial: what the one before the last stands on
    /// was written by this process, and is not mostly out of date.
    pub fn takes_changes(&self, sequence: u64) -> bool {
        self.state().standings[usize::from(sequence % 2 == 1)].takes_changes()
    }

    /// Bytes that can still be written: what the disk has left, and files that wait to be used.
    pub fn free_bytes(&self) -> Result<u64, Failed> {
        let failed = |source| Failed::new("ask for free space", source);
        let free = self.shared.disk.free_bytes().map_err(failed)?;
        let state = self.state();
        let ready = state.ready.iter().map(|ready| ready.bytes);
        let waiting: u64 = ready.chain(state.spare.iter().map(|(_, bytes)| *bytes)).sum();
        Ok(free.saturating_add(waiting))
    }

    /// Takes the next segment for the writer, in place of `sealed`: a prepared one, or one made on
    /// the spot, small and with its space reserved only.
    pub(crate) fn take(&self, sealed: Option<u32>) -> Result<Ready, Failed> {
        let failed = |source| Failed::new("begin a segment", source);
        self.note_filled(0);
        let (number, spare) = {
            let mut state = self.state();
            if let Some(ready) = state.ready.pop_front() {
                state.take(&ready, sealed);
                return Ok(ready);
            }
            let number = state.number();
            // Before its file is made: one prepared meanwhile has a lower number, and is too late.
            state.taken_segment = number;
            (number, state.spare_of(self.first_size()))
        };
        let file = match spare {
            Some(spare) => self.reuse(&spare, number),
            None => self.make_reserved(number, self.first_size()),
        };
        let file = file.map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        let ready = Ready { segment: number, file, bytes };
        self.state().take(&ready, sealed);
        Ok(ready)
    }

    /// The file of a segment with rounds.
    pub(crate) fn file(&self, segment: u32) -> Option<Arc<dyn File>> {
        self.state().used.get(&segment).map(|used| used.file.clone())
    }

    /// Whether a segment still has the rounds it had.
    pub(crate) fn is_used(&self, segment: u32) -> bool {
        self.state().used.contains_key(&segment)
    }

    pub(crate) fn set_epoch(&self, epoch: u32) {
        self.state().epoch = epoch;
    }

    /// Notes that so many bytes of the segment last taken are written.
    pub(crate) fn note_filled(&self, bytes: u32) {
        self.shared.filled_bytes.store(u64::from(bytes), Ordering::Relaxed);
    }

    /// Marks every segment sealed but `active`.
    pub(crate) fn seal_all_but(&self, active: Option<u32>) {
        for (segment, used) in &mut self.state().used {
            used.sealed = Some(*segment) != active;
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.shared.disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first_size(&self) -> u64 {
        self.options().segment_bytes.first().copied().map_or(0, u64::from)
    }

    fn last_size(&self) -> u64 {
        self.options().segment_bytes.last().copied().map_or(0, u64::from)
    }

    /// What a new segment would have, after the one last taken.
    fn next_size(&self, state: &State) -> u64 {
        let sizes = &self.options().segment_bytes;
        let held: u64 = state.used.values().map(|used| used.bytes).sum();
        let is_small = held < LARGEST_HELD_MIN * self.last_size();
        let count = if is_small { sizes.len().saturating_sub(1).max(1) } else { sizes.len() };
        let mut sizes = sizes.iter().copied().map(u64::from).take(count);
        sizes.clone().find(|size| *size > state.taken_bytes).or(sizes.next_back()).unwrap_or(0)
    }

    /// The size of a new segment that should have `bytes`, where the disk has not so much left.
    fn affordable(&self, bytes: u64) -> io::Result<Option<u64>> {
        let room = self.shared.disk.free_bytes()?.saturating_sub(self.options().reserve_bytes);
        let mut sizes = self.options().segment_bytes.iter().copied().map(u64::from);
        Ok(sizes.rfind(|size| *size <= bytes.min(room)))
    }

    /// Whether a segment of `bytes`, after one of `taken_bytes`, may still come of a file that is
    /// given back.
    fn may_wait(&self, bytes: u64, taken_bytes: u64) -> bool {
        let filled_bytes = self.shared.filled_bytes.load(Ordering::Relaxed);
        bytes <= taken_bytes && filled_bytes * 100 < taken_bytes * NEW_AFTER_PERCENT
    }

    fn reuse(&self, spare: &str, segment: u32) -> io::Result<Arc<dyn File>> {
        let name = segment_name(segment);
        self.shared.disk.rename(spare, &name)?;
        self.shared.disk.sync_dir()?;
        let file = self.shared.disk.open(&name, self.options().access)?;
        // Its length may be that of a process that was killed before it was durable.
        file.sync()?;
        Ok(file)
    }

    fn make_reserved(&self, segment: u32, bytes: u64) -> io::Result<Arc<dyn File>> {
        let (disk, name) = (&self.shared.disk, segment_name(segment));
        let file = disk.create(&name, self.options().access)?;
        self.or_remove(&name, file.allocate(bytes).and_then(|()| file.sync()))?;
        disk.sync_dir()?;
        Ok(file)
    }

    /// Writes every byte once, so that no later sync has to note that it was.
    fn make_zeroed(&self, segment: u32, bytes: u64) -> io::Result<Arc<dyn File>> {
        let (disk, name) = (&self.shared.disk, preparing_name(segment));
        let file = disk.create(&name, self.options().access)?;
        self.or_remove(&name, file.allocate(bytes).and_then(|()| zero(&*file, bytes)))?;
        disk.rename(&name, &segment_name(segment))?;
        disk.sync_dir()?;
        Ok(file)
    }

    /// Leaves no file behind that could not be made.
    fn or_remove(&self, name: &str, made: io::Result<()>) -> io::Result<()> {
        if made.is_err() {
            let _ = self.shared.disk.remove(name);
        }
        made
    }
}

fn zero(file: &dyn File, bytes: u64) -> io::Result<()> {
    let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(ZEROES_BYTES);
    let zeroes = AlignedBuf::zeroed(most);
    let mut position = 0;
    while position < bytes {
        let count = usize::try_from(bytes - position).unwrap_or(usize::MAX).min(most);
        file.write_at(position, &zeroes[..count])?;
        position += count as u64;
    }
    file.sync()
}

impl State {
    fn number(&mut self) -> u32 {
        let number = self.next_segment.max(1);
        self.next_segment = number + 1;
        number
    }

    fn spare_of(&mut self, bytes_min: u64) -> Option<String> {
        let found = self.spare.iter().position(|(_, bytes)| *bytes >= bytes_min)?;
        Some(self.spare.swap_remove(found).0)
    }

    fn take(&mut self, ready: &Ready, sealed: Option<u32>) {
        if let Some(used) = sealed.and_then(|segment| self.used.get_mut(&segment)) {
            used.sealed = true;
        }
        self.taken_bytes = ready.bytes;
        self.taken_segment = ready.segment;
        let previous = sealed.unwrap_or(0);
        let used = Used { file: ready.file.clone(), bytes: ready.bytes, previous, sealed: false };
        self.used.insert(ready.segment, used);
    }
}
