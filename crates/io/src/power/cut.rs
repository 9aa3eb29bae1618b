//! The power cut itself: some of what is in a record is undone.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::names::{self, Map, Names};
use super::undo::{self, Replaced, SECTOR_BYTES};
use super::{files_of, malformed};
use crate::disk::Disk;
use crate::fs::FsDisk;
use crate::sim::SimRandom;

const BLOCK_SECTORS: u64 = 8;

/// What a power cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Writes that were not synced, and of them those undone.
    pub writes: u64,
    /// Those undone, all of them.
    pub dropped: u64,
    /// Those undone in part.
    pub torn: u64,
    /// Changes of length that were undone.
    pub lengths: u64,
    /// Changes of names that were not synced.
    pub names: u64,
    /// Those undone.
    pub names_undone: u64,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { writes, dropped, torn, lengths, names, names_undone } = self;
        write!(f, "{writes} writes not synced: {dropped} dropped, {torn} torn; ")?;
        write!(f, "{lengths} lengths undone; {names_undone} of {names} names undone")
    }
}

/// Turns the directory `path` of a process that was killed into one that a power cut at that
/// moment could have left: of the changes in `record`, some are undone, others done in part, as
/// `seed` decides. The record ends with that: what is left is durable.
///
/// Fails with `WouldBlock` when the process is still running, and with `NotFound` without a record.
pub fn cut_power(path: &Path, record: &Path, seed: u64) -> io::Result<Cut> {
    let _lock = FsDisk::open(path)?.lock()?;
    let found = Names::load(path, record)?.ok_or(ErrorKind::NotFound)?;
    let random = SimRandom::new(seed);
    let odds = [0, 20, 50, 80, 100][usize::try_from(random.below(5)).unwrap_or(0)];
    let mut cutter = Cutter { random, odds, cut: Cut::default() };
    let names = cutter.names(&found);
    let paths = hold_all(path, record, &names)?;
    for (inode, path) in &paths {
        if let Some((log, replaced)) = undo::load(record, *inode)? {
            let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
            cutter.file(&file, &log, &replaced)?;
        }
    }
    for name in files_of(path)?.into_keys() {
        fs::remove_file(path.join(name))?;
    }
    for (name, inode) in &names {
        fs::hard_link(&paths[inode], path.join(name))?;
    }
    names::forget(record)?;
    Ok(cutter.cut)
}

/// Gives every file that will have a name a link in the record; the files by inode.
fn hold_all(path: &Path, record: &Path, names: &Map) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut held = names::held(record)?;
    let there = files_of(path)?;
    for (name, inode) in &there {
        if !held.contains_key(inode) {
            let link = record.join(format!("held-{inode}"));
            fs::hard_link(path.join(name), &link)?;
            held.insert(*inode, link);
        }
    }
    held.retain(|inode, _| names.values().any(|named| named == inode));
    match names.iter().find(|(_, inode)| !held.contains_key(inode)) {
        Some((name, _)) => Err(malformed(name)),
        None => Ok(held),
    }
}

struct Cutter {
    random: SimRandom,
    /// How likely a change survives, in percent.
    odds: u64,
    cut: Cut,
}

/// How much of one write survives.
#[derive(Clone, Copy, Debug)]
enum Survival {
    All,
    Nothing,
    /// This many sectors from its start on.
    Start(u64),
    /// Each block by the odds.
    Blocks,
    /// Each sector, one or the other.
    Sectors,
}

impl Cutter {
    /// The names that are left. A journalling file system undoes changes of names from the last
    /// one on; another may undo any.
    fn names(&mut self, found: &Names) -> Map {
        let mut names = found.durable().clone();
        let in_order = self.random.chance(50);
        let mut alive = true;
        for change in found.changes() {
            let survives = self.random.chance(self.odds);
            alive = survives && (alive || !in_order);
            self.cut.names += 1;
            self.cut.names_undone += u64::from(!alive);
            if alive {
                change.apply(&mut names);
            }
        }
        names
    }

    /// Undoes changes of one file from the last one back to the first. A sector that was left as a
    /// change made it is settled: what was there before that change is no matter any more.
    fn file(&mut self, file: &fs::File, log: &fs::File, replaced: &[Replaced]) -> io::Result<()> {
        let mut len = file.metadata()?.len();
        let (mut len_after, mut is_len_settled) = (len, false);
        let mut cutting: Option<(u64, Survival)> = None;
        let last = replaced.iter().map(|it| (it.position + it.len) / SECTOR_BYTES).max();
        let last = last.unwrap_or(0).max(len / SECTOR_BYTES);
        let mut settled = vec![false; usize::try_from(last).map_err(|_| ErrorKind::FileTooLarge)?];
        for change in replaced.iter().rev() {
            if change.old_len != len_after && !is_len_settled {
                is_len_settled = change.is_durable || self.random.chance(self.odds);
                if !is_len_settled {
                    len = change.old_len;
                    self.cut.lengths += 1;
                }
            }
            is_len_settled |= change.is_durable;
            if change.old_len > len_after {
                // What it cut off comes back with the length, and not without it.
                let survival = if is_len_settled { Survival::All } else { Survival::Nothing };
                cutting = Some((change.number, survival));
            }
            len_after = change.old_len;
            let bound = cutting.filter(|(number, _)| *number == change.number);
            let survival = match bound {
                Some((_, survival)) => survival,
                None => self.survival(change.len / SECTOR_BYTES),
            };
            if change.is_durable {
                settled[change.sectors()].fill(true);
            } else if change.len > 0 {
                let survives = self.survivors(survival, change.len / SECTOR_BYTES);
                undo(file, change, &change.bytes(log)?, (&survives, &mut settled))?;
            }
        }
        file.set_len(len)
    }

    fn survival(&self, count: u64) -> Survival {
        match self.random.below(10) {
            0..4 if self.random.chance(self.odds) => Survival::All,
            0..4 => Survival::Nothing,
            4 => Survival::Start(self.random.below(count + 1)),
            5..8 => Survival::Blocks,
            _ => Survival::Sectors,
        }
    }

    /// Which of `count` sectors survive.
    fn survivors(&mut self, survival: Survival, count: u64) -> Vec<bool> {
        let mut block = false;
        let survives = |sector| match survival {
            Survival::All => true,
            Survival::Nothing => false,
            Survival::Start(kept) => sector < kept,
            Survival::Blocks => {
                if sector % BLOCK_SECTORS == 0 {
                    block = self.random.chance(self.odds);
                }
                block
            }
            Survival::Sectors => self.random.chance(50),
        };
        let survives: Vec<bool> = (0..count).map(survives).collect();
        let kept = survives.iter().filter(|survives| **survives).count();
        self.cut.writes += 1;
        self.cut.dropped += u64::from(kept == 0);
        self.cut.torn += u64::from(kept > 0 && kept < survives.len());
        survives
    }
}

/// Puts back what `change` replaced in the sectors that neither survive nor are settled.
fn undo(
    file: &fs::File,
    change: &Replaced,
    bytes: &[u8],
    (survives, settled): (&[bool], &mut [bool]),
) -> io::Result<()> {
    let settled = &mut settled[change.sectors()];
    for (settled, survives) in settled.iter_mut().zip(survives) {
        *settled |= survives;
    }
    let sector_bytes = SECTOR_BYTES as usize;
    let mut at = 0;
    for run in settled.chunk_by(|one, other| one == other) {
        let end = at + run.len() * sector_bytes;
        if !run[0] {
            file.write_all_at(&bytes[at..end], change.position + at as u64)?;
        }
        at = end;
    }
    Ok(())
}
