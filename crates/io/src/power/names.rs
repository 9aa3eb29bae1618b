//! The names of a directory: which are durable, and what was done to them since.
//!
//! The file `names` of a record has a line for each durable name and then one for each change;
//! it is written anew when a sync has made changes durable. A file that loses its last name is held
//! by a link `held-INODE` for as long as a power cut could give the name back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::undo::Undo;
use super::{files_of, malformed};

const NAMES: &str = "names";
const NEW_NAMES: &str = "names.new";
const HELD: &str = "held-";

/// Names and the inodes they stand for.
pub(super) type Map = BTreeMap<String, u64>;

/// The names of one directory, and their record.
#[derive(Debug)]
pub(super) struct Names {
    path: PathBuf,
    record: PathBuf,
    log: fs::File,
    durable: Map,
    /// By number, in order.
    changes: BTreeMap<u64, Change>,
    next: u64,
    held: BTreeSet<u64>,
}

/// One change of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create { name: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
    Remove { name: String, inode: u64 },
}

impl Names {
    /// Begins a record in which everything that is there is durable.
    pub(super) fn begin(path: &Path, record: &Path) -> io::Result<Names> {
        forget(record)?;
        Names::with(path, record, files_of(path)?, BTreeMap::new())
    }

    /// Goes on with the record of a process that was killed; `None` when there is none.
    pub(super) fn load(path: &Path, record: &Path) -> io::Result<Option<Names>> {
        let text = match fs::read_to_string(record.join(NAMES)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut durable, mut changes) = (Map::new(), BTreeMap::new());
        // Without its end a line's change was not begun.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match read(line).ok_or_else(|| malformed(line))? {
                Line::Durable(name, inode) => {
                    durable.insert(name, inode);
                }
                Line::Change(change) => {
                    changes.insert(changes.len() as u64, change);
                }
            }
        }
        let there = files_of(path)?;
        if changes.last_key_value().is_some_and(|(_, last)| !last.is_done(&there)) {
            changes.pop_last();
        }
        let mut expected = durable.clone();
        changes.values().for_each(|change| change.apply(&mut expected));
        for (name, inode) in &there {
            match expected.remove(name) {
                Some(known) if known == *inode => {}
                Some(_) => return Err(malformed(name)),
                // Created, and the process was killed before it was written down.
                None => {
                    let change = Change::Create { name: name.clone(), inode: *inode };
                    changes.insert(changes.len() as u64, change);
                }
            }
        }
        if let Some((missing, _)) = expected.first_key_value() {
            return Err(malformed(missing));
        }
        Names::with(path, record, durable, changes).map(Some)
    }

    fn with(
        path: &Path,
        record: &Path,
        durable: Map,
        changes: BTreeMap<u64, Change>,
    ) -> io::Result<Names> {
        let log = write(record, &durable, &changes)?;
        let held = held(record)?.into_keys().collect();
        let (path, record) = (path.to_path_buf(), record.to_path_buf());
        let next = changes.len() as u64;
        let mut names = Names { path, record, log, durable, changes, next, held };
        names.release()?;
        Ok(names)
    }

    /// Writes a change down, before it is made, but for a creation, whose inode is known after it.
    pub(super) fn add(&mut self, change: Change) -> io::Result<()> {
        let line = change.line();
        if line.matches('\n').count() > 1 {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.log.write_all(line.as_bytes())?;
        self.changes.insert(self.next, change);
        self.next += 1;
        Ok(())
    }

    /// Takes the last change back: it failed.
    pub(super) fn cancel(&mut self) -> io::Result<()> {
        self.changes.pop_last();
        self.log = write(&self.record, &self.durable, &self.changes)?;
        self.release().map(|_| ())
    }

    /// Holds the file of a name that is about to go.
    pub(super) fn hold(&mut self, name: &str, inode: u64) -> io::Result<()> {
        if self.held.insert(inode) {
            fs::hard_link(self.path.join(name), held_path(&self.record, inode))?;
        }
        Ok(())
    }

    /// The number that the next change gets.
    pub(super) fn mark(&self) -> u64 {
        self.next
    }

    /// Takes the changes before `mark` as durable. Gives the files that are gone for good.
    pub(super) fn synced(&mut self, mark: u64) -> io::Result<Vec<u64>> {
        let later = self.changes.split_off(&mark);
        let covered = std::mem::replace(&mut self.changes, later);
        if covered.is_empty() {
            return Ok(Vec::new());
        }
        covered.values().for_each(|change| change.apply(&mut self.durable));
        self.log = write(&self.record, &self.durable, &self.changes)?;
        self.release()
    }

    /// Lets files go that no name can come to stand for.
    fn release(&mut self) -> io::Result<Vec<u64>> {
        let changed = self.changes.values().map(Change::inode);
        let named: BTreeSet<u64> = self.durable.values().copied().chain(changed).collect();
        let gone: Vec<u64> = self.held.difference(&named).copied().collect();
        for inode in &gone {
            // The link last: an inode of no links is given to another file.
            Undo::forget(&self.record, *inode)?;
            fs::remove_file(held_path(&self.record, *inode))?;
            self.held.remove(inode);
        }
        Ok(gone)
    }

    pub(super) fn durable(&self) -> &Map {
        &self.durable
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.values()
    }
}

