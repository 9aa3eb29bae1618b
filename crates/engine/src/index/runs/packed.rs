//! Runs in blocks, each as varints of what it has more than the run before.

use super::Run;
use crate::index::Place;
use bytes::Bytes;
use record::varint;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque, btree_map, vec_deque};
use types::{Millis, Offset};

/// Runs of a full block.
const BLOCK_RUNS: usize = 128;

/// About what a run takes.
const RUN_BYTES: usize = 12;

/// It follows the run before without a hole.
const DENSE: u64 = 1;
/// It lies in the same segment.
const TOGETHER: u64 = 2;
const EXPIRING: u64 = 4;
const REFERRED: u64 = 8;
const FLAG_BITS: u32 = 4;

/// Runs by offset: blocks, and behind them the last ones as they are.
#[derive(Debug, Default)]
pub(in crate::index) struct Packed {
    /// By the first offset of each.
    blocks: BTreeMap<Offset, Block>,
    tail: VecDeque<Run>,
    /// What the blocks take.
    bytes: usize,
}

#[derive(Debug)]
struct Block {
    end: Offset,
    count: u32,
    bytes: Box<[u8]>,
}

/// Runs in order, packed, as a checkpoint stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::index) struct PackedRuns {
    bytes: Bytes,
}

#[derive(Clone, Debug)]
pub(in crate::index) struct Iter<'a> {
    now: Unpacked<'a>,
    blocks: btree_map::Range<'a, Offset, Block>,
    tail: vec_deque::Iter<'a, Run>,
    /// What ends at or before it is passed over.
    from: Offset,
}

/// Runs as they are unpacked; it ends where the bytes do, or are none that were packed.
#[derive(Clone, Debug)]
pub(in crate::index) struct Unpacked<'a> {
    bytes: &'a [u8],
    before: Run,
}

const NONE: Run = Run {
    first: Offset(0),
    max_timestamp: Millis(0),
    appended: Millis(0),
    count: 0,
    at: Place { segment: 0, position: 0, len: 0 },
    expiring: false,
    referred: false,
};

