//! Whether what the index counts is what there is: for tests and the simulator.

use super::{Index, PageKey, Run, count};
use std::collections::BTreeMap;
use types::LogId;

impl Index {
    /// Holds the counts against what is stored: `read` reads a page's runs, `dead` says which of a
    /// log nobody needs.
    ///
    /// Fails with what is wrong.
    pub(crate) fn audit(
        &self,
        read: impl Fn(LogId, PageKey) -> Option<Vec<Run>>,
        dead: impl Fn(LogId, &Run) -> bool,
    ) -> Result<(), String> {
        let mut counted: BTreeMap<u32, u64> = BTreeMap::new();
        for (log, index) in &self.logs {
            if !index.is_sound() {
                return Err(format!("log {log}: what is in memory overlaps"));
            }
            for run in index.runs.iter() {
                count(&mut counted, &index.location(&run), true);
            }
            for stretch in &index.stretches {
                let (first, end, stale) = (stretch.first, stretch.end, stretch.stale);
                let Some(runs) = read(*log, stretch.page) else {
                    return Err(format!("log {log}: a page of {first} to {end} cannot be read"));
                };
                let needed = |run: &&Run| run.end() > first && run.first < end && !dead(*log, run);
                let needed = runs.iter().filter(needed).map(|run| u64::from(run.at.len));
                let (live, needed) = (u64::from(stretch.live_bytes), needed.sum::<u64>());
                if live < needed || live > needed && !stale {
                    return Err(format!(
                        "log {log}: {needed} bytes of a page of {first} to {end} are needed, \
                         {live} are counted"
                    ));
                }
                *counted.entry(stretch.page.segment).or_default() += live;
            }
        }
        counted.retain(|_, bytes| *bytes > 0);
        match counted == self.live {
            true => Ok(()),
            false => Err(format!("the index has {counted:?}, counted are {:?}", self.live)),
        }
    }
}
