//! Putting a damaged store in order without deleting anything of it.

use std::sync::Arc;

use ::io::{Access, Disk};

use crate::checkpoint;
use crate::error::OpenError;
use crate::finding::Damage;
use crate::index_file;
use crate::layout::{given_back_name, index_name, segment_name};
use crate::open::{Inspected, inspect, lock};
use crate::recovery::{load_index, rebuild};

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Files that are of no use, and the names they have now.
    pub aside: Vec<(String, String)>,
    /// Segments that are gone, and are not looked for any more.
    pub given_up: Vec<u32>,
    /// Index files that were made anew.
    pub rebuilt: Vec<String>,
}

/// Puts aside, in the same directory, what cannot be used in the store in `disk`: corrupt
/// checkpoints and index files, and what is left of segments that are gone. Makes index files anew
/// where that loses nothing. Deletes nothing; what is damaged in between stays as it is.
///
/// Fails when somebody has the store open, and when the disk does.
pub fn repair(disk: &Arc<dyn Disk>) -> Result<Repaired, OpenError> {
    let _lock = lock(&**disk)?;
    let found = inspect(disk, Access::Direct)?;
    let mut repaired = Repaired::default();
    for finding in &found.findings {
        if finding.what == Damage::Checkpoint {
            put_aside(&**disk, &finding.file, &mut repaired)?;
        }
    }
    for segment in &found.lost {
        put_aside(&**disk, &segment_name(*segment), &mut repaired)?;
        put_aside(&**disk, &index_name(*segment), &mut repaired)?;
    }
    for segment in &found.missed {
        // What was lost is told; from now on it counts as given back.
        put_aside(&**disk, &segment_name(*segment), &mut repaired)?;
        let mark = disk.create(&given_back_name(*segment), Access::Buffered);
        mark.map_err(|source| failed(&**disk, source))?;
        repaired.given_up.push(*segment);
    }
    rebuild_indexes(disk, &found, &mut repaired)?;
    disk.sync_dir().map_err(|source| failed(&**disk, source))?;
    Ok(repaired)
}

fn rebuild_indexes(
    disk: &Arc<dyn Disk>,
    found: &Inspected,
    repaired: &mut Repaired,
) -> Result<(), OpenError> {
    for one in found.segments.iter().filter(|one| one.segment < found.replay().segment) {
        if load_index(&**disk, one.segment)?.is_some() {
            continue;
        }
        let rebuilt = rebuild(&found.segments, one.segment, disk)?;
        let name = index_name(one.segment);
        put_aside(&**disk, &name, repaired)?;
        // One that would tell less than was known is left to the start, which tells what is lost.
        if rebuilt.findings.is_empty() {
            let store = |pieces: &[&[u8]]| checkpoint::store_file(&**disk, &name, pieces);
            index_file::with_pieces(one.segment, &[rebuilt.part()], store)
                .0
                .map_err(|source| failed(&**disk, source))?;
            repaired.rebuilt.push(name);
        }
    }
    Ok(())
}

/// Gives a file, if it is there, a name that the store does not look at and no other file has.
fn put_aside(disk: &dyn Disk, name: &str, repaired: &mut Repaired) -> Result<(), OpenError> {
    let names = disk.list().map_err(|source| failed(disk, source))?;
    if !names.iter().any(|known| known == name) {
        return Ok(());
    }
    let mut candidates = (1u32..).map(|number| format!("damaged-{number}-{name}"));
    let free = candidates.find(|candidate| !names.contains(candidate));
    let aside = free.expect("there are more numbers than files");
    disk.rename(name, &aside).map_err(|source| failed(disk, source))?;
    repaired.aside.push((name.to_owned(), aside));
    Ok(())
}

fn failed(disk: &dyn Disk, source: std::io::Error) -> OpenError {
    OpenError::Disk { place: disk.place(), doing: "repair the store", source }
}
