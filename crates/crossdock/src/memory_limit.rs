//! What the broker may hold in memory: as told, or by what the machine has.

#[cfg(test)]
mod tests;

use crate::options::Options;
use engine::{MEMORY_LIMIT_MIN, Memory, MemoryPool};
use std::path::Path;

/// Part of the memory there is that the broker takes unless told otherwise, in percent.
const PERCENT: u64 = 60;

/// What a machine has that does not say.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// Where control groups are, when they are version 2.
const GROUPS: &str = "/sys/fs/cgroup";

/// Limits that leave too little to work with.
#[derive(Debug, thiserror::Error)]
pub enum TooLittle {
    /// The limit as a whole.
    #[error(
        "a memory limit of {limit} bytes is too small: the broker needs {MEMORY_LIMIT_MIN} \
         (128 MiB) or more; raise --memory-limit"
    )]
    Limit {
        /// What was told, in bytes.
        limit: usize,
    },
    /// What the cache leaves of it.
    #[error(
        "a cache of {cache} bytes is more than half of the memory limit of {limit} bytes; lower \
         --cache-bytes or raise --memory-limit"
    )]
    Cache {
        /// What was told, in bytes.
        cache: usize,
        /// Of which limit.
        limit: usize,
    },
}

/// The memory limit and the size of the batch cache, in bytes.
pub(crate) fn limits(options: &Options) -> Result<(usize, usize), TooLittle> {
    let limit = options.memory.memory_limit.unwrap_or_else(usual);
    if limit < MEMORY_LIMIT_MIN {
        return Err(TooLittle::Limit { limit });
    }
    let cache =
        options.memory.cache_bytes.unwrap_or_else(|| Memory::new(limit).budget(MemoryPool::Cache));
    if cache > limit / 2 {
        return Err(TooLittle::Cache { cache, limit });
    }
    Ok((limit, cache))
}

/// The usual part of what there is; never less than what is needed.
fn usual() -> usize {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| total_bytes(&text)).unwrap_or(UNKNOWN_BYTES);
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_bytes(&group, Path::new(GROUPS)).unwrap_or(u64::MAX);
    let bytes = machine.min(group) / 100 * PERCENT;
    usize::try_from(bytes).unwrap_or(usize::MAX).max(MEMORY_LIMIT_MIN)
}

/// The machine's memory by `/proc/meminfo`, in bytes.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// The least that a control group of version 2, or one around it, may use, in bytes. `of_process`:
/// `/proc/self/cgroup`.
fn group_bytes(of_process: &str, groups: &Path) -> Option<u64> {
    let own = of_process.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = groups.join(own.trim());
    let around = own.ancestors().take_while(|path| path.starts_with(groups));
    let limit =
        |path: &Path| std::fs::read_to_string(path.join("memory.max")).ok()?.trim().parse().ok();
    around.filter_map(limit).min()
}