impl Change {
    /// Does to `names` what the change does. A file has one name: the one it was renamed to last.
    pub(super) fn apply(&self, names: &mut Map) {
        match self {
            Change::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Change::Rename { to, inode, .. } => {
                names.retain(|_, of| of != inode);
                names.insert(to.clone(), *inode);
            }
            Change::Remove { name, inode } => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }

    fn inode(&self) -> u64 {
        match self {
            Change::Create { inode, .. }
            | Change::Rename { inode, .. }
            | Change::Remove { inode, .. } => *inode,
        }
    }

    /// Whether the change, the last one of a killed process, was made.
    fn is_done(&self, there: &Map) -> bool {
        match self {
            Change::Create { .. } => true,
            Change::Rename { from: name, inode, .. } | Change::Remove { name, inode } => {
                there.get(name) != Some(inode)
            }
        }
    }

    fn line(&self) -> String {
        match self {
            Change::Create { name, inode } => format!("create {inode} {name}\n"),
            // No name has a slash.
            Change::Rename { from, to, inode } => format!("rename {inode} {from}/{to}\n"),
            Change::Remove { name, inode } => format!("remove {inode} {name}\n"),
        }
    }
}

enum Line {
    Durable(String, u64),
    Change(Change),
}

fn read(line: &str) -> Option<Line> {
    let (kind, rest) = line.split_once(' ')?;
    let (inode, name) = rest.split_once(' ')?;
    let (inode, name) = (inode.parse().ok()?, name.to_owned());
    Some(match kind {
        "durable" => Line::Durable(name, inode),
        "create" => Line::Change(Change::Create { name, inode }),
        "remove" => Line::Change(Change::Remove { name, inode }),
        "rename" => {
            let (from, to) = name.split_once('/')?;
            Line::Change(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode })
        }
        _ => return None,
    })
}

/// Writes the record of names anew; gives it open at its end.
fn write(record: &Path, durable: &Map, changes: &BTreeMap<u64, Change>) -> io::Result<fs::File> {
    let names = durable.iter().map(|(name, inode)| format!("durable {inode} {name}\n"));
    let text: String = names.chain(changes.values().map(Change::line)).collect();
    let mut log = fs::File::create(record.join(NEW_NAMES))?;
    log.write_all(text.as_bytes())?;
    fs::rename(record.join(NEW_NAMES), record.join(NAMES))?;
    Ok(log)
}

fn held_path(record: &Path, inode: u64) -> PathBuf {
    record.join(format!("{HELD}{inode}"))
}

/// The files that are held, by inode.
pub(super) fn held(record: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for name in files_of(record)?.into_keys() {
        if let Some(inode) = name.strip_prefix(HELD).and_then(|inode| inode.parse().ok()) {
            found.insert(inode, record.join(name));
        }
    }
    Ok(found)
}

/// Removes all of a record.
pub(super) fn forget(record: &Path) -> io::Result<()> {
    for name in files_of(record)?.into_keys() {
        let is_ours = name == NAMES || name == NEW_NAMES;
        if is_ours || name.starts_with(HELD) || name.starts_with("undo-") {
            fs::remove_file(record.join(name))?;
        }
    }
    Ok(())
}