impl Packed {
    pub(super) fn iter(&self) -> Iter<'_> {
        self.from(Offset(i64::MIN))
    }

    pub(super) fn from(&self, offset: Offset) -> Iter<'_> {
        let holds = self.block_before(offset).filter(|(_, block)| block.end > offset);
        let first = holds.map_or(offset, |(first, _)| first);
        let at = self.tail.partition_point(|run| run.end() <= offset);
        Iter {
            now: Unpacked::of(&[]),
            blocks: self.blocks.range(first..),
            tail: self.tail.range(at..),
            from: offset,
        }
    }

    pub(super) fn last_before(&self, end: Offset) -> Option<Run> {
        let at = self.tail.partition_point(|run| run.first < end);
        if let Some(at) = at.checked_sub(1) {
            return self.tail.get(at).copied();
        }
        let (_, block) = self.blocks.range(..end).next_back()?;
        block.runs().take_while(|run| run.first < end).last()
    }

    pub(super) fn put(&mut self, run: Run) -> Option<Run> {
        let packed_end = self.blocks.last_key_value().map(|(_, block)| block.end);
        if packed_end.is_none_or(|end| end <= run.first) {
            let at = self.tail.partition_point(|there| there.first < run.first);
            match self.tail.get_mut(at) {
                Some(there) if there.first == run.first => {
                    return Some(std::mem::replace(there, run));
                }
                _ => self.tail.insert(at, run),
            }
            if self.tail.len() >= 2 * BLOCK_RUNS {
                let full: Vec<Run> = self.tail.drain(..BLOCK_RUNS).collect();
                self.add_block(&full);
            }
            return None;
        }
        // A run before all others goes into the first block.
        let before = self.block_before(run.first).map(|(first, _)| first);
        let first = before.or_else(|| self.blocks.keys().next().copied())?;
        let mut runs = self.take_block(first);
        let at = runs.partition_point(|there| there.first < run.first);
        let replaced = match runs.get_mut(at) {
            Some(there) if there.first == run.first => Some(std::mem::replace(there, run)),
            _ => {
                runs.insert(at, run);
                None
            }
        };
        let half = if runs.len() > 2 * BLOCK_RUNS { runs.len() / 2 } else { runs.len() };
        let (one, other) = runs.split_at(half);
        self.add_block(one);
        self.add_block(other);
        replaced
    }

    pub(super) fn remove(&mut self, first: Offset) -> Option<Run> {
        let in_tail = self.tail.front().is_some_and(|front| front.first <= first);
        if in_tail {
            let at = self.tail.partition_point(|run| run.first < first);
            self.tail.get(at).filter(|run| run.first == first)?;
            return self.tail.remove(at);
        }
        let (key, block) = self.block_before(first)?;
        let at = block.runs().position(|run| run.first == first)?;
        let mut runs = self.take_block(key);
        let removed = runs.remove(at);
        self.add_block(&runs);
        Some(removed)
    }

    pub(super) fn take_before(&mut self, start: Offset) -> Vec<Run> {
        let mut taken = Vec::new();
        while let Some((first, block)) = self.blocks.first_key_value()
            && *first < start
        {
            let (first, is_whole) = (*first, block.end <= start);
            let runs = self.take_block(first);
            let gone = runs.partition_point(|run| run.end() <= start);
            taken.extend_from_slice(&runs[..gone]);
            self.add_block(&runs[gone..]);
            if !is_whole {
                break;
            }
        }
        while let Some(run) = self.tail.pop_front_if(|run| run.end() <= start) {
            taken.push(run);
        }
        taken
    }

    pub(super) fn take_dead(
        &mut self,
        look_at_max: usize,
        mut dead: impl FnMut(&Run) -> bool,
    ) -> Vec<Run> {
        let (mut taken, mut looked_at) = (Vec::new(), 0);
        let mut next = Offset(i64::MIN);
        while looked_at < look_at_max
            && let Some((first, block)) = self.blocks.range(next..).next()
        {
            let first = *first;
            next = block.end;
            looked_at += block.count as usize;
            if block.runs().any(|run| dead(&run)) {
                let mut runs = self.take_block(first);
                taken.extend(runs.extract_if(.., |run| dead(run)));
                self.add_block(&runs);
            }
        }
        let room = look_at_max.saturating_sub(looked_at);
        let mut at = 0;
        self.tail.retain(|run| {
            at += 1;
            let is_dead = at <= room && dead(run);
            if is_dead {
                taken.push(*run);
            }
            !is_dead
        });
        taken
    }

    /// Takes out the runs that begin in `[first, end)`.
    pub(super) fn take_range(&mut self, first: Offset, end: Offset) -> Vec<Run> {
        let mut taken = Vec::new();
        let holds = self.block_before(first).filter(|(_, block)| block.end > first);
        let mut next = holds.map_or(first, |(first, _)| first);
        while next < end
            && let Some((at, block)) = self.blocks.range(next..end).next()
        {
            let at = *at;
            next = block.end;
            let mut runs = self.take_block(at);
            let behind = runs.split_off(runs.partition_point(|run| run.first < end));
            taken.extend(runs.drain(runs.partition_point(|run| run.first < first)..));
            self.add_block(&runs);
            self.add_block(&behind);
        }
        let from = self.tail.partition_point(|run| run.first < first);
        let to = self.tail.partition_point(|run| run.first < end);
        taken.extend(self.tail.drain(from..to.max(from)));
        taken
    }

    /// Takes out those for which `dead` holds from `from` on, until about so many were looked at; gives
    /// where to go on.
    pub(super) fn take_dead_from(
        &mut self,
        from: Offset,
        look_at_max: usize,
        mut dead: impl FnMut(&Run) -> bool,
    ) -> (Vec<Run>, Option<Offset>) {
        let (mut taken, mut looked_at, mut next) = (Vec::new(), 0, from);
        while let Some((first, block)) = self.blocks.range(next..).next() {
            let first = *first;
            if looked_at >= look_at_max {
                return (taken, Some(first));
            }
            next = block.end;
            looked_at += block.count as usize;
            if block.runs().any(|run| dead(&run)) {
                let mut runs = self.take_block(first);
                taken.extend(runs.extract_if(.., |run| dead(run)));
                self.add_block(&runs);
            }
        }
        self.tail.retain(|run| {
            let is_dead = dead(run);
            if is_dead {
                taken.push(*run);
            }
            !is_dead
        });
        (taken, None)
    }

    /// About what it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.tail.len() * size_of::<Run>()
    }

    /// The last block that begins at or before an offset.
    fn block_before(&self, offset: Offset) -> Option<(Offset, &Block)> {
        self.blocks.range(..=offset).next_back().map(|(first, block)| (*first, block))
    }

    fn take_block(&mut self, first: Offset) -> Vec<Run> {
        let block = self.blocks.remove(&first);
        self.bytes -= block.as_ref().map_or(0, Block::held_bytes);
        block.iter().flat_map(|block| block.runs()).collect()
    }

    fn add_block(&mut self, runs: &[Run]) {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return };
        let mut bytes = Vec::with_capacity(runs.len() * 16);
        let mut before = NONE;
        for run in runs {
            pack(&mut bytes, &before, run);
            before = *run;
        }
        let count = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let block = Block { end: last.end(), count, bytes: bytes.into() };
        self.bytes += block.held_bytes();
        self.blocks.insert(first.first, block);
    }
}

impl Block {
    fn held_bytes(&self) -> usize {
        size_of::<(Offset, Block)>() + self.bytes.len()
    }

    fn runs(&self) -> Unpacked<'_> {
        Unpacked::of(&self.bytes)
    }
}

impl PackedRuns {
    /// Packs runs, none of them in parts.
    pub(in crate::index) fn of(runs: impl Iterator<Item = Run>) -> PackedRuns {
        let (mut bytes, mut before) = (Vec::new(), NONE);
        for run in runs {
            pack(&mut bytes, &before, &run);
            before = run;
        }
        PackedRuns { bytes: bytes.into() }
    }

    /// What they take, in bytes.
    pub(in crate::index) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// About how many they are: few take less.
    pub(in crate::index) fn count(&self) -> usize {
        self.bytes.len().div_ceil(RUN_BYTES)
    }

    pub(in crate::index) fn iter(&self) -> Unpacked<'_> {
        Unpacked::of(&self.bytes)
    }
}

impl Unpacked<'_> {
    fn of(bytes: &[u8]) -> Unpacked<'_> {
        Unpacked { bytes, before: NONE }
    }

    fn unsigned(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7F).checked_shl(shift)?;
            if *byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
    }

    fn signed(&mut self) -> Option<i64> {
        self.unsigned().map(varint::unzigzag)
    }
}

impl Iterator for Unpacked<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let head = self.unsigned()?;
        let before = self.before;
        let apart = if head & DENSE == 0 { self.signed()? } else { 0 };
        let segment = if head & TOGETHER == 0 { self.signed()? } else { 0 };
        let position = i64::from(before.at.position).wrapping_add(self.signed()?);
        let place = Place {
            segment: u32::try_from(i64::from(before.at.segment).wrapping_add(segment)).ok()?,
            position: u32::try_from(position).ok()?,
            len: u32::try_from(self.unsigned()?).ok()?,
        };
        let run = Run {
            first: Offset(before.end().0.wrapping_add(apart)),
            max_timestamp: Millis(before.max_timestamp.0.wrapping_add(self.signed()?)),
            appended: Millis(before.appended.0.wrapping_add(self.signed()?)),
            count: u32::try_from(head >> FLAG_BITS).ok()?,
            at: place,
            expiring: head & EXPIRING != 0,
            referred: head & REFERRED != 0,
        };
        self.before = run;
        Some(run)
    }
}

impl Iterator for Iter<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        loop {
            if let Some(run) = self.now.next() {
                if run.end() > self.from {
                    return Some(run);
                }
                continue;
            }
            match self.blocks.next() {
                Some((_, block)) => self.now = block.runs(),
                None => return self.tail.next().copied(),
            }
        }
    }
}

fn pack(out: &mut Vec<u8>, before: &Run, run: &Run) {
    let apart = run.first.0.wrapping_sub(before.end().0);
    let segment = i64::from(run.at.segment) - i64::from(before.at.segment);
    let flag = |flag: u64, is_set: bool| if is_set { flag } else { 0 };
    let flags = flag(DENSE, apart == 0)
        | flag(TOGETHER, segment == 0)
        | flag(EXPIRING, run.expiring)
        | flag(REFERRED, run.referred);
    varint::push_unsigned(out, u64::from(run.count) << FLAG_BITS | flags);
    if apart != 0 {
        varint::push(out, apart);
    }
    if segment != 0 {
        varint::push(out, segment);
    }
    varint::push(out, i64::from(run.at.position) - i64::from(before.at.position));
    varint::push_unsigned(out, u64::from(run.at.len));
    varint::push(out, run.max_timestamp.0.wrapping_sub(before.max_timestamp.0));
    varint::push(out, run.appended.0.wrapping_sub(before.appended.0));
}
